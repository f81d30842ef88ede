//! The worker that looks at the clock.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::service::Schedules;
use crate::base::Result;
use crate::workers::{Next, Worker};

/// How often the clock is looked at, and the lead renewed: several times within a lease.
pub const TICK: Duration = Duration::from_secs(15);

/// The pause when nothing is started by the clock: settings do not change while the program runs.
const NEVER: Duration = Duration::from_secs(24 * 3600);

pub struct ScheduleWorker(pub Schedules);

impl Worker for ScheduleWorker {
    fn name(&self) -> &'static str {
        "schedule"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async {
            if !self.0.is_on() {
                return Ok(Next::After(if self.0.rest().await? { NEVER } else { TICK }));
            }
            self.0.tick().await?;
            Ok(Next::After(TICK))
        })
    }
}
