//! The services that decide about players and carry it out, built in floor order.

use super::foundation::Foundation;
use crate::base::Result;
use crate::domains::adjustments::Adjustments;
use crate::domains::applying::{self, Applying};
use crate::domains::brakes::{self, Brakes};
use crate::domains::drift::Drift;
use crate::domains::jobs::Events;
use crate::domains::mirrors::Mirrors;
use crate::domains::ranks::Ranks;
use crate::domains::reviews::Reviews;

pub struct Automation {
    pub adjustments: Adjustments,
    pub brakes: Brakes,
    pub ranks: Ranks,
    pub mirrors: Mirrors,
    pub applying: Applying,
    pub drift: Drift,
    pub reviews: Reviews,
}

impl Automation {
    /// # Errors
    /// Those of reading what the store holds of them.
    pub async fn open(base: &Foundation) -> Result<Self> {
        let Foundation { config, store, clock, ids, policy, standings, roblox, group, jobs, metrics, .. } = base;
        let adjustments = Adjustments::new(store.clone(), clock.clone(), ids.clone(), policy.clone(), jobs.clone());
        let brakes = brakes::Fittings {
            store: store.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            policy: policy.clone(),
            standings: standings.clone(),
            jobs: jobs.clone(),
            size: base.group_size.clone(),
            events: config.events.clone(),
        };
        let brakes = Brakes::open_on(brakes, metrics).await?;
        let ranks = Ranks::open(brakes.clone(), config.apply_inline).await?;
        let mirrors = Mirrors::new(store, standings.clone(), roblox.as_ref(), config.mirrors.clone());
        let parts = applying::Parts {
            store: store.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            policy: policy.clone(),
            group: group.clone(),
            brakes: brakes.clone(),
            ranks: ranks.clone(),
            mirrors: mirrors.clone(),
            events: Events::new(jobs.clone(), config.events.clone()),
        };
        let applying = Applying::new(parts, metrics).await?;
        let tools = (store.clone(), clock.clone(), ids.clone());
        let drift = Drift::open(tools, group.clone(), ranks.clone(), mirrors.clone()).await?;
        let reviews = Reviews::new(store.clone(), clock.clone(), ids.clone(), ranks.clone(), standings.clone());
        Ok(Self { adjustments, brakes, ranks, mirrors, applying, drift, reviews })
    }
}
