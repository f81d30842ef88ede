//! The stored forms: runs, which of them is alive, the page each is at, and the entries that could not be taken in.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::run::Run;
use crate::base::{Id, Time};
use crate::store::{Record, Table};

/// Every run, by an id that sorts by time (requirement G9).
pub static SYNC_JOBS: Table<Id, Run> = Table::new("sync_jobs", *b"sj");

/// The run that is alive, or may be resumed, of an activity, a scope and a prefix; an empty prefix for none.
pub static SYNC_ACTIVE: Table<(String, String, String), Id> = Table::new("sync_active", *b"sa");

/// The page a run is at.
pub static SYNC_PAGES: Table<Id, SyncPage> = Table::new("sync_pages", *b"sp");

/// Entries that could not be taken in, by run and key; at most [`super::MAX_FAILURES`] a run.
pub static SYNC_FAILURES: Table<(Id, String), EntryFailure> = Table::new("sync_failures", *b"sf");

/// What is left of a page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyncPage {
    /// Keys that are not read yet.
    pub keys: Vec<String>,
    /// What asks for the page after it; none when this is the last.
    pub next: Option<String>,
    /// How often a key of these could not be read though others could, of those that could not.
    #[serde(default)]
    pub strikes: BTreeMap<String, u32>,
}

impl SyncPage {
    pub fn new(keys: Vec<String>, next: Option<String>) -> Self {
        Self { keys, next, strikes: BTreeMap::new() }
    }
}

/// Why an entry could not be taken in (requirement G8).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EntryFailure {
    pub reason: String,
    pub at: Time,
}

impl Record for Run {
    const VERSION: u8 = 1;
}

impl Record for SyncPage {
    const VERSION: u8 = 1;
}

impl Record for EntryFailure {
    const VERSION: u8 = 1;
}
