//! Decisions as they are stored.

use serde::{Deserialize, Serialize};

use crate::base::{self, Id, RobloxId, Time};
use crate::domains::audit::Actor;
use crate::domains::brakes::{self, Count};
use crate::domains::effects::{self, EFFECTS};
use crate::domains::players::{Origin, Status};
use crate::domains::policy::Action;
use crate::domains::ranks::decide::Rule;
use crate::store::{Record, Table, Tx};

/// Every decision to do something, by player, then by an id that sorts by time. A verdict of NONE leaves no row: its snapshot keeps it.
pub static DECISIONS: Table<(RobloxId, Id), Decision> = Table::new("decisions", *b"de");

/// Every decision by its id, and so by when it was made: whom it is about. Written by [`keep`] alone, as are the next two.
pub static DECIDED: Table<Id, RobloxId> = Table::new("decisions_by_id", *b"di");

/// Exactly the decisions that are queued.
pub static OPEN_EFFECTS: Table<Id, RobloxId> = Table::new("decisions_queued", *b"dq");

/// Every decision that took effect, by when it did.
pub static APPLIED: Table<(Time, Id), RobloxId> = Table::new("decisions_applied", *b"da");

/// Says that every decision has its rows in the three tables above; absent in a store of an older program.
pub static DECISIONS_INDEXED: Table<(), u64> = Table::new("decisions_indexed", *b"dx");

/// One decision with all that explains it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    pub at: Time,
    pub action: Action,
    pub from_rank: Option<String>,
    pub target_rank: Option<String>,
    pub reason: String,
    pub explain: Vec<Rule>,
    pub status: Status,
    /// Why it does not take effect although that was asked for.
    pub blocked_reason: Option<String>,
    /// How long a suspension lasts, in seconds; none for one that ends when its status is lifted.
    pub suspend_seconds: Option<u64>,
    /// Hash of the policy set that decided.
    pub policy_version: String,
    pub actor: Actor,
    pub request_id: String,
    #[serde(default)]
    pub origin: Origin,
    /// When it was last put among those that take effect.
    #[serde(default)]
    pub queued_at: Option<Time>,
    /// When it took effect or failed.
    #[serde(default)]
    pub ended_at: Option<Time>,
    /// Why it failed, for people.
    #[serde(default)]
    pub failure: Option<String>,
    /// The status of `policy.punishments.json` that says how a SUSPEND or BAN is carried out.
    #[serde(default)]
    pub standing: Option<String>,
    /// It undoes a punishment instead of making one.
    #[serde(default)]
    pub lifts: bool,
    /// The decision that took this one back, or is about to.
    #[serde(default)]
    pub reverted_by: Option<Id>,
    /// The reported status a punishment rests on: when that is lifted, so is the punishment.
    #[serde(default)]
    pub rests_on: Option<String>,
    /// Who said that it may take effect, where a person did.
    #[serde(default)]
    pub approved_by: Option<Actor>,
    /// Where the breaker counted it when it was last queued; none for what is not counted. It is for as long as it is queued that this may
    /// be given back.
    #[serde(default)]
    pub counted: Option<Count>,
}

impl Record for Decision {
    const VERSION: u8 = 1;
}

impl Decision {
    /// What keeps it from taking effect, or made it fail.
    pub fn why(&self) -> Option<&str> {
        self.failure.as_deref().filter(|_| self.status == Status::Failed).or(self.blocked_reason.as_deref())
    }

    /// Whether this credential asked for it or approved it, or somebody who claimed to be this Roblox user.
    pub fn is_of(&self, who: &str) -> bool {
        let is = |one: &Actor| one.id == who || one.claimed.is_some_and(|claimed| claimed.to_string() == who);
        is(&self.actor) || self.approved_by.as_ref().is_some_and(is)
    }
}

/// Writes a decision with the rows that find it.
pub fn keep(tx: &Tx, key: (RobloxId, Id), decision: &Decision) {
    let (user, id) = key;
    tx.put(&DECISIONS, &key, decision);
    tx.put(&DECIDED, &id, &user);
    match (decision.status, decision.ended_at) {
        (Status::Queued, _) => tx.put(&OPEN_EFFECTS, &id, &user),
        (Status::Applied, Some(at)) => {
            tx.delete(&OPEN_EFFECTS, &id);
            tx.put(&APPLIED, &(at, id), &user);
        }
        _ => tx.delete(&OPEN_EFFECTS, &id),
    }
}

/// A decision is about to leave the queue without having taken effect. Unless something of it was sent to Roblox, the breaker forgets it:
/// what sends notes that first, in a commit that asserts that the decision is queued, so of the two commits one sees the other.
///
/// # Errors
/// Those of the store.
pub async fn uncount(tx: &Tx, id: Id, decision: &Decision) -> base::Result<()> {
    let Some(count) = decision.counted.filter(|_| decision.status == Status::Queued) else { return Ok(()) };
    let begun = tx.get(&EFFECTS, &id).await?.filter(|effect| effect.ended_at.is_none());
    if begun.is_some_and(|effect| effect.touched) {
        return Ok(());
    }
    brakes::give_back(tx, count).await
}

/// Removes a decision with the rows that find it.
pub fn forget(tx: &Tx, key: (RobloxId, Id), decision: &Decision) {
    let (_, id) = key;
    effects::forget(tx, id);
    tx.delete(&DECISIONS, &key);
    tx.delete(&DECIDED, &id);
    tx.delete(&OPEN_EFFECTS, &id);
    if let Some(at) = decision.ended_at {
        tx.delete(&APPLIED, &(at, id));
    }
}
