//! The in-memory side: a [`Ranking`] per board, following the committed rows of [`RANKED`].

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::activity::Activity;
use super::place::Place;
use super::ranking::{Ranking, Slice, Start};
use super::tables::{BoardId, Placed, RANKED};
use crate::base::{Clock, Result};
use crate::store::{MAX_PAGE, Store};

/// Ranks and pages of all boards. A cheap handle.
///
/// A lock per board, held for the few O(log n) steps of one commit by writers, so that a reader sees a commit whole, and for one bounded page by readers: a busy board does not slow another.
#[derive(Clone)]
pub struct Standings {
    inner: Arc<Inner>,
}

struct Inner {
    boards: RwLock<HashMap<BoardId, Arc<RwLock<Ranking>>>>,
    activity: Mutex<Activity>,
    clock: Clock,
}

impl Standings {
    /// Follows `store` and rebuilds from what it holds. Nothing may be committed until this returns.
    ///
    /// # Errors
    /// Whatever reading the store fails with.
    pub async fn open(store: &Store, clock: Clock) -> Result<Self> {
        let inner = Inner { boards: RwLock::default(), activity: Mutex::default(), clock };
        let standings = Self { inner: Arc::new(inner) };
        let follower = Arc::clone(&standings.inner);
        store.follow(&RANKED, move |rows| follower.apply(rows));
        // From last to first: nodes that fill from their front are split into full ones, half the memory of the other way round.
        let mut rest = RANKED.all().newest_first();
        loop {
            let page = store.scan(rest, MAX_PAGE).await?;
            standings.inner.apply(page.items.into_iter().map(|(key, placed)| (key, Some(placed))));
            let Some(next) = page.next else { break };
            rest = RANKED.all().newest_first().after(Some(&next));
        }
        Ok(standings)
    }

    /// 1-based rank: one more than the number of places before `place`, whether or not `place` is still on the board.
    pub fn rank(&self, board: BoardId, place: &Place) -> usize {
        self.inner.read(board, |ranking| ranking.rank(place)).unwrap_or(1)
    }

    /// At most `limit` places of `board` from `start` on. A board nobody is on is empty, at version 0.
    pub fn slice(&self, board: BoardId, start: &Start, limit: usize) -> Slice {
        let empty = || Slice { version: 0, total: 0, offset: 0, places: Vec::new() };
        self.inner.read(board, |ranking| ranking.slice(start, limit)).unwrap_or_else(empty)
    }

    /// How many places `board` has.
    pub fn len(&self, board: BoardId) -> usize {
        self.inner.read(board, Ranking::len).unwrap_or(0)
    }

    /// A number that differs whenever `board` does, across restarts too.
    pub fn version(&self, board: BoardId) -> u64 {
        self.inner.read(board, Ranking::version).unwrap_or(0)
    }

    /// How many players were updated within the last hour ([`super::RECENT`]).
    pub fn players_updated_recently(&self) -> usize {
        let now = self.inner.clock.now();
        self.inner.activity.lock().unwrap_or_else(PoisonError::into_inner).count(now)
    }
}

impl Inner {
    /// Applies the rows of one commit, each board's at once: a player who moves is never seen twice, or not at all. `None` is a deletion.
    fn apply(&self, rows: impl IntoIterator<Item = ((BoardId, Place), Option<Placed>)>) {
        let mut boards: HashMap<BoardId, Vec<(Place, Option<Placed>)>> = HashMap::new();
        for ((board, place), placed) in rows {
            boards.entry(board).or_default().push((place, placed));
        }
        for (board, rows) in boards {
            if board == BoardId::PLAYERS {
                self.note(&rows);
            }
            let ranking = self.board(board).unwrap_or_else(|| self.add(board));
            let mut ranking = ranking.write().unwrap_or_else(PoisonError::into_inner);
            for (place, placed) in rows {
                match placed {
                    Some(_) => ranking.insert(place),
                    None => ranking.remove(&place),
                }
            }
        }
    }

    fn note(&self, rows: &[(Place, Option<Placed>)]) {
        let mut activity = self.activity.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        for (place, placed) in rows {
            match placed {
                Some(placed) => activity.touch(place.clone(), placed.updated_at, now),
                None => activity.forget(place),
            }
        }
    }

    fn read<T>(&self, board: BoardId, look: impl FnOnce(&Ranking) -> T) -> Option<T> {
        let ranking = self.board(board)?;
        let ranking = ranking.read().unwrap_or_else(PoisonError::into_inner);
        Some(look(&ranking))
    }

    fn board(&self, board: BoardId) -> Option<Arc<RwLock<Ranking>>> {
        self.boards.read().unwrap_or_else(PoisonError::into_inner).get(&board).map(Arc::clone)
    }

    fn add(&self, board: BoardId) -> Arc<RwLock<Ranking>> {
        let mut boards = self.boards.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(boards.entry(board).or_default())
    }
}
