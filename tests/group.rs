//! The live group: what the server knows of it and of the key, and the doctor that probes both without changing anything.

use std::time::Duration;

use grps::base::Clock;
use grps::domains::group::{EVERY, ROLES_AGE};
use grps::fakes::roblox::{BOT, Class, Day, FakeRoblox, GROUP, KEY, Key, OWNER, UNIVERSE};
use grps::remote::roblox::Trouble;
use grps::workers::Next;
use serde_json::{Value, json};

use crate::contract;
use crate::harness::{START, Setup, TestApp};
use crate::process::Home;

/// Role ids of the shipped ladder's ranks, lowest first, and of the role of the suspended.
pub const ROLES: [u64; 4] = [120, 130, 140, 200];
pub const JAIL: u64 = 105;

/// Roblox with the shipped ladder's roles.
pub fn roblox(clock: Clock) -> FakeRoblox {
    let fake = FakeRoblox::start(clock).unwrap();
    fake.role(JAIL, "Suspended", 5, &[]);
    let ranks = [("Trooper", 20), ("Volt", 30), ("Corporal", 40), ("Marshal", 200)];
    for (id, (name, rank)) in ROLES.into_iter().zip(ranks) {
        fake.role(id, name, rank, &[]);
    }
    fake
}

/// A program that looks after that group.
pub async fn live(setup: Setup) -> (TestApp, FakeRoblox) {
    let fake = roblox(Clock::fake(START));
    let app = setup
        .set("ROBLOX_OPEN_CLOUD_API_KEY", KEY)
        .set("ROBLOX_GROUP_ID", GROUP.to_string())
        .set("ROBLOX_UNIVERSE_ID", UNIVERSE.to_string())
        .set("ROBLOX_API_URL", fake.url())
        .start()
        .await;
    fake.clock(&app.clock);
    (app, fake)
}

/// Nothing that Roblox would not have understood, and no refusal that was our doing.
pub fn end(fake: &FakeRoblox) {
    assert_eq!((fake.wrong(), fake.limits().throttled()), (vec![], 0));
    contract::check(fake);
}

async fn look(app: &TestApp) -> Value {
    app.get("/admin/api/roblox").operator().expect(200).await.json()
}

fn ready<'a>(health: &'a Value, name: &str) -> &'a Value {
    health["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()
}

fn line<'a>(report: &'a Value, check: &str) -> &'a Value {
    let lines = report["checks"].as_array().unwrap();
    lines.iter().find(|line| line["check"] == check).unwrap_or_else(|| panic!("no line {check}: {report:#}"))
}

#[tokio::test]
async fn without_a_group_everything_says_what_is_missing() {
    let app = TestApp::new().await;
    for (method, target) in
        [("GET", "/admin/api/roblox"), ("GET", "/admin/api/roblox/roles"), ("POST", "/admin/api/roblox/probe")]
    {
        let answer = app.request(method, target).operator().refused(503, "roblox.not_configured").await;
        assert!(answer.detail().contains("ROBLOX_GROUP_ID"), "{}", answer.text);
    }
    app.post("/automation/drift/runs", "").operator().refused(503, "roblox.not_configured").await;
    assert!(app.app.workers().iter().all(|worker| !["group", "drift", "joins"].contains(&worker.name())));
}

#[tokio::test]
async fn the_ladder_is_matched_with_the_live_roles() {
    let (app, fake) = live(Setup::new()).await;
    let seen = look(&app).await;
    assert_eq!((&seen["group"]["members"], &seen["groupId"]), (&json!(2), &json!(GROUP)));
    assert_eq!((&seen["key"]["ownerId"], &seen["key"]["ownerRank"]), (&json!(BOT), &json!(250)));
    let roles: Vec<&Value> = seen["ladder"].as_array().unwrap().iter().map(|rank| &rank["roleId"]).collect();
    assert_eq!(roles, [&json!(120), &json!(130), &json!(140), &json!(200)]);
    assert_eq!(seen["failing"], Value::Null);
    fake.delete_role(130);
    assert_eq!(look(&app).await["failing"], Value::Null, "roles are asked for every five minutes");
    app.advance(ROLES_AGE.as_secs());
    let seen = look(&app).await;
    assert_eq!(seen["ladder"][1]["problem"], "the group has no role with the rank number 30");
    assert!(seen["failing"]["detail"].as_str().unwrap().contains("Volt Specialist II"), "{seen}");
    let roles = app.get("/admin/api/roblox/roles").operator().expect(200).await.json();
    assert!(roles["roles"].as_array().unwrap().iter().any(|role| role["ladderRank"] == "Storm Corporal I"), "{roles}");
    assert!(!seen.to_string().contains(KEY));
    end(&fake);
}

