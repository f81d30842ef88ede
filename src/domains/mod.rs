//! The domains: what grps is about, one folder each. Their floors are in `tests/tidy.rs`.

pub mod adjustments;
pub mod applying;
pub mod audit;
pub mod auth;
pub mod brakes;
pub mod discord;
pub mod doorbell;
pub mod drift;
pub mod effects;
pub mod group;
pub mod health;
pub mod jobs;
pub mod joins;
pub mod leaderboards;
pub mod mirrors;
pub mod players;
pub mod policy;
pub mod ranks;
pub mod reviews;
pub mod samples;
pub mod schedule;
pub mod standings;
pub mod sync;
pub mod upkeep;
