//! From a verdict to what is written down: the decision's status, its row, its audit row, and what the player's row remembers.

use std::time::Duration;

use super::breaker::Turn;
use super::decide::{Rule, Verdict, decide};
use super::facts::{stored, subject};
use super::service::{Ask, Sender};
use super::tables::{DECISIONS, Decision};
use crate::base::{Id, Ids, Result, Time};
use crate::domains::audit;
use crate::domains::players::{Decided, Player, Status};
use crate::domains::policy::{Action, Policy};
use crate::store::Tx;

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
}

impl Tracks {
    pub fn new(ids: &Ids) -> Self {
        Self {
            snapshot: ids.next(),
            snapshot_audit: ids.next(),
            closing_audit: ids.next(),
            decision: ids.next(),
            decision_audit: ids.next(),
        }
    }
}

/// A decision being settled within a transaction.
pub struct Case<'a> {
    pub policy: &'a Policy,
    pub ask: Ask,
    pub tracks: &'a Tracks,
    pub sender: &'a Sender,
    pub now: Time,
    pub turn: Turn<'a>,
}

impl Case<'_> {
    /// Decides about `player`, writes what has to be written into `tx`, and leaves in `player` what is to be saved.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn settle(&self, tx: &Tx, player: &mut Player) -> Result<Outcome> {
        self.turn.begin();
        let verdict = decide(self.policy, &subject(player, self.now), self.now);
        player.marks = stored(&verdict.marks);
        let (status, blocked_reason) = self.standing(&verdict);
        let mut outcome = Outcome { status, blocked_reason, ..Outcome::of(self.tracks.decision, &verdict) };
        match status {
            Some(_) => self.decided(tx, player, &mut outcome, &verdict).await?,
            None => self.nothing_to_do(tx, player, &verdict).await?,
        }
        outcome.apply = self.ask == Ask::Apply && matches!(outcome.status, None | Some(Status::Queued));
        Ok(outcome)
    }

    /// Where a verdict stands, and why it does not take effect although that was asked for.
    fn standing(&self, verdict: &Verdict) -> (Option<Status>, Option<String>) {
        if verdict.action == Action::None {
            return (None, None);
        }
        match self.ask {
            Ask::Nothing | Ask::Evaluate => (Some(Status::Proposed), None),
            Ask::ApplyDenied => {
                let why = format!("The credential \"{}\" lacks decisions:apply", self.sender.actor.id);
                (Some(Status::Blocked), Some(why))
            }
            Ask::Apply if verdict.applies_itself() => (Some(Status::Queued), None),
            Ask::Apply => (Some(Status::Proposed), verdict.waits_because().map(str::to_owned)),
        }
    }

    /// There is something to do: writes the decision, unless it is written already or a queued one stands against it.
    async fn decided(&self, tx: &Tx, player: &mut Player, outcome: &mut Outcome, verdict: &Verdict) -> Result<()> {
        let open = player.decided.clone();
        let same = open.as_ref().filter(|open| says_the_same(open, outcome));
        let queued = open.as_ref().is_some_and(Decided::is_queued);
        if let Some(same) = same.filter(|_| queued) {
            (outcome.id, outcome.status, outcome.blocked_reason) = (same.id, Some(Status::Queued), None);
            return Ok(());
        }
        if outcome.status == Some(Status::Queued)
            && let Err(why) = self.turn.take(&self.policy.settings().breaker)
        {
            (outcome.status, outcome.blocked_reason) = (Some(Status::Proposed), Some(why));
        }
        let queues = outcome.status == Some(Status::Queued);
        match (same, open.as_ref()) {
            (Some(same), _) => {
                outcome.id = same.id;
                if !queues {
                    return Ok(()); // An open decision moves only towards taking effect.
                }
            }
            (None, Some(_)) if queued && !queues => return Ok(()),
            (None, Some(open)) => self.close(tx, player, open, Closing::Superseded).await?,
            (None, None) => {}
        }
        self.write(tx, player, outcome, verdict);
        Ok(())
    }

    /// Nothing to do: an open decision whose basis is gone does not take effect any more. A queued one stays unless the caller may apply.
    async fn nothing_to_do(&self, tx: &Tx, player: &mut Player, verdict: &Verdict) -> Result<()> {
        let Some(open) = player.decided.clone().filter(|open| self.ask == Ask::Apply || !open.is_queued()) else {
            return Ok(());
        };
        if verdict.holds_open {
            return Ok(());
        }
        self.close(tx, player, &open, Closing::NoLongerHolds(&verdict.reason)).await?;
        player.decided = None;
        Ok(())
    }

    fn write(&self, tx: &Tx, player: &mut Player, outcome: &Outcome, verdict: &Verdict) {
        let status = outcome.status.unwrap_or(Status::Proposed);
        let suspend_seconds = outcome.suspend_for.map(|length| length.as_secs());
        let decision = Decision {
            at: self.now,
            action: outcome.action,
            from_rank: player.rank.clone(),
            target_rank: outcome.target_rank.clone(),
            reason: outcome.reason.clone(),
            explain: outcome.explain.clone(),
            status,
            blocked_reason: outcome.blocked_reason.clone(),
            suspend_seconds,
            policy_version: outcome.policy_version.clone(),
            actor: self.sender.actor.clone(),
            request_id: self.sender.request_id.clone(),
        };
        tx.put(&DECISIONS, &(player.user_id, outcome.id), &decision);
        player.decided = Some(Decided {
            id: outcome.id,
            at: self.now,
            action: outcome.action,
            target_rank: outcome.target_rank.clone(),
            status,
            suspend_seconds,
            rests_on: verdict.rests_on.as_deref().map(str::to_owned),
            marks: stored(&verdict.marks_if_applied),
        });
        self.audit(tx, player, outcome, status);
    }

    /// Ends the open decision: it does not take effect any more.
    async fn close(&self, tx: &Tx, player: &Player, open: &Decided, closing: Closing<'_>) -> Result<()> {
        let (verb, why) = match closing {
            Closing::Superseded => ("superseded", format!("Superseded by decision {}", self.tracks.decision)),
            Closing::NoLongerHolds(reason) => ("closed", format!("No longer holds: {reason}")),
        };
        let key = (player.user_id, open.id);
        if let Some(mut decision) = tx.get(&DECISIONS, &key).await? {
            decision.status = Status::Blocked;
            decision.blocked_reason = Some(why.clone());
            tx.put(&DECISIONS, &key, &decision);
        }
        let before = serde_json::json!({ "decision": open.id.to_string(), "status": open.status.text() });
        let after = serde_json::json!({
            "decision": open.id.to_string(),
            "status": Status::Blocked.text(),
            "action": open.action.as_str(),
            "targetRank": open.target_rank,
            "reason": why,
        });
        let entry = self.entry(player, &format!("decision.{verb}"), Some(before.to_string()), after.to_string());
        audit::record(tx, self.tracks.closing_audit, &entry);
        Ok(())
    }

    fn audit(&self, tx: &Tx, player: &Player, outcome: &Outcome, status: Status) {
        let after = serde_json::json!({
            "decision": outcome.id.to_string(),
            "action": outcome.action.as_str(),
            "targetRank": outcome.target_rank,
            "reason": outcome.reason,
            "policy": outcome.policy_version,
        });
        let before = player.rank.as_ref().map(|rank| serde_json::json!({ "rank": rank }).to_string());
        let entry = self.entry(player, &format!("decision.{}", status.text()), before, after.to_string());
        audit::record(tx, self.tracks.decision_audit, &entry);
    }

    fn entry(&self, player: &Player, action: &str, before: Option<String>, after: String) -> audit::Entry {
        audit::Entry {
            at: self.now,
            actor: self.sender.actor.clone(),
            action: action.to_owned(),
            subject: format!("player:{}", player.user_id),
            before,
            after: Some(after),
            request_id: self.sender.request_id.clone(),
        }
    }
}

/// Why an open decision ends without having taken effect.
#[derive(Clone, Copy)]
enum Closing<'a> {
    /// Another one takes its place.
    Superseded,
    /// There is nothing to do any more, for this reason.
    NoLongerHolds(&'a str),
}

fn says_the_same(open: &Decided, outcome: &Outcome) -> bool {
    open.action == outcome.action
        && open.target_rank == outcome.target_rank
        && open.suspend_seconds == outcome.suspend_for.map(|length| length.as_secs())
}
