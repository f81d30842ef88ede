//! Promises of the queues, at 64 keep-alive connections with every acknowledgement on disk: putting a job in keeps at least 35 % of the
//! throughput of a bare poem POST of the same body, taking one and acknowledging it at least 25 %; in batches of 100 a job costs at most a
//! fifth; at a depth of a million jobs taking takes at most 1.5 times as long as at a thousand; a poll that waits has a new job within 3
//! times the median commit (10 times at p99), or 50 ms. Beside beanstalkd with its log synced (`-b DIR -f 0`): at least as many rounds of
//! put, reserve and delete.
//!
//! `cargo bench --bench jobs [rounds] [depth]` prints medians of alternating rounds; ratios are of one run. The server runs in this process,
//! beanstalkd in one of its own when it is installed.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

#[path = "support/app.rs"]
mod app;
#[path = "support/load.rs"]
mod load;
#[path = "support/wire.rs"]
mod wire;

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use grps::base::Clock;
use grps::domains::auth::sign;
use grps::domains::jobs::{Jobs, NewJob, QueueName};
use grps::http;
use grps::workers::Supervisor;
use load::{Load, Report};
use poem::listener::TcpAcceptor;
use poem::{IntoResponse, Route, handler, post};
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use wire::{Wire, field};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const LOAD: Load = Load { connections: 64, warm_up: Duration::from_millis(500), measured: Duration::from_millis(2500) };

/// A job as a tool would send it.
const JOB: &str =
    r#"{"action":"promote","userId":12345678,"rank":"Volt Specialist II","reason":"520 points","by":"trainer-7"}"#;

#[handler]
fn bare_job(body: poem::web::Json<serde_json::Value>) -> impl IntoResponse {
    let _ = body;
    poem::web::Json(serde_json::json!({ "id": "19541e5ac1000001", "queued": true }))
}

async fn bare() -> SocketAddr {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = TcpAcceptor::from_std(listener).unwrap();
    tokio::spawn(poem::Server::new_with_acceptor(acceptor).run(Route::new().at("/job", post(bare_job))));
    address
}

/// Our server, and what a client of it says.
struct Ours {
    address: SocketAddr,
    headers: String,
    key: String,
    jobs: Jobs,
}

async fn ours(dir: &Path) -> Ours {
    let (app, _) = app::open_with(dir, &[("TIMESTAMP_TOLERANCE", "3600"), ("JOB_QUEUE_LENGTH", "10000000")]).await;
    let auth = &app.config.auth;
    let at = Clock::system().now().seconds().to_string();
    let signature = sign(auth.gateway_hmac.first().unwrap(), at.as_bytes());
    let key = auth.gateway_key.first().unwrap().expose().to_owned();
    let headers = format!("x-api-key: {key}\r\nx-timestamp: {at}\r\nx-signature: {signature}\r\n");
    let mut workers = Supervisor::new(app.clock.clone(), app.board.clone());
    app.workers().into_iter().for_each(|worker| workers.start(worker));
    std::mem::forget(workers);
    let jobs = app.jobs.clone();
    Ours { address: app::serve(app), headers, key, jobs }
}

impl Ours {
    fn get(&self, target: &str) -> Vec<u8> {
        format!("GET {target} HTTP/1.1\r\nhost: bench\r\n{}\r\n", self.headers).into_bytes()
    }

    fn post(&self, target: &str, body: &str) -> Vec<u8> {
        load::post(target, &self.headers, body)
    }

    async fn fill(&self, queue: &str, count: usize) {
        let queue: QueueName = queue.parse().unwrap();
        let mut left = count;
        while left > 0 {
            let batches: Vec<usize> = (0..16).map(|n| left.saturating_sub(n * 100).min(100)).collect();
            let sent = batches.iter().filter(|size| **size > 0).map(|size| {
                let batch = (0..*size).map(|_| NewJob::new(queue.clone(), JOB, "bench")).collect();
                self.jobs.submit(batch)
            });
            for done in futures_util::future::join_all(sent).await {
                done.unwrap();
            }
            left -= batches.iter().sum::<usize>();
        }
    }
}

