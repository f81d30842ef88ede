//! What leaderboards store: the boards, how many there are, and everybody's entry.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::model::{BoardName, Entry, Rule};
use crate::base::{Time, UserKey};
use crate::domains::standings::BoardId;
use crate::store::{Record, Table};

/// Boards by season and mode. The players' board is not among them: it has no rule and cannot be submitted to.
pub static BOARDS: Table<(Arc<str>, Arc<str>), Board> = Table::new("boards", *b"bo");

/// One row, under key 0: how many boards there are, which is also the last id given out.
pub static BOARD_COUNT: Table<u8, BoardCount> = Table::new("board_count", *b"bc");

/// Everybody's standing score. The row moves together with its place in `standings::RANKED`.
pub static ENTRIES: Table<(BoardId, UserKey), Entry> = Table::new("entries", *b"en");

/// A board of scores, made by the first submission to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Board {
    pub id: BoardId,
    pub rule: Rule,
    pub created_at: Time,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BoardCount(pub u32);

impl Record for Board {
    const VERSION: u8 = 1;
}

impl Record for BoardCount {
    const VERSION: u8 = 1;
}

impl Record for Entry {
    const VERSION: u8 = 1;
}

impl BoardName {
    /// The key of this board in [`BOARDS`].
    pub fn key(&self) -> (Arc<str>, Arc<str>) {
        (Arc::clone(&self.season), Arc::clone(&self.mode))
    }
}
