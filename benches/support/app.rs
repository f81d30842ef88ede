//! The program in this process, over a data directory, filled with an invented group.

use std::net::SocketAddr;
use std::path::Path;

use grps::app::App;
use grps::base::Clock;
use grps::config::{Config, Generated, Sources};
use grps::domains::audit::Actor;
use grps::domains::auth::Sender;
use grps::domains::samples::Samples;
use grps::http::{self, Server};
use grps::store::{DataDir, Progress};

/// Opens or creates the store in `dir` and builds everything on it; the key of a game server comes with it.
#[allow(dead_code)] // not every bench goes without settings
pub async fn open(dir: &Path) -> (App, String) {
    open_with(dir, &[]).await
}

/// As [`open`], with settings.
pub async fn open_with(dir: &Path, settings: &[(&str, &str)]) -> (App, String) {
    let data = DataDir::open(dir).unwrap();
    let generated = Generated::load_or_create(dir).unwrap();
    let place = dir.display().to_string();
    let settings = settings.iter().copied().chain([("DATA_DIR", place.as_str())]);
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let config = Config::build(&Sources::read(settings, Vec::new(), dir).unwrap(), &generated).unwrap();
    let key = config.auth.inbound[0].secret.expose().to_owned();
    (App::open(config, data, Clock::system(), Progress::silent()).await.unwrap(), key)
}

#[allow(dead_code)] // not every bench needs players
pub async fn fill(app: &App, players: u64) {
    let samples = Samples {
        store: app.store.clone(),
        policy: app.policy.clone(),
        clock: app.clock.clone(),
        ids: app.ids.clone(),
    };
    samples.demo(0, players, &Sender { actor: Actor::of("bench"), request_id: "bench".into() }).await.unwrap();
}

/// Serves it on a free port until the process ends.
#[allow(dead_code)] // not every bench that fills a store serves it
pub fn serve(app: App) -> SocketAddr {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), &http::Config::default(), &app.metrics).unwrap();
    let address = server.address();
    let endpoint = app.endpoint().unwrap();
    tokio::spawn(async move {
        let _open = app;
        server.serve(endpoint, std::future::pending()).await
    });
    address
}

/// A snapshot of the size a game server sends.
#[allow(dead_code)]
pub fn snapshot(user: u64, points: u64) -> String {
    format!(
        r#"{{"userId":{user},"username":"ArcTrooper","displayName":"Arc","rank":"Volt Specialist II","rankPoints":{points},"kos":84,"wos":12,"warnings":1,"recommendations":0,"punishmentStatus":null,"experience":{{"universeId":987654321,"placeId":1234567890,"server":"vip-3"}}}}"#
    )
}
