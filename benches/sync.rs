//! Promises of the sync, against Roblox in miniature under its published limits, on a clock that runs ahead: none of its refusals (429) is
//! our doing, at least 95 % of the reads that it allows are used, the time that is left is told within 10 %, and a walk that is killed at
//! random moments misses no entry and counts none twice.
//!
//! `cargo bench --bench sync [keys] [speed] [kills]`; 50,000 keys at 60 times the speed take about three minutes. The calls take real time, so at a
//! higher speed they seem slower than any real Roblox.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

use std::path::Path;
use std::time::Duration;

use grps::app::App;
use grps::base::metrics::Metrics;
use grps::base::{Clock, Id, Time};
use grps::config::{Config, Generated, Sources};
use grps::domains::audit::{AUDITS, Actor};
use grps::domains::auth::Sender;
use grps::domains::players::PLAYERS;
use grps::domains::policy::write_shipped;
use grps::domains::sync::{Run, State};
use grps::fakes::roblox::{Class, FakeRoblox, KEY, UNIVERSE};
use grps::store::{DataDir, Key, MAX_PAGE, Record, Settings, Store, Table};
use grps::workers::{Next, Worker};
use serde_json::json;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const STORE: &str = "GRPS_Points";

/// When the bench's clock starts.
const START: Time = Time(1_740_852_944_000);

/// Reads a minute that Roblox allows an experience without players.
const ALLOWED: f64 = 300.0;

struct Bench {
    dir: tempfile::TempDir,
    store: Store,
    clock: Clock,
    fake: FakeRoblox,
}

impl Bench {
    fn new(keys: u64, speed: u32) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let policy = dir.path().join("policy");
        std::fs::create_dir(&policy).unwrap();
        write_shipped(&policy).unwrap();
        let data = DataDir::open(&dir.path().join("data")).unwrap();
        let store = Store::open(&data, &Settings::default(), &Metrics::default()).unwrap();
        let clock = Clock::sped_up(START, speed);
        let fake = FakeRoblox::start(clock.clone()).unwrap();
        (1..=keys).for_each(|user| {
            fake.entry(STORE, "global", &format!("player:{user}"), &json!({"points": user % 9_000, "username": "P"}));
        });
        Self { dir, store, clock, fake }
    }

    /// The program, as if it had just been started on the store.
    async fn app(&self) -> App {
        let place = |path: &Path| path.display().to_string();
        let settings: Vec<(String, String)> = [
            ("DATA_DIR", place(&self.dir.path().join("data"))),
            ("POLICY_DIR", place(&self.dir.path().join("policy"))),
            ("ROBLOX_OPEN_CLOUD_API_KEY", KEY.to_owned()),
            ("ROBLOX_UNIVERSE_ID", UNIVERSE.to_string()),
            ("ROBLOX_DATASTORE_NAME", STORE.to_owned()),
            ("ROBLOX_API_URL", self.fake.url().to_owned()),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .to_vec();
        let generated = Generated::load_or_create(&self.dir.path().join("data")).unwrap();
        let sources = Sources::read(Vec::new(), settings, self.dir.path()).unwrap();
        let config = Config::build(&sources, &generated).unwrap();
        App::build(config, self.store.clone(), self.clock.clone(), Metrics::default()).await.unwrap()
    }

    /// Runs the worker as the supervisor would, for ever.
    async fn work(&self, app: &App) {
        let mut worker = app.sync.worker().unwrap();
        loop {
            match worker.tick().await.unwrap() {
                Next::Now => tokio::task::yield_now().await,
                Next::After(pause) => tokio::time::sleep(self.clock.real(pause)).await,
            }
        }
    }

    async fn rows<K: Key, V: Record>(&self, table: &Table<K, V>) -> Vec<(K, V)> {
        let (mut out, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.scan(table.all().after(after.as_ref()), MAX_PAGE).await.unwrap();
            out.extend(page.items);
            after = page.next;
            if after.is_none() {
                return out;
            }
        }
    }

    /// Players who are not there, and entries that were taken in more than once.
    async fn missed_and_repeated(&self, keys: u64) -> (u64, u64) {
        let players = self.rows(&PLAYERS).await.len() as u64;
        let audits = self.rows(&AUDITS).await;
        let synced = audits.iter().filter(|(_, entry)| entry.action == "player.synced").count() as u64;
        (keys - players, synced - players)
    }
}

