//! sled's files: opening them kindly, and making what was written reach the disk.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use sled::{Config, Db, Mode};

use crate::base::clock::Stopwatch;
use crate::base::{Error, Kind, Result};
use crate::store::engine::disk::guarded;

/// How long sled may take to open, and how many bytes of its log it reads in a second at the very least. Damage can make it look for ever.
const OPENING: Duration = Duration::from_secs(60);
const SLOWEST_READ: u64 = 2 << 20;

/// Too many open files: here, and everywhere.
const OUT_OF_FILES: [Option<i32>; 2] =
    [Some(rustix::io::Errno::MFILE.raw_os_error()), Some(rustix::io::Errno::NFILE.raw_os_error())];

/// sled's threads hold its lock for a moment longer than the database they worked for.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(20);

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
            Err(error) if error.code() != "store.open_failed" => return Err(error),
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
    let log = fs::metadata(path.join("db")).map_or(0, |log| log.len());
    let limit = OPENING + Duration::from_secs(log / SLOWEST_READ);
    let unopened = |context: String| {
        let detail = format!("the database in {} cannot be opened", path.display());
        Error::new(Kind::Broken, "store.open_failed", detail)
            .hint("check that the disk is healthy and the files are yours; else restore the folder from a backup")
            .context(context)
    };
    within(limit, move || opened_unlocked(&config)).map_err(|error| match error.code() {
        "store.disk_full" | "store.no_access" => error,
        _ => unopened(error.context_text().unwrap_or(error.detail()).to_owned()),
    })
}

/// Opens, once whoever is just leaving the database has left.
fn opened_unlocked(config: &Config) -> Result<Db> {
    let waited = Stopwatch::start();
    loop {
        match config.open() {
            Err(sled::Error::Io(error)) if is_locked(&error) && waited.elapsed() < LOCK_WAIT => {
                thread::sleep(LOCK_PAUSE)
            }
            opened => return opened.map_err(|e| failure("opening", e)),
        }
    }
}

/// sled does not pass the kind of this one on.
fn is_locked(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Runs `work`, which may panic, on a thread of its own, and gives up on it after `limit`; it then goes on for nobody.
fn within<T: Send + 'static>(limit: Duration, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let (done, outcome) = sync_channel(1);
    let thread = thread::Builder::new().name("store-open".into());
    thread.spawn(move || drop(done.send(guarded(work)))).map_err(|e| Error::broken("store.no_thread", e))?;
    outcome.recv_timeout(limit).unwrap_or_else(|error| match error {
        RecvTimeoutError::Timeout => Err(Error::broken("store.hung", format!("no answer within {limit:?}"))),
        RecvTimeoutError::Disconnected => Err(Error::broken("store.hung", "its thread is gone")),
    })
}

/// sled moves what is large into `blobs/`, which it never syncs. Rows are cut up so that this does not happen (`envelope::PART`); what a
/// power cut takes of it all the same is rebuilt from the other copy.
fn alarm_on_blobs(path: &Path) {
    let blobs = fs::read_dir(path.join("blobs")).map_or(0, Iterator::count);
    if blobs > 0 {
        tracing::warn!(
            blobs,
            "the database holds blob files, which a power cut can lose; it would be built again from the other copy"
        );
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
    use io::ErrorKind::{OutOfMemory, PermissionDenied};
    let full =
        matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge);
    if full {
        Error::full("store.disk_full", "the disk that holds the data directory is full")
            .hint("free some space; writes go on by themselves as soon as there is enough")
            .context(format!("{doing}: {error}"))
    } else if matches!(error.kind(), PermissionDenied | OutOfMemory) || OUT_OF_FILES.contains(&error.raw_os_error()) {
        Error::broken("store.no_access", format!("{doing}: {error}")).hint(
            "nothing is known to be damaged: let this user use the data directory, and as many files as it asks for",
        )
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
    fn what_hangs_or_panics_is_given_up_on() {
        assert_eq!(within(OPENING, || Ok(7)).unwrap(), 7);
        assert_eq!(within::<()>(OPENING, || panic!("damage")).unwrap_err().code(), "store.panicked");
        let (_kept, never) = sync_channel::<()>(1);
        let hung = within(Duration::from_millis(5), move || Ok(never.recv().is_ok()));
        assert_eq!(hung.unwrap_err().code(), "store.hung");
    }

    #[test]
    fn a_database_that_is_just_being_left_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let first = Files::open(dir.path(), 1 << 20).unwrap();
        let leaving = thread::spawn(move || {
            thread::sleep(3 * LOCK_PAUSE);
            drop(first);
        });
        Files::open(dir.path(), 1 << 20).unwrap();
        leaving.join().unwrap();
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = failure("x", sled::Error::Io(io::Error::from(io::ErrorKind::StorageFull)));
        assert_eq!(full.code(), "store.disk_full");
        assert_eq!(failure("x", sled::Error::Unsupported("y".into())).code(), "store.broken");
    }
}
