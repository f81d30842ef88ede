//! Group commit: one thread takes what has queued up, decides each batch in order, writes the survivors as one, syncs once, and only then
//! tells followers and submitters.
//!
//! A group goes through these steps: `decide` (asserts against the keyspace and the earlier batches of the group), `Database::prepare` (what
//! sled will write, and what the store adds up to then), the journal's append, and then two things at once: the journal's copies are synced on
//! their own threads while sled takes the batch into memory here. When both are done the group is durable: publish, acknowledge. sled itself
//! is synced by the settler, later.
//!
//! Nothing has happened before the append, so a group that fails earlier is only refused. A fault after it leaves open what is on disk: the
//! store takes no more writes until it has been opened again, which is also done here.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::{mpsc, oneshot};

use super::capture::Ledger;
use super::database::Database;
use super::guarded;
use super::journal::{Journal, Reader};
use super::keyspace::{Keyspace, Writes};
use super::rebuild::Rebuild;
use super::recovery::{Opened, Surroundings};
use super::shared::{Fault, Shared};
use crate::base::clock::Stopwatch;
use crate::base::metrics::Metrics;
use crate::base::{Error, Result};
use crate::store::engine::{Batch, MAX_GROUP_BYTES, MAX_GROUP_COMMITS, MAX_GROUP_OPS, Outcome, Row};

/// How long a group may wait for submitters that were just answered to come back; the wait ends as soon as the group is as large as the one
/// before. It makes groups fuller, so the disk syncs less often; it was not seen to change throughput.
const LINGER: Duration = Duration::from_micros(150);

/// Journal kept for followers of the changes, in bytes; one that lags further has to read everything again.
const MOST_FOLLOWED: u64 = 1 << 30;

pub enum Message {
    Commit(Pending),
    Sync(oneshot::Sender<Result<()>>),
    Close(oneshot::Sender<Result<()>>),
    /// A fault may have passed: open the store again.
    Reopen,
    /// Old journal may go; so many bytes of it may stay for restores to a point in time.
    Trim {
        keep: u64,
    },
    /// Bring this database up to date and put it in the place of the current one, which is answered.
    Adopt(Box<Adoption>),
    #[cfg(test)]
    Panic,
}

/// A database that was built beside the current one.
pub struct Adoption {
    pub rebuild: Rebuild,
    pub generation: u32,
    /// [`Shared::openings`] when it was begun.
    pub opening: u64,
    pub done: oneshot::Sender<Result<()>>,
}

/// A batch and who waits for it.
pub struct Pending {
    pub batch: Batch,
    pub done: oneshot::Sender<Result<Outcome>>,
}

/// Why a group was not written.
enum Refusal {
    /// Nothing happened.
    Declined(Error),
    /// The store cannot go on as it is.
    Broken(Error),
}

#[derive(Clone)]
pub struct Meters {
    groups: Counter,
    group_size: Histogram,
    queue_depth: Gauge,
}

impl Meters {
    pub fn new(metrics: &Metrics) -> Self {
        let sizes = Histogram::new(exponential_buckets(1.0, 2.0, 8));
        Self {
            groups: metrics.register(
                "store_flushes",
                "Groups of commits made durable with one sync of the journal",
                Counter::default(),
            ),
            group_size: metrics.register("store_group_commits", "Commits that shared one sync", sizes),
            queue_depth: metrics.register("store_queue_depth", "Messages waiting for the committer", Gauge::default()),
        }
    }
}

pub struct Committer {
    shared: Arc<Shared>,
    surroundings: Arc<Surroundings>,
    /// None while the store is being opened again.
    journal: Option<Journal>,
    ledger: Ledger,
    queue: mpsc::Receiver<Message>,
    /// Taken from the queue, but not part of the group being gathered.
    held: Option<Message>,
    last_group: usize,
    meters: Meters,
}

impl Committer {
    pub fn new(
        shared: Arc<Shared>,
        surroundings: Arc<Surroundings>,
        (journal, ledger): (Journal, Ledger),
        queue: mpsc::Receiver<Message>,
        meters: Meters,
    ) -> Self {
        Self { shared, surroundings, journal: Some(journal), ledger, queue, held: None, last_group: 0, meters }
    }

