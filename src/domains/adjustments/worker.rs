//! The worker that carries runs out, one portion a tick, and forgets old ones when there is nothing else to do.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::model::PART;
use super::service::Adjustments;
use crate::base::Result;
use crate::workers::{Next, Worker};

/// The pause when there is no run; a new one ends it.
const IDLE: Duration = Duration::from_secs(600);

pub struct AdjustmentsWorker {
    adjustments: Adjustments,
    /// How long ended runs are kept.
    kept: Duration,
    /// Rows a commit: fewer while a job queue has no room for more.
    portion: usize,
}

impl AdjustmentsWorker {
    pub fn new(adjustments: Adjustments, kept: Duration) -> Self {
        Self { adjustments, kept, portion: PART }
    }

    async fn step(&mut self) -> Result<Next> {
        match self.adjustments.step(self.portion).await {
            Ok(true) => {
                self.portion = (self.portion * 2).min(PART);
                Ok(Next::Now)
            }
            Ok(false) => Ok(if self.adjustments.forget(self.kept).await? { Next::Now } else { Next::After(IDLE) }),
            Err(error) if error.code() == "jobs.queue_full" && self.portion > 1 => {
                self.portion /= 2;
                Ok(Next::Now)
            }
            Err(error) => Err(error),
        }
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
