//! The domains: what grps is about, one folder each. Their floors are in `tests/tidy.rs`.

pub mod audit;
pub mod auth;
pub mod discord;
pub mod doorbell;
pub mod health;
pub mod jobs;
pub mod leaderboards;
pub mod players;
pub mod policy;
pub mod ranks;
pub mod samples;
pub mod standings;
pub mod sync;
pub mod upkeep;
