//! Reading players, the one way to write them, and what a person may settle about one.

use super::model::Player;
use super::tables::{PLAYERS, SNAPSHOTS, Snapshot};
use crate::base::{Clock, Cursor, Error, Id, Ids, Page, Result, RobloxId};
use crate::domains::audit::{self, Actor};
use crate::domains::standings::{self, BoardId};
use crate::store::{Store, Tx};

/// Reads players and their snapshots.
#[derive(Clone)]
pub struct Players {
    store: Store,
    clock: Clock,
    ids: Ids,
}

impl Players {
    pub fn new(store: Store, clock: Clock, ids: Ids) -> Self {
        Self { store, clock, ids }
    }

    /// # Errors
    /// `players.missing`.
    pub async fn find(&self, id: RobloxId) -> Result<Player> {
        self.store.get(&PLAYERS, &id).await?.ok_or_else(missing)
    }

    /// A page of one player's snapshots, newest first.
    ///
    /// # Errors
    /// `players.missing` for someone we have never seen; `request.invalid` for a cursor of another list; those of the store.
    pub async fn snapshots(&self, id: RobloxId, after: Option<&Cursor>, limit: usize) -> Result<Page<(Id, Snapshot)>> {
        self.find(id).await?;
        let page = self.store.scan(SNAPSHOTS.under(&id).newest_first().after(after), limit).await?;
        Ok(page.map(|((_, id), snapshot)| (id, snapshot)))
    }

    /// Somebody looked at points the anti-cheat bounds objected to and found them right: promotions no longer wait. Without a flag
    /// nothing happens. Returns the player as they are then.
    ///
    /// # Errors
    /// `players.missing`; those of the store.
    pub async fn clear_flag(&self, id: RobloxId, actor: &Actor, request_id: &str) -> Result<Player> {
        let (now, audit_id) = (self.clock.now(), self.ids.next());
        let entry = audit::Entry::new(now, actor, request_id, "player.flag_cleared", format!("player:{id}"))
            .before(r#"{"pointsFlagged":true}"#)
            .after(r#"{"pointsFlagged":false}"#);
        let (id, entry) = (&id, &entry);
        self.store
            .transact(|tx| async move {
                let before = tx.get(&PLAYERS, id).await?.ok_or_else(missing)?;
                if !before.flagged {
                    return Ok(before);
                }
                let player = Player { flagged: false, updated_at: now, ..before.clone() };
                save(&tx, Some(&before), &player);
                audit::record(&tx, audit_id, entry);
                Ok(player)
            })
            .await
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
