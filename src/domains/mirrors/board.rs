//! The best of the players' board in an ordered data store, which games show without asking us.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::pauses::{Pauses, ROUGH, is_rough};
use super::service::{MAX_TOP, Mirrors};
use crate::base::{Error, Result, RobloxId, UserKey};
use crate::domains::standings::{BoardId, Place, Start};
use crate::remote::Roblox;
use crate::remote::roblox::{Cure, StoreId, Trouble};
use crate::store::{Record, Table};
use crate::workers::{Next, Worker};

/// What stands in an ordered data store because we wrote it, by store ([`place_of`]) and user. Rows of another store than the one of the
/// settings stay: they are right again when the settings go back to it.
pub static MIRRORED: Table<(String, RobloxId), Mirrored> = Table::new("mirrored", *b"mi");

/// How often the board is compared.
const EVERY: Duration = Duration::from_secs(300);

/// The pause after what does not say how long.
const AFTER_TROUBLE: Duration = Duration::from_secs(60);

/// Rows written down in one commit.
const A_COMMIT: usize = 100;

/// Rows of one store: the board, and one length of it on its way out.
const MAX_ROWS: usize = 2 * MAX_TOP;

/// What we wrote of one player.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mirrored {
    /// None while a write is under way, and when its answer was lost: then anything we ever sent may stand there.
    pub points: Option<u64>,
}

impl Record for Mirrored {
    const VERSION: u8 = 1;
}

/// A row to write, or, without points, to remove.
type Change = (RobloxId, Option<u64>);

/// Keeps the ordered data store as the board is. What others wrote there is left alone.
pub struct BoardMirror {
    mirrors: Mirrors,
    roblox: Roblox,
    at: StoreId,
    place: String,
    top: usize,
    pauses: Pauses,
}

impl BoardMirror {
    pub(super) fn new(mirrors: Mirrors, roblox: Roblox, at: StoreId, top: usize) -> Self {
        let place = place_of(&at);
        Self { mirrors, roblox, at, place, top: top.min(MAX_TOP), pauses: Pauses::default() }
    }

    async fn work(&mut self) -> Result<Next> {
        let slice = self.mirrors.standings.slice(BoardId::PLAYERS, &Start::Offset(0), self.top);
        let place = |place: &Place| match place.user() {
            // These stores hold whole numbers from zero.
            UserKey::Roblox(user) => Some((*user, place.points_and_kos().0.max(0).unsigned_abs())),
            UserKey::External(_) => None,
        };
        let board: BTreeMap<RobloxId, u64> = slice.places.iter().filter_map(place).collect();
        let page = self.mirrors.store.scan(MIRRORED.under(&self.place), MAX_ROWS).await?;
        let written = page.items.into_iter().map(|((_, user), row)| (user, row.points)).collect();
        let now = self.roblox.clock().now();
        let due: Vec<Change> =
            changes(&board, &written).into_iter().filter(|(user, _)| !self.pauses.hold(*user, now)).collect();
        for some in due.chunks(A_COMMIT) {
            // Noted before it is sent, so that nothing stands there that we do not know of.
            self.note(some, &[]).await?;
            let mut done = Vec::new();
            let sent = self.send(some, &mut done).await;
            self.note(&[], &done).await?;
            if let Some(wait) = sent? {
                return Ok(Next::After(wait));
            }
        }
        Ok(Next::After(EVERY))
    }

