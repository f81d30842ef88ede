//! What may happen to a job, and when: pure rules over one job and the time. The service reads the row, asks here, and writes it back.
//!
//! ```text
//!             ┌──────── nack, lease over: attempts left; released ────────┐
//!             ▼                                                           │
//! enqueue ─► queued ── take with a lease ─► leased ── ack ─► done         │
//!             │  │                           │  └─────────────────────────┤
//!             │  └─ take without ─► delivered └── nack, lease over: none left ─► dead
//!             └─ time to live over ─► expired
//!
//! requeue: waiting, delivered, done, dead, expired ─► queued, with all attempts again
//! ```
//!
//! A lease holds while the job is leased, its token is the last one given out, and the clock has not reached its end. Whoever comes later,
//! or with an older token, changes nothing. Repeating an answer that was given under the last token is no error: the first answer may have
//! been lost on its way.

use std::time::Duration;

use super::job::{Job, Lease, Phase};
use crate::base::{Error, Result, Time};

/// The first pause after a job was given back; it doubles with every attempt.
pub const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// The longest such pause.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(600);

/// How long a job that is over can still be looked at and requeued.
pub const KEEP_ENDED: Duration = Duration::from_secs(24 * 3600);

/// How long a dead job can be: somebody has to find the time to look at it.
pub const KEEP_DEAD: Duration = Duration::from_secs(30 * 86_400);

/// Longest reason that is kept, in bytes; the rest is cut off.
pub const MAX_REASON: usize = 500;

/// What a person sees of a phase: `Queued` is two things to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// In the queue, not before its time.
    Waiting,
    /// To be had.
    Ready,
    Leased,
    Delivered,
    Done,
    Dead,
    Expired,
}

/// How a holder gives a job back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Nack {
    pub reason: Option<String>,
    /// When it may be tried again; none for the usual pause.
    pub retry_in: Option<Duration>,
    /// Trying again is pointless.
    pub dead: bool,
    /// The work was not tried, or was cut short by no fault of the job: this delivery does not count as an attempt, so it is never the last
    /// one. `dead` is still heeded.
    pub released: bool,
}

impl State {
    /// The state of a job in `phase` that can be had from `ready_at` on.
    pub fn of(phase: Phase, ready_at: Option<Time>, now: Time) -> Self {
        match phase {
            Phase::Queued if ready_at.is_some_and(|at| now < at) => State::Waiting,
            Phase::Queued => State::Ready,
            Phase::Leased => State::Leased,
            Phase::Delivered => State::Delivered,
            Phase::Done => State::Done,
            Phase::Dead => State::Dead,
            Phase::Expired => State::Expired,
        }
    }

    /// Its name on the wire and in metrics.
    pub fn text(self) -> &'static str {
        match self {
            State::Waiting => "waiting",
            State::Ready => "ready",
            State::Leased => "leased",
            State::Delivered => "delivered",
            State::Done => "done",
            State::Dead => "dead",
            State::Expired => "expired",
        }
    }
}

impl Job {
    pub fn state(&self, now: Time) -> State {
        State::of(self.phase, self.ready_at, now)
    }

    /// Whether it can be taken.
    pub fn is_to_be_had(&self, now: Time) -> bool {
        self.state(now) == State::Ready && self.expires_at.is_none_or(|end| now < end)
    }

    /// Hands it out: for good, or under a lease with `token`. The job must be to be had.
    pub fn hand_out(&mut self, lease: Option<Lease>, now: Time) {
        self.attempt += 1;
        self.deliveries += 1;
        self.phase = if lease.is_some() { Phase::Leased } else { Phase::Delivered };
        (self.lease, self.since, self.ready_at) = (lease, now, None);
    }

    /// The holder is done. Whether this changes anything: not when it was said before.
    ///
    /// # Errors
    /// `jobs.lease_lost`.
    pub fn ack(&mut self, token: &str, now: Time) -> Result<bool> {
        if self.phase == Phase::Done && self.last_token(token) {
            return Ok(false);
        }
        self.held(token, now)?;
        self.end(Phase::Done, None, now);
        Ok(true)
    }

