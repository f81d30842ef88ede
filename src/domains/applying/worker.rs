//! The worker: takes what is due, some of it at the same time.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::open::Ticket;
use super::service::Applying;
use super::turn::Turn;
use crate::base::Result;
use crate::domains::group::Access;
use crate::workers::{Next, Worker};

/// Effects carried out at the same time.
const AT_ONCE: usize = 8;

/// Effects of one tick at most: a tick ends with its slowest, and those that come meanwhile wait for that.
const A_TICK: usize = 32;

/// Longest pause between looks; commits call sooner.
const LOOK: Duration = Duration::from_secs(30);

/// The pause before an effect is tried again whose turn failed on our side.
const AFTER_ERROR: Duration = Duration::from_secs(5);

/// Carries queued decisions out.
pub struct Applier {
    applying: Applying,
    access: Access,
}

impl Applier {
    pub(super) fn new(applying: Applying, access: Access) -> Self {
        Self { applying, access }
    }

    async fn work(&self) -> Result<Next> {
        let Applying { clock, open, meters, .. } = &self.applying;
        let due = open.due(clock.now(), A_TICK);
        let turns = futures_util::stream::iter(due).map(|ticket| self.one(ticket));
        let outcomes: Vec<Result<()>> = turns.buffer_unordered(AT_ONCE).collect().await;
        meters.open.set(open.len() as i64);
        // One that failed has its pause; the others need not wait for it. When all fail, it is not about one of them.
        if !outcomes.is_empty() && outcomes.iter().all(Result::is_err) {
            outcomes.into_iter().collect::<Result<()>>()?;
        }
        Ok(match open.next(clock.now()) {
            Some(Duration::ZERO) => Next::Now,
            next => Next::After(next.unwrap_or(LOOK).clamp(Duration::from_millis(20), LOOK)),
        })
    }

    async fn one(&self, ticket: Ticket) -> Result<()> {
        let Applying { clock, open, .. } = &self.applying;
        match self.applying.turn(ticket, &self.access).await {
            Ok(Turn::Over) => open.over(ticket),
            Ok(Turn::Later(pause)) => open.later(ticket, clock.now(), pause.max(Duration::from_millis(20))),
            Err(error) => {
                tracing::warn!(?error, decision = %ticket.id, "a decision could not be looked after; it is tried again");
                open.later(ticket, clock.now(), AFTER_ERROR);
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
        Some(self.applying.open.wake.clone())
    }
}
