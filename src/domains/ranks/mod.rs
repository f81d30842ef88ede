//! Ranks: a snapshot comes in, the policy decides, the decision is written down in the same commit.
//!
//! `decide` is the pure rule; [`Ranks`] reads the player, asks it, and writes player, snapshot, place on the board, decision and audit rows
//! together. What a decision does outside (the Roblox group) is not done here: a decision that is to take effect is left `queued`, and
//! whoever carries it out ends it with [`Ranks::end`].

mod api;
mod carry;
pub mod decide;
mod facts;
mod history;
mod listing;
mod outcome;
mod person;
mod revert;
mod service;
mod settle;
mod simulate;
mod trail;

pub use api::{Claimant, DecisionsApi, Obstacles, RanksApi, RevertApi};
pub use carry::{End, Ended, Order, OrderIds, Ordered, Settled};
pub use history::{APPLIED, DECIDED, DECISIONS, DECISIONS_INDEXED, Decision, HistoryRetention, OPEN_EFFECTS, forget};
pub use listing::{Filter, Found, MAX_LOOKED_AT};
pub use outcome::Outcome;
pub use person::Say;
pub use revert::{Aspect, MAX_AT_ONCE, Planned, Restoration, Reverted, Whose, Window};
pub use service::{Ask, Ingested, MAX_SNAPSHOT_BYTES, Ranks};
pub use settle::{RETRY_FAILED_AFTER, failed_lately};
pub use simulate::{Move, Simulation};
pub use trail::Stamp;

pub use crate::domains::auth::Sender;
