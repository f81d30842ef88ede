//! The queues as the program sees them, and how jobs get in.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};
use twox_hash::XxHash3_64;

use super::config::Config;
use super::index::{Index, QueueStats};
use super::job::{Job, NewJob, QueueName};
use super::meters::{Event, Meters};
use super::tables::{JOB_KEY_ENDS, JOB_KEYS, JOBS, JOBS_FORGOTTEN, KeyUse};
use super::tail::{Opened, Tail};
use crate::base::metrics::Metrics;
use crate::base::{Clock, Error, Id, Ids, Result};
use crate::store::{MAX_PAGE, Store, Tx};

/// Jobs in one request at most.
pub const MAX_BATCH: usize = 100;

/// How long an idempotency key stands for the job it was first used for (requirement J1).
pub const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);

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

/// Jobs with their ids, on their way into a commit. When that has ended, well or not, say so with [`Prepared::settle`].
pub struct Prepared {
    jobs: Vec<Job>,
    opened: Opened,
}

impl Prepared {
    /// The commit has ended. Without this, mirrors wait a few seconds for what may still come.
    pub fn settle(mut self) {
        self.opened.settle();
    }
}

impl Jobs {
    /// Reads all jobs once, and follows them from then on.
    ///
    /// # Errors
    /// Those of reading the store.
    pub async fn open(store: &Store, clock: Clock, ids: Ids, config: Config, metrics: &Metrics) -> Result<Self> {
        let newest = store.scan(JOBS.all().newest_first(), 1).await?.items.first().map_or(Id(0), |(id, _)| *id);
        let forgotten = store.get(&JOBS_FORGOTTEN, &()).await?.unwrap_or(Id(0));
        let tail = Tail::new(store.clone(), clock.clone(), ids.clone(), newest.max(forgotten), forgotten);
        let (index, meters) = (Index::new(clock.clone()), Meters::new(metrics));
        let (followed, mirrored, counted) = (index.clone(), tail.line(), meters.clone());
        store.warm(&JOBS);
        store.follow(&JOBS, move |rows| {
            followed.apply(rows.iter().map(|(id, job)| (*id, job.as_ref())));
            for job in rows.iter().filter_map(|(_, job)| job.as_ref()) {
                if mirrored.committed(job) {
                    counted.count(&job.queue, Event::Enqueued);
                }
            }
            mirrored.release();
        });
        let mut after = None;
        loop {
            let page = store.scan(JOBS.all().after(after.as_ref()), MAX_PAGE).await?;
            index.apply(page.items.iter().map(|(id, job)| (*id, Some(job))));
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let (seats, store, stopping) = (Semaphore::new(config.waiters), store.clone(), watch::Sender::new(false));
        Ok(Self(Arc::new(Inner { store, clock, ids, config, index, tail, meters, seats, stopping })))
    }

    /// Puts jobs into their queues, all or none. They are on disk when this returns.
    ///
    /// # Errors
    /// As [`Jobs::prepare`] and [`Jobs::add`].
    pub async fn submit(&self, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>> {
        let prepared = self.prepare(jobs)?;
        let shared = &prepared;
        let done = self.0.store.transact(|tx| async move { self.add(&tx, shared).await }).await;
        prepared.settle();
        done
    }

    /// Checks jobs and gives them their ids, before a transaction of the caller's.
    ///
    /// # Errors
    /// `jobs.batch_too_large`, `jobs.payload_too_large`, `jobs.queue_full`, `jobs.too_many_queues`; `request.invalid` for what is out of range.
    pub fn prepare(&self, jobs: Vec<NewJob>) -> Result<Prepared> {
        if jobs.len() > MAX_BATCH {
            let detail = format!("{} jobs are more than the {MAX_BATCH} that go into one request", jobs.len());
            return Err(Error::too_large("jobs.batch_too_large", detail).hint("send them in several requests"));
        }
        let mut lengths: HashMap<&QueueName, usize> = HashMap::new();
        for job in &jobs {
            job.check()?;
            *lengths.entry(&job.queue).or_default() += 1;
        }
        for (queue, more) in lengths {
            self.0.index.room(queue, more, self.0.config.queue_length)?;
        }
        let (opened, now) = (self.0.tail.open(jobs.len()), self.0.clock.now());
        let jobs = jobs.iter().zip(&opened.ids).map(|(job, id)| job.queued(*id, now)).collect();
        Ok(Prepared { jobs, opened })
    }

    /// Adds prepared jobs to the commit of `tx`. May run again with it.
    ///
    /// # Errors
    /// `jobs.key_reused` when an idempotency key already stands for another job; those of the store.
    pub async fn add(&self, tx: &Tx, prepared: &Prepared) -> Result<Vec<Enqueued>> {
        let mut done = Vec::with_capacity(prepared.jobs.len());
        for job in &prepared.jobs {
            let known = match &job.key {
                Some(key) => self.known(tx, job, key).await?,
                None => None,
            };
            if known.is_none() {
                tx.put(&JOBS, &job.id, job);
            }
            done.push(Enqueued { id: known.unwrap_or(job.id), replayed: known.is_some() });
        }
        Ok(done)
    }

    /// The job that `key` stands for; none when it is new, and from now on stands for `job`.
    async fn known(&self, tx: &Tx, job: &Job, key: &str) -> Result<Option<Id>> {
        let slot = (job.queue.clone(), key.to_owned());
        let print = XxHash3_64::oneshot(job.payload.as_bytes());
        let known = tx.get(&JOB_KEYS, &slot).await?.filter(|known| job.enqueued_at < known.ends_at);
        match known {
            Some(known) if known.print == print => Ok(Some(known.job)),
            Some(known) => Err(Error::invalid(
                "jobs.key_reused",
                format!("this idempotency key stands for another job, {}, until {}", known.job, known.ends_at),
            )
            .hint("use a new key for a new job; send the same body again to repeat a request")),
            None => {
                let ends_at = job.enqueued_at + KEY_LIFE;
                tx.put(&JOB_KEYS, &slot, &KeyUse { job: job.id, ends_at, print });
                tx.put(&JOB_KEY_ENDS, &(ends_at, slot.0, slot.1), &());
                Ok(None)
            }
        }
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

pub(super) fn missing(id: Id) -> Error {
    Error::missing("jobs.missing", format!("there is no job {id}"))
        .hint("jobs that are over are forgotten after 24 hours, dead ones after 30 days")
}
