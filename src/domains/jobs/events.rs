//! Events for whoever listens: what happened becomes a job in a queue of its own, in the commit that tells of it (requirement F26). Bots,
//! workers and WebSockets take it from there.

use std::time::Duration;

use serde_json::Value;

use super::job::{NewJob, QueueName};
use super::service::{Jobs, Prepared};
use crate::base::Result;
use crate::store::Tx;

/// How long an event waits for somebody to take it.
const EVENT_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Puts events into the queue `EVENTS_QUEUE`; without one, nowhere. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    jobs: Jobs,
    queue: Option<QueueName>,
}

/// An event with its id, made before the commit.
pub struct Event(Option<Prepared>);

impl Events {
    pub fn new(jobs: Jobs, queue: Option<QueueName>) -> Self {
        Self { jobs, queue }
    }

    /// Makes an event ready. The same `key` within a day is the same event, so every occurrence has a key of its own: what failed, was
    /// queued again and then succeeded are two.
    ///
    /// # Errors
    /// Those of [`Jobs::prepare`].
    pub fn prepare(&self, key: &str, body: &Value) -> Result<Event> {
        let Some(queue) = self.queue.clone() else { return Ok(Event(None)) };
        let mut job = NewJob::new(queue, body.to_string(), "events");
        (job.key, job.ttl) = (Some(key.to_owned()), Some(EVENT_LIFE));
        self.jobs.prepare(vec![job]).map(|prepared| Event(Some(prepared)))
    }

    /// Adds the event to the commit of `tx`. Nothing that queues refuse keeps what is told of from happening: then the event is lost, nothing
    /// of it is in the commit, and the log says so.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn add(&self, tx: &Tx, event: &Event) -> Result<()> {
        let Some(prepared) = &event.0 else { return Ok(()) };
        if let Err(error) = self.jobs.offer(tx, prepared).await? {
            tracing::warn!(?error, "an event was refused by its queue and is lost");
        }
        Ok(())
    }
}

impl Event {
    /// To be called when the commit is over.
    pub fn settle<T>(self, outcome: &Result<T>) {
        if let Some(prepared) = self.0 {
            prepared.settle(outcome);
        }
    }
}
