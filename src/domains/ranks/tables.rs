//! Decisions as they are stored.

use serde::{Deserialize, Serialize};

use super::decide::Rule;
use crate::base::{Id, RobloxId, Time};
use crate::domains::audit::Actor;
use crate::domains::players::Status;
use crate::domains::policy::Action;
use crate::store::{Record, Table};

/// Every decision to do something, by player, then by an id that sorts by time. A verdict of NONE leaves no row: its snapshot keeps it.
pub static DECISIONS: Table<(RobloxId, Id), Decision> = Table::new("decisions", *b"de");

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
}

impl Record for Decision {
    const VERSION: u8 = 1;
}