#[tokio::test]
async fn many_who_ask_for_roles_at_once_cost_one_question() {
    let (app, fake) = live(Setup::new()).await;
    let asks = (0..20).map(|_| app.app.group.roles(ROLES_AGE));
    let answers = futures_util::future::join_all(asks).await;
    assert!(answers.iter().all(|answer| answer.as_ref().is_ok_and(|roles| roles.list.len() == 9)));
    assert_eq!((fake.limits().served(Class::Group), fake.limits().served(Class::Roles)), (1, 1));
    app.app.group.forget();
    app.app.group.roles(ROLES_AGE).await.unwrap();
    assert_eq!(fake.limits().served(Class::Group), 2);
    end(&fake);
}

#[tokio::test]
async fn many_who_wait_for_roles_share_a_failure() {
    let (app, fake) = live(Setup::new()).await;
    fake.days_for(Class::Group, &[Day::Unavailable]);
    let answers = futures_util::future::join_all((0..20).map(|_| app.app.group.roles(ROLES_AGE))).await;
    assert!(answers.iter().all(|answer| matches!(answer, Err(Trouble::Down { .. }))));
    assert!(app.app.group.roles(ROLES_AGE).await.is_ok(), "who comes later asks anew");
    end(&fake);
}

#[tokio::test]
async fn a_long_list_of_roles_comes_with_a_small_share_of_the_limits() {
    let (app, fake) = live(Setup::new().set("ROBLOX_BUDGET_PERCENT", "1")).await;
    (0..150).for_each(|role| fake.role(GROUP * 1000 + 300 + role, &format!("R{role}"), 50 + role as u8, &[]));
    let mut minutes = 0;
    let roles = loop {
        match app.app.group.roles(ROLES_AGE).await {
            Ok(roles) => break roles,
            Err(Trouble::Paced { wait }) => app.clock.advance(wait),
            Err(trouble) => panic!("{trouble:?}"),
        }
        minutes += 1;
        assert!(minutes < 10, "three pages a minute");
    };
    assert_eq!(roles.list.len(), 159);
    assert_eq!((fake.limits().served(Class::Group), fake.limits().served(Class::Roles)), (1, 8));
    app.app.group.forget();
    fake.delete_role(GROUP * 1000 + 300);
    app.clock.advance(Duration::from_secs(60));
    assert!(app.app.group.roles(ROLES_AGE).await.is_err());
    fake.delete_role(GROUP * 1000 + 301);
    app.app.group.forget();
    app.clock.advance(Duration::from_secs(60));
    while app.app.group.roles(ROLES_AGE).await.is_err() {
        app.clock.advance(Duration::from_secs(20));
    }
    let list = app.app.group.roles(ROLES_AGE).await.unwrap().list.clone();
    assert_eq!(list.len(), 157, "what was forgotten begins anew");
    end(&fake);
}

#[tokio::test]
async fn a_group_that_cannot_be_read_shows_until_it_can() {
    let (app, fake) = live(Setup::new()).await;
    fake.climate(Some(Day::Unavailable));
    assert!(matches!(app.tick("group").await, Next::After(pause) if pause < EVERY));
    let health = app.get("/health/ready").expect(200).await.json();
    assert!(ready(&health, "roblox")["detail"].as_str().unwrap().contains("503"), "{health}");
    let seen = look(&app).await;
    assert_eq!((&seen["group"], &seen["ladder"]), (&Value::Null, &Value::Null));
    app.get("/admin/api/roblox/roles").operator().refused(502, "roblox.failed").await;
    fake.climate(None);
    assert_eq!(app.tick("group").await, Next::After(EVERY));
    let health = app.get("/health/ready").expect(200).await.json();
    assert_eq!(ready(&health, "roblox")["ok"], true);
}

#[tokio::test]
async fn a_key_that_ends_soon_is_told_of() {
    let (app, fake) = live(Setup::new()).await;
    let in_days = |days: u64| Some(START + Duration::from_secs(days * 86_400 + 60));
    fake.put_key(KEY, Key { expires: in_days(20), ..Key::of(BOT) });
    app.tick("group").await;
    let metrics = app.get("/metrics").from("127.0.0.1:4711").expect(200).await.text;
    assert!(metrics.contains("grps_open_cloud_key_days 20"), "{metrics}");
    let health = app.get("/health/ready").expect(200).await.json();
    assert_eq!(ready(&health, "roblox")["ok"], true);
    // Seen again a day later, with nobody asking.
    app.advance(7 * 86_400);
    let health = app.get("/health/ready").expect(200).await.json();
    let told = ready(&health, "roblox");
    assert!(told["detail"].as_str().unwrap().contains("expires in 13 days"), "{told}");
    fake.put_key(KEY, Key { scopes: Key::of(BOT).only("group", &[4711]).scopes, ..Key::of(BOT) });
    app.tick("group").await;
    let health = app.get("/health/ready").expect(200).await.json();
    assert!(ready(&health, "roblox")["detail"].as_str().unwrap().contains("may not change roles"), "{health}");
}

