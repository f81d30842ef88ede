//! The sync, over HTTP and against Roblox in miniature: what a call brings, what a walk reads, and what comes of every bad day.

mod alone;
mod calls;
mod entries;
mod pace;
mod process;
mod trouble;
mod walk;

use std::cell::Cell;
use std::time::Duration;

use grps::base::Clock;
use grps::domains::audit::Actor;
use grps::domains::auth::Sender;
use grps::domains::players::{PLAYERS, Player};
use grps::domains::sync::Run;
use grps::fakes::roblox::{Class, FakeRoblox, KEY, UNIVERSE};
use grps::workers::Next;
use serde_json::{Value, json};

use crate::contract;
use crate::harness::{Answer, Call, START, Setup, TestApp};
use crate::state;

/// The data store that these tests read.
const STORE: &str = "GRPS_Points";

/// Ticks after which something goes on for ever.
const MANY: usize = 50_000;

/// A program and what it reads.
struct Scene {
    app: TestApp,
    fake: FakeRoblox,
}

impl Scene {
    async fn new() -> Self {
        Self::with(Setup::new()).await
    }

    async fn with(setup: Setup) -> Self {
        let fake = FakeRoblox::start(Clock::fake(START)).unwrap();
        let app = configured(setup, &fake).start().await;
        fake.clock(&app.clock);
        Self { app, fake }
    }

    /// The same store and the same Roblox, and a program that has only just begun.
    async fn restart(self) -> Self {
        let Self { app, fake } = self;
        Self { app: app.restart().await, fake }
    }

    fn entry(&self, key: &str, value: Value) {
        self.fake.entry(STORE, "global", key, &value);
    }

    /// Entries of the players 1 to `count`, with points that tell them apart.
    fn entries(&self, count: u64) {
        (1..=count).for_each(|user| self.entry(&format!("player:{user}"), json!({"points": user, "username": "P"})));
    }

    /// Starts what the clock would, and gives its id.
    async fn nightly(&self) -> String {
        let sender = Sender { actor: Actor::of("schedule"), request_id: "schedule:sync".into() };
        self.app.app.sync.nightly(&sender).await.unwrap().to_string()
    }

    fn call(&self, body: Value) -> Call<'_> {
        self.app.post("/sync/roblox", body.to_string()).automation()
    }

    /// One tick of the worker; moves the clock over the pause it asks for. How long that was; none when there is nothing to do.
    async fn tick(&self) -> Option<Duration> {
        let next = self.app.tick("sync").await;
        // Whoever waits looks at what was committed.
        tokio::task::yield_now().await;
        match next {
            Next::Now => Some(Duration::ZERO),
            Next::After(_) if !self.is_live() => None,
            Next::After(pause) => {
                self.app.clock.advance(pause);
                Some(pause)
            }
        }
    }

    /// Ticks until there is nothing to do.
    async fn settle(&self) {
        for _ in 0..MANY {
            if self.tick().await.is_none() {
                return;
            }
        }
        panic!("the run does not end: {:#}", self.runs().await);
    }

    /// Answers a call while the worker works.
    async fn answered(&self, call: Call<'_>) -> Answer {
        self.meanwhile(call.send()).await
    }

    /// Lets the worker work until `answer` is there. Its last tick is carried to its end: what comes after a commit belongs to it.
    async fn meanwhile<T>(&self, answer: impl Future<Output = T>) -> T {
        let done = Cell::new(false);
        let answer = async {
            let answer = answer.await;
            done.set(true);
            answer
        };
        let work = async {
            while !done.get() {
                if self.tick().await.is_none() {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        };
        tokio::join!(answer, work).0
    }

    /// Syncs with this body; the answer is a good one.
    async fn sync(&self, body: Value) -> Answer {
        let answer = self.answered(self.call(body)).await;
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.text);
        answer
    }

    /// Syncs everything to the end, and gives the run.
    async fn walk(&self) -> Value {
        let answer = self.sync(json!({"activity": "nightly"})).await;
        self.settle().await;
        self.run(answer.header("x-grps-job-id")).await
    }

    async fn run(&self, id: &str) -> Value {
        self.app.get(&format!("/sync/jobs/{id}")).operator().expect(200).await.json()
    }

    async fn runs(&self) -> Value {
        self.app.get("/sync/jobs").operator().expect(200).await.json()["runs"].take()
    }

    async fn failures(&self, id: &str) -> Vec<(String, String)> {
        let page = self.app.get(&format!("/sync/jobs/{id}/failures")).operator().expect(200).await.json();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        page["failures"].as_array().unwrap().iter().map(|row| (text(&row["key"]), text(&row["reason"]))).collect()
    }

    fn is_live(&self) -> bool {
        let (runs, _) = self.app.app.sync.list(None, 200);
        runs.iter().any(|(_, run)| run.state.is_live())
    }

    async fn players(&self) -> Vec<Player> {
        state::rows(&self.app, &PLAYERS).await.into_iter().map(|(_, player)| player).collect()
    }

    async fn player(&self, user: u64) -> Value {
        self.app.get(&format!("/players/{user}")).key().expect(200).await.json()
    }

    fn newest(&self) -> Run {
        self.app.app.sync.list(None, 1).0[0].1.clone()
    }

    /// Entries that the newest run has seen.
    fn seen(&self) -> u64 {
        self.newest().tally.seen()
    }

    /// Entries that were asked for.
    fn reads(&self) -> u64 {
        self.fake.limits().served(Class::StoreRead)
    }

    /// Within the limits, and nothing that Roblox would not have understood.
    fn end(self) {
        assert_eq!((self.fake.wrong(), self.fake.limits().throttled()), (vec![], 0));
        contract::check(&self.fake);
    }
}

fn configured(setup: Setup, fake: &FakeRoblox) -> Setup {
    setup
        .set("ROBLOX_OPEN_CLOUD_API_KEY", KEY)
        .set("ROBLOX_UNIVERSE_ID", UNIVERSE.to_string())
        .set("ROBLOX_DATASTORE_NAME", STORE)
        .set("ROBLOX_API_URL", fake.url())
}

/// How many of the run's entries came to what: seen, created, updated, unchanged, deleted, failed.
fn counts(run: &Value) -> [u64; 6] {
    ["seen", "created", "updated", "unchanged", "deleted", "failed"].map(|name| run[name].as_u64().unwrap())
}
