//! Sync: what the experience's data store says about players becomes players here (requirements G2, G5 to G9, R15). One *run* walks all keys
//! of a scope that begin with a prefix, page by page, and reads every entry once.
//!
//! Invariants: of one activity, scope and prefix one run is alive at a time, by a row under that key; a portion of at most [`PORTION`]
//! entries moves the players, the counts, the keys left of the page and the audit rows in one commit, so that a stop at any moment neither
//! misses an entry nor counts one twice; whoever asks for a run never asks Roblox, only the worker does.
//!
//! A run that stopped because of Roblox keeps its place: the next call for the same thing goes on there. One whose place Roblox no longer
//! takes is over, and the next call begins another.

mod api;
mod board;
mod change;
mod commit;
mod entry;
mod run;
mod service;
mod tables;
mod walk;
mod wire;
mod worker;

pub use api::SyncApi;
pub use commit::{MAX_FAILURES, PORTION};
pub use run::{Extent, Failure, Run, State, Tally};
pub use service::{Ask, KEEP_RUNS, Sync};
pub use tables::{EntryFailure, SYNC_ACTIVE, SYNC_FAILURES, SYNC_JOBS, SYNC_PAGES, SyncPage};
pub use worker::SyncWorker;
