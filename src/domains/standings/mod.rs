//! Who stands where: the one mechanism behind every board.
//!
//! A board is a number ([`BoardId`]); a [`Place`] on it is a value that sorts from first to last. Whoever places people (the players'
//! domain, the leaderboards' domain) calls [`place`] in the transaction that changes their score, which moves one row of [`RANKED`].
//! [`Standings`] mirrors those rows in memory, in commit order and before the commit is acknowledged, so that a rank or a page at any
//! offset costs O(log n) and a caller who saw their commit succeed finds it in the next page. At start it is rebuilt from the rows.
//!
//! Invariants: `RANKED` holds at most one place per board and user; the index holds exactly the keys of `RANKED`; a board's version
//! moves with every row written, even under the same key, since whoever writes it changed something shown beside it.

mod activity;
mod index;
mod place;
mod ranking;
mod tables;

pub use activity::RECENT;
pub use index::Standings;
pub use place::{Order, Place, Score};
pub use ranking::{Ranking, Slice, Start};
pub use tables::{BoardId, Placed, RANKED, place};

#[cfg(test)]
mod tests;
