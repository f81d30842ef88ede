//! Approving, rejecting and retrying a decision: one commit each.

use serde_json::json;

use crate::base::{Error, Id, Result, RobloxId, Time};
use crate::domains::brakes::{self, Deed, Doer};
use crate::domains::players::{self, Decided, PLAYERS, Player, REJECTED_FOR, Status};
use crate::domains::policy::Action;
use crate::domains::ranks::Sender;
use crate::domains::ranks::carry::shield;
use crate::domains::ranks::facts::reports;
use crate::domains::ranks::history::{DECIDED, DECISIONS, Decision, keep, uncount};
use crate::domains::ranks::service::Ranks;
use crate::domains::ranks::trail::Stamp;
use crate::store::Tx;

/// What a person says about a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Say {
    /// Let it take effect.
    Approve,
    /// Do not let it, for this reason; where that is asked for, only as long as nobody has approved it.
    Reject { reason: String, only_proposed: bool },
    /// It failed; try again.
    Retry,
}

impl Say {
    /// What was done, for the audit trail.
    fn verb(&self) -> &'static str {
        match self {
            Say::Approve => "approved",
            Say::Reject { .. } => "rejected",
            Say::Retry => "retried",
        }
    }
}

/// A decision that is its player's open one, as a transaction read it.
struct Open {
    key: (RobloxId, Id),
    decision: Decision,
    player: Player,
}

impl Ranks {
    /// Does what a person says about the decision `id`, and gives it as it is then. Said again, it changes nothing.
    ///
    /// # Errors
    /// `decisions.missing`; `decisions.not_open`, `decisions.ended`, `decisions.not_failed`, `decisions.not_proposed`,
    /// `decisions.facts_changed` where it cannot be done any more; `decisions.protected`, `decisions.actor_limited` where it may not; those of the store.
    pub async fn say(&self, id: Id, say: &Say, sender: &Sender) -> Result<(RobloxId, Decision)> {
        let stamp = &Stamp { audit: self.ids.next(), at: self.clock.now(), sender: sender.clone() };
        self.store
            .transact(|tx| async move {
                let found = find(&tx, id).await?;
                if found.stands(say, stamp.at) {
                    return Ok((found.key.0, found.decision));
                }
                found.check(say)?;
                match say {
                    Say::Approve | Say::Retry => self.queue(&tx, found, say, stamp).await,
                    Say::Reject { reason, .. } => {
                        let by = format!("Rejected by {}", stamp.sender.actor.id);
                        let why = if reason.is_empty() { by } else { format!("{by}: {reason}") };
                        found.withdraw(&tx, say.verb(), &why, stamp).await
                    }
                }
            })
            .await
    }

    async fn queue(&self, tx: &Tx, found: Open, say: &Say, stamp: &Stamp) -> Result<(RobloxId, Decision)> {
        let Open { key, mut decision, player: before } = found;
        let policy = self.policy.current();
        if let Some(why) = shield(&policy, &before, decision.target_rank.as_deref()).filter(|_| !decision.lifts) {
            return Err(Error::denied("decisions.protected", why).hint("what the policy protects is changed on Roblox"));
        }
        let doer = Doer::new(&stamp.sender.actor, stamp.at);
        let (rank, target_rank) = (before.rank.as_deref(), decision.target_rank.as_deref());
        let admitted = doer.admit(tx, &policy, &Deed { user: key.0, rank, target_rank }).await?;
        admitted.map_err(brakes::limited)?.record(tx);
        // What a person lets through is not counted; another try of what the policy did is, as its first may not count any more.
        decision.counted = match decision.counted.filter(|_| *say == Say::Retry) {
            Some(_) => Some(brakes::count(tx, stamp.at).await?),
            None => None,
        };
        let was = json!({ "status": decision.status.text(), "rank": before.rank });
        (decision.status, decision.queued_at, decision.ended_at) = (Status::Queued, Some(stamp.at), None);
        (decision.blocked_reason, decision.failure) = (None, None);
        decision.approved_by = Some(stamp.sender.actor.clone());
        let mut player = before.clone();
        if let Some(open) = &mut player.decided {
            (open.status, open.at) = (Status::Queued, stamp.at);
            (open.ended_at, open.rejected_until) = (None, None);
        }
        player.allow(key.1);
        player.updated_at = stamp.at;
        keep(tx, key, &decision);
        players::save(tx, Some(&before), &player);
        let is = json!({
            "decision": key.1.to_string(),
            "status": Status::Queued.text(),
            "action": decision.action.as_str(),
            "targetRank": decision.target_rank,
        });
        stamp.record(tx, key.0, say.verb(), (Some(was), is));
        Ok((key.0, decision))
    }

    /// Takes a queued decision back before it took effect, in the commit of `tx`; whether it still was queued.
    ///
    /// # Errors
    /// Those of the store.
    pub(in crate::domains::ranks) async fn cancel(&self, tx: &Tx, id: Id, why: &str, stamp: &Stamp) -> Result<bool> {
        let found = find(tx, id).await?;
        if !found.is_open() || found.decision.status != Status::Queued {
            return Ok(false);
        }
        found.withdraw(tx, "cancelled", why, stamp).await?;
        Ok(true)
    }
}

