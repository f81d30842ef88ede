//! Sample data: the seed's bootstrap player, and an invented group to try things on. Both may be run twice.

mod api;
mod demo;
mod service;

pub use api::SamplesApi;
pub use demo::{DEMO_BASE, MAX_DEMO_PLAYERS};
pub use service::Samples;
