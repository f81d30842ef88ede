//! The worker that notices edited policy files (requirement F20).

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::store::{PolicyStore, Reload};
use crate::base::{Error, Result};
use crate::workers::{Next, Worker};

/// How often the files are looked at. A change is taken on the second look, so within 1.2 s, plus the time to read it.
const LOOK_EVERY: Duration = Duration::from_millis(600);

/// Takes over edited policy files; what it refuses stays visible in the store's status.
pub struct PolicyWatch(pub Arc<PolicyStore>);

impl Worker for PolicyWatch {
    fn name(&self) -> &'static str {
        "policy-watch"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        let policy = self.0.clone();
        Box::pin(async move {
            let found = tokio::task::spawn_blocking(move || policy.reload_if_changed())
                .await
                .map_err(|error| Error::broken("policy.watch_failed", error))?;
            match found {
                Reload::Unchanged | Reload::Settling => {}
                Reload::Swapped { from, to } => tracing::info!(%from, %to, "another policy is in force"),
                Reload::Refused(refusal) => {
                    tracing::warn!(reason = refusal.message, "the edited policy was refused; the one in force stays");
                }
            }
            Ok(Next::After(LOOK_EVERY))
        })
    }
}
