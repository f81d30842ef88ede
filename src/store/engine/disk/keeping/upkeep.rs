//! What keeps a store on disk in shape while it is in use: checkpoints, backups, checks, compaction, and the changes for those who follow
//! along. Everything here blocks and may take long; one piece of work runs at a time.

use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::capture::Capture;
use crate::base::{Error, Result, panics};
use crate::store::dir::create_private;
use crate::store::engine::disk::checkpoint::{self, Finished, Info, Lock};
use crate::store::engine::disk::committer::{Adoption, Message};
use crate::store::engine::disk::envelope::FIRST;
use crate::store::engine::disk::files::disk_failure;
use crate::store::engine::disk::guarded;
use crate::store::engine::disk::journal::Reader;
use crate::store::engine::disk::place::{bytes_under, remove};
use crate::store::engine::disk::rebuild::{Filler, Rebuild};
use crate::store::engine::disk::recovery::{Report, Surroundings};
use crate::store::engine::disk::shared::Shared;
use crate::store::engine::{Change, MAX_GROUP_BYTES, Order, Span, closed, lagged};
use crate::store::{DataDir, MAX_PAGE, Progress};

/// Journal that is always worth waiting for before the next checkpoint, in bytes.
const LEAST_JOURNAL: u64 = 64 << 20;

/// sled's size from which it is worth compacting, in bytes, and how many times the live data it then is.
const LEAST_COMPACTED: u64 = 64 << 20;
const AMPLIFICATION: u64 = 4;

/// What a rebuilt database may take, as a multiple of the live data.
const REBUILT: u64 = 3;

/// Groups that may be left to replay while commits wait for a compacted database.
const SHORT_TAIL: u64 = 64;

/// Attempts to come that close.
const CATCH_UPS: usize = 20;

/// Keys and values of the changes given at once, in bytes; the last group may pass it.
const MOST_CHANGED: usize = 2 * MAX_GROUP_BYTES;

/// How much less than others the threads that work here get of a busy processor, as `nice` counts it.
const COURTESY: i32 = 5;

/// A store on disk, for its keeper.
#[derive(Clone)]
pub struct Upkeep {
    shared: Arc<Shared>,
    surroundings: Arc<Surroundings>,
    committer: mpsc::WeakSender<Message>,
    /// Held by the one piece of work that runs.
    turn: Arc<Mutex<()>>,
    /// Where the last reader of changes stopped.
    tail: Arc<Mutex<Option<Reader>>>,
    /// Keeps other processes out until the last piece of work is done, which may be after the store was dropped.
    _dir: DataDir,
}

/// The store at one moment.
#[derive(Debug, Clone)]
pub struct Survey {
    /// Hex.
    pub store: String,
    /// Of the store's files.
    pub schema: u16,
    /// The last acknowledged group.
    pub seq: u64,
    /// The last group that sled has synced.
    pub settled: u64,
    /// The last group in the checkpoint.
    pub covered: u64,
    pub tables: Vec<TableSurvey>,
    /// Keys and values, in bytes.
    pub live_bytes: u64,
    pub sled_bytes: u64,
    pub journal_bytes: u64,
    pub checkpoint_bytes: u64,
    /// On the disk that holds the store.
    pub free_bytes: u64,
    /// What ordinary writes leave free.
    pub reserve_bytes: u64,
    /// The first group that the journal still has.
    pub journal_first_seq: u64,
    pub last_checkpoint: Option<Info>,
    /// sled's size as a multiple of the live data; 1 for an empty store.
    pub amplification: f64,
    /// What the last opening found and did.
    pub opening: Report,
}

#[derive(Debug, Clone)]
pub struct TableSurvey {
    pub prefix: String,
    pub rows: u64,
    pub bytes: u64,
}

/// What a check found.
#[derive(Debug, Clone)]
pub struct CheckReport {
    pub seq: u64,
    pub rows: u64,
    /// Empty when all is well.
    pub findings: Vec<String>,
}

/// What a compaction gained.
#[derive(Debug, Clone, Copy)]
pub struct Compaction {
    pub bytes_before: u64,
    pub bytes_after: u64,
}

impl Upkeep {
    pub(in crate::store::engine::disk) fn new(
        shared: Arc<Shared>,
        surroundings: Arc<Surroundings>,
        committer: mpsc::WeakSender<Message>,
        dir: DataDir,
    ) -> Self {
        Self { shared, surroundings, committer, turn: Arc::default(), tail: Arc::default(), _dir: dir }
    }