    /// Runs until closed, or until every submitter is gone; what was queued is committed either way.
    pub fn run(mut self) {
        let mut closing = None;
        while let Some(message) = self.held.take().or_else(|| self.queue.blocking_recv()) {
            let handled = guarded(|| {
                closing = self.handle(message).or(closing.take());
                Ok(())
            });
            // Everyone waits for this thread, so it outlives its mistakes: what it was doing is dropped, and read again from the disk.
            handled.unwrap_or_else(|panic| self.shared.fail(Fault::new(panic)));
        }
        let closed = guarded(|| self.close());
        self.shared.closed.store(true, Ordering::SeqCst);
        if let Some(done) = closing {
            let _ = done.send(closed);
        }
    }

    /// Does what the message asks for; returns whom to tell when everything is closed.
    fn handle(&mut self, message: Message) -> Option<oneshot::Sender<Result<()>>> {
        match message {
            Message::Commit(first) => {
                let group = self.gather(first);
                self.commit(group);
            }
            Message::Sync(done) => drop(done.send(self.sync())),
            Message::Reopen => self.reopen(),
            Message::Trim { keep } => self.trim(keep),
            Message::Adopt(adoption) => self.adopt(*adoption),
            Message::Close(done) => {
                self.queue.close();
                return Some(done);
            }
            #[cfg(test)]
            Message::Panic => panic!("the committer was told to"),
        }
        None
    }

    fn gather(&mut self, first: Pending) -> Vec<Pending> {
        let (mut ops, mut bytes) = (first.batch.writes.len(), first.batch.bytes());
        let mut group = Vec::with_capacity(MAX_GROUP_COMMITS);
        group.push(first);
        let waited = Stopwatch::start();
        while group.len() < MAX_GROUP_COMMITS && self.held.is_none() {
            match self.queue.try_recv() {
                Ok(Message::Commit(next)) => {
                    ops += next.batch.writes.len();
                    bytes += next.batch.bytes();
                    if ops > MAX_GROUP_OPS || bytes > MAX_GROUP_BYTES {
                        self.held = Some(Message::Commit(next));
                    } else {
                        group.push(next);
                    }
                }
                Ok(other) => self.held = Some(other),
                Err(_) if group.len() < self.last_group && waited.elapsed() < LINGER => std::thread::yield_now(),
                Err(_) => break,
            }
        }
        self.last_group = group.len();
        self.meters.queue_depth.set(self.queue.len() as i64);
        group
    }

    fn commit(&mut self, mut group: Vec<Pending>) {
        let written = match self.shared.fault() {
            Some(fault) => Err(fault),
            None => self.write_or_fail(&mut group),
        };
        if let Err(error) = written {
            group.into_iter().for_each(|pending| drop(pending.done.send(Err(error.clone()))));
            return;
        }
        for pending in &group {
            self.shared.publish(&pending.batch.writes);
        }
        self.shared.set_ledger(&self.ledger);
        for pending in group {
            let _ = pending.done.send(Ok(Outcome::Committed));
        }
    }

    fn write_or_fail(&mut self, group: &mut Vec<Pending>) -> Result<()> {
        self.refuse_without_space(group);
        match self.write(group) {
            Ok(()) => Ok(()),
            Err(Refusal::Declined(error)) => Err(error),
            Err(Refusal::Broken(error)) => {
                self.shared.fail(Fault::new(error.clone()));
                Err(error)
            }
        }
    }

    /// On a disk that is nearly full only batches that make room go on.
    fn refuse_without_space(&self, group: &mut Vec<Pending>) {
        let Some(room) = self.shared.space.shortage() else { return };
        for pending in std::mem::take(group) {
            match room.refusal(&pending.batch) {
                Some(refusal) => drop(pending.done.send(Err(refusal))),
                None => group.push(pending),
            }
        }
    }

