//! THE wiring list: every service of the program, built in floor order, and every API and worker made from them. There are no setters
//! and no lookups: what is not in [`App`] does not run, and [`App::endpoint`] and [`App::workers`] take the record apart without `..`,
//! so a forgotten part does not compile.

use std::net::SocketAddr;
use std::sync::Arc;

use poem::endpoint::BoxEndpoint;
use poem::{EndpointExt, Response};
use poem_openapi::{OpenApi, OpenApiService};

use crate::base::metrics::Metrics;
use crate::base::{Clock, Error, Ids, Result};
use crate::config::Config;
use crate::domains::auth::{self, Access, Auth, KeyUses, Keys, KeysApi, Sealer, TABLE};
use crate::domains::health::{Checks, HealthApi};
use crate::domains::leaderboards::{Leaderboards, LeaderboardsApi};
use crate::domains::players::{Players, PlayersApi, Retention};
use crate::domains::policy::{PolicyStore, PolicyWatch};
use crate::domains::ranks::{Ranks, RanksApi};
use crate::domains::samples::{Samples, SamplesApi};
use crate::domains::standings::{PLAYERS_BOARD, Standings};
use crate::http::{Front, Scheme, Site, Spec};
use crate::store::{DataDir, Sled, Store};
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
    pub players: Players,
    pub leaderboards: Leaderboards,
    pub ranks: Ranks,
    /// The lock on the data directory; none for a store in memory.
    pub dir: Option<DataDir>,
}