    /// The holder gives it back. Whether this changes anything: not when it was said before. `jitter`, from 0 to 1, spreads the pause.
    ///
    /// # Errors
    /// `jobs.lease_lost`.
    pub fn nack(&mut self, token: &str, nack: &Nack, jitter: f64, now: Time) -> Result<bool> {
        if self.phase != Phase::Leased && self.last_token(token) && self.lease.as_ref().is_some_and(|l| l.returned) {
            return Ok(false);
        }
        self.held(token, now)?;
        if let Some(lease) = &mut self.lease {
            lease.returned = true;
        }
        if nack.released {
            // The number may come again: tokens are numbered by deliveries, which only grow.
            self.attempt = self.attempt.saturating_sub(1);
        }
        let reason = nack.reason.as_deref().map_or("given back by its holder", |reason| cut(reason, MAX_REASON));
        let reason = reason.to_owned();
        if nack.dead {
            self.end(Phase::Dead, Some(reason), now);
        } else if !nack.released && self.attempt >= self.max_attempts {
            self.end(Phase::Dead, Some(format!("failed {} times; last: {reason}", self.attempt)), now);
        } else {
            let pause = nack.retry_in.unwrap_or_else(|| backoff(self.attempt, jitter));
            self.end(Phase::Queued, Some(reason), now);
            self.ready_at = (!pause.is_zero()).then(|| now + pause);
        }
        Ok(true)
    }

    /// The holder needs until `until`.
    ///
    /// # Errors
    /// `jobs.lease_lost`.
    pub fn extend(&mut self, token: &str, until: Time, now: Time) -> Result<()> {
        self.held(token, now)?;
        if let Some(lease) = &mut self.lease {
            lease.expires_at = until;
        }
        Ok(())
    }

    /// What time alone does: a lease that is over puts the job back or ends it, a time to live that is over ends it. Whether it did.
    pub fn lapse(&mut self, now: Time) -> bool {
        match self.phase {
            Phase::Leased if self.lease.as_ref().is_none_or(|lease| lease.expires_at <= now) => {
                let dead = self.attempt >= self.max_attempts;
                let reason = "the lease ended without an answer";
                if dead {
                    self.end(Phase::Dead, Some(format!("failed {} times; last: {reason}", self.attempt)), now);
                } else {
                    self.end(Phase::Queued, Some(reason.to_owned()), now);
                }
                true
            }
            Phase::Queued if self.expires_at.is_some_and(|end| end <= now) => {
                self.end(Phase::Expired, Some("its time to live passed before it was taken".to_owned()), now);
                true
            }
            _ => false,
        }
    }

    /// Puts it back into its queue, to be had at once, with all its attempts. It keeps its place, and no time to live.
    ///
    /// # Errors
    /// `jobs.leased` while somebody holds it.
    pub fn requeue(&mut self, now: Time) -> Result<()> {
        if self.phase == Phase::Leased {
            return Err(Error::conflict("jobs.leased", "somebody holds this job right now")
                .hint("wait until its lease ends, or until its holder answers"));
        }
        self.end(Phase::Queued, None, now);
        (self.attempt, self.expires_at, self.ready_at) = (0, None, None);
        Ok(())
    }

    /// When something happens to it by itself that has to be written down; none for never.
    pub fn lapses_at(&self) -> Option<Time> {
        match self.phase {
            Phase::Queued => self.expires_at,
            Phase::Leased => self.lease.as_ref().map(|lease| lease.expires_at),
            _ => None,
        }
    }

    fn end(&mut self, phase: Phase, reason: Option<String>, now: Time) {
        (self.phase, self.reason, self.since, self.ready_at) = (phase, reason, now, None);
    }

    fn last_token(&self, token: &str) -> bool {
        self.lease.as_ref().is_some_and(|lease| lease.token == token)
    }

    fn held(&self, token: &str, now: Time) -> Result<()> {
        let holds = self.phase == Phase::Leased
            && self.lease.as_ref().is_some_and(|lease| lease.token == token && now < lease.expires_at);
        if holds {
            return Ok(());
        }
        Err(Error::conflict("jobs.lease_lost", "this lease has ended, or was never given out; nothing was changed")
            .hint("stop working on this job: somebody else may hold it. Ask for longer leases, or extend them in time"))
    }
}

/// The pause after the `attempt`th delivery failed: doubling, the upper half of it by chance, so that what failed together does not
/// come back together ("equal jitter", M. Brooker, Exponential Backoff And Jitter, 2015).
fn backoff(attempt: u32, jitter: f64) -> Duration {
    let full =
        FIRST_BACKOFF.saturating_mul(2u32.saturating_pow(attempt.saturating_sub(1).min(16))).min(LONGEST_BACKOFF);
    full.mul_f64(0.5 + 0.5 * jitter.clamp(0.0, 1.0))
}

/// At most `bytes` of `text`, at the boundary of a character.
fn cut(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    &text[..end]
}