    /// Makes the group durable; the batches that conflict are answered and taken out of it.
    fn write(&mut self, group: &mut Vec<Pending>) -> Result<(), Refusal> {
        let keyspace = &self.shared.keyspace;
        let (keep, writes) = decide(keyspace, group).map_err(refused)?;
        if writes.is_empty() {
            answer_conflicts(group, &keep);
            return Ok(());
        }
        let writes: Vec<_> = writes.into_iter().collect();
        let prepared =
            keyspace.with(|database| database.prepare(writes.iter().copied(), &self.ledger.census)).map_err(refused)?;
        let (seq, at) = (self.ledger.seq + 1, self.surroundings.clock.now());
        let journal = self
            .journal
            .as_mut()
            .ok_or_else(|| Refusal::Broken(Error::broken("store.no_journal", "the journal is gone")))?;
        let rows = writes.iter().map(|(key, value)| (*key, value.as_ref()));
        let bytes = group.iter().map(|pending| pending.batch.bytes() as u64).sum();
        // An append may have to wait for the disk, too: when it begins a segment.
        let watch = self.shared.sync_begins();
        journal.append(seq, at, rows, &prepared.touched).map_err(refused)?;
        self.shared.uncovered.fetch_add(bytes, Ordering::SeqCst);
        journal.start_sync();
        let census = prepared.census.clone();
        let applied = keyspace.apply(prepared, self.shared.store, seq);
        // After `apply`, so that whoever tries again sees what it lost to, and while the disk is busy anyway.
        let synced = journal.wait_sync();
        drop(watch);
        synced.map_err(Refusal::Broken)?;
        self.ledger = Ledger { seq, at, census };
        // In the journal it is durable, whatever sled made of it: acknowledged, and found again when the store has been opened anew.
        // Until then nobody may read what sled has, which is older.
        applied.unwrap_or_else(|error| {
            self.shared.fail(Fault::new(error));
            self.shut();
        });
        answer_conflicts(group, &keep);
        self.meters.groups.inc();
        self.meters.group_size.observe(group.len() as f64);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        match self.shared.fault() {
            Some(fault) => Err(fault),
            None => self.shared.settle().inspect_err(|error| self.shared.fail(Fault::new(error.clone()))),
        }
    }

    /// Leaves everything in order, and says so in the marker.
    fn close(&mut self) -> Result<()> {
        self.sync()?;
        self.journal = None;
        let generation = self.shared.generation.load(Ordering::SeqCst);
        self.surroundings.mark(self.shared.store, generation, self.ledger.seq, true)
    }

    /// Removes journal that nobody needs: what both sled and the checkpoint hold.
    fn trim(&mut self, keep: u64) {
        let Some(journal) = &mut self.journal else { return };
        let covered = self.shared.covered.load(Ordering::SeqCst);
        let settled = self.shared.settled.load(Ordering::SeqCst);
        // Followers of the changes hold it back, though not for ever.
        let slowest = self.shared.slowest_follower().unwrap_or(Some(0));
        let followed = slowest.map_or(covered, |seq| seq.min(covered));
        for (upto, keep) in [(followed, keep), (covered, keep.max(MOST_FOLLOWED))] {
            while journal.bytes(0) > keep && journal.trim_one(0, upto) {}
        }
        journal.trim(1, settled);
    }

    /// Opens the store again after a fault; until that works there is no database, and reads are told to wait.
    fn reopen(&mut self) {
        if self.shared.fault().is_none() {
            return;
        }
        self.journal = None;
        self.shut();
        self.shared.openings.fetch_add(1, Ordering::SeqCst);
        let published = self.shared.seq();
        let opened = if self.shared.unsynced.load(Ordering::SeqCst) {
            self.surroundings.open_distrusting("its last sync failed")
        } else {
            self.surroundings.open()
        };
        match opened {
            Ok(opened) => self.install(opened, published),
            Err(error) => self.shared.fail(Fault::new(error)),
        }
    }

    /// Takes the database away from readers, who are told to wait.
    fn shut(&self) {
        let old = self.shared.keyspace.replace(None);
        let _ = guarded(|| {
            drop(old);
            Ok(())
        });
    }