    pub fn survey(&self) -> Survey {
        let place = &self.surroundings.place;
        let ledger = self.shared.ledger();
        let table = |(prefix, tally): ([u8; 2], crate::store::engine::disk::census::Tally)| TableSurvey {
            prefix: prefix.escape_ascii().to_string(),
            rows: tally.rows,
            bytes: tally.bytes,
        };
        let (live_bytes, sled_bytes) = (ledger.census.total().bytes, self.sled_bytes());
        let newest = place.checkpoint_files().unwrap_or_default().into_iter().next();
        Survey {
            store: self.shared.store.to_string(),
            schema: crate::store::engine::disk::FORMAT,
            seq: ledger.seq,
            settled: self.shared.settled.load(Ordering::SeqCst),
            covered: self.shared.covered.load(Ordering::SeqCst),
            tables: ledger.census.tables().map(table).collect(),
            live_bytes,
            sled_bytes,
            amplification: if live_bytes == 0 { 1.0 } else { sled_bytes as f64 / live_bytes as f64 },
            journal_bytes: bytes_under(&place.journal()),
            checkpoint_bytes: bytes_under(&place.checkpoints()),
            free_bytes: self.shared.space.free().unwrap_or(0),
            reserve_bytes: self.shared.space.reserve,
            journal_first_seq: place.journal_first().unwrap_or(ledger.seq + 1),
            last_checkpoint: newest.and_then(|path| checkpoint::inspect(&path).ok()),
            opening: self.shared.opening(),
        }
    }

    fn sled_bytes(&self) -> u64 {
        let generation = self.shared.generation.load(Ordering::SeqCst);
        bytes_under(&self.surroundings.place.database(generation))
    }

    /// Does what is due: a checkpoint when the journal has grown long, a compaction when sled has. Says what it did.
    ///
    /// # Errors
    /// As those.
    pub fn tend(&self, progress: &Progress) -> Result<Vec<String>> {
        let mut done = Vec::new();
        let live = self.shared.ledger().census.total().bytes;
        if self.shared.uncovered.load(Ordering::SeqCst) >= LEAST_JOURNAL.max(live) {
            let info = self.checkpoint(progress)?;
            done.push(format!("wrote a checkpoint of group {}", info.seq));
        }
        let sled = self.sled_bytes();
        if sled >= LEAST_COMPACTED && sled > live.saturating_mul(AMPLIFICATION) {
            let Compaction { bytes_before, bytes_after } = self.compact(progress)?;
            done.push(format!("compacted the database from {bytes_before} to {bytes_after} bytes"));
        }
        Ok(done)
    }

    /// Writes a checkpoint, proves it, and lets go of the older one and of the journal that it covers.
    ///
    /// # Errors
    /// `store.disk_full`, `store.damaged`, faults of the disk. The older checkpoint stays.
    pub fn checkpoint(&self, progress: &Progress) -> Result<Info> {
        self.alone(|| self.checkpoint_now(progress))
    }

    fn checkpoint_now(&self, progress: &Progress) -> Result<Info> {
        let place = &self.surroundings.place;
        let before = self.shared.uncovered.load(Ordering::SeqCst);
        let written = self.capture(&place.checkpoint_at(self.shared.seq()), None, progress)?;
        let info = checkpoint::verify(&written.info().path, None, progress)?;
        let info = written.publish(&place.checkpoint_at(info.seq))?;
        self.shared.covered.fetch_max(info.seq, Ordering::SeqCst);
        self.shared.uncovered.fetch_sub(before, Ordering::SeqCst);
        // A later one is not ours: the store was opened again meanwhile, and needed it.
        for old in place.checkpoint_files()?.into_iter().filter(|old| *old < info.path) {
            remove(&old).map_err(|e| disk_failure("removing an old checkpoint", &e))?;
        }
        self.trim(self.surroundings.settings.journal_keep_bytes);
        Ok(info)
    }

    /// Writes a backup as `<name>.ckp` into `folder`. It gets its name once it has been restored into a scratch folder and compared.
    ///
    /// # Errors
    /// As [`Upkeep::checkpoint`].
    pub fn back_up(&self, folder: &Path, name: &str, lock: Option<&Lock>, progress: &Progress) -> Result<Info> {
        self.alone(|| self.back_up_now(folder, name, lock, progress))
    }

