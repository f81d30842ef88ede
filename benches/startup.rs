//! Promises: with 1,000,000 players in the store the server answers `/health/ready` within 8 s of its start; with an empty one within 0.5 s.
//!
//! `cargo bench --bench startup [players]` loads an invented group, then starts the real binary three times on an empty directory and three
//! times on the full one, and prints the time from spawn to the first 200, and the memory the process then holds.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

#[path = "support/app.rs"]
mod app;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use grps::store::DataDir;

const STARTS: usize = 3;

/// A start that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(120);

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let players: u64 = args.next().and_then(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    report("empty store", &dir.path().join("empty"), 0.5);
    let full = dir.path().join("full");
    let loading = Instant::now();
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(load(&full, players));
    println!("loaded {players} players in {:.1} s", loading.elapsed().as_secs_f64());
    report(&format!("{players} players"), &full, 8.0);
}

async fn load(dir: &Path, players: u64) {
    let (app, _) = app::open(dir).await;
    app::fill(&app, players).await;
    app.close().await.unwrap();
}

fn report(name: &str, dir: &Path, promise: f64) {
    let mut times: Vec<(f64, u64)> = (0..STARTS).map(|_| start(dir)).collect();
    times.sort_by(|a, b| a.0.total_cmp(&b.0));
    let shown: Vec<String> = times.iter().map(|(seconds, _)| format!("{seconds:.2}")).collect();
    let memory = times[STARTS / 2].1 / 1024;
    println!("{name}: ready after {} s (promise {promise} s), then {memory} MB resident", shown.join(", "));
}

/// Seconds from spawn to ready, and the resident memory in KiB.
fn start(dir: &Path) -> (f64, u64) {
    let started = Instant::now();
    let child = Command::new(env!("CARGO_BIN_EXE_grps"))
        .args(["serve", "--port", "0", "--data-dir"])
        .arg(dir)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let child = Guard(child);
    while !ready(dir) {
        assert!(started.elapsed() < PATIENCE, "not ready after {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    let took = started.elapsed().as_secs_f64();
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.0.id())).unwrap();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.split_whitespace().next()?.parse().ok());
    (took, memory.unwrap_or(0))
}

fn ready(dir: &Path) -> bool {
    DataDir::owner(dir).and_then(|owner| owner.addr).and_then(answers).unwrap_or(false)
}

fn answers(address: SocketAddr) -> Option<bool> {
    let mut stream = TcpStream::connect(address).ok()?;
    stream.write_all(b"GET /health/ready HTTP/1.1\r\nhost: bench\r\nconnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer.starts_with("HTTP/1.1 200"))
}

/// Ends the process, come what may.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
