//! What mirrors work with, and who is due.

use std::sync::Arc;

use tokio::sync::Notify;

use super::board::BoardMirror;
use super::entry::EntryMirror;
use crate::base::{RobloxId, Time};
use crate::domains::standings::Standings;
use crate::remote::Roblox;
use crate::remote::roblox::StoreId;
use crate::store::{Store, Table, Tx};

/// Players whose entry is to be written, with when that was asked for.
pub static MIRROR_DUE: Table<RobloxId, u64> = Table::new("mirror_due", *b"md");

/// Places of the players' board that can be mirrored.
pub const MAX_TOP: usize = 500;

/// Where mirrors write.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// The data store of the players' entries, with the prefix of its keys.
    pub entries: Option<(StoreId, String)>,
    /// The ordered data store for the players' board, with how many places of it.
    pub board: Option<(StoreId, usize)>,
}

/// Writes back what the server knows. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Mirrors {
    pub(super) store: Store,
    pub(super) standings: Standings,
    roblox: Option<Roblox>,
    config: Config,
    pub(super) wake: Arc<Notify>,
}

impl Mirrors {
    pub fn new(store: &Store, standings: Standings, roblox: Option<&Roblox>, config: Config) -> Self {
        let wake = Arc::new(Notify::new());
        let call = wake.clone();
        store.follow(&MIRROR_DUE, move |rows| {
            if rows.into_iter().any(|(_, due)| due.is_some()) {
                call.notify_one();
            }
        });
        Self { store: store.clone(), standings, roblox: roblox.cloned(), config, wake }
    }

    /// Notes in the commit of `tx` that this player's entry is to be written, if the policy wants that and there is a store for it.
    pub fn note(&self, tx: &Tx, user: RobloxId, wanted: bool, now: Time) {
        if wanted && self.roblox.is_some() && self.config.entries.is_some() {
            tx.put(&MIRROR_DUE, &user, &now.0.unsigned_abs());
        }
    }

    /// The worker for entries; none without a data store.
    pub fn entries(&self) -> Option<EntryMirror> {
        let (at, prefix) = self.config.entries.clone()?;
        Some(EntryMirror::new(self.clone(), self.roblox.clone()?, at, prefix))
    }

    /// The worker for the board; none without an ordered data store.
    pub fn board(&self) -> Option<BoardMirror> {
        let (at, top) = self.config.board.clone()?;
        Some(BoardMirror::new(self.clone(), self.roblox.clone()?, at, top))
    }
}