    fn back_up_now(&self, folder: &Path, name: &str, lock: Option<&Lock>, progress: &Progress) -> Result<Info> {
        create_private(folder).map_err(|e| disk_failure("creating the backups folder", &e))?;
        let path = folder.join(format!("{name}.ckp"));
        let written = self.capture(&path, lock, progress)?;
        self.shared.space.require(self.shared.ledger().census.total().bytes.saturating_mul(REBUILT))?;
        let settings = &self.surroundings.settings;
        super::offline::prove(
            &written.info().path,
            lock,
            &self.surroundings.place.scratch(),
            settings.page_cache_bytes,
            progress,
        )?;
        written.publish(&path)
    }

    /// Reads everything there is: every row and every checksum of both copies. The rows it reads become a new checkpoint, which proves them
    /// against what the commits added up to.
    ///
    /// # Errors
    /// Only where checking itself fails; what is found is in the answer.
    pub fn check(&self, progress: &Progress) -> Result<CheckReport> {
        self.alone(|| self.check_now(progress))
    }

    fn check_now(&self, progress: &Progress) -> Result<CheckReport> {
        let mut findings = Vec::new();
        if let Err(why) = self.read_second_copy(progress) {
            findings.push(format!("checkpoint and journal: {why}"));
        }
        let (mut seq, mut rows) = (self.shared.seq(), self.shared.ledger().census.total().rows);
        match self.shared.suspect(self.checkpoint_now(progress)) {
            Ok(info) => (seq, rows) = (info.seq, info.rows),
            Err(error) if error.code() == "store.disk_full" => return Err(error),
            Err(error) => findings.push(format!("sled: {}", error.context_text().unwrap_or(error.detail()))),
        }
        Ok(CheckReport { seq, rows, findings })
    }

    fn read_second_copy(&self, progress: &Progress) -> Result<(), String> {
        let told = |error: Error| error.context_text().unwrap_or(error.detail()).to_owned();
        let place = &self.surroundings.place;
        let mut reached = 0;
        if let Some(path) = place.checkpoint_files().map_err(told)?.first() {
            reached = checkpoint::verify(path, None, progress).map_err(told)?.seq;
        }
        let upto = self.shared.seq();
        let mut reader = Reader::open(&place.journals()[..1], self.shared.store, reached).map_err(told)?.upto(upto);
        while let Some(entry) = reader.next().map_err(told)? {
            reached = entry.seq;
            progress.step("reading the journal", reached, upto);
        }
        if reached >= upto { Ok(()) } else { Err(format!("the journal ends at group {reached} instead of {upto}")) }
    }

    /// Builds the database again beside, brings it up to date, and puts it in the place of the current one. Commits wait only for the last
    /// moment of it.
    ///
    /// # Errors
    /// `store.disk_full`, `store.damaged`, `store.contended` when commits outrun it; the current database stays.
    pub fn compact(&self, progress: &Progress) -> Result<Compaction> {
        self.alone(|| self.compact_now(progress))
    }

    fn compact_now(&self, progress: &Progress) -> Result<Compaction> {
        let place = &self.surroundings.place;
        let live = self.shared.ledger().census.total().bytes;
        self.shared.space.require(live.saturating_mul(REBUILT))?;
        let bytes_before = self.sled_bytes();
        let opening = self.shared.openings.load(Ordering::SeqCst);
        let current = self.shared.generation.load(Ordering::SeqCst);
        let generation = place.next_generation(current)?;
        let outcome = self.build_beside(generation, progress).and_then(|rebuild| {
            let (done, adopted) = oneshot::channel();
            self.adopt(Adoption { rebuild, generation, opening, done }, adopted)
        });
        let unused = if outcome.is_ok() { current } else { generation };
        remove(&place.database(unused)).map_err(|e| disk_failure("removing the other database", &e))?;
        outcome?;
        self.checkpoint_now(progress)?;
        Ok(Compaction { bytes_before, bytes_after: self.sled_bytes() })
    }

