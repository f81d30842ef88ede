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
use crate::domains::brakes::{self, ACTOR_USES, Alerts, BREAKER, Brakes, BrakesApi};
use crate::domains::discord::{DISCORD_CURSORS, DISCORD_REJECTED, DISCORD_REJECTIONS, DiscordApi, DiscordFeed};
use crate::domains::doorbell::Doorbell;
use crate::domains::drift::{DRIFT_ACTIVE, DRIFT_RUNS, DRIFT_SEEN, DRIFTS, Drift, DriftApi, DriftWalk};
use crate::domains::group::{Access, Group, GroupApi, GroupWatch, Uses};
use crate::domains::health::{Checks, HealthApi};
use crate::domains::jobs::{
    GatewayApi, JOB_KEY_ENDS, JOB_KEYS, JOBS, JOBS_FORGOTTEN, Jobs, QueuesApi, SocketApi, Timekeeper,
};
use crate::domains::joins::{JOINS_ANSWERING, JoinsWorker};
use crate::domains::leaderboards::{BOARD_COUNT, BOARDS, ENTRIES, Leaderboards, LeaderboardsApi};
use crate::domains::players::{PLAYERS, Players, PlayersApi, Retention, SNAPSHOTS};
use crate::domains::policy::{GroupSize, PolicyStore, PolicyWatch, Search};
use crate::domains::ranks::{
    APPLIED, DECIDED, DECISIONS, DECISIONS_INDEXED, DecisionsApi, HistoryRetention, OPEN_EFFECTS, Ranks, RanksApi,
    RevertApi,
};
use crate::domains::samples::{Samples, SamplesApi};
use crate::domains::standings::{BoardId, RANKED, Standings};
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
    pub group: Group,
    pub jobs: Jobs,
    pub players: Players,
    pub leaderboards: Leaderboards,
    /// The members of the group; the group's own module tells.
    pub group_size: GroupSize,
    pub brakes: Brakes,
    pub ranks: Ranks,
    pub drift: Drift,
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
        let policy = open_policy(Search::standard(&config.policy_dir), clock.clone()).await?;
        let keys = Keys::new(store.clone(), clock.clone(), ids.clone(), Sealer::new(&config.auth.sealing)?);
        let auth = Arc::new(Auth::new(config.auth.clone(), keys, clock.now())?);
        let standings = Standings::open(&store, clock.clone()).await?;
        let roblox = config.roblox.as_ref().map(|settings| Roblox::new(settings, clock.clone())).transpose()?;
        let access = Access::new(roblox.as_ref(), config.roblox.as_ref());
        let (group, group_size) = Group::new(clock.clone(), access, policy.clone(), &metrics);
        let jobs = Jobs::open(&store, clock.clone(), ids.clone(), config.jobs.clone(), &metrics).await?;
        let players = Players::new(store.clone(), clock.clone(), ids.clone());
        let leaderboards = Leaderboards::new(store.clone(), standings.clone(), clock.clone());
        let brakes = Brakes::open_on(
            brakes::Fittings {
                store: store.clone(),
                clock: clock.clone(),
                ids: ids.clone(),
                policy: policy.clone(),
                standings: standings.clone(),
                jobs: jobs.clone(),
                size: group_size.clone(),
                events: config.events.clone(),
            },
            &metrics,
        )
        .await?;
        let ranks = Ranks::open(brakes.clone(), config.apply_inline).await?;
        let drift = Drift::new((store.clone(), clock.clone(), ids.clone()), group.clone(), ranks.clone());
        let feed = config.discord.as_ref();
        let discord = DiscordFeed::new(store.clone(), clock.clone(), jobs.clone(), feed, &metrics)?;
        let bell = (config.doorbell.as_ref(), roblox.as_ref());
        let doorbell = Doorbell::new(&store, clock.clone(), jobs.clone(), bell, &metrics);
        let caretaker = Caretaker::new(store.clone(), clock.clone(), ids.clone(), config.upkeep.clone(), &metrics);
        let sockets = Sockets::new(&config.http, &metrics);
        Ok(Self {
            config,
            clock,
            metrics,
            board: StatusBoard::default(),
            store,
            ids,
            auth,
            policy,
            standings,
            group,
            jobs,
            players,
            leaderboards,
            group_size,
            brakes,
            ranks,
            drift,
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
            board: _,
            store,
            ids,
            auth,
            policy,
            standings,
            group,
            jobs,
            players,
            leaderboards,
            group_size: _,
            brakes,
            ranks,
            drift,
            discord,
            doorbell: _,
            caretaker,
            sockets,
            dir: _,
        } = self;
        let health = HealthApi {
            checks: self.checks(),
            metrics: metrics.clone(),
            standings: standings.clone(),
            credential_required: config.health_auth_required,
        };
        let samples = Samples { store: store.clone(), policy: policy.clone(), clock: clock.clone(), ids: ids.clone() };
        (
            health,
            RanksApi { ranks: ranks.clone() },
            DecisionsApi { ranks: ranks.clone() },
            RevertApi { ranks: ranks.clone() },
            BrakesApi { brakes: brakes.clone() },
            PlayersApi { players: players.clone(), policy: policy.clone() },
            LeaderboardsApi::new(leaderboards.clone()),
            KeysApi { auth: auth.clone() },
            SamplesApi { samples },
            GatewayApi { jobs: jobs.clone(), clock: clock.clone() },
            QueuesApi { jobs: jobs.clone(), clock: clock.clone() },
            SocketApi::new(jobs.clone(), sockets.clone(), auth.clone(), clock.clone()),
            DriftApi { drift: drift.clone() },
            DiscordApi { feed: discord.clone() },
            GroupApi { group: group.clone(), uses: uses(config) },
            UpkeepApi { caretaker: caretaker.clone(), tables: tables() },
        )
    }

    /// What readiness looks at.
    fn checks(&self) -> Checks {
        Checks {
            store: self.store.clone(),
            policy: self.policy.clone(),
            workers: self.board.clone(),
            caretaker: self.caretaker.clone(),
            brakes: self.brakes.clone(),
            discord: self.discord.clone(),
            doorbell: self.doorbell.clone(),
            group: self.group.clone(),
            drift: self.drift.clone(),
            clock: self.clock.clone(),
        }
    }

    /// Everything that happens without a request.
    pub fn workers(&self) -> Vec<Box<dyn Worker>> {
        let Self {
            config,
            clock,
            store,
            ids,
            auth,
            policy,
            group,
            jobs,
            drift,
            brakes,
            discord,
            doorbell,
            caretaker,
            metrics: _,
            board: _,
            standings: _,
            players: _,
            leaderboards: _,
            group_size: _,
            ranks: _,
            sockets: _,
            dir: _,
        } = self;
        let mut workers: Vec<Box<dyn Worker>> = vec![
            Box::new(PolicyWatch(policy.clone())),
            Box::new(Retention::new(store.clone(), clock.clone(), config.retention.clone())),
            Box::new(HistoryRetention::new(store.clone(), clock.clone(), &config.retention)),
            Box::new(Alerts::new(brakes.clone())),
            Box::new(KeyUses(auth.clone())),
            Box::new(Timekeeper::new(jobs.clone())),
            Box::new(UpkeepWorker::new(caretaker.clone())),
            Box::new(BackupWorker::new(caretaker.clone(), clock.clone())),
        ];
        workers.extend(discord.poller().map(|poller| Box::new(poller) as Box<dyn Worker>));
        workers.extend(GroupWatch::new(group.clone()).map(|watch| Box::new(watch) as Box<dyn Worker>));
        workers.extend(DriftWalk::new(drift.clone()).map(|walk| Box::new(walk) as Box<dyn Worker>));
        let parts = (store.clone(), clock.clone(), ids.clone());
        let joins = JoinsWorker::new(parts, group.clone());
        workers.extend(joins.map(|joins| Box::new(joins) as Box<dyn Worker>));
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

/// What Open Cloud is used for here.
fn uses(config: &Config) -> Uses {
    let roblox = config.roblox.as_ref();
    Uses {
        universe: roblox.and_then(|roblox| roblox.universe),
        store: roblox.and_then(|roblox| roblox.store.clone()),
        doorbell: config.doorbell.is_some(),
    }
}

/// Reads the policy files, off the runtime's threads.
async fn open_policy(search: Search, clock: Clock) -> Result<Arc<PolicyStore>> {
    let opened = tokio::task::spawn_blocking(move || PolicyStore::open(search, clock)).await;
    opened.map_err(|error| Error::broken("policy.open_failed", error))?.map(Arc::new)
}

/// Every table there is, for showing what a store holds.
pub fn tables() -> Vec<TableInfo> {
    vec![
        PLAYERS.info(),
        SNAPSHOTS.info(),
        DECISIONS.info(),
        DECIDED.info(),
        OPEN_EFFECTS.info(),
        APPLIED.info(),
        DECISIONS_INDEXED.info(),
        RANKED.info(),
        BOARDS.info(),
        DRIFT_RUNS.info(),
        DRIFT_ACTIVE.info(),
        DRIFT_SEEN.info(),
        DRIFTS.info(),
        JOINS_ANSWERING.info(),
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
        KEYS.info(),
        AUDITS.info(),
        BREAKER.info(),
        ACTOR_USES.info(),
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
