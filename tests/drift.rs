//! Drift: ranks changed by hand are found, page by page and across restarts, and settled by a person.

use grps::base::{Clock, RobloxId};
use grps::domains::drift::{DRIFT_ACTIVE, DRIFT_SEEN, DRIFTS, MAX_ADOPTED, MAX_FAILURES};
use grps::domains::players::{PLAYERS, Player, save};
use grps::domains::ranks::{DECISIONS, OPEN_EFFECTS};
use grps::fakes::roblox::{Class, Day, FakeRoblox, GROUP, KEY};
use grps::store::Tx;
use grps::workers::Next;
use serde_json::{Value, json};

use crate::effects::carry_out;
use crate::group::{JAIL, ROLES, end, live, roblox};
use crate::harness::{INGEST, Setup, TestApp};
use crate::process::Home;
use crate::state::{audits, rows};

const RUNS: &str = "/automation/drift/runs";
pub const TROOPER: u64 = ROLES[0];
const VOLT: u64 = ROLES[1];
const CORPORAL: u64 = ROLES[2];

async fn report(app: &TestApp, user: u64, rank: Option<&str>) {
    let body = json!({ "userId": user, "username": format!("P{user}"), "rank": rank, "rankPoints": 800 });
    app.ingest(body.to_string()).expect(200).await;
}

/// A player whom a decision of ours moved from Volt Specialist II to Storm Corporal I, and who holds that on Roblox.
pub async fn promoted(app: &TestApp, fake: &FakeRoblox, user: u64) {
    let body =
        json!({ "userId": user, "username": format!("P{user}"), "rank": "Volt Specialist II", "rankPoints": 800 });
    assert_eq!(app.apply(body).await["action"], "PROMOTE");
    assert_eq!(carry_out(app).await, 1);
    report(app, user, Some("Storm Corporal I")).await;
    fake.member(user, &[CORPORAL]);
}

async fn start(app: &TestApp) -> Value {
    app.post(RUNS, "").operator().expect(202).await.json()
}

/// Ticks until no run is under way; gives the newest.
async fn walk(app: &TestApp) -> Value {
    for _ in 0..10_000 {
        if app.app.store.get(&DRIFT_ACTIVE, &()).await.unwrap().is_none() {
            return app.get(RUNS).operator().expect(200).await.json()["runs"][0].take();
        }
        if let Next::After(pause) = app.tick("drift").await {
            app.clock.advance(pause);
        }
    }
    panic!("the run does not end");
}

pub async fn run(app: &TestApp) -> Value {
    start(app).await;
    let run = walk(app).await;
    assert_eq!(run["state"], "done", "{run}");
    run
}

async fn drift(app: &TestApp) -> Vec<Value> {
    let page = app.get("/automation/drift").operator().expect(200).await.json();
    page["drift"].as_array().unwrap().clone()
}

async fn player(app: &TestApp, user: u64) -> Player {
    app.app.store.get(&PLAYERS, &RobloxId::new(user).unwrap()).await.unwrap().unwrap()
}

/// What a decision about `user` that takes effect now leaves behind.
async fn moved(app: &TestApp, user: u64, rank: &str) {
    let before = player(app, user).await;
    let mut after = before.clone();
    after.rank = Some(rank.to_owned());
    after.acted.as_mut().unwrap().at = app.clock.now();
    let (before, after) = (&before, &after);
    let write = |tx: Tx| async move {
        save(&tx, Some(before), after);
        Ok(())
    };
    app.app.store.transact(write).await.unwrap();
}

/// What `/health/ready` finds wrong with the runs; empty when nothing is.
async fn told_of(app: &TestApp) -> String {
    let ready = app.get("/health/ready").expect(200).await.json();
    let check = ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "drift").unwrap();
    assert_eq!(check["ok"] == true, check["detail"].is_null(), "{check}");
    check["detail"].as_str().unwrap_or_default().to_owned()
}

async fn told(app: &TestApp, action: &str) -> usize {
    audits(app).await.iter().filter(|entry| entry.action == action).count()
}

