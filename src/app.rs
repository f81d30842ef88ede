//! THE wiring list: every service of the program, built in floor order, and every API and worker made from them. There are no setters
//! and no lookups: what is not in [`App`] does not run, and [`App::endpoint`] and [`App::workers`] take the record apart without `..`,
//! so a forgotten part does not compile.

mod automation;
mod foundation;
mod tables;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use poem::endpoint::BoxEndpoint;
use poem::{EndpointExt, IntoEndpoint, Response};
use poem_openapi::{OpenApi, OpenApiService};

use crate::base::metrics::Metrics;
use crate::base::{Clock, Error, Ids, Result};
use crate::config::{Config, Generated, Sources};
use crate::domains::adjustments::{Adjustments, AdjustmentsApi, AdjustmentsWorker};
use crate::domains::applying::{Applying, Releases};
use crate::domains::auth::{self, Auth, KeyUses, KeysApi, TABLE};
use crate::domains::brakes::{Alerts, Brakes, BrakesApi};
use crate::domains::discord::{DiscordApi, DiscordFeed};
use crate::domains::doorbell::Doorbell;
use crate::domains::drift::{Drift, DriftApi, DriftWalk};
use crate::domains::group::{Group, GroupApi, GroupWatch, Uses};
use crate::domains::health::{Checks, HealthApi};
use crate::domains::jobs::{GatewayApi, Jobs, QueuesApi, SocketApi, Timekeeper};
use crate::domains::joins::JoinsWorker;
use crate::domains::leaderboards::{Leaderboards, LeaderboardsApi};
use crate::domains::mirrors::Mirrors;
use crate::domains::players::{Players, PlayersApi, Retention};
use crate::domains::policy::{GroupSize, PolicyStore, PolicyWatch};
use crate::domains::ranks::{DecisionsApi, HistoryRetention, Ranks, RanksApi, RevertApi};
use crate::domains::reviews::{Reviews, ReviewsApi, ReviewsWorker};
use crate::domains::samples::{Samples, SamplesApi};
use crate::domains::schedule::{
    self, DriftPlan, Plan, Planned, ReviewPlan, ScheduleApi, ScheduleWorker, Schedules, SyncPlan,
};
use crate::domains::standings::{BoardId, Standings};
use crate::domains::sync::{Sync, SyncApi};
use crate::domains::upkeep::{BackupWorker, Caretaker, UpkeepApi, UpkeepWorker};
use crate::http::docs;
use crate::http::{Contract, Docs, Front, Site, Sockets, Spec};
use crate::store::{DataDir, Progress, Store};
use crate::workers::{Schedule, StatusBoard, Worker};

