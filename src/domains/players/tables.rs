//! The stored forms: players by id, snapshots by player and time.

use serde::{Deserialize, Serialize};

use super::model::Player;
use crate::base::{Id, RobloxId, Time};
use crate::store::{Record, Table};

/// One row a person.
pub static PLAYERS: Table<RobloxId, Player> = Table::new("players", *b"pl");

/// Every accepted snapshot, by player, then by an id that sorts by time.
pub static SNAPSHOTS: Table<(RobloxId, Id), Snapshot> = Table::new("player_snapshots", *b"ps");

/// A snapshot as it came in (requirement F11).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    pub received_at: Time,
    /// `x-roblox-experience`.
    pub experience: Option<String>,
    /// The credential that sent it.
    pub key_id: String,
    /// The body, as JSON text, exactly as accepted.
    pub body: String,
    /// What was decided on it, when it was evaluated: the action, and the policy version that decided.
    pub outcome: Option<(String, String)>,
}

impl Record for Player {
    const VERSION: u8 = 1;
}

impl Record for Snapshot {
    const VERSION: u8 = 1;
}
