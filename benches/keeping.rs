//! Promises, with 1,000,000 players in the store: sled is rebuilt from the other copy within 60 s; a backup is written within 30 s while ingest
//! keeps at least 80 % of its rate. And a store whose rows were all overwritten a hundred times takes at most 3 times its live data on disk
//! after compaction.
//!
//! Run with `cargo bench --bench keeping [players]`.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

#[path = "support/app.rs"]
mod app;
#[allow(dead_code)] // only posts, and only their rate
#[path = "support/load.rs"]
mod load;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use grps::base::metrics::Metrics;
use grps::domains::samples::DEMO_BASE;
use grps::store::{DataDir, Progress, Settings, Store, Table, Tx, Upkeep};
use load::Load;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long ingest is measured before the backup; and with it, for as long as it takes.
const LOAD: Load = Load { connections: 64, warm_up: Duration::from_millis(500), measured: Duration::from_secs(5) };

static ROWS: Table<u64, String> = Table::new("rows", *b"ro");

/// Rows that are overwritten, their size in bytes, and how often.
const OVERWRITTEN: u64 = 80_000;
const TEXT: usize = 1000;
const TIMES: u64 = 100;
const PER_COMMIT: u64 = 500;

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let players: u64 = args.next().and_then(|arg| arg.parse().ok()).unwrap_or(1_000_000);
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(overwrite(&dir.path().join("overwritten")));
    let full = dir.path().join("full");
    runtime.block_on(load_players(&full, players));
    rebuild(&full, players);
    runtime.block_on(back_up(&full, players));
}

async fn blocking<T: Send + 'static>(store: &Store, work: impl FnOnce(&Upkeep) -> T + Send + 'static) -> T {
    let upkeep = store.upkeep().unwrap().clone();
    tokio::task::spawn_blocking(move || work(&upkeep)).await.unwrap()
}

async fn overwrite(dir: &Path) {
    let settings = Settings { journal_keep_bytes: 0, ..Settings::default() };
    let store = Store::open(&DataDir::open(dir).unwrap(), &settings, &Metrics::default()).unwrap();
    for round in 0..TIMES {
        for page in 0..OVERWRITTEN / PER_COMMIT {
            let write = |tx: Tx| async move {
                // Half of it repeats, as names and ranks do; half does not.
                let mut noise = fastrand::Rng::with_seed(round * OVERWRITTEN + page);
                for n in page * PER_COMMIT..(page + 1) * PER_COMMIT {
                    let text = std::iter::repeat_with(|| noise.alphanumeric()).take(TEXT / 2).collect::<String>();
                    tx.put(&ROWS, &n, &(text + &"x".repeat(TEXT / 2)));
                }
                Ok(())
            };
            store.transact(write).await.unwrap();
        }
    }
    let survey = blocking(&store, Upkeep::survey).await;
    let before = grps_bytes(dir);
    let started = Instant::now();
    blocking(&store, |upkeep| upkeep.compact(&Progress::silent()).unwrap()).await;
    let took = started.elapsed().as_secs_f64();
    store.close().await.unwrap();
    let (after, live) = (grps_bytes(dir), survey.live_bytes);
    println!(
        "{} MB live, overwritten {TIMES} times: {:.1} x live on disk, {:.2} x after a compaction of {took:.1} s (promise: 3)",
        live >> 20,
        before as f64 / live as f64,
        after as f64 / live as f64
    );
}

/// Everything in the data directory.
fn grps_bytes(path: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(path) else { return fs::metadata(path).map_or(0, |meta| meta.len()) };
    entries.flatten().map(|entry| grps_bytes(&entry.path())).sum()
}

async fn load_players(dir: &Path, players: u64) {
    let (app, _) = app::open(dir).await;
    let started = Instant::now();
    app::fill(&app, players).await;
    println!("loaded {players} players in {:.1} s", started.elapsed().as_secs_f64());
    let started = Instant::now();
    let info = blocking(&app.store, |upkeep| upkeep.checkpoint(&Progress::silent()).unwrap()).await;
    let took = started.elapsed().as_secs_f64();
    println!("a checkpoint of {} rows, written and proven in {took:.1} s: {} MB", info.rows, info.bytes >> 20);
    app.close().await.unwrap();
}

fn rebuild(dir: &Path, players: u64) {
    let databases = fs::read_dir(dir.join("store")).unwrap().flatten().map(|entry| entry.path());
    let databases = databases.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("db-"));
    databases.for_each(|path| fs::remove_dir_all(path).unwrap());
    let started = Instant::now();
    let store = Store::open(&DataDir::open(dir).unwrap(), &Settings::default(), &Metrics::default()).unwrap();
    let took = started.elapsed().as_secs_f64();
    let opening = store.upkeep().unwrap().survey().opening;
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(store.close()).unwrap();
    println!("{players} players rebuilt in {took:.1} s (promise: 60): {}", opening.text);
}

async fn back_up(dir: &Path, players: u64) {
    let started = Instant::now();
    let (app, key) = app::open(dir).await;
    println!("a clean start with everything read and checked: {:.1} s (promise: 8)", started.elapsed().as_secs_f64());
    let store = app.store.clone();
    let address = app::serve(app);
    let headers = format!("x-grps-api-key: {key}\r\nx-grps-evaluate: true\r\n");
    let ids = |n: u64| DEMO_BASE + (n * 7919) % players;
    let send = |n: u64| load::post("/roblox/events/player-activity", &headers, &app::snapshot(ids(n), 500 + n % 240));
    let requests: Vec<Vec<u8>> = (0..10_000).map(send).collect();
    let alone = load::press(address, LOAD, requests.clone()).await;
    let folder = dir.join("backups");
    let backup = tokio::spawn(async move {
        let started = Instant::now();
        let written = std::sync::Arc::new(std::sync::Mutex::new(None));
        let seen = written.clone();
        let progress = Progress::new(move |what, _, _| {
            // The first word of anything else is the proof by restoring.
            if what != "writing" {
                seen.lock().unwrap().get_or_insert(started.elapsed());
            }
        });
        let info = blocking(&store, move |upkeep| upkeep.back_up(&folder, "bench", None, &progress).unwrap()).await;
        let written = written.lock().unwrap().unwrap();
        (info, written, started.elapsed())
    });
    let mut beside = Vec::new();
    while !backup.is_finished() {
        beside.push(load::press(address, Load { measured: Duration::from_secs(2), ..LOAD }, requests.clone()).await);
    }
    let (info, written, took) = backup.await.unwrap();
    let during = beside.iter().take((written.as_secs_f64() / 2.5).ceil() as usize);
    let rates: Vec<f64> = during.map(|report| report.per_second).collect();
    let kept = rates.iter().sum::<f64>() / rates.len() as f64 / alone.per_second;
    println!(
        "a backup of {} rows: written in {:.1} s (promise: 30) while ingest kept {:.0} % of {:.0}/s (promise: 80), proven after {:.1} s; {} MB",
        info.rows,
        written.as_secs_f64(),
        kept * 100.0,
        alone.per_second,
        took.as_secs_f64(),
        info.bytes >> 20
    );
}