#[tokio::test]
async fn until_we_moved_them_players_take_robloxs_rank() {
    let (app, fake) = live(Setup::new()).await;
    report(&app, 7, Some("Volt Specialist II")).await;
    report(&app, 8, None).await;
    report(&app, 9, Some("Volt Specialist II")).await;
    fake.member(7, &[CORPORAL, VOLT]);
    fake.member(8, &[TROOPER]);
    fake.member(9, &[VOLT]);
    fake.member(4711, &[VOLT]);
    let done = run(&app).await;
    assert_eq!((&done["adopted"], &done["compared"], &done["members"]), (&json!(2), &json!(3), &json!(6)), "{done}");
    assert_eq!(player(&app, 7).await.rank.as_deref(), Some("Storm Corporal I"));
    assert_eq!(player(&app, 8).await.rank.as_deref(), Some("Shock Trooper II"));
    assert_eq!((told(&app, "player.rank_reported").await, drift(&app).await.len()), (2, 0));
    assert_eq!(run(&app).await["adopted"], 0);
    assert!(!rows(&app, &DRIFT_SEEN).await.is_empty());
    app.tick("drift").await;
    assert_eq!(rows(&app, &DRIFT_SEEN).await, []);
    end(&fake);
}

#[tokio::test]
async fn a_wrong_policy_does_not_rewrite_everybody() {
    let swap = |file: &mut Value| {
        let (low, high) = (file["ranks"][0]["robloxRank"].take(), file["ranks"][1]["robloxRank"].take());
        (file["ranks"][0]["robloxRank"], file["ranks"][1]["robloxRank"]) = (high, low);
    };
    let (app, fake) = live(Setup::new().policy("policy.ranks.json", swap)).await;
    let users = 1..=MAX_ADOPTED + 70;
    for user in users.clone() {
        report(&app, user, Some("Volt Specialist II")).await;
        fake.member(user, &[VOLT]);
    }
    start(&app).await;
    app.tick("drift").await;
    fake.days_for(Class::Memberships, &[Day::Invalid]);
    let done = walk(&app).await;
    assert_eq!((&done["adopted"], &done["withheld"]), (&json!(MAX_ADOPTED), &json!(70)), "{done}");
    assert_eq!((&done["drifted"], drift(&app).await.len()), (&json!(70), 70));
    assert!(told_of(&app).await.contains("70 more ranks"));
    let app = app.restart().await;
    assert!(told_of(&app).await.contains("70 more ranks"), "not only as long as the program runs");
    let mut kept = 0;
    for user in users {
        kept += usize::from(player(&app, user).await.rank.as_deref() == Some("Volt Specialist II"));
    }
    assert_eq!(kept, 70);
    crate::harness::edit_json(&app.policy_dir().join("policy.ranks.json"), swap);
    app.tick("policy-watch").await;
    app.tick("policy-watch").await;
    start(&app).await;
    assert!(told_of(&app).await.contains("70 more ranks"), "until the next run has ended");
    let done = walk(&app).await;
    assert_eq!((&done["adopted"], &done["cleared"]), (&json!(MAX_ADOPTED), &json!(70)), "{done}");
    assert_eq!((drift(&app).await.len(), told_of(&app).await.as_str()), (0, ""));
}

#[tokio::test]
async fn a_rank_changed_by_hand_waits_for_a_person() {
    let (app, fake) = live(Setup::new()).await;
    promoted(&app, &fake, 7).await;
    fake.rank_by_hand(7, TROOPER);
    assert_eq!(run(&app).await["drifted"], 0, "it was decided a moment ago");
    app.advance(601);
    assert_eq!(run(&app).await["drifted"], 1);
    let found = drift(&app).await;
    assert_eq!((&found[0]["ours"], &found[0]["live"]), (&json!("Storm Corporal I"), &json!("Shock Trooper II")));
    app.advance(60);
    run(&app).await;
    assert_eq!((drift(&app).await, told(&app, "drift.found").await), (found, 1), "found once");
    assert_eq!(player(&app, 7).await.rank.as_deref(), Some("Storm Corporal I"), "nothing happens by itself");
    fake.rank_by_hand(7, CORPORAL);
    assert_eq!(run(&app).await["cleared"], 1);
    assert_eq!((drift(&app).await.len(), told(&app, "drift.cleared").await), (0, 1));
    end(&fake);
}

