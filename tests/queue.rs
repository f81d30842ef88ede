//! Decisions that wait to take effect: what may take their place, what ends them, and how many there may be.

use std::time::Duration;

use grps::base::{Id, RobloxId};
use grps::domains::audit::Entry;
use grps::domains::effects::{EFFECTS, Effect};
use grps::domains::players::{PLAYERS, Player, Status};
use grps::domains::ranks::{DECISIONS, Decision};
use serde_json::{Value, json};

use crate::effects;
use crate::harness::{START, Setup, TestApp};
use crate::state::{audits, rows};

fn snapshot(points: i64, warnings: u32) -> Value {
    json!({ "userId": 7, "username": "A", "rank": "Volt Specialist II", "rankPoints": points, "warnings": warnings })
}

async fn stored(app: &TestApp) -> Player {
    app.app.store.get(&PLAYERS, &RobloxId::new(7).unwrap()).await.unwrap().unwrap()
}

async fn decisions(app: &TestApp) -> Vec<Decision> {
    rows(app, &DECISIONS).await.into_iter().map(|(_, decision)| decision).collect()
}

async fn trail(app: &TestApp) -> Vec<Entry> {
    audits(app).await.into_iter().filter(|entry| entry.action.starts_with("decision.")).collect()
}

#[tokio::test]
async fn a_queued_suspension_is_not_taken_back_by_anything_milder() {
    let app = TestApp::new().await;
    let queued = app.apply(snapshot(520, 5)).await;
    assert_eq!((&queued["action"], &queued["status"]), (&json!("SUSPEND"), &json!("queued")));
    let kept = stored(&app).await.decided;
    for hours in [0, 1, 30, 30] {
        app.advance(hours * 3600);
        for warnings in [5, 6] {
            let next = app.apply(snapshot(520, warnings)).await;
            assert_eq!(next["action"], "NONE", "{next}");
            assert_eq!(next["reason"], "Suspended: 24 hours left");
            assert_eq!((stored(&app).await.decided, decisions(&app).await.len()), (kept.clone(), 1));
        }
    }
    assert_eq!(decisions(&app).await[0].status, Status::Queued);
}

#[tokio::test]
async fn only_a_ban_takes_the_place_of_a_queued_suspension() {
    let unapproved = |file: &mut Value| file["approval"] = json!({ "BAN": false });
    let app = Setup::new().policy("policy.punishments.json", unapproved).start().await;
    app.apply(snapshot(520, 5)).await;
    let ban = app.apply(snapshot(520, 7)).await;
    assert_eq!((&ban["action"], &ban["status"]), (&json!("BAN"), &json!("queued")), "{ban}");
    let kept = decisions(&app).await;
    assert_eq!((kept[0].status, kept[1].status), (Status::Blocked, Status::Queued));
    let verbs: Vec<String> = trail(&app).await.into_iter().map(|entry| entry.action).collect();
    assert_eq!(verbs, ["decision.queued", "decision.superseded", "decision.queued"]);
    let next = app.apply(snapshot(520, 8)).await;
    assert_eq!((&next["action"], &next["reason"]), (&json!("NONE"), &json!("Banned until it is lifted")));
}

#[tokio::test]
async fn a_suspension_that_took_effect_runs_its_time() {
    let app = TestApp::new().await;
    app.apply(snapshot(520, 5)).await;
    app.advance(3600);
    effects::carry_out(&app).await;
    app.advance(3600);
    assert_eq!(app.apply(snapshot(520, 5)).await["reason"], "Suspended: 23 hours left");
    app.advance(23 * 3600);
    assert_eq!(app.apply(snapshot(520, 5)).await["action"], "DEMOTE", "the next threshold has its turn");
}

#[tokio::test]
async fn a_suspension_by_status_ends_when_the_status_is_lifted() {
    let app = TestApp::new().await;
    let mut suspended = snapshot(520, 0);
    suspended["punishmentStatus"] = "suspended".into();
    assert_eq!(app.apply(suspended.clone()).await["status"], "queued");
    assert_eq!(app.apply(suspended).await["reason"], "Suspended until it is lifted");
    let mut lifted = snapshot(520, 0);
    lifted["punishmentStatus"] = Value::Null;
    assert_eq!(app.apply(lifted).await["action"], "NONE");
    assert_eq!((stored(&app).await.decided, decisions(&app).await[0].status), (None, Status::Blocked));
}

