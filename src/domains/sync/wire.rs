//! The wire forms of the sync.

use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

use super::run::{Extent, Run, State};
use super::service::{Ask, Sync};
use super::tables::EntryFailure;
use crate::base::{Error, Id, Result};

use crate::http::wire::Timestamp;

/// The part of a cursor that is shown, in characters (requirement G9).
const SHOWN_CURSOR: usize = 256;

/// What to read from the experience's data store.
#[derive(Debug, Object)]
#[oai(example)]
pub struct SyncRequest {
    /// What it is for, in your words. Of one activity, scope and prefix one run is alive at a time.
    #[oai(validator(min_length = 1, max_length = 32))]
    activity: String,
    /// Entries to wait for; the run goes on with the others without you.
    #[oai(default = "usual_limit", validator(minimum(value = "1"), maximum(value = "500")))]
    limit: u32,
    /// Where to begin: `x-grps-next-cursor` of an answer before. Left out, at the beginning.
    #[oai(validator(max_length = 16384))]
    cursor: Option<String>,
    /// The data store's scope; left out, `ROBLOX_DATASTORE_SCOPE`.
    #[oai(validator(max_length = 50))]
    scope: Option<String>,
    /// What keys begin with; left out, `ROBLOX_DATASTORE_PREFIX`.
    #[oai(validator(max_length = 50))]
    prefix: Option<String>,
}

impl Example for SyncRequest {
    fn example() -> Self {
        Self { activity: "nightly".into(), limit: usual_limit(), cursor: None, scope: None, prefix: None }
    }
}

fn usual_limit() -> u32 {
    100
}

/// How far a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum SyncMode {
    /// To the end, in the background behind `limit`.
    All,
    /// `limit` entries and no further.
    Page,
}

/// What the call brought.
#[derive(Debug, Object)]
pub struct SyncCounts {
    /// Players who were known and have changed.
    pub updated: u64,
    /// Players who were not known.
    pub created: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum SyncState {
    Pending,
    Running,
    Done,
    /// It stopped. The same call again goes on where it did, or begins anew where Roblox no longer knows the place: see `hint`.
    Failed,
    /// It is over, and something was left out: see `failed` and `reason`.
    Partial,
}

/// A run of the sync.
#[derive(Debug, Object)]
pub struct SyncRunView {
    pub id: String,
    pub activity: String,
    pub scope: String,
    pub prefix: Option<String>,
    pub mode: SyncMode,
    pub status: SyncState,
    /// Where it is; at most 256 characters of it.
    pub cursor: Option<String>,
    pub created_at: Timestamp,
    pub updated_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub started_by: String,
    /// Pages of keys that were listed.
    pub pages: u64,
    /// Entries that were read: the sum of the next five.
    pub seen: u64,
    pub created: u64,
    pub updated: u64,
    /// Read, and nothing new in them.
    pub unchanged: u64,
    /// Listed, and gone when they were read.
    pub deleted: u64,
    /// Not taken in: `GET /sync/jobs/{id}/failures` says why.
    pub failed: u64,
    /// Entries there are; null until they are counted.
    pub total: Option<u64>,
    /// How long the rest takes; null while that cannot be told.
    pub eta_seconds: Option<u64>,
    /// Why it failed, or how it came to end.
    pub reason: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Runs, newest first.
#[derive(Debug, Object)]
pub struct SyncRunPage {
    pub runs: Vec<SyncRunView>,
    pub next_cursor: Option<String>,
}

/// An entry that was not taken in.
#[derive(Debug, Object)]
pub struct SyncFailureView {
    pub key: String,
    pub reason: String,
    pub at: Timestamp,
}

/// Entries that were not taken in, by key; the first 10,000 of a run are kept.
#[derive(Debug, Object)]
pub struct SyncFailurePage {
    pub failures: Vec<SyncFailureView>,
    pub next_cursor: Option<String>,
}

impl SyncRequest {
    /// # Errors
    /// `request.invalid` for the scope that stands for all scopes: entries cannot be read by it.
    pub fn ask(self, extent: Extent) -> Result<Ask> {
        let Self { activity, limit, cursor, scope, prefix } = self;
        let scope = scope.filter(|scope| !scope.is_empty());
        if scope.as_deref() == Some("-") {
            let message = "name one scope; to read several, sync each";
            return Err(Error::field(&["body", "scope"], "value_error", message));
        }
        let cursor = cursor.filter(|cursor| !cursor.is_empty());
        Ok(Ask { activity, limit: limit.into(), cursor, scope, prefix, extent })
    }
}

impl SyncRunView {
    pub fn new(sync: &Sync, id: Id, run: Run) -> Self {
        let eta = sync.eta(id, &run);
        let total = run.total();
        let (reason, hint) = match run.failure {
            Some(failure) => (Some(failure.what), failure.hint),
            None => (None, None),
        };
        Self {
            id: id.to_string(),
            mode: if run.extent == Extent::All { SyncMode::All } else { SyncMode::Page },
            status: run.state.into(),
            cursor: run.cursor.map(|cursor| cursor.chars().take(SHOWN_CURSOR).collect()),
            created_at: Timestamp(run.created_at),
            updated_at: Timestamp(run.updated_at),
            started_at: run.started_at.map(Timestamp),
            ended_at: run.ended_at.map(Timestamp),
            started_by: run.started_by,
            pages: run.tally.pages,
            seen: run.tally.seen(),
            created: run.tally.created,
            updated: run.tally.updated,
            unchanged: run.tally.unchanged,
            deleted: run.tally.deleted,
            failed: run.tally.failed,
            total,
            eta_seconds: eta.map(|eta| eta.as_secs()),
            reason,
            hint,
            activity: run.activity,
            scope: run.scope,
            prefix: run.prefix,
        }
    }
}

impl From<State> for SyncState {
    fn from(state: State) -> Self {
        match state {
            State::Pending => Self::Pending,
            State::Running => Self::Running,
            State::Done => Self::Done,
            State::Failed => Self::Failed,
            State::Partial => Self::Partial,
        }
    }
}

impl From<(String, EntryFailure)> for SyncFailureView {
    fn from((key, failure): (String, EntryFailure)) -> Self {
        Self { key, reason: failure.reason, at: Timestamp(failure.at) }
    }
}
