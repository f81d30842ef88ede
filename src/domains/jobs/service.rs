//! The queues as the program sees them, and how jobs get in.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use twox_hash::XxHash3_64;

use super::config::Config;
use super::index::{Index, QueueStats};
use super::job::{Job, NewJob, QueueName};
use super::meters::{Event, Meters};
use super::tables::{JOB_KEY_ENDS, JOB_KEYS, JOBS, JOBS_FORGOTTEN, KeyUse};
use super::tail::{Line, Opened, Tail};
use crate::base::metrics::Metrics;
use crate::base::{Clock, Error, Id, Ids, Kind, Result};
use crate::store::{Key, MAX_PAGE, Record, Store, Table, Tx};

/// Jobs in one request at most.
pub const MAX_BATCH: usize = 100;

/// How long an idempotency key stands for the job it was first used for (requirement J1).
pub const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Idempotency keys remembered at most.
pub const MAX_KEYS: usize = 4_000_000;

/// A key and the queue it is of.
type Slot = (QueueName, String);

/// All queues. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Jobs(pub(super) Arc<Inner>);

pub(super) struct Inner {
    pub store: Store,
    pub clock: Clock,
    pub ids: Ids,
    pub config: Config,
    pub index: Index,
    pub tail: Tail,
    pub meters: Meters,
    /// Idempotency keys that stand for a job.
    pub keys: Arc<AtomicUsize>,
    /// A seat for everybody who waits for a job.
    pub seats: Semaphore,
    pub stopping: watch::Sender<bool>,
}

/// A job that is in its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Enqueued {
    pub id: Id,
    /// It was there already, under the same idempotency key.
    pub replayed: bool,
}

/// Jobs with their ids, on their way into a commit. When that has ended, say how with [`Prepared::settle`].
pub struct Prepared {
    jobs: Vec<Job>,
    opened: Opened,
}

impl Prepared {
    /// The commit has ended, with this. After a fault of the disk, and without this call, it may still turn out to be there: mirrors wait a
    /// few seconds for it.
    pub fn settle<T>(mut self, outcome: &Result<T>) {
        if !outcome.as_ref().is_err_and(|error| error.kind() == Kind::Broken) {
            self.opened.settle();
        }
    }
}

impl Jobs {
    /// Reads all jobs once, and follows them from then on.
    ///
    /// # Errors
    /// Those of reading the store.
    pub async fn open(store: &Store, clock: Clock, ids: Ids, config: Config, metrics: &Metrics) -> Result<Self> {
        let newest = store.scan(JOBS.all().newest_first(), 1).await?.items.first().map_or(Id(0), |(id, _)| *id);
        let mut forgotten: HashMap<QueueName, Id> = HashMap::new();
        each_page(store, &JOBS_FORGOTTEN, |page| forgotten.extend(page)).await?;
        let last = forgotten.values().copied().fold(newest, Id::max);
        let mut count = 0;
        each_page(store, &JOB_KEY_ENDS, |page| count += page.len()).await?;
        let keys = Arc::new(AtomicUsize::new(count));
        let tail = Tail::new(store.clone(), ids.clone(), last, forgotten);
        let (index, meters) = (Index::new(clock.clone()), Meters::new(metrics));
        follow(store, &index, tail.line(), &meters, &keys);
        each_page(store, &JOBS, |page| drop(index.apply(page.iter().map(|(id, job)| (*id, Some(job)))))).await?;
        let (seats, store, stopping) = (Semaphore::new(config.waiters), store.clone(), watch::Sender::new(false));
        Ok(Self(Arc::new(Inner { store, clock, ids, config, index, tail, meters, keys, seats, stopping })))
    }

    /// Puts jobs into their queues, all or none. They are on disk when this returns.
    ///
    /// # Errors
    /// As [`Jobs::prepare`] and [`Jobs::add`].
    pub async fn submit(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        let prepared = self.prepare(jobs)?;
        let shared = &prepared;
        let done = self.0.store.transact(|tx| async move { self.add(&tx, shared).await }).await;
        prepared.settle(&done);
        done
    }

    /// Checks jobs and gives them their ids, before a transaction of the caller's.
    ///
    /// # Errors
    /// `jobs.batch_too_large`, `jobs.payload_too_large`; `request.invalid` for what is out of range.
    pub fn prepare(&self, jobs: Vec<NewJob>) -> Result<Prepared> {
        if jobs.len() > MAX_BATCH {
            let detail = format!("{} jobs are more than the {MAX_BATCH} that go into one request", jobs.len());
            return Err(Error::too_large("jobs.batch_too_large", detail).hint("send them in several requests"));
        }
        jobs.iter().try_for_each(NewJob::check)?;
        let (opened, now) = (self.0.tail.open(jobs.len()), self.0.clock.now());
        let jobs = jobs.iter().zip(&opened.ids).map(|(job, id)| job.queued(*id, now)).collect();
        Ok(Prepared { jobs, opened })
    }

    /// Adds prepared jobs to the commit of `tx`. May run again with it.
    ///
    /// # Errors
    /// `jobs.key_reused` when an idempotency key already stands for another job; `jobs.queue_full`, `jobs.full`, `jobs.too_many_queues`,
    /// `jobs.too_many_keys`; those of the store.
    pub async fn add(&self, tx: &Tx, prepared: &Prepared) -> Result<Vec<Enqueued>> {
        self.offer(tx, prepared).await?
    }

