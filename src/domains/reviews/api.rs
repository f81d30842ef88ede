//! `/automation/reviews`.

use std::collections::BTreeMap;

use poem_openapi::param::{Path, Query};
use poem_openapi::types::Example;
use poem_openapi::{ApiResponse, Enum, Object, OpenApi};

use super::model::{Review, Status};
use super::service::Reviews;
use crate::base::{Cursor, Id};
use crate::domains::auth::{Caller, Scope, Sender};
use crate::http::wire::Timestamp;
use crate::http::{Area, Json};

pub struct ReviewsApi {
    pub reviews: Reviews,
}

/// A review to start.
#[derive(Debug, Object)]
#[oai(example)]
struct ReviewRequest {
    /// `true` to let the decisions take effect, as far as mode, approvals and the breaker let them; needs `decisions:apply` too.
    #[oai(default)]
    apply: bool,
}

impl Example for ReviewRequest {
    fn example() -> Self {
        Self { apply: false }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum ReviewStatus {
    Running,
    Done,
    /// Given up after many failures in a row.
    Failed,
    Cancelled,
}

/// A walk over all players, and how far it is.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct ReviewView {
    id: String,
    status: ReviewStatus,
    apply: bool,
    started_by: String,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    /// Players when it began; some may come or go meanwhile.
    total: u64,
    /// Players decided about.
    done: u64,
    /// How many decisions of each action stand where: `{"PROMOTE": {"queued": 3}, "NONE": {"none": 40}}`.
    counts: BTreeMap<String, BTreeMap<String, u64>>,
    /// Why it was given up.
    failure: Option<String>,
}

/// Reviews, newest first.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct ReviewPage {
    reviews: Vec<ReviewView>,
    next_cursor: Option<String>,
}

#[derive(ApiResponse)]
enum Begun {
    /// It runs; `GET /automation/reviews/{id}` tells how far it is.
    #[oai(status = 202)]
    Accepted(Json<ReviewView>),
}

impl ReviewView {
    fn new(id: Id, review: Review) -> Self {
        let status = match review.status {
            Status::Running => ReviewStatus::Running,
            Status::Done => ReviewStatus::Done,
            Status::Failed => ReviewStatus::Failed,
            Status::Cancelled => ReviewStatus::Cancelled,
        };
        Self {
            id: id.to_string(),
            status,
            apply: review.apply,
            started_by: review.actor.id,
            started_at: Timestamp(review.at),
            ended_at: review.ended_at.map(Timestamp),
            total: review.total,
            done: review.done,
            counts: review.counts,
            failure: review.failure,
        }
    }
}

/// Reviews of all players
#[OpenApi(tag = "Area::Decisions")]
impl ReviewsApi {
    /// Decide about every stored player, in the background
    ///
    /// Goes on after a restart. One review runs at a time: while one does, this answers with it, or with `reviews.running` if that
    /// differs in `apply`.
    #[oai(path = "/automation/reviews", method = "post", operation_id = "startReview")]
    async fn start(&self, caller: Caller, sender: Sender, body: Json<ReviewRequest>) -> poem::Result<Begun> {
        let apply = body.0.apply;
        if apply {
            caller.need(Scope::Apply)?;
        }
        let (id, review) = self.reviews.start(apply, &sender).await?;
        Ok(Begun::Accepted(Json(ReviewView::new(id, review))))
    }

    /// Reviews, newest first
    #[oai(path = "/automation/reviews", method = "get", operation_id = "listReviews")]
    async fn list(
        &self,
        _caller: Caller,
        /// Reviews a page: 1 to 100.
        #[oai(default = "usual_limit", validator(minimum(value = "1"), maximum(value = "100")))]
        limit: Query<u32>,
        /// `nextCursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> poem::Result<Json<ReviewPage>> {
        let after = cursor.0.as_deref().map(Cursor::decode).transpose()?;
        let page = self.reviews.list(after.as_ref(), limit.0 as usize).await?;
        let next_cursor = page.next.as_ref().map(Cursor::encode);
        let reviews = page.items.into_iter().map(|(id, review)| ReviewView::new(id, review)).collect();
        Ok(Json(ReviewPage { reviews, next_cursor }))
    }

    /// How far a review is
    #[oai(path = "/automation/reviews/:id", method = "get", operation_id = "getReview")]
    async fn show(&self, _caller: Caller, id: Path<String>) -> poem::Result<Json<ReviewView>> {
        let id = Id::read(&id.0, "reviews.missing")?;
        Ok(Json(ReviewView::new(id, self.reviews.find(id).await?)))
    }

    /// End a review where it is
    ///
    /// What it has decided stands.
    #[oai(path = "/automation/reviews/:id/cancel", method = "post", operation_id = "cancelReview")]
    async fn cancel(&self, sender: Sender, id: Path<String>) -> poem::Result<Json<ReviewView>> {
        let id = Id::read(&id.0, "reviews.missing")?;
        Ok(Json(ReviewView::new(id, self.reviews.cancel(id, &sender).await?)))
    }
}

fn usual_limit() -> u32 {
    20
}
