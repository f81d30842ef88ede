//! The worker that ends suspensions: when their time is over, or when the game server has lifted the status they rest on.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::punished::{PUNISHED, Punished};
use super::service::Applying;
use crate::base::{Cursor, Result, RobloxId};
use crate::domains::audit::Actor;
use crate::domains::players::{Origin, PLAYERS, Player, Status};
use crate::domains::policy::Action;
use crate::domains::ranks::{Order, OrderIds, Ordered, Sender, failed_lately};
use crate::workers::{Next, Worker};

/// How often the punishments are looked through.
const LOOK: Duration = Duration::from_secs(15);

/// Punishments looked at in one tick.
const PAGE: usize = 200;

/// What the audit trail calls us.
const ACTOR: &str = "releases";

/// Ends suspensions that are over.
pub struct Releases {
    applying: Applying,
    at: Option<Cursor>,
}

impl Releases {
    pub fn new(applying: Applying) -> Self {
        Self { applying, at: None }
    }

    async fn look(&mut self) -> Result<Next> {
        let page = self.applying.store.scan(PUNISHED.all().after(self.at.as_ref()), PAGE).await?;
        // First, so that one that cannot be ended does not keep the others from it.
        self.at = page.next;
        let mut outcome = Ok(());
        for (user, held) in page.items {
            if let Err(error) = self.applying.release(user, &held).await {
                outcome = Err(error);
            }
        }
        outcome?;
        Ok(if self.at.is_some() { Next::Now } else { Next::After(LOOK) })
    }
}

impl Applying {
    /// Orders the end of a suspension that is over, unless something else is under way about the player.
    async fn release(&self, user: RobloxId, held: &Punished) -> Result<()> {
        let now = self.clock.now();
        let due = |player: &Player| held.over(player, now).filter(|_| !self.is_busy(player, held));
        if self.store.get(&PLAYERS, &user).await?.as_ref().and_then(&due).is_none() {
            return Ok(());
        }
        let ids = OrderIds::new(&self.ids);
        let sender = Sender { actor: Actor::of(ACTOR), request_id: held.decision.to_string() };
        let (sender, user, due) = (&sender, &user, &due);
        let ordered = self
            .store
            .transact(|tx| async move {
                // Read again: it may have been lifted meanwhile.
                if tx.get(&PUNISHED, user).await?.as_ref() != Some(held) {
                    return Ok(None);
                }
                let Some(player) = tx.get(&PLAYERS, user).await? else { return Ok(None) };
                let Some(why) = due(&player) else { return Ok(None) };
                let origin = Origin::SuspensionEnd(held.decision);
                let order = Order::lift(origin, Action::Suspend, held.standing.clone(), why);
                self.ranks.order(&tx, *user, &order, ids, (sender, now)).await.map(Some)
            })
            .await?;
        if let Some(Ordered::Left(why)) = ordered {
            tracing::debug!(%user, "a suspension that is over is not ended yet: {why}");
        }
        Ok(())
    }

    /// Whether the player's open decision has to end first.
    fn is_busy(&self, player: &Player, held: &Punished) -> bool {
        let Some(open) = &player.decided else { return false };
        match open.status {
            Status::Queued => true,
            Status::Failed => {
                open.origin == Origin::SuspensionEnd(held.decision)
                    && open.ended_at.is_some_and(|at| failed_lately(at, self.clock.now()))
            }
            _ => false,
        }
    }
}

impl Worker for Releases {
    fn name(&self) -> &'static str {
        "releases"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.look())
    }
}
