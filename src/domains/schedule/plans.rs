//! What can be started by the clock. A plan only starts work, and the work is its domain's: durable, and one at a time.

use futures_util::future::BoxFuture;

use crate::base::Result;
use crate::domains::ranks::Sender;
use crate::domains::reviews::Reviews;

/// Something that can be started.
pub trait Plan: Send + Sync {
    /// Its name in the API, and what its row is stored under.
    fn name(&self) -> &'static str;

    /// Starts it, and says in a few words what was started. Started again while it runs, it may answer with what runs.
    fn start<'a>(&'a self, sender: &'a Sender) -> BoxFuture<'a, Result<String>>;
}

/// A review of all players.
pub struct ReviewPlan {
    pub reviews: Reviews,
    pub apply: bool,
}

impl Plan for ReviewPlan {
    fn name(&self) -> &'static str {
        "review"
    }

    fn start<'a>(&'a self, sender: &'a Sender) -> BoxFuture<'a, Result<String>> {
        Box::pin(async move {
            let (id, review) = self.reviews.start(self.apply, sender).await?;
            Ok(format!("review {id} of {} players", review.total))
        })
    }
}
