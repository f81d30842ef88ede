//! Decisions as they are kept: the rows, what finds them, and how long they stay.

mod lift;
mod retention;
mod tables;

pub(super) use lift::lift;
pub use retention::HistoryRetention;
pub use tables::{APPLIED, DECIDED, DECISIONS, DECISIONS_INDEXED, Decision, OPEN_EFFECTS, forget, keep, uncount};
