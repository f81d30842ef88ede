//! THE wiring list: every service of the program, built in floor order, and every API and worker made from them. There are no setters
//! and no lookups: what is not in [`App`] does not run, and [`App::endpoint`] and [`App::workers`] take the record apart without `..`,
//! so a forgotten part does not compile.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use poem::endpoint::BoxEndpoint;
use poem::{EndpointExt, IntoEndpoint, Response};
use poem_openapi::{OpenApi, OpenApiService};

use crate::base::metrics::Metrics;
use crate::base::{Clock, Error, Ids, Result};
use crate::config::{Config, Generated, Sources};
use crate::domains::audit::AUDITS;
use crate::domains::auth::{self, Auth, KEYS, KeyUses, Keys, KeysApi, Sealer, TABLE};
use crate::domains::discord::{DISCORD_CURSORS, DISCORD_REJECTED, DISCORD_REJECTIONS, DiscordApi, DiscordFeed};
use crate::domains::doorbell::Doorbell;
use crate::domains::health::{Checks, HealthApi};
use crate::domains::jobs::{
    GatewayApi, JOB_KEY_ENDS, JOB_KEYS, JOBS, JOBS_FORGOTTEN, Jobs, QueuesApi, SocketApi, Timekeeper,
};
use crate::domains::leaderboards::{BOARD_COUNT, BOARDS, ENTRIES, Leaderboards, LeaderboardsApi};
use crate::domains::players::{PLAYERS, Players, PlayersApi, Retention, SNAPSHOTS};
use crate::domains::policy::{PolicyStore, PolicyWatch, Search};
use crate::domains::ranks::{DECISIONS, HistoryRetention, Ranks, RanksApi};
use crate::domains::samples::{Samples, SamplesApi};
use crate::domains::standings::{BoardId, RANKED, Standings};
use crate::domains::sync::{SYNC_ACTIVE, SYNC_FAILURES, SYNC_JOBS, SYNC_PAGES, Sync, SyncApi};
use crate::domains::upkeep::{BackupWorker, Caretaker, UpkeepApi, UpkeepWorker};
use crate::http::docs;
use crate::http::{Contract, Docs, Front, Site, Sockets, Spec};
use crate::remote::Roblox;
use crate::store::{CURSORS, DataDir, Progress, Store, TableInfo};
use crate::workers::{StatusBoard, Worker};

/// The published title (requirement G29).
const TITLE: &str = "GRPS Automation API";

/// All services, in floor order.
pub struct App {
    pub config: Arc<Config>,
    pub clock: Clock,
    pub metrics: Metrics,
    pub board: StatusBoard,
    pub store: Store,
    pub ids: Ids,
    pub auth: Arc<Auth>,
    pub policy: Arc<PolicyStore>,
    pub standings: Standings,
    pub jobs: Jobs,
    pub players: Players,
    pub leaderboards: Leaderboards,
    pub ranks: Ranks,
    pub sync: Sync,
    pub discord: DiscordFeed,
    pub doorbell: Doorbell,
    pub caretaker: Caretaker,
    pub sockets: Sockets,
    /// The lock on the data directory; none for a store in memory.
    pub dir: Option<DataDir>,
}

impl App {
    /// Opens the store in `dir` and builds everything on it. Blocks while the store opens, off the runtime's threads; `progress` is told
    /// how far a repair or a migration is.
    ///
    /// # Errors
    /// Those of opening the store, of the policy files and of the wiring.
    pub async fn open(config: Config, dir: DataDir, clock: Clock, progress: Progress) -> Result<Self> {
        let metrics = Metrics::default();
        let surroundings = config.surroundings(&dir, clock.clone(), progress);
        let (held, shared) = (dir.clone(), metrics.clone());
        let store = tokio::task::spawn_blocking(move || Store::open_in(&held, surroundings, &shared))
            .await
            .map_err(|error| Error::broken("store.open_failed", error))??;
        let mut app = Self::build(config, store, clock, metrics).await?;
        app.dir = Some(dir);
        Ok(app)
    }

