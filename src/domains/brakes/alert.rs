//! The worker that tells of trips: in the log, and as a job in the queue of events. A trip waits in the breaker's row until the commit that
//! tells of it, so none is lost in a crash and none is told twice.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::Notify;

use super::service::Brakes;
use super::tables::{BREAKER, Limit, Trip};
use crate::base::{Id, Result};
use crate::domains::jobs::{NewJob, QueueName};
use crate::workers::{Next, Worker};

/// The pause between looks; a trip calls sooner.
const LOOK: Duration = Duration::from_secs(60);

/// How long an alert may wait to be taken: an older one is no news.
pub const EVENT_LIFE: Duration = Duration::from_secs(24 * 3600);

/// Tells of trips.
pub struct Alerts {
    brakes: Brakes,
    /// The newest trip that is in the log: a queue that is full must not keep it out of there.
    logged: Id,
}

impl Alerts {
    pub fn new(brakes: Brakes) -> Self {
        Self { brakes, logged: Id(0) }
    }

    async fn tell(&mut self) -> Result<Next> {
        let fittings = &self.brakes.0.fittings;
        let found = fittings.store.get(&BREAKER, &()).await?.unwrap_or_default().untold;
        if found.is_empty() {
            return Ok(Next::After(LOOK));
        }
        found.iter().filter(|trip| trip.id > self.logged).for_each(log);
        self.logged = found.iter().map(|trip| trip.id).fold(self.logged, Id::max);
        let jobs = fittings.events.iter().flat_map(|queue| found.iter().map(|trip| event(queue, trip)));
        let prepared = fittings.jobs.prepare(jobs.collect())?;
        let told: Vec<Id> = found.iter().map(|trip| trip.id).collect();
        let (shared, told) = (&prepared, &told);
        let done = fittings.store.transact(|tx| async move {
            let mut breaker = tx.get(&BREAKER, &()).await?.unwrap_or_default();
            breaker.untold.retain(|trip| !told.contains(&trip.id));
            tx.put(&BREAKER, &(), &breaker);
            fittings.jobs.add(&tx, shared).await.map(drop)
        });
        let done = done.await;
        prepared.settle(&done);
        done.map(|()| Next::Now)
    }
}

fn event(queue: &QueueName, trip: &Trip) -> NewJob {
    let payload = json!({
        "event": "breaker.tripped",
        "id": trip.id.to_string(),
        "at": trip.at.to_string(),
        "limit": trip.limit.text(),
        "latched": trip.latched,
        "count": trip.count,
        "most": trip.most,
        "text": trip.text(),
        "hint": hint(trip),
    });
    NewJob {
        ttl: Some(EVENT_LIFE),
        key: Some(format!("breaker:{}", trip.id)),
        ..NewJob::new(queue.clone(), payload.to_string(), "brakes-alert")
    }
}

fn log(trip: &Trip) {
    let (text, hint) = (trip.text(), hint(trip));
    // What a person stopped is no surprise.
    match trip.latched && trip.limit != Limit::Person {
        true => tracing::error!(trip = %trip.id, count = trip.count, most = trip.most, hint, "{text}"),
        false => tracing::warn!(trip = %trip.id, count = trip.count, most = trip.most, hint, "{text}"),
    }
}

fn hint(trip: &Trip) -> &'static str {
    match trip.latched {
        true => {
            "look at GET /automation/decisions; then take back with `grps decisions revert`, or close with `grps decisions breaker --close`"
        }
        false => {
            "further decisions stay proposed: once the minute has room, the next snapshot or a review that asks again queues them, or an approval"
        }
    }
}

impl Worker for Alerts {
    fn name(&self) -> &'static str {
        "brakes-alert"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.tell())
    }

    fn wake(&self) -> Option<Arc<Notify>> {
        Some(self.brakes.0.untold.clone())
    }
}
