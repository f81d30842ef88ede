//! What one can do with boards: submit a score (one commit), read pages, look somebody up.

use super::model::{BoardName, Entry, Rule, Verdict, judge};
use super::tables::{BOARD_COUNT, BOARDS, Board, BoardCount, ENTRIES};
use crate::base::{Clock, Error, Result, RobloxId, Time, UserKey};
use crate::domains::players::{PLAYERS, Player};
use crate::domains::standings::{self, BoardId, Place, Score, Slice, Standings, Start};
use crate::store::{Store, Tx};

/// Boards at most, besides the players' own. Each costs one tree node of memory (8 KiB) and submitting makes them, so there is an end.
pub const MAX_BOARDS: u32 = 10_000;

/// Somebody's score for a board.
#[derive(Debug, Clone)]
pub struct Submission {
    pub board: BoardName,
    pub user: UserKey,
    pub score: Score,
    /// The rule the submitter expects. A new board takes it; an existing one refuses any other than its own.
    pub rule: Option<Rule>,
}

/// What a submission did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Submitted {
    /// 1-based.
    pub rank: usize,
    /// The score that stands now.
    pub score: Score,
    pub previous: Option<Score>,
    pub improved: bool,
}

/// A board that can be read: its id, and what its places mean.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    pub id: BoardId,
    /// `None` on the players' board, whose places are points and KOs.
    pub rule: Option<Rule>,
}

impl View {
    pub const PLAYERS: View = View { id: BoardId::PLAYERS, rule: None };
}

/// One line of a board.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// 1-based.
    pub rank: usize,
    pub user: UserKey,
    /// A player's display name, else user name. `None` for external names and for people whose snapshot never arrived.
    pub display_name: Option<String>,
    pub score: Score,
    pub updated_at: Time,
}

/// Boards and their pages. A cheap handle.
#[derive(Clone)]
pub struct Leaderboards {
    store: Store,
    standings: Standings,
    clock: Clock,
}

impl Leaderboards {
    pub fn new(store: Store, standings: Standings, clock: Clock) -> Self {
        Self { store, standings, clock }
    }

    pub fn standings(&self) -> &Standings {
        &self.standings
    }

    /// Takes in one score. Returns when it is durable and the index has it.
    ///
    /// # Errors
    /// `leaderboard.players_only` for `all-time/grps`, `leaderboard.rule_differs`, `leaderboard.too_many_boards`, `score.overflow`.
    pub async fn submit(&self, submission: Submission) -> Result<Submitted> {
        if submission.board.is_players() {
            return Err(Error::denied("leaderboard.players_only", "all-time/grps follows the players' own points")
                .hint("send player snapshots to move it, or submit to another season and mode"));
        }
        let now = self.clock.now();
        let submission = &submission;
        let (board, verdict) = self.store.transact(|tx| async move { submit(&tx, submission, now).await }).await?;
        let place = verdict.entry.place(board.rule, submission.user.clone());
        Ok(Submitted {
            rank: self.standings.rank(board.id, &place),
            score: verdict.entry.score,
            previous: verdict.previous,
            improved: verdict.improved,
        })
    }

    /// The board of that name; `None` when nobody ever submitted to it.
    pub async fn find(&self, name: &BoardName) -> Result<Option<View>> {
        if name.is_players() {
            return Ok(Some(View::PLAYERS));
        }
        let board = self.store.get(&BOARDS, &name.key()).await?;
        Ok(board.map(|board| View { id: board.id, rule: Some(board.rule) }))
    }

    /// At most `limit` places of a board from `start` on.
    pub fn slice(&self, board: View, start: &Start, limit: usize) -> Slice {
        self.standings.slice(board.id, start, limit)
    }

    /// The rows of `slice`, which came from `board`: one read for all profiles (requirement Z10). A player who was erased since the
    /// slice was taken is left out.
    pub async fn rows(&self, board: View, slice: &Slice) -> Result<Vec<Row>> {
        let players = self.players(slice).await?;
        let ranked = slice.ranked().zip(players);
        Ok(ranked.filter_map(|((rank, place), player)| row(board, rank, place, player)).collect())
    }

