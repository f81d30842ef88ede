//! Reviews: every stored player is decided about once, as `POST /automation/decisions` would decide about each.
//!
//! A review is one row of [`REVIEWS`]. A worker walks the players a page a tick and writes down, in one commit, what became of the page and
//! where it goes on; so a review outlives a restart. A page that was cut short is decided about again, which changes nothing: an open
//! decision answers with itself. One review runs at a time.

mod api;
mod model;
mod service;
mod tables;
mod worker;

pub use api::ReviewsApi;
pub use model::{MAX_FAILURES, Review, Status};
pub use service::{MAX_KEPT, PAGE, Reviews};
pub use tables::{REVIEW_RUNNING, REVIEWS};
pub use worker::ReviewsWorker;