/// Lets 64 connections repeat `round` and counts how often they manage; the rest is as in [`load::press`].
async fn rounds<F, Fut>(address: SocketAddr, round: F) -> Report
where
    F: Fn(Wire) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = (Wire, bool)> + Send,
{
    let mut tasks = JoinSet::new();
    for _ in 0..LOAD.connections {
        let round = round.clone();
        tasks.spawn(async move {
            let mut wire = Wire::open(address).await.unwrap();
            let (mut times, mut failures, begun) = (Vec::new(), 0, Instant::now());
            while begun.elapsed() < LOAD.warm_up + LOAD.measured {
                let (at, counted) = (Instant::now(), begun.elapsed() >= LOAD.warm_up);
                let good;
                (wire, good) = round(wire).await;
                failures += u64::from(!good);
                if counted && good {
                    times.push(at.elapsed().as_micros() as u32);
                }
            }
            (times, failures)
        });
    }
    let (mut times, mut failures) = (Vec::new(), 0);
    for (some, failed) in tasks.join_all().await {
        times.extend(some);
        failures += failed;
    }
    times.sort_unstable();
    let at = |share: f64| {
        Duration::from_micros(times.get((times.len() as f64 * share) as usize).copied().unwrap_or(0).into())
    };
    let per_second = times.len() as f64 / LOAD.measured.as_secs_f64();
    Report { failures, per_second, p50: at(0.5), p99: at(0.99), cpu: Duration::ZERO }
}

/// Takes a job and acknowledges it.
async fn take_and_ack(mut wire: Wire, take: &[u8], headers: &str) -> (Wire, bool) {
    let Ok((200, body)) = wire.ask(take).await else { return (wire, false) };
    let (id, token) = (field(body, "id").to_owned(), field(body, "leaseToken").to_owned());
    let ack = load::post(&format!("/job/{id}/ack"), headers, &format!("{{\"leaseToken\":\"{token}\"}}"));
    let good = matches!(wire.ask(&ack).await, Ok((200, _)));
    (wire, good)
}

async fn take_ack(ours: &Ours, queue: &str) -> Report {
    let (take, headers) = (Arc::new(ours.get(&format!("/job/next?lease=60&queue={queue}"))), ours.headers.clone());
    rounds(ours.address, move |wire| {
        let (take, headers) = (take.clone(), headers.clone());
        async move { take_and_ack(wire, &take, &headers).await }
    })
    .await
}

async fn put_take_ack(ours: &Ours) -> Report {
    let take = Arc::new(ours.get("/job/next?lease=60&wait=5&queue=rounds"));
    let (put, headers) = (Arc::new(ours.post("/job?queue=rounds", JOB)), ours.headers.clone());
    rounds(ours.address, move |mut wire| {
        let (take, put, headers) = (take.clone(), put.clone(), headers.clone());
        async move {
            if !matches!(wire.ask(&put).await, Ok((200, _))) {
                return (wire, false);
            }
            take_and_ack(wire, &take, &headers).await
        }
    })
    .await
}

/// beanstalkd on a free port, over a directory of its own; gone when dropped.
struct Beanstalkd(Child, SocketAddr);

impl Beanstalkd {
    fn start(dir: &Path) -> Option<Self> {
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        std::fs::create_dir_all(dir).unwrap();
        let mut command = Command::new("beanstalkd");
        command.args(["-l", "127.0.0.1", "-p", &port.port().to_string(), "-f", "0", "-b"]).arg(dir);
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        std::thread::sleep(Duration::from_millis(300));
        Some(Self(child, port))
    }
}

impl Drop for Beanstalkd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn beanstalkd_rounds(address: SocketAddr) -> Report {
    let put = Arc::new(format!("put 0 0 60 {}\r\n{JOB}\r\n", JOB.len()).into_bytes());
    rounds(address, move |mut wire| {
        let put = put.clone();
        async move {
            let good = wire.line(&put, b"\r\n").await.is_ok_and(|line| line.starts_with(b"INSERTED"));
            let reserved =
                wire.line(b"reserve-with-timeout 5\r\n", b"}\r\n").await.map(<[u8]>::to_vec).unwrap_or_default();
            let text = String::from_utf8_lossy(&reserved);
            let id = text.split(' ').nth(1).unwrap_or("0").to_owned();
            let delete = format!("delete {id}\r\n");
            let gone = wire.line(delete.as_bytes(), b"\r\n").await.is_ok_and(|line| line.starts_with(b"DELETED"));
            (wire, good && gone)
        }
    })
    .await
}

