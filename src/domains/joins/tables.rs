//! The stored form.

use serde::{Deserialize, Serialize};

use crate::base::{RobloxId, Time};
use crate::store::{Record, Table};

/// Requests that are being answered at this moment.
pub static JOINS_ANSWERING: Table<RobloxId, Answering> = Table::new("joins_answering", *b"ja");

/// How a request is being answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answering {
    pub accept: bool,
    /// A sentence for people.
    pub why: String,
    pub at: Time,
}

impl Record for Answering {
    const VERSION: u8 = 1;
}
