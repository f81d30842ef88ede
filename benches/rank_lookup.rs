//! The promise: finding a rank, and reading a page at any offset, take at most 2.5 times as long on a board of 1,000,000 as on one of
//! 1,000; a place costs at most 120 bytes of memory; and a million places are ranked again within seconds of a start.
//!
//! `cargo bench --bench rank_lookup`. Each figure is the best of several rounds, both sizes in one run.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use grps::base::clock::Stopwatch;
use grps::base::metrics::Metrics;
use grps::base::{Clock, Result, RobloxId, Time, UserKey};
use grps::domains::standings::{self, BoardId, Order, Place, Score, Standings, Start};
use grps::store::{DataDir, Settings, Store, Tx};
use mimalloc::MiMalloc;

const SMALL: usize = 1_000;
const LARGE: usize = 1_000_000;
const PAGE: usize = 100;
const LOOKUPS: usize = 200_000;
const PAGES: usize = 20_000;
const ROUNDS: usize = 7;

/// mimalloc, as the program uses, with a count of the bytes asked of it.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code)] // passes everything on
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        HELD.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { MiMalloc.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { MiMalloc.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(broken)?;
    let home = tempfile::tempdir().map_err(broken)?;
    let store = Store::open(&DataDir::open(home.path())?, &Settings::default(), &Metrics::default())?;
    runtime.block_on(run(store))
}

fn broken(error: std::io::Error) -> grps::base::Error {
    grps::base::Error::broken("bench.setup", error)
}

/// Board 1 has a thousand places, board 2 a million, both of scores by Roblox users; board 3 a hundred thousand names.
async fn run(store: Store) -> Result<()> {
    let mut random = fastrand::Rng::with_seed(7);
    let small = fill(&store, BoardId(1), SMALL, &mut random).await?;
    let large = fill(&store, BoardId(2), LARGE, &mut random).await?;

    let watch = Stopwatch::start();
    let standings = Standings::open(&store, Clock::fake(Time(0))).await?;
    println!("rebuild of {} places from disk: {:.2?}", SMALL + LARGE, watch.elapsed());

    let rank = |board, places: &[Place]| best(LOOKUPS, |at| standings.rank(board, &places[at % places.len()]));
    report("rank", rank(BoardId(1), &small), rank(BoardId(2), &large));
    let page = |board: BoardId, len: usize| {
        let mut random = fastrand::Rng::with_seed(9);
        best(PAGES, |_| standings.slice(board, &Start::Offset(random.usize(..len - PAGE)), PAGE).places.len())
    };
    report("page of 100 at an offset", page(BoardId(1), SMALL), page(BoardId(2), LARGE));

    // The store's follower holds the index too; with the store gone, dropping ours frees exactly the index.
    drop(store);
    let before = HELD.load(Ordering::Relaxed);
    drop(standings);
    let freed = before - HELD.load(Ordering::Relaxed);
    println!("memory: {:.1} bytes per place (at most 120)", freed as f64 / (SMALL + LARGE) as f64);
    Ok(())
}

/// Puts `count` places on `board`; answers a random sample of them, in random order.
async fn fill(store: &Store, board: BoardId, count: usize, random: &mut fastrand::Rng) -> Result<Vec<Place>> {
    let mut places = Vec::with_capacity(count);
    for id in 1..=count as u64 {
        let score = Score::new(random.f64() * 1e6)?;
        let at = Time(random.i64(..1_000_000_000));
        places.push(Place::for_score(Order::HigherFirst, score, at, UserKey::Roblox(RobloxId::new(id)?)));
    }
    for chunk in places.chunks(1000) {
        let work = |tx: Tx| async move {
            chunk.iter().for_each(|place| standings::place(&tx, board, None, Some((place, Time(0)))));
            Ok(())
        };
        store.transact(work).await?;
    }
    let sample = (0..LOOKUPS).map(|_| places[random.usize(..count)].clone());
    Ok(sample.collect())
}

/// The time of one `step`, the best of [`ROUNDS`] rounds of `count`.
fn best(count: usize, mut step: impl FnMut(usize) -> usize) -> Duration {
    let round = |_| {
        let watch = Stopwatch::start();
        (0..count).for_each(|at| _ = black_box(step(at)));
        watch.elapsed() / count as u32
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}

fn report(what: &str, small: Duration, large: Duration) {
    let ratio = large.as_secs_f64() / small.as_secs_f64();
    println!("{what}: {small:?} at {SMALL}, {large:?} at {LARGE}: {ratio:.2} times (at most 2.5)");
}