#[tokio::test]
async fn who_may_not_apply_never_touches_what_is_queued() {
    let app = TestApp::new().await;
    let queued = app.apply(snapshot(800, 0)).await;
    let kept = stored(&app).await.decided;
    let asks = async |snapshot: Value| app.evaluate(snapshot).await["decision"].take();
    let suspended = asks(snapshot(800, 3)).await;
    assert_eq!((&suspended["action"], &suspended["status"]), (&json!("SUSPEND"), &json!("proposed")));
    assert_ne!(suspended["requestId"], queued["requestId"]);
    assert_eq!(asks(snapshot(520, 0)).await["action"], "NONE");
    assert_eq!((stored(&app).await.decided, decisions(&app).await.len()), (kept, 1));
    assert_eq!(decisions(&app).await[0].status, Status::Queued);
    assert_eq!(trail(&app).await.len(), 1);
}

#[tokio::test]
async fn a_decision_whose_basis_is_gone_is_closed() {
    for apply in [false, true] {
        let app = TestApp::new().await;
        let ask = async |snapshot: Value| match apply {
            true => app.apply(snapshot).await,
            false => app.evaluate(snapshot).await["decision"].take(),
        };
        let made = ask(snapshot(800, 0)).await;
        assert_eq!(ask(snapshot(520, 0)).await["action"], "NONE");
        let kept = decisions(&app).await;
        assert_eq!((kept.len(), kept[0].status, stored(&app).await.decided), (1, Status::Blocked, None));
        let why = "No longer holds: 230 points short of Storm Corporal I (750 required)";
        assert_eq!(kept[0].blocked_reason.as_deref(), Some(why));
        let told = trail(&app).await.pop().unwrap();
        assert_eq!((told.action.as_str(), told.subject.as_str()), ("decision.closed", "player:7"));
        assert!(told.after.unwrap().contains(why));
        let again = ask(snapshot(800, 0)).await;
        assert_ne!(again["requestId"], made["requestId"], "what was closed is not opened again");
    }
}

#[tokio::test]
async fn cooling_down_says_nothing_against_what_is_queued() {
    let hour = |ranks: &mut Value| ranks["settings"]["cooldownSeconds"] = 3600.into();
    let app = Setup::new().policy("policy.ranks.json", hour).start().await;
    app.apply(snapshot(800, 0)).await;
    let waiting = app.apply(snapshot(520, 0)).await;
    assert!(waiting["reason"].as_str().unwrap().starts_with("Cooling down"), "{waiting}");
    assert_eq!(decisions(&app).await[0].status, Status::Queued);
}

#[tokio::test]
async fn a_queued_demotion_is_the_same_decision_at_the_next_snapshot() {
    let app = TestApp::new().await;
    let low = json!({ "userId": 7, "username": "A", "rank": "Storm Corporal I", "rankPoints": 600 });
    app.apply(low.clone()).await;
    app.advance(86_400);
    let demoted = app.apply(low.clone()).await;
    assert_eq!((&demoted["action"], &demoted["status"]), (&json!("DEMOTE"), &json!("queued")));
    app.advance(60);
    let again = app.apply(low).await;
    assert_eq!((&again["requestId"], &again["status"]), (&demoted["requestId"], &json!("queued")));
}

