//! The promise: asking where somebody stands, and cutting a page out of a board at any offset, take at most 2.5 times as long at 1,000,000
//! places as at 1,000; a place costs at most 120 bytes of memory; and a million places are ranked again within seconds of a start.
//!
//! `cargo bench --bench rank_lookup`. Each figure is the best of several rounds, both sizes in one run. The request goes through the routes,
//! without a socket, for people asked about before. The bare rank in the index is printed too, without a promise: it is a search of twice as
//! many steps, and while 1,000 places stay in the processor's first cache, 1,000,000 outgrow its last and cost a fetch from memory each time.

use std::alloc::{GlobalAlloc, Layout};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use grps::base::clock::Stopwatch;
use grps::base::metrics::Metrics;
use grps::base::{Clock, Error, Result, RobloxId, Time, UserKey};
use grps::domains::leaderboards::{BOARDS, Board, BoardName, ENTRIES, Entry, Leaderboards, LeaderboardsApi, Rule};
use grps::domains::standings::{self, BoardId, Place, Score, Standings, Start};
use grps::store::{DataDir, Settings, Store, Tx};
use mimalloc::MiMalloc;
use poem::{Endpoint, IntoEndpoint, Request};
use poem_openapi::OpenApiService;
use tokio::runtime::Runtime;

const SMALL: usize = 1_000;
const LARGE: usize = 1_000_000;
const PAGE: usize = 100;
const LOOKUPS: usize = 200_000;
const PAGES: usize = 20_000;
/// People per commit while filling: two rows each.
const COMMIT: usize = 400;
const REQUESTS: usize = 5_000;
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
    let runtime = Runtime::new().map_err(broken)?;
    let home = tempfile::tempdir().map_err(broken)?;
    let store = Store::open(
        &DataDir::open(home.path())?,
        &Settings::default(),
        &Metrics::default(),
        &grps::store::Progress::silent(),
    )?;
    let small = runtime.block_on(fill(&store, BoardId(1), "small", SMALL))?;
    let large = runtime.block_on(fill(&store, BoardId(2), "large", LARGE))?;

    let watch = Stopwatch::start();
    let standings = runtime.block_on(Standings::open(&store, Clock::fake(Time(0))))?;
    println!("rebuild of {} places from disk: {:.2?}", SMALL + LARGE, watch.elapsed());
    request(&runtime, Leaderboards::new(store.clone(), standings.clone(), Clock::fake(Time(0))), [&small, &large]);
    index(&standings, [&small, &large]);

    drop((small, large));
    // The store's follower holds the index too; with the store gone, dropping ours frees exactly the index.
    drop(store);
    let before = HELD.load(Ordering::Relaxed);
    drop(standings);
    let freed = before - HELD.load(Ordering::Relaxed);
    println!("memory: {:.1} bytes per place (at most 120)", freed as f64 / (SMALL + LARGE) as f64);
    Ok(())
}

fn broken(error: std::io::Error) -> Error {
    Error::broken("bench.setup", error)
}

/// A board of scores by Roblox users.
struct Filled {
    id: BoardId,
    name: BoardName,
    len: usize,
    /// Random places of it, in random order.
    sample: Vec<Place>,
}

/// Puts `len` random scores on a new board.
async fn fill(store: &Store, id: BoardId, mode: &str, len: usize) -> Result<Filled> {
    let mut random = fastrand::Rng::with_seed(7);
    let name = BoardName::new("bench", mode)?;
    let board = Board { id, rule: Rule::Best, created_at: Time(0) };
    let entry = |at: usize| {
        let achieved_at = Time(random.i64(..1_000_000_000));
        let entry = Entry { score: Score::new(random.f64() * 1e6)?, achieved_at };
        Ok((UserKey::Roblox(RobloxId::new(at as u64 + 1)?), entry))
    };
    let entries: Vec<(UserKey, Entry)> = (0..len).map(entry).collect::<Result<_>>()?;
    for chunk in entries.chunks(COMMIT) {
        let name = &name;
        let work = |tx: Tx| async move {
            tx.put(&BOARDS, &name.key(), &board);
            for (user, entry) in chunk {
                tx.put(&ENTRIES, &(id, user.clone()), entry);
                standings::place(&tx, id, None, Some((&entry.place(Rule::Best, user.clone()), Time(0))));
            }
            Ok(())
        };
        store.transact(work).await?;
    }
    let picks = (0..LOOKUPS).map(|_| &entries[random.usize(..len)]);
    let sample = picks.map(|(user, entry)| entry.place(Rule::Best, user.clone())).collect();
    Ok(Filled { id, name, len, sample })
}

/// What a caller asks, through the routes: everything but the socket.
fn request(runtime: &Runtime, boards: Leaderboards, sizes: [&Filled; 2]) {
    let routes = OpenApiService::new(LeaderboardsApi::new(boards), "bench", "0").into_endpoint();
    let get = |path: String| {
        let request = Request::builder().uri_str(path).finish();
        let response = runtime.block_on(routes.get_response(request));
        assert!(response.status().is_success(), "{}", response.status());
    };
    compare("request for a user's rank (at most 2.5)", sizes, |board| {
        best(REQUESTS, |at| get(format!("/leaderboards/{}/{}", board.name, board.sample[at].user())))
    });
}

fn index(standings: &Standings, sizes: [&Filled; 2]) {
    compare("the index alone: rank", sizes, |board| {
        best(LOOKUPS, |at| _ = black_box(standings.rank(board.id, &board.sample[at])))
    });
    compare("the index alone: page of 100 at an offset (at most 2.5)", sizes, |board| {
        let mut random = fastrand::Rng::with_seed(9);
        best(PAGES, |_| {
            let start = Start::Offset(random.usize(..board.len - PAGE));
            black_box(standings.slice(board.id, &start, PAGE));
        })
    });
}

/// The time of one `step`, the best of [`ROUNDS`] rounds of `count`.
fn best(count: usize, mut step: impl FnMut(usize)) -> Duration {
    let round = |_| {
        let watch = Stopwatch::start();
        (0..count).for_each(&mut step);
        watch.elapsed() / count as u32
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}

fn compare(what: &str, [small, large]: [&Filled; 2], time: impl Fn(&Filled) -> Duration) {
    let (few, many) = (time(small), time(large));
    let ratio = many.as_secs_f64() / few.as_secs_f64();
    println!("{what}: {few:.2?} at {SMALL}, {many:.2?} at {LARGE}: {ratio:.2} times");
}
