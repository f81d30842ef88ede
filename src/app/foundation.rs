//! What nearly every service is made of.

use std::sync::Arc;

use crate::base::metrics::Metrics;
use crate::base::{Clock, Error, Ids, Result};
use crate::config::Config;
use crate::domains::auth::{Auth, Keys, Sealer};
use crate::domains::group::{Access, Group};
use crate::domains::jobs::Jobs;
use crate::domains::policy::{GroupSize, PolicyStore, Search};
use crate::domains::standings::Standings;
use crate::remote::Roblox;
use crate::store::Store;

/// The lower floors, built.
pub struct Foundation {
    pub config: Arc<Config>,
    pub store: Store,
    pub clock: Clock,
    pub metrics: Metrics,
    pub ids: Ids,
    pub auth: Arc<Auth>,
    pub policy: Arc<PolicyStore>,
    pub standings: Standings,
    pub roblox: Option<Roblox>,
    pub group: Group,
    pub group_size: GroupSize,
    pub jobs: Jobs,
}

impl Foundation {
    /// # Errors
    /// Those of the policy files and of rebuilding the indexes.
    pub async fn open(config: Config, store: Store, clock: Clock, metrics: Metrics) -> Result<Self> {
        let config = Arc::new(config);
        let ids = Ids::new(clock.clone());
        let policy = open_policy(Search::standard(&config.policy_dir), clock.clone()).await?;
        let keys = Keys::new(store.clone(), clock.clone(), ids.clone(), Sealer::new(&config.auth.sealing)?);
        let auth = Arc::new(Auth::new(config.auth.clone(), keys, clock.now())?);
        let standings = Standings::open(&store, clock.clone()).await?;
        let roblox = config.roblox.as_ref().map(|settings| Roblox::new(settings, clock.clone())).transpose()?;
        let access = Access::new(roblox.as_ref(), config.roblox.as_ref());
        let (group, group_size) = Group::new(clock.clone(), access, policy.clone(), &metrics);
        let jobs = Jobs::open(&store, clock.clone(), ids.clone(), config.jobs.clone(), &metrics).await?;
        Ok(Self { config, store, clock, metrics, ids, auth, policy, standings, roblox, group, group_size, jobs })
    }
}

/// Reads the policy files, off the runtime's threads.
async fn open_policy(search: Search, clock: Clock) -> Result<Arc<PolicyStore>> {
    let opened = tokio::task::spawn_blocking(move || PolicyStore::open(search, clock)).await;
    opened.map_err(|error| Error::broken("policy.open_failed", error))?.map(Arc::new)
}
