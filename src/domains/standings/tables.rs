//! The stored side: one row per place, keyed so that a scan of a board yields it in order.

use serde::{Deserialize, Serialize};

use super::place::Place;
use crate::base::{Result, Time, UserKey};
use crate::store::{Key, Record, Table, Tx};

/// Every place on every board.
///
/// Followers hear of a commit's rows in key order. This prefix sorts behind those of the rows shown beside a place (players, entries), so
/// by the time a board's version moves they can be read.
pub static RANKED: Table<(BoardId, Place), Placed> = Table::new("ranked", *b"rk");

/// A board, as a number that keeps keys short.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BoardId(pub u32);

impl BoardId {
    /// The players' board, `all-time/grps`: fed by the players' points and by nothing else.
    pub const PLAYERS: BoardId = BoardId(0);
}

/// What is kept beside a place; the place itself is the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placed {
    /// When the row behind this place last changed.
    pub updated_at: Time,
}

impl Record for Placed {
    const VERSION: u8 = 1;
}

impl Key for BoardId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self> {
        u32::decode(input).map(Self)
    }
}

impl Key for Place {
    fn encode(&self, out: &mut Vec<u8>) {
        self.hi.encode(out);
        self.lo.encode(out);
        self.user.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self> {
        Ok(Self { hi: u64::decode(input)?, lo: u64::decode(input)?, user: UserKey::decode(input)? })
    }
}

/// Moves somebody on `board` from `old` to `new`, as part of the caller's transaction: `None` means not on the board. `old` must be what
/// the transaction read, so that two moves of the same person cannot both succeed. Call it on every change of what is shown beside the
/// place too (a name, a rank): the board's version moves with it.
pub fn place(tx: &Tx, board: BoardId, old: Option<&Place>, new: Option<(&Place, Time)>) {
    if let Some(old) = old.filter(|old| new.is_none_or(|(new, _)| new != *old)) {
        tx.delete(&RANKED, &(board, old.clone()));
    }
    if let Some((new, updated_at)) = new {
        tx.put(&RANKED, &(board, new.clone()), &Placed { updated_at });
    }
}
