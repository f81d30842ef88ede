//! The metrics registry, handed down so that each module registers its own counters beside the code that moves them.

use std::sync::{Arc, PoisonError, RwLock};

use prometheus_client::encoding::text;
use prometheus_client::registry::{Metric, Registry};

/// All metrics of one program, printed as Prometheus text by [`Metrics::render`].
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<RwLock<Registry>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { registry: Arc::new(RwLock::new(Registry::with_prefix("grps"))) }
    }
}

impl Metrics {
    /// Registers `metric` (a cheap handle, shared with the caller) under `grps_<name>`, and hands it back.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        registry.register(name, help, metric.clone());
        metric
    }

    /// The whole registry in the OpenMetrics text format, which Prometheus scrapes.
    pub fn render(&self) -> String {
        let registry = self.registry.read().unwrap_or_else(PoisonError::into_inner);
        let mut out = String::new();
        // Writing to a String cannot fail; a metric that cannot encode itself would leave a cut text, which a scrape rejects loudly.
        let _ = text::encode(&mut out, &registry);
        out
    }
}