#[tokio::test]
async fn the_doctor_passes_a_good_key_and_changes_nothing() {
    let setup = Setup::new().set("ROBLOX_DATASTORE_NAME", "Points").set("DOORBELL_QUEUES", "default");
    let (app, fake) = live(setup).await;
    fake.entry("Points", "global", "Player_7", &json!({"points": 5}));
    let report = app.post("/admin/api/roblox/probe", "").operator().expect(200).await.json();
    assert_eq!(report["ok"], true, "{report:#}");
    for check in ["key", "group", "members", "role changes", "key's owner", "ladder", "join requests", "audit log"] {
        assert_eq!(line(&report, check)["state"], "pass", "{report:#}");
    }
    for check in ["bans, reading", "bans, writing", "messages", "data store, listing", "data store, reading"] {
        assert_eq!(line(&report, check)["state"], "pass", "{report:#}");
    }
    assert_eq!(fake.effects(), []);
    let reads = fake.asked();
    let posts: Vec<&str> =
        reads.iter().filter(|asked| asked.method != "GET").map(|asked| asked.path.as_str()).collect();
    assert_eq!(posts, ["/api-keys/v1/introspect"]);
    end(&fake);
}

#[tokio::test]
async fn the_doctor_names_each_scope_that_is_missing_and_where_to_click() {
    for (lacking, check, state) in [
        ("group:write", "role changes", "fail"),
        ("universe.user-restriction:write", "bans, writing", "fail"),
        ("universe.user-restriction:read", "bans, reading", "fail"),
        ("universe-messaging-service:publish", "messages", "off"),
        ("legacy-group:manage", "audit log", "off"),
        ("group:read", "join requests", "off"),
    ] {
        let (app, fake) = live(Setup::new()).await;
        fake.put_key(KEY, Key::of(BOT).without(lacking));
        let report = app.post("/admin/api/roblox/probe", "").operator().expect(200).await.json();
        let told = line(&report, check);
        assert_eq!((&told["state"], &report["ok"]), (&json!(state), &json!(state != "fail")), "{lacking}: {report:#}");
        let system = lacking.rsplit_once(':').unwrap().0;
        assert!(told["fix"].as_str().unwrap().contains(system), "{lacking}: {told}");
        end(&fake);
    }
}

#[tokio::test]
async fn the_doctor_fails_what_is_written_back_and_may_not_be() {
    for (lacking, check) in [
        ("universe-datastores.objects:update", "data store, writing"),
        ("universe.ordered-data-store.scope.entry:write", "ordered stores, writing"),
    ] {
        for (wanted, state) in [(false, "off"), (true, "fail")] {
            let setup = Setup::new()
                .set("ROBLOX_DATASTORE_NAME", "Points")
                .set("ROBLOX_ORDERED_DATASTORE", if wanted { "Top" } else { "" })
                .policy("backend.integrations.json", |file| file["features"]["mirrorDatastore"] = wanted.into());
            let (app, fake) = live(setup).await;
            fake.put_key(KEY, Key::of(BOT).without(lacking));
            let report = app.post("/admin/api/roblox/probe", "").operator().expect(200).await.json();
            assert_eq!(line(&report, check)["state"], state, "{lacking}: {report:#}");
            end(&fake);
        }
    }
}

#[tokio::test]
async fn the_doctor_sees_who_owns_the_key() {
    let (app, fake) = live(Setup::new()).await;
    let probe = || async { app.post("/admin/api/roblox/probe", "").operator().expect(200).await.json() };
    fake.member(77, &[140]);
    fake.put_key(KEY, Key::of(77));
    let report = probe().await;
    assert_eq!(line(&report, "key's owner")["state"], "fail", "{report:#}");
    assert!(line(&report, "ladder")["detail"].as_str().unwrap().contains("Storm Corporal I"), "{report:#}");
    fake.put_key(KEY, Key::of(78));
    let report = probe().await;
    assert!(line(&report, "key's owner")["detail"].as_str().unwrap().contains("not in the group"), "{report:#}");
    fake.put_key(KEY, Key::of(OWNER));
    assert_eq!(line(&probe().await, "key's owner")["state"], "pass");
    fake.put_key(KEY, Key { enabled: false, ..Key::of(BOT) });
    let report = probe().await;
    assert_eq!((&line(&report, "key")["state"], &report["ok"]), (&json!("fail"), &json!(false)), "{report:#}");
}

