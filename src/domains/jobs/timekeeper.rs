//! The worker that carries out what time does to jobs: leases and times to live end, waiting jobs become ready, old ones are forgotten. The
//! rows stay true without it, since every rule looks at the clock itself; it makes the end of a lease an event.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::service::Jobs;
use super::tables::{JOB_KEY_ENDS, JOB_KEYS};
use crate::base::Result;
use crate::base::clock::Stopwatch;
use crate::store::Tx;
use crate::workers::{Next, Worker};

/// Jobs, or keys, changed in one commit.
const STEP: usize = 100;

/// Longest pause, which is how old the gauges may be. Also covers a clock that was set.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Shortest pause between two looks for the same thing to do.
const BREATH: Duration = Duration::from_millis(5);

/// How often old idempotency keys are looked for.
const KEYS_EVERY: Duration = Duration::from_secs(60);

pub struct Timekeeper {
    jobs: Jobs,
    keys_looked: Option<Stopwatch>,
}

impl Timekeeper {
    pub fn new(jobs: Jobs) -> Self {
        Self { jobs, keys_looked: None }
    }

    async fn step(&mut self) -> Result<Next> {
        let inner = &self.jobs.0;
        inner.tail.line().expire();
        inner.meters.show(&inner.index.stats(), inner.clock.now());
        let mut done = self.jobs.lapse(STEP).await?;
        done += self.jobs.forget_old(STEP).await?;
        done += self.forget_keys().await?;
        if done > 0 {
            return Ok(Next::Now);
        }
        let inner = &self.jobs.0;
        let due = inner.index.advance().map_or(LOOK_EVERY, |due| due.since(inner.clock.now()));
        Ok(Next::After(due.clamp(BREATH, LOOK_EVERY)))
    }

    /// Forgets idempotency keys whose time is over. How many.
    async fn forget_keys(&mut self) -> Result<usize> {
        let (now, store) = (self.jobs.0.clock.now(), &self.jobs.0.store);
        if self.keys_looked.is_some_and(|at| at.elapsed() < KEYS_EVERY) {
            return Ok(0);
        }
        let page = store.scan(JOB_KEY_ENDS.all(), STEP).await?;
        let over: Vec<_> = page.items.into_iter().map(|(end, ())| end).filter(|(at, _, _)| *at <= now).collect();
        let ends = &over;
        let work = |tx: Tx| async move {
            for end in ends {
                // A purge may have been here first; keys are counted by these rows, so each goes once.
                if tx.get(&JOB_KEY_ENDS, end).await?.is_none() {
                    continue;
                }
                let slot = (end.1.clone(), end.2.clone());
                // Used again after its time, it has a later end.
                if tx.get(&JOB_KEYS, &slot).await?.is_some_and(|known| known.ends_at <= now) {
                    tx.delete(&JOB_KEYS, &slot);
                }
                tx.delete(&JOB_KEY_ENDS, end);
            }
            Ok(())
        };
        if !over.is_empty() {
            store.transact(work).await?;
        }
        if over.len() < STEP {
            self.keys_looked = Some(Stopwatch::start());
        }
        Ok(over.len())
    }
}

impl Worker for Timekeeper {
    fn name(&self) -> &'static str {
        "jobs"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.step())
    }

    fn wake(&self) -> Option<Arc<Notify>> {
        Some(self.jobs.0.index.alarm())
    }
}
