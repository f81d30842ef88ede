//! `kill -9` of a server that carries decisions out in a group, again and again, at moments that are counted in what has reached Roblox:
//! before a role is changed, between two changes, and after the last one but before it is written down. Roblox is the fake, with the limits
//! that are published. At the end every decision has happened once, and nothing else has.

mod check;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use grps::base::Clock;
use grps::base::clock::Stopwatch;
use grps::config::Generated;
use grps::domains::policy::write_shipped;
use grps::fakes::roblox::{Class, FakeRoblox, GROUP, KEY, UNIVERSE};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use super::Campaign;
use crate::applying::{EVENT_HOST, SPECIALIST, crowd, furnish, widen};
use crate::harness::{INGEST, edit_json};
use crate::process::{Home, request};

/// The first member's user id.
const FIRST: u64 = 30_001;

/// Members who are reported between two kills.
const A_ROUND: u64 = 6;

/// A role outside the ladder that some members hold beside [`EVENT_HOST`].
const BUILDER: u64 = GROUP * 1000 + 15;

/// The longest wait for anything, without and for each member: Roblox's limits may make everybody wait for a minute, twice, and let a few
/// members through in a second.
const PATIENCE: Duration = Duration::from_secs(180);
const PATIENCE_EACH: Duration = Duration::from_secs(2);

/// The longest wait for the moment of a kill: longer than any limit lasts.
const MOMENT: Duration = Duration::from_secs(75);

/// What changes something on Roblox, and all that carrying out asks for.
const WRITES: &[Class] = &[Class::Assign, Class::Unassign, Class::Restrict];
const CALLS: &[Class] = &[Class::Assign, Class::Unassign, Class::Restrict, Class::Memberships, Class::Restriction];

/// What becomes of a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Story {
    Promoted,
    /// For three warnings: a day, longer than the campaign.
    Suspended,
    /// By a status that is lifted while the campaign runs.
    LetBack,
}

impl Story {
    fn of(user: u64) -> Self {
        match (user - FIRST) % A_ROUND {
            4 => Self::Suspended,
            5 => Self::LetBack,
            _ => Self::Promoted,
        }
    }

    /// What the game reports.
    fn facts(self) -> Value {
        match self {
            Self::Promoted => json!({"rankPoints": 760}),
            Self::Suspended => json!({"rankPoints": 500, "warnings": 3}),
            Self::LetBack => json!({"rankPoints": 500, "punishmentStatus": "suspended"}),
        }
    }
}

/// Roles outside the ladder that a member holds from the first to the last.
fn others(user: u64) -> &'static [u64] {
    if user.is_multiple_of(3) { &[EVENT_HOST, BUILDER] } else { &[EVENT_HOST] }
}

/// The group, and where its server lives.
struct Stage {
    fake: FakeRoblox,
    home: Home,
    key: String,
    // After what needs it: it goes last.
    runtime: Runtime,
}

impl Stage {
    fn set() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let fake = {
            let _inside = runtime.enter();
            FakeRoblox::start(Clock::system()).unwrap()
        };
        furnish(&fake);
        fake.role(BUILDER, "Builder", 15, &[]);
        crowd(&fake);
        let home = Home::new()
            .set("DOCS", "false")
            .set("LOG_LEVEL", "warn")
            .set("POLICY_DIR", "policy")
            .set("EVENTS_QUEUE", "events")
            .set("APPLY_INLINE_MS", "20")
            .set("ROBLOX_API_URL", fake.url())
            .set("ROBLOX_OPEN_CLOUD_API_KEY", KEY)
            .set("ROBLOX_GROUP_ID", GROUP.to_string())
            .set("ROBLOX_UNIVERSE_ID", UNIVERSE.to_string());
        let policy = home.dir.path().join("policy");
        std::fs::create_dir(&policy).unwrap();
        write_shipped(&policy).unwrap();
        edit_json(&policy.join("policy.ranks.json"), widen);
        std::fs::create_dir(home.data()).unwrap();
        let key = Generated::load_or_create(&home.data()).unwrap().get("INBOUND_API_KEYS").unwrap().to_owned();
        Self { fake, home, key, runtime }
    }

    /// How many calls of these classes Roblox has answered.
    fn served(&self, classes: &[Class]) -> u64 {
        classes.iter().map(|class| self.fake.limits().served(*class)).sum()
    }

    /// Waits for a moment to kill at: so many calls from now, and a little later. Whether it came.
    fn moment(&self, rng: &mut fastrand::Rng) -> bool {
        let (classes, most) = if rng.bool() { (WRITES, 8) } else { (CALLS, 20) };
        let (goal, watch) = (self.served(classes) + rng.u64(1..=most), Stopwatch::start());
        while self.served(classes) < goal {
            if watch.elapsed() > MOMENT {
                return false;
            }
            std::thread::sleep(Duration::from_micros(50));
        }
        std::thread::sleep(Duration::from_micros(rng.u64(0..4_000)));
        true
    }

    /// Decisions that are to take effect and have not.
    fn open(&self) -> usize {
        let list = self.home.json(&["decisions", "list", "--status", "queued", "--limit", "100"]);
        list["decisions"].as_array().unwrap().len()
    }
}

/// What the game servers write down.
#[derive(Default)]
struct Books {
    /// Decisions that were acknowledged, by id: about whom, and as what.
    answered: Mutex<BTreeMap<String, (u64, String)>>,
    unanswered: AtomicU64,
    complaints: Mutex<Vec<String>>,
    /// Grows with every kill.
    round: AtomicU64,
    /// Members whose reports are not all in.
    open: AtomicU64,
    /// No more kills.
    over: AtomicBool,
    leave: AtomicBool,
}

