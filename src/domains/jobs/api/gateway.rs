//! `/job`: what producers and consumers call (requirements J1, J2, R5).

use std::sync::Arc;
use std::time::Duration;

use poem::Result;
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::{ApiResponse, OpenApi};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::wire::{
    AckRequest, AnyObject, Batch, BatchJob, ExtendRequest, JobView, KeyIn, NackRequest, QueueIn, Receipt, Receipts,
    envelope,
};
use crate::base::{Clock, Error, Id, Result as BaseResult};
use crate::domains::auth::Caller;
use crate::domains::jobs::job::{DEFAULT_ATTEMPTS, Job, MAX_PAYLOAD, NewJob, QueueName};
use crate::domains::jobs::rules::Nack;
use crate::domains::jobs::service::{Enqueued, Jobs};
use crate::domains::jobs::taking::Take;
use crate::http::{Area, Context, Json, Rendered};

/// The lease of an extension that names none.
const USUAL_LEASE: Duration = Duration::from_secs(30);

/// The gateway's operations.
#[derive(Clone)]
pub struct GatewayApi {
    pub jobs: Jobs,
    pub clock: Clock,
}

/// Whatever there was to take.
#[derive(ApiResponse)]
enum Next {
    /// Without `lease` and `max`: the job's object, byte for byte. With `lease`: `{id, queue, attempt, enqueuedAt, leaseToken,
    /// leaseExpiresAt, payload}`. With `max`: `{"jobs": […]}` of these, which may be empty.
    #[oai(status = 200)]
    Job(
        Rendered<AnyObject>,
        /// The job's id; absent with `max`.
        #[oai(header = "x-job-id")]
        Option<String>,
        #[oai(header = "x-job-queue")] Option<String>,
        /// 1 for the first delivery.
        #[oai(header = "x-job-attempt")]
        Option<u32>,
    ),
    /// There is no job.
    #[oai(status = 204)]
    Nothing,
}

/// A job that was put in.
#[derive(ApiResponse)]
enum Queued {
    /// On disk, or there already under the same idempotency key.
    #[oai(status = 200)]
    Done(
        Json<Receipt>,
        /// `true` when this key was used before: nothing was added.
        #[oai(header = "idempotent-replayed")]
        Option<bool>,
    ),
}

