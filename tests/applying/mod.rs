//! Decisions carried out in a group: promotions, suspensions, and everything that can be in the way. Roblox is a real HTTP server.

mod demo;
mod given;
mod kills;
mod late;
mod pace;
mod reload;

mod stolen;
mod story;
mod trouble;
mod turns;
mod waits;

use std::time::Duration;

use grps::base::{Id, RobloxId, Time};
use grps::domains::audit::{Actor, Entry};
use grps::domains::effects::{EFFECTS, Effect, StepKind};
use grps::domains::players::{PLAYERS, Player, Status};
use grps::domains::ranks::{DECISIONS, Decision, Say, Sender};
use grps::fakes::roblox::{FakeRoblox, GROUP, KEY, UNIVERSE};
use grps::workers::Next;
use serde_json::{Value, json};

use crate::harness::{Setup, TestApp};
use crate::state;

/// The ladder of the shipped policy as roles of the group, a privileged one at its end, and two more: a punishment's, and one that is none of
/// our business.
pub const TROOPER: u64 = GROUP * 1000 + 20;
pub const SPECIALIST: u64 = GROUP * 1000 + 30;
pub const CORPORAL: u64 = GROUP * 1000 + 40;
pub const MARSHAL: u64 = GROUP * 1000 + 200;
pub const SUSPENDED: u64 = GROUP * 1000 + 5;
pub const EVENT_HOST: u64 = GROUP * 1000 + 10;

/// Members of a group that no share of the breaker is too small for.
const LARGE: u64 = 3_000;

/// How much of something, unless the environment asks for another size; a fifth where the same is run on another store.
#[allow(clippy::disallowed_methods)] // how a run is told its size
fn sized(name: &str, usual: usize) -> usize {
    let set = |name: &str| std::env::vars().find(|(set, _)| set == name).map(|(_, value)| value);
    let again = set("GRPS_TEST_ENGINE").is_some() || set("GRPS_TEST_CONFLICT_EVERY").is_some();
    set(name).and_then(|value| value.parse().ok()).unwrap_or(if again { usual / 5 } else { usual })
}

/// The roles of the group, those of the ladder and others.
pub fn furnish(fake: &FakeRoblox) {
    for (id, name, rank) in [
        (TROOPER, "Shock Trooper II", 20),
        (SPECIALIST, "Volt Specialist II", 30),
        (CORPORAL, "Storm Corporal I", 40),
        (MARSHAL, "Stormmarshal", 200),
        (SUSPENDED, "Suspended", 5),
        (EVENT_HOST, "Event host", 10),
    ] {
        fake.role(id, name, rank, &[]);
    }
}

/// Makes the breaker of `policy.ranks.json` so wide that it is in nobody's way. Its share of the group is all of it, so the group has to be
/// large: see [`crowd`].
pub fn widen(ranks: &mut Value) {
    ranks["settings"]["breaker"] =
        json!({"appliesPerMinute": 100_000, "appliesPerHour": 100_000, "percentOfGroupPerHour": 100});
}

/// Fills the group with members that nobody asks about.
pub fn crowd(fake: &FakeRoblox) {
    (0..LARGE).for_each(|user| fake.member(5_000_000 + user, &[]));
}

/// A program that looks after a group of the fake.
pub struct Scene {
    pub app: TestApp,
    pub fake: FakeRoblox,
}

impl Scene {
    pub async fn new() -> Self {
        Self::with(Setup::new()).await
    }

    /// With a breaker that is in nobody's way.
    pub async fn with(setup: Setup) -> Self {
        let scene = Self::strict(setup.policy("policy.ranks.json", widen)).await;
        crowd(&scene.fake);
        scene.app.app.group_size.set(LARGE);
        scene
    }

    /// With the breaker of the shipped policy.
    pub async fn strict(setup: Setup) -> Self {
        // The clock is the program's; until it runs, nobody asks.
        let fake = FakeRoblox::start(grps::base::Clock::system()).unwrap();
        furnish(&fake);
        let setup = if setup.sets("APPLY_INLINE_MS") { setup } else { setup.set("APPLY_INLINE_MS", "0") };
        let setup = setup
            .set("ROBLOX_API_URL", fake.url())
            .set("ROBLOX_OPEN_CLOUD_API_KEY", KEY)
            .set("ROBLOX_GROUP_ID", GROUP.to_string())
            .set("ROBLOX_UNIVERSE_ID", UNIVERSE.to_string());
        let app = setup.start().await;
        fake.clock(&app.clock);
        Self { app, fake }
    }