impl Books {
    fn complain(&self, what: String) {
        self.complaints.lock().unwrap().push(what);
    }
}

/// Lets the clients go, also when the test ends early.
struct End<'a>(&'a Books);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.leave.store(true, Ordering::SeqCst);
    }
}

#[test]
fn a_killed_server_carries_every_decision_out_once() {
    let mut campaign = Campaign::start("decisions under kill -9", 7, 80);
    let (stage, books) = (Stage::set(), Books::default());
    let (mut server, mut kills, mut missed) = (stage.home.serve(), Vec::new(), 0);
    let address = server.address;
    let patience = PATIENCE + PATIENCE_EACH * u32::try_from(campaign.rounds * A_ROUND).unwrap_or(u32::MAX);
    std::thread::scope(|scope| {
        let (stage, books) = (&stage, &books);
        let _end = End(books);
        for round in 0..campaign.rounds {
            for user in FIRST + round * A_ROUND..FIRST + (round + 1) * A_ROUND {
                stage.fake.member(user, &[&[SPECIALIST], others(user)].concat());
                books.open.fetch_add(1, Ordering::SeqCst);
                scope.spawn(move || report(stage, address, books, user));
            }
            missed += u64::from(!stage.moment(&mut campaign.rng));
            server.kill();
            kills.push(Clock::system().now());
            server = stage.home.serve_on(address.port());
            books.round.fetch_add(1, Ordering::SeqCst);
        }
        books.over.store(true, Ordering::SeqCst);
        patiently("everybody is reported", patience, || books.open.load(Ordering::SeqCst) == 0);
        patiently("every decision has ended", patience, || stage.open() == 0);
    });
    // Whoever starts looks at once who is to be let back.
    server.stop();
    let server = stage.home.serve_on(address.port());
    let back = |user: &u64| Story::of(*user) != Story::LetBack || stage.fake.roles_of(*user).contains(&SPECIALIST);
    let members = FIRST..FIRST + campaign.rounds * A_ROUND;
    patiently("everybody is let back", patience, || members.clone().all(|user| back(&user)) && stage.open() == 0);
    server.stop();
    let counts = stage.runtime.block_on(check::audit(&stage, &books, members, &kills));
    campaign.sum_up(&format!("{} kills, {counts}", campaign.rounds));
    let complaints = books.complaints.lock().unwrap();
    assert!(complaints.is_empty(), "{complaints:#?}");
    assert!(missed * 4 <= campaign.rounds, "{missed} kills came while nothing was done");
}

/// Asks again until it is so.
fn patiently(what: &str, patience: Duration, mut ask: impl FnMut() -> bool) {
    let watch = Stopwatch::start();
    while !ask() {
        assert!(watch.elapsed() < patience, "waited {patience:?} until {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Tells of one member what there is to tell, as a game server does: again and again until there is an answer.
fn report(stage: &Stage, address: SocketAddr, books: &Books, user: u64) {
    let (story, mut snapshot) = (Story::of(user), Story::of(user).facts());
    snapshot["userId"] = user.into();
    snapshot["username"] = format!("Player{user}").into();
    snapshot["rank"] = "Volt Specialist II".into();
    let began = books.round.load(Ordering::SeqCst);
    if let Some(answer) = posted(stage, address, books, (&snapshot, true)) {
        note(books, user, &answer["decision"]);
    }
    if story == Story::LetBack {
        // After the next kill but one, so that suspensions are under way when the server goes, and ends of suspensions, too.
        let soon = |round: u64| round < began + 2 && !books.over.load(Ordering::SeqCst);
        while soon(books.round.load(Ordering::SeqCst)) && !books.leave.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        snapshot["punishmentStatus"] = Value::Null;
        posted(stage, address, books, (&snapshot, false));
    }
    books.open.fetch_sub(1, Ordering::SeqCst);
}

/// Posts a snapshot until it is acknowledged, and gives the answer.
fn posted(stage: &Stage, address: SocketAddr, books: &Books, (snapshot, apply): (&Value, bool)) -> Option<Value> {
    let flag = if apply { "true" } else { "false" };
    let headers = [
        ("content-type", "application/json"),
        ("x-grps-api-key", stage.key.as_str()),
        ("x-grps-evaluate", flag),
        ("x-grps-apply", flag),
    ];
    while !books.leave.load(Ordering::SeqCst) {
        match request(address, "POST", INGEST, &headers, &snapshot.to_string()) {
            Ok(answer) if answer.status == 200 => return Some(answer.json()),
            Ok(answer) if answer.status < 500 => {
                books.complain(format!("{snapshot} was refused: {} {}", answer.status, answer.body));
                return None;
            }
            _ => {
                books.unanswered.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
    None
}

/// Writes down what was acknowledged. NONE is an answer, too: what was asked for before the kill has taken effect.
fn note(books: &Books, user: u64, decision: &Value) {
    let (action, status) = (decision["action"].as_str(), decision["status"].as_str().unwrap_or_default());
    match action {
        Some("NONE") => {}
        Some("PROMOTE" | "SUSPEND") if ["queued", "applied"].contains(&status) => {
            let id = decision["requestId"].as_str().unwrap_or_default().to_owned();
            books.answered.lock().unwrap().insert(id, (user, status.to_owned()));
        }
        _ => books.complain(format!("the decision about {user} is {decision}")),
    }
}
