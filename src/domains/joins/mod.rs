//! Join requests: who may come into the group without a person looking, by `settings.joinRequests` of the policy.
//!
//! [`decide`] is the pure rule. Before a request is answered on Roblox a row says how, so that a crash in between loses no audit row: the
//! next tick finds out what became of it. Whoever is neither to be accepted nor declined is left to a person. A request that Roblox
//! does not let us answer is told once, left alone for a while, and holds up nobody else.

mod decide;
mod tables;
mod worker;

pub use decide::{Verdict, decide};
pub use tables::{Answering, JOINS_ANSWERING};
pub use worker::{EVERY, FAILED_PAUSE, JoinsWorker, MAX_FAILURES, REFUSED_PAUSE};
