//! A job as it is stored, and a job as it is asked for. What may happen to one is in `rules.rs`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Error, Id, Result, Time};
use crate::store::{Key, Record};

/// Longest name of a queue, in bytes.
pub const MAX_QUEUE_NAME: usize = 64;

/// Largest payload, in bytes.
pub const MAX_PAYLOAD: usize = 64 * 1024;

/// Longest idempotency key, in bytes.
pub const MAX_KEY: usize = 128;

/// The priorities: 9 goes first, −9 last.
pub const PRIORITIES: std::ops::RangeInclusive<i8> = -9..=9;

/// How often a job is handed out, unless its producer says otherwise, before it counts as dead.
pub const DEFAULT_ATTEMPTS: u32 = 5;

/// Most attempts a producer may ask for.
pub const MAX_ATTEMPTS: u32 = 100;

/// Longest delay and longest time to live.
pub const MAX_DELAY: Duration = Duration::from_secs(30 * 86_400);

/// The name of a queue: 1 to 64 of `A-Z a-z 0-9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct QueueName(Arc<str>);

impl QueueName {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The queue of callers that name none, which is all the job gateway of old had.
impl Default for QueueName {
    fn default() -> Self {
        Self("default".into())
    }
}

impl FromStr for QueueName {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        if (1..=MAX_QUEUE_NAME).contains(&text.len()) && text.bytes().all(plain) {
            return Ok(Self(text.into()));
        }
        let detail = format!("a queue's name is 1 to {MAX_QUEUE_NAME} characters of A-Z, a-z, 0-9 and . _ -");
        Err(Error::invalid("jobs.queue_invalid", detail))
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Key for QueueName {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self> {
        Key::decode(input).map(Self)
    }
}

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Phase {
    /// In its queue: to be had from [`Job::ready_at`] on.
    Queued,
    /// Somebody holds it until the lease ends.
    Leased,
    /// Handed out for good, without a lease.
    Delivered,
    /// Its holder said it is done.
    Done,
    /// Out of attempts, or given up by its holder.
    Dead,
    /// Its time to live passed before anybody took it.
    Expired,
}

impl Phase {
    /// Whether nothing more happens to the job unless somebody asks for it.
    pub fn is_over(self) -> bool {
        !matches!(self, Phase::Queued | Phase::Leased)
    }
}

/// Who holds a job, until when. It stays on the job when it has ended, so that a repeated answer can be told from a late one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The fencing token: `<delivery>.<random>`, new with every delivery and never given out twice.
    pub token: String,
    pub expires_at: Time,
    /// The credential that took it.
    pub holder: String,
    /// The holder has given it back.
    pub returned: bool,
}

/// One job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub id: Id,
    pub queue: QueueName,
    /// The text of a JSON object, byte for byte as it came.
    pub payload: Arc<str>,
    pub priority: i8,
    pub phase: Phase,
    /// Deliveries since it was put into the queue, by its producer or by an operator.
    pub attempt: u32,
    pub max_attempts: u32,
    /// Deliveries ever: what makes tokens differ.
    pub deliveries: u32,
    pub enqueued_at: Time,
    /// Not before; none for at once, whatever clocks do.
    pub ready_at: Option<Time>,
    /// Not later.
    pub expires_at: Option<Time>,
    pub lease: Option<Lease>,
    /// When it came into its phase.
    pub since: Time,
    /// Why it is where it is: the last failure, or what ended it.
    pub reason: Option<String>,
    /// Its idempotency key.
    pub key: Option<String>,
    /// The credential or worker that put it in.
    pub producer: String,
}

impl Record for Job {
    const VERSION: u8 = 1;
}

/// A job to be put into a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewJob {
    pub queue: QueueName,
    /// The text of a JSON object, at most [`MAX_PAYLOAD`] bytes.
    pub payload: Arc<str>,
    /// One of [`PRIORITIES`]; higher goes first.
    pub priority: i8,
    /// How long it waits before it can be had, at most [`MAX_DELAY`].
    pub delay: Duration,
    /// How long it may wait to be taken, at most [`MAX_DELAY`].
    pub ttl: Option<Duration>,
    /// 1 to [`MAX_ATTEMPTS`].
    pub max_attempts: u32,
    /// Within 24 hours the same key in the same queue is the same job.
    pub key: Option<String>,
    pub producer: String,
}

impl NewJob {
    /// With ordinary priority, at once, for as long as it takes.
    pub fn new(queue: QueueName, payload: impl Into<Arc<str>>, producer: impl Into<String>) -> Self {
        Self {
            queue,
            payload: payload.into(),
            priority: 0,
            delay: Duration::ZERO,
            ttl: None,
            max_attempts: DEFAULT_ATTEMPTS,
            key: None,
            producer: producer.into(),
        }
    }

    /// # Errors
    /// `jobs.payload_too_large`; `request.invalid` for what is out of range.
    pub fn check(&self) -> Result<()> {
        if self.payload.len() > MAX_PAYLOAD {
            let detail = format!("a job of {} bytes is larger than the limit of {MAX_PAYLOAD}", self.payload.len());
            return Err(Error::too_large("jobs.payload_too_large", detail)
                .hint("put the data where the worker can fetch it, and only its address into the job"));
        }
        let ranges = [
            (PRIORITIES.contains(&self.priority), "priority", "a priority is a whole number from -9 to 9"),
            (self.delay <= MAX_DELAY, "delay", "a job can be delayed by at most 30 days"),
            (self.ttl.is_none_or(|ttl| ttl <= MAX_DELAY && !ttl.is_zero()), "ttl", "a job lives 1 second to 30 days"),
            ((1..=MAX_ATTEMPTS).contains(&self.max_attempts), "maxAttempts", "a job has 1 to 100 attempts"),
            (self.key.as_deref().is_none_or(good_key), "key", "a key is 1 to 128 visible ASCII characters"),
        ];
        match ranges.iter().find(|(fits, _, _)| !fits) {
            Some((_, field, expected)) => Err(Error::field(&["body", field], "value_error", *expected)),
            None => Ok(()),
        }
    }

    /// The job it becomes, under `id`.
    pub fn queued(&self, id: Id, now: Time) -> Job {
        let ready_at = (!self.delay.is_zero()).then(|| now + self.delay);
        Job {
            id,
            queue: self.queue.clone(),
            payload: self.payload.clone(),
            priority: self.priority,
            phase: Phase::Queued,
            attempt: 0,
            max_attempts: self.max_attempts,
            deliveries: 0,
            enqueued_at: now,
            ready_at,
            expires_at: self.ttl.map(|ttl| now + self.delay + ttl),
            lease: None,
            since: now,
            reason: None,
            key: self.key.clone(),
            producer: self.producer.clone(),
        }
    }
}

/// Whether a text can be an idempotency key.
pub fn good_key(key: &str) -> bool {
    (1..=MAX_KEY).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_graphic())
}
