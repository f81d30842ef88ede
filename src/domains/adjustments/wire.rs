//! The wire forms of runs and their rows.

use std::collections::HashSet;

use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

use super::model::{Change, Row, RowResult, Run, Status};
use super::service::Wanted;
use crate::base::{Error, Field, Id, Result, RobloxId};
use crate::http::wire::{RobloxIdIn, RobloxIdOut, Timestamp};

/// Complaints about single rows in one answer, at most.
const MAX_COMPLAINTS: usize = 20;

/// What is to happen to one player's points: exactly one of `delta` and `set`.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct AdjustmentIn {
    pub user_id: RobloxIdIn,
    /// Points to give, or to take when it is negative.
    #[oai(validator(minimum(value = "-9007199254740991"), maximum(value = "9007199254740991")))]
    pub delta: Option<i64>,
    /// Points to have.
    #[oai(validator(minimum(value = "-9007199254740991"), maximum(value = "9007199254740991")))]
    pub set: Option<i64>,
}

/// A list of adjustments.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
pub struct AdjustmentRequest {
    /// For the audit trail.
    #[oai(validator(min_length = 1, max_length = 200))]
    pub reason: String,
    /// `true` to be told what would happen; nothing is stored.
    #[oai(default)]
    pub dry_run: bool,
    /// Different players, at most 10,000.
    #[oai(validator(min_items = 1, max_items = 10000))]
    pub adjustments: Vec<AdjustmentIn>,
    /// An idempotency key: the same request under the same key is the same run, for as long as the run is kept.
    #[oai(validator(min_length = 1, max_length = 100, pattern = "^[!-~]+$"))]
    pub key: Option<String>,
    /// A job queue that game servers read. Each change becomes a job there, `{"type": "points.adjust", "userId", "delta",
    /// "adjustmentId"}`, so that the game's own number changes too; without it the next snapshot brings the game's number back.
    #[oai(validator(min_length = 1, max_length = 64, pattern = "^[A-Za-z0-9._-]+$"))]
    pub queue: Option<String>,
}

impl Example for AdjustmentRequest {
    fn example() -> Self {
        let row = AdjustmentIn { user_id: RobloxIdIn(RobloxId::EXAMPLE), delta: Some(50), set: None };
        Self { reason: "Event of Saturday".into(), dry_run: true, adjustments: vec![row], key: None, queue: None }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum AdjustmentStatus {
    /// On disk; runs are carried out one after the other.
    Queued,
    Running,
    Done,
    /// The rows left stay as they are.
    Cancelled,
}

/// A run, and how far it is.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct AdjustmentRun {
    pub id: String,
    pub status: AdjustmentStatus,
    pub reason: String,
    pub started_by: String,
    pub started_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// Players in it.
    pub rows: u32,
    /// Rows that were carried out, those that changed nothing included.
    pub done: u32,
    pub refused: u32,
    pub key: Option<String>,
    pub queue: Option<String>,
    /// The run that this one takes back.
    pub undoes: Option<String>,
    /// The run that takes this one back.
    pub undone_by: Option<String>,
}

/// Runs, newest first.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct AdjustmentRuns {
    pub runs: Vec<AdjustmentRun>,
    pub next_cursor: Option<String>,
}

/// Where a row stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum AdjustmentRowStatus {
    Waiting,
    Done,
    Refused,
    /// Its run was cancelled before its turn.
    Cancelled,
}

/// One player of a run.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct AdjustmentRow {
    pub user_id: RobloxIdOut,
    pub status: AdjustmentRowStatus,
    /// What was asked for, if not `set`.
    pub delta: Option<i64>,
    pub set: Option<i64>,
    /// Their points before; null while that is not known.
    pub before: Option<i64>,
    /// Their points after; null unless it is done.
    pub after: Option<i64>,
    /// Why it was refused.
    pub refused: Option<String>,
}

/// Rows of a run.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct AdjustmentRows {
    pub rows: Vec<AdjustmentRow>,
    pub next_cursor: Option<String>,
}

/// What a run would do, were it started now.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct ForeseenAdjustments {
    /// Always true.
    pub dry_run: bool,
    pub done: u32,
    pub refused: u32,
    /// In the order of the request.
    pub rows: Vec<AdjustmentRow>,
}

