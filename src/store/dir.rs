//! The data directory: created private, and held by one process at a time.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::base::{Error, Result};

/// The lock file's name. It outlives the process; only the lock on it says that somebody is there.
const LOCK: &str = "lock";

/// [`DataDir::owner`] holds the lock for an instant to find out; a starting server must not take that for another server.
const LOCK_TRIES: usize = 5;
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// Longest lock file we read, in bytes.
const MAX_LOCK_TEXT: u64 = 256;

/// A data directory that this process holds. Cheap to clone; released when the last clone is gone.
#[derive(Debug, Clone)]
pub struct DataDir(Arc<Held>);

#[derive(Debug)]
struct Held {
    path: PathBuf,
    lock: Mutex<File>,
}

/// The process that holds a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    pub pid: u32,
    /// Where it listens, once it does.
    pub addr: Option<SocketAddr>,
}

impl DataDir {
    /// Creates `path` if needed (with its parents, readable by its owner only) and takes its lock.
    ///
    /// # Errors
    /// `store.dir_in_use` when another process holds it, naming that process; `store.dir_unusable` when it is no directory, or one that we
    /// may not write.
    pub fn open(path: &Path) -> Result<Self> {
        create(path).map_err(|e| unusable(path, &e))?;
        let mut lock = lock_file(path).map_err(|e| unusable(path, &e))?;
        take_lock(path, &mut lock)?;
        let dir = Self(Arc::new(Held { path: path.to_owned(), lock: Mutex::new(lock) }));
        dir.write(None)?;
        Ok(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Tells other processes where this one listens.
    ///
    /// # Errors
    /// `store.dir_unusable` when the lock file cannot be written.
    pub fn announce(&self, addr: SocketAddr) -> Result<()> {
        self.write(Some(addr))
    }

    /// Who holds the directory at `path`; none when nobody does or it does not exist.
    pub fn owner(path: &Path) -> Option<Owner> {
        let mut lock = File::open(path.join(LOCK)).ok()?;
        match lock.try_lock_shared() {
            Err(TryLockError::WouldBlock) => read_owner(&mut lock),
            _ => None,
        }
    }

    fn write(&self, addr: Option<SocketAddr>) -> Result<()> {
        let addr = addr.map(|addr| addr.to_string()).unwrap_or_default();
        let line = format!("{} {addr}\n", std::process::id());
        let mut lock = self.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
        // Written first and cut after, so that a reader never finds the file empty.
        lock.seek(SeekFrom::Start(0))
            .and_then(|_| lock.write_all(line.as_bytes()))
            .and_then(|()| lock.set_len(line.len() as u64))
            .map_err(|e| unusable(&self.0.path, &e))
    }
}

fn create(path: &Path) -> io::Result<()> {
    make(path)?;
    fs::read_dir(path).map(drop)
}

/// Creates `path` (with its parents) or takes it as it is, and makes it readable by its owner only. Of the data directory itself only what
/// we create is ours to close; what we keep in it is ours however it came to be.
///
/// # Errors
/// Those of the file system. A directory of another owner stays as it is.
pub(super) fn create_private(path: &Path) -> io::Result<()> {
    make(path)?;
    close_to_others(path, 0o700)
}

fn make(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

#[cfg(unix)]
fn close_to_others(path: &Path, mode: u32) -> io::Result<()> {
    use std::os::unix::fs::PermissionsExt;
    if fs::metadata(path)?.permissions().mode() & 0o077 == 0 {
        return Ok(());
    }
    match fs::set_permissions(path, fs::Permissions::from_mode(mode)) {
        // Only the owner may; whoever else could open it is served all the same.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

#[cfg(not(unix))]
fn close_to_others(_: &Path, _: u32) -> io::Result<()> {
    Ok(())
}

fn lock_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let lock = options.open(path.join(LOCK))?;
    close_to_others(&path.join(LOCK), 0o600)?;
    Ok(lock)
}

fn take_lock(path: &Path, lock: &mut File) -> Result<()> {
    for _ in 0..LOCK_TRIES {
        match lock.try_lock() {
            Ok(()) => return Ok(()),
            Err(TryLockError::Error(e)) => return Err(unusable(path, &e)),
            Err(TryLockError::WouldBlock) => thread::sleep(LOCK_PAUSE),
        }
    }
    let owner = read_owner(lock);
    let pid = owner.as_ref().map_or("another process".into(), |owner| format!("process {}", owner.pid));
    let listening =
        owner.and_then(|owner| owner.addr).map(|addr| format!(" (listening on {addr})")).unwrap_or_default();
    let detail = format!("the data directory {} is in use by {pid}{listening}", path.display());
    Err(Error::conflict("store.dir_in_use", detail)
        .hint("stop that process first, or give this one a directory of its own with DATA_DIR"))
}

fn read_owner(lock: &mut File) -> Option<Owner> {
    let mut text = String::new();
    lock.seek(SeekFrom::Start(0)).ok()?;
    lock.take(MAX_LOCK_TEXT).read_to_string(&mut text).ok()?;
    let mut words = text.lines().next()?.split_whitespace();
    let pid = words.next()?.parse().ok()?;
    Some(Owner { pid, addr: words.next().and_then(|addr| addr.parse().ok()) })
}

fn unusable(path: &Path, error: &io::Error) -> Error {
    let shown = path.display();
    let (why, hint) = match error.kind() {
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            ("it is not a directory", "remove that file, or point DATA_DIR at a directory".to_owned())
        }
        io::ErrorKind::PermissionDenied => (
            "this user may not read and write it",
            format!("run `chown -R $(id -u) {shown}`, or point DATA_DIR at a directory of this user"),
        ),
        io::ErrorKind::ReadOnlyFilesystem => {
            ("its file system is read-only", "mount a writable volume there, or point DATA_DIR elsewhere".to_owned())
        }
        io::ErrorKind::StorageFull => ("its disk is full", "free some space".to_owned()),
        _ => ("the system refused", "point DATA_DIR at a directory on a local disk".to_owned()),
    };
    let detail = format!("the data directory {shown} cannot be used: {why}");
    Error::invalid("store.dir_unusable", detail).hint(hint).context(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_opener_is_told_who_holds_the_directory() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("a/b");
        assert_eq!(DataDir::owner(&path), None);
        let dir = DataDir::open(&path).unwrap();
        let me = std::process::id();
        assert_eq!(DataDir::owner(&path), Some(Owner { pid: me, addr: None }));
        let addr: SocketAddr = "127.0.0.1:8000".parse().unwrap();
        dir.announce(addr).unwrap();
        assert_eq!(DataDir::owner(&path), Some(Owner { pid: me, addr: Some(addr) }));
        let refused = DataDir::open(&path).unwrap_err();
        assert_eq!(refused.code(), "store.dir_in_use");
        assert!(refused.detail().contains(&format!("process {me} (listening on 127.0.0.1:8000)")), "{refused}");
        drop(dir);
        assert_eq!(DataDir::owner(&path), None);
        DataDir::open(&path).unwrap();
    }

    #[cfg(unix)]
    #[test]
    fn the_directory_is_private() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data");
        let _dir = DataDir::open(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(path.join(LOCK)).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[cfg(unix)]
    #[test]
    fn what_we_keep_in_a_directory_that_was_there_is_closed_to_others() {
        use std::os::unix::fs::PermissionsExt;
        let temp = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let store = temp.path().join("store");
        fs::create_dir(&store).unwrap();
        fs::write(temp.path().join(LOCK), b"").unwrap();
        chmod(temp.path(), 0o755);
        chmod(&store, 0o755);
        chmod(&temp.path().join(LOCK), 0o644);
        let dir = DataDir::open(temp.path()).unwrap();
        let opened = crate::store::Store::open(
            &dir,
            &crate::store::Settings::default(),
            &crate::base::metrics::Metrics::default(),
            &crate::store::Progress::silent(),
        );
        assert_eq!((mode(&store), mode(&temp.path().join(LOCK))), (0o700, 0o600));
        assert_eq!(mode(temp.path()), 0o755, "the directory itself may hold more than ours");
        drop(opened.unwrap());
    }

    #[test]
    fn a_file_in_its_place_is_explained() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("data");
        fs::write(&path, b"not a directory").unwrap();
        for path in [path.clone(), path.join("below")] {
            let refused = DataDir::open(&path).unwrap_err();
            assert_eq!(refused.code(), "store.dir_unusable");
            assert!(refused.detail().contains("not a directory") && refused.hint_text().is_some(), "{refused}");
        }
    }
}
