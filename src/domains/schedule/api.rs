//! `/admin/api/schedules`: what `grps schedules` calls.

use poem_openapi::param::Path;
use poem_openapi::{Object, OpenApi};

use super::service::{Known, Schedules};
use crate::domains::auth::{Caller, Sender};
use crate::http::wire::Timestamp;
use crate::http::{Area, Json};

pub struct ScheduleApi {
    pub schedules: Schedules,
}

/// How starting a plan went.
#[derive(Debug, Object)]
struct StartView {
    at: Timestamp,
    /// False when it could not be started.
    started: bool,
    /// What was started, or why nothing was.
    text: String,
}

/// Something that is started by the clock, or by hand.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct PlanView {
    name: String,
    /// Its cron pattern; null leaves it to people.
    cron: Option<String>,
    /// The next time of its pattern.
    next: Option<Timestamp>,
    /// The time of its pattern that it was last started for.
    last_due: Option<Timestamp>,
    last_start: Option<StartView>,
}

/// Who starts what is due. It changes when a leader has not renewed for 60 seconds.
#[derive(Debug, Object)]
struct LeaderView {
    /// A random name, new with every start of a server.
    holder: String,
    until: Timestamp,
    /// Whether it is the server that answers.
    here: bool,
}

/// Everything that is started by the clock.
#[derive(Debug, Object)]
struct ScheduleList {
    /// The time zone of the patterns (`SCHEDULE_TZ`).
    zone: String,
    /// Null while nothing is started by the clock, or nobody leads yet.
    leader: Option<LeaderView>,
    schedules: Vec<PlanView>,
}

impl From<Known> for PlanView {
    fn from(known: Known) -> Self {
        let state = known.state;
        let last_start = state.last_started.zip(state.last_outcome);
        Self {
            name: known.name.to_owned(),
            cron: known.cron,
            next: known.next.map(Timestamp),
            last_due: state.last_due.map(Timestamp),
            last_start: last_start.map(|(at, outcome)| StartView {
                at: Timestamp(at),
                started: outcome.started,
                text: outcome.text,
            }),
        }
    }
}

/// The schedule
#[OpenApi(tag = "Area::Operation")]
impl ScheduleApi {
    /// What is started by the clock, and how that went last
    #[oai(path = "/admin/api/schedules", method = "get", operation_id = "listSchedules")]
    async fn list(&self, _caller: Caller) -> poem::Result<Json<ScheduleList>> {
        let (known, lease) = self.schedules.list().await?;
        let leader = lease.map(|lease| LeaderView {
            here: lease.holder == self.schedules.holder(),
            holder: lease.holder,
            until: Timestamp(lease.until),
        });
        let zone = self.schedules.zone().name().to_owned();
        Ok(Json(ScheduleList { zone, leader, schedules: known.into_iter().map(Into::into).collect() }))
    }

    /// Start a plan now
    ///
    /// Its pattern stays as it is: what is due is started all the same.
    #[oai(path = "/admin/api/schedules/:name/run", method = "post", operation_id = "runSchedule")]
    async fn run(&self, sender: Sender, name: Path<String>) -> poem::Result<Json<PlanView>> {
        Ok(Json(self.schedules.run(&name.0, &sender).await?.into()))
    }
}
