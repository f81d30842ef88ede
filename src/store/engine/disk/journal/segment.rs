//! A segment file: a header of 64 bytes, records one behind the other, and the rest as it was when the file was made (zeros) or last used
//! (bytes that are no records here, see [`super::record::Salt`]). Behind the last record stands an empty head, or a seal once another segment
//! has followed.
//!
//! ```text
//! magic 8 | version u32 | store id 16 | first seq u64 | zeros 24 | crc32 of all that u32
//! ```
//! A file gets its full size and is synced before it is used, so an append neither changes its size nor meets a full disk, and syncing one
//! touches blocks of data only. It gets its name, `<first seq>.log`, after its header is on disk. Until then it is the copy's `spare`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};
use std::thread::{self, JoinHandle};

use super::StoreId;
use super::record::HEAD;
use crate::base::{Error, Result};
use crate::store::engine::disk::files::disk_failure;

pub const HEADER: usize = 64;

const MAGIC: [u8; 8] = *b"grpsjrnl";
const VERSION: u32 = 1;
const SPARE: &str = "spare";
const UNFINISHED: &str = "spare.partial";

/// Zeros are written in pieces of this many bytes.
const PIECE: usize = 1 << 20;

/// A segment of a copy, by its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    pub first: u64,
    pub path: PathBuf,
    pub bytes: u64,
}

/// The header of a segment, with an empty head behind it.
fn header(store: StoreId, first: u64) -> [u8; HEADER + HEAD] {
    let mut out = [0; HEADER + HEAD];
    out[..8].copy_from_slice(&MAGIC);
    out[8..12].copy_from_slice(&VERSION.to_le_bytes());
    out[12..28].copy_from_slice(&store.0);
    out[28..36].copy_from_slice(&first.to_le_bytes());
    let crc = crc32fast::hash(&out[..HEADER - 4]);
    out[HEADER - 4..HEADER].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Whether `bytes` begin with the header of that segment.
pub fn is_header(bytes: &[u8], store: StoreId, first: u64) -> bool {
    bytes.starts_with(&header(store, first)[..HEADER])
}

/// The segments in `dir`, oldest first; none when there is no such folder.
///
/// # Errors
/// `store.disk_failed`.
pub fn list(dir: &Path) -> Result<Vec<Segment>> {
    let listed = |e: io::Error| disk_failure("listing a folder of the journal", &e);
    let entries = match fs::read_dir(dir) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(listed)?,
    };
    let mut segments = Vec::new();
    for entry in entries {
        let entry = entry.map_err(listed)?;
        let Some(first) = entry.file_name().to_str().and_then(first_of) else { continue };
        match entry.metadata() {
            Ok(about) => segments.push(Segment { first, path: entry.path(), bytes: about.len() }),
            // Trimmed this moment.
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            Err(e) => return Err(listed(e)),
        }
    }
    segments.sort_unstable_by_key(|segment| segment.first);
    Ok(segments)
}

fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".log")?;
    (digits.len() == 20 && digits.bytes().all(|digit| digit.is_ascii_digit())).then(|| digits.parse().ok())?
}

pub fn path_of(dir: &Path, first: u64) -> PathBuf {
    dir.join(format!("{first:020}.log"))
}

/// Removes what is neither needed nor a segment. A spare may hold records with a seq that is given again after a repair, so it goes too.
pub fn tidy(dir: &Path) -> io::Result<()> {
    [SPARE, UNFINISHED].iter().try_for_each(|name| remove(&dir.join(name)))
}

pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

/// Overwrites `file` with zeros from `offset` to `end` and syncs it.
pub fn blank(file: &File, mut offset: u64, end: u64) -> io::Result<()> {
    let zeros = vec![0; PIECE];
    while offset < end {
        let piece = (end - offset).min(PIECE as u64);
        file.write_all_at(&zeros[..piece as usize], offset)?;
        offset += piece;
    }
    file.sync_data()
}

/// Makes the spare of `dir` the segment that begins with `first`, except for its name.
pub fn stamp(dir: &Path, store: StoreId, first: u64) -> io::Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(dir.join(SPARE))?;
    file.write_all_at(&header(store, first), 0)?;
    file.sync_data()?;
    Ok(file)
}

/// Gives the stamped spare its name, which lasts once the folder is synced.
pub fn name(dir: &Path, first: u64) -> io::Result<()> {
    fs::rename(dir.join(SPARE), path_of(dir, first))
}

