//! What people say about decisions: approve, reject, retry, one or many; and finding them.

use grps::base::{Id, RobloxId};
use grps::domains::brakes::BREAKER;
use grps::domains::players::{PLAYERS, Player, Status};
use grps::domains::ranks::{DECISIONS, Decision};
use serde_json::{Value, json};

use crate::effects;
use crate::endings::check_index;
use crate::harness::{Answer, Setup, TestApp, snapshot};
use crate::state::{audits, dump, rows};

const DECISIONS_PATH: &str = "/automation/decisions";

async fn stored(app: &TestApp, user: u64) -> Player {
    app.app.store.get(&PLAYERS, &RobloxId::new(user).unwrap()).await.unwrap().unwrap()
}

async fn decision(app: &TestApp, id: &Value) -> Decision {
    let id: Id = id.as_str().unwrap().parse().unwrap();
    rows(app, &DECISIONS).await.into_iter().find(|((_, at), _)| *at == id).unwrap().1
}

async fn say(app: &TestApp, verb: &str, id: &Value) -> Answer {
    let body = if verb == "reject" { r#"{"reason":"by mistake"}"# } else { "" };
    app.post(&format!("{DECISIONS_PATH}/{}/{verb}", id.as_str().unwrap()), body).operator().send().await
}

async fn list(app: &TestApp, query: &str) -> Vec<Value> {
    let answer = app.get(&format!("{DECISIONS_PATH}?{query}")).operator().expect(200).await.json();
    answer["decisions"].as_array().unwrap().clone()
}

#[tokio::test]
async fn an_approved_ban_is_queued_and_the_breaker_does_not_count_it() {
    let app = TestApp::new().await;
    let ban = app.apply(snapshot(7, 500, 7)).await;
    assert_eq!((&ban["action"], &ban["status"]), (&json!("BAN"), &json!("proposed")));
    let answer = say(&app, "approve", &ban["requestId"]).await.json();
    assert_eq!(
        (&answer["status"], &answer["approvedBy"], &answer["blockedReason"]),
        (&json!("queued"), &json!("operator"), &Value::Null)
    );
    let before = dump(&app).await;
    assert_eq!(say(&app, "approve", &ban["requestId"]).await.status, 200, "said twice is said once");
    assert_eq!(dump(&app).await, before);
    assert_eq!(rows(&app, &BREAKER).await, []);
    assert_eq!(app.apply(snapshot(7, 500, 7)).await["reason"], "Banned until it is lifted");
    effects::carry_out(&app).await;
    assert!(stored(&app, 7).await.punished().is_some());
    let late = say(&app, "approve", &ban["requestId"]).await;
    assert_eq!((late.status.as_u16(), late.code().as_str()), (409, "decisions.ended"));
    let verbs: Vec<String> = audits(&app).await.into_iter().map(|entry| entry.action).collect();
    assert!(verbs.ends_with(&["decision.approved".into(), "decision.applied".into()]), "{verbs:?}");
    check_index(&app).await;
}

#[tokio::test]
async fn what_was_rejected_is_not_proposed_again_for_a_day() {
    let app = TestApp::new().await;
    let ban = app.apply(snapshot(7, 500, 7)).await;
    let rejected = say(&app, "reject", &ban["requestId"]).await.json();
    assert_eq!(
        (&rejected["status"], &rejected["blockedReason"]),
        (&json!("blocked"), &json!("Rejected by operator: by mistake"))
    );
    let before = rows(&app, &DECISIONS).await;
    for _ in 0..2 {
        let again = app.apply(snapshot(7, 500, 7)).await;
        assert_eq!(
            (&again["status"], &again["requestId"], &again["blockedReason"]),
            (&json!("blocked"), &ban["requestId"], &rejected["blockedReason"])
        );
    }
    app.evaluate(snapshot(7, 500, 7)).await;
    assert_eq!(rows(&app, &DECISIONS).await, before);
    app.advance(86_400);
    let anew = app.apply(snapshot(7, 500, 7)).await;
    assert_eq!(anew["status"], "proposed");
    assert_ne!(anew["requestId"], ban["requestId"]);
    assert_eq!(
        decision(&app, &ban["requestId"]).await.blocked_reason.as_deref(),
        Some("Rejected by operator: by mistake")
    );
    check_index(&app).await;
}

#[tokio::test]
async fn another_decision_may_follow_a_rejected_one() {
    let app = TestApp::new().await;
    let raise = app.evaluate(snapshot(7, 800, 0)).await["decision"].take();
    say(&app, "reject", &raise["requestId"]).await;
    assert_eq!(app.apply(snapshot(7, 800, 0)).await["status"], "blocked");
    let suspended = app.apply(snapshot(7, 800, 3)).await;
    assert_eq!((&suspended["action"], &suspended["status"]), (&json!("SUSPEND"), &json!("queued")));
    assert!(decision(&app, &raise["requestId"]).await.blocked_reason.unwrap().starts_with("Rejected by"));
}

#[tokio::test]
async fn a_rejection_outlives_other_verdicts() {
    let app = TestApp::new().await;
    let raise = app.evaluate(snapshot(7, 800, 0)).await["decision"].take();
    say(&app, "reject", &raise["requestId"]).await;
    let still = async || {
        let again = app.apply(snapshot(7, 800, 0)).await;
        let told = again["blockedReason"].as_str().unwrap_or_default().to_owned();
        assert_eq!((&again["status"], &again["requestId"]), (&json!("blocked"), &raise["requestId"]), "{again:#}");
        assert_eq!(told, "Rejected by operator: by mistake");
    };
    assert_eq!(app.apply(snapshot(7, 520, 0)).await["action"], "NONE");
    still().await;
    let suspended = app.apply(snapshot(7, 800, 3)).await;
    assert_eq!(suspended["action"], "SUSPEND");
    say(&app, "reject", &suspended["requestId"]).await;
    still().await;
    let again = app.apply(snapshot(7, 800, 3)).await;
    assert_eq!((&again["status"], &again["requestId"]), (&json!("blocked"), &suspended["requestId"]));
    let app = app.restart().await;
    app.advance(86_400);
    assert_eq!(app.apply(snapshot(7, 800, 0)).await["status"], "queued");
}

#[tokio::test]
async fn a_queued_decision_can_be_rejected_and_a_rejected_one_approved() {
    let app = TestApp::new().await;
    let raise = app.apply(snapshot(7, 800, 0)).await;
    assert_eq!(say(&app, "reject", &raise["requestId"]).await.status, 200);
    assert_eq!(effects::carry_out(&app).await, 0);
    assert_eq!(say(&app, "approve", &raise["requestId"]).await.status, 200);
    assert_eq!(effects::carry_out(&app).await, 1);
    assert_eq!(stored(&app, 7).await.rank.as_deref(), Some("Storm Corporal I"));
}

#[tokio::test]
async fn facts_that_changed_are_told_and_nothing_happens() {
    let propose = |ranks: &mut Value| ranks["settings"]["mode"] = "propose".into();
    let app = Setup::new().policy("policy.ranks.json", propose).start().await;
    let raise = app.apply(snapshot(7, 800, 0)).await;
    let moved = json!({ "userId": 7, "username": "A", "rank": "Shock Trooper II", "rankPoints": 800 });
    app.ingest(moved.to_string()).expect(200).await;
    let before = dump(&app).await;
    let answer = say(&app, "approve", &raise["requestId"]).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (409, "decisions.facts_changed"));
    assert!(answer.detail().contains("Shock Trooper II") && answer.hint().contains("decides anew"), "{}", answer.text);
    assert_eq!(dump(&app).await, before);
    let anew = app.evaluate(moved).await["decision"].take();
    assert_eq!(say(&app, "approve", &anew["requestId"]).await.status, 200);
    let old = say(&app, "approve", &raise["requestId"]).await;
    assert_eq!((old.status.as_u16(), old.code().as_str()), (409, "decisions.not_open"));
    assert!(old.detail().contains("Superseded by decision"), "{}", old.text);
}

