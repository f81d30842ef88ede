//! Promise: 64 submitters get at least twice the durable commits per second of a raw loop of append + fdatasync of the same bytes, because they
//! share flushes; and a cached read costs under 2 µs.
//!
//! A commit is one transaction that reads one row and writes six, about 1.2 KB. Run with `cargo bench --bench commit`.
//!
//! On a busy machine the raw loop, a single thread that sleeps after every write, slows down far more than the store does. So it
//! is run in short slices around every figure, and all ratios are to the best slice of the run: other work can only make them look worse.

#![allow(clippy::unwrap_used)] // a bench stops at the first fault

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use grps::base::Result;
use grps::base::clock::Stopwatch;
use grps::base::metrics::Metrics;
use grps::store::{DataDir, Settings, Store, Table, Tx};
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// By submitter and row; the value's text brings a commit of six rows to about 1.2 KB.
static ROWS: Table<(u64, u64), String> = Table::new("rows", *b"ro");

const WRITES: u64 = 6;
const TEXT: usize = 180;
const ROUND: Duration = Duration::from_secs(3);
const RAW_SLICE: Duration = Duration::from_millis(200);
const RAW_SLICES: usize = 8;
const BATCH_BYTES: usize = WRITES as usize * (TEXT + 20);

/// Rows that the read figures are taken from.
const STORED: u64 = 20_000;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let mut raw = raw_slices(dir.path());
    let mut runs = Vec::new();
    for submitters in [1, 16, 64, 256] {
        runs.push((submitters, runtime.block_on(commits(&dir.path().join(submitters.to_string()), submitters))?));
        raw.extend(raw_slices(dir.path()));
    }
    raw.sort_by(f64::total_cmp);
    let best = raw[raw.len() - 1];
    println!("raw append + fdatasync of {BATCH_BYTES} B: best slice {best:.0}/s, median {:.0}/s", raw[raw.len() / 2]);
    runs.iter().for_each(|(submitters, run)| run.print(*submitters, best));
    runtime.block_on(reads(&dir.path().join("reads")))
}

/// Rates of the raw loop, per slice.
fn raw_slices(dir: &Path) -> Vec<f64> {
    let mut file = OpenOptions::new().create(true).append(true).open(dir.join("raw")).unwrap();
    let slice = |_| {
        let (watch, mut done) = (Stopwatch::start(), 0);
        while watch.elapsed() < RAW_SLICE {
            file.write_all(&[7; BATCH_BYTES]).unwrap();
            file.sync_data().unwrap();
            done += 1;
        }
        f64::from(done) / watch.elapsed().as_secs_f64()
    };
    (0..RAW_SLICES).map(slice).collect()
}

fn open(dir: &Path, record_cache_bytes: u64) -> Result<(Store, Metrics)> {
    let metrics = Metrics::default();
    let settings = Settings { record_cache_bytes, ..Settings::default() };
    Ok((Store::open(&DataDir::open(dir)?, &settings, &metrics, &grps::store::Progress::silent())?, metrics))
}

async fn write(tx: Tx, submitter: u64, round: u64, text: &String) -> Result<()> {
    tx.get(&ROWS, &(submitter, 0)).await?;
    tx.put(&ROWS, &(submitter, 0), text);
    (1..WRITES).for_each(|n| tx.put(&ROWS, &(submitter, round * WRITES + n), text));
    Ok(())
}

struct Run {
    rate: f64,
    flushes: f64,
    /// Rising.
    took: Vec<Duration>,
}

impl Run {
    fn print(&self, submitters: u64, raw: f64) {
        let Self { rate, flushes, took } = self;
        let ratio = rate / raw;
        let at = |share: f64| took[(took.len() as f64 * share) as usize].as_secs_f64() * 1e3;
        let (p50, p99, group) = (at(0.5), at(0.99), rate / flushes);
        println!(
            "{submitters:>3} submitters: {rate:>6.0} commits/s = {ratio:>4.1} x raw; \
             p50 {p50:.2} ms, p99 {p99:.2} ms; {flushes:.0} flushes/s of {group:.1}"
        );
    }
}

async fn commits(dir: &Path, submitters: u64) -> Result<Run> {
    let (store, metrics) = open(dir, Settings::default().record_cache_bytes)?;
    let (stop, commits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut tasks = JoinSet::new();
    let watch = Stopwatch::start();
    for submitter in 0..submitters {
        let (store, stop, commits) = (store.clone(), stop.clone(), commits.clone());
        tasks.spawn(async move {
            let text = &"x".repeat(TEXT);
            let mut took: Vec<Duration> = Vec::new();
            for round in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let watch = Stopwatch::start();
                store.transact(|tx| write(tx, submitter, round, text)).await.unwrap();
                took.push(watch.elapsed());
                commits.fetch_add(1, Ordering::Relaxed);
            }
            took
        });
    }
    tokio::time::sleep(ROUND).await;
    let seconds = watch.elapsed().as_secs_f64();
    let (rate, flushes) = (commits.load(Ordering::Relaxed) as f64 / seconds, flushes(&metrics) / seconds);
    stop.store(true, Ordering::Relaxed);
    let mut took: Vec<Duration> = tasks.join_all().await.concat();
    took.sort();
    store.close().await?;
    Ok(Run { rate, flushes, took })
}

fn flushes(metrics: &Metrics) -> f64 {
    let text = metrics.render();
    let line = text.lines().find_map(|line| line.strip_prefix("grps_store_flushes_total "));
    line.and_then(|count| count.parse().ok()).unwrap_or(0.0)
}

async fn reads(dir: &Path) -> Result<()> {
    let (store, _) = open(dir, Settings::default().record_cache_bytes)?;
    let text = &"x".repeat(TEXT);
    for page in 0..STORED / 500 {
        let fill = |tx: Tx| async move {
            (0..500).for_each(|n| tx.put(&ROWS, &(0, page * 500 + n), text));
            Ok(())
        };
        store.transact(fill).await?;
    }
    read(&store, 1).await?;
    let cached = read(&store, 20).await?;
    store.close().await?;
    drop(store);
    let (store, _) = open(dir, 0)?;
    let uncached = read(&store, 2).await?;
    println!("get: cached {cached:.2} µs, uncached {uncached:.2} µs ({:.1} x)", uncached / cached);
    store.close().await
}

/// Microseconds per `get`.
async fn read(store: &Store, rounds: u64) -> Result<f64> {
    let watch = Stopwatch::start();
    for _ in 0..rounds {
        for n in 0..STORED {
            assert!(store.get(&ROWS, &(0, n)).await?.is_some());
        }
    }
    Ok(watch.elapsed().as_secs_f64() * 1e6 / (rounds * STORED) as f64)
}
