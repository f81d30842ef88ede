//! `/automation/drift`: runs, what they found, and what a person decides about it.

use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};

use super::service::Drift;
use super::wire::{DriftPage, DriftRunList, DriftRunView, ResolutionRequest, ResolutionView};
use crate::base::Cursor;
use crate::domains::auth::{Caller, Sender};
use crate::domains::ranks::Claimant;
use crate::http::wire::RobloxIdIn;
use crate::http::{Area, Json};

/// Runs that are listed.
const RUNS: usize = 50;

/// Differences a page holds when nobody says how many.
const PAGE: usize = 100;

/// The most differences a page may hold.
const MAX_PAGE: u32 = 500;

#[derive(ApiResponse)]
enum DriftStarted {
    /// It is under way; `GET /automation/drift/runs` tells how far it is.
    #[oai(status = 202)]
    Accepted(Json<DriftRunView>),
}

pub struct DriftApi {
    pub drift: Drift,
}

/// Ranks changed by hand
#[OpenApi(tag = "Area::Decisions")]
impl DriftApi {
    /// Look through the group for ranks that were changed by hand
    ///
    /// One search runs at a time; while it does, it is the answer.
    #[oai(path = "/automation/drift/runs", method = "post", operation_id = "startDriftRun")]
    async fn start(&self, sender: Sender) -> poem::Result<DriftStarted> {
        let run = self.drift.begin(&sender.actor, &sender.request_id).await?;
        Ok(DriftStarted::Accepted(Json(DriftRunView::new(run))))
    }

    /// The last searches
    #[oai(path = "/automation/drift/runs", method = "get", operation_id = "listDriftRuns")]
    async fn runs(&self, _caller: Caller) -> poem::Result<Json<DriftRunList>> {
        let runs = self.drift.runs(RUNS).await?.into_iter().map(DriftRunView::new).collect();
        Ok(Json(DriftRunList { runs }))
    }

    /// The players whose rank is another on Roblox
    #[oai(path = "/automation/drift", method = "get", operation_id = "listDrift")]
    async fn list(
        &self,
        _caller: Caller,
        /// Differences to show.
        #[oai(validator(minimum(value = "1"), maximum(value = "500")))]
        limit: Query<Option<u32>>,
        /// Where the page before this one ended.
        cursor: Query<Option<String>>,
    ) -> poem::Result<Json<DriftPage>> {
        let cursor = cursor.0.as_deref().map(Cursor::decode).transpose()?;
        let limit = limit.0.map_or(PAGE, |limit| limit.clamp(1, MAX_PAGE) as usize);
        Ok(Json(self.drift.differences(cursor.as_ref(), limit).await?.into()))
    }

    /// Take Roblox's rank over, or have ours given again
    #[oai(path = "/automation/drift/:userId", method = "post", operation_id = "resolveDrift")]
    async fn resolve(
        &self,
        #[oai(name = "userId")] user: Path<RobloxIdIn>,
        /// Roblox id of whoever settles it; recorded as claimed, and held to their limits where a rank is given.
        #[oai(name = "x-grps-actor")]
        sender: Claimant,
        wanted: Json<ResolutionRequest>,
    ) -> poem::Result<Json<ResolutionView>> {
        let user = user.0.0;
        let resolved = self.drift.resolve(user, wanted.0.resolution.into(), &sender.0).await?;
        Ok(Json(ResolutionView::new(user, resolved)))
    }
}
