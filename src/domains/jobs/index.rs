//! The jobs in memory, as order needs them: what is to be had in each queue, first priority, then age; what waits for a time; what is over.
//! It is the fold of the committed rows of [`super::tables::JOBS`], fed in commit order before a commit is acknowledged, and rebuilt from
//! them at start. A million jobs take about 150 MB.
//!
//! Rows decide, the index proposes: a taker *claims* what stands first, so that no two try the same, and then commits. A claim ends when its
//! taker is through, or gone.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use super::job::{Job, Phase, QueueName};
use super::rules::{KEEP_DEAD, KEEP_ENDED, State};
use crate::base::{Clock, Error, Id, Result, Time};

/// Queues that may exist at the same time.
pub const MAX_QUEUES: usize = 256;

/// Jobs that are over and not dead, kept at most; the oldest are forgotten first.
pub const MAX_ENDED: usize = 100_000;

/// Dead jobs kept at most.
pub const MAX_DEAD: usize = 100_000;

/// Jobs looked at under one hold of the lock.
const STRIDE: usize = 10_000;

/// The index. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Index {
    shared: Arc<Mutex<Shelves>>,
    clock: Clock,
    /// Rung when something is due sooner than what was known.
    alarm: Arc<Notify>,
}

#[derive(Default)]
struct Shelves {
    jobs: BTreeMap<Id, Card>,
    queues: HashMap<QueueName, Lane>,
    /// Jobs that can be had later; time alone makes them ready.
    waiting: BTreeSet<(Time, Id)>,
    /// Jobs to which time will do something that has to be written down.
    lapsing: BTreeSet<(Time, Id)>,
    /// Jobs that are over, by when that was.
    ended: BTreeSet<(Time, Id)>,
    dead: BTreeSet<(Time, Id)>,
    claimed: HashSet<Id>,
    /// Jobs that ever became ready, over all queues: a queue may go and come again.
    arrivals: u64,
}

/// What is known of one job.
#[derive(Clone, PartialEq, Eq)]
struct Card {
    queue: QueueName,
    priority: i8,
    phase: Phase,
    ready_at: Option<Time>,
    lapses_at: Option<Time>,
    since: Time,
}

/// One queue.
struct Lane {
    ready: BTreeSet<(Reverse<i8>, Id)>,
    /// Queued jobs whose time has not come.
    waiting: usize,
    counts: HashMap<Phase, usize>,
    /// [`Shelves::arrivals`] when the last job became ready here.
    last_arrival: u64,
    /// Rung once for every job that becomes ready.
    bell: Arc<Notify>,
}

impl Lane {
    fn new() -> Self {
        Self {
            ready: BTreeSet::new(),
            waiting: 0,
            counts: HashMap::new(),
            last_arrival: 0,
            bell: Arc::new(Notify::new()),
        }
    }

    fn count(&self, phase: Phase) -> usize {
        self.counts.get(&phase).copied().unwrap_or(0)
    }

    /// Whether it can go: it holds nothing, and nobody waits at it.
    fn is_idle(&self) -> bool {
        self.counts.values().all(|count| *count == 0) && Arc::strong_count(&self.bell) == 1
    }
}

/// A queue as people see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStats {
    pub queue: QueueName,
    pub waiting: usize,
    pub ready: usize,
    pub leased: usize,
    pub delivered: usize,
    pub done: usize,
    pub dead: usize,
    pub expired: usize,
    /// When the oldest ready job was put in; none when none is ready.
    pub oldest_ready: Option<Time>,
    /// Rises when a job becomes ready, and means nothing else.
    pub last_arrival: u64,
}

impl QueueStats {
    /// How many jobs are in each state.
    pub fn counts(&self) -> [(State, usize); 7] {
        [
            (State::Waiting, self.waiting),
            (State::Ready, self.ready),
            (State::Leased, self.leased),
            (State::Delivered, self.delivered),
            (State::Done, self.done),
            (State::Dead, self.dead),
            (State::Expired, self.expired),
        ]
    }
}

