//! From a verdict to what is written down: the decision's status, its row, its audit row, and what the player's row remembers.

use std::time::Duration;

use super::decide::{LastDecision, Marks, Rule, Subject, Verdict, decide};
use super::service::{Ask, Sender};
use super::tables::{DECISIONS, Decision};
use crate::base::{Id, Ids, Result, Time};
use crate::domains::audit;
use crate::domains::players::{Decided, Player, Status, StoredMarks};
use crate::domains::policy::{Action, Mode, Policy};
use crate::store::Tx;

/// What was decided, as the caller hears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The decision's id: that of the open decision when this one says the same again.
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

/// The ids of one request's rows, made before the commit so that a rerun of it writes the same rows.
pub struct Tracks {
    pub snapshot: Id,
    pub snapshot_audit: Id,
    pub decision: Id,
    pub decision_audit: Id,
}

impl Tracks {
    pub fn new(ids: &Ids) -> Self {
        Self { snapshot: ids.next(), snapshot_audit: ids.next(), decision: ids.next(), decision_audit: ids.next() }
    }
}

/// A decision being settled within a transaction.
pub struct Case<'a> {
    pub policy: &'a Policy,
    pub ask: Ask,
    pub tracks: &'a Tracks,
    pub sender: &'a Sender,
    pub now: Time,
}

/// The facts the engine decides on.
pub fn subject(player: &Player) -> Subject<'_> {
    let decided = player.decided.as_ref();
    let acted = decided.filter(|decided| matches!(decided.status, Status::Queued | Status::Applied));
    Subject {
        rank: player.rank.as_deref(),
        reported_rank: player.reported_rank.as_deref(),
        points: player.points,
        points_flagged: player.flagged,
        kos: player.kos,
        wos: player.wos,
        warnings: player.warnings,
        last_warning_at: player.last_warning_at,
        recommendations: player.recommendations,
        punishment_status: player.punishment.as_deref(),
        in_force: None,
        rank_since: player.rank_since,
        last_decision: acted.map(|acted| LastDecision {
            at: acted.at,
            action: acted.action,
            target: acted.target_rank.as_deref(),
        }),
        experience: player.experience.as_deref(),
        marks: Marks {
            points_below_since: player.marks.points_below_since,
            acted_warning_threshold: player.marks.acted_warning_threshold,
            acted_status: player.marks.acted_status.as_deref().map(Into::into),
        },
        ..Subject::new(player.user_id)
    }
}