    fn build_beside(&self, generation: u32, progress: &Progress) -> Result<Rebuild> {
        let place = &self.surroundings.place;
        let cache = self.surroundings.settings.page_cache_bytes;
        let mut rebuild = Rebuild::new(&place.database(generation), self.shared.store, cache)?;
        let start = self.shared.ledger();
        (rebuild.seq, rebuild.expected) = (start.seq, start.census.clone());
        let mut filler = Filler::default();
        let mut span = Span { low: Bytes::from_static(FIRST), high: None, order: Order::Rising };
        let mut rows = 0;
        loop {
            let page = self.shared.keyspace.page(&span, MAX_PAGE)?;
            let last = page.last().filter(|_| page.len() == MAX_PAGE).map(|(key, _)| [&key[..], &[0]].concat());
            rows += page.len() as u64;
            for (key, value) in page {
                filler.push(key, value, &rebuild.database, &mut rebuild.census)?;
            }
            progress.step("compacting", rows, start.census.total().rows);
            let Some(last) = last else { break };
            span.low = last.into();
        }
        filler.flush(&rebuild.database, &mut rebuild.census)?;
        self.catch_up(&mut rebuild, progress)?;
        rebuild.prove(progress)?;
        self.catch_up(&mut rebuild, progress)?;
        Ok(rebuild)
    }

    /// Replays until little is left.
    fn catch_up(&self, rebuild: &mut Rebuild, progress: &Progress) -> Result<()> {
        for _ in 0..CATCH_UPS {
            let upto = self.shared.durable()?;
            let journals = self.surroundings.place.journals();
            let mut reader = Reader::open(&journals, self.shared.store, rebuild.seq)?.upto(upto);
            rebuild.replay(&mut reader, None, progress)?;
            if self.shared.seq() - rebuild.seq <= SHORT_TAIL {
                return Ok(());
            }
        }
        Err(Error::busy("store.contended", "commits come in faster than the database can be built beside")
            .hint("try again when there is less going on"))
    }

    fn adopt(&self, adoption: Adoption, adopted: oneshot::Receiver<Result<()>>) -> Result<()> {
        let committer = self.committer.upgrade().ok_or_else(closed)?;
        committer.blocking_send(Message::Adopt(Box::new(adoption))).map_err(|_| closed())?;
        adopted.blocking_recv().unwrap_or_else(|_| Err(closed()))
    }

    /// The groups behind `after`, at most `limit` of them, oldest first.
    ///
    /// # Errors
    /// `store.feed_lagged` when the journal does not go back that far: whoever follows has to read everything again.
    pub fn changes(&self, after: u64, limit: usize) -> Result<Vec<Change>> {
        let upto = self.shared.seq();
        if after == upto || limit == 0 {
            return Ok(Vec::new());
        }
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reader = match tail.take().filter(|reader| reader.position() == after) {
            Some(reader) => reader.upto(upto),
            None => Reader::open(&self.surroundings.place.journals(), self.shared.store, after)?.upto(upto),
        };
        let (mut changes, mut bytes) = (Vec::new(), 0);
        while changes.len() < limit
            && bytes < MOST_CHANGED
            && let Some(entry) = reader.next()?
        {
            bytes += entry.bytes();
            changes.push(Change { seq: entry.seq, at: entry.at, rows: entry.rows });
        }
        if changes.is_empty() || after > upto {
            return Err(lagged(after));
        }
        *tail = Some(reader);
        Ok(changes)
    }

    fn capture(&self, path: &Path, lock: Option<&Lock>, progress: &Progress) -> Result<Finished> {
        let start = self.shared.ledger();
        self.shared.space.require(start.census.total().bytes)?;
        let capture = Capture {
            store: self.shared.store,
            start,
            page: &|span, limit| self.shared.keyspace.page(span, limit),
            durable: &|| self.shared.durable(),
            journals: &self.surroundings.place.journals(),
            clock: &self.surroundings.clock,
        };
        capture.write(path, lock, progress)
    }

    fn trim(&self, keep: u64) {
        if let Some(committer) = self.committer.upgrade() {
            let _ = committer.blocking_send(Message::Trim { keep });
        }
    }

    /// Makes the committer panic.
    #[cfg(test)]
    pub fn panic_for_test(&self) {
        let _ = self.committer.upgrade().unwrap().blocking_send(Message::Panic);
    }

    /// Spoils the row at `key` as a bad disk would.
    #[cfg(test)]
    pub fn damage_for_test(&self, key: &[u8], at: impl Fn(usize) -> usize) {
        self.shared.keyspace.with(|database| database.damage_for_test(key, at)).unwrap();
    }

    /// Runs one piece of work at a time, on a thread that stands back while requests keep the processor busy.
    fn alone<T: Send>(&self, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let gently = || {
            // Where the system does not know it, it is only less polite.
            let _ = rustix::process::nice(COURTESY);
            guarded(work)
        };
        let done = std::thread::scope(|scope| scope.spawn(gently).join());
        done.unwrap_or_else(|panic| Err(Error::broken("store.panicked", panics::message(panic.as_ref()))))
    }
}