    /// As [`Jobs::add`], with what it refuses apart from what the store does: of refused jobs nothing is in the commit, which can go on
    /// without them.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn offer(&self, tx: &Tx, prepared: &Prepared) -> Result<Result<Vec<Enqueued>>> {
        let mut done = Vec::with_capacity(prepared.jobs.len());
        let mut fresh: Vec<&Job> = Vec::new();
        let mut keys: HashMap<Slot, KeyUse> = HashMap::new();
        for job in &prepared.jobs {
            let Some(slot) = job.key.as_ref().map(|key| (job.queue.clone(), key.clone())) else {
                fresh.push(job);
                done.push(Enqueued { id: job.id, replayed: false });
                continue;
            };
            let used = KeyUse {
                job: job.id,
                ends_at: job.enqueued_at + KEY_LIFE,
                print: XxHash3_64::oneshot(job.payload.as_bytes()),
            };
            let stored = match keys.get(&slot) {
                Some(earlier) => Some(earlier.clone()),
                None => tx.get(&JOB_KEYS, &slot).await?.filter(|known| job.enqueued_at < known.ends_at),
            };
            match stored {
                Some(known) if known.print == used.print => done.push(Enqueued { id: known.job, replayed: true }),
                Some(known) => return Ok(Err(key_reused(&known))),
                None => {
                    keys.insert(slot, used);
                    fresh.push(job);
                    done.push(Enqueued { id: job.id, replayed: false });
                }
            }
        }
        if let Err(refusal) = self.fits(&fresh, keys.len()) {
            return Ok(Err(refusal));
        }
        // From here on nothing is refused.
        fresh.into_iter().for_each(|job| tx.put(&JOBS, &job.id, job));
        for (slot, used) in keys {
            tx.put(&JOB_KEYS, &slot, &used);
            tx.put(&JOB_KEY_ENDS, &(used.ends_at, slot.0, slot.1), &());
        }
        Ok(Ok(done))
    }

    /// Whether there is room for new jobs and keys. Only what is new takes room: a request that is repeated finds its job in a full queue
    /// too.
    fn fits(&self, fresh: &[&Job], keys: usize) -> Result<()> {
        if keys > 0 && self.0.keys.load(Ordering::Relaxed) >= MAX_KEYS {
            let detail = format!("{MAX_KEYS} idempotency keys are remembered already");
            return Err(Error::limited("jobs.too_many_keys", detail)
                .hint("keys are forgotten after 24 hours; leave them out where repeating a job does no harm"));
        }
        let mut lengths: HashMap<&QueueName, usize> = HashMap::new();
        fresh.iter().for_each(|job| *lengths.entry(&job.queue).or_default() += 1);
        lengths.into_iter().try_for_each(|(queue, more)| self.0.index.room(queue, more, self.0.config.queue_length))
    }

    /// The job with this id.
    ///
    /// # Errors
    /// `jobs.missing`; those of the store.
    pub async fn find(&self, id: Id) -> Result<Job> {
        self.0.store.get(&JOBS, &id).await?.ok_or_else(|| missing(id))
    }

    /// Every queue, by name.
    pub fn stats(&self) -> Vec<QueueStats> {
        self.0.index.stats()
    }

    /// Every new job, for mirrors.
    pub fn tail(&self) -> &Tail {
        &self.0.tail
    }

    /// The server stops: polls that wait are answered at once, sockets are told to close.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    /// Turns true when the server stops.
    pub fn stopping(&self) -> watch::Receiver<bool> {
        self.0.stopping.subscribe()
    }
}

/// Keeps what is in memory the fold of the committed rows.
fn follow(store: &Store, index: &Index, line: Line, meters: &Meters, keys: &Arc<AtomicUsize>) {
    store.warm(&JOBS);
    let (index, meters, keys) = (index.clone(), meters.clone(), keys.clone());
    store.follow(&JOBS, move |rows| {
        let applied = index.apply(rows.iter().map(|(id, job)| (*id, job.as_ref())));
        for (queue, id) in applied.gone {
            line.forgot(queue, id);
        }
        let fresh = rows.iter().filter(|(id, _)| applied.fresh.contains(id)).filter_map(|(_, job)| job.as_ref());
        for job in fresh {
            line.committed(job);
            meters.count(&job.queue, Event::Enqueued);
        }
        line.release();
    });
    store.follow(&JOB_KEY_ENDS, move |rows| {
        for (_, row) in rows {
            match row {
                Some(()) => keys.fetch_add(1, Ordering::Relaxed),
                None => keys.fetch_sub(1, Ordering::Relaxed),
            };
        }
    });
}

/// Shows all rows of a table, a page at a time: there may be millions.
async fn each_page<K: Key, V: Record>(
    store: &Store,
    table: &Table<K, V>,
    mut each: impl FnMut(Vec<(K, V)>),
) -> Result<()> {
    let mut after = None;
    loop {
        let page = store.scan(table.all().after(after.as_ref()), MAX_PAGE).await?;
        each(page.items);
        after = page.next;
        if after.is_none() {
            return Ok(());
        }
    }
}

fn key_reused(known: &KeyUse) -> Error {
    let detail = format!("this idempotency key stands for another job, {}, until {}", known.job, known.ends_at);
    Error::invalid("jobs.key_reused", detail)
        .hint("use a new key for a new job; send the same body again to repeat a request")
}

pub(super) fn missing(id: Id) -> Error {
    Error::missing("jobs.missing", format!("there is no job {id}")).hint(
        "jobs that are over are forgotten after 24 hours, dead ones after 30 days; of both, all but the last 100,000 sooner",
    )
}
