//! The promise: a submitted score is on disk and ranked when the answer goes out, at no less than a third of the rate of bare durable
//! commits of one row (it writes two and checks two); and moving somebody on a board of 1,000,000 costs the commit path at most 10 µs.
//!
//! `cargo bench --bench place_score`. Both rates are measured in one run with as many submitters.

use std::hint::black_box;
use std::time::Duration;

use grps::base::clock::Stopwatch;
use grps::base::metrics::Metrics;
use grps::base::{Clock, Result, RobloxId, Time, UserKey};
use grps::domains::leaderboards::{BoardName, Leaderboards, Submission};
use grps::domains::standings::{Order, Place, Ranking, Score, Standings};
use grps::store::{DataDir, Settings, Store, Table, Tx};
use mimalloc::MiMalloc;
use tokio::task::JoinSet;

#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

const SUBMITTERS: u64 = 64;
const EACH: u64 = 400;
const USERS: u64 = 10_000;
const PLACES: u64 = 1_000_000;
const MOVES: usize = 200_000;

static BARE: Table<u64, u64> = Table::new("bench", *b"zz");

fn main() -> Result<()> {
    moves()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(broken)?;
    let home = tempfile::tempdir().map_err(broken)?;
    let store = Store::open(
        &DataDir::open(home.path())?,
        &Settings::default(),
        &Metrics::default(),
        &grps::store::Progress::silent(),
    )?;
    runtime.block_on(submissions(store))
}

fn broken(error: std::io::Error) -> grps::base::Error {
    grps::base::Error::broken("bench.setup", error)
}

/// The index alone: somebody's place taken out and another put in.
fn moves() -> Result<()> {
    let mut random = fastrand::Rng::with_seed(7);
    let mut ranking = Ranking::default();
    let mut places = Vec::with_capacity(PLACES as usize);
    for id in 1..=PLACES {
        let place = place(id, &mut random)?;
        ranking.insert(place.clone());
        places.push(place);
    }
    let moves: Vec<(Place, Place)> = (0..MOVES)
        .map(|_| {
            let at = random.usize(..places.len());
            let new = place(at as u64 + 1, &mut random)?;
            Ok((std::mem::replace(&mut places[at], new.clone()), new))
        })
        .collect::<Result<_>>()?;
    let watch = Stopwatch::start();
    for (old, new) in moves {
        ranking.remove(&old);
        ranking.insert(new);
    }
    let each = watch.elapsed() / MOVES as u32;
    black_box(ranking.len());
    println!("a move on a board of {PLACES}: {each:?} (at most 10 µs)");
    Ok(())
}

fn place(id: u64, random: &mut fastrand::Rng) -> Result<Place> {
    let at = Time(random.i64(..1_000_000_000));
    Ok(Place::for_score(Order::HigherFirst, Score::new(random.f64() * 1e6)?, at, UserKey::Roblox(RobloxId::new(id)?)))
}

async fn submissions(store: Store) -> Result<()> {
    let standings = Standings::open(&store, Clock::system()).await?;
    let boards = Leaderboards::new(store.clone(), standings, Clock::system());
    let bare = move |task: u64, at: u64| {
        let store = store.clone();
        async move {
            let work = |tx: Tx| async move {
                tx.put(&BARE, &(task * EACH + at), &at);
                Ok(())
            };
            store.transact(work).await
        }
    };
    let board = BoardName::new("season-1", "ranked")?;
    let submit = move |_, _| {
        let (boards, board) = (boards.clone(), board.clone());
        async move {
            let user = UserKey::Roblox(RobloxId::new(fastrand::u64(1..=USERS))?);
            let score = Score::new(fastrand::f64() * 1e6)?;
            boards.submit(Submission { board, user, score, rule: None }).await.map(drop)
        }
    };
    submit(0, 0).await?;
    let bare = crowd("bare commit", bare).await?;
    let submitted = crowd("submitted score", submit).await?;
    println!("submitted scores reach {:.0} % of bare commits (at least 33 %)", 100.0 * submitted / bare);
    Ok(())
}

/// Runs `step` from [`SUBMITTERS`] tasks at once and prints rate, median and 99th percentile; answers the rate per second.
async fn crowd<F, Fut>(what: &str, step: F) -> Result<f64>
where
    F: Fn(u64, u64) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<()>> + Send,
{
    let mut tasks = JoinSet::new();
    let whole = Stopwatch::start();
    for task in 0..SUBMITTERS {
        let step = step.clone();
        tasks.spawn(async move {
            let mut times = Vec::with_capacity(EACH as usize);
            for at in 0..EACH {
                let watch = Stopwatch::start();
                step(task, at).await?;
                times.push(watch.elapsed());
            }
            Ok::<_, grps::base::Error>(times)
        });
    }
    let times: Result<Vec<Vec<Duration>>> = tasks.join_all().await.into_iter().collect();
    let rate = (SUBMITTERS * EACH) as f64 / whole.elapsed().as_secs_f64();
    let mut times = times?.concat();
    times.sort();
    let at = |share: usize| times[times.len() * share / 100];
    println!("{what}: {rate:.0} a second from {SUBMITTERS} submitters, p50 {:.2?}, p99 {:.2?}", at(50), at(99));
    Ok(rate)
}
