//! Where everything of a store lies.
//!
//! ```text
//! store/marker                   what the last owner left behind
//! store/db-00000001/             sled; a rebuilt database gets the next number
//! store/journal/a/, b/           the journal, twice
//! store/checkpoints/<seq>.ckp    the base that the journal builds on
//! store/damaged/                 what the last repair put aside
//! ```

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::marker::{UNFINISHED, sync_folder};
use crate::base::Result;
use crate::store::dir::create_private;
use crate::store::engine::disk::files::disk_failure;

/// The store's folder inside the data directory.
const FOLDER: &str = "store";

const DATABASE: &str = "db-";
const CHECKPOINT: &str = ".ckp";

/// What may be there before there is a store.
const EMPTY: [&str; 4] = ["journal", "checkpoints", UNFINISHED, SCRATCH];

/// Where backups are tried.
const SCRATCH: &str = "scratch";

/// A file that is still being written, or that was when its writer ended.
const PARTIAL: &str = ".partial";

#[derive(Debug, Clone)]
pub struct Place {
    root: PathBuf,
    /// The last number that was given to a database by this process.
    given: Arc<AtomicU32>,
}

impl Place {
    /// The store in a data directory.
    pub fn inside(data: &Path) -> Self {
        Self::at(data.join(FOLDER))
    }

    pub fn at(root: PathBuf) -> Self {
        Self { root, given: Arc::default() }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Where a restore builds the next store.
    pub fn beside(&self) -> Place {
        Self::at(self.root.with_file_name("store.restoring"))
    }

    /// Creates the folders that are missing.
    ///
    /// # Errors
    /// `store.disk_full`, `store.disk_failed`.
    pub fn create(&self) -> Result<()> {
        let folders = [self.root.clone(), self.journal(), self.checkpoints()];
        let copies = self.journals();
        for folder in folders.iter().chain(&copies) {
            create_private(folder).map_err(|e| disk_failure("creating the store's folders", &e))?;
        }
        let parent = self.root.parent().unwrap_or(&self.root);
        for folder in [parent, &self.root, &self.journal()] {
            sync_folder(folder).map_err(|e| disk_failure("syncing the store's folders", &e))?;
        }
        // The data directory may be as new as the store. What is above it may not be ours to open.
        let _ = parent.canonicalize().map(|data| data.parent().map(sync_folder));
        Ok(())
    }

    pub fn database(&self, generation: u32) -> PathBuf {
        self.root.join(format!("{DATABASE}{generation:08}"))
    }

    pub fn scratch(&self) -> PathBuf {
        self.root.join(SCRATCH)
    }

    /// The generations of databases that are there, newest first.
    ///
    /// # Errors
    /// `store.disk_failed`: what cannot be listed is not taken for absent.
    pub fn generations(&self) -> Result<Vec<u32>> {
        let mut found: Vec<u32> =
            names(&self.root)?.iter().filter_map(|name| name.strip_prefix(DATABASE)?.parse().ok()).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found)
    }

    /// A number for another database: behind `last` and all that are there, and never the same twice, so that whoever builds one owns it.
    ///
    /// # Errors
    /// As [`Place::generations`].
    pub fn next_generation(&self, last: u32) -> Result<u32> {
        let least = self.generations()?.first().copied().unwrap_or(0).max(last);
        self.given.fetch_max(least, Ordering::SeqCst);
        Ok(self.given.fetch_add(1, Ordering::SeqCst) + 1)
    }

    pub fn journal(&self) -> PathBuf {
        self.root.join("journal")
    }

    /// The folders of the journal's copies. The first is kept until a checkpoint covers it, the second until sled has synced what is in it.
    pub fn journals(&self) -> [PathBuf; 2] {
        [self.journal().join("a"), self.journal().join("b")]
    }

