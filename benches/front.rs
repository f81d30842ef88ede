//! Promise: an endpoint behind the front layer (request id, limits, strict JSON, metrics, access log) keeps at least 70 % of the throughput
//! of the same endpoint on bare poem, for a small GET and for a 300-byte POST; printed as the median ratio of alternating rounds.
//!
//! `cargo bench --bench front [rounds]`

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

#[path = "support/load.rs"]
mod load;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use grps::base::Clock;
use grps::base::metrics::Metrics;
use grps::http::{Config, Contract, Front, Json, JsonLines, Rendered, Server, Spec};
use load::{Load, Report};
use poem::listener::TcpAcceptor;
use poem::{Endpoint, IntoEndpoint, Response, Route};
use poem_openapi::{Object, OpenApi, OpenApiService};
use serde::{Deserialize, Serialize};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LOAD: Load = Load { connections: 64, warm_up: Duration::from_millis(500), measured: Duration::from_millis(2500) };

#[derive(Object, Serialize, Deserialize, Clone)]
#[oai(rename_all = "camelCase")]
#[serde(rename_all = "camelCase")]
struct Player {
    user_id: u64,
    username: String,
    display_name: String,
    rank: String,
    rank_points: u32,
    kos: u32,
    wos: u32,
    warnings: u32,
    recommendations: u32,
    punishment_status: Option<String>,
    experience: Place,
}

#[derive(Object, Serialize, Deserialize, Clone)]
#[oai(rename_all = "camelCase")]
#[serde(rename_all = "camelCase")]
struct Place {
    universe_id: u64,
    place_id: u64,
    server: String,
}

fn player() -> Player {
    let experience =
        Place { universe_id: 123456789, place_id: 987654321, server: "a3f1c9d2-7a1e-4c55-9b0a-2f3d4e5f6071".into() };
    Player {
        user_id: 12345678,
        username: "StormTrooper42".into(),
        display_name: "Storm".into(),
        rank: "Storm Private".into(),
        rank_points: 520,
        kos: 31,
        wos: 12,
        warnings: 0,
        recommendations: 3,
        punishment_status: None,
        experience,
    }
}

struct Api;

#[OpenApi]
impl Api {
    #[oai(path = "/players/:id", method = "get")]
    async fn show(&self, id: poem_openapi::param::Path<u64>) -> Rendered<Player> {
        Rendered::serialize(&Player { user_id: id.0, ..player() })
    }

    #[oai(path = "/snapshots", method = "post")]
    async fn take(&self, body: Json<Player>) -> Json<Player> {
        body
    }
}

#[poem::handler]
fn bare_show(id: poem::web::Path<u64>) -> poem::web::Json<Player> {
    poem::web::Json(Player { user_id: id.0, ..player() })
}

#[poem::handler]
fn bare_take(body: poem::web::Json<Player>) -> poem::web::Json<Player> {
    body
}

fn bare() -> impl Endpoint<Output = Response> {
    Route::new().at("/players/:id", poem::get(bare_show)).at("/snapshots", poem::post(bare_take))
}

fn fronted() -> impl Endpoint<Output = Response> {
    let service = OpenApiService::new(Api, "bench", "1");
    let spec = Spec::polish(&service.spec(), |_, _| Default::default()).unwrap();
    let contract = Arc::new(Contract::new(spec.value()).unwrap());
    Front::new(service.into_endpoint(), contract, &Config::default(), Clock::system(), &Metrics::default())
}

/// Serves on a runtime of its own, for the life of the process.
fn serve<F: Future<Output = SocketAddr> + Send + 'static>(start: F) -> SocketAddr {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let address = runtime.block_on(start);
    std::mem::forget(runtime);
    address
}

fn on_poem(endpoint: impl Endpoint<Output = Response> + 'static) -> SocketAddr {
    serve(async move {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = TcpAcceptor::from_tokio(listener).unwrap();
        tokio::spawn(poem::Server::new_with_acceptor(acceptor).run(endpoint));
        address
    })
}

fn on_ours(endpoint: impl Endpoint<Output = Response> + 'static) -> SocketAddr {
    serve(async move {
        let server = Server::bind("127.0.0.1:0".parse().unwrap(), &Config::default(), &Metrics::default()).unwrap();
        let address = server.address();
        tokio::spawn(server.serve(endpoint, std::future::pending()));
        address
    })
}

fn press(address: SocketAddr, request: &[u8]) -> Report {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let report = runtime.block_on(load::press(address, LOAD, vec![request.to_vec()]));
    assert_eq!(report.failures, 0, "every answer must be a 2xx");
    report
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let rounds: usize = std::env::args().filter_map(|arg| arg.parse().ok()).next().unwrap_or(3);
    // The access log is written, as in production, but to nowhere: a terminal would be what is measured.
    tracing_subscriber::fmt().event_format(JsonLines::new(Clock::system())).with_writer(std::io::sink).init();
    let places = [
        ("bare poem, poem::Server", on_poem(bare())),
        ("bare poem, our server", on_ours(bare())),
        ("front, our server", on_ours(fronted())),
    ];
    let body = serde_json::to_string(&player()).unwrap();
    let requests = [("GET", load::get("/players/12345678")), ("POST", load::post("/snapshots", "", &body))];
    println!("{} connections, {} B body, {rounds} rounds", LOAD.connections, body.len());
    for (method, request) in requests {
        let mut ratios: Vec<Vec<(f64, f64)>> = vec![Vec::new(); places.len()];
        for _ in 0..rounds {
            let reports: Vec<Report> = places.iter().map(|(_, address)| press(*address, &request)).collect();
            for (at, ((name, _), report)) in places.iter().zip(&reports).enumerate() {
                let Report { per_second, p50, p99, cpu, .. } = report;
                ratios[at].push((per_second / reports[0].per_second, reports[0].cpu.as_secs_f64() / cpu.as_secs_f64()));
                println!("{method:5} {name:26} {per_second:8.0} /s  p50 {p50:?}  p99 {p99:?}  cpu {cpu:?}");
            }
        }
        for ((name, _), ratios) in places.iter().zip(ratios) {
            let (by_time, by_cpu): (Vec<f64>, Vec<f64>) = ratios.into_iter().unzip();
            let (by_time, by_cpu) = (median(by_time) * 100.0, median(by_cpu) * 100.0);
            println!(
                "{method:5} {name:26} {by_time:.0} % of bare poem's throughput, {by_cpu:.0} % by CPU time (medians)"
            );
        }
    }
}
