//! The JSON shapes, as the seeds fix them (requirements G11, Z8, Z9): snake_case throughout.

use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

use super::model::{BoardName, Rule};
use super::score::ScoreValue;
use super::service::{Row, Submitted};
use crate::base::{RobloxId, Time, UserKey};
use crate::domains::players::Player;
use crate::domains::standings::{Place, Score, Slice};
use crate::http::wire::{RobloxIdOut, Timestamp, UserKeyIn, UserKeyOut};

/// One player on `GET /leaderboard`.
#[derive(Debug, Object)]
#[oai(example = true)]
pub struct LeaderboardPlayer {
    pub user_id: RobloxIdOut,
    pub username: String,
    /// Null until the player has a rank in the group.
    pub rank: Option<String>,
    pub points: i64,
    pub kos: i64,
    pub wos: i64,
    pub updated_at: Timestamp,
}

impl LeaderboardPlayer {
    /// Points and KOs come from the place, so that a list is ordered by what it shows even while players move.
    pub fn new(place: &Place, player: Player) -> Self {
        let (points, kos) = place.points_and_kos();
        Self {
            user_id: RobloxIdOut(player.user_id),
            username: player.username,
            rank: player.rank,
            points,
            kos,
            wos: player.wos,
            updated_at: Timestamp(player.updated_at),
        }
    }
}

impl Example for LeaderboardPlayer {
    fn example() -> Self {
        Self {
            user_id: RobloxIdOut(example_id()),
            username: "StormRider".into(),
            rank: Some("Stormmarshal".into()),
            points: 1520,
            kos: 230,
            wos: 41,
            updated_at: EXAMPLE_TIME,
        }
    }
}

/// One page of a board.
#[derive(Debug, Object)]
#[oai(example = true)]
pub struct BoardPage {
    pub season: String,
    pub mode: String,
    /// How many entries the whole board has.
    pub total: u64,
    pub limit: u64,
    /// How many entries come before the first one here.
    pub offset: u64,
    pub entries: Vec<BoardEntry>,
    /// Send it back as `cursor` for the next page. Absent on the last one.
    #[oai(skip_serializing_if_is_none)]
    pub next_cursor: Option<String>,
}

/// One line of a board.
#[derive(Debug, Object)]
#[oai(example = true)]
pub struct BoardEntry {
    /// 1 is first.
    pub rank: u64,
    pub user_id: UserKeyOut,
    /// Null for names a game chose and for people who never played in the group's own games.
    pub display_name: Option<String>,
    pub score: ScoreValue,
    pub updated_at: Timestamp,
}

/// Where one user stands on a board.
#[derive(Debug, Object)]
#[oai(example = true)]
pub struct BoardStanding {
    pub season: String,
    pub mode: String,
    /// How many entries the whole board has.
    pub total: u64,
    #[oai(flatten)]
    pub entry: BoardEntry,
}

/// A score for a board.
#[derive(Debug, Object)]
#[oai(example = true)]
pub struct ScoreSubmission {
    pub user_id: UserKeyIn,
    pub score: ScoreValue,
    /// 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
    #[oai(validator(min_length = 1, max_length = 64))]
    pub season: String,
    /// 1 to 64 characters of `A-Z a-z 0-9 . _ -`.
    #[oai(validator(min_length = 1, max_length = 64))]
    pub mode: String,
    /// What a new board keeps; `best` when left out. An existing board refuses any policy but its own.
    #[oai(skip_serializing_if_is_none)]
    pub policy: Option<BoardPolicy>,
}

/// What a board keeps of the scores one user submits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "snake_case")]
pub enum BoardPolicy {
    /// The highest.
    Best,
    /// The latest, better or worse.
    Set,
    /// Their sum.
    Sum,
    /// The lowest, which also ranks first.
    Min,
}

/// What a submission did.
#[derive(Debug, Object)]
#[oai(example = true)]
pub struct ScoreResult {
    /// 1 is first.
    pub rank: u64,
    /// The score that stands now.
    pub score: ScoreValue,
    /// The score that stood before; null for a first score.
    pub previous_score: Option<ScoreValue>,
    /// Whether the standing score is better than before; true for a first score.
    pub improved: bool,
}

impl BoardPage {
    pub fn new(name: &BoardName, slice: &Slice, limit: usize, rows: Vec<Row>) -> Self {
        Self {
            season: name.season.to_string(),
            mode: name.mode.to_string(),
            total: slice.total as u64,
            limit: limit as u64,
            offset: slice.offset as u64,
            entries: rows.into_iter().map(BoardEntry::from).collect(),
            next_cursor: None,
        }
    }
}

impl From<Row> for BoardEntry {
    fn from(row: Row) -> Self {
        Self {
            rank: row.rank as u64,
            user_id: UserKeyOut(row.user),
            display_name: row.display_name,
            score: ScoreValue(row.score),
            updated_at: Timestamp(row.updated_at),
        }
    }
}

impl From<BoardPolicy> for Rule {
    fn from(policy: BoardPolicy) -> Self {
        match policy {
            BoardPolicy::Best => Rule::Best,
            BoardPolicy::Set => Rule::Set,
            BoardPolicy::Sum => Rule::Sum,
            BoardPolicy::Min => Rule::Min,
        }
    }
}

impl From<Submitted> for ScoreResult {
    fn from(done: Submitted) -> Self {
        Self {
            rank: done.rank as u64,
            score: ScoreValue(done.score),
            previous_score: done.previous.map(ScoreValue),
            improved: done.improved,
        }
    }
}

const EXAMPLE_TIME: Timestamp = Timestamp(Time(1_740_852_944_000));

impl Example for BoardPage {
    fn example() -> Self {
        Self {
            season: "season-1".into(),
            mode: "ranked".into(),
            total: 1,
            limit: 100,
            offset: 0,
            entries: vec![BoardEntry::example()],
            next_cursor: None,
        }
    }
}

impl Example for BoardEntry {
    fn example() -> Self {
        Self {
            rank: 1,
            user_id: UserKeyOut(UserKey::Roblox(example_id())),
            display_name: Some("Storm Rider".into()),
            score: ScoreValue(Score::whole(1250)),
            updated_at: EXAMPLE_TIME,
        }
    }
}

impl Example for BoardStanding {
    fn example() -> Self {
        Self { season: "season-1".into(), mode: "ranked".into(), total: 1, entry: BoardEntry::example() }
    }
}

impl Example for ScoreSubmission {
    fn example() -> Self {
        Self {
            user_id: UserKeyIn(UserKey::Roblox(example_id())),
            score: ScoreValue(Score::whole(1250)),
            season: "season-1".into(),
            mode: "ranked".into(),
            policy: None,
        }
    }
}

impl Example for ScoreResult {
    fn example() -> Self {
        let previous = Some(ScoreValue(Score::whole(1100)));
        Self { rank: 1, score: ScoreValue(Score::whole(1250)), previous_score: previous, improved: true }
    }
}

/// The seeds' player. The bounds are constant, so this cannot fail; the document's examples do not need a panic to say so.
fn example_id() -> RobloxId {
    RobloxId::new(12_345_678).unwrap_or_else(|_| unreachable!())
}
