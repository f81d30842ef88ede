//! Runs and their rows as they are stored, and the pure rule of what a row does to a player's points.

use serde::{Deserialize, Serialize};

use crate::base::{Id, RobloxId, Time};
use crate::domains::audit::Actor;
use crate::domains::jobs::QueueName;
use crate::domains::policy::Bounds;
use crate::store::Record;

/// Players in one stored part of a run, and in one commit, at most.
pub const PART: usize = 100;

/// One list of adjustments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub at: Time,
    pub reason: String,
    pub actor: Actor,
    pub request_id: String,
    /// Its idempotency key.
    pub key: Option<String>,
    /// Hash of what was asked for, to tell a repeated request from a key used twice.
    pub print: u64,
    /// Where jobs tell the game of every change.
    pub queue: Option<QueueName>,
    pub status: Status,
    pub rows: u32,
    /// Rows dealt with: where it goes on.
    pub next: u32,
    /// Rows that were carried out, those that changed nothing included.
    pub done: u32,
    pub refused: u32,
    pub ended_at: Option<Time>,
    /// The run that this one takes back.
    pub undoes: Option<Id>,
    /// The run that takes this one back.
    pub undone_by: Option<Id>,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// The worker has rows of it left.
    Open,
    Done,
    /// The rows left stay as they are.
    Cancelled,
}

/// What is to happen to a player's points.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    By(i64),
    To(i64),
}

/// One player of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Row {
    pub user: RobloxId,
    pub change: Change,
    /// None while it waits.
    pub result: Option<RowResult>,
}

/// What came of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowResult {
    Done {
        before: i64,
        after: i64,
    },
    /// Nobody of that id is stored.
    Missing,
    /// The points would have left the bounds of `policy.points.json`.
    OutOfBounds {
        before: i64,
        wanted: i64,
    },
}

/// Up to [`PART`] rows of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    pub rows: Vec<Row>,
}

impl Record for Run {
    const VERSION: u8 = 1;
}

impl Record for Chunk {
    const VERSION: u8 = 1;
}

impl Run {
    pub fn is_open(&self) -> bool {
        self.status == Status::Open
    }

    /// How many rows of [`Chunk`]s it has.
    pub fn parts(&self) -> u32 {
        self.rows.div_ceil(PART as u32)
    }

    /// Counts the results of the next rows; says whether they were the last.
    pub fn advance(&mut self, results: &[RowResult], now: Time) -> bool {
        let done = results.iter().filter(|result| matches!(result, RowResult::Done { .. })).count() as u32;
        self.next += results.len() as u32;
        self.done += done;
        self.refused += results.len() as u32 - done;
        let last = self.next >= self.rows;
        if last {
            (self.status, self.ended_at) = (Status::Done, Some(now));
        }
        last
    }
}

impl Change {
    /// What it does to someone with `points`; none for someone who is not stored.
    pub fn apply(self, points: Option<i64>, bounds: Bounds) -> RowResult {
        let Some(before) = points else { return RowResult::Missing };
        let after = match self {
            Self::By(delta) => before.saturating_add(delta),
            Self::To(points) => points,
        };
        if after == before || (bounds.min..=bounds.max).contains(&after) {
            RowResult::Done { before, after }
        } else {
            RowResult::OutOfBounds { before, wanted: after }
        }
    }
}

impl Row {
    pub fn new(user: RobloxId, change: Change) -> Self {
        Self { user, change, result: None }
    }

    /// The row that takes this one back; none when it changed nothing.
    pub fn inverse(&self) -> Option<Self> {
        match self.result {
            Some(RowResult::Done { before, after }) if before != after => {
                Some(Self::new(self.user, Change::By(before - after)))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = Bounds { min: 0, max: 1_000 };

    #[test]
    fn points_stay_within_the_bounds_or_where_they_are() {
        for (change, points, result) in [
            (Change::By(5), Some(10), RowResult::Done { before: 10, after: 15 }),
            (Change::By(-10), Some(10), RowResult::Done { before: 10, after: 0 }),
            (Change::By(-11), Some(10), RowResult::OutOfBounds { before: 10, wanted: -1 }),
            (Change::To(1_000), Some(10), RowResult::Done { before: 10, after: 1_000 }),
            (Change::To(1_001), Some(10), RowResult::OutOfBounds { before: 10, wanted: 1_001 }),
            (Change::By(i64::MAX), Some(10), RowResult::OutOfBounds { before: 10, wanted: i64::MAX }),
            (Change::By(0), Some(2_000), RowResult::Done { before: 2_000, after: 2_000 }),
            (Change::To(5), None, RowResult::Missing),
        ] {
            assert_eq!(change.apply(points, BOUNDS), result, "{change:?} of {points:?}");
        }
    }

    #[test]
    fn what_changed_nothing_needs_no_undoing() {
        let row = |result| Row { result, ..Row::new(RobloxId::EXAMPLE, Change::To(7)) };
        let inverse = row(Some(RowResult::Done { before: 3, after: 7 })).inverse().unwrap();
        assert_eq!(inverse, Row::new(RobloxId::EXAMPLE, Change::By(-4)));
        for result in [None, Some(RowResult::Missing), Some(RowResult::Done { before: 7, after: 7 })] {
            assert_eq!(row(result).inverse(), None);
        }
    }
}