#[tokio::test]
async fn neither_protection_nor_limits_give_way_to_a_person() {
    let app = Setup::new()
        .policy("permissions.json", |file| {
            file["bindings"] = json!([{ "robloxUserIds": [7], "role": "mod" }]);
            file["limits"] = json!({ "mod": { "notSelf": true } });
        })
        .start()
        .await;
    let ban = app.apply(snapshot(7, 500, 7)).await;
    let path = format!("{DECISIONS_PATH}/{}/approve", ban["requestId"].as_str().unwrap());
    let approve = || app.post(&path, "").header("x-grps-actor", "7").operator();
    let refused = approve().refused(403, "decisions.actor_limited").await;
    assert_eq!(refused.detail(), "Nobody may decide about themselves");
    crate::harness::edit_json(&app.policy_dir().join("permissions.json"), |file| file["protectedUserIds"] = json!([7]));
    for _ in 0..2 {
        app.app.policy.reload_if_changed();
    }
    let path = path.as_str();
    app.post(path, "").operator().refused(403, "decisions.protected").await;
    app.post(path, "").key().refused(403, "auth.scope_missing").await;
}

#[tokio::test]
async fn a_person_may_retry_at_once() {
    let app = TestApp::new().await;
    let raise = app.apply(snapshot(7, 800, 0)).await;
    let early = say(&app, "retry", &raise["requestId"]).await;
    assert_eq!(early.status, 200, "it is queued, which is all that a retry does");
    effects::fail(&app, "The role is gone").await;
    let approve = say(&app, "approve", &raise["requestId"]).await;
    assert_eq!((approve.status.as_u16(), approve.code().as_str()), (409, "decisions.failed"));
    let again = say(&app, "retry", &raise["requestId"]).await.json();
    assert_eq!(
        (&again["status"], &again["failure"], &again["endedAt"]),
        (&json!("queued"), &Value::Null, &Value::Null)
    );
    effects::carry_out(&app).await;
    assert_eq!(stored(&app, 7).await.rank.as_deref(), Some("Storm Corporal I"));
    let done = say(&app, "retry", &raise["requestId"]).await;
    assert_eq!((done.status.as_u16(), done.code().as_str()), (409, "decisions.ended"));
    check_index(&app).await;
}

