//! Readiness: one line a part, each from state that is already in memory, so that a probe costs nothing and cannot hang.

use std::sync::Arc;

use crate::domains::policy::PolicyStore;
use crate::store::{Health, Store};
use crate::workers::StatusBoard;

/// One part's state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    pub name: String,
    /// Whether it works as it should.
    pub ok: bool,
    /// Whether the server cannot serve without it.
    pub vital: bool,
    /// What is wrong, and what still works.
    pub detail: Option<String>,
}

/// What readiness looks at.
pub struct Checks {
    pub store: Store,
    pub policy: Arc<PolicyStore>,
    pub workers: StatusBoard,
}

impl Checks {
    /// All checks, in a fixed order.
    pub fn run(&self) -> Vec<Check> {
        let mut out = vec![self.store(), self.policy()];
        out.extend(self.workers.read().into_iter().map(|status| Check {
            name: format!("worker:{}", status.name),
            ok: status.failing.is_none(),
            vital: false,
            detail: status.failing,
        }));
        out
    }

    fn store(&self) -> Check {
        let fault = match self.store.health() {
            Health::Ready => None,
            Health::Closed => Some("closed: the server is shutting down".to_owned()),
            Health::Full(error) => Some(format!("{}; reads and deletions go on", error.detail())),
            Health::Stalled(since) => Some(format!("the disk has not answered for {} s", since.as_secs())),
            Health::Failed(error) => Some(format!("{}; reads go on, nothing is written", error.detail())),
        };
        Check { name: "store".into(), ok: fault.is_none(), vital: true, detail: fault }
    }

    fn policy(&self) -> Check {
        let error = self.policy.status().last_error;
        let detail = error.map(|error| format!("{}; the last good policy is still in force", error.message));
        Check { name: "policy".into(), ok: detail.is_none(), vital: false, detail }
    }
}
