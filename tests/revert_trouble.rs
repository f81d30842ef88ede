//! Taking decisions back when something is against it: clocks that were set back, commits that come late, limits, and rows made to be in the way.

use std::time::Duration;

use grps::base::{Id, RobloxId};
use grps::domains::players::{PLAYERS, Status};
use grps::domains::ranks::{DECISIONS, Decision, OPEN_EFFECTS};
use serde_json::{Value, json};

use crate::effects;
use crate::harness::{Setup, TestApp};
use crate::state::rows;

const REVERT: &str = "/automation/revert";

fn snapshot(user: u64, rank: &str, points: i64) -> Value {
    json!({ "userId": user, "username": "A", "rank": rank, "rankPoints": points })
}

async fn rank(app: &TestApp, user: u64) -> Option<String> {
    app.app.store.get(&PLAYERS, &RobloxId::new(user).unwrap()).await.unwrap().unwrap().rank
}

async fn revert(app: &TestApp, body: &Value) -> Value {
    app.post(REVERT, body.to_string()).operator().expect(200).await.json()
}

#[tokio::test]
async fn a_clock_that_was_set_back_hides_nothing_that_took_effect() {
    let app = TestApp::new().await;
    let since = app.clock.now().to_string();
    app.advance(7_200);
    app.apply(snapshot(7, "Shock Trooper II", 900)).await;
    app.apply(snapshot(8, "Volt Specialist II", 800)).await;
    effects::carry_out(&app).await;
    app.apply(snapshot(9, "Volt Specialist II", 800)).await;
    app.clock.set_back(Duration::from_secs(3_600));
    app.apply(snapshot(7, "Volt Specialist II", 900)).await;
    let body = json!({ "since": since, "dryRun": false });
    let nine = RobloxId::new(9).unwrap();
    // Of the player with two decisions, the second is still on its way.
    let answer = revert(&app, &body).await;
    assert_eq!((&answer["cancelled"], &answer["restored"]), (&json!(2), &json!(2)), "{answer:#}");
    assert!(!rows(&app, &OPEN_EFFECTS).await.iter().any(|(_, user)| *user == nine));
    effects::carry_out(&app).await;
    assert_eq!(rank(&app, 7).await.as_deref(), Some("Shock Trooper II"));
    assert_eq!(rank(&app, 8).await.as_deref(), Some("Volt Specialist II"));
}

#[tokio::test]
async fn what_took_effect_before_and_after_a_clock_was_set_back_comes_back_together() {
    let app = TestApp::new().await;
    let since = app.clock.now().to_string();
    app.advance(7_200);
    for rank in ["Shock Trooper II", "Volt Specialist II"] {
        app.apply(snapshot(7, rank, 900)).await;
        effects::carry_out(&app).await;
        app.clock.set_back(Duration::from_secs(3_600));
    }
    assert_eq!(rank(&app, 7).await.as_deref(), Some("Storm Corporal I"));
    let answer = revert(&app, &json!({ "since": since, "dryRun": false })).await;
    assert_eq!(answer["items"][0]["decisionIds"].as_array().map(Vec::len), Some(2), "{answer:#}");
    effects::carry_out(&app).await;
    assert_eq!(rank(&app, 7).await.as_deref(), Some("Shock Trooper II"));
}

#[tokio::test]
async fn what_was_committed_while_the_walk_went_on_is_found_at_its_end() {
    for dry_run in [false, true] {
        let app = TestApp::new().await;
        let mut body = json!({ "since": app.clock.now().to_string(), "dryRun": dry_run, "limit": 1 });
        for user in [1, 2] {
            app.apply(snapshot(user, "Volt Specialist II", 800)).await;
        }
        effects::carry_out(&app).await;
        let first = revert(&app, &body).await;
        assert_eq!(first["restored"], 1);
        // Made within the same millisecond as the walk began, and committed after it passed.
        let late = app.apply(snapshot(9, "Volt Specialist II", 800)).await["requestId"].clone();
        body["cursor"] = first["nextCursor"].clone();
        let mut found = Vec::new();
        while !body["cursor"].is_null() {
            let page = revert(&app, &body).await;
            found.extend(page["items"].as_array().unwrap().iter().filter(|item| item["userId"] == 9).cloned());
            body["cursor"] = page["nextCursor"].clone();
        }
        if dry_run {
            assert_eq!(found, Vec::<Value>::new(), "a preview looks once");
        } else {
            let told: Vec<_> = found.iter().map(|item| (&item["outcome"], &item["decisionIds"][0])).collect();
            assert_eq!(told, [(&json!("cancel"), &late)]);
            let nine = RobloxId::new(9).unwrap();
            assert!(!rows(&app, &OPEN_EFFECTS).await.iter().any(|(_, user)| *user == nine));
        }
    }
}