#[tokio::test]
async fn a_person_accepts_or_restores() {
    let (app, fake) = live(Setup::new()).await;
    for user in [7, 8] {
        promoted(&app, &fake, user).await;
        fake.rank_by_hand(user, TROOPER);
    }
    app.advance(601);
    run(&app).await;
    let resolve = |user: u64, how: &str| {
        app.post(&format!("/automation/drift/{user}"), json!({ "resolution": how }).to_string()).operator()
    };
    let accepted = resolve(7, "accept").expect(200).await.json();
    assert_eq!((&accepted["rank"], &accepted["decisionId"]), (&json!("Shock Trooper II"), &Value::Null));
    assert_eq!(player(&app, 7).await.rank.as_deref(), Some("Shock Trooper II"));
    let restored = resolve(8, "restore").expect(200).await.json();
    assert_eq!(restored["rank"], "Storm Corporal I");
    let open = rows(&app, &OPEN_EFFECTS).await;
    assert_eq!(open.len(), 1);
    let (id, user) = open[0];
    let decision = app.app.store.get(&DECISIONS, &(user, id)).await.unwrap().unwrap();
    assert_eq!(restored["decisionId"], id.to_string());
    assert_eq!((decision.origin.text(), decision.target_rank.as_deref()), ("drift", Some("Storm Corporal I")));
    resolve(7, "accept").refused(404, "drift.missing").await;
    resolve(8, "restore").refused(404, "drift.missing").await;
    assert_eq!((told(&app, "drift.accepted").await, told(&app, "drift.restored").await), (1, 1));
    fake.rank_by_hand(8, CORPORAL);
    carry_out(&app).await;
    app.advance(601);
    assert_eq!(run(&app).await["drifted"], 0);
}