    /// Builds everything on `store`.
    ///
    /// # Errors
    /// Those of the policy files, of rebuilding the indexes, and `app.access_table` when an endpoint is not in the access table.
    pub async fn build(config: Config, store: Store, clock: Clock, metrics: Metrics) -> Result<Self> {
        let config = Arc::new(config);
        let ids = Ids::new(clock.clone());
        let (search, policy_clock) = (Search::standard(&config.policy_dir), clock.clone());
        let policy = tokio::task::spawn_blocking(move || PolicyStore::open(search, policy_clock))
            .await
            .map_err(|error| Error::broken("policy.open_failed", error))??;
        let policy = Arc::new(policy);
        let keys = Keys::new(store.clone(), clock.clone(), ids.clone(), Sealer::new(&config.auth.sealing)?);
        let auth = Arc::new(Auth::new(config.auth.clone(), keys, clock.now())?);
        let standings = Standings::open(&store, clock.clone()).await?;
        let jobs = Jobs::open(&store, clock.clone(), ids.clone(), config.jobs.clone(), &metrics).await?;
        let players = Players::new(store.clone(), clock.clone(), ids.clone());
        let leaderboards = Leaderboards::new(store.clone(), standings.clone(), clock.clone());
        let ranks = Ranks::new(store.clone(), policy.clone(), clock.clone(), ids.clone());
        let feed = config.discord.as_ref();
        let discord = DiscordFeed::new(store.clone(), clock.clone(), jobs.clone(), feed, &metrics)?;
        let access = config.roblox.as_ref().map(|settings| Roblox::new(settings, clock.clone())).transpose()?;
        let bell = (config.doorbell.as_ref(), access.as_ref());
        let doorbell = Doorbell::new(&store, clock.clone(), jobs.clone(), bell, &metrics);
        let vendor = (config.roblox.as_ref(), access.as_ref());
        let sync = Sync::open(&store, (clock.clone(), ids.clone()), policy.clone(), vendor, &metrics).await?;
        let caretaker = Caretaker::new(store.clone(), clock.clone(), ids.clone(), config.upkeep.clone(), &metrics);
        let sockets = Sockets::new(&config.http, &metrics);
        let board = StatusBoard::default();
        Ok(Self {
            config,
            clock,
            metrics,
            board,
            store,
            ids,
            auth,
            policy,
            standings,
            jobs,
            players,
            leaderboards,
            ranks,
            sync,
            discord,
            doorbell,
            caretaker,
            sockets,
            dir: None,
        })
    }

    /// Every API, as one.
    fn apis(&self) -> impl OpenApi + use<> {
        let Self {
            config,
            clock,
            metrics,
            board,
            store,
            ids,
            auth,
            policy,
            standings,
            jobs,
            players,
            leaderboards,
            ranks,
            sync,
            discord,
            doorbell,
            caretaker,
            sockets,
            dir: _,
        } = self;
        let checks = Checks {
            store: store.clone(),
            policy: policy.clone(),
            workers: board.clone(),
            caretaker: caretaker.clone(),
            discord: discord.clone(),
            doorbell: doorbell.clone(),
            sync: sync.clone(),
            clock: clock.clone(),
        };
        let health = HealthApi {
            checks,
            metrics: metrics.clone(),
            standings: standings.clone(),
            credential_required: config.health_auth_required,
        };
        let samples = Samples { store: store.clone(), policy: policy.clone(), clock: clock.clone(), ids: ids.clone() };
        (
            health,
            RanksApi { ranks: ranks.clone() },
            PlayersApi { players: players.clone(), policy: policy.clone() },
            LeaderboardsApi::new(leaderboards.clone()),
            KeysApi { auth: auth.clone() },
            SamplesApi { samples },
            GatewayApi { jobs: jobs.clone(), clock: clock.clone() },
            QueuesApi { jobs: jobs.clone(), clock: clock.clone() },
            SocketApi::new(jobs.clone(), sockets.clone(), auth.clone(), clock.clone()),
            DiscordApi { feed: discord.clone() },
            SyncApi { sync: sync.clone() },
            UpkeepApi { caretaker: caretaker.clone(), tables: tables() },
        )
    }

    /// Everything that happens without a request.
    pub fn workers(&self) -> Vec<Box<dyn Worker>> {
        let Self {
            config,
            clock,
            store,
            auth,
            policy,
            jobs,
            discord,
            doorbell,
            caretaker,
            sync,
            metrics: _,
            board: _,
            ids: _,
            standings: _,
            players: _,
            leaderboards: _,
            ranks: _,
            sockets: _,
            dir: _,
        } = self;
        let mut workers: Vec<Box<dyn Worker>> = vec![
            Box::new(PolicyWatch(policy.clone())),
            Box::new(Retention::new(store.clone(), clock.clone(), config.retention.clone())),
            Box::new(HistoryRetention::new(store.clone(), clock.clone(), &config.retention)),
            Box::new(KeyUses(auth.clone())),
            Box::new(Timekeeper::new(jobs.clone())),
            Box::new(UpkeepWorker::new(caretaker.clone())),
            Box::new(BackupWorker::new(caretaker.clone(), clock.clone())),
        ];
        workers.extend(discord.poller().map(|poller| Box::new(poller) as Box<dyn Worker>));
        workers.extend(sync.worker().map(|worker| Box::new(worker) as Box<dyn Worker>));
        workers.extend(doorbell.ringer().map(|ringer| Box::new(ringer) as Box<dyn Worker>));
        workers
    }

