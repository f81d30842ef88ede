//! The commit journal: every group of commits, in order, in two or more equal copies on disk.
//!
//! [`Journal`] writes: [`Journal::append`] puts a record into every copy, [`Journal::start_sync`] and [`Journal::wait_sync`] make it durable in
//! all of them at once while the caller does something else. [`Reader`] reads: in order, each record from a copy that has it intact, and says
//! how the journal ends.
//!
//! | file | what it is |
//! | --- | --- |
//! | `record` | a group as bytes |
//! | `segment` | files of records: made ahead, named, reused, cleared away |
//! | `sync` | a thread per copy that makes it durable |
//! | `walk` | through the records of one segment, and on behind damage |
//! | `reader` | through all segments of all copies |
//!
//! What the format promises: what was synced is read again or reported missing; nothing else is ever read.

pub mod record;
mod reader;
mod segment;
mod sync;
pub mod walk;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use self::record::{HEAD, Salt};
use self::segment::{HEADER, Keeper, Segment};
use self::sync::{Job, Syncer};
use self::walk::Walk;
use super::census::Tally;
use super::files::disk_failure;
use crate::base::{Error, Result, Time};
use crate::store::engine::Row;
use crate::store::table::PREFIX;

pub use reader::{End, Reader, last_intact};

/// The census of one table: its prefix and the tally after the group.
pub type TableTally = ([u8; PREFIX], Tally);

/// One group: what the journal records and what a consumer of changes reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The number of the group; the first is 1.
    pub seq: u64,
    pub at: Time,
    /// The last write of each key of the group. All of them share one allocation.
    pub rows: Vec<Row>,
    /// The census of the tables the group touched, after it.
    pub census: Vec<TableTally>,
}

impl Entry {
    /// Keys and values, in bytes.
    pub fn bytes(&self) -> usize {
        self.rows.iter().map(Row::bytes).sum()
    }
}

/// Identity of a store; stands in every file of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct StoreId(pub [u8; 16]);

impl StoreId {
    /// The identity of a new store.
    ///
    /// # Errors
    /// `store.no_randomness` when the system gives none.
    pub fn random() -> Result<Self> {
        let mut id = [0; 16];
        let filled = ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut id);
        filled.map_err(|_| Error::broken("store.no_randomness", "the system gave no random bytes"))?;
        Ok(Self(id))
    }

    /// Reads what `Display` wrote.
    pub fn parse(hex: &str) -> Option<Self> {
        data_encoding::HEXLOWER.decode(hex.as_bytes()).ok()?.try_into().ok().map(Self)
    }
}

/// In hex.
impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

/// The writer over all copies. All of them hold the same bytes at the same places of segments with the same names.
pub struct Journal {
    store: StoreId,
    segment_bytes: u64,
    replicas: Vec<Replica>,
    keeper: Keeper,
    /// The seq of the next record.
    next: u64,
    salt: Salt,
    /// Where in the current segments the next record goes.
    offset: u64,
    /// Bytes of the current segments; 0 before there are any.
    size: u64,
    /// Whether the next spare has been asked for.
    ahead: bool,
    sync: SyncState,
    buffer: Vec<u8>,
    /// Set by the first failure that leaves open what is on disk.
    fault: Option<Error>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum SyncState {
    /// All that was appended is durable.
    Done,
    Due,
    Running,
}

/// One copy.
struct Replica {
    dir: PathBuf,
    folder: Arc<File>,
    /// The current segment.
    file: Arc<File>,
    /// Whether the current segment's name is yet to be made durable.
    renamed: bool,
    /// The segment before, and where it ends, until it can be said there that another one followed.
    before: Option<(Arc<File>, u64, [u8; HEAD])>,
    /// Oldest first; the current one is the last.
    held: VecDeque<Segment>,
    /// Whether the newest segment it was opened with is sound up to the last record.
    sound: bool,
    syncer: Syncer,
}

impl Journal {
    /// Starts writing behind `last` (0 for an empty store) into a new segment of every copy. Older segments stay for readers, without whatever
    /// they hold behind `last`; a copy whose newest one does not lead there gets that of a copy where it does, since a crash can leave the
    /// last record in one copy alone. Folders that are missing are created. Blocks while the first segments are written.
    ///
    /// # Errors
    /// `store.disk_full`, `store.disk_failed`, `store.no_thread`.
    pub fn start(dirs: &[PathBuf], store: StoreId, last: u64, segment_bytes: u64) -> Result<Self> {
        let mut replicas = dirs.iter().map(|dir| Replica::open(dir, store, last)).collect::<Result<Vec<_>>>()?;
        mend(&mut replicas).map_err(|e| disk_failure("mending a copy of the journal", &e))?;
        let mut journal = Self {
            store,
            segment_bytes: segment_bytes.max((HEADER + HEAD) as u64),
            replicas,
            keeper: Keeper::new()?,
            next: last + 1,
            salt: Salt::new(store, last + 1),
            offset: 0,
            size: 0,
            ahead: false,
            sync: SyncState::Due,
            buffer: Vec::new(),
            fault: None,
        };
        journal.roll(0)?;
        journal.start_sync();
        journal.wait_sync()?;
        Ok(journal)
    }