#[tokio::test]
async fn a_preview_tells_whom_the_actors_limits_leave_out_over_all_its_pages() {
    let app = Setup::new()
        .policy("permissions.json", |file| {
            file["bindings"] = json!([{ "robloxUserIds": [500], "role": "mod" }]);
            file["limits"] = json!({ "mod": { "appliesPerHour": 2, "notSelf": true } });
        })
        .start()
        .await;
    let since = app.clock.now().to_string();
    for user in [1, 2, 3, 4, 500] {
        app.apply(snapshot(user, "Volt Specialist II", 800)).await;
    }
    effects::carry_out(&app).await;
    app.advance(1);
    for limit in [1, 2, 1_000] {
        let mut body = json!({ "since": since, "limit": limit });
        let (mut restored, mut skipped) = (0, Vec::new());
        loop {
            let call = app.post(REVERT, body.to_string()).header("x-grps-actor", "500").operator();
            let page = call.expect(200).await.json();
            restored += page["restored"].as_u64().unwrap();
            let items = page["items"].as_array().unwrap().iter();
            skipped.extend(items.filter_map(|item| item["reason"].as_str().map(str::to_owned)));
            body["cursor"] = page["nextCursor"].clone();
            if body["cursor"].is_null() {
                break;
            }
        }
        skipped.sort();
        assert_eq!((restored, skipped.len()), (2, 3), "{limit} at a time: {skipped:?}");
        assert!(skipped[0].contains("about themselves") && skipped[2].contains("2 applied decisions an hour"));
    }
    let body = json!({ "since": since, "dryRun": false });
    let done = app.post(REVERT, body.to_string()).header("x-grps-actor", "500").operator().expect(200).await.json();
    assert_eq!((&done["restored"], &done["skipped"]), (&json!(2), &json!(3)), "as it was foreseen");
}

#[tokio::test]
async fn decisions_that_somebody_approved_are_theirs_as_well() {
    let app =
        Setup::new().policy("policy.ranks.json", |ranks| ranks["settings"]["mode"] = "propose".into()).start().await;
    let since = app.clock.now().to_string();
    let proposed = app.apply(snapshot(7, "Volt Specialist II", 800)).await;
    let path = format!("/automation/decisions/{}/approve", proposed["requestId"].as_str().unwrap());
    app.post(&path, "").header("x-grps-actor", "500").operator().expect(200).await;
    effects::carry_out(&app).await;
    for (actor, count) in [("500", 1), ("operator", 1), ("501", 0)] {
        let found = revert(&app, &json!({ "since": since, "actor": actor })).await;
        assert_eq!(found["restored"], count, "{actor}: {found:#}");
    }
}

#[tokio::test]
async fn nobody_is_out_of_reach_by_many_decisions_that_took_no_effect() {
    let app = TestApp::new().await;
    let raised = app.apply(snapshot(7, "Volt Specialist II", 800)).await;
    effects::carry_out(&app).await;
    let ((user, id), row) = rows(&app, &DECISIONS).await.pop().unwrap();
    let blocked = &Decision { status: Status::Blocked, ended_at: None, explain: Vec::new(), ..row };
    for part in 0..42 {
        let work = |tx: grps::store::Tx| async move {
            (1..=500).for_each(|more| tx.put(&DECISIONS, &(user, Id(id.0 + part * 500 + more)), blocked));
            Ok(())
        };
        app.app.store.transact(work).await.unwrap();
    }
    let body = json!({ "decisionId": raised["requestId"], "dryRun": false });
    let answer = revert(&app, &body).await;
    assert_eq!(answer["restored"], 1, "{answer:#}");
}
