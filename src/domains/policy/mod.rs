//! The policy: which ranks there are, when automation promotes, demotes and punishes, who may do what, and what to doubt.
//!
//! People write it as JSON files (`files`); `load` finds, reads and parses them; `lint` checks them across fields and files; a clean
//! set becomes an immutable [`Policy`]; [`PolicyStore`] keeps the one in force and swaps it whole. Deciding by it is the business of
//! `domains::ranks`. Nothing here knows about players' records, HTTP or the database.
//!
//! Invariants: a [`Policy`] has passed every lint rule; its ladder is not empty and rises; its version names its content.

mod access;
mod files;
mod group_size;
mod ladder;
mod lint;
mod load;
mod observe;
mod sanctions;
mod schema;
mod set;
mod store;
mod watch;

pub use access::{Grant, Identity, Permissions, Scopes};
pub use files::*;
pub use group_size::GroupSize;
pub use ladder::{Ladder, Rank, RankContext};
pub use lint::{Finding, LintReport, MAX_FINDINGS, Severity};
pub use load::{MAX_POLICY_BYTES, SHIPPED, Search, Source, Sources, shipped_sources, write_shipped};
pub use observe::{Flag, Observation, Pace, Tally};
pub use sanctions::Standing;
pub use schema::schemas;
pub use set::{Block, Policy, lint_report};
pub use store::{PolicyStore, Refusal, Reload, Status as PolicyStatus};
pub use watch::PolicyWatch;
