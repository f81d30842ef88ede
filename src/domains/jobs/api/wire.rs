//! The JSON shapes of jobs. A payload leaves byte for byte as it came, so what holds one is written by hand around it.

use std::borrow::Cow;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef, Registry};
use poem_openapi::types::{Example, ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type};
use poem_openapi::{Enum, Object};
use serde::Serialize;
use serde_json::{Value, json};

use crate::base::{Error, Time};
use crate::domains::jobs::index::QueueStats;
use crate::domains::jobs::job::{Job, MAX_KEY, MAX_QUEUE_NAME, QueueName, good_key};
use crate::domains::jobs::rules::State;
use crate::http::wire::{Timestamp, wire_type};

/// A JSON object with whatever fields. An empty array is taken for an empty object: that is how Luau writes one.
#[derive(Debug, Clone, PartialEq)]
pub struct AnyObject(pub Value);

impl Type for AnyObject {
    const IS_REQUIRED: bool = true;
    type RawValueType = Self;
    type RawElementValueType = Self;

    fn name() -> Cow<'static, str> {
        "object".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let object = MetaSchema::new("object");
        let array = MetaSchema {
            max_items: Some(0),
            items: Some(Box::new(MetaSchemaRef::Inline(Box::new(MetaSchema::ANY)))),
            ..MetaSchema::new("array")
        };
        MetaSchemaRef::Inline(Box::new(MetaSchema {
            description: Some("any JSON object; an empty array counts as an empty object"),
            any_of: vec![MetaSchemaRef::Inline(Box::new(object)), MetaSchemaRef::Inline(Box::new(array))],
            example: Some(json!({ "action": "kick", "userId": 12345678, "reason": "afk" })),
            ..MetaSchema::ANY
        }))
    }

    fn register(_: &mut Registry) {}

    fn as_raw_value(&self) -> Option<&Self> {
        Some(self)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
        Box::new(std::iter::once(self))
    }
}

impl ParseFromJSON for AnyObject {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        match value.unwrap_or_default() {
            Value::Array(items) if items.is_empty() => Ok(Self(json!({}))),
            object @ Value::Object(_) => Ok(Self(object)),
            other => Err(ParseError::expected_type(other)),
        }
    }
}

impl ToJSON for AnyObject {
    fn to_json(&self) -> Option<Value> {
        Some(self.0.clone())
    }
}

/// The name of a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueIn(pub QueueName);

/// An idempotency key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyIn(pub String);

// Types of their own instead of validators with a pattern: poem-openapi compiles such a pattern anew for every request, which costs more
// than all the rest of putting a job in.
wire_type!(QueueIn(QueueName), "queue_name", read_queue, show_queue, ruled(MAX_QUEUE_NAME, "^[A-Za-z0-9._-]+$"));
wire_type!(KeyIn(String), "idempotency_key", read_key, show_key, ruled(MAX_KEY, "^[!-~]+$"));

fn ruled(longest: usize, pattern: &str) -> MetaSchema {
    MetaSchema {
        min_length: Some(1),
        max_length: Some(longest),
        pattern: Some(pattern.to_owned()),
        ..MetaSchema::new("string")
    }
}

fn read_queue(text: &str) -> Result<QueueName, String> {
    text.parse().map_err(|error: Error| error.detail().to_owned())
}

fn show_queue(name: &QueueName) -> Value {
    name.to_string().into()
}

fn read_key(text: &str) -> Result<String, &'static str> {
    if good_key(text) { Ok(text.to_owned()) } else { Err("a key is 1 to 128 visible ASCII characters") }
}

fn show_key(key: &str) -> Value {
    key.into()
}

/// A job that is in its queue.
#[derive(Debug, Object)]
#[oai(example)]
pub struct Receipt {
    /// 16 hexadecimal characters.
    pub id: String,
    /// Always true: it is on disk.
    pub queued: bool,
}

impl Example for Receipt {
    fn example() -> Self {
        Self { id: "19541e5ac1000001".into(), queued: true }
    }
}

/// What became of a batch, in the order of its jobs.
#[derive(Debug, Object)]
pub struct Receipts {
    pub jobs: Vec<Receipt>,
}

/// Jobs to be put in together: all of them, or none.
#[derive(Debug, Object)]
#[oai(example)]
pub struct Batch {
    #[oai(validator(min_items = 1, max_items = 100))]
    pub jobs: Vec<BatchJob>,
}