#[OpenApi(tag = "Area::Jobs")]
#[allow(clippy::too_many_arguments)] // an argument per parameter of the query is how poem-openapi reads them
impl GatewayApi {
    /// Put a job into a queue
    ///
    /// The body is the job: any JSON object up to 64 KiB, handed out byte for byte. Answers once it is on disk.
    #[oai(path = "/job", method = "post", operation_id = "enqueueJob")]
    async fn enqueue(
        &self,
        caller: Caller,
        context: &Context,
        /// `default` when left out.
        queue: Query<Option<QueueIn>>,
        /// Higher goes first.
        #[oai(default, validator(minimum(value = "-9"), maximum(value = "9")))]
        priority: Query<i32>,
        /// Seconds before it can be had.
        #[oai(default, validator(maximum(value = "2592000")))]
        delay: Query<u64>,
        /// Seconds it may wait to be taken.
        #[oai(validator(minimum(value = "1"), maximum(value = "2592000")))]
        ttl: Query<Option<u64>>,
        /// How often it is handed out before it counts as dead.
        #[oai(
            name = "maxAttempts",
            default = "usual_attempts",
            validator(minimum(value = "1"), maximum(value = "100"))
        )]
        max_attempts: Query<u32>,
        /// Within 24 hours the same key in the same queue is the same job.
        #[oai(name = "Idempotency-Key")]
        key: Header<Option<KeyIn>>,
        _body: Json<AnyObject>,
    ) -> Result<Queued> {
        let job = NewJob {
            queue: named(queue.0),
            payload: payload(&context.body)?,
            priority: priority.0 as i8,
            delay: Duration::from_secs(delay.0),
            ttl: ttl.0.map(Duration::from_secs),
            max_attempts: max_attempts.0,
            key: key.0.map(|key| key.0),
            producer: caller.id,
        };
        let done = self.jobs.submit(vec![job]).await?;
        let done = done.first().copied().ok_or_else(|| Error::broken("jobs.no_receipt", "one job, no receipt"))?;
        Ok(Queued::Done(Json(done.into()), done.replayed.then_some(true)))
    }

    /// Put up to 100 jobs in, all or none
    #[oai(path = "/job/batch", method = "post", operation_id = "enqueueJobs")]
    async fn enqueue_batch(&self, caller: Caller, context: &Context, body: Json<Batch>) -> Result<Json<Receipts>> {
        let texts = payloads(&context.body)?;
        let jobs = body.0.jobs.into_iter().zip(texts).map(|(job, text)| of_batch(job, text?, &caller.id));
        let done = self.jobs.submit(jobs.collect::<BaseResult<_>>()?).await?;
        Ok(Json(Receipts { jobs: done.into_iter().map(Receipt::from).collect() }))
    }

    /// Take the next job
    ///
    /// Without `lease` the job leaves the queue for good (an operator can put it back for 24 hours). With `lease` it comes back unless it is
    /// acknowledged in time. With `wait` the answer comes as soon as there is a job.
    #[oai(path = "/job/next", method = "get", operation_id = "takeJob")]
    async fn next(
        &self,
        caller: Caller,
        /// `default` when left out.
        queue: Query<Option<QueueIn>>,
        /// Seconds to wait for a job when there is none.
        #[oai(default, validator(maximum(value = "25")))]
        wait: Query<u64>,
        /// Seconds until an unanswered job is handed out again.
        #[oai(validator(minimum(value = "1"), maximum(value = "3600")))]
        lease: Query<Option<u64>>,
        /// The same as `lease`, which wins.
        #[oai(name = "X-JOB-LEASE", validator(minimum(value = "1"), maximum(value = "3600")))]
        lease_header: Header<Option<u64>>,
        /// Take up to so many at once.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        max: Query<Option<u64>>,
    ) -> Result<Next> {
        let ask = Take {
            queue: named(queue.0),
            max: max.0.unwrap_or(1) as usize,
            wait: Duration::from_secs(wait.0),
            lease: lease.0.or(lease_header.0).map(Duration::from_secs),
            holder: caller.id,
        };
        let jobs = self.jobs.take(&ask).await?;
        if max.0.is_some() {
            let texts: Vec<String> = jobs.iter().map(envelope).collect();
            let text = format!("{{\"jobs\":[{}]}}", texts.join(","));
            return Ok(Next::Job(Rendered::from_bytes(text.into()), None, None, None));
        }
        let Some(job) = jobs.into_iter().next() else { return Ok(Next::Nothing) };
        let text = if ask.lease.is_some() { envelope(&job) } else { job.payload.to_string() };
        let (id, queue) = (Some(job.id.to_string()), Some(job.queue.to_string()));
        Ok(Next::Job(Rendered::from_bytes(text.into()), id, queue, Some(job.attempt)))
    }

    /// Look at a job
    #[oai(path = "/job/:id", method = "get", operation_id = "getJob")]
    async fn get(&self, _caller: Caller, id: Path<String>) -> Result<Json<JobView>> {
        Ok(self.view(self.jobs.find(read_id(&id.0)?).await?))
    }

    /// Say that a job is done
    ///
    /// Under the token of its lease; saying it twice is no error. Once the lease has ended it is too late: 409, and nothing changes.
    #[oai(path = "/job/:id/ack", method = "post", operation_id = "ackJob")]
    async fn ack(&self, _caller: Caller, id: Path<String>, body: Json<AckRequest>) -> Result<Json<JobView>> {
        Ok(self.view(self.jobs.ack(read_id(&id.0)?, &body.0.lease_token).await?))
    }

    /// Give a job back
    ///
    /// It is tried again after a pause, until its attempts are used up; then it counts as dead. Whoever has not worked on it, because they
    /// end or are full, says `released`, and the attempt does not count.
    #[oai(path = "/job/:id/nack", method = "post", operation_id = "nackJob")]
    async fn nack(&self, _caller: Caller, id: Path<String>, body: Json<NackRequest>) -> Result<Json<JobView>> {
        let NackRequest { lease_token, reason, retry_in, dead, released } = body.0;
        let nack = Nack { reason, retry_in: retry_in.map(Duration::from_secs), dead, released };
        Ok(self.view(self.jobs.nack(read_id(&id.0)?, &lease_token, nack).await?))
    }

    /// Ask for more time
    #[oai(path = "/job/:id/extend", method = "post", operation_id = "extendJob")]
    async fn extend(&self, _caller: Caller, id: Path<String>, body: Json<ExtendRequest>) -> Result<Json<JobView>> {
        let lease = body.0.lease.map_or(USUAL_LEASE, Duration::from_secs);
        Ok(self.view(self.jobs.extend(read_id(&id.0)?, &body.0.lease_token, lease).await?))
    }
}