impl From<&Job> for Card {
    fn from(job: &Job) -> Self {
        Self {
            queue: job.queue.clone(),
            priority: job.priority,
            phase: job.phase,
            ready_at: job.ready_at,
            lapses_at: job.lapses_at(),
            since: job.since,
        }
    }
}

impl Index {
    pub fn new(clock: Clock) -> Self {
        Self { shared: Arc::default(), clock, alarm: Arc::new(Notify::new()) }
    }

    /// What wakes whoever carries out what time does.
    pub fn alarm(&self) -> Arc<Notify> {
        self.alarm.clone()
    }

    /// Takes in committed rows: jobs with what they are now, none for gone.
    pub fn apply<'a>(&self, rows: impl IntoIterator<Item = (Id, Option<&'a Job>)>) {
        let now = self.clock.now();
        let mut shelves = self.lock();
        let first = shelves.next_due();
        for (id, job) in rows {
            shelves.remove(id);
            if let Some(job) = job {
                shelves.insert(id, job.into(), now);
            }
        }
        let sooner = shelves.next_due().is_some_and(|due| first.is_none_or(|first| due < first));
        if sooner || shelves.is_overfull() {
            self.alarm.notify_one();
        }
    }

    /// Claims at most `max` jobs of `queue` that are to be had, first first.
    pub fn claim(&self, queue: &QueueName, max: usize) -> Claim {
        let (now, mut shelves) = (self.clock.now(), self.lock());
        shelves.advance(now);
        let ids = shelves.first(queue, max, now);
        shelves.claimed.extend(&ids);
        drop(shelves);
        Claim { index: self.clone(), ids }
    }

    /// What is rung when a job of `queue` becomes ready.
    ///
    /// # Errors
    /// `jobs.too_many_queues` past [`MAX_QUEUES`].
    pub fn bell(&self, queue: &QueueName) -> Result<Arc<Notify>> {
        Ok(self.lock().lane(queue)?.bell.clone())
    }

    /// Makes ready what waited for a time that has come. When the next thing is due; none for nothing.
    pub fn advance(&self) -> Option<Time> {
        let mut shelves = self.lock();
        shelves.advance(self.clock.now());
        shelves.next_due()
    }

    /// Jobs to which time has done something that is not written down yet, at most `limit`.
    pub fn lapsed(&self, limit: usize) -> Vec<Id> {
        let now = self.clock.now();
        self.lock().lapsing.iter().take_while(|(at, _)| *at <= now).take(limit).map(|(_, id)| *id).collect()
    }

    /// Jobs to be forgotten: too old or too many, at most `limit`.
    pub fn forgettable(&self, limit: usize) -> Vec<Id> {
        let (now, shelves) = (self.clock.now(), self.lock());
        let old = |shelf: &BTreeSet<(Time, Id)>, keep, most: usize| -> Vec<Id> {
            let surplus = shelf.len().saturating_sub(most);
            let due = shelf.iter().enumerate().take_while(|(n, (at, _))| *n < surplus || *at + keep <= now);
            due.map(|(_, (_, id))| *id).take(limit).collect()
        };
        let mut ids = old(&shelves.ended, KEEP_ENDED, MAX_ENDED);
        ids.extend(old(&shelves.dead, KEEP_DEAD, MAX_DEAD));
        ids.truncate(limit);
        ids
    }

    /// Makes sure that `more` jobs fit into `queue`. Those on their way to disk are not counted yet, so it may end up a little longer.
    ///
    /// # Errors
    /// `jobs.queue_full`, `jobs.too_many_queues`.
    pub fn room(&self, queue: &QueueName, more: usize, limit: usize) -> Result<()> {
        let mut shelves = self.lock();
        let lane = shelves.lane(queue)?;
        let length = lane.count(Phase::Queued) + lane.count(Phase::Leased);
        if length + more <= limit {
            return Ok(());
        }
        Err(Error::full("jobs.queue_full", format!("queue {queue} holds {length} jobs; its limit is {limit}"))
            .hint("let workers catch up, purge what is not needed (`grps jobs purge`), or raise JOB_QUEUE_LENGTH"))
    }

    /// Every queue, by name.
    pub fn stats(&self) -> Vec<QueueStats> {
        let mut shelves = self.lock();
        shelves.advance(self.clock.now());
        let mut out: Vec<QueueStats> = shelves.queues.iter().map(|(name, lane)| lane.stats(name)).collect();
        out.sort_by(|a, b| a.queue.cmp(&b.queue));
        out
    }

    /// At most `limit` jobs behind `after`, oldest first, of one queue or all, in one state or any.
    pub fn list(&self, queue: Option<&QueueName>, state: Option<State>, after: Id, limit: usize) -> Vec<Id> {
        let (mut out, mut after) = (Vec::new(), after);
        loop {
            let (now, shelves) = (self.clock.now(), self.lock());
            let mut seen = 0;
            for (id, card) in shelves.jobs.range(Id(after.0.saturating_add(1))..).take(STRIDE) {
                (seen, after) = (seen + 1, *id);
                let fits = queue.is_none_or(|queue| *queue == card.queue)
                    && state.is_none_or(|state| State::of(card.phase, card.ready_at, now) == state);
                if fits {
                    out.push(*id);
                }
                if out.len() == limit {
                    return out;
                }
            }
            if seen < STRIDE {
                return out;
            }
        }
    }

    /// The queue that a job is in.
    pub fn queue_of(&self, id: Id) -> Option<QueueName> {
        self.lock().jobs.get(&id).map(|card| card.queue.clone())
    }

    fn release(&self, ids: &[Id]) {
        let now = self.clock.now();
        let mut shelves = self.lock();
        for id in ids {
            shelves.claimed.remove(id);
            shelves.shelve(*id, now);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lane {
    fn stats(&self, name: &QueueName) -> QueueStats {
        // Within one priority the first is the oldest.
        let oldest = super::job::PRIORITIES.filter_map(|priority| {
            let level = (Reverse(priority), Id(0))..=(Reverse(priority), Id(u64::MAX));
            self.ready.range(level).next().map(|(_, id)| id.created_at())
        });
        QueueStats {
            queue: name.clone(),
            waiting: self.waiting,
            ready: self.count(Phase::Queued).saturating_sub(self.waiting),
            leased: self.count(Phase::Leased),
            delivered: self.count(Phase::Delivered),
            done: self.count(Phase::Done),
            dead: self.count(Phase::Dead),
            expired: self.count(Phase::Expired),
            oldest_ready: oldest.min(),
            last_arrival: self.last_arrival,
        }
    }
}

impl Shelves {
    /// The queue called `name`, made if it is new.
    fn lane(&mut self, name: &QueueName) -> Result<&mut Lane> {
        if !self.queues.contains_key(name) && self.queues.len() >= MAX_QUEUES {
            self.queues.retain(|_, lane| !lane.is_idle());
            if self.queues.len() >= MAX_QUEUES {
                return Err(Error::full("jobs.too_many_queues", format!("there are {MAX_QUEUES} queues already"))
                    .hint("use one of them; a queue goes when it has been empty for a day"));
            }
        }
        Ok(self.queues.entry(name.clone()).or_insert_with(Lane::new))
    }

    fn insert(&mut self, id: Id, mut card: Card, now: Time) {
        // What is stored is stored, so past the bound on queues too.
        let name = self.queues.get_key_value(&card.queue).map(|(name, _)| name.clone());
        // One text for all jobs of a queue.
        card.queue = name.unwrap_or(card.queue);
        let lane = self.queues.entry(card.queue.clone()).or_insert_with(Lane::new);
        *lane.counts.entry(card.phase).or_default() += 1;
        if let Some(at) = card.lapses_at {
            self.lapsing.insert((at, id));
        }
        match card.phase {
            Phase::Dead => self.dead.insert((card.since, id)),
            phase if phase.is_over() => self.ended.insert((card.since, id)),
            _ => false,
        };
        self.jobs.insert(id, card);
        self.shelve(id, now);
    }

    /// Puts a queued job that nobody has claimed where takers or time find it.
    fn shelve(&mut self, id: Id, now: Time) {
        let Some(card) = self.jobs.get(&id).filter(|card| card.phase == Phase::Queued) else { return };
        let Some(lane) = self.queues.get_mut(&card.queue) else { return };
        match card.ready_at.filter(|at| now < *at) {
            Some(at) => lane.waiting += usize::from(self.waiting.insert((at, id))),
            None if self.claimed.contains(&id) => {}
            None => {
                if lane.ready.insert((Reverse(card.priority), id)) {
                    self.arrivals += 1;
                    lane.last_arrival = self.arrivals;
                    lane.bell.notify_one();
                }
            }
        }
    }

    fn remove(&mut self, id: Id) {
        let Some(card) = self.jobs.remove(&id) else { return };
        if let Some(lane) = self.queues.get_mut(&card.queue) {
            if let Some(count) = lane.counts.get_mut(&card.phase) {
                *count -= 1;
            }
            lane.ready.remove(&(Reverse(card.priority), id));
            if card.ready_at.is_some_and(|at| self.waiting.remove(&(at, id))) {
                lane.waiting -= 1;
            }
        }
        if let Some(at) = card.lapses_at {
            self.lapsing.remove(&(at, id));
        }
        self.ended.remove(&(card.since, id));
        self.dead.remove(&(card.since, id));
    }

    fn advance(&mut self, now: Time) {
        while let Some((at, id)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) {
            self.waiting.remove(&(at, id));
            if let Some(lane) = self.jobs.get(&id).and_then(|card| self.queues.get_mut(&card.queue)) {
                lane.waiting -= 1;
            }
            self.shelve(id, now);
        }
    }

    /// Takes the first `max` ready jobs of `queue` off their shelf. Those whose time is over stay for who writes that down, and those whose
    /// time has not come after all, because the clock was set back, until it has.
    fn first(&mut self, queue: &QueueName, max: usize, now: Time) -> Vec<Id> {
        let Some(lane) = self.queues.get_mut(queue) else { return Vec::new() };
        let in_time =
            |card: &Card| card.ready_at.is_none_or(|at| at <= now) && card.lapses_at.is_none_or(|at| now < at);
        let to_be_had = |id: &Id| self.jobs.get(id).is_some_and(in_time);
        let first: Vec<_> = lane.ready.iter().filter(|(_, id)| to_be_had(id)).take(max).copied().collect();
        for place in &first {
            lane.ready.remove(place);
        }
        first.into_iter().map(|(_, id)| id).collect()
    }

    fn is_overfull(&self) -> bool {
        self.ended.len() > MAX_ENDED || self.dead.len() > MAX_DEAD
    }

    fn next_due(&self) -> Option<Time> {
        let forgotten = self.ended.first().map(|(at, _)| *at + KEEP_ENDED);
        let buried = self.dead.first().map(|(at, _)| *at + KEEP_DEAD);
        let [waiting, lapsing] = [&self.waiting, &self.lapsing].map(|shelf| shelf.first().map(|(at, _)| *at));
        [waiting, lapsing, forgotten, buried].into_iter().flatten().min()
    }
}

/// Jobs that one taker is trying to take.
pub struct Claim {
    index: Index,
    pub ids: Vec<Id>,
}

impl Drop for Claim {
    /// What was not taken is to be had again; what was taken has moved on.
    fn drop(&mut self) {
        if !self.ids.is_empty() {
            self.index.release(&self.ids);
        }
    }
}
