//! What operators do: look, requeue, purge.

use super::job::{Job, Phase, QueueName};
use super::meters::Event;
use super::rules::State;
use super::service::{Jobs, missing};
use super::tables::{JOB_KEY_ENDS, JOB_KEYS, JOBS, JOBS_FORGOTTEN};
use crate::base::{Error, Id, Result};
use crate::domains::audit;
use crate::domains::auth::Sender;
use crate::store::Tx;

/// Jobs on one page of a list at most.
pub const MAX_LIST: usize = 200;

/// Jobs changed in one commit.
const STEP: usize = 100;

/// Jobs that one request requeues or purges at most.
pub const MAX_BULK: usize = 10_000;

/// Which jobs are meant.
#[derive(Debug, Clone)]
pub struct Selection {
    pub queue: QueueName,
    pub state: State,
    /// At most so many, oldest first.
    pub limit: usize,
}

/// What is to be done with many jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bulk {
    Requeue,
    Purge,
}

/// How that went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    pub matched: usize,
    pub changed: usize,
}

impl Jobs {
    /// At most `limit` jobs behind `after`, oldest first, of one queue or all, in one state or any; and behind what to go on, if there may be
    /// more.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list(
        &self,
        queue: Option<&QueueName>,
        state: Option<State>,
        after: Id,
        limit: usize,
    ) -> Result<(Vec<Job>, Option<Id>)> {
        let (now, limit) = (self.0.clock.now(), limit.clamp(1, MAX_LIST));
        let ids = self.0.index.list(queue, state, after, limit).await;
        let found = self.0.store.get_many(&JOBS, &ids).await?.into_iter().flatten();
        // Some may have moved on since.
        let jobs = found.filter(|job| state.is_none_or(|state| job.state(now) == state)).collect();
        let next = ids.last().copied().filter(|_| ids.len() == limit);
        Ok((jobs, next))
    }

    /// Puts one job back into its queue, to be had at once.
    ///
    /// # Errors
    /// `jobs.missing`; `jobs.leased` while somebody holds it; `jobs.queue_full`; those of the store.
    pub async fn requeue(&self, id: Id, asker: &Sender) -> Result<Job> {
        let (now, row) = (self.0.clock.now(), self.0.ids.next());
        let work = |tx: Tx| async move {
            let mut job = tx.get(&JOBS, &id).await?.ok_or_else(|| missing(id))?;
            let before = job.state(now);
            self.0.index.room(&job.queue, usize::from(job.phase.is_over()), self.0.config.queue_length)?;
            job.requeue(now)?;
            tx.put(&JOBS, &id, &job);
            let entry = asker.entry(now, "job.requeued", format!("job:{id}"));
            audit::record(&tx, row, &entry.before(before.text()).after(job.state(now).text()));
            Ok(job)
        };
        let job = self.0.store.transact(work).await?;
        self.0.meters.count(&job.queue, Event::Requeued);
        Ok(job)
    }

    /// How many jobs are meant.
    pub async fn count(&self, selection: &Selection) -> usize {
        self.meant(selection).await.len()
    }

    async fn meant(&self, selection: &Selection) -> Vec<Id> {
        let limit = selection.limit.min(MAX_BULK);
        self.0.index.list(Some(&selection.queue), Some(selection.state), Id(0), limit).await
    }

    /// Requeues or purges what is meant, in steps of a commit each; every step has its audit row. Jobs that move meanwhile are left alone.
    ///
    /// # Errors
    /// `jobs.leased` for leased jobs; `jobs.queue_full` when no more fit; those of the store. They leave the steps before done.
    pub async fn bulk(&self, what: Bulk, selection: &Selection, asker: &Sender) -> Result<Changed> {
        if selection.state == State::Leased {
            return Err(Error::conflict("jobs.leased", "leased jobs are held by somebody, and left to them")
                .hint("wait until their leases end"));
        }
        let ids = self.meant(selection).await;
        let mut changed = 0;
        for step in ids.chunks(STEP) {
            changed += self.step(what, selection, step, asker).await?;
        }
        Ok(Changed { matched: ids.len(), changed })
    }

    async fn step(&self, what: Bulk, selection: &Selection, ids: &[Id], asker: &Sender) -> Result<usize> {
        let (now, row) = (self.0.clock.now(), self.0.ids.next());
        let work = |tx: Tx| async move {
            let found = tx.get_many(&JOBS, ids).await?.into_iter().flatten();
            let meant: Vec<Job> = found.filter(|job| job.state(now) == selection.state).collect();
            match what {
                Bulk::Purge => {
                    forget(&tx, &meant).await?;
                    free_keys(&tx, &meant).await?;
                }
                Bulk::Requeue => {
                    let back = meant.iter().filter(|job| job.phase.is_over()).count();
                    self.0.index.room(&selection.queue, back, self.0.config.queue_length)?;
                    for mut job in meant.iter().cloned() {
                        job.requeue(now)?;
                        tx.put(&JOBS, &job.id, &job);
                    }
                }
            }
            if !meant.is_empty() {
                let entry = asker.entry(now, what.action(), format!("queue:{}", selection.queue));
                let before = format!("{} {} jobs", meant.len(), selection.state.text());
                audit::record(&tx, row, &entry.before(before));
            }
            Ok(meant.iter().map(|job| job.id).collect::<Vec<Id>>())
        };
        let done = self.0.store.transact(work).await?;
        let event = if what == Bulk::Purge { Event::Purged } else { Event::Requeued };
        done.iter().for_each(|_| self.0.meters.count(&selection.queue, event));
        Ok(done.len())
    }

    /// Forgets jobs that are over and have been kept long enough. How many.
    pub(super) async fn forget_old(&self, limit: usize) -> Result<usize> {
        let ids = &self.0.index.forgettable(limit);
        if ids.is_empty() {
            return Ok(0);
        }
        let work = |tx: Tx| async move {
            let found: Vec<Job> = tx.get_many(&JOBS, ids).await?.into_iter().flatten().collect();
            let over: Vec<Job> = found.into_iter().filter(|job| job.phase.is_over()).collect();
            forget(&tx, &over).await?;
            Ok(over.len())
        };
        self.0.store.transact(work).await
    }

    /// Writes down what time has done. How many jobs that were.
    pub(super) async fn lapse(&self, limit: usize) -> Result<usize> {
        let (now, ids) = (self.0.clock.now(), &self.0.index.lapsed(limit));
        if ids.is_empty() {
            return Ok(0);
        }
        let work = |tx: Tx| async move {
            let mut moved = Vec::new();
            for mut job in tx.get_many(&JOBS, ids).await?.into_iter().flatten() {
                let was = job.phase;
                if job.lapse(now) {
                    tx.put(&JOBS, &job.id, &job);
                    moved.push((job.queue.clone(), was, job.phase));
                }
            }
            Ok(moved)
        };
        let moved = self.0.store.transact(work).await?;
        for (queue, was, is) in &moved {
            let meters = &self.0.meters;
            if *was == Phase::Leased {
                meters.count(queue, Event::LeaseEnded);
            }
            match is {
                Phase::Dead => meters.count(queue, Event::Died),
                Phase::Expired => meters.count(queue, Event::Expired),
                _ => {}
            }
        }
        Ok(moved.len())
    }
}

impl Bulk {
    fn action(self) -> &'static str {
        match self {
            Bulk::Requeue => "jobs.requeued",
            Bulk::Purge => "jobs.purged",
        }
    }
}

/// Removes `jobs`, and notes that mirrors may have missed them.
async fn forget(tx: &Tx, jobs: &[Job]) -> Result<()> {
    for job in jobs {
        tx.delete(&JOBS, &job.id);
        if tx.get(&JOBS_FORGOTTEN, &job.queue).await?.is_none_or(|last| last < job.id) {
            tx.put(&JOBS_FORGOTTEN, &job.queue, &job.id);
        }
    }
    Ok(())
}

/// Lets the idempotency keys of `jobs` stand for others: who repeats a request for a job that was purged means it.
async fn free_keys(tx: &Tx, jobs: &[Job]) -> Result<()> {
    for job in jobs {
        let Some(key) = &job.key else { continue };
        let slot = (job.queue.clone(), key.clone());
        if let Some(known) = tx.get(&JOB_KEYS, &slot).await?.filter(|known| known.job == job.id) {
            tx.delete(&JOB_KEYS, &slot);
            tx.delete(&JOB_KEY_ENDS, &(known.ends_at, slot.0, slot.1));
        }
    }
    Ok(())
}
