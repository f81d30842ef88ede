//! The two workers: one does what is due on the store, one makes backups by the clock.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::service::{Caretaker, Job};
use super::tasks::State;
use crate::base::{Clock, Error, Result, Time};
use crate::domains::audit::Actor;
use crate::domains::auth::Sender;
use crate::workers::{Next, Worker};

/// How often the store is asked whether something is due.
const TEND_EVERY: Duration = Duration::from_secs(3);

/// How often its sizes are measured, in times of [`TEND_EVERY`].
const MEASURE_EVERY: u32 = 5;

/// A store in memory needs nothing.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// How often the clock is looked at; it may be set meanwhile.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// The pause before a failed backup is tried again: it may have been long and costly.
const RETRY_AFTER: Duration = Duration::from_secs(600);

/// Checkpoints and compaction, when they are due.
pub struct UpkeepWorker {
    caretaker: Caretaker,
    ticks: u32,
}

impl UpkeepWorker {
    pub fn new(caretaker: Caretaker) -> Self {
        Self { caretaker, ticks: 0 }
    }
}

impl Worker for UpkeepWorker {
    fn name(&self) -> &'static str {
        "upkeep"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async {
            if self.caretaker.freshness().is_none() {
                return Ok(Next::After(NEVER));
            }
            if self.ticks.is_multiple_of(MEASURE_EVERY) {
                self.caretaker.measure().await.map_err(|error| outward(&error))?;
            }
            self.ticks = self.ticks.wrapping_add(1);
            for done in self.caretaker.tend().await.map_err(|error| outward(&error))? {
                tracing::info!("{done}");
            }
            Ok(Next::After(TEND_EVERY))
        })
    }
}

/// Backups by `BACKUP_CRON`. A time that was missed is made up for at the start.
pub struct BackupWorker {
    caretaker: Caretaker,
    clock: Clock,
    /// Whether [`Caretaker::begin`] has been called.
    begun: bool,
    due: Option<Time>,
    failed: Option<(Time, Error)>,
}

impl BackupWorker {
    pub fn new(caretaker: Caretaker, clock: Clock) -> Self {
        Self { caretaker, clock, begun: false, due: None, failed: None }
    }

    async fn step(&mut self) -> Result<Next> {
        if !self.begun {
            self.due = self.caretaker.begin().await?;
            self.begun = true;
        }
        let (Some(due), Some(schedule)) = (self.due, &self.caretaker.config().schedule) else {
            return Ok(Next::After(NEVER));
        };
        let now = self.clock.now();
        if now < due {
            return Ok(Next::After(due.since(now).min(LOOK_EVERY)));
        }
        if let Some((at, error)) = self.failed.as_ref().filter(|(at, _)| now < *at + RETRY_AFTER) {
            tracing::debug!(%at, "a failed backup waits to be tried again");
            return Err(error.clone());
        }
        let next = schedule.after(now);
        match self.back_up().await {
            Ok(()) => {
                (self.due, self.failed) = (next, None);
                Ok(Next::After(LOOK_EVERY))
            }
            // Somebody else's work on the store ends sooner or later.
            Err(error) if error.code() == "upkeep.busy" => Ok(Next::After(LOOK_EVERY)),
            Err(error) => {
                self.failed = Some((now, error.clone()));
                Err(error)
            }
        }
    }

    async fn back_up(&self) -> Result<()> {
        let asker = Sender { actor: Actor::of("backups"), request_id: "backups".into() };
        let (task, work) = self.caretaker.start(Job::Backup(None), asker).await?;
        work.await.map_err(|error| Error::broken("upkeep.panicked", error))?;
        match self.caretaker.task(task.id)?.state {
            State::Failed(error) => Err(error),
            State::Running | State::Done(_) => Ok(()),
        }
    }
}

impl Worker for BackupWorker {
    fn name(&self) -> &'static str {
        "backups"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async { self.step().await.map_err(|error| outward(&error)) })
    }
}

/// Health checks, which anyone may read, show what a worker fails with: no paths.
fn outward(error: &Error) -> Error {
    let detail = format!("{}; the log and `grps doctor` say why", error.code());
    let context = [Some(error.detail()), error.context_text()].into_iter().flatten().collect::<Vec<_>>().join(": ");
    let told = Error::new(error.kind(), error.code().to_owned(), detail).context(context);
    match error.hint_text() {
        Some(hint) => told.hint(hint),
        None => told,
    }
}