/// One job of a batch.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct BatchJob {
    pub payload: AnyObject,
    /// `default` when left out.
    pub queue: Option<QueueIn>,
    /// Higher goes first; 0 when left out.
    #[oai(validator(minimum(value = "-9"), maximum(value = "9")))]
    pub priority: Option<i32>,
    /// Seconds before it can be had.
    #[oai(validator(maximum(value = "2592000")))]
    pub delay: Option<u64>,
    /// Seconds it may wait to be taken.
    #[oai(validator(minimum(value = "1"), maximum(value = "2592000")))]
    pub ttl: Option<u64>,
    /// How often it is handed out before it counts as dead; 5 when left out.
    #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
    pub max_attempts: Option<u32>,
    /// Within 24 hours the same key in the same queue is the same job.
    pub key: Option<KeyIn>,
}

impl Example for Batch {
    fn example() -> Self {
        let payload = AnyObject(json!({ "action": "announce", "text": "Training at 18:00" }));
        let job = BatchJob {
            payload,
            queue: "announcements".parse().ok().map(QueueIn),
            priority: None,
            delay: Some(60),
            ttl: None,
            max_attempts: None,
            key: Some(KeyIn("training-18".into())),
        };
        Self { jobs: vec![job] }
    }
}

/// The end of a job under a lease.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
pub struct AckRequest {
    /// As it came with the job.
    #[oai(validator(min_length = 1, max_length = 64))]
    pub lease_token: String,
}

/// A job given back.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
pub struct NackRequest {
    /// As it came with the job.
    #[oai(validator(min_length = 1, max_length = 64))]
    pub lease_token: String,
    /// What went wrong, for whoever looks at it later; cut off after 500 bytes.
    #[oai(validator(max_length = 4096))]
    pub reason: Option<String>,
    /// Seconds until it may be tried again; left out, the pause doubles from 1 second to 10 minutes.
    #[oai(validator(maximum(value = "2592000")))]
    pub retry_in: Option<u64>,
    /// Trying again is pointless: it counts as dead at once.
    #[oai(default)]
    pub dead: bool,
    /// The work was not tried: the attempt does not count.
    #[oai(default)]
    pub released: bool,
}

/// More time for a job.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
pub struct ExtendRequest {
    /// As it came with the job.
    #[oai(validator(min_length = 1, max_length = 64))]
    pub lease_token: String,
    /// Seconds from now; 30 when left out.
    #[oai(validator(minimum(value = "1"), maximum(value = "3600")))]
    pub lease: Option<u64>,
}

const TOKEN: &str = "1.9f86d081884c7d65";

impl Example for AckRequest {
    fn example() -> Self {
        Self { lease_token: TOKEN.into() }
    }
}

impl Example for NackRequest {
    fn example() -> Self {
        Self {
            lease_token: TOKEN.into(),
            reason: Some("player left".into()),
            retry_in: None,
            dead: false,
            released: false,
        }
    }
}

impl Example for ExtendRequest {
    fn example() -> Self {
        Self { lease_token: TOKEN.into(), lease: Some(60) }
    }
}

/// Where a job is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum JobState {
    /// In its queue, not before its time.
    Waiting,
    /// To be had.
    Ready,
    /// Held by somebody, who has to answer in time.
    Leased,
    /// Taken for good.
    Delivered,
    /// Its holder said it is done.
    Done,
    /// Out of attempts, or given up.
    Dead,
    /// Its time to live passed before anybody took it.
    Expired,
}

impl From<State> for JobState {
    fn from(state: State) -> Self {
        match state {
            State::Waiting => Self::Waiting,
            State::Ready => Self::Ready,
            State::Leased => Self::Leased,
            State::Delivered => Self::Delivered,
            State::Done => Self::Done,
            State::Dead => Self::Dead,
            State::Expired => Self::Expired,
        }
    }
}

impl From<JobState> for State {
    fn from(state: JobState) -> Self {
        match state {
            JobState::Waiting => Self::Waiting,
            JobState::Ready => Self::Ready,
            JobState::Leased => Self::Leased,
            JobState::Delivered => Self::Delivered,
            JobState::Done => Self::Done,
            JobState::Dead => Self::Dead,
            JobState::Expired => Self::Expired,
        }
    }
}

/// All that is known of a job.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub struct JobView {
    pub id: String,
    pub queue: String,
    pub state: JobState,
    pub priority: i32,
    /// Deliveries since it was put into its queue.
    pub attempt: u32,
    pub max_attempts: u32,
    pub enqueued_at: Timestamp,
    /// When it can be had, if that is later than now.
    pub ready_at: Option<Timestamp>,
    /// When it counts as expired unless it is taken.
    pub expires_at: Option<Timestamp>,
    /// Until when its holder has to answer.
    pub lease_expires_at: Option<Timestamp>,
    /// The credential that took it last.
    pub holder: Option<String>,
    /// When it was over.
    pub finished_at: Option<Timestamp>,
    /// The last failure, or what ended it.
    pub reason: Option<String>,
    /// The credential or worker that put it in.
    pub producer: String,
    pub idempotency_key: Option<String>,
    pub payload: AnyObject,
}