    /// Writes the record to every copy; it is durable after the next [`Journal::wait_sync`]. `seq` is the last one plus 1, `census` that of the
    /// tables the group touched.
    ///
    /// # Errors
    /// `store.disk_full`, `store.disk_failed` and `store.group_too_large`: nothing was written, the same seq can be tried again.
    /// Else, and ever after, the journal's [`Journal::fault`].
    pub fn append<'a>(
        &mut self,
        seq: u64,
        at: Time,
        rows: impl ExactSizeIterator<Item = (&'a Bytes, Option<&'a Bytes>)>,
        census: &[TableTally],
    ) -> Result<()> {
        self.wait_sync()?;
        if seq != self.next {
            return Err(Error::broken("store.journal_order", format!("group {seq} came instead of {}", self.next)));
        }
        record::encode(seq, at, rows, census, &mut self.buffer)?;
        let length = self.buffer.len();
        if self.offset + (length + HEAD) as u64 > self.size {
            self.roll(length)?;
        }
        record::seal(&self.salt, &mut self.buffer);
        self.buffer.resize(length + HEAD, 0);
        let written = self.replicas.iter().try_for_each(|copy| copy.file.write_all_at(&self.buffer, self.offset));
        if let Err(e) = written {
            return Err(self.erase(&e));
        }
        self.offset += length as u64;
        self.next += 1;
        self.sync = SyncState::Due;
        if !self.ahead && self.offset > self.size / 2 {
            self.ahead = true;
            self.replicas.iter().for_each(|copy| self.keeper.prepare(&copy.dir, self.segment_bytes));
        }
        Ok(())
    }

    /// Starts syncing all copies on their threads, if anything is to be synced. Takes microseconds.
    pub fn start_sync(&mut self) {
        if self.sync == SyncState::Due && self.fault.is_none() {
            self.replicas.iter().for_each(Replica::start_sync);
            self.sync = SyncState::Running;
        }
    }

    /// Waits until the sync that was started is done in every copy; everything appended before it is durable then.
    ///
    /// # Errors
    /// The journal's [`Journal::fault`]. A sync that failed is not tried again: the kernel may have dropped what it could not write.
    pub fn wait_sync(&mut self) -> Result<()> {
        if self.sync == SyncState::Running {
            self.sync = SyncState::Done;
            for copy in &mut self.replicas {
                match copy.syncer.wait() {
                    Ok(()) => copy.named(),
                    Err(e) => drop(self.fault.get_or_insert(sync_failed(&copy.dir, &e))),
                }
            }
        }
        self.fault.clone().map_or(Ok(()), Err)
    }

    /// Why the journal refuses everything, if it does: `store.sync_failed` or `store.journal_broken`, until it is started again.
    pub fn fault(&self) -> Option<&Error> {
        self.fault.as_ref()
    }

    /// Gives up the segments of copy `copy` whose every record is at most `seq`; never the current one. They are gone, or reused, a little
    /// later. After a power cut they may be back.
    pub fn trim(&mut self, copy: usize, seq: u64) {
        while self.trim_one(copy, seq) {}
    }

