//! Decisions about stored players: one, many, all; and simulations, which write nothing.

use grps::domains::players::{PLAYERS, Status};
use grps::domains::ranks::DECISIONS;
use serde_json::{Value, json};

use crate::effects::carry_out;
use crate::harness::TestApp;
use crate::state::{audits, dump, rows};

const DECIDE: &str = "/automation/decisions";
const SIMULATE: &str = "/automation/simulate";

/// A group of `count` players with ids from 1, each 100 points above the last, all of the lowest rank.
async fn group(count: u64) -> TestApp {
    let app = TestApp::new().await;
    for id in 1..=count {
        let snapshot =
            json!({ "userId": id, "username": format!("P{id}"), "rank": "Shock Trooper II", "rankPoints": id * 100 });
        app.ingest(snapshot.to_string()).expect(200).await;
    }
    app
}

async fn decide(app: &TestApp, body: Value) -> Value {
    app.post(DECIDE, body.to_string()).key().expect(200).await.json()
}

fn users(page: &Value, list: &str) -> Vec<u64> {
    page[list].as_array().unwrap().iter().map(|one| one["userId"].as_u64().unwrap()).collect()
}

#[tokio::test]
async fn one_player_is_decided_about_alone() {
    let app = group(5).await;
    let page = decide(&app, json!({ "userId": 5 })).await;
    assert_eq!(
        (&page["evaluated"], &page["nextCursor"], users(&page, "decisions")),
        (&json!(1), &json!(null), vec![5])
    );
    let decision = &page["decisions"][0];
    assert_eq!(
        (&decision["action"], &decision["status"], &decision["apply"]),
        (&json!("PROMOTE"), &json!("proposed"), &json!(false))
    );
    assert_eq!(
        decide(&app, json!({ "userId": "5" })).await["decisions"][0]["requestId"],
        decision["requestId"],
        "an id may be digits"
    );
    app.post(DECIDE, r#"{"userId": 99}"#).key().refused(404, "players.missing").await;
}

#[tokio::test]
async fn many_are_answered_in_the_order_they_were_named_and_unknown_ones_left_out() {
    let app = group(5).await;
    let page = decide(&app, json!({ "userIds": [5, 99, 2, "4"] })).await;
    assert_eq!((&page["evaluated"], users(&page, "decisions")), (&json!(3), vec![5, 2, 4]));
    assert_eq!(decide(&app, json!({ "userIds": [] })).await["evaluated"], 0);
    assert_eq!(users(&decide(&app, json!({ "userIds": [5, 5] })).await, "decisions"), [5, 5]);
    assert_eq!(rows(&app, &DECISIONS).await.len(), 2, "5 and 4 may rise, each once");
}

#[tokio::test]
async fn all_are_walked_page_by_page() {
    let app = group(7).await;
    let (mut seen, mut cursor, mut pages) = (Vec::new(), Value::Null, 0);
    loop {
        let page = decide(&app, json!({ "all": true, "limit": 3, "cursor": cursor })).await;
        assert_eq!(page["evaluated"], page["decisions"].as_array().unwrap().len());
        seen.extend(users(&page, "decisions"));
        (cursor, pages) = (page["nextCursor"].clone(), pages + 1);
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!((seen, pages), ((1..=7).collect(), 3));
}

#[tokio::test]
async fn exactly_one_way_to_say_whom() {
    let app = group(1).await;
    for body in [
        json!({}),
        json!({ "all": false }),
        json!({ "userId": 1, "all": true }),
        json!({ "userId": 1, "userIds": [1] }),
        json!({ "userIds": [1], "all": true }),
    ] {
        let answer = app.post(DECIDE, body.to_string()).key().refused(422, "request.invalid").await;
        assert!(answer.detail().contains("exactly one of userId, userIds and all"), "{body}: {}", answer.text);
    }
    let too_many: Vec<u64> = (1..=501).collect();
    let answer =
        app.post(DECIDE, json!({ "userIds": too_many }).to_string()).key().refused(422, "request.invalid").await;
    assert_eq!(answer.complaints(), ["body.userIds"]);
    for limit in [0, 501] {
        let answer = app
            .post(DECIDE, json!({ "all": true, "limit": limit }).to_string())
            .key()
            .refused(422, "request.invalid")
            .await;
        assert_eq!(answer.complaints(), ["body.limit"]);
    }
}

#[tokio::test]
async fn a_cursor_in_the_body_is_complained_of_in_the_body() {
    let app = group(1).await;
    for path in [DECIDE, SIMULATE] {
        for cursor in ["not a cursor", "AAAA", ""] {
            let answer = app
                .post(path, json!({ "all": true, "cursor": cursor }).to_string())
                .key()
                .refused(422, "request.invalid")
                .await;
            assert_eq!(answer.complaints(), ["body.cursor"], "{path} {cursor:?}");
        }
    }
}

#[tokio::test]
async fn applied_decisions_are_queued_and_their_players_hold_them() {
    let app = group(5).await;
    let page = decide(&app, json!({ "all": true, "apply": true })).await;
    let queued: Vec<u64> = users(&page, "decisions")
        .into_iter()
        .zip(page["decisions"].as_array().unwrap())
        .filter(|(_, one)| one["status"] == "queued")
        .map(|(id, _)| id)
        .collect();
    assert_eq!(queued, [4, 5]);
    let decided: Vec<u64> = rows(&app, &PLAYERS)
        .await
        .iter()
        .filter(|(_, player)| player.decided.is_some())
        .map(|(id, _)| id.get())
        .collect();
    assert_eq!(decided, [4, 5]);
    let again = decide(&app, json!({ "all": true, "apply": true })).await;
    assert_eq!(again["decisions"][4]["requestId"], page["decisions"][4]["requestId"]);
    assert_eq!(rows(&app, &DECISIONS).await.len(), 2);
}

#[tokio::test]
async fn the_automation_signature_may_evaluate_but_not_apply() {
    let app = group(5).await;
    let page = app.post(DECIDE, r#"{"userId":5}"#).automation().expect(200).await.json();
    assert_eq!(page["decisions"][0]["status"], "proposed");
    let page = app.post(DECIDE, r#"{"userId":5,"apply":true}"#).automation().expect(200).await.json();
    let decision = &page["decisions"][0];
    assert_eq!((&decision["apply"], &decision["status"]), (&json!(false), &json!("blocked")));
    assert!(decision["blockedReason"].as_str().unwrap().contains("\"automation\" lacks decisions:apply"), "{decision}");
    let kept = rows(&app, &DECISIONS).await;
    assert_eq!((kept.len(), kept[0].1.status), (1, Status::Proposed), "being denied changes nothing about a proposal");
    let page = app.post(DECIDE, r#"{"userId":4,"apply":true}"#).automation().expect(200).await.json();
    assert_eq!(page["decisions"][0]["status"], "blocked");
    let trail = audits(&app).await;
    assert!(trail.iter().any(|entry| entry.actor.id == "automation" && entry.action == "decision.blocked"));
}

#[tokio::test]
async fn a_simulation_counts_and_writes_nothing() {
    let app = group(7).await;
    let before = dump(&app).await;
    let page = app.post(SIMULATE, "{}").key().expect(200).await.json();
    assert_eq!((&page["evaluated"], &page["counts"]), (&json!(7), &json!({ "NONE": 3, "PROMOTE": 4 })));
    assert_eq!(users(&page, "moves"), [4, 5, 6, 7]);
    let first = &page["moves"][0];
    assert_eq!(
        (&first["fromRank"], &first["targetRank"], &first["rankPoints"]),
        (&json!("Shock Trooper II"), &json!("Volt Specialist II"), &json!(400))
    );
    assert_eq!(page["policyVersion"], app.app.policy.status().version.as_ref());
    let part = app.post(SIMULATE, r#"{"limit": 5}"#).key().expect(200).await.json();
    let rest = app.post(SIMULATE, json!({ "cursor": part["nextCursor"] }).to_string()).key().expect(200).await.json();
    assert_eq!(
        (users(&part, "moves"), users(&rest, "moves"), &rest["nextCursor"]),
        (vec![4, 5], vec![6, 7], &json!(null))
    );
    assert_eq!(dump(&app).await, before);
}

#[tokio::test]
async fn a_policy_may_be_tried_before_it_is_in_force() {
    let app = group(7).await;
    let ranks = json!({ "version": 1, "ranks": [
        { "name": "Shock Trooper II", "requiredPoints": 100, "robloxRank": 20 },
        { "name": "Captain", "requiredPoints": 600, "robloxRank": 30 },
    ] });
    let before = dump(&app).await;
    let page =
        app.post(SIMULATE, json!({ "policy": { "policy.ranks": ranks } }).to_string()).key().expect(200).await.json();
    assert_eq!((users(&page, "moves"), &page["moves"][0]["targetRank"]), (vec![6, 7], &json!("Captain")));
    assert_ne!(page["policyVersion"], app.app.policy.status().version.as_ref());
    assert_eq!((dump(&app).await, app.app.policy.status().last_error), (before, None));
    let bad = json!({ "policy": { "policy.ranks": { "version": 1, "ranks": [{ "name": "A", "requiredPoints": 5, "robloxRnk": 3 }] } } });
    let answer = app.post(SIMULATE, bad.to_string()).key().expect(422).await;
    assert!(answer.code().starts_with("policy.") && answer.text.contains("robloxRnk"), "{}", answer.text);
    let unknown = json!({ "policy": { "policy.rankz": {} } });
    let answer = app.post(SIMULATE, unknown.to_string()).key().refused(422, "request.invalid").await;
    assert_eq!(answer.complaints(), ["body.policy.policy.rankz"]);
}

#[tokio::test]
async fn decisions_at_once_about_one_player_agree() {
    let app = group(5).await;
    let asks = (0..20).map(|_| decide(&app, json!({ "userId": 5, "apply": true })));
    let pages = futures_util::future::join_all(asks).await;
    let ids: std::collections::BTreeSet<String> =
        pages.iter().map(|page| page["decisions"][0]["requestId"].to_string()).collect();
    assert_eq!((ids.len(), rows(&app, &DECISIONS).await.len()), (1, 1));
}

#[tokio::test]
async fn one_player_is_simulated_with_the_decision_in_full() {
    let app = group(5).await;
    let before = dump(&app).await;
    let simulate = async |body: Value| app.post(SIMULATE, body.to_string()).key().expect(200).await.json();
    let page = simulate(json!({ "userId": 5 })).await;
    assert_eq!((&page["evaluated"], users(&page, "moves")), (&json!(1), vec![5]));
    let decision = &page["decision"];
    assert_eq!((&decision["action"], &decision["apply"]), (&json!("PROMOTE"), &json!(false)));
    assert!(decision["explain"].as_array().unwrap().iter().any(|rule| rule["rule"] == "points"), "{decision}");
    let page = simulate(json!({ "userId": "1" })).await;
    assert_eq!((users(&page, "moves"), &page["counts"]), (vec![], &json!({ "NONE": 1 })));
    assert_eq!((&page["decision"]["action"], page["decision"].get("status")), (&json!("NONE"), None));
    let ranks = json!({ "version": 1, "settings": { "mode": "propose" }, "ranks": [
        { "name": "Shock Trooper II", "requiredPoints": 100 }, { "name": "Captain", "requiredPoints": 200 } ] });
    let page = simulate(json!({ "userId": 5, "policy": { "policy.ranks": ranks } })).await;
    assert_eq!(page["decision"]["targetRank"], "Captain");
    assert!(page["decision"]["blockedReason"].as_str().unwrap().contains("propose"), "{page}");
    assert_eq!(simulate(json!({})).await.get("decision"), None);
    app.post(SIMULATE, r#"{"userId": 99}"#).key().refused(404, "players.missing").await;
    let both = json!({ "userId": 5, "cursor": "AAAA" }).to_string();
    let answer = app.post(SIMULATE, both).key().refused(422, "request.invalid").await;
    assert_eq!(answer.complaints(), ["body.cursor"]);
    assert_eq!(dump(&app).await, before);
}

#[tokio::test]
async fn a_rank_that_was_reported_before_our_decision_is_no_drift() {
    let app = TestApp::new().await;
    let low = |user: u64| json!({ "userId": user, "username": "A", "rank": "Shock Trooper II", "rankPoints": 2_000 });
    for user in 1..=3 {
        assert_eq!(app.apply(low(user)).await["targetRank"], "Volt Specialist II");
    }
    assert_eq!(carry_out(&app).await, 3);
    app.advance(601);
    // One plays no more, the next one's game says nothing of ranks, and the last one's still says the old one.
    app.ingest(json!({ "userId": 2, "username": "A" }).to_string()).expect(200).await;
    app.ingest(low(3).to_string()).expect(200).await;
    for (user, status) in [(1, "queued"), (2, "queued"), (3, "proposed")] {
        let page = decide(&app, json!({ "userId": user, "apply": true })).await;
        let decision = &page["decisions"][0];
        assert_eq!(
            (&decision["targetRank"], &decision["status"]),
            (&json!("Storm Corporal I"), &json!(status)),
            "player {user}: {decision:#}"
        );
    }
}
