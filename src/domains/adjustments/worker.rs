//! The worker that carries runs out, one portion a tick, and forgets old ones when there is nothing else to do.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::service::Adjustments;
use crate::base::Result;
use crate::workers::{Next, Worker};

/// The pause when there is no run; a new one ends it.
const IDLE: Duration = Duration::from_secs(600);

pub struct AdjustmentsWorker {
    adjustments: Adjustments,
    /// How long ended runs are kept.
    kept: Duration,
}

impl AdjustmentsWorker {
    pub fn new(adjustments: Adjustments, kept: Duration) -> Self {
        Self { adjustments, kept }
    }

    async fn step(&mut self) -> Result<Next> {
        let more = self.adjustments.step().await? || self.adjustments.forget(self.kept).await?;
        Ok(if more { Next::Now } else { Next::After(IDLE) })
    }
}

impl Worker for AdjustmentsWorker {
    fn name(&self) -> &'static str {
        "adjustments"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.step())
    }

    fn wake(&self) -> Option<Arc<Notify>> {
        Some(self.adjustments.bell.clone())
    }
}