/// Puts a durable copy of `sound` into `dir`, in the place of what has its name there. Lasts once the folder is synced.
pub fn adopt(sound: &Segment, dir: &Path) -> io::Result<PathBuf> {
    let (unfinished, path) = (dir.join(UNFINISHED), path_of(dir, sound.first));
    // Not `fs::copy`, which may let the two files share what is, or is not, on the disk.
    let bytes = fs::read(&sound.path)?;
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
    file.write_all(&bytes)?;
    file.sync_all()?;
    fs::rename(&unfinished, &path)?;
    Ok(path)
}

/// Makes what was read from `segment`, in `dir`, durable: it may be in memory alone, where a killed process has left it, or a sync that failed,
/// after which another one would not write it either. Lasts once the folder is synced.
pub fn settle(segment: &Segment, dir: &Path) -> io::Result<()> {
    adopt(segment, dir).map(drop).or_else(|error| {
        tracing::warn!(%error, segment = %segment.path.display(), "a segment of the journal could not be written anew");
        File::open(&segment.path)?.sync_all()
    })
}

enum Task {
    /// See that `dir` has a spare of at least that many bytes.
    Prepare { dir: PathBuf, bytes: u64, done: Option<SyncSender<Result<()>>> },
    /// The segment is no longer needed; it becomes the spare if there is none and it has exactly that many bytes.
    Retire { segment: Segment, bytes: u64 },
}

/// Makes spares and clears away, on a thread of its own and in the order asked.
pub struct Keeper {
    /// None while dropping, which is what ends the thread.
    tasks: Option<Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// # Errors
    /// `store.no_thread`.
    pub fn new() -> Result<Self> {
        let (tasks, todo) = channel();
        let thread = thread::Builder::new().name("journal-keeper".into()).spawn(move || todo.iter().for_each(run));
        let thread = thread.map_err(|e| Error::broken("store.no_thread", e))?;
        Ok(Self { tasks: Some(tasks), thread: Some(thread) })
    }

    /// Asks for a spare without waiting; should there be no room, [`Keeper::spare`] will say so.
    pub fn prepare(&self, dir: &Path, bytes: u64) {
        self.ask(Task::Prepare { dir: dir.to_owned(), bytes, done: None });
    }

    /// Asks for a spare; the answer comes when it is there: `store.disk_full` or `store.disk_failed` when it cannot be.
    pub fn spare(&self, dir: &Path, bytes: u64) -> Receiver<Result<()>> {
        let (done, answer) = sync_channel(1);
        self.ask(Task::Prepare { dir: dir.to_owned(), bytes, done: Some(done) });
        answer
    }

    /// Removes a segment, or keeps it as the spare.
    pub fn retire(&self, segment: Segment, bytes: u64) {
        self.ask(Task::Retire { segment, bytes });
    }

    fn ask(&self, task: Task) {
        let _ = self.tasks.as_ref().map(|tasks| tasks.send(task));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(task: Task) {
    match task {
        Task::Prepare { dir, bytes, done } => {
            let prepared = make_spare(&dir, bytes).map_err(|e| disk_failure("making a segment of the journal", &e));
            match done {
                Some(done) => drop(done.send(prepared)),
                None => drop(prepared.inspect_err(|error| tracing::warn!(?error, "no spare segment for the journal"))),
            }
        }
        Task::Retire { segment, bytes } => {
            if let Err(error) = retire(&segment, bytes) {
                tracing::warn!(%error, segment = %segment.path.display(), "a segment of the journal stays behind");
            }
        }
    }
}

/// All or nothing: room that was taken for half a spare is given back.
fn make_spare(dir: &Path, bytes: u64) -> io::Result<()> {
    let (spare, unfinished) = (dir.join(SPARE), dir.join(UNFINISHED));
    if fs::metadata(&spare).is_ok_and(|about| about.len() >= bytes) {
        return Ok(());
    }
    let write = || {
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&unfinished)?;
        let zeros = vec![0; PIECE.min(bytes as usize)];
        let mut left = bytes;
        while left > 0 {
            let piece = left.min(PIECE as u64);
            file.write_all(&zeros[..piece as usize])?;
            left -= piece;
        }
        file.sync_all()?;
        fs::rename(&unfinished, &spare)
    };
    write().inspect_err(|_| drop(fs::remove_file(&unfinished)))
}

fn retire(segment: &Segment, bytes: u64) -> io::Result<()> {
    let spare = segment.path.with_file_name(SPARE);
    if segment.bytes == bytes && !spare.exists() {
        fs::rename(&segment.path, &spare)?;
        // Before other bytes go into it: its old name must not come back with them.
        return segment.path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all());
    }
    remove(&segment.path)
}
