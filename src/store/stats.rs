//! What the store counts, for `/metrics` and for health checks.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

use super::engine::Health;
use crate::base::metrics::Metrics;

/// The store at one moment.
#[derive(Debug, Clone)]
pub struct Stats {
    pub health: Health,
    /// Transactions that were committed by this process, those that only read included.
    pub commits: u64,
    /// Attempts that were run again because something they had read changed.
    pub conflicts: u64,
    pub cache_hits: u64,
    pub cache_misses: u64,
    /// Rows in the record cache, absent ones included; lags by a moment.
    pub cached_rows: u64,
    /// What they weigh, in bytes.
    pub cached_bytes: u64,
    /// The database on disk, in bytes; 0 in memory.
    pub disk_bytes: u64,
}

#[derive(Clone)]
pub(super) struct Meters {
    pub commits: Counter,
    pub conflicts: Counter,
    pub cache_hits: Counter,
    pub cache_misses: Counter,
    pub follower_failures: Counter,
    latency: Histogram,
}

impl Meters {
    pub fn new(metrics: &Metrics) -> Self {
        let counter = |name, help| metrics.register(name, help, Counter::default());
        // 100 µs to 3.3 s.
        let latency = Histogram::new(exponential_buckets(0.0001, 2.0, 16));
        Self {
            commits: counter("store_commits", "Transactions committed"),
            conflicts: counter("store_conflicts", "Transaction attempts run again because a row they read changed"),
            cache_hits: counter("store_cache_hits", "Rows read from the record cache"),
            cache_misses: counter("store_cache_misses", "Rows read from the engine"),
            follower_failures: counter("store_follower_failures", "Committed rows an in-memory index failed to take"),
            latency: metrics.register("store_commit_seconds", "From commit to durable", latency),
        }
    }

    pub fn committed(&self, took: Duration) {
        self.commits.inc();
        self.latency.observe(took.as_secs_f64());
    }
}