impl GatewayApi {
    fn view(&self, job: Job) -> Json<JobView> {
        Json(JobView::new(job, self.clock.now()))
    }
}

impl From<Enqueued> for Receipt {
    fn from(done: Enqueued) -> Self {
        Self { id: done.id.to_string(), queued: true }
    }
}

fn usual_attempts() -> u32 {
    DEFAULT_ATTEMPTS
}

/// A queue as a caller names it.
fn named(queue: Option<QueueIn>) -> QueueName {
    queue.map_or_else(QueueName::default, |queue| queue.0)
}

pub(super) fn read_id(text: &str) -> BaseResult<Id> {
    text.parse().map_err(|_| {
        let shown: String = text.chars().take(32).collect();
        Error::missing("jobs.missing", format!("there is no job {shown:?}"))
            .hint("a job's id is 16 lower-case hexadecimal characters, as POST /job answered it")
    })
}

/// The body as the job it is. It has been read as JSON before, so it is text.
fn payload(body: &[u8]) -> BaseResult<Arc<str>> {
    if body.len() > MAX_PAYLOAD {
        let detail = format!("a job of {} bytes is larger than the limit of {MAX_PAYLOAD}", body.len());
        return Err(Error::too_large("jobs.payload_too_large", detail)
            .hint("put the data where the worker can fetch it, and only its address into the job"));
    }
    let text = std::str::from_utf8(body).map_err(|error| Error::broken("jobs.not_text", error))?;
    let trimmed = text.trim_ascii();
    Ok(if trimmed.as_bytes().starts_with(b"[") { "{}".into() } else { trimmed.into() })
}

/// The payloads of a batch as they stand in its text.
fn payloads(body: &[u8]) -> BaseResult<Vec<BaseResult<Arc<str>>>> {
    #[derive(Deserialize)]
    struct Jobs<'a> {
        #[serde(borrow)]
        jobs: Vec<Job<'a>>,
    }
    #[derive(Deserialize)]
    struct Job<'a> {
        #[serde(borrow)]
        payload: &'a RawValue,
    }
    let read: Jobs<'_> = serde_json::from_slice(body).map_err(|error| Error::broken("jobs.batch_unread", error))?;
    Ok(read.jobs.iter().map(|job| payload(job.payload.get().as_bytes())).collect())
}

fn of_batch(job: BatchJob, payload: Arc<str>, producer: &str) -> BaseResult<NewJob> {
    Ok(NewJob {
        queue: named(job.queue),
        payload,
        priority: job.priority.unwrap_or(0) as i8,
        delay: Duration::from_secs(job.delay.unwrap_or(0)),
        ttl: job.ttl.map(Duration::from_secs),
        max_attempts: job.max_attempts.unwrap_or(DEFAULT_ATTEMPTS),
        key: job.key.map(|key| key.0),
        producer: producer.to_owned(),
    })
}
