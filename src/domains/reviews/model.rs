//! A review as it is stored.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::base::{Cursor, Time};
use crate::domains::audit::Actor;
use crate::domains::ranks::Outcome;
use crate::store::Record;

/// Pages in a row that may fail before a review is given up: with the worker's pauses, about a quarter of an hour.
pub const MAX_FAILURES: u32 = 20;

/// One walk over all players.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Review {
    pub at: Time,
    /// Whether its decisions take effect.
    pub apply: bool,
    pub actor: Actor,
    pub request_id: String,
    pub status: Status,
    /// Players when it began; some may come or go meanwhile.
    pub total: u64,
    /// Players decided about.
    pub done: u64,
    /// How many decisions of each action stand where; `none` for those with nothing to do.
    pub counts: BTreeMap<String, BTreeMap<String, u64>>,
    /// Where it goes on; none at the beginning.
    pub cursor: Option<Vec<u8>>,
    pub ended_at: Option<Time>,
    /// Pages in a row that failed.
    pub failures: u32,
    /// Why it was given up, for people.
    pub failure: Option<String>,
}

/// Where a review stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    Running,
    Done,
    Failed,
    Cancelled,
}

impl Record for Review {
    const VERSION: u8 = 1;
}

impl Review {
    pub fn is_running(&self) -> bool {
        self.status == Status::Running
    }

    pub fn end(&mut self, status: Status, now: Time) {
        (self.status, self.ended_at) = (status, Some(now));
    }

    /// Counts a page that failed with `why`.
    pub fn fail(&mut self, why: &str, now: Time) {
        self.failures += 1;
        if self.failures >= MAX_FAILURES {
            self.failure = Some(why.to_owned());
            self.end(Status::Failed, now);
        }
    }

    /// Counts a page of decisions; without a `next` page the review is done.
    pub fn advance(&mut self, outcomes: &[Outcome], next: Option<&Cursor>, now: Time) {
        for outcome in outcomes {
            let status = outcome.status.map_or("none", |status| status.text());
            let statuses = self.counts.entry(outcome.action.as_str().to_owned()).or_default();
            *statuses.entry(status.to_owned()).or_default() += 1;
        }
        self.done += outcomes.len() as u64;
        self.failures = 0;
        match next {
            Some(Cursor(place)) => self.cursor = Some(place.clone()),
            None => self.end(Status::Done, now),
        }
    }
}