    /// Gives up the oldest segment of copy `copy` if [`Journal::trim`] would; whether it did.
    pub fn trim_one(&mut self, copy: usize, seq: u64) -> bool {
        let Some(Replica { held, .. }) = self.replicas.get_mut(copy) else { return false };
        if held.get(1).is_none_or(|next| next.first > seq.saturating_add(1)) {
            return false;
        }
        held.pop_front().into_iter().for_each(|segment| self.keeper.retire(segment, self.segment_bytes));
        true
    }

    /// Bytes the segments of copy `copy` take on disk, without a spare.
    pub fn bytes(&self, copy: usize) -> u64 {
        self.replicas.get(copy).map_or(0, |copy| copy.held.iter().map(|segment| segment.bytes).sum())
    }

    /// The first seq that copy `copy` still holds; the next to be written when it holds none.
    pub fn first_seq(&self, copy: usize) -> u64 {
        self.replicas.get(copy).and_then(|copy| copy.held.front()).map_or(self.next, |segment| segment.first)
    }

    /// The seq of the last record; 0 in an empty store.
    pub fn last_seq(&self) -> u64 {
        self.next - 1
    }

    /// Begins a new segment in every copy, large enough for a record of `length` bytes. What may fail for lack of room comes before anything
    /// that shows.
    fn roll(&mut self, length: usize) -> Result<()> {
        if self.size > 0 {
            // A segment with a name is evidence that everything before it was durable.
            self.start_sync();
            self.wait_sync()?;
        }
        let (first, size) = (self.next, self.segment_bytes.max((HEADER + length + HEAD) as u64));
        let spares: Vec<_> = self.replicas.iter().map(|copy| self.keeper.spare(&copy.dir, size)).collect();
        for spare in spares {
            spare.recv().unwrap_or_else(|_| Err(Error::broken("store.disk_failed", "the journal's keeper is gone")))?;
        }
        let stamp = |copy: &Replica| segment::stamp(&copy.dir, self.store, first);
        let fresh: io::Result<Vec<File>> = self.replicas.iter().map(stamp).collect();
        let fresh = fresh.map_err(|e| disk_failure("beginning a segment of the journal", &e))?;
        for (copy, file) in self.replicas.iter_mut().zip(fresh) {
            copy.before = (self.size > 0).then(|| (copy.file.clone(), self.offset, record::seal_of(&self.salt)));
            if let Err(e) = copy.begin(file, first, size) {
                return Err(self.fault.insert(broken("naming a segment", &e)).clone());
            }
        }
        (self.salt, self.offset, self.size, self.ahead) = (Salt::new(self.store, first), HEADER as u64, size, false);
        Ok(())
    }

    /// Makes what an append left behind unreadable; no copy may keep what the caller is told did not happen.
    fn erase(&mut self, cause: &io::Error) -> Error {
        let (empty, offset) = ([0; HEAD], self.offset);
        let erase = |copy: &Replica| copy.file.write_all_at(&empty, offset).and_then(|()| copy.file.sync_data());
        // Every copy gets its try.
        let erased: Vec<io::Result<()>> = self.replicas.iter().map(erase).collect();
        match erased.into_iter().collect::<io::Result<()>>() {
            Ok(()) => disk_failure("writing to the journal", cause),
            Err(e) => self.fault.insert(broken(&format!("{cause}; and undoing that"), &e)).clone(),
        }
    }
}

impl Replica {
    fn open(dir: &Path, store: StoreId, last: u64) -> Result<Self> {
        let failed = |e: io::Error| disk_failure("opening a folder of the journal", &e);
        crate::store::dir::create_private(dir).map_err(failed)?;
        let (held, sound) = leave_up_to(dir, store, last)?;
        let folder = Arc::new(File::open(dir).map_err(failed)?);
        folder.sync_all().map_err(failed)?;
        if let Some(parent) = dir.parent() {
            File::open(parent).and_then(|parent| parent.sync_all()).map_err(failed)?;
        }
        Ok(Self {
            dir: dir.to_owned(),
            file: folder.clone(),
            folder,
            renamed: false,
            before: None,
            held,
            sound,
            syncer: Syncer::new()?,
        })
    }

