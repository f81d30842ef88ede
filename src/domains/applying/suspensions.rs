//! Suspensions that are in force on Roblox, and the worker that ends them: when their time is over, or when the game server has lifted the
//! status they rest on. The former rank comes back as the policy says.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};

use super::service::Applying;
use super::turn::punishes;
use crate::base::{Cursor, Id, Result, RobloxId, Time};
use crate::domains::audit::Actor;
use crate::domains::players::{Origin, PLAYERS, Player, Status};
use crate::domains::policy::{Action, PunishmentsFile};
use crate::domains::ranks::{Decision, Order, OrderIds, Ordered, RETRY_FAILED_AFTER, Sender};
use crate::store::{Record, Table, Tx};
use crate::workers::{Next, Worker};

/// Everybody who is suspended on Roblox by a decision of ours.
pub static SUSPENSIONS: Table<RobloxId, Suspension> = Table::new("suspensions", *b"su");

/// How often the suspensions are looked through.
const LOOK: Duration = Duration::from_secs(15);

/// Suspensions looked at in one tick.
const PAGE: usize = 200;

/// What the audit trail calls us.
const ACTOR: &str = "suspensions";

/// One suspension in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suspension {
    pub decision: Id,
    pub since: Time,
    /// None for one that ends with its status.
    pub until: Option<Time>,
    /// The reported status it rests on.
    pub rests_on: Option<String>,
    /// The status of the policy it was carried out by.
    pub standing: Option<String>,
    /// Whether the member holds a role of its own meanwhile.
    pub holds_role: bool,
}

impl Record for Suspension {
    const VERSION: u8 = 1;
}

impl Suspension {
    /// Follows a decision that took effect: a suspension begins, or ends because it was lifted or a ban took its place.
    pub(super) fn follow(
        tx: &Tx,
        user: RobloxId,
        id: Id,
        decision: &Decision,
        punishments: &PunishmentsFile,
        now: Time,
    ) {
        if !punishes(decision.action) {
            return;
        }
        if decision.lifts || decision.action == Action::Ban {
            tx.delete(&SUSPENSIONS, &user);
            return;
        }
        let status = decision.standing.as_deref().and_then(|name| punishments.statuses.get(name));
        let suspension = Self {
            decision: id,
            since: now,
            until: decision.suspend_seconds.map(|seconds| now + Duration::from_secs(seconds)),
            rests_on: decision.rests_on.clone(),
            standing: decision.standing.clone(),
            holds_role: status.is_some_and(|status| status.group_role.is_some()),
        };
        tx.put(&SUSPENSIONS, &user, &suspension);
    }

    /// Why it is over at `now`, if it is.
    fn over(&self, player: &Player, now: Time) -> Option<&'static str> {
        if self.until.is_some_and(|until| until <= now) {
            return Some("The suspension's time is over");
        }
        let rests_on = self.rests_on.as_deref()?;
        let reported = player.punishment.as_deref().map(str::trim);
        let lifted = !reported.is_some_and(|reported| reported.eq_ignore_ascii_case(rests_on));
        lifted.then_some("The status the suspension rests on was lifted")
    }
}

/// Ends suspensions.
pub struct SuspensionEnds {
    applying: Applying,
    at: Option<Cursor>,
}

impl SuspensionEnds {
    pub fn new(applying: Applying) -> Self {
        Self { applying, at: None }
    }

    async fn look(&mut self) -> Result<Next> {
        let page = self.applying.store.scan(SUSPENSIONS.all().after(self.at.as_ref()), PAGE).await?;
        for (user, suspension) in page.items {
            self.applying.end_suspension(user, &suspension).await?;
        }
        self.at = page.next;
        Ok(if self.at.is_some() { Next::Now } else { Next::After(LOOK) })
    }
}

impl Applying {
    /// Orders the end of a suspension that is over, unless something else is under way about the player.
    async fn end_suspension(&self, user: RobloxId, suspension: &Suspension) -> Result<()> {
        let now = self.clock.now();
        let ids = OrderIds::new(&self.ids);
        let origin = Origin::SuspensionEnd(suspension.decision);
        let sender = Sender { actor: Actor::of(ACTOR), request_id: suspension.decision.to_string() };
        let (sender, user, held) = (&sender, &user, suspension);
        let ordered = self
            .store
            .transact(|tx| async move {
                // Read again: it may have been lifted meanwhile.
                if tx.get(&SUSPENSIONS, user).await?.as_ref() != Some(held) {
                    return Ok(None);
                }
                let Some(player) = tx.get(&PLAYERS, user).await? else {
                    tx.delete(&SUSPENSIONS, user);
                    return Ok(None);
                };
                let Some(why) = held.over(&player, now) else { return Ok(None) };
                let busy = player.decided.as_ref().is_some_and(|open| match open.status {
                    Status::Queued => true,
                    Status::Failed => {
                        open.origin == origin && open.ended_at.is_some_and(|at| now.since(at) < RETRY_FAILED_AFTER)
                    }
                    _ => false,
                });
                if busy {
                    return Ok(None);
                }
                let order = Order::lift(origin, Action::Suspend, held.standing.clone(), why);
                self.ranks.order(&tx, *user, &order, ids, (sender, now)).await.map(Some)
            })
            .await?;
        if let Some(Ordered::Left(why)) = ordered {
            tracing::warn!(%user, "a suspension that is over cannot be ended: {why}");
        }
        Ok(())
    }
}

impl Worker for SuspensionEnds {
    fn name(&self) -> &'static str {
        "suspension-ends"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.look())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::players::Observation;

    #[test]
    fn it_is_over_with_its_time_or_with_its_status() {
        let mut player = Player::first_seen(&Observation::of(RobloxId::EXAMPLE, "Arc"), Time(0));
        let mut suspension = Suspension {
            decision: Id(1),
            since: Time(0),
            until: Some(Time(100)),
            rests_on: None,
            standing: None,
            holds_role: false,
        };
        assert_eq!(suspension.over(&player, Time(99)), None);
        assert!(suspension.over(&player, Time(100)).is_some());
        (suspension.until, suspension.rests_on) = (None, Some("suspended".into()));
        player.punishment = Some(" Suspended".into());
        assert_eq!(suspension.over(&player, Time(i64::MAX)), None);
        player.punishment = Some("probation".into());
        assert!(suspension.over(&player, Time(0)).is_some());
    }
}