#[tokio::test]
async fn the_doctor_reports_on_the_worst_day_too() {
    for day in [Day::Unauthorized, Day::Forbidden, Day::Down, Day::Limited(Some(5), None), Day::Garbage] {
        let (app, fake) = live(Setup::new()).await;
        fake.climate(Some(day.clone()));
        let report = app.post("/admin/api/roblox/probe", "").operator().expect(200).await.json();
        assert_eq!(
            (&report["ok"], &line(&report, "key")["state"]),
            (&json!(false), &json!("fail")),
            "{day:?}: {report:#}"
        );
    }
}

#[tokio::test]
async fn the_doctor_says_once_what_is_wrong_with_everything() {
    let (app, fake) = live(Setup::new()).await;
    let probe = || async { app.post("/admin/api/roblox/probe", "").operator().expect(200).await.json() };
    let dead = Key { expires: Some(app.clock.now() - Duration::from_secs(5)), ..Key::of(BOT) };
    for key in [dead, Key { enabled: false, ..Key::of(BOT) }] {
        fake.put_key(KEY, key);
        let report = probe().await;
        assert_eq!(report["checks"].as_array().unwrap().len(), 2, "{report:#}");
        assert!(line(&report, "all else")["detail"].as_str().unwrap().contains("no call with this key"), "{report:#}");
    }
    fake.put_key(KEY, Key::of(BOT));
    fake.climate(Some(Day::Unauthorized));
    assert_eq!(probe().await["checks"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn the_doctor_tells_the_owners_role_from_the_keys_scope() {
    let (app, fake) = live(Setup::new()).await;
    fake.member(77, &[140]);
    fake.put_key(KEY, Key::of(77));
    let report = app.post("/admin/api/roblox/probe", "").operator().expect(200).await.json();
    for (check, permission) in [("join requests", "accept join requests"), ("audit log", "view the audit log")] {
        let fix = line(&report, check)["fix"].as_str().unwrap().to_owned();
        assert!(fix.contains(permission) && fix.contains("the key has"), "{fix}");
    }
}

#[tokio::test]
async fn the_doctor_sees_that_the_group_is_somebody_elses() {
    let fake = roblox(Clock::fake(START));
    fake.group(555, "Theirs", Some(42));
    let setup = Setup::new().set("ROBLOX_OPEN_CLOUD_API_KEY", KEY).set("ROBLOX_GROUP_ID", "555");
    let app = setup.set("ROBLOX_API_URL", fake.url()).start().await;
    let report = app.post("/admin/api/roblox/probe", "").operator().expect(200).await.json();
    let told = line(&report, "key's owner");
    assert_eq!(told["state"], "fail", "{report:#}");
    assert!(told["fix"].as_str().unwrap().contains("ROBLOX_GROUP_ID"), "{told}");
}

#[tokio::test]
async fn a_vendor_that_hangs_does_not_hold_the_doctor_up() {
    let (app, fake) = live(Setup::new()).await;
    for class in [Class::Memberships, Class::Joins, Class::AuditLog, Class::Restriction] {
        fake.days_for(class, &[Day::Hang, Day::Hang]);
    }
    let report = app.post("/admin/api/roblox/probe", "").operator().expect(200).await.json();
    assert_eq!(line(&report, "members")["state"], "fail", "{report:#}");
    assert_eq!(line(&report, "audit log")["fix"], "try again in a minute", "{report:#}");
    assert_eq!(line(&report, "role changes")["state"], "pass", "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_doctors_command_prints_it_and_fails_with_it() {
    let fake = roblox(Clock::system());
    let home = Home::new()
        .set("ROBLOX_OPEN_CLOUD_API_KEY", KEY)
        .set("ROBLOX_GROUP_ID", GROUP.to_string())
        .set("ROBLOX_API_URL", fake.url());
    let good = tokio::task::block_in_place(|| home.run(&["doctor", "roblox"]));
    assert_eq!(good.code, Some(0), "{}{}", good.stdout, good.stderr);
    assert!(good.stdout.contains("pass  role changes") && !good.stdout.contains(KEY), "{}", good.stdout);
    // What others named is shown, and not obeyed.
    fake.put_key(KEY, Key { name: "k\u{1b}]0;gone\u{7}\u{202e}".into(), ..Key::of(BOT) });
    let odd = tokio::task::block_in_place(|| home.run(&["doctor", "roblox"])).stdout;
    assert!(odd.contains("k\\u001b]0;gone\\u0007\\u202e") && !odd.contains(['\u{1b}', '\u{202e}']), "{odd:?}");
    fake.put_key(KEY, Key::of(BOT).without("group:write"));
    let bad = tokio::task::block_in_place(|| home.run(&["doctor", "roblox"]));
    assert_eq!(bad.code, Some(1), "{}{}", bad.stdout, bad.stderr);
    assert!(bad.stdout.contains("FAIL  role changes") && bad.stdout.contains("Access Permissions"), "{}", bad.stdout);
}
