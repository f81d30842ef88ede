//! Promises, at 64 keep-alive connections with 100,000 players stored and every acknowledgement on disk:
//! `GET /leaderboard?limit=30` and `GET /players/{id}` keep at least 70 % of the throughput of a bare poem endpoint that answers as many
//! bytes; `POST /roblox/events/player-activity` with evaluation keeps at least 35 % of a bare poem POST of the same body, and its p99 is at
//! most 10 times that one's.
//!
//! `cargo bench --bench http [rounds] [players] [only]` prints the median of alternating rounds, beside a raw loop of append and fdatasync. Access
//! logs are formatted as in production and thrown away. `only` leaves the cases whose name holds it, for a profiler.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

#[path = "support/app.rs"]
mod app;
#[path = "support/load.rs"]
mod load;

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use grps::base::Clock;
use grps::domains::samples::DEMO_BASE;
use grps::http;
use load::{Load, Report};
use poem::listener::TcpAcceptor;
use poem::{IntoResponse, Route, get, handler, post};
use serde::{Deserialize, Serialize};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LOAD: Load = Load { connections: 64, warm_up: Duration::from_millis(500), measured: Duration::from_millis(2500) };

#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Body {
    user_id: u64,
    username: String,
    display_name: String,
    rank: String,
    rank_points: u64,
    kos: u64,
    wos: u64,
    warnings: u64,
    recommendations: u64,
    punishment_status: Option<String>,
    experience: serde_json::Value,
}

#[derive(Clone, Serialize)]
struct Row {
    user_id: u64,
    username: &'static str,
    rank: &'static str,
    points: u64,
    kos: u64,
    wos: u64,
    updated_at: &'static str,
}

const ROW: Row = Row {
    user_id: 9_000_000_000_012_345,
    username: "StormTrooper12345",
    rank: "Storm Corporal I",
    points: 8200,
    kos: 1200,
    wos: 340,
    updated_at: "2025-03-01T18:15:44Z",
};

#[handler]
fn bare_rows() -> impl IntoResponse {
    poem::web::Json(vec![ROW; 30])
}

#[handler]
fn bare_player() -> impl IntoResponse {
    poem::web::Json(vec![ROW; 3])
}

/// Reads the body and answers about as much as an ingest with its explanation.
#[handler]
fn bare_ingest(body: poem::web::Json<Body>) -> impl IntoResponse {
    poem::web::Json((body.0, vec![ROW; 6]))
}

struct Ours {
    address: SocketAddr,
    key: String,
}

async fn bare() -> SocketAddr {
    let routes =
        Route::new().at("/rows", get(bare_rows)).at("/player", get(bare_player)).at("/ingest", post(bare_ingest));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TcpAcceptor::from_std(listener).unwrap();
    tokio::spawn(poem::Server::new_with_acceptor(acceptor).run(routes));
    address
}

async fn ours(dir: &Path, players: u64) -> Ours {
    let (app, key) = app::open(dir).await;
    app::fill(&app, players).await;
    Ours { address: app::serve(app), key }
}

fn raw_loop(dir: &Path) -> f64 {
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(dir.join("raw")).unwrap();
    let (bytes, started, mut done) = ([7u8; 1200], Instant::now(), 0);
    while started.elapsed() < Duration::from_secs(2) {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        done += 1;
    }
    f64::from(done) / started.elapsed().as_secs_f64()
}

/// One figure over all rounds.
struct Series {
    name: &'static str,
    reports: Vec<Report>,
}

impl Series {
    fn middle(&self, figure: impl Fn(&Report) -> f64) -> f64 {
        middle(self.reports.iter().map(figure).collect())
    }

