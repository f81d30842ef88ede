//! The jobs in memory, as order needs them: what is to be had in each queue, first priority, then age; what waits for a time; what is over.
//! It is the fold of the committed rows of [`super::tables::JOBS`], fed in commit order before a commit is acknowledged, and rebuilt from
//! them at start. A million jobs take about 130 MB.
//!
//! Rows decide, the index proposes: a taker *claims* what stands first, so that no two try the same, and then commits. A claim ends when its
//! taker is through, or gone.

mod shelves;
mod stats;

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

use self::shelves::Shelves;
pub use self::stats::QueueStats;
use super::job::{Job, Phase, QueueName};
use super::rules::{KEEP_DEAD, KEEP_ENDED, State};
use crate::base::{Clock, Error, Id, Result, Time};

/// Queues that may hold something at the same time.
pub const MAX_QUEUES: usize = 256;

/// Jobs in all queues and in every state.
pub const MAX_JOBS: usize = 4_000_000;

/// Jobs that are over and not dead, kept at most; the oldest are forgotten first.
pub const MAX_ENDED: usize = 100_000;

/// Dead jobs kept at most; the oldest are forgotten first.
pub const MAX_DEAD: usize = 100_000;

/// Jobs handled under one hold of the lock: committing waits for it.
const STRIDE: usize = 2_000;

/// The index. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Index {
    shared: Arc<Mutex<Shelves>>,
    clock: Clock,
    /// Rung when something is due sooner than what was known.
    alarm: Arc<Notify>,
}

/// What committed rows came to.
#[derive(Default)]
pub struct Applied {
    /// Jobs that were not there before.
    pub fresh: Vec<Id>,
    /// Jobs that are not there any more, and where they were.
    pub gone: Vec<(QueueName, Id)>,
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
    pub fn apply<'a>(&self, rows: impl IntoIterator<Item = (Id, Option<&'a Job>)>) -> Applied {
        let (now, mut applied) = (self.clock.now(), Applied::default());
        let mut shelves = self.lock();
        let first = shelves.next_due();
        for (id, job) in rows {
            match (shelves.remove(id), job) {
                (None, Some(_)) => applied.fresh.push(id),
                (Some(card), None) => applied.gone.push((card.queue, id)),
                _ => {}
            }
            if let Some(job) = job {
                shelves.insert(id, job.into(), now);
            }
        }
        let sooner = shelves.next_due().is_some_and(|due| first.is_none_or(|first| due < first));
        if sooner || shelves.is_overfull() {
            self.alarm.notify_one();
        }
        applied
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
    pub fn bell(&self, queue: &QueueName) -> Arc<Notify> {
        self.lock().lane(queue).bell.clone()
    }

    /// Brings everything up to the present time. When the next thing is due; none for nothing.
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

    /// Makes sure that `more` jobs fit into `queue`, which may hold `limit`. Those on their way to disk are not counted yet, so it may end up
    /// a little longer.
    ///
    /// # Errors
    /// `jobs.queue_full`, `jobs.too_many_queues`, `jobs.full`.
    pub fn room(&self, queue: &QueueName, more: usize, limit: usize) -> Result<()> {
        // What moves within a queue needs no room, though the queue may be over a limit that was lowered.
        if more == 0 {
            return Ok(());
        }
        let shelves = self.lock();
        let lane = shelves.queues.get(queue);
        let length = lane.map_or(0, |lane| lane.count(Phase::Queued) + lane.count(Phase::Leased));
        if length + more > limit {
            return Err(Error::full(
                "jobs.queue_full",
                format!("queue {queue} holds {length} jobs; its limit is {limit}"),
            )
            .hint("let workers catch up, purge what is not needed (`grps jobs purge`), or raise JOB_QUEUE_LENGTH"));
        }
        if shelves.jobs.len() + more > MAX_JOBS {
            return Err(Error::full("jobs.full", format!("all queues together hold {} jobs", shelves.jobs.len()))
                .hint("let workers catch up, or purge what is not needed (`grps jobs purge`)"));
        }
        // The usual queue is there for everyone, however many others there are.
        let new = lane.is_none_or(|lane| lane.jobs == 0) && *queue != QueueName::default();
        if new && shelves.occupied >= MAX_QUEUES {
            return Err(Error::full("jobs.too_many_queues", format!("{MAX_QUEUES} queues hold jobs already"))
                .hint("use one of them; a queue goes when all its jobs are forgotten, a day after they are over"));
        }
        Ok(())
    }

    /// Every queue that holds something, by name.
    pub fn stats(&self) -> Vec<QueueStats> {
        let mut shelves = self.lock();
        shelves.advance(self.clock.now());
        let occupied = shelves.queues.iter().filter(|(_, lane)| lane.jobs > 0);
        let mut out: Vec<QueueStats> = occupied.map(|(name, lane)| lane.stats(name, &shelves.jobs)).collect();
        out.sort_by(|a, b| a.queue.cmp(&b.queue));
        out
    }

    /// At most `limit` jobs behind `after`, oldest first, of one queue or all, in one state or any.
    pub async fn list(&self, queue: Option<&QueueName>, state: Option<State>, after: Id, limit: usize) -> Vec<Id> {
        let (mut out, mut after) = (Vec::new(), Some(after));
        while let Some(from) = after {
            after = self.look_through(&mut out, (queue, state), from, limit);
            // Others wait for the lock, and for this thread.
            tokio::task::yield_now().await;
        }
        out
    }

    /// Adds what fits among the next [`STRIDE`] jobs. Where to go on; none at the end.
    fn look_through(
        &self,
        out: &mut Vec<Id>,
        (queue, state): (Option<&QueueName>, Option<State>),
        from: Id,
        limit: usize,
    ) -> Option<Id> {
        let (now, shelves) = (self.clock.now(), self.lock());
        let (mut seen, mut last) = (0, from);
        for (id, card) in shelves.jobs.range(Id(from.0.saturating_add(1))..).take(STRIDE) {
            (seen, last) = (seen + 1, *id);
            let fits = queue.is_none_or(|queue| *queue == card.queue)
                && state.is_none_or(|state| State::of(card.phase, card.ready_at, now) == state);
            if fits {
                out.push(*id);
            }
            if out.len() == limit {
                return None;
            }
        }
        (seen == STRIDE).then_some(last)
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