#[tokio::test]
async fn a_proposal_that_is_queued_is_written_anew() {
    let app = TestApp::new().await;
    let proposed = app.evaluate(snapshot(800, 0)).await["decision"].take();
    app.advance(60);
    app.evaluate(snapshot(800, 0)).await;
    assert_eq!(decisions(&app).await[0].at, START, "the same proposal again writes nothing");
    std::fs::write(app.policy_dir().join("policy.points.json"), r#"{ "version": 1, "maxGainPerHour": 499 }"#).unwrap();
    for _ in 0..2 {
        app.app.policy.reload_if_changed();
    }
    let queued = app.apply(snapshot(810, 0)).await;
    assert_eq!((&queued["requestId"], &queued["status"]), (&proposed["requestId"], &json!("queued")));
    let kept = decisions(&app).await;
    assert_eq!((kept.len(), kept[0].status, kept[0].at), (1, Status::Queued, START + Duration::from_secs(60)));
    assert_ne!(kept[0].policy_version, proposed["policyVersion"]);
    assert_eq!(kept[0].policy_version, queued["policyVersion"].as_str().unwrap());
    assert!(kept[0].explain.iter().any(|rule| rule.value == Some(810)), "{:?}", kept[0].explain);
    assert_eq!(stored(&app).await.decided.unwrap().at, START + Duration::from_secs(60));
}

#[tokio::test]
async fn a_suspension_of_another_length_is_another_decision() {
    let app = TestApp::new().await;
    let day = app.evaluate(snapshot(520, 3)).await["decision"].take();
    crate::harness::edit_json(&app.policy_dir().join("policy.punishments.json"), |file| {
        file["warnings"]["thresholds"][0]["hours"] = 48.into();
    });
    for _ in 0..2 {
        app.app.policy.reload_if_changed();
    }
    let two = app.apply(snapshot(520, 3)).await;
    assert_ne!(two["requestId"], day["requestId"]);
    let kept = decisions(&app).await;
    assert_eq!((kept[0].status, kept[1].suspend_seconds), (Status::Blocked, Some(48 * 3600)));
}

#[tokio::test]
async fn a_stale_snapshot_does_not_bring_the_old_rank_back() {
    let app = TestApp::new().await;
    app.apply(snapshot(1_000, 0)).await;
    effects::carry_out(&app).await;
    assert_eq!(stored(&app).await.rank.as_deref(), Some("Storm Corporal I"));
    app.evaluate(snapshot(1_000, 3)).await;
    assert_eq!(stored(&app).await.decided.unwrap().status, Status::Proposed);
    app.ingest(snapshot(1_000, 3).to_string()).expect(200).await;
    let player = stored(&app).await;
    assert_eq!(player.rank.as_deref(), Some("Storm Corporal I"), "a later proposal takes nothing back");
    assert_eq!(player.reported_rank.as_deref(), Some("Volt Specialist II"));
}

#[tokio::test]
async fn the_breaker_leaves_what_is_too_much_to_a_person() {
    let few = |ranks: &mut Value| ranks["settings"]["breaker"]["appliesPerMinute"] = 3.into();
    let app = Setup::new().policy("policy.ranks.json", few).start().await;
    for id in 1..=5 {
        let snapshot = json!({ "userId": id, "username": "A", "rank": "Volt Specialist II", "rankPoints": 800 });
        app.ingest(snapshot.to_string()).expect(200).await;
    }
    let all = async || {
        let body = json!({ "all": true, "apply": true }).to_string();
        app.post("/automation/decisions", body).key().expect(200).await.json()["decisions"].take()
    };
    let count = |decisions: &Value, status: &str| {
        decisions.as_array().unwrap().iter().filter(|decision| decision["status"] == status).count()
    };
    let first = all().await;
    assert_eq!((count(&first, "queued"), count(&first, "proposed")), (3, 2));
    let held = first.as_array().unwrap().iter().find(|decision| decision["status"] == "proposed").unwrap();
    let why = "This minute is full: 3 of at most 3 decisions were queued; it stays proposed until it is asked for again or approved";
    assert_eq!((&held["blockedReason"], &held["apply"]), (&json!(why), &json!(false)));
    assert_eq!(count(&all().await, "queued"), 3, "asking again for what is queued costs nothing, and changes nothing");
    app.advance(70);
    assert_eq!(count(&all().await, "queued"), 5);
    assert_eq!(decisions(&app).await.len(), 5);
}

#[tokio::test]
async fn a_person_may_believe_points_that_were_flagged() {
    let app = TestApp::new().await;
    let clear = |id: u64| app.request("POST", &format!("/players/{id}/clear-flag"));
    clear(7).operator().refused(404, "players.missing").await;
    app.apply(snapshot(410, 0)).await;
    app.apply(snapshot(950, 0)).await;
    let shown = async || app.get("/players/7").key().expect(200).await.json()["pointsFlagged"].take();
    assert_eq!(shown().await, json!(true));
    clear(7).refused(401, "auth.credentials_missing").await;
    clear(7).key().refused(403, "auth.scope_missing").await;
    assert_eq!(shown().await, json!(true), "a game server's key does not lift what the anti-cheat holds");
    for _ in 0..2 {
        assert_eq!(clear(7).operator().expect(200).await.json()["pointsFlagged"], json!(false));
    }
    assert_eq!(shown().await, json!(false));
    let told: Vec<Entry> =
        audits(&app).await.into_iter().filter(|entry| entry.action == "player.flag_cleared").collect();
    assert_eq!((told.len(), told[0].subject.as_str()), (1, "player:7"), "the second time there was nothing to clear");
    assert_eq!(app.apply(snapshot(951, 0)).await["status"], "queued");
}

#[tokio::test]
async fn old_audit_rows_and_ended_decisions_go() {
    let app = TestApp::new().await;
    app.apply(snapshot(800, 0)).await;
    app.apply(snapshot(520, 0)).await;
    app.evaluate(snapshot(810, 0)).await;
    assert_eq!(decisions(&app).await.len(), 2);
    app.advance(365 * 86_400 - 1);
    app.tick("history-retention").await;
    assert_eq!(decisions(&app).await.len(), 2, "the year is not over");
    app.ingest(json!({ "userId": 8, "username": "B" }).to_string()).expect(200).await;
    app.advance(2);
    app.tick("history-retention").await;
    let left: Vec<Status> = decisions(&app).await.into_iter().map(|decision| decision.status).collect();
    assert_eq!(left, [Status::Proposed], "an open decision stays");
    let trail: Vec<String> = audits(&app).await.into_iter().map(|entry| entry.subject).collect();
    assert_eq!(trail, ["player:8"]);
}

#[tokio::test]
async fn what_is_still_open_or_ended_lately_stays() {
    let app = TestApp::new().await;
    app.apply(snapshot(800, 0)).await;
    crate::effects::fail(&app, "Roblox hangs").await;
    let waits = app.apply(json!({ "userId": 8, "username": "B", "rankPoints": 500, "warnings": 7 })).await;
    assert_eq!(waits["action"], "BAN");
    app.advance(300 * 86_400);
    let approve = format!("/automation/decisions/{}/approve", waits["requestId"].as_str().unwrap());
    app.post(&approve, "").operator().expect(200).await;
    crate::effects::carry_out(&app).await;
    app.advance(100 * 86_400);
    app.tick("history-retention").await;
    let left: Vec<Status> = decisions(&app).await.into_iter().map(|decision| decision.status).collect();
    assert_eq!(left, [Status::Failed, Status::Applied], "one is open still, one took effect a hundred days ago");
    app.advance(300 * 86_400);
    app.tick("history-retention").await;
    let left: Vec<Status> = decisions(&app).await.into_iter().map(|decision| decision.status).collect();
    assert_eq!(left, [Status::Failed, Status::Applied], "whoever is banned can be set free by taking the ban back");
    let lift = json!({ "decisionId": waits["requestId"], "dryRun": false }).to_string();
    app.post("/automation/revert", lift).operator().expect(200).await;
    crate::effects::carry_out(&app).await;
    app.tick("history-retention").await;
    let left: Vec<Status> = decisions(&app).await.into_iter().map(|decision| decision.status).collect();
    assert_eq!(left, [Status::Failed, Status::Applied], "the ban is over and goes, what took it back is new");
}

#[tokio::test]
async fn a_suspension_that_a_ban_replaced_is_there_to_come_back_as_long_as_it_lasts() {
    let app = Setup::new()
        .set("AUDIT_RETENTION_DAYS", "1")
        .policy("policy.punishments.json", |file| {
            file["warnings"]["thresholds"][0]["hours"] = json!(240);
            file["approval"]["BAN"] = json!(false);
        })
        .start()
        .await;
    app.apply(snapshot(500, 3)).await;
    crate::effects::carry_out(&app).await;
    let ban = app.apply(snapshot(500, 7)).await;
    assert_eq!(ban["action"], "BAN");
    crate::effects::carry_out(&app).await;
    app.advance(5 * 86_400);
    app.tick("history-retention").await;
    let back = json!({ "decisionId": ban["requestId"] }).to_string();
    let preview = app.post("/automation/revert", back).operator().expect(200).await.json();
    assert_eq!((&preview["items"][0]["from"], &preview["items"][0]["to"]), (&json!("BAN"), &json!("SUSPEND")));
}

#[tokio::test]
async fn a_decision_stays_as_long_as_something_of_it_is_to_be_taken_back() {
    let app = TestApp::new().await;
    let id: Id = app.apply(snapshot(800, 0)).await["requestId"].as_str().unwrap().parse().unwrap();
    app.apply(snapshot(800, 3)).await;
    let user = app.app.store.get(&grps::domains::ranks::DECIDED, &id).await.unwrap().unwrap();
    let begun = Effect { touched: true, ..Effect::begin(user, app.clock.now()) };
    for (ended_at, left) in [(None, true), (Some(app.clock.now()), false)] {
        let effect = &Effect { ended_at, ..begun.clone() };
        let work = |tx: grps::store::Tx| async move {
            grps::domains::effects::keep(&tx, id, effect);
            Ok(())
        };
        app.app.store.transact(work).await.unwrap();
        app.advance(400 * 86_400);
        app.tick("history-retention").await;
        assert_eq!(app.app.store.get(&EFFECTS, &id).await.unwrap().is_some(), left);
        assert_eq!(app.app.store.get(&DECISIONS, &(user, id)).await.unwrap().is_some(), left);
    }
}