impl AdjustmentRequest {
    /// # Errors
    /// `request.invalid` naming the first rows that say both or neither of `delta` and `set`, or name a player again.
    pub fn wanted(self) -> Result<Wanted> {
        let (mut seen, mut complaints, mut rows) = (HashSet::new(), Vec::new(), Vec::new());
        for (number, AdjustmentIn { user_id: RobloxIdIn(user), delta, set }) in self.adjustments.iter().enumerate() {
            let change = match (delta, set) {
                (Some(delta), None) => Some(Change::By(*delta)),
                (None, Some(points)) => Some(Change::To(*points)),
                _ => None,
            };
            match change {
                None => complaints.push(complaint(number, None, "exclusive", "send exactly one of delta and set")),
                Some(_) if !seen.insert(*user) => {
                    let msg = "this player stands in the list already; put what they get into one row";
                    complaints.push(complaint(number, Some("userId"), "duplicate", msg));
                }
                Some(change) => rows.push((*user, change)),
            }
        }
        if !complaints.is_empty() {
            let detail = format!("{} of {} adjustments are not valid", complaints.len(), self.adjustments.len());
            complaints.truncate(MAX_COMPLAINTS);
            return Err(Error::invalid("request.invalid", detail).fields(complaints));
        }
        let queue = self.queue.map(|name| name.parse()).transpose()?;
        Ok(Wanted { reason: self.reason, rows, key: self.key, queue })
    }
}

fn complaint(number: usize, field: Option<&str>, kind: &'static str, msg: &str) -> Field {
    let mut loc = vec!["body".to_owned(), "adjustments".to_owned(), number.to_string()];
    loc.extend(field.map(str::to_owned));
    Field { loc, msg: msg.to_owned(), kind: kind.into() }
}

impl AdjustmentRun {
    pub fn new(id: Id, run: Run) -> Self {
        let status = match run.status {
            Status::Open if run.next == 0 => AdjustmentStatus::Queued,
            Status::Open => AdjustmentStatus::Running,
            Status::Done => AdjustmentStatus::Done,
            Status::Cancelled => AdjustmentStatus::Cancelled,
        };
        Self {
            id: id.to_string(),
            status,
            reason: run.reason,
            started_by: run.actor.id,
            started_at: Timestamp(run.at),
            ended_at: run.ended_at.map(Timestamp),
            rows: run.rows,
            done: run.done,
            refused: run.refused,
            key: run.key,
            queue: run.queue.map(|queue| queue.to_string()),
            undoes: run.undoes.map(|id| id.to_string()),
            undone_by: run.undone_by.map(|id| id.to_string()),
        }
    }
}

impl AdjustmentRowStatus {
    /// Where `row` of `run` stands.
    pub fn of(row: &Row, run: &Run) -> Self {
        match row.result {
            None if run.is_open() => Self::Waiting,
            None => Self::Cancelled,
            Some(RowResult::Done { .. }) => Self::Done,
            Some(RowResult::Missing | RowResult::OutOfBounds { .. }) => Self::Refused,
        }
    }
}

impl AdjustmentRow {
    pub fn new(row: &Row, status: AdjustmentRowStatus) -> Self {
        let (delta, set) = match row.change {
            Change::By(delta) => (Some(delta), None),
            Change::To(points) => (None, Some(points)),
        };
        let (before, after, refused) = match row.result {
            None => (None, None, None),
            Some(RowResult::Done { before, after }) => (Some(before), Some(after), None),
            Some(RowResult::Missing) => (None, None, Some("no such player is stored".to_owned())),
            Some(RowResult::OutOfBounds { before, wanted }) => {
                let why = format!("{wanted} points are outside the bounds of policy.points.json");
                (Some(before), None, Some(why))
            }
        };
        Self { user_id: RobloxIdOut(row.user), status, delta, set, before, after, refused }
    }
}

impl ForeseenAdjustments {
    pub fn new(rows: &[(RobloxId, Change)], results: Vec<RowResult>) -> Self {
        let rows: Vec<AdjustmentRow> = rows
            .iter()
            .zip(results)
            .map(|((user, change), result)| {
                let refused = !matches!(result, RowResult::Done { .. });
                let status = if refused { AdjustmentRowStatus::Refused } else { AdjustmentRowStatus::Done };
                AdjustmentRow::new(&Row { result: Some(result), ..Row::new(*user, *change) }, status)
            })
            .collect();
        let done = rows.iter().filter(|row| row.status == AdjustmentRowStatus::Done).count() as u32;
        Self { dry_run: true, done, refused: rows.len() as u32 - done, rows }
    }
}