impl JobView {
    pub fn new(job: Job, now: Time) -> Self {
        let state = job.state(now);
        let lease = job.lease.as_ref();
        Self {
            id: job.id.to_string(),
            queue: job.queue.to_string(),
            state: state.into(),
            priority: job.priority.into(),
            attempt: job.attempt,
            max_attempts: job.max_attempts,
            enqueued_at: Timestamp(job.enqueued_at),
            ready_at: job.ready_at.filter(|_| state == State::Waiting).map(Timestamp),
            expires_at: job.expires_at.filter(|_| !job.phase.is_over()).map(Timestamp),
            lease_expires_at: lease.filter(|_| state == State::Leased).map(|lease| Timestamp(lease.expires_at)),
            holder: lease.map(|lease| lease.holder.clone()),
            finished_at: job.phase.is_over().then_some(Timestamp(job.since)),
            reason: job.reason,
            producer: job.producer,
            idempotency_key: job.key,
            // Only objects get in.
            payload: AnyObject(serde_json::from_str(&job.payload).unwrap_or_default()),
        }
    }
}

/// Jobs, oldest first.
#[derive(Debug, Object)]
#[oai(skip_serializing_if_is_none)]
pub struct JobPage {
    pub jobs: Vec<JobView>,
    /// Send it back as `cursor` for the next page; absent on the last one.
    pub next_cursor: Option<String>,
}

/// One queue.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", skip_serializing_if_is_none)]
pub struct QueueView {
    pub queue: String,
    pub waiting: u64,
    pub ready: u64,
    pub leased: u64,
    pub delivered: u64,
    pub done: u64,
    pub dead: u64,
    pub expired: u64,
    /// Age of the oldest ready job, in seconds.
    pub oldest_ready_seconds: Option<u64>,
}

impl QueueView {
    pub fn new(stats: &QueueStats, now: Time) -> Self {
        Self {
            queue: stats.queue.to_string(),
            waiting: stats.waiting as u64,
            ready: stats.ready as u64,
            leased: stats.leased as u64,
            delivered: stats.delivered as u64,
            done: stats.done as u64,
            dead: stats.dead as u64,
            expired: stats.expired as u64,
            oldest_ready_seconds: stats.oldest_ready.map(|at| now.since(at).as_secs()),
        }
    }
}

/// All queues that hold something, or are waited at.
#[derive(Debug, Object)]
pub struct QueueList {
    pub queues: Vec<QueueView>,
}

/// Which jobs are meant.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
pub struct BulkRequest {
    pub queue: QueueIn,
    pub state: JobState,
    /// At most so many, oldest first; 10,000 when left out.
    #[oai(validator(minimum(value = "1"), maximum(value = "10000")))]
    pub limit: Option<u64>,
    /// Only count them.
    #[oai(default)]
    pub dry_run: bool,
}

impl Example for BulkRequest {
    fn example() -> Self {
        Self { queue: QueueIn(QueueName::default()), state: JobState::Dead, limit: None, dry_run: true }
    }
}

/// How many jobs were meant, and how many of them changed: not those that somebody took meanwhile.
#[derive(Debug, Object)]
pub struct BulkView {
    pub matched: u64,
    pub changed: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    id: String,
    queue: &'a str,
    attempt: u32,
    enqueued_at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_token: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lease_expires_at: Option<Timestamp>,
}

/// A job as its taker gets it: `{id, queue, attempt, enqueuedAt, leaseToken, leaseExpiresAt, payload}`, the last but one pair only under a lease.
pub fn envelope(job: &Job) -> String {
    let lease = job.lease.as_ref();
    let head = Head {
        id: job.id.to_string(),
        queue: job.queue.as_str(),
        attempt: job.attempt,
        enqueued_at: Timestamp(job.enqueued_at),
        lease_token: lease.map(|lease| lease.token.as_str()),
        lease_expires_at: lease.map(|lease| Timestamp(lease.expires_at)),
    };
    around(&head, &job.payload)
}

/// `head` as a JSON object, with the payload as its last field.
fn around(head: &impl Serialize, payload: &str) -> String {
    // Plain data always has a text form.
    let mut text = serde_json::to_string(head).unwrap_or_default();
    text.pop();
    text.push_str(",\"payload\":");
    text.push_str(payload);
    text.push('}');
    text
}
