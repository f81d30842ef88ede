//! The HTTP side: five operations, each converting, calling the service, and converting back.

use std::sync::Arc;

use poem::Result;
use poem_openapi::OpenApi;
use poem_openapi::param::{Header, Path, Query};

use super::cursor;
use super::model::BoardName;
use super::pages::{PageKey, PageResponse, Pages, Print, Shape};
use super::service::{Leaderboards, Submission, View};
use super::wire::{BoardEntry, BoardPage, BoardStanding, LeaderboardPlayer, ScoreResult, ScoreSubmission};
use crate::base::{Error, Result as BaseResult, UserKey};
use crate::domains::standings::{BoardId, Slice, Start};
use crate::http::wire::UserKeyIn;
use crate::http::{Area, Json};

/// Most players `GET /leaderboard` shows; a larger limit means this one, as the seed has it.
pub const MAX_PLAYERS: u64 = 100;

/// How often somebody is looked for who moves between reading their entry and finding their place.
const MAX_LOOKS: usize = 3;

/// The leaderboards' operations.
#[derive(Clone)]
pub struct LeaderboardsApi {
    boards: Leaderboards,
    pages: Pages,
}

impl LeaderboardsApi {
    pub fn new(boards: Leaderboards) -> Self {
        Self { boards, pages: Pages::default() }
    }
}

#[OpenApi(tag = "Area::Leaderboards")]
#[allow(clippy::too_many_arguments)] // an argument per parameter of the query is how poem-openapi reads them
impl LeaderboardsApi {
    /// The group's best players
    ///
    /// Ordered by points, then KOs, then user id. The same people as the board `all-time/grps`, with more about each.
    #[oai(path = "/leaderboard", method = "get", operation_id = "leaderboard")]
    async fn leaderboard(
        &self,
        /// How many players to show; more than 100 means 100.
        #[oai(default = "default_players", validator(minimum(value = "1")))]
        limit: Query<u64>,
        #[oai(name = "If-None-Match")] known: Header<Option<String>>,
    ) -> Result<PageResponse<Vec<LeaderboardPlayer>>> {
        let limit = limit.0.min(MAX_PLAYERS) as usize;
        let page = self.players_page(limit).await?;
        Ok(PageResponse::new(&page, known.0.as_deref()))
    }

    /// A page of a board
    ///
    /// A board nobody has submitted to is an empty list. Page with `offset`, or with `cursor`, which neither skips nor repeats anyone
    /// who stands still while others move.
    #[oai(path = "/leaderboards/:season/:mode", method = "get", operation_id = "board_page")]
    async fn board(
        &self,
        season: Path<String>,
        mode: Path<String>,
        #[oai(default = "default_entries", validator(minimum(value = "1"), maximum(value = "1000")))] limit: Query<u64>,
        /// How many entries to skip; 0 when left out. Not together with `cursor`.
        #[oai(validator(maximum(value = "9007199254740991")))]
        offset: Query<Option<u64>>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
        #[oai(name = "If-None-Match")] known: Header<Option<String>>,
    ) -> Result<PageResponse<BoardPage>> {
        let name = BoardName::new(&season.0, &mode.0)?;
        let view = self.boards.find(&name).await?;
        let start = start(view, offset.0, cursor.0.as_deref())?;
        let page = self.board_page(&name, view, start, limit.0 as usize).await?;
        Ok(PageResponse::new(&page, known.0.as_deref()))
    }

    /// Where one user stands
    #[oai(path = "/leaderboards/:season/:mode/:user_id", method = "get", operation_id = "board_standing")]
    async fn standing(
        &self,
        season: Path<String>,
        mode: Path<String>,
        user_id: Path<UserKeyIn>,
    ) -> Result<Json<BoardStanding>> {
        let name = BoardName::new(&season.0, &mode.0)?;
        let (view, slice) = self.placed(&name, &user_id.0.0).await?;
        let row = self.boards.rows(view, &slice).await?.into_iter().next();
        let entry = row.map(BoardEntry::from).ok_or_else(|| not_on_board(&name, &user_id.0.0))?;
        let (season, mode) = (name.season.to_string(), name.mode.to_string());
        Ok(Json(BoardStanding { season, mode, total: slice.total as u64, entry }))
    }

    /// The people around one user
    ///
    /// At most `limit` entries with the user in the middle, or nearer to the top when fewer stand above.
    #[oai(path = "/leaderboards/:season/:mode/:user_id/around", method = "get", operation_id = "board_around")]
    async fn around(
        &self,
        season: Path<String>,
        mode: Path<String>,
        user_id: Path<UserKeyIn>,
        #[oai(default = "default_around", validator(minimum(value = "1"), maximum(value = "1000")))] limit: Query<u64>,
        #[oai(name = "If-None-Match")] known: Header<Option<String>>,
    ) -> Result<PageResponse<BoardPage>> {
        let name = BoardName::new(&season.0, &mode.0)?;
        let (view, slice) = self.placed(&name, &user_id.0.0).await?;
        let place = slice.places.into_iter().next().ok_or_else(|| not_on_board(&name, &user_id.0.0))?;
        let limit = limit.0 as usize;
        let page = self.board_page(&name, Some(view), Start::Before(place, (limit - 1) / 2), limit).await?;
        Ok(PageResponse::new(&page, known.0.as_deref()))
    }

