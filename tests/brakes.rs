//! The breaker and the limits of single actors: what they let through, what they tell, and that they survive a restart.

use grps::base::RobloxId;
use grps::domains::brakes::{BREAKER, MAX_UNTOLD};
use grps::domains::jobs::JOBS;
use grps::domains::players::Status;
use grps::domains::ranks::{DECISIONS, OPEN_EFFECTS};
use grps::fakes::roblox::{Day, FakeRoblox, GROUP};
use grps::workers::Next;
use serde_json::{Value, json};

use crate::drift;
use crate::effects;
use crate::group::live;
use crate::harness::{Setup, TestApp};
use crate::state::{audits, rows};

const BREAKER_PATH: &str = "/automation/breaker";

/// Someone who is due for a promotion.
fn due(user: u64) -> Value {
    json!({ "userId": user, "username": format!("P{user}"), "rank": "Volt Specialist II", "rankPoints": 800 })
}

fn limited(minute: u64, hour: u64, percent: u64) -> Setup {
    Setup::new().set("EVENTS_QUEUE", "events").policy("policy.ranks.json", |ranks| {
        ranks["settings"]["breaker"] =
            json!({ "appliesPerMinute": minute, "appliesPerHour": hour, "percentOfGroupPerHour": percent });
    })
}

/// Applies for players `from..to`; how many were queued.
async fn apply(app: &TestApp, users: std::ops::Range<u64>) -> usize {
    let mut queued = 0;
    for user in users {
        queued += usize::from(app.apply(due(user)).await["status"] == "queued");
    }
    queued
}

async fn breaker(app: &TestApp) -> Value {
    app.get(BREAKER_PATH).operator().expect(200).await.json()
}

async fn set(app: &TestApp, body: Value) -> Value {
    app.post(BREAKER_PATH, body.to_string()).operator().expect(200).await.json()
}

async fn events(app: &TestApp) -> Vec<Value> {
    let jobs = rows(app, &JOBS).await.into_iter().filter(|(_, job)| job.queue.as_str() == "events");
    jobs.map(|(_, job)| serde_json::from_str(&job.payload).unwrap()).collect()
}

async fn verbs(app: &TestApp) -> Vec<String> {
    let all = audits(app).await.into_iter().map(|entry| entry.action);
    all.filter(|verb| verb.starts_with("breaker.")).collect()
}