impl Case<'_> {
    /// Decides about `player`, writes what has to be written into `tx`, and leaves in `player` what is to be saved.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn settle(&self, tx: &Tx, player: &mut Player) -> Result<Outcome> {
        let verdict = decide(self.policy, &subject(player), self.now);
        let (status, blocked_reason) = self.standing(&verdict);
        let marks = if status == Some(Status::Queued) { &verdict.marks_if_applied } else { &verdict.marks };
        player.marks = stored(marks);
        let target_rank = verdict.target_rank.as_deref().map(str::to_owned);
        let mut outcome = Outcome {
            id: self.tracks.decision,
            action: verdict.action,
            target_rank,
            reason: verdict.reason.clone(),
            apply: self.ask == Ask::Apply && matches!(status, None | Some(Status::Queued)),
            status,
            blocked_reason,
            explain: verdict.explain.clone(),
            policy_version: verdict.policy_version.to_string(),
            suspend_for: verdict.suspend_for,
        };
        if let Some(status) = status {
            self.write(tx, player, &mut outcome, status).await?;
        }
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
            Ask::Apply if verdict.mode == Mode::Propose => {
                (Some(Status::Proposed), Some("The policy's mode is \"propose\": a person must approve".into()))
            }
            Ask::Apply if verdict.requires_approval => {
                (Some(Status::Proposed), Some("Waits for a person's approval".into()))
            }
            Ask::Apply => (Some(Status::Queued), None),
        }
    }

    /// Writes the decision, or moves the open one along when it says the same.
    async fn write(&self, tx: &Tx, player: &mut Player, outcome: &mut Outcome, status: Status) -> Result<()> {
        if let Some(open) = player.decided.clone().filter(Decided::is_open) {
            if open.action == outcome.action && open.target_rank == outcome.target_rank {
                outcome.id = open.id;
                return self.repeat(tx, player, &open, outcome).await;
            }
            self.supersede(tx, player, &open).await?;
        }
        let decision = Decision {
            at: self.now,
            action: outcome.action,
            from_rank: player.rank.clone(),
            target_rank: outcome.target_rank.clone(),
            reason: outcome.reason.clone(),
            explain: outcome.explain.clone(),
            status,
            blocked_reason: outcome.blocked_reason.clone(),
            suspend_seconds: outcome.suspend_for.map(|length| length.as_secs()),
            policy_version: outcome.policy_version.clone(),
            actor: self.sender.actor.clone(),
            request_id: self.sender.request_id.clone(),
        };
        tx.put(&DECISIONS, &(player.user_id, outcome.id), &decision);
        self.remember(player, outcome, status, self.now);
        self.audit(tx, player, outcome, status);
        Ok(())
    }

    /// The same decision again: answered with its id, and moved along only from proposed or blocked to queued.
    async fn repeat(&self, tx: &Tx, player: &mut Player, open: &Decided, outcome: &mut Outcome) -> Result<()> {
        let status = match outcome.status {
            Some(status) if status != open.status && open.status != Status::Queued => status,
            _ => {
                outcome.status = Some(open.status);
                return Ok(());
            }
        };
        let key = (player.user_id, open.id);
        if let Some(mut decision) = tx.get(&DECISIONS, &key).await? {
            decision.status = status;
            decision.blocked_reason = outcome.blocked_reason.clone();
            tx.put(&DECISIONS, &key, &decision);
        }
        self.remember(player, outcome, status, open.at);
        self.audit(tx, player, outcome, status);
        Ok(())
    }

    /// An open decision that no longer holds does not take effect any more.
    async fn supersede(&self, tx: &Tx, player: &Player, open: &Decided) -> Result<()> {
        let key = (player.user_id, open.id);
        if let Some(mut decision) = tx.get(&DECISIONS, &key).await? {
            decision.status = Status::Blocked;
            decision.blocked_reason = Some(format!("Superseded by decision {}", self.tracks.decision));
            tx.put(&DECISIONS, &key, &decision);
        }
        Ok(())
    }

    fn remember(&self, player: &mut Player, outcome: &Outcome, status: Status, at: Time) {
        let target_rank = outcome.target_rank.clone();
        player.decided = Some(Decided { id: outcome.id, at, action: outcome.action, target_rank, status });
    }

    fn audit(&self, tx: &Tx, player: &Player, outcome: &Outcome, status: Status) {
        let after = serde_json::json!({
            "decision": outcome.id.to_string(),
            "action": outcome.action.as_str(),
            "targetRank": outcome.target_rank,
            "reason": outcome.reason,
            "policy": outcome.policy_version,
        });
        let entry = audit::Entry {
            at: self.now,
            actor: self.sender.actor.clone(),
            action: format!("decision.{}", status.text()),
            subject: format!("player:{}", player.user_id),
            before: player.rank.as_ref().map(|rank| serde_json::json!({ "rank": rank }).to_string()),
            after: Some(after.to_string()),
            request_id: self.sender.request_id.clone(),
        };
        audit::record(tx, self.tracks.decision_audit, &entry);
    }
}

fn stored(marks: &Marks) -> StoredMarks {
    StoredMarks {
        points_below_since: marks.points_below_since,
        acted_warning_threshold: marks.acted_warning_threshold,
        acted_status: marks.acted_status.as_deref().map(str::to_owned),
    }
}
