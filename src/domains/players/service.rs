//! Reading players, and the one way to write them.

use super::model::Player;
use super::tables::{PLAYERS, SNAPSHOTS, Snapshot};
use crate::base::{Cursor, Error, Id, Page, Result, RobloxId};
use crate::domains::standings::{self, BoardId};
use crate::store::{Store, Tx};

/// Reads players and their snapshots.
#[derive(Clone)]
pub struct Players {
    store: Store,
}

impl Players {
    pub fn new(store: Store) -> Self {
        Self { store }
    }

    /// # Errors
    /// `players.missing`.
    pub async fn find(&self, id: RobloxId) -> Result<Player> {
        self.store.get(&PLAYERS, &id).await?.ok_or_else(missing)
    }

    /// A page of all players by id.
    ///
    /// # Errors
    /// `page.cursor_invalid`, and those of the store.
    pub async fn page(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<Player>> {
        let page = self.store.scan(PLAYERS.all().after(after), limit).await?;
        Ok(page.map(|(_, player)| player))
    }

    /// A page of one player's snapshots, newest first.
    ///
    /// # Errors
    /// `players.missing` for someone we have never seen, `page.cursor_invalid`.
    pub async fn snapshots(&self, id: RobloxId, after: Option<&Cursor>, limit: usize) -> Result<Page<(Id, Snapshot)>> {
        self.find(id).await?;
        let page = self.store.scan(SNAPSHOTS.under(&id).newest_first().after(after), limit).await?;
        Ok(page.map(|((_, id), snapshot)| (id, snapshot)))
    }
}

/// Puts `player` into the commit of `tx`, and their place on the players' board with it. `before` is the row as `tx` read it.
pub fn save(tx: &Tx, before: Option<&Player>, player: &Player) {
    let old = before.map(Player::place);
    standings::place(tx, BoardId::PLAYERS, old.as_ref(), Some((&player.place(), player.updated_at)));
    tx.put(&PLAYERS, &player.user_id, player);
}

fn missing() -> Error {
    Error::missing("players.missing", "Player not found").hint("players appear with their first snapshot")
}