#[tokio::test]
async fn many_are_answered_one_by_one() {
    let app = TestApp::new().await;
    let mut ids = Vec::new();
    for user in 1..=3 {
        ids.push(app.apply(snapshot(user, 500, 7)).await["requestId"].clone());
    }
    ids.insert(1, json!("0000000000000001"));
    let bulk = async |verb: &str, body: Value| {
        app.post(&format!("{DECISIONS_PATH}/{verb}"), body.to_string()).operator().expect(200).await.json()["results"]
            .take()
    };
    let results = bulk("approve", json!({ "ids": ids })).await;
    let statuses: Vec<&Value> = results.as_array().unwrap().iter().map(|one| &one["decision"]["status"]).collect();
    assert_eq!(statuses, [&json!("queued"), &Value::Null, &json!("queued"), &json!("queued")]);
    assert_eq!((&results[1]["error"]["code"], &results[1]["id"]), (&json!("decisions.missing"), &ids[1]));
    let results = bulk("reject", json!({ "ids": ids, "reason": "no" })).await;
    assert_eq!(results[3]["decision"]["blockedReason"], "Rejected by operator: no");
    assert_eq!(effects::carry_out(&app).await, 0);
    check_index(&app).await;
}

#[tokio::test]
async fn only_what_still_waits_is_rejected_where_that_is_asked_for() {
    let app = TestApp::new().await;
    let mut ids = Vec::new();
    for user in 1..=2 {
        ids.push(app.apply(snapshot(user, 500, 7)).await["requestId"].clone());
    }
    say(&app, "approve", &ids[0]).await;
    let body = json!({ "ids": ids, "onlyProposed": true });
    for _ in 0..2 {
        let call = app.post(&format!("{DECISIONS_PATH}/reject"), body.to_string()).operator();
        let results = call.expect(200).await.json()["results"].take();
        assert_eq!(results[0]["error"]["code"], "decisions.not_proposed", "{results}");
        assert_eq!(results[1]["decision"]["status"], "blocked", "said twice is said once: {results}");
    }
    assert_eq!(decision(&app, &ids[0]).await.status, Status::Queued);
    check_index(&app).await;
}

