//! From a verdict to what is written down: the decision's status, its row, its audit row, and what the player's row remembers.

use std::time::Duration;

use serde_json::json;

use super::Sender;
use super::decide::{Verdict, decide};
use super::facts::{reports, stored, subject};
use super::history::{DECISIONS, Decision, keep};
use super::outcome::{Outcome, Tracks};
use super::service::Ask;
use super::trail::Stamp;
use crate::base::{Id, Result, RobloxId, Time};
use crate::domains::brakes::{Brakes, Count, Counted, Deed, Doer};
use crate::domains::players::{Decided, Origin, Player, Refused, Status};
use crate::domains::policy::{Action, Policy};
use crate::store::Tx;

/// When a decision that failed may be queued again by asking for it again.
pub const RETRY_FAILED_AFTER: Duration = Duration::from_secs(3600);

/// Whether what failed at `at` is too fresh to be queued again. A time that lies ahead is that of a clock that was set back since.
pub fn failed_lately(at: Time, now: Time) -> bool {
    at <= now && now.since(at) < RETRY_FAILED_AFTER
}

/// A decision being settled within a transaction.
pub struct Case<'a> {
    pub policy: &'a Policy,
    pub ask: Ask,
    pub tracks: &'a Tracks,
    pub sender: &'a Sender,
    pub now: Time,
    pub brakes: &'a Brakes,
}