    /// The whole program as one endpoint: front layer, gate, pages, routes.
    ///
    /// # Errors
    /// `app.access_table` when an endpoint has no line in the access table, or a line no endpoint; those of the published contract.
    pub fn endpoint(&self) -> Result<BoxEndpoint<'static, Response>> {
        let service = OpenApiService::new(self.apis(), TITLE, env!("CARGO_PKG_VERSION"));
        let spec = publish(&service)?;
        let docs = if self.config.docs { Docs::Open } else { Docs::Closed };
        let site = Site::new(service.into_endpoint(), &spec, docs)?;
        let gated = auth::gate(self.auth.clone(), site);
        let contract = Arc::new(Contract::new(spec.value())?);
        Ok(Front::new(gated, contract, &self.config.http, self.clock.clone(), &self.metrics).boxed())
    }

    /// Tells the commands of this machine where the server listens.
    ///
    /// # Errors
    /// Those of writing the lock file.
    pub fn announce(&self, address: SocketAddr) -> Result<()> {
        self.dir.as_ref().map_or(Ok(()), |dir| dir.announce(address))
    }

    /// Those who wait for something are told to come back: nobody holds up the end.
    pub fn stop_waiting(&self) {
        self.jobs.stop();
        self.sync.stop();
        self.sockets.close();
    }

    /// Players known.
    pub fn player_count(&self) -> usize {
        self.standings.len(BoardId::PLAYERS)
    }

    /// Writes what is only in memory, and closes the store.
    ///
    /// # Errors
    /// Those of the store, which is closed all the same.
    pub async fn close(&self) -> Result<()> {
        // When keys were last used is worth less than an orderly end.
        let saved = self.auth.keys().save_uses().await;
        self.store.close().await?;
        saved.map(drop)
    }
}

/// Every table there is, for showing what a store holds.
pub fn tables() -> Vec<TableInfo> {
    vec![
        PLAYERS.info(),
        SNAPSHOTS.info(),
        DECISIONS.info(),
        RANKED.info(),
        BOARDS.info(),
        CURSORS.info(),
        BOARD_COUNT.info(),
        ENTRIES.info(),
        JOBS.info(),
        JOB_KEYS.info(),
        JOB_KEY_ENDS.info(),
        JOBS_FORGOTTEN.info(),
        DISCORD_CURSORS.info(),
        DISCORD_REJECTIONS.info(),
        DISCORD_REJECTED.info(),
        SYNC_JOBS.info(),
        SYNC_ACTIVE.info(),
        SYNC_PAGES.info(),
        SYNC_FAILURES.info(),
        KEYS.info(),
        AUDITS.info(),
    ]
}

/// The published API, without opening anything: what `grps openapi` prints and `openapi/` holds.
///
/// # Errors
/// As [`App::endpoint`].
pub async fn published_api() -> Result<Spec> {
    let generated = Generated::ephemeral()?;
    let config = Config::build(&Sources::default(), &generated)?;
    let app = App::build(config, Store::in_memory(), Clock::system(), Metrics::default()).await?;
    publish(&OpenApiService::new(app.apis(), TITLE, env!("CARGO_PKG_VERSION")))
}

/// Polishes and checks the published API: every operation has its line in the access table, every line its operation or page.
fn publish<T: OpenApi>(service: &OpenApiService<T, ()>) -> Result<Spec> {
    let spec = Spec::polish(&service.spec(), auth::security)?;
    let paths = spec.value()["paths"].as_object().into_iter().flatten();
    let operations: BTreeSet<(String, &str)> = paths
        .flat_map(|(path, item)| {
            let methods = item.as_object().into_iter().flatten();
            methods.map(move |(method, _)| (method.to_ascii_uppercase(), path.as_str()))
        })
        .collect();
    let pages = docs::paths().map(|path| ("GET".to_owned(), auth::find("GET", path).map_or(path, |rule| rule.path)));
    let served: BTreeSet<(String, &str)> = operations.into_iter().chain(pages).collect();
    let listed: BTreeSet<(String, &str)> = TABLE.iter().map(|rule| (rule.method.to_owned(), rule.path)).collect();
    match served.symmetric_difference(&listed).next() {
        None => Ok(spec),
        Some(odd) => Err(Error::broken(
            "app.access_table",
            format!("{odd:?} is not both an operation or page and a line of the access table"),
        )),
    }
}
