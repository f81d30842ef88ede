//! A queued decision ends: it took effect, or it could not.

use crate::base::{Error, Id, Result, RobloxId};
use crate::domains::players::{self, PLAYERS, Status};
use crate::domains::ranks::history::{DECISIONS, Decision, keep, uncount};
use crate::domains::ranks::service::Ranks;
use crate::domains::ranks::trail::Stamp;
use crate::store::Tx;

/// How a decision ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It took effect; `what` tells what was done, for the audit trail.
    Applied { what: Option<String> },
    /// It could not, for this reason: a sentence for people.
    Failed { why: String },
}

/// What came of ending it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The decision as it is now.
    Done(Box<Decision>),
    /// It was not queued any more, and nothing was changed: where it stands, or none when it is gone.
    NotQueued(Option<Status>),
}

impl Ranks {
    /// Ends a queued decision in the commit of `tx`: its row, its index rows, its player and one audit row. A decision ends once: whoever
    /// comes second is told that it is not queued, and writes nothing.
    ///
    /// # Errors
    /// `decisions.odd` for a queued decision that its player knows nothing of; those of the store.
    pub async fn end(&self, tx: &Tx, key: (RobloxId, Id), end: &End, stamp: &Stamp) -> Result<Ended> {
        let Some(mut decision) = tx.get(&DECISIONS, &key).await? else { return Ok(Ended::NotQueued(None)) };
        if decision.status != Status::Queued {
            return Ok(Ended::NotQueued(Some(decision.status)));
        }
        let (user, id) = key;
        let before =
            tx.get(&PLAYERS, &user).await?.filter(|player| player.decided.as_ref().is_some_and(|d| d.id == id));
        let Some(before) = before else {
            return Err(Error::broken(
                "decisions.odd",
                format!("decision {id} is queued, but not open for player {user}"),
            ));
        };
        let mut player = before.clone();
        decision.ended_at = Some(stamp.at);
        let told = match end {
            End::Applied { what } => {
                (decision.status, decision.failure) = (Status::Applied, None);
                player.take_effect(stamp.at);
                what
            }
            End::Failed { why } => {
                uncount(tx, id, &decision).await?;
                (decision.status, decision.failure) = (Status::Failed, Some(why.clone()));
                player.fail_effect(stamp.at);
                &decision.failure
            }
        };
        let was = serde_json::json!({ "status": Status::Queued.text(), "rank": before.rank });
        let is = serde_json::json!({
            "decision": id.to_string(),
            "action": decision.action.as_str(),
            "lifts": decision.lifts,
            "origin": decision.origin.text(),
            "rank": player.rank,
            "reason": told,
        });
        keep(tx, key, &decision);
        players::save(tx, Some(&before), &player);
        stamp.record(tx, user, decision.status.text(), (Some(was), is));
        Ok(Ended::Done(Box::new(decision)))
    }
}