    fn install(&mut self, opened: Opened, published: u64) {
        let Opened { database, generation, store, ledger, journal, report } = opened;
        let told = guarded(|| self.tell_missed(published, ledger.seq));
        // A group that was shown may be in the record cache though it was never acknowledged.
        let known = published.max(self.shared.keyspace.shown());
        if store != self.shared.store || report.lost.is_some() || ledger.seq < known || told.is_err() {
            let error = Error::broken("store.restart_needed", report.text.clone())
                .hint("restart grps: what it keeps in memory is newer than what could be restored");
            self.shared.fail(Fault::for_good(error));
            return;
        }
        self.shared.keyspace.replace(Some(database));
        self.shared.generation.store(generation, Ordering::SeqCst);
        self.shared.unsynced.store(false, Ordering::SeqCst);
        self.shared.settled.store(ledger.seq, Ordering::SeqCst);
        self.shared.covered.store(self.surroundings.covered(), Ordering::SeqCst);
        self.shared.set_ledger(&ledger);
        self.shared.set_opening(report);
        self.ledger = ledger;
        self.journal = Some(journal);
        self.shared.recover();
    }

    /// Publishes the groups that reached the disk although their submitters were told of a fault.
    fn tell_missed(&self, published: u64, reached: u64) -> Result<()> {
        if reached <= published {
            return Ok(());
        }
        let journals = self.surroundings.place.journals();
        let mut reader = Reader::open(&journals, self.shared.store, published)?;
        while let Some(entry) = reader.next()? {
            self.shared.publish(&entry.rows);
        }
        if reader.position() < reached {
            return Err(Error::broken(
                "store.untold",
                "some of the groups that followers have not heard of are not in the journal",
            ));
        }
        Ok(())
    }

    fn adopt(&mut self, adoption: Adoption) {
        let Adoption { mut rebuild, generation, opening, done } = adoption;
        let adopted = guarded(|| {
            self.shared.fault().map_or(Ok(()), Err)?;
            if opening != self.shared.openings.load(Ordering::SeqCst) {
                return Err(Error::busy("store.reopened", "the store was opened again meanwhile").hint("try again"));
            }
            let journals = self.surroundings.place.journals();
            let mut reader = Reader::open(&journals, self.shared.store, rebuild.seq)?;
            rebuild.replay(&mut reader, None, &self.surroundings.progress)?;
            if (rebuild.seq, &rebuild.census) != (self.ledger.seq, &self.ledger.census) {
                return Err(Error::broken(
                    "store.compaction_differs",
                    "the compacted database is not the same as the current one",
                ));
            }
            rebuild.finish()?;
            self.surroundings.mark(self.shared.store, generation, rebuild.seq, false)?;
            self.shared.settled.store(rebuild.seq, Ordering::SeqCst);
            self.shared.generation.store(generation, Ordering::SeqCst);
            Ok(self.shared.keyspace.replace(Some(rebuild.database)))
        });
        let _ = done.send(adopted.map(drop));
    }
}

/// What an error before the journal's append means. A full disk or a store under repair only refuses; damage has to be repaired.
fn refused(error: Error) -> Refusal {
    match error.code() {
        "store.disk_full" | "store.reopening" | "store.group_too_large" => Refusal::Declined(error),
        _ => Refusal::Broken(error),
    }
}

/// Which batches hold, each seeing the ones before it, and what they write together.
fn decide<'a>(keyspace: &Keyspace, group: &'a [Pending]) -> Result<(Vec<bool>, Writes<'a>)> {
    keyspace.with(|database| {
        let mut keep = Vec::with_capacity(group.len());
        let mut writes = Writes::default();
        for pending in group {
            let holds = holds(database, &writes, &pending.batch)?;
            if holds {
                writes.extend(pending.batch.writes.iter().map(|row| (&row.key, &row.value)));
            }
            keep.push(holds);
        }
        Ok((keep, writes))
    })
}

fn holds(database: &Database, writes: &Writes<'_>, batch: &Batch) -> Result<bool> {
    for Row { key, value } in &batch.asserts {
        let same = match writes.get(key) {
            Some(&written) => written == value,
            None => database.holds(key, value.as_deref())?,
        };
        if !same {
            return Ok(false);
        }
    }
    Ok(true)
}

fn answer_conflicts(group: &mut Vec<Pending>, keep: &[bool]) {
    if keep.iter().all(|&keep| keep) {
        return;
    }
    let decided = std::mem::take(group).into_iter().zip(keep);
    for (pending, &keep) in decided {
        if keep {
            group.push(pending);
        } else {
            let _ = pending.done.send(Ok(Outcome::Conflict));
        }
    }
}
