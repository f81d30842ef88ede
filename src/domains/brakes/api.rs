//! `/automation/breaker`: how full the breaker is, and the hand on it.

use poem_openapi::{Enum, Object, OpenApi};

use super::service::{Brakes, MAX_REASON, State};
use super::tables::{Limit, Trip};
use crate::domains::auth::{Caller, Sender};
use crate::http::wire::Timestamp;
use crate::http::{Area, Json};

/// Which limit was reached; `person`: none, somebody stopped everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum LimitView {
    Minute,
    Hour,
    Share,
    Person,
}

/// What stopped decisions.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct TripView {
    /// 16 lower-case hex characters.
    id: String,
    at: Timestamp,
    limit: LimitView,
    /// Decisions queued when it tripped.
    count: u64,
    /// How many there may be.
    most: u64,
    /// As a sentence.
    text: String,
}

/// Decisions queued within a stretch of time, and how many there may be.
#[derive(Debug, Object)]
struct FillView {
    count: u64,
    most: u64,
}

/// The breaker.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct BreakerView {
    /// Whether no decision is queued or carried out until somebody closes it. A full minute does not open it.
    open: bool,
    /// What opened it.
    trip: Option<TripView>,
    minute: FillView,
    hour: FillView,
    /// The hour's share of the group.
    share: FillView,
    /// The people the share is of: members of the group; players stored until those are counted.
    people: u64,
}

/// What to do with the breaker.
#[derive(Debug, Object)]
#[oai(example)]
struct BreakerRequest {
    /// `true` stops everything, `false` lets decisions through again and begins to count anew.
    open: bool,
    /// Why, for the audit trail.
    #[oai(default, validator(max_length = 200))]
    reason: String,
}

const _: () = assert!(MAX_REASON == 200, "the schema says so");

impl poem_openapi::types::Example for BreakerRequest {
    fn example() -> Self {
        Self { open: false, reason: "the points event is over".into() }
    }
}

impl From<Limit> for LimitView {
    fn from(limit: Limit) -> Self {
        match limit {
            Limit::Minute => Self::Minute,
            Limit::Hour => Self::Hour,
            Limit::Share => Self::Share,
            Limit::Person => Self::Person,
        }
    }
}

impl From<&Trip> for TripView {
    fn from(trip: &Trip) -> Self {
        Self {
            id: trip.id.to_string(),
            at: Timestamp(trip.at),
            limit: trip.limit.into(),
            count: trip.count,
            most: trip.most,
            text: trip.text(),
        }
    }
}

impl From<State> for BreakerView {
    fn from(state: State) -> Self {
        Self {
            open: state.trip.is_some(),
            trip: state.trip.as_ref().map(TripView::from),
            minute: FillView { count: state.minute, most: state.allowed.minute },
            hour: FillView { count: state.hour, most: state.allowed.hour },
            share: FillView { count: state.hour, most: state.allowed.share },
            people: state.people,
        }
    }
}

pub struct BrakesApi {
    pub brakes: Brakes,
}

/// The breaker
#[OpenApi(tag = "Area::Decisions")]
impl BrakesApi {
    /// How full the breaker is
    #[oai(path = "/automation/breaker", method = "get", operation_id = "getBreaker")]
    async fn breaker(&self, _caller: Caller) -> poem::Result<Json<BreakerView>> {
        Ok(Json(self.brakes.state().await?.into()))
    }

    /// Stop all decisions of the policy, or let them through again
    ///
    /// Those already queued wait while it is open. Where it stands that way already, nothing changes.
    #[oai(path = "/automation/breaker", method = "post", operation_id = "setBreaker")]
    async fn set(&self, sender: Sender, wanted: Json<BreakerRequest>) -> poem::Result<Json<BreakerView>> {
        let wanted = wanted.0;
        Ok(Json(self.brakes.set(wanted.open, &wanted.reason, &sender.actor, &sender.request_id).await?.into()))
    }
}