use automation::Automation;
use foundation::Foundation;
pub use tables::tables;

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
    pub adjustments: Adjustments,
    pub ranks: Ranks,
    pub mirrors: Mirrors,
    pub applying: Applying,
    pub drift: Drift,
    pub sync: Sync,
    pub discord: DiscordFeed,
    pub doorbell: Doorbell,
    pub caretaker: Caretaker,
    pub reviews: Reviews,
    pub schedules: Schedules,
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
        let base = Foundation::open(config, store, clock, metrics).await?;
        let Foundation { config, store, clock, ids, policy, metrics, .. } = &base;
        let players = Players::new(store.clone(), clock.clone(), ids.clone());
        let leaderboards = Leaderboards::new(store.clone(), base.standings.clone(), clock.clone());
        let automation = Automation::open(&base).await?;
        let feed = config.discord.as_ref();
        let discord = DiscordFeed::new(store.clone(), clock.clone(), base.jobs.clone(), feed, metrics)?;
        let bell = (config.doorbell.as_ref(), base.roblox.as_ref());
        let doorbell = Doorbell::new(store, clock.clone(), base.jobs.clone(), bell, metrics);
        let vendor = (config.roblox.as_ref(), base.roblox.as_ref());
        let sync = Sync::open(store, (clock.clone(), ids.clone()), policy.clone(), vendor, metrics).await?;
        let caretaker = Caretaker::new(store.clone(), clock.clone(), ids.clone(), config.upkeep.clone(), metrics);
        let plans = plans(&config.schedule, (&automation.reviews, &sync, &automation.drift));
        let zone = config.schedule.zone.clone();
        let schedules = Schedules::new(store.clone(), clock.clone(), ids.clone(), zone, plans);
        let sockets = Sockets::new(&config.http, metrics);
        Ok(Self {
            config: base.config,
            clock: base.clock,
            metrics: base.metrics,
            board: StatusBoard::default(),
            store: base.store,
            ids: base.ids,
            auth: base.auth,
            policy: base.policy,
            standings: base.standings,
            group: base.group,
            jobs: base.jobs,
            players,
            leaderboards,
            group_size: base.group_size,
            brakes: automation.brakes,
            adjustments: automation.adjustments,
            ranks: automation.ranks,
            mirrors: automation.mirrors,
            applying: automation.applying,
            drift: automation.drift,
            sync,
            discord,
            doorbell,
            caretaker,
            reviews: automation.reviews,
            schedules,
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
            brakes: _,
            adjustments: _,
            ranks: _,
            mirrors: _,
            applying: _,
            drift: _,
            sync,
            discord,
            doorbell: _,
            caretaker,
            reviews: _,
            schedules: _,
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
        let queues = (
            GatewayApi { jobs: jobs.clone(), clock: clock.clone() },
            QueuesApi { jobs: jobs.clone(), clock: clock.clone() },
            SocketApi::new(jobs.clone(), sockets.clone(), auth.clone(), clock.clone()),
            DiscordApi { feed: discord.clone() },
        );
        // A tuple holds sixteen at most, so what belongs together has one of its own.
        (
            health,
            self.automation_apis(),
            PlayersApi { players: players.clone(), policy: policy.clone() },
            LeaderboardsApi::new(leaderboards.clone()),
            KeysApi { auth: auth.clone() },
            SamplesApi { samples },
            queues,
            GroupApi { group: group.clone(), uses: uses(config) },
            SyncApi { sync: sync.clone() },
            UpkeepApi { caretaker: caretaker.clone(), tables: tables() },
        )
    }

    /// The APIs of decisions and of what leads to many of them.
    fn automation_apis(&self) -> impl OpenApi + use<> {
        (
            RanksApi { ranks: self.ranks.clone() },
            DecisionsApi { ranks: self.ranks.clone(), obstacles: self.applying.obstacles() },
            RevertApi { ranks: self.ranks.clone() },
            BrakesApi { brakes: self.brakes.clone() },
            AdjustmentsApi { adjustments: self.adjustments.clone() },
            ReviewsApi { reviews: self.reviews.clone() },
            DriftApi { drift: self.drift.clone() },
            ScheduleApi { schedules: self.schedules.clone() },
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
            applying: self.applying.clone(),
            drift: self.drift.clone(),
            sync: self.sync.clone(),
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
            mirrors,
            applying,
            drift,
            brakes,
            adjustments,
            discord,
            doorbell,
            caretaker,
            reviews,
            schedules,
            sync,
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
        let kept = config.retention.audit();
        let mut workers: Vec<Box<dyn Worker>> = vec![
            Box::new(PolicyWatch(policy.clone())),
            Box::new(Retention::new(store.clone(), clock.clone(), config.retention.clone())),
            Box::new(HistoryRetention::new(store.clone(), clock.clone(), &config.retention)),
            Box::new(Alerts::new(brakes.clone())),
            Box::new(AdjustmentsWorker::new(adjustments.clone(), kept)),
            Box::new(ReviewsWorker { reviews: reviews.clone(), kept }),
            Box::new(ScheduleWorker(schedules.clone())),
            Box::new(KeyUses(auth.clone())),
            Box::new(Timekeeper::new(jobs.clone())),
            Box::new(Releases::new(applying.clone())),
            Box::new(UpkeepWorker::new(caretaker.clone())),
            Box::new(BackupWorker::new(caretaker.clone(), clock.clone())),
        ];
        workers.extend(applying.worker().map(|applier| Box::new(applier) as Box<dyn Worker>));
        workers.extend(mirrors.entries().map(|mirror| Box::new(mirror) as Box<dyn Worker>));
        workers.extend(mirrors.board().map(|mirror| Box::new(mirror) as Box<dyn Worker>));
        workers.extend(discord.poller().map(|poller| Box::new(poller) as Box<dyn Worker>));
        workers.extend(GroupWatch::new(group.clone()).map(|watch| Box::new(watch) as Box<dyn Worker>));
        workers.extend(DriftWalk::new(drift.clone()).map(|walk| Box::new(walk) as Box<dyn Worker>));
        let parts = (store.clone(), clock.clone(), ids.clone());
        let joins = JoinsWorker::new(parts, group.clone());
        workers.extend(joins.map(|joins| Box::new(joins) as Box<dyn Worker>));
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
        let Published { spec, contract } = published(&service)?;
        let docs = if self.config.docs { Docs::Open } else { Docs::Closed };
        let site = Site::new(service.into_endpoint(), spec, docs)?;
        let gated = auth::gate(self.auth.clone(), site);
        Ok(Front::new(gated, contract.clone(), &self.config.http, self.clock.clone(), &self.metrics).boxed())
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
        let stepped_down = self.schedules.step_down().await;
        self.store.close().await?;
        saved.and(stepped_down)
    }
}

/// What Open Cloud is used for here.
fn uses(config: &Config) -> Uses {
    let roblox = config.roblox.as_ref();
    Uses {
        universe: roblox.and_then(|roblox| roblox.universe),
        store: roblox.and_then(|roblox| roblox.store.clone()),
        ordered: config.mirrors.board.is_some(),
        doorbell: config.doorbell.is_some(),
    }
}

/// What is started by the clock; what Roblox is needed for only where its settings are there.
fn plans(config: &schedule::Config, (reviews, sync, drift): (&Reviews, &Sync, &Drift)) -> Vec<Planned> {
    let planned = |plan: Box<dyn Plan>, cron: Option<&Schedule>| Planned { plan, cron: cron.cloned() };
    let review = ReviewPlan { reviews: reviews.clone(), apply: config.review_apply };
    vec![
        planned(Box::new(review), config.review.as_ref()),
        planned(Box::new(SyncPlan(sync.clone())), config.sync.as_ref().filter(|_| sync.is_on())),
        planned(Box::new(DriftPlan(drift.clone())), config.drift.as_ref().filter(|_| drift.is_on())),
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

/// What is the same in every program of this build.
struct Published {
    spec: Spec,
    contract: Arc<Contract>,
}

/// Made once a process: tests start hundreds of programs in one, and this is most of what a start costs.
fn published<T: OpenApi>(service: &OpenApiService<T, ()>) -> Result<&'static Published> {
    static PUBLISHED: OnceLock<Published> = OnceLock::new();
    if let Some(published) = PUBLISHED.get() {
        return Ok(published);
    }
    let spec = publish(service)?;
    let contract = Arc::new(Contract::new(spec.value())?);
    Ok(PUBLISHED.get_or_init(|| Published { spec, contract }))
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
