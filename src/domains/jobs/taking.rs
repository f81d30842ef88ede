//! How jobs get out: taken, answered for, given back.

use std::pin::pin;
use std::time::Duration;

use super::index::Claim;
use super::job::{Job, Lease, QueueName};
use super::meters::Event;
use super::rules::Nack;
use super::service::{Jobs, missing};
use super::tables::JOBS;
use crate::base::{Error, Id, Result};
use crate::store::Tx;

/// Jobs taken at once at most.
pub const MAX_TAKE: usize = 100;

/// Longest wait for a job: less than what game servers allow a request to take.
pub const MAX_WAIT: Duration = Duration::from_secs(25);

/// Longest lease.
pub const MAX_LEASE: Duration = Duration::from_secs(3600);

/// How often a taker looks again when all it found had just moved on.
const MAX_LOOKS: usize = 8;

/// When somebody who finds no seat to wait on should come back.
const SEAT_WAIT: Duration = Duration::from_secs(5);

/// What a taker wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Take {
    pub queue: QueueName,
    /// 1 to [`MAX_TAKE`].
    pub max: usize,
    /// How long to wait when there is none, at most [`MAX_WAIT`].
    pub wait: Duration,
    /// 1 second to [`MAX_LEASE`]; none takes jobs for good.
    pub lease: Option<Duration>,
    /// The credential that takes.
    pub holder: String,
}

impl Jobs {
    /// Takes jobs, at least one if there is one within the wait; none when there is none, or when the server stops.
    ///
    /// # Errors
    /// `jobs.too_many_waiting` when no seat is left to wait on; those of the store.
    pub async fn take(&self, ask: &Take) -> Result<Vec<Job>> {
        let bell = self.0.index.bell(&ask.queue);
        let mut stopping = self.stopping();
        let mut over = pin!(tokio::time::sleep(ask.wait.min(MAX_WAIT)));
        let mut seat = None;
        loop {
            // Listening before looking: what becomes ready in between rings for us. A ring that is not heeded goes to the next.
            let mut rung = pin!(bell.notified());
            rung.as_mut().enable();
            let taken = self.take_now(ask).await?;
            if !taken.is_empty() || ask.wait.is_zero() || *stopping.borrow_and_update() {
                return Ok(taken);
            }
            if seat.is_none() {
                seat = Some(self.seat()?);
            }
            tokio::select! {
                () = &mut rung => {}
                () = &mut over => return Ok(Vec::new()),
                _ = stopping.changed() => return Ok(Vec::new()),
            }
        }
    }

    /// Takes what can be had right now.
    async fn take_now(&self, ask: &Take) -> Result<Vec<Job>> {
        for _ in 0..MAX_LOOKS {
            let claim = self.0.index.claim(&ask.queue, ask.max.clamp(1, MAX_TAKE));
            if claim.ids.is_empty() {
                return Ok(Vec::new());
            }
            let taken = self.take_claimed(ask, &claim).await?;
            if !taken.is_empty() {
                let event = if ask.lease.is_some() { Event::Leased } else { Event::Delivered };
                taken.iter().for_each(|job| self.0.meters.count(&job.queue, event));
                return Ok(taken);
            }
            // All of them had just moved on, and the index knows by now.
        }
        Ok(Vec::new())
    }

    async fn take_claimed(&self, ask: &Take, claim: &Claim) -> Result<Vec<Job>> {
        let marks: Vec<u64> = claim.ids.iter().map(|_| fastrand::u64(..)).collect();
        let (now, marks) = (self.0.clock.now(), &marks);
        let work = |tx: Tx| async move {
            let mut taken = Vec::with_capacity(claim.ids.len());
            for (job, mark) in tx.get_many(&JOBS, &claim.ids).await?.into_iter().zip(marks) {
                let Some(mut job) = job.filter(|job| job.is_to_be_had(now)) else { continue };
                let lease = ask.lease.map(|length| Lease {
                    token: format!("{}.{mark:016x}", job.deliveries + 1),
                    expires_at: now + length.min(MAX_LEASE),
                    holder: ask.holder.clone(),
                    returned: false,
                });
                job.hand_out(lease, now);
                tx.put(&JOBS, &job.id, &job);
                taken.push(job);
            }
            Ok(taken)
        };
        self.0.store.transact(work).await
    }

    /// The holder of a lease is done.
    ///
    /// # Errors
    /// `jobs.missing`, `jobs.lease_lost`; those of the store.
    pub async fn ack(&self, id: Id, token: &str) -> Result<Job> {
        let now = self.0.clock.now();
        self.change(id, Event::Acked, |job| job.ack(token, now)).await
    }

    /// The holder of a lease gives the job back.
    ///
    /// # Errors
    /// As [`Jobs::ack`].
    pub async fn nack(&self, id: Id, token: &str, nack: Nack) -> Result<Job> {
        let (now, jitter) = (self.0.clock.now(), fastrand::f64());
        let job = self.change(id, Event::Nacked, |job| job.nack(token, &nack, jitter, now)).await?;
        if job.phase == super::job::Phase::Dead {
            self.0.meters.count(&job.queue, Event::Died);
        }
        Ok(job)
    }

    /// The holder of a lease needs `lease` from now on, at most [`MAX_LEASE`].
    ///
    /// # Errors
    /// As [`Jobs::ack`].
    pub async fn extend(&self, id: Id, token: &str, lease: Duration) -> Result<Job> {
        let now = self.0.clock.now();
        let until = now + lease.min(MAX_LEASE);
        self.change(id, Event::Extended, |job| job.extend(token, until, now).map(|()| true)).await
    }

    /// Changes one job by a rule, and writes it when the rule says that it did.
    pub(super) async fn change(&self, id: Id, event: Event, rule: impl Fn(&mut Job) -> Result<bool>) -> Result<Job> {
        let rule = &rule;
        let work = |tx: Tx| async move {
            let mut job = tx.get(&JOBS, &id).await?.ok_or_else(|| missing(id))?;
            let changed = rule(&mut job)?;
            if changed {
                tx.put(&JOBS, &id, &job);
            }
            Ok((job, changed))
        };
        let (job, changed) = self.0.store.transact(work).await.inspect_err(|error| self.note_late(id, error))?;
        if changed {
            self.0.meters.count(&job.queue, event);
        }
        Ok(job)
    }

    fn note_late(&self, id: Id, error: &Error) {
        if error.code() == "jobs.lease_lost"
            && let Some(queue) = self.0.index.queue_of(id)
        {
            self.0.meters.count(&queue, Event::Late);
        }
    }

    /// A seat to wait on, given back when dropped.
    fn seat(&self) -> Result<Seat<'_>> {
        let Ok(permit) = self.0.seats.try_acquire() else {
            let detail = format!("{} clients are waiting for jobs already", self.0.config.waiters);
            return Err(Error::limited("jobs.too_many_waiting", detail)
                .hint("poll without wait, or have the server's owner raise JOB_WAITERS")
                .retry_after(SEAT_WAIT));
        };
        self.0.meters.waiting.inc();
        Ok(Seat { jobs: self, _permit: permit })
    }
}

struct Seat<'a> {
    jobs: &'a Jobs,
    _permit: tokio::sync::SemaphorePermit<'a>,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.jobs.0.meters.waiting.dec();
    }
}