    /// The player behind each place of `slice`, in its order; `None` for external names and unknown players.
    pub async fn players(&self, slice: &Slice) -> Result<Vec<Option<Player>>> {
        let id = |place: &Place| match place.user() {
            UserKey::Roblox(id) => Some(*id),
            UserKey::External(_) => None,
        };
        let ids: Vec<RobloxId> = slice.places.iter().filter_map(id).collect();
        let mut found = self.store.get_many(&PLAYERS, &ids).await?.into_iter();
        Ok(slice.places.iter().map(|place| id(place).and_then(|_| found.next().flatten())).collect())
    }

    /// Where `user` stands on `board`; `None` when not on it.
    pub async fn place_of(&self, board: View, user: &UserKey) -> Result<Option<Place>> {
        match (board.rule, user) {
            (Some(rule), user) => {
                let entry = self.store.get(&ENTRIES, &(board.id, user.clone())).await?;
                Ok(entry.map(|entry| entry.place(rule, user.clone())))
            }
            (None, UserKey::Roblox(id)) => {
                let player = self.store.get(&PLAYERS, id).await?;
                Ok(player.map(|player| Place::for_player(player.points, player.kos, *id)))
            }
            (None, UserKey::External(_)) => Ok(None),
        }
    }
}

/// The one transaction of a submission: the board if it is new, the entry, its place.
async fn submit(tx: &Tx, submission: &Submission, now: Time) -> Result<(Board, Verdict)> {
    let board = board(tx, submission, now).await?;
    let user = &submission.user;
    let key = (board.id, user.clone());
    let current: Option<Entry> = tx.get(&ENTRIES, &key).await?;
    let verdict = judge(board.rule, current, submission.score, now)?;
    if verdict.changed {
        tx.put(&ENTRIES, &key, &verdict.entry);
        let old = current.map(|entry| entry.place(board.rule, user.clone()));
        let new = verdict.entry.place(board.rule, user.clone());
        standings::place(tx, board.id, old.as_ref(), Some((&new, now)));
    }
    Ok((board, verdict))
}

async fn board(tx: &Tx, submission: &Submission, now: Time) -> Result<Board> {
    let name = &submission.board;
    if let Some(board) = tx.get(&BOARDS, &name.key()).await? {
        return match submission.rule {
            Some(asked) if asked != board.rule => Err(rule_differs(name, board.rule, asked)),
            _ => Ok(board),
        };
    }
    let BoardCount(count) = tx.get(&BOARD_COUNT, &0).await?.unwrap_or_default();
    if count >= MAX_BOARDS {
        return Err(Error::full("leaderboard.too_many_boards", format!("there are {MAX_BOARDS} boards already"))
            .hint("submit to an existing season and mode"));
    }
    let id = BoardId(count + 1);
    let board = Board { id, rule: submission.rule.unwrap_or_default(), created_at: now };
    tx.put(&BOARD_COUNT, &0, &BoardCount(id.0));
    tx.put(&BOARDS, &name.key(), &board);
    Ok(board)
}

fn rule_differs(name: &BoardName, rule: Rule, asked: Rule) -> Error {
    Error::conflict("leaderboard.rule_differs", format!("board {name} has policy {rule}, not {asked}"))
        .hint("leave policy out, or submit to a new season")
}

fn row(board: View, rank: usize, place: &Place, player: Option<Player>) -> Option<Row> {
    let (score, updated_at) = match board.rule {
        Some(rule) => place.score_and_time(rule.order()),
        None => (Score::whole(place.points_and_kos().0), player.as_ref()?.updated_at),
    };
    let display_name = player.map(|player| player.display_name.unwrap_or(player.username));
    Some(Row { rank, user: place.user().clone(), display_name, score, updated_at })
}
