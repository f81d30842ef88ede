//! What was decided, as the caller hears it, and the ids it is written down under.

use std::time::Duration;

use super::decide::{Rule, Verdict};
use crate::base::{Id, Ids};
use crate::domains::players::Status;
use crate::domains::policy::Action;

/// What was decided, as the caller hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The decision's id: that of the open decision when this one says the same again. No row has it when there is nothing to do, or
    /// when a queued decision stands against this one.
    pub id: Id,
    pub action: Action,
    pub target_rank: Option<String>,
    pub reason: String,
    /// Whether it takes effect because of this request.
    pub apply: bool,
    /// None when there is nothing to do.
    pub status: Option<Status>,
    pub blocked_reason: Option<String>,
    pub explain: Vec<Rule>,
    pub policy_version: String,
    /// How long a suspension lasts; none for one that ends when its status is lifted.
    pub suspend_for: Option<Duration>,
}

impl Outcome {
    /// A verdict under `id`, standing nowhere yet.
    pub(super) fn of(id: Id, verdict: &Verdict) -> Self {
        Self {
            id,
            action: verdict.action,
            target_rank: verdict.target_rank.as_deref().map(str::to_owned),
            reason: verdict.reason.clone(),
            apply: false,
            status: None,
            blocked_reason: None,
            explain: verdict.explain.clone(),
            policy_version: verdict.policy_version.to_string(),
            suspend_for: verdict.suspend_for,
        }
    }
}

/// The ids of one request's rows, made before the commit so that a rerun of it writes the same rows.
pub struct Tracks {
    pub snapshot: Id,
    pub snapshot_audit: Id,
    pub decision: Id,
    pub decision_audit: Id,
    /// Tells of the decision that was open before.
    pub closing_audit: Id,
    /// For the breaker, should this be what trips it.
    pub trip: Id,
    pub trip_audit: Id,
}

impl Tracks {
    pub fn new(ids: &Ids) -> Self {
        Self {
            snapshot: ids.next(),
            snapshot_audit: ids.next(),
            closing_audit: ids.next(),
            decision: ids.next(),
            decision_audit: ids.next(),
            trip: ids.next(),
            trip_audit: ids.next(),
        }
    }
}