fn newest(app: &App) -> (Id, Run) {
    app.sync.list(None, 1).0.remove(0)
}

/// Starts what the clock would.
async fn begin(app: &App) {
    app.sync.nightly(&Sender { actor: Actor::of("schedule"), request_id: "schedule:sync".into() }).await.unwrap();
}

/// One whole walk: how well the budget was used, and how well the time was told.
async fn pace(keys: u64, speed: u32) {
    let bench = Bench::new(keys, speed);
    let app = bench.app().await;
    let begun = bench.clock.now();
    begin(&app).await;
    let watch = async {
        let (mut marks, mut told) = (vec![10, 50, 90], Vec::new());
        loop {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let (id, run) = newest(&app);
            if run.state == State::Done {
                return told;
            }
            assert!(run.state.is_live(), "{run:?}");
            let reached = marks.first().is_some_and(|mark| run.tally.seen() >= keys * mark / 100);
            if let (true, Some(eta)) = (reached, app.sync.eta(id, &run)) {
                told.push((marks.remove(0), bench.clock.now(), eta));
            }
        }
    };
    let told = tokio::select! { told = watch => told, () = bench.work(&app) => unreachable!() };
    let (end, limits) = (bench.clock.now(), bench.fake.limits());
    let took = end.since(begun);
    let allowed = ALLOWED * (took.as_secs_f64() / 60.0 + 1.0);
    let used = limits.served(Class::StoreRead) as f64 / allowed * 100.0;
    println!("{keys} keys in {:.1} minutes of the clock, at {speed} times its speed", took.as_secs_f64() / 60.0);
    println!("  429s caused by us: {} (promise: 0)", limits.throttled());
    println!("  reads used of those allowed: {used:.1} % (promise: 95 %)");
    for (mark, at, eta) in told {
        let left = end.since(at).as_secs_f64();
        let off = (eta.as_secs_f64() - left) / left * 100.0;
        println!(
            "  at {mark} %: {:.1} minutes told, {:.1} left: {off:+.1} % (promise: 10 %)",
            eta.as_secs_f64() / 60.0,
            left / 60.0
        );
    }
    let (missed, repeated) = bench.missed_and_repeated(keys).await;
    println!("  missed: {missed}, repeated: {repeated} (promise: 0)");
}

/// A walk that is killed again and again: the worker is dropped wherever it is, and a new program begins on the same store.
async fn kills(keys: u64, speed: u32, kills: u64) {
    let bench = Bench::new(keys, speed);
    begin(&bench.app().await).await;
    let mut done = 0;
    for kill in 1.. {
        let app = bench.app().await;
        let until =
            if kill <= kills { keys * kill / (kills + 1) + fastrand::u64(..keys / (kills + 1)) } else { u64::MAX };
        let watch = async {
            loop {
                tokio::time::sleep(Duration::from_micros(fastrand::u64(200..3_000))).await;
                let run = newest(&app).1;
                if !run.state.is_live() || run.tally.seen() >= until {
                    return run.state;
                }
            }
        };
        let state = tokio::select! { state = watch => state, () = bench.work(&app) => unreachable!() };
        if state == State::Done {
            break;
        }
        assert!(state.is_live(), "{state:?}");
        done += 1;
    }
    let (missed, repeated) = bench.missed_and_repeated(keys).await;
    println!("{keys} keys, killed {done} times");
    println!("  429s caused by us: {} (promise: 0)", bench.fake.limits().throttled());
    println!("  reads made twice: {} (those under way at a kill)", bench.fake.limits().served(Class::StoreRead) - keys);
    println!("  missed: {missed}, repeated: {repeated} (promise: 0)");
}

#[tokio::main]
async fn main() {
    let numbers: Vec<u64> = std::env::args().skip(1).filter_map(|argument| argument.parse().ok()).collect();
    let number = |place: usize, usual: u64| numbers.get(place).copied().unwrap_or(usual);
    let (keys, speed) = (number(0, 50_000), number(1, 60) as u32);
    pace(keys, speed).await;
    kills((keys / 10).max(1_000), speed, number(2, 20)).await;
}
