//! The mirror: every new job once, in the order of ids, for sockets that show what comes in (requirement J17).
//!
//! Ids are made before a commit and commits overtake each other, so a job is held back until every smaller id has been committed or given
//! up. Then ids rise in the order in which jobs are shown, and "everything after this id" is a cursor that survives restarts: recent jobs
//! come from memory, older ones from the store.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::job::{Job, QueueName};
use super::tables::JOBS;
use crate::base::clock::Stopwatch;
use crate::base::{Id, Ids, Result, Time};
use crate::store::Store;

/// Jobs in one page of the tail.
pub const TAIL_PAGE: usize = 100;

/// Payload bytes that are kept in memory for those who follow closely.
const RECENT_BYTES: usize = 4 << 20;

/// Jobs that are kept in memory for them.
const RECENT_JOBS: usize = 4096;

/// How long the ids of a request that was dropped half-way are waited for: its commit may be on its way to disk.
const ABANDONED_WAIT: Duration = Duration::from_secs(5);

/// A job as mirrors show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copy {
    pub id: Id,
    pub queue: QueueName,
    pub enqueued_at: Time,
    pub payload: Arc<str>,
}

/// A page of the tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Released {
    /// At most [`TAIL_PAGE`]; none when there is nothing new.
    pub jobs: Vec<Arc<Copy>>,
    /// Where to go on.
    pub cursor: Id,
    /// Jobs of the queue behind the cursor that was asked for will not be shown: they have been forgotten. Told once.
    pub lost: bool,
    /// Read from the store for this page alone; recent jobs are shared by all who ask.
    pub stored: bool,
}

/// Where somebody is who follows a queue.
#[derive(Debug, Clone)]
pub struct Place {
    pub queue: QueueName,
    /// Everything up to here has been seen. For who follows to move, when they have shown a page.
    pub cursor: Id,
    /// Forgotten jobs up to here have been told of.
    known: Id,
    /// Jobs that came too late to be shown, told of so far.
    missed: u64,
}

/// The tail. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Tail {
    line: Line,
    store: Store,
    ids: Ids,
}

/// The part of the tail that is in memory: what a follower of the store may hold.
#[derive(Clone)]
pub(super) struct Line {
    order: Arc<Mutex<Order>>,
    newest: watch::Sender<Id>,
}

struct Order {
    /// The last id given out.
    last: Id,
    /// Ids given out whose commit is not known to have ended.
    open: BTreeSet<Id>,
    /// Those of them whose request is gone.
    abandoned: VecDeque<(Stopwatch, Id)>,
    /// Committed jobs that wait for smaller ids.
    held: BTreeMap<Id, Arc<Copy>>,
    recent: VecDeque<Arc<Copy>>,
    recent_bytes: usize,
    /// Every released job above this one is in `recent`.
    floor: Id,
    /// The highest id that was forgotten, by queue.
    forgotten: HashMap<QueueName, Id>,
    /// Jobs whose commit came after mirrors had stopped waiting for it.
    missed: u64,
}

impl Tail {
    /// Starts behind `last`, the highest id there ever was.
    pub(super) fn new(store: Store, ids: Ids, last: Id, forgotten: HashMap<QueueName, Id>) -> Self {
        let order = Order {
            last,
            open: BTreeSet::new(),
            abandoned: VecDeque::new(),
            held: BTreeMap::new(),
            recent: VecDeque::new(),
            recent_bytes: 0,
            floor: last,
            forgotten,
            missed: 0,
        };
        let line = Line { order: Arc::new(Mutex::new(order)), newest: watch::Sender::new(last) };
        Self { line, store, ids }
    }

    pub(super) fn line(&self) -> Line {
        self.line.clone()
    }

    /// The last job that was released: everything up to here can be read.
    pub fn newest(&self) -> Id {
        *self.line.newest.borrow()
    }

    /// Moves whenever something is released.
    pub fn watch(&self) -> watch::Receiver<Id> {
        self.line.newest.subscribe()
    }

    /// Where somebody begins who wants everything of `queue` after `cursor`; after the id 0 is everything that is kept, which misses nothing.
    pub fn place(&self, queue: QueueName, cursor: Id) -> Place {
        let order = self.line.lock();
        let known = if cursor == Id(0) { order.forgotten(&queue) } else { cursor };
        Place { queue, cursor, known, missed: order.missed }
    }

    /// The jobs of all queues behind `place` that are released, at most [`TAIL_PAGE`].
    ///
    /// # Errors
    /// Those of reading the store.
    pub async fn after(&self, place: &mut Place) -> Result<Released> {
        let newest = {
            let order = self.line.lock();
            if place.cursor >= order.floor {
                return Ok(order.recent_after(place));
            }
            self.newest()
        };
        let (low, high) = (Id(place.cursor.0.saturating_add(1)), Id(newest.0.saturating_add(1)));
        let page = self.store.scan(JOBS.between(&low, &high), TAIL_PAGE).await?;
        let last = page.items.last().map(|(id, _)| *id).filter(|_| page.next.is_some());
        let jobs = page.items.into_iter().map(|(_, job)| Arc::new(Copy::from(&job))).collect();
        // Looked at after reading: what was forgotten meanwhile counts.
        let lost = self.line.lock().has_lost(place);
        Ok(Released { jobs, cursor: last.unwrap_or(newest), lost, stored: true })
    }