    /// Submit a score
    ///
    /// The first submission to a season and mode makes the board. Answers once the score is on disk.
    #[oai(path = "/leaderboards/submit", method = "post", operation_id = "submit_score")]
    async fn submit(&self, body: Json<ScoreSubmission>) -> Result<Json<ScoreResult>> {
        let sent = body.0;
        let submission = Submission {
            board: BoardName::new(&sent.season, &sent.mode)?,
            user: sent.user_id.0,
            score: sent.score.0,
            rule: sent.policy.map(Into::into),
        };
        Ok(Json(self.boards.submit(submission).await?.into()))
    }
}

impl LeaderboardsApi {
    async fn players_page(&self, limit: usize) -> BaseResult<Arc<Print>> {
        let start = Start::Offset(0);
        let mut key = PageKey { shape: Shape::Players, board: BoardId::PLAYERS, version: 0, start, limit };
        key.version = self.boards.standings().version(key.board);
        if let Some(page) = self.pages.get(&key) {
            return Ok(page);
        }
        let slice = self.boards.slice(View::PLAYERS, &key.start, limit);
        let players = self.boards.players(&slice).await?;
        let ranked = slice.places.iter().zip(players);
        let shown: Vec<_> = ranked.filter_map(|(place, player)| Some(LeaderboardPlayer::new(place, player?))).collect();
        let page = Print::new(&shown);
        key.version = slice.version;
        self.pages.keep(key, &page);
        Ok(page)
    }

    async fn board_page(
        &self,
        name: &BoardName,
        view: Option<View>,
        start: Start,
        limit: usize,
    ) -> BaseResult<Arc<Print>> {
        let Some(view) = view else {
            let offset = if let Start::Offset(offset) = start { offset } else { 0 };
            let nobody = Slice { version: 0, total: 0, offset, places: Vec::new() };
            return Ok(Print::new(&BoardPage::new(name, &nobody, limit, Vec::new())));
        };
        let version = self.boards.standings().version(view.id);
        let mut key = PageKey { shape: Shape::Board, board: view.id, version, start, limit };
        if let Some(page) = self.pages.get(&key) {
            return Ok(page);
        }
        let slice = self.boards.slice(view, &key.start, limit);
        let rows = self.boards.rows(view, &slice).await?;
        let mut page = BoardPage::new(name, &slice, limit, rows);
        let last = slice.places.last().filter(|_| slice.has_more());
        page.next_cursor = last.map(|place| cursor::encode(view.id, place));
        let page = Print::new(&page);
        key.version = slice.version;
        self.pages.keep(key, &page);
        Ok(page)
    }

    /// The board, and the slice of it that holds the user alone; or why there is none.
    async fn placed(&self, name: &BoardName, user: &UserKey) -> BaseResult<(View, Slice)> {
        let missing = || not_on_board(name, user);
        let view = self.boards.find(name).await?.ok_or_else(missing)?;
        for _ in 0..MAX_LOOKS {
            let place = self.boards.place_of(view, user).await?.ok_or_else(missing)?;
            let slice = self.boards.slice(view, &Start::Before(place, 0), 1);
            // Whoever moved in between left the place to a neighbour.
            if slice.places.first().is_some_and(|found| found.user() == user) {
                return Ok((view, slice));
            }
        }
        Err(Error::busy(
            "leaderboard.user_moving",
            format!("user {user} moves on board {name} faster than can be read"),
        )
        .hint("ask again in a moment"))
    }
}

fn start(view: Option<View>, offset: Option<u64>, cursor: Option<&str>) -> BaseResult<Start> {
    match (offset, cursor) {
        (Some(_), Some(_)) => {
            Err(Error::field(&["query", "cursor"], "exclusive", "send either offset or cursor, not both"))
        }
        (offset, None) => Ok(Start::Offset(usize::try_from(offset.unwrap_or(0)).unwrap_or(usize::MAX))),
        (None, Some(text)) => cursor::decode(view.map(|view| view.id), text).map(Start::After),
    }
}

fn not_on_board(name: &BoardName, user: &UserKey) -> Error {
    Error::missing("leaderboard.user_missing", format!("user {user} is not on board {name}"))
        .hint("submit a score for them first, or check the season and mode")
}

fn default_players() -> u64 {
    30
}

fn default_entries() -> u64 {
    100
}

fn default_around() -> u64 {
    11
}