    /// What was in memory is gone.
    pub async fn restart(self) -> Self {
        let app = self.app.restart().await;
        app.app.group_size.set(LARGE);
        Self { app, fake: self.fake }
    }

    /// Somebody in the group with these roles, who is due for a promotion to Storm Corporal I; gives the decision's id.
    pub async fn promote(&self, user: u64, roles: &[u64]) -> Id {
        self.fake.member(user, roles);
        self.decide(user, json!({"rank": "Volt Specialist II", "rankPoints": 760})).await
    }

    /// Posts a snapshot with these facts, and lets the decision on it take effect; gives its id.
    pub async fn decide(&self, user: u64, facts: Value) -> Id {
        let mut snapshot = json!({"userId": user, "username": format!("Player{user}")});
        snapshot.as_object_mut().unwrap().extend(facts.as_object().unwrap().clone());
        let decision = self.app.apply(snapshot).await;
        assert_eq!(decision["status"], "queued", "{decision}");
        decision["requestId"].as_str().unwrap().parse().unwrap()
    }

    /// Lets the applier work until nothing is due, without moving the clock.
    pub async fn work(&self) -> Next {
        for _ in 0..50 {
            let next = self.app.tick("applier").await;
            if next != Next::Now {
                return next;
            }
        }
        panic!("the applier does not come to rest");
    }

    /// Lets time pass, a second at a time, while the applier works.
    pub async fn run(&self, seconds: u64) {
        for _ in 0..seconds {
            self.app.clock.advance(Duration::from_secs(1));
            self.work().await;
        }
    }

    /// What a person says to a decision; whether that is taken.
    pub async fn say(&self, id: Id, say: Say) -> bool {
        let sender = Sender { actor: Actor::of("operator"), request_id: "by hand".into() };
        self.app.app.ranks.say(id, &say, &sender).await.is_ok()
    }

    /// Lets punishments end whose time is over.
    pub async fn release(&self) {
        self.app.tick("releases").await;
        self.work().await;
    }

    pub async fn decision(&self, user: u64, id: Id) -> Decision {
        self.app.app.store.get(&DECISIONS, &(RobloxId::new(user).unwrap(), id)).await.unwrap().unwrap()
    }

    pub async fn status(&self, user: u64, id: Id) -> Status {
        self.decision(user, id).await.status
    }

    pub async fn effect(&self, id: Id) -> Effect {
        self.app.app.store.get(&EFFECTS, &id).await.unwrap().unwrap()
    }

    pub async fn steps(&self, id: Id) -> Vec<StepKind> {
        self.effect(id).await.steps.into_iter().map(|step| step.kind).collect()
    }

    pub async fn player(&self, user: u64) -> Player {
        self.app.app.store.get(&PLAYERS, &RobloxId::new(user).unwrap()).await.unwrap().unwrap()
    }

    /// The roles of ours and of others that somebody holds, without the one everybody has.
    pub fn roles(&self, user: u64) -> Vec<u64> {
        let base = self.fake.own_role(1);
        self.fake.roles_of(user).into_iter().filter(|role| *role != base).collect()
    }

    /// How often the audit trail says this of somebody.
    pub async fn told(&self, user: u64, action: &str) -> usize {
        let of = |entry: &Entry| entry.action == action && entry.subject == format!("player:{user}");
        state::audits(&self.app).await.iter().filter(|entry| of(entry)).count()
    }

    /// Nobody asked Roblox for what it does not have, and no refusal for too many calls was our doing.
    pub fn check(&self) {
        assert_eq!(self.fake.wrong(), Vec::<String>::new());
        assert_eq!(self.fake.limits().throttled(), 0);
        crate::contract::check(&self.fake);
    }

    pub fn now(&self) -> Time {
        self.app.clock.now()
    }
}
