//! The best of the players' board in an ordered data store, which games show without asking us.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::service::{MAX_TOP, Mirrors};
use crate::base::{Error, Result, RobloxId, UserKey};
use crate::domains::standings::{BoardId, Start};
use crate::remote::Roblox;
use crate::remote::roblox::{Cure, StoreId, Trouble};
use crate::store::Table;
use crate::workers::{Next, Worker};

/// What stands in the ordered data store because we wrote it: points by user.
pub static MIRRORED: Table<RobloxId, u64> = Table::new("mirrored", *b"mi");

/// How often the board is compared.
const EVERY: Duration = Duration::from_secs(300);

/// The pause after what does not say how long.
const AFTER_TROUBLE: Duration = Duration::from_secs(60);

/// Keeps the ordered data store as the board is. What others wrote there is left alone.
pub struct BoardMirror {
    mirrors: Mirrors,
    roblox: Roblox,
    at: StoreId,
    top: usize,
}

impl BoardMirror {
    pub(super) fn new(mirrors: Mirrors, roblox: Roblox, at: StoreId, top: usize) -> Self {
        Self { mirrors, roblox, at, top: top.min(MAX_TOP) }
    }

    async fn work(&self) -> Result<Next> {
        let slice = self.mirrors.standings.slice(BoardId::PLAYERS, &Start::Offset(0), self.top);
        let place = |place: &crate::domains::standings::Place| match place.user() {
            // These stores hold whole numbers from zero.
            UserKey::Roblox(user) => Some((*user, place.points_and_kos().0.max(0).unsigned_abs())),
            UserKey::External(_) => None,
        };
        let board: BTreeMap<RobloxId, u64> = slice.places.iter().filter_map(place).collect();
        // More than the board's length never stands there, so one page has it all.
        let page = self.mirrors.store.scan(MIRRORED.all(), 2 * MAX_TOP).await?;
        let written: BTreeMap<RobloxId, u64> = page.items.into_iter().collect();
        for (user, points) in changes(&board, &written) {
            let id = user.to_string();
            let done = match points {
                Some(points) => self.roblox.put_ordered(&self.at, &id, i64::try_from(points).unwrap_or(i64::MAX)).await,
                None => self.roblox.delete_ordered(&self.at, &id).await,
            };
            match done {
                Ok(()) => self.note(user, points).await?,
                Err(Trouble::Paced { wait }) => return Ok(Next::After(wait)),
                Err(trouble) if trouble.cure() == Cure::Time => {
                    return Ok(Next::After(trouble.wait().unwrap_or(AFTER_TROUBLE)));
                }
                Err(trouble) => {
                    let what = format!("the board is not mirrored: {}", trouble.what());
                    return Err(Error::remote("mirrors.roblox", what));
                }
            }
        }
        Ok(Next::After(EVERY))
    }

    async fn note(&self, user: RobloxId, points: Option<u64>) -> Result<()> {
        let user = &user;
        self.mirrors
            .store
            .transact(|tx| async move {
                match points {
                    Some(points) => tx.put(&MIRRORED, user, &points),
                    None => tx.delete(&MIRRORED, user),
                }
                Ok(())
            })
            .await
    }
}

/// What has to be written (or, without points, removed) so that what was written becomes the board. Removals first: there are never more
/// rows than the board and one length of it to go.
fn changes(board: &BTreeMap<RobloxId, u64>, written: &BTreeMap<RobloxId, u64>) -> Vec<(RobloxId, Option<u64>)> {
    let gone = written.keys().filter(|user| !board.contains_key(user)).map(|user| (*user, None));
    let moved = board.iter().filter(|(user, points)| written.get(user) != Some(points));
    gone.chain(moved.map(|(user, points)| (*user, Some(*points)))).collect()
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

    #[test]
    fn only_what_differs_is_written() {
        let map =
            |rows: &[(u64, u64)]| rows.iter().map(|(id, points)| (RobloxId::new(*id).unwrap(), *points)).collect();
        let found = changes(&map(&[(1, 10), (2, 20), (4, 40)]), &map(&[(1, 10), (2, 19), (3, 30)]));
        let found: Vec<(u64, Option<u64>)> = found.into_iter().map(|(user, points)| (user.get(), points)).collect();
        assert_eq!(found, [(3, None), (2, Some(20)), (4, Some(40))]);
    }
}