async fn find(tx: &Tx, id: Id) -> Result<Open> {
    let missing = || {
        Error::missing("decisions.missing", format!("there is no decision {id}"))
            .hint("GET /automation/decisions lists them; those that ended are forgotten after AUDIT_RETENTION_DAYS")
    };
    let user = tx.get(&DECIDED, &id).await?.ok_or_else(missing)?;
    let decision = tx.get(&DECISIONS, &(user, id)).await?.ok_or_else(missing)?;
    let player = tx.get(&PLAYERS, &user).await?.ok_or_else(missing)?;
    Ok(Open { key: (user, id), decision, player })
}

impl Open {
    fn open(&self) -> Option<&Decided> {
        self.player.decided.as_ref().filter(|open| open.id == self.key.1)
    }

    fn is_open(&self) -> bool {
        self.open().is_some()
    }

    /// Whether all is as this would make it.
    fn stands(&self, say: &Say, now: Time) -> bool {
        match say {
            Say::Approve | Say::Retry => self.decision.status == Status::Queued,
            Say::Reject { .. } => self.open().is_some_and(|open| open.rejected_until.is_some_and(|until| now < until)),
        }
    }

    fn check(&self, say: &Say) -> Result<()> {
        let Self { key: (_, id), decision, player } = self;
        if decision.status == Status::Applied {
            return Err(Error::conflict("decisions.ended", format!("decision {id} has taken effect already"))
                .hint("`grps decisions revert --decision ID` or POST /automation/revert takes it back"));
        }
        if !self.is_open() {
            let why = decision.why().unwrap_or("another one took its place");
            return Err(Error::conflict("decisions.not_open", format!("decision {id} is not open any more: {why}"))
                .hint("POST /automation/decisions decides anew"));
        }
        match (say, decision.status) {
            (Say::Approve, Status::Failed) => {
                return Err(Error::conflict("decisions.failed", format!("decision {id} was approved, and failed"))
                    .hint("retry it"));
            }
            (Say::Retry, status) if status != Status::Failed => {
                let detail = format!("decision {id} is {}, so there is nothing to retry", status.text());
                return Err(Error::conflict("decisions.not_failed", detail).hint("approve what waits for a person"));
            }
            (Say::Reject { only_proposed: true, .. }, status) if status != Status::Proposed => {
                let detail =
                    format!("decision {id} is {}, and only what is proposed was to be rejected", status.text());
                return Err(Error::conflict("decisions.not_proposed", detail).hint("reject it by its id alone"));
            }
            (Say::Reject { .. }, _) => return Ok(()),
            _ => {}
        }
        let hint = "POST /automation/decisions for this player decides anew";
        if let Some(status) = decision.rests_on.as_deref().filter(|status| !decision.lifts && !reports(player, status))
        {
            let why = format!("decision {id} rests on the status {status}, which was lifted");
            return Err(Error::conflict("decisions.facts_changed", why).hint(hint));
        }
        let moves = matches!(decision.action, Action::Promote | Action::Demote);
        if moves && player.rank != decision.from_rank {
            let name = |rank: &Option<String>| rank.clone().unwrap_or_else(|| "no rank".to_owned());
            let (was, is) = (name(&decision.from_rank), name(&player.rank));
            return Err(Error::conflict(
                "decisions.facts_changed",
                format!("decision {id} was made about someone with {was}; by now they have {is}"),
            )
            .hint(hint));
        }
        Ok(())
    }

    /// It does not take effect any more, and is not proposed again for a while. What was ordered is not open any more either.
    async fn withdraw(self, tx: &Tx, verb: &str, why: &str, stamp: &Stamp) -> Result<(RobloxId, Decision)> {
        let Self { key, mut decision, player: before } = self;
        uncount(tx, key.1, &decision).await?;
        let was = json!({ "decision": key.1.to_string(), "status": decision.status.text() });
        (decision.status, decision.blocked_reason) = (Status::Blocked, Some(why.to_owned()));
        let mut player = before.clone();
        match player.decided.clone() {
            Some(open) if open.is_of_policy() => player.refuse(open.refused(stamp.at), stamp.at),
            _ => player.allow_again(key.1),
        }
        player.decided = player.decided.filter(Decided::is_of_policy).map(|open| Decided {
            status: Status::Blocked,
            rejected_until: Some(stamp.at + REJECTED_FOR),
            ..open
        });
        player.updated_at = stamp.at;
        keep(tx, key, &decision);
        players::save(tx, Some(&before), &player);
        let is = json!({
            "decision": key.1.to_string(),
            "status": Status::Blocked.text(),
            "action": decision.action.as_str(),
            "targetRank": decision.target_rank,
            "reason": why,
        });
        stamp.record(tx, key.0, verb, (Some(was), is));
        Ok((key.0, decision))
    }
}
