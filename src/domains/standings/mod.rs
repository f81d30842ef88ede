//! standings
pub mod activity;
pub mod place;
pub mod ranking;
pub use place::{Order, Place, Score};
pub use ranking::{Slice, Start};
