//! All runs in memory, the fold of the committed rows of [`super::tables::SYNC_JOBS`]: there are at most a few hundred. Who waits for a run
//! is told of every change here; the worker finds here what to do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::Notify;

use super::run::{Run, State, Tally};
use crate::base::Id;
use crate::base::metrics::Metrics;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

/// Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Board {
    runs: Arc<Mutex<BTreeMap<Id, Run>>>,
    /// Told of every commit that touches a run.
    news: Arc<Notify>,
    entries: Family<Outcome, Counter>,
    running: Gauge,
}

impl Board {
    pub fn new(metrics: &Metrics) -> Self {
        let entries = "Entries of the data store that were read, by what came of them";
        Self {
            runs: Arc::default(),
            news: Arc::default(),
            entries: metrics.register("sync_entries", entries, Family::default()),
            running: metrics.register("sync_running", "Runs of the sync that are under way", Gauge::default()),
        }
    }

    /// Takes in committed rows.
    pub fn apply(&self, rows: Vec<(Id, Option<Run>)>) {
        let mut runs = self.lock();
        for (id, run) in rows {
            match run {
                Some(run) => runs.insert(id, run),
                None => runs.remove(&id),
            };
        }
        self.running.set(runs.values().filter(|run| run.state.is_live()).count() as i64);
        drop(runs);
        self.news.notify_waiters();
    }

    pub fn news(&self) -> Arc<Notify> {
        self.news.clone()
    }

    pub fn find(&self, id: Id) -> Option<Run> {
        self.lock().get(&id).cloned()
    }

    /// The runs that the worker has to do with, oldest first.
    pub fn live(&self) -> Vec<(Id, Run)> {
        self.lock().iter().filter(|(_, run)| run.state.is_live()).map(|(id, run)| (*id, run.clone())).collect()
    }

    /// At most `limit` runs below `below`, newest first.
    pub fn page(&self, below: Id, limit: usize) -> Vec<(Id, Run)> {
        self.lock().range(..below).rev().take(limit).map(|(id, run)| (*id, run.clone())).collect()
    }

    /// The oldest of those that are over, when there are more than `keep` of them.
    pub fn surplus(&self, keep: usize) -> Option<Id> {
        let runs = self.lock();
        let mut over = runs.iter().filter(|(_, run)| !run.state.is_live()).map(|(id, _)| *id);
        let oldest = over.next()?;
        (over.count() >= keep).then_some(oldest)
    }

    /// The newest run, if that is one that failed.
    pub fn failing(&self) -> Option<(Id, Run)> {
        let runs = self.lock();
        let newest = runs.iter().next_back();
        newest.filter(|(_, run)| run.state == State::Failed).map(|(id, run)| (*id, run.clone()))
    }

    /// What a commit counted, for Prometheus.
    pub fn counted(&self, tally: &Tally) {
        for (outcome, count) in [
            ("created", tally.created),
            ("updated", tally.updated),
            ("unchanged", tally.unchanged),
            ("deleted", tally.deleted),
            ("failed", tally.failed),
        ] {
            if count > 0 {
                self.entries.get_or_create(&Outcome { outcome }).inc_by(count);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, Run>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
