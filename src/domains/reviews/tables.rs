//! The stored forms: reviews by id, and which one runs.

use super::model::Review;
use crate::base::Id;
use crate::store::Table;

/// Every review, by an id that sorts by time.
pub static REVIEWS: Table<Id, Review> = Table::new("reviews", *b"rv");

/// At most one row: the review that runs.
pub static REVIEW_RUNNING: Table<(), Id> = Table::new("review_running", *b"rw");
