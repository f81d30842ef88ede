//! What is counted of queues. A queue is a label: there are at most [`super::MAX_QUEUES`] of them.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;

use super::index::{MAX_QUEUES, QueueStats};
use super::job::QueueName;
use crate::base::Time;
use crate::base::metrics::Metrics;

/// What happened to a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    Enqueued,
    /// Handed out for good.
    Delivered,
    Leased,
    Acked,
    Nacked,
    Extended,
    /// An answer under a lease that had ended.
    Late,
    /// A lease ended without an answer.
    LeaseEnded,
    Died,
    Expired,
    Requeued,
    Purged,
}

impl Event {
    fn text(self) -> &'static str {
        match self {
            Event::Enqueued => "enqueued",
            Event::Delivered => "delivered",
            Event::Leased => "leased",
            Event::Acked => "acked",
            Event::Nacked => "nacked",
            Event::Extended => "extended",
            Event::Late => "late",
            Event::LeaseEnded => "lease_ended",
            Event::Died => "died",
            Event::Expired => "expired",
            Event::Requeued => "requeued",
            Event::Purged => "purged",
        }
    }
}

/// Queues that are counted by name; what happens in further ones is counted as `other`. Counters are never taken back, so those of queues that
/// are gone count here too.
const MAX_NAMES: usize = 2 * MAX_QUEUES;

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct EventLabels {
    queue: String,
    event: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct StateLabels {
    queue: String,
    state: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct QueueLabel {
    queue: String,
}

#[derive(Clone)]
pub struct Meters {
    events: Family<EventLabels, Counter>,
    names: Arc<RwLock<HashSet<QueueName>>>,
    depth: Family<StateLabels, Gauge>,
    oldest: Family<QueueLabel, Gauge>,
    /// Polls and sockets that wait for a job.
    pub waiting: Gauge,
}

impl Meters {
    pub fn new(metrics: &Metrics) -> Self {
        Self {
            events: metrics.register("jobs_events", "What happened to jobs", Family::default()),
            names: Arc::default(),
            depth: metrics.register("jobs_depth", "Jobs by queue and state", Family::default()),
            oldest: metrics.register("jobs_oldest_ready_seconds", "Age of the oldest ready job", Family::default()),
            waiting: metrics.register("jobs_waiting_clients", "Polls and sockets waiting for a job", Gauge::default()),
        }
    }

    pub fn count(&self, queue: &QueueName, event: Event) {
        let queue = if self.is_named(queue) { queue.as_str() } else { "other" };
        self.events.get_or_create(&EventLabels { queue: queue.to_owned(), event: event.text() }).inc();
    }

    fn is_named(&self, queue: &QueueName) -> bool {
        if self.names.read().unwrap_or_else(PoisonError::into_inner).contains(queue) {
            return true;
        }
        let mut names = self.names.write().unwrap_or_else(PoisonError::into_inner);
        names.len() < MAX_NAMES && names.insert(queue.clone())
    }

    /// Shows where the queues stand.
    pub fn show(&self, queues: &[QueueStats], now: Time) {
        self.depth.clear();
        self.oldest.clear();
        for stats in queues {
            for (state, count) in stats.counts() {
                let labels = StateLabels { queue: stats.queue.to_string(), state: state.text() };
                self.depth.get_or_create(&labels).set(count as i64);
            }
            let age = stats.oldest_ready.map_or(0, |at| now.since(at).as_secs() as i64);
            self.oldest.get_or_create(&QueueLabel { queue: stats.queue.to_string() }).set(age);
        }
    }
}