    fn print(&self) {
        let failures: u64 = self.reports.iter().map(|report| report.failures).sum();
        let (rate, cpu) = (self.middle(|r| r.per_second), self.middle(|r| micros(r.cpu)));
        let (p50, p99) = (self.middle(|r| micros(r.p50)), self.middle(|r| micros(r.p99)));
        let name = self.name;
        println!(
            "{name:<47} {rate:>7.0}/s  p50 {p50:>6.0} us  p99 {p99:>6.0} us  cpu {cpu:>5.1} us  failures {failures}"
        );
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let rounds: usize = args.next().and_then(|arg| arg.parse().ok()).unwrap_or(5);
    let players: u64 = args.next().and_then(|arg| arg.parse().ok()).unwrap_or(100_000);
    let only = args.next();
    let logs = tracing_subscriber::fmt()
        .event_format(http::JsonLines::new(Clock::system()))
        .with_writer(std::io::sink)
        .finish();
    tracing::subscriber::set_global_default(logs).unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let raw = raw_loop(dir.path());
    println!(
        "raw append + fdatasync of 1,200 B: {raw:.0}/s; {players} players, {} connections, {rounds} rounds",
        LOAD.connections
    );
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run(
        dir.path(),
        rounds,
        players,
        only.as_deref(),
        raw,
    ));
}

async fn run(dir: &Path, rounds: usize, players: u64, only: Option<&str>, raw: f64) {
    let bare = bare().await;
    let ours = ours(&dir.join("data"), players).await;
    let auth = format!("x-grps-api-key: {}\r\n", ours.key);
    let ids = |n: u64| DEMO_BASE + (n * 7919) % players;
    let read_one = |n| format!("GET /players/{} HTTP/1.1\r\nhost: bench\r\n{auth}\r\n", ids(n)).into_bytes();
    let evaluated = format!("{auth}x-grps-evaluate: true\r\n");
    let send = |n: u64| load::post("/roblox/events/player-activity", &evaluated, &app::snapshot(ids(n), 500 + n % 240));
    let cases: Vec<(&'static str, SocketAddr, Vec<Vec<u8>>)> = vec![
        ("bare GET, 30 rows", bare, vec![load::get("/rows")]),
        ("GET /leaderboard?limit=30", ours.address, vec![load::get("/leaderboard?limit=30")]),
        ("bare GET, one player", bare, vec![load::get("/player")]),
        ("GET /players/{id}", ours.address, (0..10_000).map(read_one).collect()),
        ("bare POST", bare, vec![load::post("/ingest", "", &app::snapshot(1, 520))]),
        ("POST /roblox/events/player-activity, evaluated", ours.address, (0..10_000).map(send).collect()),
    ];
    let wanted = |case: &(&'static str, SocketAddr, Vec<Vec<u8>>)| only.is_none_or(|only| case.0.contains(only));
    let cases: Vec<_> = cases.into_iter().filter(wanted).collect();
    let mut series: Vec<Series> = cases.iter().map(|(name, _, _)| Series { name, reports: Vec::new() }).collect();
    for _ in 0..rounds {
        for (case, series) in cases.iter().zip(&mut series) {
            series.reports.push(load::press(case.1, LOAD, case.2.clone()).await);
        }
    }
    series.iter().for_each(Series::print);
    if only.is_some() {
        return;
    }
    // Pair by pair within a round, so that a machine that slows down slows both.
    let ratio = |ours: usize, bare: usize, figure: &dyn Fn(&Report) -> f64| {
        let pairs = series[ours].reports.iter().zip(&series[bare].reports);
        middle(pairs.map(|(ours, bare)| figure(ours) / figure(bare)).collect())
    };
    let (rate, cpu, p99) = (|r: &Report| r.per_second, |r: &Report| 1.0 / micros(r.cpu), |r: &Report| micros(r.p99));
    for (name, ours, bare, promise) in [("leaderboard", 1, 0, 0.70), ("player", 3, 2, 0.70), ("ingest", 5, 4, 0.35)] {
        let (rate, cpu) = (ratio(ours, bare, &rate), ratio(ours, bare, &cpu));
        println!("{name:<11} / bare: throughput {rate:.2} (promise {promise:.2}), by CPU time {cpu:.2}");
    }
    println!("ingest p99 / bare p99: {:.1} (promise: at most 10)", ratio(5, 4, &p99));
    println!("ingest / raw append + fdatasync: {:.2}", series[5].middle(rate) / raw);
}

fn middle(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
