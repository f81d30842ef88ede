//! Where each job stands: one card a job, and the shelves that keep cards in the orders that are asked for.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use tokio::sync::Notify;

use super::stats::QueueStats;
use super::{MAX_DEAD, MAX_ENDED, STRIDE};
use crate::base::{Id, Time};
use crate::domains::jobs::job::{Job, PRIORITIES, Phase, QueueName};
use crate::domains::jobs::rules::{KEEP_DEAD, KEEP_ENDED};

/// Queues that hold nothing and are swept away when somebody waits at so many more than hold something.
const IDLE_LANES: usize = 1024;

#[derive(Default)]
pub(super) struct Shelves {
    pub jobs: BTreeMap<Id, Card>,
    pub queues: HashMap<QueueName, Lane>,
    /// Queues that hold something.
    pub occupied: usize,
    /// Jobs that can be had later; time alone makes them ready.
    waiting: BTreeSet<(Time, Id)>,
    /// Jobs to which time will do something that has to be written down.
    pub lapsing: BTreeSet<(Time, Id)>,
    /// Of these, the ready ones: time alone takes them out of reach.
    mortal: BTreeSet<(Time, Id)>,
    /// Jobs that are over, by when that was.
    pub ended: BTreeSet<(Time, Id)>,
    pub dead: BTreeSet<(Time, Id)>,
    pub claimed: HashSet<Id>,
    /// Jobs that ever became ready, over all queues: a queue may go and come again.
    arrivals: u64,
    /// The time everything above was last brought up to.
    reached: Time,
}

/// What is known of one job.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Card {
    pub queue: QueueName,
    pub priority: i8,
    pub phase: Phase,
    pub ready_at: Option<Time>,
    pub lapses_at: Option<Time>,
    pub since: Time,
}

/// One queue.
pub(super) struct Lane {
    ready: BTreeSet<(Reverse<i8>, Id)>,
    /// Queued jobs whose time has not come.
    waiting: usize,
    counts: HashMap<Phase, usize>,
    pub jobs: usize,
    /// Rung once for every job that becomes ready.
    pub bell: Arc<Notify>,
    /// [`Shelves::arrivals`] when the last job became ready here.
    last_arrival: u64,
}

impl Lane {
    fn new() -> Self {
        Self {
            ready: BTreeSet::new(),
            waiting: 0,
            counts: HashMap::new(),
            jobs: 0,
            bell: Arc::new(Notify::new()),
            last_arrival: 0,
        }
    }

    pub fn count(&self, phase: Phase) -> usize {
        self.counts.get(&phase).copied().unwrap_or(0)
    }

    /// Whether it can go: it holds nothing, and nobody waits at it.
    fn is_idle(&self) -> bool {
        self.jobs == 0 && Arc::strong_count(&self.bell) == 1
    }

