//! The people of the group.

use serde::{Deserialize, Serialize};

use crate::base::{RobloxId, Time};
use crate::store::{Record, Table};

/// Everybody we ever had a snapshot of.
pub static PLAYERS: Table<RobloxId, Player> = Table::new("players", *b"pl");

/// A player as stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Player {
    pub user_id: RobloxId,
    pub username: String,
    pub display_name: Option<String>,
    pub rank: Option<String>,
    pub points: i64,
    pub kos: i64,
    pub wos: i64,
    pub updated_at: Time,
}

impl Record for Player {
    const VERSION: u8 = 1;
}
