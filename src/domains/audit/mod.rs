//! The audit trail: who did what to whom, from what to what, in which request (requirement P9). A row is written in the same commit as
//! the change it tells of, so there is no change without its row and no row without its change. Rows are never updated.

use serde::{Deserialize, Serialize};

use crate::base::{Id, Time};
use crate::store::{Record, Table, Tx};

/// One audited action, keyed by an id that sorts by time.
pub static AUDITS: Table<Id, Entry> = Table::new("audits", *b"au");

/// What happened. `before` and `after` hold JSON of what changed, and only that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub at: Time,
    pub actor: Actor,
    /// A dotted verb: `player.snapshot`, `decision.queued`, `key.rotated`.
    pub action: String,
    /// What it was done to: `player:12345678`, `key:c0ffee00`.
    pub subject: String,
    pub before: Option<String>,
    pub after: Option<String>,
    pub request_id: String,
}

impl Record for Entry {
    const VERSION: u8 = 1;
}

impl Entry {
    /// What happened, with nothing said of the states before and after it.
    pub fn new(at: Time, actor: &Actor, request_id: &str, action: &str, subject: impl Into<String>) -> Self {
        let (actor, action, request_id) = (actor.clone(), action.to_owned(), request_id.to_owned());
        Self { at, actor, action, subject: subject.into(), before: None, after: None, request_id }
    }

    #[must_use]
    pub fn before(self, before: impl ToString) -> Self {
        Self { before: Some(before.to_string()), ..self }
    }

    #[must_use]
    pub fn after(self, after: impl ToString) -> Self {
        Self { after: Some(after.to_string()), ..self }
    }
}

/// Who acted: the credential that was proven, and beside it whom the caller claimed to act for, which proves nothing (requirement F4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The id of the authenticated credential, or the name of a worker.
    pub id: String,
    /// `x-grps-actor`: a Roblox user id as the game server stated it.
    pub claimed: Option<u64>,
}

impl Actor {
    pub fn of(id: impl Into<String>) -> Self {
        Self { id: id.into(), claimed: None }
    }
}

/// Adds `entry` to the commit of `tx` under `id`.
///
/// `before` and `after` must fit one row; a commit with a larger one fails as a whole.
pub fn record(tx: &Tx, id: Id, entry: &Entry) {
    tx.put(&AUDITS, &id, entry);
}
