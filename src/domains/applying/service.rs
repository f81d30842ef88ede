//! What the applier works with, and what it shows of itself.

use std::sync::Arc;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::hold::{Area, Held, Holds};
use super::open::Open;
use super::worker::Applier;
use crate::base::metrics::Metrics;
use crate::base::{Clock, Failing, Id, Ids, Result};
use crate::domains::brakes::Brakes;
use crate::domains::effects::Effect;
use crate::domains::group::Group;
use crate::domains::jobs::Events;
use crate::domains::mirrors::Mirrors;
use crate::domains::players::Status;
use crate::domains::policy::{Action, PolicyStore};
use crate::domains::ranks::{Decision, Obstacles, Ranks};
use crate::store::Store;

/// Carries queued decisions out. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Applying {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) ids: Ids,
    pub(super) policy: Arc<PolicyStore>,
    pub(super) group: Group,
    pub(super) brakes: Brakes,
    pub(super) ranks: Ranks,
    pub(super) mirrors: Mirrors,
    pub(super) events: Events,
    pub(super) open: Open,
    pub(super) meters: Meters,
    pub(super) holds: Holds,
}

/// What the applier is made of.
pub struct Parts {
    pub store: Store,
    pub clock: Clock,
    pub ids: Ids,
    pub policy: Arc<PolicyStore>,
    pub group: Group,
    pub brakes: Brakes,
    pub ranks: Ranks,
    pub mirrors: Mirrors,
    pub events: Events,
}

#[derive(Clone)]
pub(super) struct Meters {
    pub applied: Counter,
    pub failed: Counter,
    pub troubles: Counter,
    pub open: Gauge,
}

impl Applying {
    /// # Errors
    /// Those of reading the store.
    pub async fn new(parts: Parts, metrics: &Metrics) -> Result<Self> {
        let Parts { store, clock, ids, policy, group, brakes, ranks, mirrors, events } = parts;
        let open = Open::new(&store).await?;
        let counter = |name, help| metrics.register(name, help, Counter::default());
        let meters = Meters {
            applied: counter("decisions_applied", "Decisions that took effect on Roblox"),
            failed: counter("decisions_failed", "Decisions that could not take effect on Roblox"),
            troubles: counter("decisions_troubles", "Attempts at decisions that will be tried again"),
            open: metrics.register("decisions_open", "Decisions that are to take effect on Roblox", Gauge::default()),
        };
        let holds = Holds::new(clock.clone());
        Ok(Self { store, clock, ids, policy, group, brakes, ranks, mirrors, events, open, meters, holds })
    }

    /// The worker that carries out; none while the group is not configured.
    pub fn worker(&self) -> Option<Applier> {
        self.group.access().map(|access| Applier::new(self.clone(), access))
    }

    /// Whether decisions are carried out here.
    pub fn is_on(&self) -> bool {
        self.group.access().is_some()
    }

    /// Why decisions are not carried out at the moment; none when nothing is in the way, or nothing waits.
    pub fn held(&self) -> Option<Held> {
        self.holds.news().filter(|_| self.open.len() > 0)
    }

    /// Tells of queued decisions what they wait for. It looks only at what is in memory, so that whoever waits behind a hold says so
    /// without a row of its own.
    pub fn obstacles(&self) -> Obstacles {
        let applying = self.clone();
        Arc::new(move |id, decision, effect| applying.obstacle(id, decision, effect))
    }

    fn obstacle(&self, id: Id, decision: &Decision, effect: Option<&Effect>) -> Option<Failing> {
        if decision.status != Status::Queued || !self.is_on() {
            return None;
        }
        let begun = effect.filter(|effect| effect.ended_at.is_none());
        if !begun.is_some_and(|effect| effect.touched) && self.is_stopped(Some(decision)) {
            let what = self.brakes.open()?.text();
            let hint = "`grps decisions breaker --close` lets decisions through again".to_owned();
            return Some(Failing { what, hint: Some(hint) });
        }
        let areas: &[Area] = match decision.action {
            Action::Suspend | Action::Ban => &[Area::Group, Area::Roles, Area::Experience],
            _ => &[Area::Group, Area::Roles],
        };
        if let Some(held) = self.holds.in_the_way(areas) {
            return Some(held.failing);
        }
        // Its own attempts have said more than that.
        let first = self.open.before(id).filter(|_| begun.is_none_or(|effect| effect.waiting.is_none()))?;
        Some(Failing { what: format!("decision {first} about the same player comes first"), hint: None })
    }
}
