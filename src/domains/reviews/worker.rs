//! The worker that carries a review out, a page a tick, and forgets old ones when none runs.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::service::Reviews;
use crate::base::Result;
use crate::workers::{Next, Worker};

/// The pause when there is no review; a new one ends it.
const IDLE: Duration = Duration::from_secs(600);

pub struct ReviewsWorker {
    pub reviews: Reviews,
    /// How long ended reviews are kept.
    pub kept: Duration,
}

impl Worker for ReviewsWorker {
    fn name(&self) -> &'static str {
        "reviews"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async {
            if self.reviews.step().await? {
                return Ok(Next::Now);
            }
            self.reviews.forget(self.kept).await?;
            Ok(Next::After(IDLE))
        })
    }

    fn wake(&self) -> Option<Arc<Notify>> {
        Some(self.reviews.bell.clone())
    }
}
