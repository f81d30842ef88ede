//! Decisions as lists show them.

use std::sync::Arc;

use poem_openapi::{Enum, Object};

use super::wire::{ActionView, RuleView, StatusView};
use crate::base::{Failing, Id, RobloxId};
use crate::domains::effects::{Effect, EffectView};
use crate::domains::players::{Origin, Status};
use crate::domains::policy::Action;
use crate::domains::ranks::history::Decision;
use crate::http::wire::{RobloxIdOut, Timestamp};

/// Tells what a queued decision waits for, beyond what its own row of effect says, which is given where there is one. Asked for each
/// decision that is shown, so it must not ask the store.
pub type Obstacles = Arc<dyn Fn(Id, &Decision, Option<&Effect>) -> Option<Failing> + Send + Sync>;

/// Where a decision comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum OriginView {
    /// The policy.
    Policy,
    /// Somebody took another decision back.
    Revert,
    /// A rank given by hand on Roblox was put back.
    Drift,
    /// A suspension was over.
    SuspensionEnd,
}

/// A decision with all that is known of it.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct DecisionDetail {
    /// 16 lower-case hex characters; sorts by time.
    pub id: String,
    pub user_id: RobloxIdOut,
    /// When it was made; for one that was proposed first, when it was queued.
    pub at: Timestamp,
    pub status: StatusView,
    pub action: ActionView,
    /// It undoes a SUSPEND or BAN instead of making one.
    pub lifts: bool,
    /// The rank held when it was made.
    pub from_rank: Option<String>,
    /// Where PROMOTE and DEMOTE lead; null for no rank.
    pub target_rank: Option<String>,
    /// How long a suspension lasts; null for one that ends when it is lifted.
    pub suspend_seconds: Option<u64>,
    /// The status of `policy.punishments.json` that says how a punishment is carried out.
    pub standing: Option<String>,
    pub reason: String,
    /// Why it does not take effect.
    pub blocked_reason: Option<String>,
    /// Why it failed, when it last did.
    pub failure: Option<String>,
    pub origin: OriginView,
    /// The decision that this one undoes.
    pub undoes: Option<String>,
    /// The decision that undoes this one.
    pub reverted_by: Option<String>,
    pub queued_at: Option<Timestamp>,
    /// When it took effect or failed.
    pub ended_at: Option<Timestamp>,
    /// The credential that asked for it.
    pub actor: String,
    /// Whom that credential claimed to act for; nobody proved it.
    pub claimed_actor: Option<u64>,
    /// The credential of whoever let it take effect, where a person did.
    pub approved_by: Option<String>,
    /// The policy set that decided.
    pub policy_version: String,
    /// The request that asked for it.
    pub request_id: String,
    /// The rules gone through, in order.
    pub explain: Vec<RuleView>,
    /// How far it has been carried out on Roblox, and what is in the way; null before that begins, and where no group is connected.
    pub effect: Option<EffectView>,
}

/// A page of decisions, newest first.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct DecisionList {
    /// Where few decisions match, a page may hold fewer than asked for, even none, and not be the last.
    pub decisions: Vec<DecisionDetail>,
    /// Pass as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

impl DecisionDetail {
    /// A decision, with how far it has been carried out, and what is in its way.
    pub fn of(
        ((user, id), decision): ((RobloxId, Id), Decision),
        effect: Option<Effect>,
        obstacles: &Obstacles,
    ) -> Self {
        let obstacle = obstacles(id, &decision, effect.as_ref());
        let mut effect = effect.map(EffectView::from);
        if let Some(Failing { what, hint }) = obstacle {
            let shown = effect.get_or_insert_with(EffectView::not_begun);
            (shown.waiting, shown.hint) = (Some(what), hint);
        }
        Self {
            id: id.to_string(),
            user_id: RobloxIdOut(user),
            at: Timestamp(decision.at),
            status: decision.status.into(),
            action: decision.action.into(),
            lifts: decision.lifts,
            from_rank: decision.from_rank,
            target_rank: decision.target_rank,
            suspend_seconds: decision.suspend_seconds,
            standing: decision.standing,
            reason: decision.reason,
            blocked_reason: decision.blocked_reason,
            failure: decision.failure,
            origin: decision.origin.into(),
            undoes: decision.origin.of().map(|id| id.to_string()),
            reverted_by: decision.reverted_by.map(|id| id.to_string()),
            queued_at: decision.queued_at.map(Timestamp),
            ended_at: decision.ended_at.map(Timestamp),
            actor: decision.actor.id,
            claimed_actor: decision.actor.claimed,
            approved_by: decision.approved_by.map(|actor| actor.id),
            policy_version: decision.policy_version,
            request_id: decision.request_id,
            explain: decision.explain.into_iter().map(RuleView::from).collect(),
            effect,
        }
    }
}

impl From<Origin> for OriginView {
    fn from(origin: Origin) -> Self {
        match origin {
            Origin::Policy => Self::Policy,
            Origin::Revert(_) => Self::Revert,
            Origin::Drift => Self::Drift,
            Origin::SuspensionEnd(_) => Self::SuspensionEnd,
        }
    }
}

impl OriginView {
    /// The name that origins are told by.
    pub fn text(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Revert => "revert",
            Self::Drift => "drift",
            Self::SuspensionEnd => "suspension_end",
        }
    }
}

impl From<StatusView> for Status {
    fn from(status: StatusView) -> Self {
        match status {
            StatusView::Proposed => Self::Proposed,
            StatusView::Queued => Self::Queued,
            StatusView::Applied => Self::Applied,
            StatusView::Failed => Self::Failed,
            StatusView::Blocked => Self::Blocked,
        }
    }
}

impl From<ActionView> for Action {
    fn from(action: ActionView) -> Self {
        match action {
            ActionView::Ban => Self::Ban,
            ActionView::Suspend => Self::Suspend,
            ActionView::Demote => Self::Demote,
            ActionView::Promote => Self::Promote,
            ActionView::None => Self::None,
        }
    }
}
