//! The worker: takes what is due, some of it at the same time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::service::Applying;
use super::turn::Turn;
use crate::base::{Id, Result, RobloxId};
use crate::workers::{Next, Worker};

/// Effects carried out at the same time.
const AT_ONCE: usize = 8;

/// Effects of one tick at most.
const A_TICK: usize = 64;

/// Longest pause between looks; commits call sooner.
const LOOK: Duration = Duration::from_secs(30);

/// The pause before an effect is tried again whose turn failed on our side.
const AFTER_ERROR: Duration = Duration::from_secs(5);

/// Carries queued decisions out.
pub struct Applier(Applying);

impl Applier {
    pub(super) fn new(applying: Applying) -> Self {
        Self(applying)
    }

    async fn work(&self) -> Result<Next> {
        let Applying { clock, open, meters, .. } = &self.0;
        if let Some(held) = self.0.held().filter(|held| held.until > clock.now()) {
            return Ok(Next::After(held.until.since(clock.now()).min(LOOK)));
        }
        let due = open.due(clock.now(), A_TICK);
        let turns = futures_util::stream::iter(due).map(|(id, user)| self.one(id, user));
        let outcomes: Vec<Result<()>> = turns.buffer_unordered(AT_ONCE).collect().await;
        meters.open.set(open.len() as i64);
        outcomes.into_iter().collect::<Result<()>>()?;
        Ok(match open.next(clock.now()) {
            Some(Duration::ZERO) if self.0.held().is_none() => Next::Now,
            next => Next::After(next.unwrap_or(LOOK).clamp(Duration::from_millis(20), LOOK)),
        })
    }

    async fn one(&self, id: Id, user: RobloxId) -> Result<()> {
        let open = &self.0.open;
        match self.0.turn(id, user).await {
            Ok(Turn::Over) => open.over(id),
            Ok(Turn::Later(pause)) => open.later(id, self.0.clock.now(), pause),
            Err(error) => {
                open.later(id, self.0.clock.now(), AFTER_ERROR);
                return Err(error);
            }
        }
        Ok(())
    }
}

impl Worker for Applier {
    fn name(&self) -> &'static str {
        "applier"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.work())
    }

    fn wake(&self) -> Option<Arc<Notify>> {
        Some(self.0.open.wake.clone())
    }
}