#[tokio::test]
async fn what_is_accepted_is_written_back_where_games_read_it() {
    let setup = Setup::new().set("ROBLOX_DATASTORE_NAME", "PlayerData");
    let (app, fake) =
        live(setup.policy("backend.integrations.json", |file| file["features"]["mirrorDatastore"] = true.into())).await;
    fake.entry("PlayerData", "global", "7", &json!({"rank": "Storm Corporal I"}));
    promoted(&app, &fake, 7).await;
    fake.rank_by_hand(7, TROOPER);
    app.advance(601);
    run(&app).await;
    app.post("/automation/drift/7", r#"{"resolution":"accept"}"#).operator().expect(200).await;
    app.tick("entry-mirror").await;
    let entry = fake.entry_of("PlayerData", "global", "7").unwrap().current.text;
    assert_eq!(entry, r#"{"rank":"Shock Trooper II"}"#);
    end(&fake);
}

#[tokio::test]
async fn what_was_found_before_the_player_moved_settles_nothing() {
    let (app, fake) = live(Setup::new()).await;
    for user in [7, 8] {
        promoted(&app, &fake, user).await;
        fake.rank_by_hand(user, TROOPER);
    }
    report(&app, 9, Some("Volt Specialist II")).await;
    app.advance(601);
    assert_eq!(run(&app).await["drifted"], 3);
    app.advance(60);
    report(&app, 9, Some("Storm Corporal I")).await;
    for (user, rank) in [(7, "Volt Specialist II"), (8, "Storm Corporal I")] {
        moved(&app, user, rank).await;
    }
    let resolve = |user: u64, how: &str| {
        app.post(&format!("/automation/drift/{user}"), json!({ "resolution": how }).to_string()).operator()
    };
    for (user, how, rank) in
        [(7, "accept", "Volt Specialist II"), (8, "restore", "Storm Corporal I"), (9, "accept", "Storm Corporal I")]
    {
        resolve(user, how).refused(409, "drift.stale").await;
        resolve(user, how).refused(404, "drift.missing").await;
        assert_eq!(player(&app, user).await.rank.as_deref(), Some(rank));
    }
    assert_eq!((told(&app, "drift.cleared").await, rows(&app, &OPEN_EFFECTS).await.len()), (3, 0));
    app.advance(601);
    assert_eq!(run(&app).await["drifted"], 3);
    resolve(8, "accept").expect(200).await;
}

#[tokio::test]
async fn a_difference_from_before_a_decision_is_found_anew() {
    let (app, fake) = live(Setup::new()).await;
    promoted(&app, &fake, 7).await;
    fake.rank_by_hand(7, TROOPER);
    app.advance(601);
    run(&app).await;
    app.advance(60);
    moved(&app, 7, "Storm Corporal I").await;
    app.advance(601);
    run(&app).await;
    assert_eq!(told(&app, "drift.found").await, 2);
    app.post("/automation/drift/7", r#"{"resolution":"accept"}"#).operator().expect(200).await;
}

#[tokio::test]
async fn what_cannot_be_restored_says_why() {
    let protect = |file: &mut Value| file["protectedUserIds"] = json!([8]);
    let (app, fake) = live(Setup::new()).await;
    for user in [7, 8, 9] {
        promoted(&app, &fake, user).await;
    }
    fake.leave(7);
    fake.rank_by_hand(8, TROOPER);
    fake.rank_by_hand(9, TROOPER);
    app.advance(601);
    let done = run(&app).await;
    assert_eq!((&done["left"], &done["drifted"]), (&json!(1), &json!(3)), "{done}");
    let restore =
        |user: u64| app.post(&format!("/automation/drift/{user}"), r#"{"resolution":"restore"}"#.to_owned()).operator();
    restore(7).refused(409, "drift.left").await;
    crate::harness::edit_json(&app.policy_dir().join("permissions.json"), protect);
    app.tick("policy-watch").await;
    app.tick("policy-watch").await;
    restore(8).refused(409, "drift.protected").await;
    assert_eq!(drift(&app).await.len(), 3, "the rows stay");
    restore(9).expect(200).await;
    let accept = app.post("/automation/drift/7", r#"{"resolution":"accept"}"#).operator().expect(200).await.json();
    assert_eq!(accept["rank"], Value::Null);
    assert_eq!(player(&app, 7).await.rank, None);
}

#[tokio::test]
async fn the_suspended_are_left_alone_and_late_reports_count() {
    let (app, fake) = live(Setup::new()).await;
    for user in [7, 8] {
        promoted(&app, &fake, user).await;
    }
    fake.rank_by_hand(7, JAIL);
    app.advance(601);
    report(&app, 8, Some("Shock Trooper II")).await;
    assert_eq!(run(&app).await["drifted"], 1);
    let found = drift(&app).await;
    assert_eq!((&found[0]["userId"], &found[0]["reported"]), (&json!(8), &json!("Shock Trooper II")));
}

#[tokio::test]
async fn a_walk_goes_on_where_it_was_after_every_restart() {
    let (mut app, fake) = live(Setup::new().in_memory()).await;
    for user in 1..=350 {
        fake.member(user, &[if user % 7 == 0 { CORPORAL } else { VOLT }]);
    }
    for user in (1..=350).step_by(5).chain(1_001..=1_010) {
        report(&app, user, Some("Volt Specialist II")).await;
    }
    start(&app).await;
    for _ in 0..20 {
        app.tick("drift").await;
        app = app.restart().await;
    }
    let done = walk(&app).await;
    assert_eq!(done["state"], "done", "{done}");
    let adopted = (1..=350).step_by(5).filter(|user| user % 7 == 0).count();
    assert_eq!(
        (&done["compared"], &done["adopted"], &done["left"]),
        (&json!(80), &json!(adopted), &json!(10)),
        "{done}"
    );
    assert_eq!((&done["members"], &done["pages"]), (&json!(352), &json!(4)), "each page once");
    assert_eq!(rows(&app, &DRIFTS).await.len(), 10);
    // Pages of members, who may have left, and after each restart the key's owner.
    assert_eq!(fake.limits().served(Class::Memberships), 4 + 10 + 5);
    end(&fake);
}

#[tokio::test]
async fn bad_days_make_it_late_and_not_wrong() {
    let (app, fake) = live(Setup::new()).await;
    for user in 1..=150 {
        fake.member(user, &[VOLT]);
    }
    report(&app, 1, Some("Shock Trooper II")).await;
    report(&app, 150, Some("Shock Trooper II")).await;
    app.app.group.roles(std::time::Duration::from_secs(1)).await.unwrap();
    let days = [Day::Down, Day::Limited(Some(3), None), Day::Garbage, Day::Empty, Day::EmptyPage, Day::Short(3)];
    fake.days_for(Class::Memberships, &days);
    let done = run(&app).await;
    assert_eq!((&done["adopted"], &done["left"]), (&json!(2), &json!(0)), "{done}");
}

#[tokio::test]
async fn a_page_that_is_not_known_any_more_begins_the_walk_anew_once() {
    let (app, fake) = live(Setup::new()).await;
    for user in 1..=250 {
        fake.member(user, &[VOLT]);
    }
    start(&app).await;
    app.tick("drift").await;
    fake.days_for(Class::Memberships, &[Day::Invalid]);
    let done = walk(&app).await;
    assert_eq!((&done["state"], &done["members"]), (&json!("done"), &json!(252)), "{done}");
    start(&app).await;
    app.tick("drift").await;
    fake.days_for(Class::Memberships, &[Day::Invalid]);
    app.tick("drift").await;
    app.tick("drift").await;
    fake.days_for(Class::Memberships, &[Day::Invalid]);
    let failed = walk(&app).await;
    assert_eq!(failed["state"], "failed", "{failed}");
}

#[tokio::test]
async fn a_run_that_cannot_go_on_ends_with_its_reason() {
    let (app, fake) = live(Setup::new()).await;
    let failed = |run: Value, why: &str| {
        let reason = run["reason"].as_str().unwrap_or_default().to_owned();
        assert!(run["state"] == "failed" && reason.contains(why), "{run}");
    };
    fake.climate(Some(Day::Forbidden));
    start(&app).await;
    failed(walk(&app).await, "403");
    fake.climate(None);
    ROLES.into_iter().for_each(|role| fake.delete_role(role));
    start(&app).await;
    failed(walk(&app).await, "no rank of the ladder");
    assert!(told_of(&app).await.contains("no rank of the ladder"));
    let app = app.restart().await;
    assert!(told_of(&app).await.contains("no rank of the ladder"));
    fake.climate(Some(Day::Down));
    app.advance(3600);
    start(&app).await;
    let mut drifting = app.app.workers();
    let worker = drifting.iter_mut().find(|worker| worker.name() == "drift").unwrap();
    for _ in 0..MAX_FAILURES {
        if let Next::After(pause) = worker.tick().await.unwrap() {
            app.clock.advance(pause);
        }
    }
    failed(walk(&app).await, "502");
}

#[tokio::test]
async fn one_run_at_a_time() {
    let (app, fake) = live(Setup::new()).await;
    let first = start(&app).await;
    assert_eq!(start(&app).await["id"], first["id"]);
    walk(&app).await;
    assert_ne!(start(&app).await["id"], first["id"]);
    walk(&app).await;
    assert_eq!(told(&app, "drift.started").await, 2);
    end(&fake);
}

#[tokio::test]
async fn differences_come_in_pages() {
    let (app, fake) = live(Setup::new()).await;
    for user in 1..=7 {
        report(&app, user, Some("Volt Specialist II")).await;
    }
    run(&app).await;
    let (mut users, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = app.get(&format!("/automation/drift?limit=3{cursor}")).operator().expect(200).await.json();
        users.extend(page["drift"].as_array().unwrap().iter().map(|row| row["userId"].as_u64().unwrap()));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!(users, [1, 2, 3, 4, 5, 6, 7]);
    app.get("/automation/drift?cursor=x!").operator().refused(422, "request.invalid").await;
    end(&fake);
}

#[tokio::test]
async fn the_search_leaves_half_of_the_budget_to_others() {
    let (app, fake) = live(Setup::new()).await;
    for user in 1..=330 {
        report(&app, user, Some("Volt Specialist II")).await;
    }
    let begun = app.clock.now();
    let done = run(&app).await;
    assert_eq!((&done["left"], &done["compared"]), (&json!(330), &json!(330)), "{done}");
    let minutes = app.clock.now().since(begun).as_secs_f64() / 60.0;
    assert!((2.0..2.5).contains(&minutes), "332 of 300 calls a minute took {minutes} minutes");
    end(&fake);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_finds_and_settles_with_a_server_and_without() {
    let fake = roblox(Clock::system());
    for served in [false, true] {
        let home = Home::new()
            .set("ROBLOX_OPEN_CLOUD_API_KEY", KEY)
            .set("ROBLOX_GROUP_ID", GROUP.to_string())
            .set("ROBLOX_API_URL", fake.url());
        tokio::task::block_in_place(|| {
            let server = home.serve();
            let sample = home.json(&["sign", "a2", "--sample"]);
            let key = sample["headers"]["x-grps-api-key"].as_str().unwrap();
            let body = r#"{"userId":7,"username":"A","rank":"Volt Specialist II"}"#;
            assert_eq!(server.post(INGEST, &[("x-grps-api-key", key)], body).status, 200);
            let server = if served { Some(server) } else { (server.stop(), None).1 };
            let done = home.json(&["drift", "run"]);
            assert_eq!((&done["state"], &done["left"]), (&json!("done"), &json!(1)), "{done}");
            let list = home.run(&["drift", "list"]);
            assert!(
                list.stdout.contains("left the group") && list.stdout.contains("last run: done"),
                "{}",
                list.stdout
            );
            let restore = home.run(&["drift", "restore", "7"]);
            assert!(restore.code == Some(1) && restore.stderr.contains("drift.left"), "{}", restore.stderr);
            assert_eq!(home.json(&["drift", "accept", "7"])["rank"], Value::Null);
            assert_eq!(home.json(&["drift", "list"])["drift"], json!([]));
            server.into_iter().for_each(|server| server.stop());
        });
    }
}
