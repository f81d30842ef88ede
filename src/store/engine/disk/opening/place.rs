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

use super::marker::sync_folder;
use crate::base::Result;
use crate::store::dir::create_private;
use crate::store::engine::disk::files::disk_failure;

/// The store's folder inside the data directory.
const FOLDER: &str = "store";

const DATABASE: &str = "db-";
const CHECKPOINT: &str = ".ckp";

/// A file that is still being written, or that was when its writer ended.
const PARTIAL: &str = ".partial";

#[derive(Debug, Clone)]
pub struct Place {
    root: PathBuf,
}

impl Place {
    /// The store in a data directory.
    pub fn inside(data: &Path) -> Self {
        Self::at(data.join(FOLDER))
    }

    pub fn at(root: PathBuf) -> Self {
        Self { root }
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
        Ok(())
    }

    pub fn database(&self, generation: u32) -> PathBuf {
        self.root.join(format!("{DATABASE}{generation:08}"))
    }

    /// The generations of databases that are there, newest first.
    pub fn generations(&self) -> Vec<u32> {
        let mut found: Vec<u32> =
            names(&self.root).iter().filter_map(|name| name.strip_prefix(DATABASE)?.parse().ok()).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
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
        names(&first).iter().filter_map(|name| name.strip_suffix(".log")?.parse().ok()).min()
    }

    /// The first group of the newest segment of any copy: everything before it was durable once.
    pub fn journal_newest(&self) -> Option<u64> {
        let all = self.journals().into_iter().flat_map(|copy| names(&copy));
        all.filter_map(|name| name.strip_suffix(".log")?.parse().ok()).max()
    }

    pub fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    pub fn checkpoint_at(&self, seq: u64) -> PathBuf {
        self.checkpoints().join(format!("{seq:020}{CHECKPOINT}"))
    }

    /// The finished checkpoints that are there, newest first.
    pub fn checkpoint_files(&self) -> Vec<PathBuf> {
        let mut found: Vec<String> =
            names(&self.checkpoints()).into_iter().filter(|name| name.ends_with(CHECKPOINT)).collect();
        found.sort_unstable_by(|a, b| b.cmp(a));
        found.into_iter().map(|name| self.checkpoints().join(name)).collect()
    }

    /// Removes what an interrupted writer left.
    pub fn sweep(&self) {
        for name in names(&self.checkpoints()).iter().filter(|name| name.ends_with(PARTIAL)) {
            let _ = fs::remove_file(self.checkpoints().join(name));
        }
    }

    /// Whether there never was a store here.
    pub fn is_new(&self) -> bool {
        let segments = self.journals().iter().any(|copy| !names(copy).is_empty());
        let known = ["journal", "checkpoints", super::marker::UNFINISHED];
        let files = names(&self.root).iter().any(|name| !known.contains(&&**name));
        !segments && !files && self.checkpoint_files().is_empty()
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

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