    /// Sends changes and collects those that came through. With a pause, if the rest has to wait.
    async fn send(&mut self, changes: &[Change], done: &mut Vec<Change>) -> Result<Option<Duration>> {
        let mut rough = 0;
        for &(user, points) in changes {
            let id = user.to_string();
            let sent = match points {
                Some(points) => self.roblox.put_ordered(&self.at, &id, i64::try_from(points).unwrap_or(i64::MAX)).await,
                None => self.roblox.delete_ordered(&self.at, &id).await,
            };
            let Err(trouble) = sent else {
                rough = 0;
                self.pauses.over(user);
                done.push((user, points));
                continue;
            };
            match (&trouble, trouble.cure()) {
                (Trouble::Paced { .. } | Trouble::Limited { .. }, _) => {
                    return Ok(Some(trouble.wait().unwrap_or(AFTER_TROUBLE)));
                }
                (_, Cure::Owner) => {
                    let what = format!("the board is not mirrored: {}", trouble.what());
                    return Err(Error::remote("mirrors.roblox", what));
                }
                (_, Cure::Nothing | Cure::Time) => {
                    tracing::warn!(%user, "a player's place is not mirrored for now: {}", trouble.what());
                    self.pauses.failed(user, self.roblox.clock().now());
                    rough = if is_rough(&trouble) { rough + 1 } else { 0 };
                }
            }
            if rough >= ROUGH {
                return Ok(Some(AFTER_TROUBLE));
            }
        }
        Ok(None)
    }

    /// Notes what is about to be written, and what was written or removed.
    async fn note(&self, before: &[Change], after: &[Change]) -> Result<()> {
        let key = |user: RobloxId| (self.place.clone(), user);
        self.mirrors
            .store
            .transact(|tx| async move {
                for &(user, _) in before {
                    tx.put(&MIRRORED, &key(user), &Mirrored { points: None });
                }
                for &(user, points) in after {
                    match points {
                        Some(_) => tx.put(&MIRRORED, &key(user), &Mirrored { points }),
                        None => tx.delete(&MIRRORED, &key(user)),
                    }
                }
                Ok(())
            })
            .await
    }
}

/// A store's name among the rows, which no other store has.
fn place_of(at: &StoreId) -> String {
    json!([at.universe, at.name, at.scope]).to_string()
}

/// What has to be written or removed so that what was written becomes the board. Removals first; of what is new, no more than there is room
/// for.
fn changes(board: &BTreeMap<RobloxId, u64>, written: &BTreeMap<RobloxId, Option<u64>>) -> Vec<Change> {
    let gone = written.keys().filter(|user| !board.contains_key(user)).map(|user| (*user, None));
    let moved = board.iter().filter(|(user, points)| written.get(user).is_some_and(|held| *held != Some(**points)));
    let room = MAX_ROWS.saturating_sub(written.len());
    let new = board.iter().filter(|(user, _)| !written.contains_key(user)).take(room);
    gone.chain(moved.chain(new).map(|(user, points)| (*user, Some(*points)))).collect()
}

impl Worker for BoardMirror {
    fn name(&self) -> &'static str {
        "board-mirror"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.work())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(id: u64) -> RobloxId {
        RobloxId::new(id).unwrap()
    }

    #[test]
    fn only_what_differs_is_written() {
        let board = [(1, 10), (2, 20), (4, 40), (5, 50)].map(|(user, points)| (id(user), points)).into();
        let written = [(1, Some(10)), (2, Some(19)), (3, Some(30)), (5, None)].map(|(user, held)| (id(user), held));
        let found = changes(&board, &written.into()).into_iter().map(|(user, points)| (user.get(), points));
        assert_eq!(found.collect::<Vec<_>>(), [(3, None), (2, Some(20)), (5, Some(50)), (4, Some(40))]);
    }

    #[test]
    fn rows_of_a_store_are_bounded() {
        let written = (1..=MAX_ROWS as u64 - 2).map(|user| (id(user), Some(1))).collect();
        let board = (10_000..10_010).map(|user| (id(user), 5)).collect();
        let found = changes(&board, &written);
        assert_eq!(found.iter().filter(|(_, points)| points.is_some()).count(), 2);
    }

    #[test]
    fn no_two_stores_have_one_name() {
        let at = |name: &str, scope: &str| StoreId { universe: 1, name: name.into(), scope: scope.into() };
        assert_ne!(place_of(&at("a/b", "c")), place_of(&at("a", "b/c")));
        assert_ne!(place_of(&at("a\",\"b", "c")), place_of(&at("a", "b\",\"c")));
    }
}