    /// Makes a stamped spare the current segment.
    fn begin(&mut self, file: File, first: u64, bytes: u64) -> io::Result<()> {
        segment::name(&self.dir, first)?;
        if self.held.back().is_some_and(|current| current.first == first) {
            // It was empty and too small.
            self.held.pop_back();
        }
        self.held.push_back(Segment { first, path: segment::path_of(&self.dir, first), bytes });
        self.file = Arc::new(file);
        self.renamed = true;
        Ok(())
    }

    /// The current segment's name is durable. Saying so at the end of the one before shows a later loss of this one; it is not worth a sync.
    fn named(&mut self) {
        self.renamed = false;
        if let Some((file, end, seal)) = self.before.take()
            && let Err(error) = file.write_all_at(&seal, end)
        {
            tracing::warn!(%error, "a segment of the journal does not say that another one follows");
        }
    }

    fn start_sync(&self) {
        self.syncer.start(Job { file: self.file.clone(), folder: self.renamed.then(|| self.folder.clone()) });
    }
}

/// Removes from a copy everything behind `last`, so that it can never be taken for what is written there from now on. Returns what stays,
/// oldest first, and whether the newest of it is sound.
fn leave_up_to(dir: &Path, store: StoreId, last: u64) -> Result<(VecDeque<Segment>, bool)> {
    let failed = |e: io::Error| disk_failure("clearing the end of the journal", &e);
    segment::tidy(dir).map_err(failed)?;
    let (mut held, behind): (Vec<_>, Vec<_>) = segment::list(dir)?.into_iter().partition(|found| found.first <= last);
    behind.iter().try_for_each(|found| segment::remove(&found.path)).map_err(failed)?;
    let Some(newest) = held.last() else { return Ok((held.into(), false)) };
    match cut(newest, store, last) {
        Ok(sound) => {
            segment::settle(newest, dir).map_err(failed)?;
            Ok((held.into(), sound))
        }
        Err(error) => {
            // What it holds behind `last` must not stay. Another copy has the rest, or a checkpoint covers it.
            tracing::warn!(%error, segment = %newest.path.display(), "a segment of the journal cannot be read and goes");
            segment::remove(&newest.path).map_err(failed)?;
            held.pop();
            Ok((held.into(), false))
        }
    }
}

/// Overwrites everything behind record `last` with zeros, if that can be more than stale bytes. Tells whether all before it is sound.
fn cut(segment: &Segment, store: StoreId, last: u64) -> io::Result<bool> {
    let mut walk = Walk::open(segment, store)?;
    let mut sound = walk.has_header()?;
    while !walk.pass(last)? {
        sound = false;
        if !walk.resync()? {
            return Ok(false);
        }
    }
    let offset = walk.offset();
    if !walk.is_blank()? || walk.resync()? {
        segment::blank(&OpenOptions::new().write(true).open(&segment.path)?, offset, segment.bytes)?;
    }
    Ok(sound)
}

/// Gives every copy the newest segment of one where it is sound.
fn mend(copies: &mut [Replica]) -> io::Result<()> {
    let Some(sound) = copies.iter().find(|copy| copy.sound).and_then(|copy| copy.held.back().cloned()) else {
        return Ok(());
    };
    for copy in copies.iter_mut().filter(|copy| !copy.sound) {
        tracing::warn!(folder = %copy.dir.display(), segment = sound.first, "a copy of the journal was mended from another");
        let path = segment::adopt(&sound, &copy.dir)?;
        while let Some(newest) = copy.held.pop_back_if(|newest| newest.first >= sound.first) {
            if newest.first > sound.first {
                segment::remove(&newest.path)?;
            }
        }
        copy.held.push_back(Segment { path, ..sound.clone() });
    }
    Ok(())
}

fn sync_failed(dir: &Path, error: &io::Error) -> Error {
    let context = format!("syncing the journal in {}: {error}", dir.display());
    Error::broken("store.sync_failed", context).hint("check the disk, then restart")
}

fn broken(doing: &str, error: &io::Error) -> Error {
    Error::broken("store.journal_broken", format!("{doing}: {error}")).hint("check the disk, then restart")
}