/// Times from sending a job to a waiting poll having it, one after the other.
async fn wake(ours: &Ours, count: usize) -> Vec<Duration> {
    let (poll, put) = (ours.get("/job/next?wait=20&queue=wake"), ours.post("/job?queue=wake", JOB));
    let (mut waiting, mut sending) = (Wire::open(ours.address).await.unwrap(), Wire::open(ours.address).await.unwrap());
    let mut times = Vec::new();
    for _ in 0..count {
        let sent = Arc::new(AtomicU64::new(0));
        let begun = Instant::now();
        let (polled, _) =
            tokio::join!(async { waiting.ask(&poll).await.map(|(status, _)| (status, begun.elapsed())) }, async {
                tokio::time::sleep(Duration::from_millis(3)).await;
                sent.store(begun.elapsed().as_nanos() as u64, Ordering::Relaxed);
                assert_eq!(sending.ask(&put).await.unwrap().0, 200);
            });
        let (status, at) = polled.unwrap();
        assert_eq!(status, 200);
        times.push(at - Duration::from_nanos(sent.load(Ordering::Relaxed)));
    }
    times.sort_unstable();
    times
}

/// Times from sending a job to a mirror's frame, one after the other.
async fn push(ours: &Ours, count: usize) -> Vec<Duration> {
    let mut request = format!("ws://{}/ws?queue=push", ours.address).into_client_request().unwrap();
    request.headers_mut().insert("x-api-key", ours.key.parse().unwrap());
    let (mut mirror, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    let put = ours.post("/job?queue=push", JOB);
    let mut sending = Wire::open(ours.address).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..count {
        tokio::time::sleep(Duration::from_millis(3)).await;
        let begun = Instant::now();
        let (framed, answered) =
            tokio::join!(async { mirror.next().await.map(|frame| (frame, begun.elapsed())) }, sending.ask(&put));
        let (frame, at) = framed.unwrap();
        assert_eq!((answered.unwrap().0, frame.unwrap().to_text().unwrap()), (200, JOB));
        times.push(at);
    }
    times.sort_unstable();
    times
}

/// Median time of a commit of one row, alone.
async fn commit_time(ours: &Ours) -> Duration {
    let mut times = Vec::new();
    for _ in 0..500 {
        let at = Instant::now();
        ours.jobs.submit(vec![NewJob::new("alone".parse().unwrap(), JOB, "bench")]).await.unwrap();
        times.push(at.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let rounds: usize = args.next().and_then(|arg| arg.parse().ok()).unwrap_or(3);
    let depth: usize = args.next().and_then(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let logs = tracing_subscriber::fmt()
        .event_format(http::JsonLines::new(Clock::system()))
        .with_writer(std::io::sink)
        .finish();
    tracing::subscriber::set_global_default(logs).unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(run(dir.path(), rounds, depth));
}

async fn run(dir: &Path, rounds: usize, depth: usize) {
    let (bare, ours) = (bare().await, ours(&dir.join("data")).await);
    let stalk = Beanstalkd::start(&dir.join("beanstalkd"));
    let batch =
        format!("{{\"jobs\":[{}]}}", vec![format!("{{\"payload\":{JOB},\"queue\":\"batched\"}}"); 100].join(","));
    let names = ["bare POST", "POST /job", "POST /job/batch of 100", "take + ack", "put + take + ack", "beanstalkd"];
    let mut series: Vec<Vec<Report>> = names.map(|_| Vec::new()).to_vec();
    for _ in 0..rounds {
        series[0].push(load::press(bare, LOAD, vec![load::post("/job", &ours.headers, JOB)]).await);
        series[1].push(load::press(ours.address, LOAD, vec![ours.post("/job?queue=single", JOB)]).await);
        series[2].push(load::press(ours.address, LOAD, vec![ours.post("/job/batch", &batch)]).await);
        ours.fill("taken", 100_000).await;
        series[3].push(take_ack(&ours, "taken").await);
        series[4].push(put_take_ack(&ours).await);
        if let Some(stalk) = &stalk {
            series[5].push(beanstalkd_rounds(stalk.1).await);
        }
    }
    for (name, reports) in names.iter().zip(&series).filter(|(_, reports)| !reports.is_empty()) {
        let failures: u64 = reports.iter().map(|report| report.failures).sum();
        let (p50, p99) = (middle(reports, |r| micros(r.p50)), middle(reports, |r| micros(r.p99)));
        let rate = middle(reports, |r| r.per_second);
        println!("{name:<24} {rate:>8.0}/s  p50 {p50:>7.0} us  p99 {p99:>7.0} us  failures {failures}");
    }
    let ratio = |ours: usize, other: usize, times: f64| {
        let mut pairs: Vec<f64> =
            series[ours].iter().zip(&series[other]).map(|(a, b)| times * a.per_second / b.per_second).collect();
        pairs.sort_by(f64::total_cmp);
        pairs[pairs.len() / 2]
    };
    println!("enqueue / bare POST: {:.2} (promise 0.35)", ratio(1, 0, 1.0));
    println!("take + ack / bare POST: {:.2} (promise 0.25); as requests: {:.2}", ratio(3, 0, 1.0), ratio(3, 0, 2.0));
    println!("jobs in batches of 100 / single: {:.1} (promise 5)", ratio(2, 1, 100.0));
    match stalk {
        Some(_) => println!("put + take + ack / beanstalkd -f 0: {:.2} (promise 1)", ratio(4, 5, 1.0)),
        None => println!("beanstalkd is not installed, so nothing was compared with it: apt-get install beanstalkd"),
    }
    let commit = commit_time(&ours).await;
    for (what, times) in [("woken poll", wake(&ours, 300).await), ("WebSocket frame", push(&ours, 300).await)] {
        let (p50, p99) = (times[times.len() / 2], times[times.len() * 99 / 100]);
        println!(
            "enqueue to {what}: p50 {:.1} x, p99 {:.1} x the median enqueue of {:.0} us (promise 3 and 10, or 50 ms): {:.1} and {:.1} ms",
            p50.as_secs_f64() / commit.as_secs_f64(),
            p99.as_secs_f64() / commit.as_secs_f64(),
            micros(commit),
            micros(p50) / 1e3,
            micros(p99) / 1e3,
        );
    }
    deep(&ours, depth).await;
}

/// Takes at a small depth and at a large one, alternating.
async fn deep(ours: &Ours, depth: usize) {
    let before = grown();
    ours.fill("deep", depth).await;
    println!("{depth} jobs more: {} MB of memory more", grown().saturating_sub(before) / 1024);
    let (mut shallow, mut far) = (Vec::new(), Vec::new());
    for _ in 0..5 {
        ours.fill("shallow", 1_000).await;
        shallow.push(takes(ours, "shallow").await);
        far.push(takes(ours, "deep").await);
    }
    shallow.sort_unstable();
    far.sort_unstable();
    let ratio = far[2].as_secs_f64() / shallow[2].as_secs_f64();
    println!(
        "take at {depth} / at 1,000: {ratio:.2} (promise 1.5): {:.0} and {:.0} us",
        micros(far[2]),
        micros(shallow[2])
    );
}

/// Median time of 500 takes, one after the other.
async fn takes(ours: &Ours, queue: &str) -> Duration {
    let mut wire = Wire::open(ours.address).await.unwrap();
    let take = ours.get(&format!("/job/next?queue={queue}"));
    let mut times = Vec::new();
    for _ in 0..500 {
        let at = Instant::now();
        assert_eq!(wire.ask(&take).await.unwrap().0, 200);
        times.push(at.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

/// Resident memory of this process, in KiB.
fn grown() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn middle(reports: &[Report], figure: impl Fn(&Report) -> f64) -> f64 {
    let mut figures: Vec<f64> = reports.iter().map(figure).collect();
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
