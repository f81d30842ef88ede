//! What nearly every service is made of.

use std::path::Path;
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

/// The file in the data directory that says which calls were made of Roblox within the last minute.
const ROBLOX_CALLS: &str = "roblox-calls";

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
        if let Some(roblox) = &roblox {
            remember_calls(roblox, &config.data_dir);
        }
        let access = Access::new(roblox.as_ref(), config.roblox.as_ref());
        let (group, group_size) = Group::open(store.clone(), clock.clone(), access, policy.clone(), &metrics).await?;
        let jobs = Jobs::open(&store, clock.clone(), ids.clone(), config.jobs.clone(), &metrics).await?;
        Ok(Self { config, store, clock, metrics, ids, auth, policy, standings, roblox, group, group_size, jobs })
    }
}

/// What this process asks of Roblox is written down, and what the one before it asked is counted. Without that the program works, too.
fn remember_calls(roblox: &Roblox, data_dir: &Path) {
    let path = data_dir.join(ROBLOX_CALLS);
    if let Err(error) = roblox.budget().keep_in(&path) {
        let path = path.display();
        tracing::warn!(%error, %path, "calls to Roblox are not written down: after a restart too many may be made");
    }
}

/// Reads the policy files, off the runtime's threads.
async fn open_policy(search: Search, clock: Clock) -> Result<Arc<PolicyStore>> {
    let opened = tokio::task::spawn_blocking(move || PolicyStore::open(search, clock)).await;
    opened.map_err(|error| Error::broken("policy.open_failed", error))?.map(Arc::new)
}
