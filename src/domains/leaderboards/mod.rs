//! leaderboards
pub mod model;