    /// Gives out `count` ids; nothing above them is released before they are settled or seen.
    pub(super) fn open(&self, count: usize) -> Opened {
        let mut order = self.line.lock();
        let ids = (0..count).map(|_| order.open(&self.ids)).collect();
        drop(order);
        Opened { line: self.line.clone(), ids, settled: false }
    }
}

impl Line {
    /// Takes in a job that was committed for the first time. Call [`Line::release`] when all of a commit are in.
    pub fn committed(&self, job: &Job) {
        let mut order = self.lock();
        if order.open.remove(&job.id) || job.id > *self.newest.borrow() {
            order.held.insert(job.id, Arc::new(Copy::from(job)));
        } else {
            order.missed += 1;
        }
    }

    /// Shows what waits for nothing any more.
    pub fn release(&self) {
        let mut order = self.lock();
        let first_open = order.open.first().copied().unwrap_or(Id(u64::MAX));
        let mut newest = None;
        while let Some(entry) = order.held.first_entry().filter(|entry| *entry.key() < first_open) {
            let copy = entry.remove();
            newest = Some(copy.id);
            order.remember(copy);
        }
        // Under the lock, so that the newest never goes back.
        if let Some(newest) = newest {
            self.newest.send_replace(newest);
        }
    }

    /// Gives up on the ids of requests that went away long enough ago.
    pub fn expire(&self) {
        {
            let mut order = self.lock();
            let over = |(at, _): &(Stopwatch, Id)| at.elapsed() >= ABANDONED_WAIT;
            while let Some((_, id)) = order.abandoned.front().copied().filter(over) {
                order.abandoned.pop_front();
                order.open.remove(&id);
            }
        }
        self.release();
    }

    /// Takes in that a job is gone.
    pub fn forgot(&self, queue: QueueName, id: Id) {
        let mut order = self.lock();
        let last = order.forgotten.entry(queue).or_insert(id);
        *last = id.max(*last);
    }

    fn lock(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Order {
    fn open(&mut self, ids: &Ids) -> Id {
        // Above all earlier ones, also those of a time when the clock was ahead.
        self.last = ids.next().max(Id(self.last.0 + 1));
        self.open.insert(self.last);
        self.last
    }

    fn remember(&mut self, copy: Arc<Copy>) {
        self.recent_bytes += copy.payload.len();
        self.recent.push_back(copy);
        while self.recent.len() > RECENT_JOBS || self.recent_bytes > RECENT_BYTES {
            let Some(oldest) = self.recent.pop_front() else { return };
            self.recent_bytes -= oldest.payload.len();
            self.floor = oldest.id;
        }
    }

    fn forgotten(&self, queue: &QueueName) -> Id {
        self.forgotten.get(queue).copied().unwrap_or(Id(0))
    }

    /// Whether jobs that `place` has not seen will never be shown to it; from then on it knows.
    fn has_lost(&self, place: &mut Place) -> bool {
        let forgotten = self.forgotten(&place.queue);
        let lost = forgotten > place.known.max(place.cursor) || place.missed < self.missed;
        (place.known, place.missed) = (place.known.max(forgotten), self.missed);
        lost
    }

    fn recent_after(&self, place: &mut Place) -> Released {
        let start = self.recent.partition_point(|copy| copy.id <= place.cursor);
        let jobs: Vec<_> = self.recent.range(start..).take(TAIL_PAGE).cloned().collect();
        let cursor = jobs.last().map_or(place.cursor, |copy| copy.id);
        // What is in memory cannot have been forgotten before it was shown.
        place.known = place.known.max(self.forgotten(&place.queue));
        let lost = place.missed < self.missed;
        place.missed = self.missed;
        Released { jobs, cursor, lost, stored: false }
    }
}

impl From<&Job> for Copy {
    fn from(job: &Job) -> Self {
        let Job { id, queue, enqueued_at, payload, .. } = job;
        Self { id: *id, queue: queue.clone(), enqueued_at: *enqueued_at, payload: payload.clone() }
    }
}

/// Ids on their way. Dropped without [`Opened::settle`], their commit may still happen, so they are waited for.
pub(super) struct Opened {
    line: Line,
    pub ids: Vec<Id>,
    settled: bool,
}

impl Opened {
    /// Says that the commit has ended: what it wrote has been seen, and it will write no more.
    pub fn settle(&mut self) {
        self.settled = true;
        let mut order = self.line.lock();
        for id in &self.ids {
            order.open.remove(id);
        }
        drop(order);
        self.line.release();
    }
}

impl Drop for Opened {
    fn drop(&mut self) {
        if !self.settled {
            let mut order = self.line.lock();
            let open: Vec<Id> = self.ids.iter().copied().filter(|id| order.open.contains(id)).collect();
            order.abandoned.extend(open.into_iter().map(|id| (Stopwatch::start(), id)));
        }
    }
}
