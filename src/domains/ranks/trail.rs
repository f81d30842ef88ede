//! How decisions are told in the audit trail, and how an open one ends without having taken effect.

use serde_json::{Value, json};

use super::Sender;
use super::history::{DECISIONS, keep, uncount};
use crate::base::{Id, Result, RobloxId, Time};
use crate::domains::audit;
use crate::domains::players::{Decided, Status};
use crate::store::Tx;

/// What a change of a decision is written down with; made before the commit.
#[derive(Debug, Clone)]
pub struct Stamp {
    /// The audit row's id.
    pub audit: Id,
    pub at: Time,
    pub sender: Sender,
}

impl Stamp {
    /// Adds the audit row: what was done (`decision.<verb>`) about `user`.
    pub(super) fn record(&self, tx: &Tx, user: RobloxId, verb: &str, (before, after): (Option<Value>, Value)) {
        let entry = self.sender.entry(self.at, &format!("decision.{verb}"), format!("player:{user}")).after(after);
        let before = before.map(|before| before.to_string());
        audit::record(tx, self.audit, &audit::Entry { before, ..entry });
    }

    /// Ends the open decision about `user` as `verb`: it does not take effect any more, for this reason. One that a person has rejected
    /// keeps that person's reason. The player's row is the caller's to save.
    ///
    /// # Errors
    /// Those of the store.
    pub(super) async fn close(&self, tx: &Tx, user: RobloxId, open: &Decided, (verb, why): (&str, &str)) -> Result<()> {
        if open.rejected_until.is_some() {
            return Ok(());
        }
        let key = (user, open.id);
        if let Some(mut decision) = tx.get(&DECISIONS, &key).await? {
            uncount(tx, open.id, &decision).await?;
            decision.status = Status::Blocked;
            decision.blocked_reason = Some(why.to_owned());
            keep(tx, key, &decision);
        }
        let before = json!({ "decision": open.id.to_string(), "status": open.status.text() });
        let after = json!({
            "decision": open.id.to_string(),
            "status": Status::Blocked.text(),
            "action": open.action.as_str(),
            "targetRank": open.target_rank,
            "reason": why,
        });
        self.record(tx, user, verb, (Some(before), after));
        Ok(())
    }
}