    /// The first group that the journal's first copy may still have.
    pub fn journal_first(&self) -> Option<u64> {
        let [first, _] = self.journals();
        names(&first).ok()?.iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).min()
    }

    /// The first group of the newest segment of any copy: everything before it was durable once.
    pub fn journal_newest(&self) -> Option<u64> {
        let all = self.journals().into_iter().flat_map(|copy| names(&copy).unwrap_or_default());
        all.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).max()
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    pub fn checkpoint_at(&self, seq: u64) -> PathBuf {
        self.checkpoints().join(format!("{seq:020}{CHECKPOINT}"))
    }

    /// The finished checkpoints that are there, newest first.
    ///
    /// # Errors
    /// As [`Place::generations`].
    pub fn checkpoint_files(&self) -> Result<Vec<PathBuf>> {
        let mut found = names(&self.checkpoints())?;
        found.retain(|name| name.ends_with(CHECKPOINT));
        found.sort_unstable_by(|a, b| b.cmp(a));
        Ok(found.into_iter().map(|name| self.checkpoints().join(name)).collect())
    }

    /// Removes what an interrupted writer left.
    pub fn sweep(&self) {
        let unfinished =
            names(&self.checkpoints()).unwrap_or_default().into_iter().filter(|name| name.ends_with(PARTIAL));
        for path in unfinished.map(|name| self.checkpoints().join(name)).chain([self.scratch()]) {
            if let Err(error) = remove(&path) {
                tracing::warn!(%error, path = %path.display(), "what an interrupted writer left stays behind");
            }
        }
    }

    /// Whether the journal has anything in it.
    ///
    /// # Errors
    /// As [`Place::generations`].
    pub fn has_journal(&self) -> Result<bool> {
        let [first, second] = self.journals();
        Ok(!names(&first)?.is_empty() || !names(&second)?.is_empty())
    }

    /// Whether there never was a store here.
    ///
    /// # Errors
    /// As [`Place::generations`].
    pub fn is_new(&self) -> Result<bool> {
        let empty = names(&self.root)?.iter().all(|name| EMPTY.contains(&name.as_str()));
        Ok(empty && !self.has_journal()? && self.checkpoint_files()?.is_empty())
    }

    /// Puts a file or folder aside as `name`, for a person to look at. What was put aside before under that name is gone: of each kind of
    /// thing only the last one stays, however often a store is repaired.
    ///
    /// # Errors
    /// `store.disk_failed`.
    pub fn put_aside(&self, path: &Path, name: &str) -> Result<()> {
        let doing = |e: &io::Error| disk_failure("putting damaged files aside", e);
        let folder = self.root.join("damaged");
        create_private(&folder).map_err(|e| doing(&e))?;
        let aside = folder.join(name);
        remove(&aside).map_err(|e| doing(&e))?;
        match fs::rename(path, &aside) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(doing(&e)),
            _ => Ok(()),
        }
    }
}

/// Removes a file or a folder; one that is not there is fine.
///
/// # Errors
/// Those of the file system.
pub fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(e) => Err(e),
    };
    removed.or_else(|e| if e.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(e) })
}

/// The bytes of all files under `path`.
pub fn bytes_under(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return fs::metadata(path).map_or(0, |meta| meta.len()) };
    entries.flatten().map(|entry| bytes_under(&entry.path())).sum()
}

/// The names in `folder`; none when there is no such folder.
fn names(folder: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let entries = entries.map_err(|e| disk_failure("listing the store's folders", &e))?;
    Ok(entries.iter().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_listed_is_not_taken_for_absent() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::inside(dir.path());
        assert!(place.is_new().unwrap());
        fs::write(place.root(), b"no folder").unwrap();
        assert!(place.is_new().is_err() && place.generations().is_err() && place.checkpoint_files().is_err());
    }

    #[test]
    fn a_number_is_given_out_once() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::inside(dir.path());
        fs::create_dir_all(place.database(4)).unwrap();
        assert_eq!((place.next_generation(2).unwrap(), place.next_generation(2).unwrap()), (5, 6));
        assert_eq!((place.clone().next_generation(9).unwrap(), place.next_generation(0).unwrap()), (10, 11));
    }
}
