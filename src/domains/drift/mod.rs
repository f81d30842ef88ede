//! Drift: ranks that somebody changed by hand on Roblox.
//!
//! A run walks over the group's members, and then over the players we know who are not among them, and holds each against what we hold
//! them to have. Until a decision of ours has moved a player, Roblox is right and its rank is taken over; from then on ours counts, and
//! what differs becomes a row for a person: to accept Roblox's rank, or to have ours restored. So does what would be more than a run may
//! take over: then it is rather the policy that is wrong.
//!
//! [`check`] decides purely. A run is a row: it goes on after a restart with the page it was at, and a page's findings and the step to the
//! next page are one commit.

mod api;
mod check;
mod runs;
mod service;
mod tables;
mod walk;
mod wire;

pub use api::DriftApi;
pub use check::{Finding, Ground, JUST_DECIDED, Live};
pub use service::{Drift, Resolution, Resolved};
pub use tables::{DRIFT_ACTIVE, DRIFT_RUNS, DRIFT_SEEN, DRIFTS, Difference, MAX_ADOPTED, Run, RunStatus};
pub use walk::{DriftWalk, MAX_FAILURES};
