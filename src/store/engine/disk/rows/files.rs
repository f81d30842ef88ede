//! sled's files: opening them kindly, and making what was written reach the disk.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use sled::{Config, Db, Mode};

use crate::base::{Error, Kind, Result};

/// An open sled and a second handle of the file it logs to.
pub struct Files {
    pub db: Db,
    /// sled's `flush` only asks the kernel to start writing (`sync_file_range`). Syncing the same file through our own handle is the barrier.
    log: File,
}

impl Files {
    /// Opens or creates the database in `path`. Blocks: replaying a large log takes seconds.
    ///
    /// # Errors
    /// `store.open_failed` when the files cannot be read, `store.disk_full` when there is no room to create them.
    pub fn open(path: &Path, page_cache_bytes: u64) -> Result<Self> {
        crate::store::dir::create_private(path).map_err(|e| disk_failure("creating the database folder", &e))?;
        remove_snapshots(path, Snapshots::Unfinished)?;
        let db = match open_sled(path, page_cache_bytes) {
            Ok(db) => db,
            Err(first) => {
                // A snapshot only shortens the replay of the log; without it sled reads the whole log.
                tracing::warn!(error = ?first, "the database did not open; trying once more without its snapshot");
                remove_snapshots(path, Snapshots::All)?;
                open_sled(path, page_cache_bytes)?
            }
        };
        alarm_on_blobs(path);
        let log = OpenOptions::new().read(true).write(true).open(path.join("db"));
        let files = Self { db, log: log.map_err(|e| disk_failure("opening the log a second time", &e))? };
        files.make_durable()?;
        // sled writes its configuration once and never syncs it; half of it on disk would keep the database from opening for ever.
        File::open(path.join("conf"))
            .and_then(|conf| conf.sync_all())
            .map_err(|e| disk_failure("syncing the database's configuration", &e))?;
        // New files are only safe once the folders that name them are.
        for folder in [Some(path), path.parent()].into_iter().flatten() {
            File::open(folder)
                .and_then(|f| f.sync_all())
                .map_err(|e| disk_failure("syncing the data directory", &e))?;
        }
        Ok(files)
    }

    /// Everything applied so far is on disk when this returns.
    ///
    /// # Errors
    /// `store.disk_full`, `store.disk_failed`: nothing is known about what was written since the last success.
    pub fn make_durable(&self) -> Result<()> {
        self.db.flush().map_err(|e| failure("flushing", e))?;
        self.log.sync_data().map_err(|e| disk_failure("syncing the log", &e))
    }
}

#[derive(PartialEq, Eq)]
enum Snapshots {
    /// Left behind by a crash while being written; sled would refuse to open for ever.
    Unfinished,
    All,
}

fn remove_snapshots(path: &Path, which: Snapshots) -> Result<()> {
    let named = |entry: &PathBuf| {
        let name = entry.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("snap.") && (which == Snapshots::All || name.ends_with(".generating"))
    };
    let entries = fs::read_dir(path).map_err(|e| disk_failure("listing the database folder", &e))?;
    for snapshot in entries.flatten().map(|entry| entry.path()).filter(named) {
        tracing::info!(file = %snapshot.display(), "removing a database snapshot");
        fs::remove_file(&snapshot).map_err(|e| disk_failure("removing a snapshot", &e))?;
    }
    Ok(())
}

fn open_sled(path: &Path, page_cache_bytes: u64) -> Result<Db> {
    let config = Config::new()
        .path(path)
        .cache_capacity(page_cache_bytes)
        .flush_every_ms(None)
        .mode(Mode::HighThroughput)
        .print_profile_on_drop(false);
    // sled panics on some damage instead of returning it.
    let opened = catch_unwind(AssertUnwindSafe(|| config.open())).unwrap_or_else(|panic| {
        Err(sled::Error::ReportableBug(format!(
            "sled panicked: {}",
            crate::store::engine::panic_message(panic.as_ref())
        )))
    });
    opened.map_err(|e| {
        let detail = format!("the database in {} cannot be opened", path.display());
        Error::new(Kind::Broken, "store.open_failed", detail)
            .hint("check that the disk is healthy and the files are yours; else restore the folder from a backup")
            .context(e)
    })
}

/// sled moves large values into `blobs/`, which it never syncs. Ours are too small for that, so a blob means a bound was lost.
fn alarm_on_blobs(path: &Path) {
    let blobs = fs::read_dir(path.join("blobs")).map_or(0, Iterator::count);
    if blobs > 0 {
        tracing::error!(blobs, "the database holds values in blob files, which a power cut can lose");
    }
}

/// What a failed sled call means for us.
pub fn failure(doing: &str, error: sled::Error) -> Error {
    match error {
        sled::Error::Io(io) => disk_failure(doing, &io),
        other => Error::broken("store.broken", format!("{doing}: {other}")),
    }
}

pub fn disk_failure(doing: &str, error: &io::Error) -> Error {
    let full =
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge);
    if full {
        Error::full("store.disk_full", "the disk that holds the data directory is full")
            .hint("free some space; writes go on by themselves as soon as there is enough")
            .context(format!("{doing}: {error}"))
    } else {
        Error::broken("store.disk_failed", format!("{doing}: {error}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_cut_short_does_not_stop_the_store_from_opening() {
        let dir = tempfile::tempdir().unwrap();
        drop(Files::open(dir.path(), 1 << 20).unwrap());
        fs::write(dir.path().join("snap.00000000000000F0.generating"), b"half").unwrap();
        let files = Files::open(dir.path(), 1 << 20).unwrap();
        files.db.insert(b"k", b"v").unwrap();
        files.make_durable().unwrap();
        drop(files);
        for entry in fs::read_dir(dir.path()).unwrap().flatten() {
            if entry.file_name().to_string_lossy().starts_with("snap.") {
                fs::write(entry.path(), b"damaged").unwrap();
            }
        }
        fs::write(dir.path().join("snap.00000000000000F0"), b"damaged").unwrap();
        assert_eq!(Files::open(dir.path(), 1 << 20).unwrap().db.get(b"k").unwrap().unwrap(), b"v");
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = failure("x", sled::Error::Io(io::Error::from(io::ErrorKind::StorageFull)));
        assert_eq!(full.code(), "store.disk_full");
        assert_eq!(failure("x", sled::Error::Unsupported("y".into())).code(), "store.broken");
    }
}
