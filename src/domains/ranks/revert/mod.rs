//! Taking decisions back: one, or all that took effect within a stretch of time.
//!
//! [`plan`] says what has to be done about one player: pure, over their row and their decisions. [`Ranks::revert`] finds the players and
//! orders it. What took effect since by other decisions is left alone. A revert is a decision like any other, so it can be taken back too.

mod plan;
mod run;
mod walk;

pub use plan::{Aspect, Planned, Restoration};
pub use run::{MAX_AT_ONCE, Reverted, Whose};
pub use walk::Window;