impl Case<'_> {
    /// Decides about `player`, writes what has to be written into `tx`, and leaves in `player` what is to be saved.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn settle(&self, tx: &Tx, player: &mut Player) -> Result<Outcome> {
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

    /// There is something to do: writes the decision, unless it is written already or what is open stands against it.
    async fn decided(&self, tx: &Tx, player: &mut Player, outcome: &mut Outcome, verdict: &Verdict) -> Result<()> {
        let open = player.decided.clone().filter(|open| open.rejected_until.is_none_or(|until| self.now < until));
        if let Some(order) = open.as_ref().filter(|open| goes_first(open)) {
            let why = format!("Decision {} ({}) has to end first", order.id, order.origin.text());
            (outcome.status, outcome.blocked_reason) = (Some(Status::Proposed), Some(why));
            return Ok(());
        }
        let same = open.as_ref().filter(|open| says_the_same(open, player, outcome));
        if let Some(same) = same.filter(|same| self.stays(same, outcome)) {
            return self.answer_again(tx, player.user_id, same, outcome).await;
        }
        let seconds = outcome.suspend_for.map(|length| length.as_secs());
        if let Some(refused) = player.refusal((outcome.action, outcome.target_rank.as_deref(), seconds), self.now) {
            let refused = refused.clone();
            return self.answer_refused(tx, player, &refused, outcome).await;
        }
        let queued = open.as_ref().is_some_and(Decided::is_queued);
        let mut counted = None;
        if outcome.status == Some(Status::Queued) {
            match self.leave(tx, player, outcome).await? {
                Ok(count) => counted = Some(count),
                Err((status, why)) => (outcome.status, outcome.blocked_reason) = (Some(status), Some(why)),
            }
        }
        let queues = outcome.status == Some(Status::Queued);
        let asked = self.ask == Ask::Apply;
        match (same, open.as_ref()) {
            (Some(same), _) => {
                outcome.id = same.id;
                if !queues {
                    return Ok(()); // An open decision moves only towards taking effect.
                }
            }
            (None, Some(open)) if queued && !queues && !(asked && lifted(open, player).is_some()) => return Ok(()),
            (None, Some(open)) => {
                let why = format!("Superseded by decision {}", self.tracks.decision);
                self.stamp(self.tracks.closing_audit).close(tx, player.user_id, open, ("superseded", &why)).await?;
            }
            (None, None) => {}
        }
        self.write(tx, player, outcome, (verdict, counted));
        Ok(())
    }

    /// Asks the brakes for leave to queue, and counts it: the actor may not at all, or there have been too many lately.
    async fn leave(
        &self,
        tx: &Tx,
        player: &Player,
        outcome: &Outcome,
    ) -> Result<std::result::Result<Count, (Status, String)>> {
        let doer = Doer::new(&self.sender.actor, self.now);
        let (rank, target_rank) = (player.rank.as_deref(), outcome.target_rank.as_deref());
        let deed = Deed { user: player.user_id, rank, target_rank };
        let admitted = match doer.admit(tx, self.policy, &deed).await? {
            Ok(admitted) => admitted,
            Err(why) => return Ok(Err((Status::Blocked, why))),
        };
        let Tracks { trip, trip_audit: audit, .. } = *self.tracks;
        let Sender { actor, request_id } = self.sender;
        let counted = Counted { at: self.now, trip, audit, actor, request_id };
        let count = match self.brakes.take(tx, self.policy, counted).await? {
            Ok(count) => count,
            Err(why) => return Ok(Err((Status::Proposed, why))),
        };
        admitted.record(tx);
        Ok(Ok(count))
    }

    /// Whether the open decision is answered as it stands: it will take effect, a person rejected it, or it failed a moment ago.
    fn stays(&self, same: &Decided, outcome: &Outcome) -> bool {
        let asked = outcome.status == Some(Status::Queued);
        let lately = same.ended_at.is_none_or(|at| failed_lately(at, self.now));
        same.is_queued() || same.rejected_until.is_some() || (same.status == Status::Failed && (lately || !asked))
    }

    async fn answer_again(&self, tx: &Tx, user: RobloxId, same: &Decided, outcome: &mut Outcome) -> Result<()> {
        (outcome.id, outcome.status, outcome.blocked_reason) = (same.id, Some(same.status), None);
        if !same.is_queued() {
            let kept = tx.get(&DECISIONS, &(user, same.id)).await?;
            outcome.blocked_reason = kept.and_then(|kept| kept.why().map(str::to_owned));
        }
        Ok(())
    }

    /// A person said no to the same a while ago. What is open instead has lost its basis, as where there is nothing to do.
    async fn answer_refused(
        &self,
        tx: &Tx,
        player: &mut Player,
        refused: &Refused,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let kept = tx.get(&DECISIONS, &(player.user_id, refused.id)).await?;
        let why = match refused.by {
            Some(by) => format!("Taken back by decision {by}; not decided again before {}", refused.until),
            None => kept.as_ref().and_then(Decision::why).unwrap_or("A person rejected it").to_owned(),
        };
        (outcome.id, outcome.status, outcome.blocked_reason) = (refused.id, Some(Status::Blocked), Some(why));
        let closes = |open: &Decided| self.ask == Ask::Apply || !open.is_queued();
        if let Some(open) = player.decided.clone().filter(closes) {
            let why = format!("No longer holds: {}", outcome.reason);
            self.stamp(self.tracks.closing_audit).close(tx, player.user_id, &open, ("closed", &why)).await?;
            player.decided = None;
        }
        Ok(())
    }

    /// Nothing to do: an open decision whose basis is gone does not take effect any more. A queued one stays unless the caller may apply;
    /// what was ordered, and what a person rejected, does not rest on the policy. A punishment whose status was lifted has lost its basis
    /// even where the verdict is to wait: it waits on something else.
    async fn nothing_to_do(&self, tx: &Tx, player: &mut Player, verdict: &Verdict) -> Result<()> {
        let closes = |open: &Decided| (self.ask == Ask::Apply || !open.is_queued()) && !goes_first(open);
        let Some(open) = player.decided.clone().filter(closes) else {
            return Ok(());
        };
        let lifted = lifted(&open, player);
        if verdict.holds_open && lifted.is_none() {
            return Ok(());
        }
        let why = format!("No longer holds: {}", lifted.as_deref().unwrap_or(&verdict.reason));
        self.stamp(self.tracks.closing_audit).close(tx, player.user_id, &open, ("closed", &why)).await?;
        player.decided = None;
        Ok(())
    }

    fn write(&self, tx: &Tx, player: &mut Player, outcome: &Outcome, (verdict, counted): (&Verdict, Option<Count>)) {
        let status = outcome.status.unwrap_or(Status::Proposed);
        let suspend_seconds = outcome.suspend_for.map(|length| length.as_secs());
        let rests_on = verdict.rests_on.as_deref().map(str::to_owned);
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
            origin: Origin::Policy,
            queued_at: (status == Status::Queued).then_some(self.now),
            ended_at: None,
            failure: None,
            standing: verdict.status.as_deref().map(str::to_owned),
            lifts: false,
            reverted_by: None,
            rests_on: rests_on.clone(),
            approved_by: None,
            counted,
        };
        keep(tx, (player.user_id, outcome.id), &decision);
        player.decided = Some(Decided {
            id: outcome.id,
            at: self.now,
            action: outcome.action,
            target_rank: outcome.target_rank.clone(),
            status,
            suspend_seconds,
            rests_on,
            marks: stored(&verdict.marks_if_applied),
            origin: Origin::Policy,
            lifts: false,
            ended_at: None,
            rejected_until: None,
            from_rank: player.rank.clone(),
        });
        let before = player.rank.as_ref().map(|rank| json!({ "rank": rank }));
        let after = json!({
            "decision": outcome.id.to_string(),
            "action": outcome.action.as_str(),
            "targetRank": outcome.target_rank,
            "reason": outcome.reason,
            "policy": outcome.policy_version,
        });
        self.stamp(self.tracks.decision_audit).record(tx, player.user_id, status.text(), (before, after));
    }

    fn stamp(&self, audit: Id) -> Stamp {
        Stamp { audit, at: self.now, sender: self.sender.clone() }
    }
}

fn says_the_same(open: &Decided, player: &Player, outcome: &Outcome) -> bool {
    let moves = matches!(open.action, Action::Promote | Action::Demote);
    open.is_of_policy()
        && (!moves || open.from_rank == player.rank)
        && open.action == outcome.action
        && open.target_rank == outcome.target_rank
        && open.suspend_seconds == outcome.suspend_for.map(|length| length.as_secs())
}

/// Why a punishment that is open has lost what it rests on, if it has.
fn lifted(open: &Decided, player: &Player) -> Option<String> {
    let status = open.rests_on.as_deref().filter(|status| open.punishes() && !reports(player, status))?;
    Some(format!("the status {status} was lifted"))
}

/// What was ordered stands against the policy until it has ended or a person took it back.
fn goes_first(open: &Decided) -> bool {
    !open.is_of_policy() && matches!(open.status, Status::Queued | Status::Failed)
}
