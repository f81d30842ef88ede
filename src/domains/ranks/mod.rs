//! Ranks: a snapshot comes in, the policy decides, the decision is written down in the same commit.
//!
//! `decide` is the pure rule; [`Ranks`] reads the player, asks it, and writes player, snapshot, place on the board, decision and audit rows
//! together. What a decision does outside (the Roblox group) is not done here: a decision that is to take effect is left `queued`.

mod api;
mod breaker;
pub mod decide;
mod facts;
mod outcome;
mod retention;
mod service;
mod simulate;
mod tables;
mod wire;

pub use api::RanksApi;
pub use outcome::Outcome;
pub use retention::HistoryRetention;
pub use service::{Ask, Ingested, MAX_SNAPSHOT_BYTES, Ranks, Sender};
pub use simulate::{Move, Simulation};
pub use tables::{DECISIONS, Decision};