#[tokio::test]
async fn a_full_hour_stops_everything_until_an_operator_closes_it() {
    let app = limited(100, 3, 100).start().await;
    assert_eq!(apply(&app, 1..6).await, 3);
    let shown = breaker(&app).await;
    assert_eq!(
        (&shown["open"], &shown["trip"]["limit"], &shown["hour"]),
        (&json!(true), &json!("hour"), &json!({ "count": 3, "most": 3 }))
    );
    assert_eq!(app.app.brakes.open().map(|trip| trip.count), Some(3));
    app.advance(7_200);
    assert_eq!(apply(&app, 6..7).await, 0, "time does not close it");
    let app = app.restart().await;
    assert_eq!((apply(&app, 6..7).await, app.app.brakes.open().is_some()), (0, true), "nor does a restart");
    let held = rows(&app, &DECISIONS).await.into_iter().find(|((user, _), _)| user.get() == 6).unwrap().1;
    assert_eq!(
        (held.status, held.blocked_reason.as_deref()),
        (Status::Proposed, Some("The breaker is open: 3 decisions were queued in the last hour (at most 3)"))
    );
    let ready = app.get("/health/ready").expect(200).await.text;
    assert!(ready.contains("breaker") && ready.contains("--close"), "{ready}");
    assert!(app.get("/metrics").operator().expect(200).await.text.contains("grps_breaker_open 1"));
    app.post(BREAKER_PATH, r#"{"open":false}"#).key().refused(403, "auth.scope_missing").await;
    assert_eq!(set(&app, json!({ "open": false, "reason": "looked" })).await["open"], false);
    assert_eq!(set(&app, json!({ "open": false })).await["hour"]["count"], 0);
    assert_eq!(apply(&app, 1..9).await, 6, "three that were queued, and three more");
    assert_eq!(verbs(&app).await, ["breaker.tripped", "breaker.closed", "breaker.tripped"]);
}

#[tokio::test]
async fn the_count_outlives_a_restart() {
    let app = limited(100, 3, 100).start().await;
    assert_eq!(apply(&app, 1..3).await, 2);
    let app = app.restart().await;
    assert_eq!(apply(&app, 3..6).await, 1);
}

#[tokio::test]
async fn a_share_of_the_group_is_of_those_stored_or_of_its_members() {
    let app = limited(1_000, 1_000, 10).start().await;
    assert_eq!(apply(&app, 1..15).await, 10, "never less than ten");
    assert_eq!(breaker(&app).await["trip"]["limit"], "share");
    set(&app, json!({ "open": false })).await;
    app.app.group_size.set(120);
    assert_eq!(breaker(&app).await["share"]["most"], 12);
    for user in 1_000..1_200 {
        app.ingest(json!({ "userId": user, "username": "X" }).to_string()).expect(200).await;
    }
    assert_eq!(breaker(&app).await["share"]["most"], 12, "who is made up makes no room");
    assert_eq!(apply(&app, 20..40).await, 12);
}

#[tokio::test]
async fn while_roblox_is_away_a_share_is_of_the_members_counted_last() {
    let (app, fake) = live(limited(1_000, 1_000, 10)).await;
    (1..=118).for_each(|user| fake.member(user, &[]));
    app.tick("group").await;
    assert_eq!(breaker(&app).await["share"]["most"], 12, "120 with the owner and the bot");
    for user in 1_000..1_200 {
        app.ingest(json!({ "userId": user, "username": "X" }).to_string()).expect(200).await;
    }
    fake.climate(Some(Day::Down));
    let app = app.restart().await;
    app.tick("group").await;
    assert_eq!(breaker(&app).await["share"]["most"], 12, "who is made up makes no room");
    let set = |group: Option<u64>| {
        move |config: &mut grps::config::Config| config.roblox.iter_mut().for_each(|roblox| roblox.group = group)
    };
    let app = app.restart_with(set(Some(4_711))).await;
    assert_eq!(breaker(&app).await["share"]["most"], 20, "those were another group's");
    let app = app.restart_with(set(Some(GROUP))).await;
    fake.climate(None);
    (200..=279).for_each(|user| fake.member(user, &[]));
    app.tick("group").await;
    let app = app.restart().await;
    assert_eq!(breaker(&app).await["share"]["most"], 20, "200 by now");
    (300..=399).for_each(|user| fake.member(user, &[]));
    app.tick("group").await;
    assert_eq!(breaker(&app).await["share"]["most"], 30, "what is counted anew goes first");
}

#[tokio::test]
async fn a_trip_is_told_once_whatever_happens() {
    let app = limited(100, 1, 100).start().await;
    assert!(matches!(app.tick("brakes-alert").await, Next::After(_)));
    apply(&app, 1..4).await;
    for _ in 0..2 {
        app.tick("brakes-alert").await;
    }
    let app = app.restart().await;
    app.tick("brakes-alert").await;
    let told = events(&app).await;
    assert_eq!(told.len(), 1);
    assert_eq!(
        (&told[0]["event"], &told[0]["limit"], &told[0]["latched"]),
        (&json!("breaker.tripped"), &json!("hour"), &json!(true))
    );
    assert_eq!(rows(&app, &BREAKER).await[0].1.untold, []);
    set(&app, json!({ "open": false })).await;
    apply(&app, 4..6).await;
    app.tick("brakes-alert").await;
    assert_eq!(events(&app).await.len(), 2, "another trip is other news");
}

#[tokio::test]
async fn a_trip_that_cannot_be_told_yet_is_told_later() {
    let app = limited(100, 1, 100).set("JOB_QUEUE_LENGTH", "1").start().await;
    app.post("/job/batch", r#"{"jobs":[{"queue":"events","payload":{}}]}"#).operator().expect(200).await;
    apply(&app, 1..3).await;
    let worker = || app.app.workers().into_iter().find(|worker| worker.name() == "brakes-alert").unwrap();
    assert_eq!(worker().tick().await.unwrap_err().code(), "jobs.queue_full");
    app.get("/job/next?queue=events").operator().expect(200).await;
    app.tick("brakes-alert").await;
    assert_eq!(events(&app).await.iter().filter(|event| event["event"] == "breaker.tripped").count(), 1);
}

#[tokio::test]
async fn a_hand_on_the_breaker_stops_everything() {
    let app = limited(100, 100, 100).start().await;
    let shown = set(&app, json!({ "open": true, "reason": "strange things" })).await;
    assert_eq!((&shown["open"], &shown["trip"]["limit"]), (&json!(true), &json!("person")));
    let again = set(&app, json!({ "open": true, "reason": "again" })).await;
    assert_eq!(again["trip"]["id"], shown["trip"]["id"]);
    let decision = app.apply(due(1)).await;
    assert_eq!(decision["status"], "proposed");
    assert!(decision["blockedReason"].as_str().unwrap().contains("strange things (by operator)"), "{decision}");
    set(&app, json!({ "open": false })).await;
    assert_eq!(app.apply(due(1)).await["status"], "queued");
    assert_eq!(verbs(&app).await, ["breaker.opened", "breaker.closed"]);
}

#[tokio::test]
async fn no_race_gets_past_the_breaker() {
    let app = limited(7, 100, 100).start().await;
    for user in 1..=60 {
        app.ingest(due(user).to_string()).expect(200).await;
    }
    let all = json!({ "all": true, "apply": true }).to_string();
    let asks = (0..4).map(|_| app.post("/automation/decisions", all.clone()).key().expect(200));
    futures_util::future::join_all(asks).await;
    assert_eq!(rows(&app, &OPEN_EFFECTS).await.len(), 7);
    app.advance(70);
    app.post("/automation/decisions", all).key().expect(200).await;
    assert_eq!(rows(&app, &OPEN_EFFECTS).await.len(), 14);
    assert!(rows(&app, &BREAKER).await[0].1.untold.len() <= MAX_UNTOLD);
}

/// A moderator whose role binds them, and game servers whose keys' role binds those.
fn moderated(limits: Value) -> Setup {
    limited(100, 1_000, 100).policy("permissions.json", |file| {
        file["bindings"] = json!([
            { "robloxUserIds": [500], "role": "mod" },
            { "robloxRankAtLeast": 40, "role": "mod" },
            { "apiKeyEnv": "INBOUND_API_KEYS", "role": "gameserver", "add": ["decisions:apply"] },
        ]);
        file["limits"] = limits;
    })
}

async fn apply_as(app: &TestApp, actor: u64, user: u64) -> Value {
    let call = app.ingest(due(user).to_string()).header("x-grps-evaluate", "true").header("x-grps-apply", "true");
    call.header("x-grps-actor", actor.to_string()).expect(200).await.json()["decision"].take()
}

#[tokio::test]
async fn a_moderator_is_held_to_the_limits_of_their_role() {
    let app = moderated(json!({ "mod": { "appliesPerHour": 2, "notSelf": true } })).start().await;
    let refused = apply_as(&app, 500, 500).await;
    assert_eq!(
        (&refused["status"], &refused["blockedReason"]),
        (&json!("blocked"), &json!("Nobody may decide about themselves"))
    );
    let statuses = [apply_as(&app, 500, 1).await, apply_as(&app, 500, 2).await, apply_as(&app, 500, 3).await];
    assert_eq!(statuses.each_ref().map(|one| one["status"].as_str().unwrap()), ["queued", "queued", "blocked"]);
    assert!(statuses[2]["blockedReason"].as_str().unwrap().contains("2 applied decisions an hour"));
    assert_eq!(apply_as(&app, 501, 3).await["status"], "queued", "others have limits of their own, or none");
    let app = app.restart().await;
    assert_eq!(apply_as(&app, 500, 4).await["status"], "blocked");
    app.advance(3_610);
    assert_eq!(apply_as(&app, 500, 4).await["status"], "queued");
}

#[tokio::test]
async fn a_role_that_comes_with_a_rank_binds_who_claims_to_have_it() {
    let app = moderated(json!({ "mod": { "mustOutrankTarget": true, "highestTargetRank": "Volt Specialist II" } }))
        .start()
        .await;
    let corporal = json!({ "userId": 9, "username": "M", "rank": "Storm Corporal I", "rankPoints": 800 });
    app.ingest(corporal.to_string()).expect(200).await;
    let blocked = apply_as(&app, 9, 1).await;
    assert_eq!(
        (&blocked["status"], &blocked["blockedReason"]),
        (&json!("blocked"), &json!("Whoever acts must have a rank above Storm Corporal I"))
    );
    assert_eq!(apply_as(&app, 77, 1).await["status"], "queued", "someone without a role is not limited");
}

#[tokio::test]
async fn a_key_that_must_outrank_does_not_by_claiming_somebody() {
    let app = moderated(json!({ "gameserver": { "mustOutrankTarget": true } })).start().await;
    let marshal = json!({ "userId": 9, "username": "M", "rank": "Stormmarshal", "rankPoints": 9_000 });
    app.ingest(marshal.to_string()).expect(200).await;
    let blocked = apply_as(&app, 9, 1).await;
    assert_eq!(blocked["status"], "blocked", "{blocked:#}");
    assert!(blocked["blockedReason"].as_str().unwrap().contains("a key has no rank"), "{blocked:#}");
}

#[tokio::test]
async fn keys_have_a_role_and_the_operator_has_none() {
    let app = moderated(json!({ "gameserver": { "appliesPerHour": 1 } })).start().await;
    assert_eq!((apply(&app, 1..4).await, rows(&app, &OPEN_EFFECTS).await.len()), (1, 1));
    let all = json!({ "all": true, "apply": true }).to_string();
    app.post("/automation/decisions", all).operator().expect(200).await;
    assert_eq!(rows(&app, &OPEN_EFFECTS).await.len(), 3);
}

/// Player `user` as one whose rank was changed by hand on Roblox.
async fn drifted(app: &TestApp, fake: &FakeRoblox, user: u64) {
    drift::promoted(app, fake, user).await;
    fake.rank_by_hand(user, drift::TROOPER);
}

#[tokio::test]
async fn who_restores_a_rank_is_held_to_the_limits_of_their_role() {
    for (limits, why) in [
        (json!({ "appliesPerHour": 1 }), "1 applied decisions an hour"),
        (json!({ "highestTargetRank": "Volt Specialist II" }), "Volt Specialist II"),
        (json!({ "mustOutrankTarget": true }), "must outrank"),
    ] {
        let once = limits["appliesPerHour"] == 1;
        let setup = moderated(json!({ "mod": limits }));
        let (app, fake) = live(setup).await;
        for user in [7, 8] {
            drifted(&app, &fake, user).await;
        }
        app.advance(601);
        assert_eq!(drift::run(&app).await["drifted"], 2);
        let settle = |user: u64, how: &str| {
            let body = json!({ "resolution": how }).to_string();
            app.post(&format!("/automation/drift/{user}"), body).operator()
        };
        let restore = |user: u64| settle(user, "restore");
        if once {
            restore(7).header("x-grps-actor", "500").expect(200).await;
        }
        let refused = restore(8).header("x-grps-actor", "500").refused(403, "decisions.actor_limited").await;
        assert!(refused.detail().contains(why), "{}", refused.text);
        assert_eq!(rows(&app, &OPEN_EFFECTS).await.len(), usize::from(once), "nothing came of it");
        restore(8).header("x-grps-actor", "x").refused(422, "request.invalid").await;
        restore(8).expect(200).await;
        if !once {
            settle(7, "accept").header("x-grps-actor", "500").expect(200).await;
        }
        let rows = audits(&app).await;
        let claimed =
            rows.iter().filter(|entry| entry.action.starts_with("drift.") && entry.actor.claimed == Some(500));
        assert_eq!(claimed.count(), 1, "the trail says for whom it was done");
    }
}

/// The whole story: a stolen key, the breaker, the alert, and everything back.
#[tokio::test]
async fn a_stolen_key_gets_no_further_than_the_breaker_and_all_of_it_comes_back() {
    #[allow(clippy::disallowed_methods)] // how a longer run is asked for
    let most =
        std::env::vars().find(|(name, _)| name == "GRPS_TEST_MALICIOUS").and_then(|(_, value)| value.parse().ok());
    let most: u64 = most.unwrap_or(600);
    let app = limited(30, 60, 5).in_memory().start().await;
    app.app.group_size.set(most);
    let before = app.clock.now();
    app.advance(10);
    for user in 1..=most {
        app.apply(due(user)).await;
        if user % 10 == 0 {
            app.advance(1);
        }
    }
    let queued = rows(&app, &OPEN_EFFECTS).await.len();
    assert_eq!(queued, 60.min(most as usize / 20).max(10), "the hour's limit, or the group's share");
    app.tick("brakes-alert").await;
    assert!(events(&app).await.iter().any(|event| event["event"] == "breaker.tripped" && event["latched"] == true));
    assert_eq!(effects::carry_out(&app).await, queued);
    let moved = |app: &TestApp| {
        let store = app.app.store.clone();
        async move {
            let mut moved = 0;
            for user in 1..=most {
                let id = RobloxId::new(user).unwrap();
                let player = store.get(&grps::domains::players::PLAYERS, &id).await.unwrap().unwrap();
                moved += usize::from(player.rank.as_deref() != Some("Volt Specialist II"));
            }
            moved
        }
    };
    assert_eq!(moved(&app).await, queued);
    let revert = json!({ "since": before.to_string(), "dryRun": false }).to_string();
    let mut restored = 0;
    let mut body: Value = serde_json::from_str(&revert).unwrap();
    loop {
        let page = app.post("/automation/revert", body.to_string()).operator().expect(200).await.json();
        restored += page["restored"].as_u64().unwrap() as usize;
        if page["nextCursor"].is_null() {
            break;
        }
        body["cursor"] = page["nextCursor"].clone();
    }
    assert_eq!((restored, effects::carry_out(&app).await, moved(&app).await), (queued, queued, 0));
}
