//! The endpoints of the sync.

use poem_openapi::param::{Header, Path, Query};
use poem_openapi::{ApiResponse, OpenApi};

use super::run::{Extent, Failure, Run, State};
use super::service::Sync;
use super::wire::{SyncCounts, SyncFailurePage, SyncMode, SyncRequest, SyncRunPage, SyncRunView};
use crate::base::{Cursor, Error, Id};
use crate::domains::auth::{Caller, Sender};
use crate::http::{Area, Json};

#[derive(ApiResponse)]
enum Synced {
    /// What is counted is on disk. Behind `limit` the run goes on by itself, unless only a page was asked for.
    #[oai(status = 200)]
    Counts(
        Json<SyncCounts>,
        /// The run: `GET /sync/jobs/{id}` tells how far it is.
        #[oai(header = "x-grps-job-id")]
        String,
        /// What asks for the entries behind these; absent when there are none.
        #[oai(header = "x-grps-next-cursor")]
        Option<String>,
        /// Pages of keys that were listed.
        #[oai(header = "x-grps-pages")]
        u64,
        /// Entries that could not be taken in.
        #[oai(header = "x-grps-failed")]
        u64,
        /// Entries with nothing new in them.
        #[oai(header = "x-grps-unchanged")]
        u64,
    ),
    /// Roblox failed; what was read is kept, and the hint says how to go on.
    #[oai(status = 502)]
    #[allow(dead_code)] // answered as every failure is; here it is only announced
    Unavailable,
}

#[derive(ApiResponse)]
enum Retried {
    /// It goes on in the background.
    #[oai(status = 202)]
    Accepted(Json<SyncRunView>),
}

pub struct SyncApi {
    pub sync: Sync,
}

/// Reading the experience's data store
#[OpenApi(tag = "Area::Players")]
impl SyncApi {
    /// Take in what the experience's data store says about players
    ///
    /// Waits, 20 seconds at most, until `limit` entries have been read; the run then goes on to the end by itself. Asked for again while it is
    /// under way, the same run answers; after a failure it goes on where it stopped, as long as Roblox knows the place.
    #[oai(path = "/sync/roblox", method = "post", operation_id = "syncRoblox")]
    async fn start(
        &self,
        sender: Sender,
        /// `page` to read `limit` entries and no further.
        #[oai(name = "x-grps-sync")]
        mode: Header<Option<SyncMode>>,
        body: Json<SyncRequest>,
    ) -> poem::Result<Synced> {
        let extent = if mode.0 == Some(SyncMode::Page) { Extent::Page } else { Extent::All };
        let id = self.sync.start(body.0.ask(extent)?, &sender).await?;
        let run = self.sync.wait(id).await?;
        if let Some(failure) = run.failure.as_ref().filter(|_| run.state == State::Failed && run.lap.failed) {
            return Err(unavailable(id, &run, failure).into());
        }
        Ok(synced(id, &run))
    }

    /// The runs of the sync, newest first
    #[oai(path = "/sync/jobs", method = "get", operation_id = "listSyncRuns")]
    async fn list(
        &self,
        _caller: Caller,
        #[oai(default = "usual_list", validator(minimum(value = "1"), maximum(value = "100")))] limit: Query<u32>,
        /// The `next_cursor` of the page before.
        #[oai(validator(pattern = "^[0-9a-f]{16}$"))]
        cursor: Query<Option<String>>,
    ) -> poem::Result<Json<SyncRunPage>> {
        let below = cursor.0.as_deref().map(str::parse).transpose()?;
        let (runs, next) = self.sync.list(below, limit.0 as usize);
        let runs = runs.into_iter().map(|(id, run)| SyncRunView::new(&self.sync, id, run)).collect();
        Ok(Json(SyncRunPage { runs, next_cursor: next.map(|id| id.to_string()) }))
    }

    /// How far a run is, and how long the rest takes
    #[oai(path = "/sync/jobs/:id", method = "get", operation_id = "getSyncRun")]
    async fn find(&self, _caller: Caller, id: Path<String>) -> poem::Result<Json<SyncRunView>> {
        let id = Id::read(&id.0, "sync.missing")?;
        Ok(Json(SyncRunView::new(&self.sync, id, self.sync.find(id)?)))
    }

    /// The entries that a run could not take in, and why
    #[oai(path = "/sync/jobs/:id/failures", method = "get", operation_id = "listSyncFailures")]
    async fn failures(
        &self,
        _caller: Caller,
        id: Path<String>,
        #[oai(default = "usual_list", validator(minimum(value = "1"), maximum(value = "1000")))] limit: Query<u32>,
        /// The `next_cursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> poem::Result<Json<SyncFailurePage>> {
        let after = cursor.0.as_deref().map(Cursor::decode).transpose()?;
        let page = self.sync.failures(Id::read(&id.0, "sync.missing")?, after.as_ref(), limit.0 as usize).await?;
        let next_cursor = page.next.as_ref().map(Cursor::encode);
        Ok(Json(SyncFailurePage { failures: page.items.into_iter().map(Into::into).collect(), next_cursor }))
    }

    /// Read again what failed
    ///
    /// Of a run that stopped, the rest; of one that is over, the entries it could not take in, and only those.
    #[oai(path = "/sync/jobs/:id/retry", method = "post", operation_id = "retrySyncRun")]
    async fn retry(&self, sender: Sender, id: Path<String>) -> poem::Result<Retried> {
        let id = Id::read(&id.0, "sync.missing")?;
        let run = self.sync.retry(id, &sender).await?;
        Ok(Retried::Accepted(Json(SyncRunView::new(&self.sync, id, run))))
    }

    /// End a run; what it has taken in stays
    #[oai(path = "/sync/jobs/:id/cancel", method = "post", operation_id = "cancelSyncRun")]
    async fn cancel(&self, sender: Sender, id: Path<String>) -> poem::Result<Json<SyncRunView>> {
        let id = Id::read(&id.0, "sync.missing")?;
        let run = self.sync.cancel(id, &sender).await?;
        Ok(Json(SyncRunView::new(&self.sync, id, run)))
    }
}

/// What the lap brought, however far the run has come since.
fn synced(id: Id, run: &Run) -> Synced {
    let tally = run.lap_tally();
    let next = if run.lap.closed.is_some() { run.lap.next.clone() } else { run.cursor.clone() };
    let counts = SyncCounts { updated: tally.updated, created: tally.created };
    Synced::Counts(Json(counts), id.to_string(), next, tally.pages, tally.failed, tally.unchanged)
}

/// Roblox failed while somebody waited (requirement G6).
fn unavailable(id: Id, run: &Run, failure: &Failure) -> Error {
    if failure.cursor_refused {
        let message = "not a cursor of this list; leave it out to start over";
        return Error::field(&["body", "cursor"], "cursor_invalid", message);
    }
    let what = failure.what.trim_end_matches('.');
    // Of a run that lost its place, the hint says how to go on.
    let there = if run.resumable() { ", and the same call goes on there" } else { "" };
    let again = format!("what was read is kept{there}; run {id}: {what}");
    let hint = failure.hint.as_ref().map_or_else(|| again.clone(), |hint| format!("{hint}; {again}"));
    Error::remote("sync.roblox_unavailable", "Roblox API unavailable").hint(hint).context(&failure.what)
}

fn usual_list() -> u32 {
    50
}
