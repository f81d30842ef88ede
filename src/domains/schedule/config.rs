//! What an owner can set about the schedule.

use crate::workers::{Schedule, Zone};

/// When what is started.
#[derive(Debug, Clone)]
pub struct Config {
    /// `SCHEDULE_TZ`: the time zone of the patterns.
    pub zone: Zone,
    /// `REVIEW_CRON`; none leaves reviews to people.
    pub review: Option<Schedule>,
    /// `REVIEW_APPLY`: whether decisions of these reviews take effect.
    pub review_apply: bool,
    /// `SYNC_CRON`; none leaves the sync to whoever calls for it.
    pub sync: Option<Schedule>,
    /// `DRIFT_CRON`; none leaves looking for drift to people.
    pub drift: Option<Schedule>,
}
