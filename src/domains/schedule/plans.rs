//! What can be started by the clock. A plan only starts work, and the work is its domain's: durable, and one at a time.

use futures_util::future::BoxFuture;

use crate::base::Result;
use crate::domains::drift::Drift;
use crate::domains::ranks::Sender;
use crate::domains::reviews::Reviews;
use crate::domains::sync;

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

/// A run of the sync through the whole data store, or the rest of one that stopped.
pub struct SyncPlan(pub sync::Sync);

impl Plan for SyncPlan {
    fn name(&self) -> &'static str {
        "sync"
    }

    fn start<'a>(&'a self, sender: &'a Sender) -> BoxFuture<'a, Result<String>> {
        Box::pin(async move {
            let id = self.0.nightly(sender).await?;
            Ok(format!("sync run {id}"))
        })
    }
}

/// A look at every member of the group for ranks that were changed by hand.
pub struct DriftPlan(pub Drift);

impl Plan for DriftPlan {
    fn name(&self) -> &'static str {
        "drift"
    }

    fn start<'a>(&'a self, sender: &'a Sender) -> BoxFuture<'a, Result<String>> {
        Box::pin(async move {
            let (id, _) = self.0.begin(&sender.actor, &sender.request_id).await?;
            Ok(format!("drift run {id}"))
        })
    }
}
