//! Group commit: one thread takes what has queued up, decides each batch in order, writes the survivors as one, syncs once, and only then
//! tells followers and submitters.
//!
//! A group goes through four steps, each with one owner: `decide` (asserts against the keyspace and the earlier batches of the group),
//! `Keyspace::apply` (one sled batch), `Files::make_durable` (one sync), publish and acknowledge. What makes a group durable is known to
//! [`Committer::write`] alone; a log of our own in front of sled belongs there, before `apply`.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use tokio::sync::{mpsc, oneshot};

use super::keyspace::{Keyspace, Writes};
use crate::base::clock::Stopwatch;
use crate::base::metrics::Metrics;
use crate::base::{Error, Result};
use crate::store::engine::{Batch, MAX_GROUP_COMMITS, MAX_GROUP_OPS, Outcome, Publish};

/// How long a group may wait for submitters that were just answered to come back; the wait ends as soon as the group is as large as the one
/// before. It makes groups fuller, so the disk syncs less often; it was not seen to change throughput.
const LINGER: Duration = Duration::from_micros(150);

pub(super) enum Message {
    Commit(Pending),
    Sync(oneshot::Sender<Result<()>>),
    Close(oneshot::Sender<Result<()>>),
}

/// A batch and who waits for it.
pub(super) struct Pending {
    pub batch: Batch,
    pub done: oneshot::Sender<Result<Outcome>>,
}

/// What the committer shares with readers and submitters.
pub(super) struct Shared {
    pub keyspace: Keyspace,
    pub publish: OnceLock<Publish>,
    /// Set by the first failed write; what is on disk is unknown from then on.
    pub fault: OnceLock<Error>,
    pub closed: AtomicBool,
}

#[derive(Clone)]
pub(super) struct Meters {
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
                "Groups of commits made durable with one flush",
                Counter::default(),
            ),
            group_size: metrics.register("store_group_commits", "Commits that shared one flush", sizes),
            queue_depth: metrics.register("store_queue_depth", "Messages waiting for the committer", Gauge::default()),
        }
    }
}

pub(super) struct Committer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Message>,
    /// Taken from the queue, but not part of the group being gathered.
    held: Option<Message>,
    last_group: usize,
    meters: Meters,
}

impl Committer {
    pub fn new(shared: Arc<Shared>, queue: mpsc::Receiver<Message>, meters: Meters) -> Self {
        Self { shared, queue, held: None, last_group: 0, meters }
    }

    /// Runs until closed, or until every submitter is gone; what was queued is committed either way.
    pub fn run(mut self) {
        let mut closing = None;
        while let Some(message) = self.held.take().or_else(|| self.queue.blocking_recv()) {
            match message {
                Message::Commit(first) => {
                    let group = self.gather(first);
                    self.commit(group);
                }
                Message::Sync(done) => drop(done.send(self.sync())),
                Message::Close(done) => {
                    self.queue.close();
                    closing = Some(done);
                }
            }
        }
        let synced = self.sync();
        self.shared.closed.store(true, Ordering::SeqCst);
        if let Some(done) = closing {
            let _ = done.send(synced);
        }
    }

    fn gather(&mut self, first: Pending) -> Vec<Pending> {
        let mut ops = first.batch.writes.len();
        let mut group = Vec::with_capacity(MAX_GROUP_COMMITS);
        group.push(first);
        let waited = Stopwatch::start();
        while group.len() < MAX_GROUP_COMMITS && self.held.is_none() {
            match self.queue.try_recv() {
                Ok(Message::Commit(next)) if ops + next.batch.writes.len() <= MAX_GROUP_OPS => {
                    ops += next.batch.writes.len();
                    group.push(next);
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

    fn commit(&self, mut group: Vec<Pending>) {
        if let Err(fault) = self.write_unless_faulty(&mut group) {
            group.into_iter().for_each(|pending| drop(pending.done.send(Err(fault.clone()))));
            return;
        }
        for pending in &group {
            self.publish(&pending.batch);
        }
        for pending in group {
            let _ = pending.done.send(Ok(Outcome::Committed));
        }
    }

    fn write_unless_faulty(&self, group: &mut Vec<Pending>) -> Result<()> {
        if let Some(fault) = self.shared.fault.get() {
            return Err(fault.clone());
        }
        guarded(|| self.write(group)).inspect_err(|fault| {
            tracing::error!(error = ?fault, "a commit failed; the store takes no more writes until it is reopened");
            let _ = self.shared.fault.set(fault.clone());
        })
    }

    /// Makes the group durable; the batches that conflict are answered and taken out of it.
    fn write(&self, group: &mut Vec<Pending>) -> Result<()> {
        let (keep, writes) = decide(&self.shared.keyspace, group)?;
        let changed = !writes.is_empty();
        if changed {
            self.shared.keyspace.apply(&writes)?;
        }
        // After `apply`, so that whoever tries again sees what it lost to, and while the disk is busy anyway.
        answer_conflicts(group, &keep);
        if changed {
            self.shared.keyspace.files.make_durable()?;
            self.meters.groups.inc();
            self.meters.group_size.observe(group.len() as f64);
        }
        Ok(())
    }

    fn publish(&self, batch: &Batch) {
        let Some(publish) = self.shared.publish.get().filter(|_| !batch.writes.is_empty()) else { return };
        if let Err(panic) = guarded(|| {
            publish(&batch.writes);
            Ok(())
        }) {
            tracing::error!(error = ?panic, "telling followers of a commit failed");
        }
    }

    fn sync(&self) -> Result<()> {
        match self.shared.fault.get() {
            Some(fault) => Err(fault.clone()),
            None => guarded(|| self.shared.keyspace.files.make_durable()),
        }
    }
}

/// Which batches hold, each seeing the ones before it, and what they write together.
fn decide<'a>(keyspace: &Keyspace, group: &'a [Pending]) -> Result<(Vec<bool>, Writes<'a>)> {
    let mut keep = Vec::with_capacity(group.len());
    let mut writes: Writes<'a> = HashMap::new();
    for pending in group {
        let holds = holds(keyspace, &writes, &pending.batch)?;
        if holds {
            writes.extend(pending.batch.writes.iter().map(|row| (&row.key, &row.value)));
        }
        keep.push(holds);
    }
    Ok((keep, writes))
}

fn holds(keyspace: &Keyspace, writes: &Writes<'_>, batch: &Batch) -> Result<bool> {
    for row in &batch.asserts {
        let same = match writes.get(&row.key) {
            Some(&value) => *value == row.value,
            None => keyspace.holds(&row.key, row.value.as_deref())?,
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

/// sled and followers may panic; the thread that everyone waits for may not.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        Err(Error::broken("store.panicked", crate::store::engine::panic_message(panic.as_ref())))
    })
}