    /// The queue as people see it. `jobs` are all cards.
    pub fn stats(&self, name: &QueueName, jobs: &BTreeMap<Id, Card>) -> QueueStats {
        // Within one priority the first is the oldest.
        let firsts = PRIORITIES.filter_map(|priority| {
            let level = (Reverse(priority), Id(0))..=(Reverse(priority), Id(u64::MAX));
            self.ready.range(level).next().map(|(_, id)| id)
        });
        let since = |id: &Id| {
            let ready_at = jobs.get(id).and_then(|card| card.ready_at);
            ready_at.map_or(id.created_at(), |at| at.max(id.created_at()))
        };
        QueueStats {
            queue: name.clone(),
            waiting: self.waiting,
            ready: self.count(Phase::Queued).saturating_sub(self.waiting),
            leased: self.count(Phase::Leased),
            delivered: self.count(Phase::Delivered),
            done: self.count(Phase::Done),
            dead: self.count(Phase::Dead),
            expired: self.count(Phase::Expired),
            oldest_ready: firsts.map(since).min(),
            last_arrival: self.last_arrival,
        }
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

impl Shelves {
    /// The queue called `name`, made if it is new. Who only waits at it makes it too, so those that hold nothing are swept away now and then.
    pub fn lane(&mut self, name: &QueueName) -> &mut Lane {
        if self.queues.len() > self.occupied + IDLE_LANES {
            self.queues.retain(|_, lane| !lane.is_idle());
        }
        self.queues.entry(name.clone()).or_insert_with(Lane::new)
    }

    pub fn insert(&mut self, id: Id, mut card: Card, now: Time) {
        // One text for all jobs of a queue.
        let name = self.queues.get_key_value(&card.queue).map(|(name, _)| name.clone());
        card.queue = name.unwrap_or(card.queue);
        let lane = self.queues.entry(card.queue.clone()).or_insert_with(Lane::new);
        *lane.counts.entry(card.phase).or_default() += 1;
        self.occupied += usize::from(lane.jobs == 0);
        lane.jobs += 1;
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
    pub fn shelve(&mut self, id: Id, now: Time) {
        let Some(card) = self.jobs.get(&id).filter(|card| card.phase == Phase::Queued) else { return };
        let Some(lane) = self.queues.get_mut(&card.queue) else { return };
        if let Some(at) = card.ready_at.filter(|at| now < *at) {
            lane.waiting += usize::from(self.waiting.insert((at, id)));
            return;
        }
        if self.claimed.contains(&id) || card.lapses_at.is_some_and(|at| at <= now) {
            return;
        }
        if let Some(at) = card.lapses_at {
            self.mortal.insert((at, id));
        }
        if lane.ready.insert((Reverse(card.priority), id)) {
            self.arrivals += 1;
            lane.last_arrival = self.arrivals;
            lane.bell.notify_one();
        }
    }

    /// Takes everything that is known of a job away, and gives it back; none for a new one.
    pub fn remove(&mut self, id: Id) -> Option<Card> {
        let card = self.jobs.remove(&id)?;
        if let Some(lane) = self.queues.get_mut(&card.queue) {
            if let Some(count) = lane.counts.get_mut(&card.phase) {
                *count -= 1;
            }
            lane.jobs -= 1;
            self.occupied -= usize::from(lane.jobs == 0);
            lane.ready.remove(&(Reverse(card.priority), id));
            if card.ready_at.is_some_and(|at| self.waiting.remove(&(at, id))) {
                lane.waiting -= 1;
            }
        }
        if let Some(at) = card.lapses_at {
            self.lapsing.remove(&(at, id));
            self.mortal.remove(&(at, id));
        }
        self.ended.remove(&(card.since, id));
        self.dead.remove(&(card.since, id));
        Some(card)
    }

    /// Brings the shelves up to `now`: what waited becomes ready, what was mortal gets out of reach. At most [`STRIDE`] of each, since
    /// commits wait for the lock; what is left is due at once.
    pub fn advance(&mut self, now: Time) {
        if now < self.reached {
            self.go_back(now);
        }
        self.reached = now;
        for _ in 0..STRIDE {
            let Some((at, id)) = self.waiting.first().copied().filter(|(at, _)| *at <= now) else { break };
            self.waiting.remove(&(at, id));
            if let Some(lane) = self.jobs.get(&id).and_then(|card| self.queues.get_mut(&card.queue)) {
                lane.waiting -= 1;
            }
            self.shelve(id, now);
        }
        for _ in 0..STRIDE {
            let Some((at, id)) = self.mortal.first().copied().filter(|(at, _)| *at <= now) else { break };
            self.mortal.remove(&(at, id));
            if let Some(card) = self.jobs.get(&id)
                && let Some(lane) = self.queues.get_mut(&card.queue)
            {
                lane.ready.remove(&(Reverse(card.priority), id));
            }
        }
    }

    /// The clock was set back: whose time was over has some again. Whose time had come is found not to be ready when it is to be taken.
    fn go_back(&mut self, now: Time) {
        let span = (now, Id(0))..=(self.reached, Id(u64::MAX));
        let again: Vec<Id> = self.lapsing.range(span).map(|(_, id)| *id).collect();
        again.into_iter().for_each(|id| self.shelve(id, now));
    }

    /// Takes the first `max` ready jobs of `queue` off their shelf. Those whose time has not come after all, because the clock was set back,
    /// stay until it has; and those whose time is over, until that is written down.
    pub fn first(&mut self, queue: &QueueName, max: usize, now: Time) -> Vec<Id> {
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

    pub fn is_overfull(&self) -> bool {
        self.ended.len() > MAX_ENDED || self.dead.len() > MAX_DEAD
    }

    pub fn next_due(&self) -> Option<Time> {
        let forgotten = self.ended.first().map(|(at, _)| *at + KEEP_ENDED);
        let buried = self.dead.first().map(|(at, _)| *at + KEEP_DEAD);
        let [waiting, lapsing] = [&self.waiting, &self.lapsing].map(|shelf| shelf.first().map(|(at, _)| *at));
        [waiting, lapsing, forgotten, buried].into_iter().flatten().min()
    }
}