#[tokio::test]
async fn lists_are_filtered_and_paged_newest_first() {
    let app = TestApp::new().await;
    for user in 1..=6 {
        app.apply(snapshot(user, 800, if user % 2 == 0 { 3 } else { 0 })).await;
        app.advance(10);
    }
    effects::carry_out(&app).await;
    app.apply(snapshot(9, 800, 0)).await;
    let users = |list: &[Value]| -> Vec<u64> { list.iter().map(|one| one["userId"].as_u64().unwrap()).collect() };
    assert_eq!(users(&list(&app, "").await), [9, 6, 5, 4, 3, 2, 1]);
    assert_eq!(users(&list(&app, "status=queued").await), [9]);
    assert_eq!(users(&list(&app, "action=SUSPEND&status=applied").await), [6, 4, 2]);
    assert_eq!(users(&list(&app, "userId=5&origin=policy").await), [5]);
    assert_eq!(users(&list(&app, "origin=revert").await), [] as [u64; 0]);
    let whose = rows(&app, &DECISIONS).await[0].1.actor.id.clone();
    assert_eq!(users(&list(&app, &format!("actor={whose}&status=applied&userId=5")).await), [5]);
    assert_eq!(users(&list(&app, "actor=operator").await), [] as [u64; 0]);
    let ban = app.apply(snapshot(10, 500, 7)).await;
    app.post(&format!("{DECISIONS_PATH}/{}/approve", ban["requestId"].as_str().unwrap()), "")
        .header("x-grps-actor", "500")
        .operator()
        .expect(200)
        .await;
    assert_eq!(users(&list(&app, "actor=operator").await), [10], "who approved counts");
    assert_eq!(users(&list(&app, "actor=500").await), [10], "so does whom they claimed to act for");
    assert_eq!(users(&list(&app, "since=2025-03-01T18:16:04Z&until=2025-03-01T18:16:24Z").await), [4, 3]);
    let (mut seen, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
    loop {
        let path = format!("{DECISIONS_PATH}?action=PROMOTE&limit=2{cursor}");
        let page = app.get(&path).operator().expect(200).await.json();
        seen.extend(users(page["decisions"].as_array().unwrap()));
        pages += 1;
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    assert_eq!((seen, pages), (vec![9, 5, 3, 1], 2));
    let one = &list(&app, "userId=1").await[0];
    let path = format!("{DECISIONS_PATH}/{}", one["id"].as_str().unwrap());
    let shown = app.get(&path).operator().expect(200).await.json();
    assert!(shown["explain"].as_array().unwrap().iter().any(|rule| rule["rule"] == "points"), "{shown}");
    assert_eq!((&shown["actor"], &shown["status"]), (&one["actor"], &json!("applied")));
    app.get(&path).key().refused(403, "auth.scope_missing").await;
    app.get(&format!("{DECISIONS_PATH}/0000000000000001")).operator().refused(404, "decisions.missing").await;
    app.get(&format!("{DECISIONS_PATH}/x")).operator().refused(422, "request.invalid").await;
    for wrong in ["status=lost", "limit=0", "limit=201", "since=today", "cursor=x", "userId=0", "actor="] {
        let answer = app.get(&format!("{DECISIONS_PATH}?{wrong}")).operator().refused(422, "request.invalid").await;
        assert_eq!(answer.complaints(), [format!("query.{}", wrong.split('=').next().unwrap())]);
    }
    assert_eq!(decision(&app, &one["id"]).await.status, Status::Applied);
}

#[tokio::test]
async fn what_rests_on_a_status_that_was_lifted_is_not_approved() {
    let app = TestApp::new().await;
    let mut reported = snapshot(7, 500, 0);
    reported["punishmentStatus"] = json!("banned");
    let ban = app.apply(reported.clone()).await;
    assert_eq!((&ban["action"], &ban["status"]), (&json!("BAN"), &json!("proposed")));
    reported["punishmentStatus"] = Value::Null;
    app.ingest(reported.to_string()).expect(200).await;
    let answer = say(&app, "approve", &ban["requestId"]).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (409, "decisions.facts_changed"));
    assert_eq!(decision(&app, &ban["requestId"]).await.status, Status::Proposed);
}
