//! Boards of scores, one per season and mode, and the pages of every board, the players' own included.
//!
//! The first submission to a season and mode makes its board, with the [`Rule`] it asked for. A submission is one commit: the board if it
//! is new, the user's entry, and the entry's place among `standings`. Pages are read from the in-memory standings, joined with player
//! profiles in one read, printed once and kept as bytes until the board moves.
//!
//! `all-time/grps` is the players' board: the players' domain feeds it, nobody can submit to it, and `GET /leaderboard` prints it in the
//! shape the group's web site expects (requirements R4, G11).
//!
//! Invariants: an entry and its place always agree, since one transaction writes both; a board's rule never changes; an equal score never
//! takes the place of the one that was there first.

mod api;
mod cursor;
mod model;
mod pages;
mod score;
mod service;
mod tables;
mod wire;

pub use api::{LeaderboardsApi, MAX_PLAYERS};
pub use model::{BoardName, Entry, Rule, Verdict, judge};
pub use service::{Leaderboards, MAX_BOARDS, Row, Submission, Submitted, View};
pub use tables::{BOARD_COUNT, BOARDS, Board, BoardCount, ENTRIES};

#[cfg(test)]
mod tests;
