//! `/automation/adjustments`.

use poem_openapi::param::{Path, Query};
use poem_openapi::{ApiResponse, OpenApi};

use super::service::Adjustments;
use super::wire::{
    AdjustmentRequest, AdjustmentRow, AdjustmentRowStatus, AdjustmentRows, AdjustmentRun, AdjustmentRuns,
    ForeseenAdjustments,
};
use crate::base::{Cursor, Error, Id, Result};
use crate::domains::auth::{Caller, Sender};
use crate::http::{Area, Json};

pub struct AdjustmentsApi {
    pub adjustments: Adjustments,
}

/// What became of a list of adjustments.
#[derive(ApiResponse)]
enum Taken {
    /// With `dryRun`: what each row would do.
    #[oai(status = 200)]
    Foreseen(Json<ForeseenAdjustments>),
    /// On disk; `GET /automation/adjustments/{id}` tells how far it is.
    #[oai(status = 202)]
    Accepted(Json<AdjustmentRun>),
}

/// A run that was started, or was there already.
#[derive(ApiResponse)]
enum Started {
    /// On disk; `GET /automation/adjustments/{id}` tells how far it is.
    #[oai(status = 202)]
    Accepted(Json<AdjustmentRun>),
}

/// Points by hand
#[OpenApi(tag = "Area::Players")]
#[allow(clippy::too_many_arguments)] // an argument per parameter of the query is how poem-openapi reads them
impl AdjustmentsApi {
    /// Give, take or set the points of many players
    ///
    /// The run is on disk when this answers and is carried out in the background, whatever happens to the server. A player who is not
    /// stored, or whose points would leave the bounds of `policy.points.json`, is refused; the others are not affected.
    #[oai(path = "/automation/adjustments", method = "post", operation_id = "adjustPoints")]
    async fn start(&self, sender: Sender, body: Json<AdjustmentRequest>) -> poem::Result<Taken> {
        let dry_run = body.0.dry_run;
        let wanted = body.0.wanted()?;
        if dry_run {
            let results = self.adjustments.foresee(&wanted.rows).await?;
            return Ok(Taken::Foreseen(Json(ForeseenAdjustments::new(&wanted.rows, results))));
        }
        let (id, run) = self.adjustments.start(&wanted, &sender).await?;
        Ok(Taken::Accepted(Json(AdjustmentRun::new(id, run))))
    }

    /// Runs, newest first
    #[oai(path = "/automation/adjustments", method = "get", operation_id = "listAdjustments")]
    async fn list(
        &self,
        _caller: Caller,
        /// Runs a page: 1 to 200.
        #[oai(default = "usual_runs", validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<u32>,
        /// `nextCursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> poem::Result<Json<AdjustmentRuns>> {
        let after = cursor.0.as_deref().map(Cursor::decode).transpose()?;
        let page = self.adjustments.list(after.as_ref(), limit.0 as usize).await?;
        let next_cursor = page.next.as_ref().map(Cursor::encode);
        let runs = page.items.into_iter().map(|(id, run)| AdjustmentRun::new(id, run)).collect();
        Ok(Json(AdjustmentRuns { runs, next_cursor }))
    }

    /// How far a run is
    #[oai(path = "/automation/adjustments/:id", method = "get", operation_id = "getAdjustments")]
    async fn show(&self, _caller: Caller, id: Path<String>) -> poem::Result<Json<AdjustmentRun>> {
        let id = Id::read(&id.0, "adjustments.missing")?;
        Ok(Json(AdjustmentRun::new(id, self.adjustments.find(id).await?)))
    }

    /// The players of a run
    #[oai(path = "/automation/adjustments/:id/rows", method = "get", operation_id = "getAdjustmentRows")]
    async fn rows(
        &self,
        _caller: Caller,
        id: Path<String>,
        /// Only those that stand here.
        status: Query<Option<AdjustmentRowStatus>>,
        /// Rows a page: 1 to 1,000.
        #[oai(default = "usual_rows", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
        /// `nextCursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> poem::Result<Json<AdjustmentRows>> {
        let id = Id::read(&id.0, "adjustments.missing")?;
        let from = cursor.0.as_deref().map(place).transpose()?.unwrap_or(0);
        let run = self.adjustments.find(id).await?;
        let wanted = |row: &_| status.0.is_none_or(|status| AdjustmentRowStatus::of(row, &run) == status);
        let (rows, next) = self.adjustments.rows(id, from, limit.0 as usize, wanted).await?;
        let next_cursor = next.map(|place| Cursor(place.to_be_bytes().to_vec()).encode());
        let rows = rows.iter().map(|row| AdjustmentRow::new(row, AdjustmentRowStatus::of(row, &run))).collect();
        Ok(Json(AdjustmentRows { rows, next_cursor }))
    }

    /// Stop a run; what it has changed stays
    ///
    /// `undo` takes that back.
    #[oai(path = "/automation/adjustments/:id/cancel", method = "post", operation_id = "cancelAdjustments")]
    async fn cancel(&self, sender: Sender, id: Path<String>) -> poem::Result<Json<AdjustmentRun>> {
        let id = Id::read(&id.0, "adjustments.missing")?;
        Ok(Json(AdjustmentRun::new(id, self.adjustments.cancel(id, &sender).await?)))
    }

    /// Take back what a run changed
    ///
    /// Starts a run with the opposite differences, through the same queue. Asked for again, it answers with the same run, or, when
    /// that was cancelled, with a new one for the players it did not reach; that run can be undone in turn.
    #[oai(path = "/automation/adjustments/:id/undo", method = "post", operation_id = "undoAdjustments")]
    async fn undo(&self, sender: Sender, id: Path<String>) -> poem::Result<Started> {
        let (id, run) = self.adjustments.undo(Id::read(&id.0, "adjustments.missing")?, &sender).await?;
        Ok(Started::Accepted(Json(AdjustmentRun::new(id, run))))
    }
}

/// The number of a row, as a cursor.
fn place(text: &str) -> Result<u32> {
    let Cursor(bytes) = Cursor::decode(text)?;
    bytes.try_into().map(u32::from_be_bytes).map_err(|_| {
        let message = "not a cursor of this list; leave it out to start over";
        Error::field(&["query", "cursor"], "cursor_invalid", message)
    })
}

fn usual_runs() -> u32 {
    50
}

fn usual_rows() -> u32 {
    200
}
