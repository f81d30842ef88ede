//! The seed's story: a snapshot comes in, a decision comes back.

use serde_json::json;

use crate::harness::{SEED_001, TestApp};

/// The seed's answer, letter by letter but for `lastSyncedAt` (our clock's) and `requestId` (random).
const SEED_ANSWER: &str = r#"{"player":{"userId":12345678,"username":"ArcTrooper","rank":"Volt Specialist II","rankPoints":520,"nextRank":"Storm Corporal I","nextRankRequiredPoints":750,"previousRank":"Shock Trooper II","previousRankRequiredPoints":150,"warnings":1,"privileged":false,"decisionsBlocked":false,"lastSyncedAt":"2025-03-01T18:15:44Z"},"decision":{"action":"PROMOTE","targetRank":"Storm Corporal I","reason":"Eligible for promotion","apply":true,"requestId":"REQUEST_ID"}}"#;

#[tokio::test]
async fn the_seeds_request_gets_the_seeds_answer() {
    let app = TestApp::with_example("seed-001").await;
    let call = app.ingest(SEED_001).header("x-grps-evaluate", "true").header("x-grps-apply", "true");
    let answer = call.header("x-grps-explain", "false").expect(200).await;
    let id = answer.json()["decision"]["requestId"].as_str().unwrap().to_owned();
    assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
    assert_eq!(answer.text, SEED_ANSWER.replace("REQUEST_ID", &id));
}

#[tokio::test]
async fn the_shipped_policy_does_not_promote_230_points_early() {
    let app = TestApp::new().await;
    let answer =
        app.ingest(SEED_001).header("x-grps-evaluate", "true").header("x-grps-apply", "true").expect(200).await;
    let decision = &answer.json()["decision"];
    assert_eq!(decision["action"], "NONE");
    assert_eq!(decision["targetRank"], json!(null));
    assert_eq!(decision["reason"], "230 points short of Storm Corporal I (750 required)");
    let points = decision["explain"].as_array().unwrap().iter().find(|rule| rule["rule"] == "points").unwrap().clone();
    assert_eq!((&points["passed"], &points["value"], &points["limit"]), (&json!(false), &json!(520), &json!(750)));
}

#[tokio::test]
async fn the_board_moves_with_the_snapshot() {
    let app = TestApp::new().await;
    assert_eq!(app.get("/leaderboard").expect(200).await.json(), json!([]));
    app.ingest(SEED_001).expect(200).await;
    app.ingest(r#"{"userId": 7, "username": "Ahead", "rankPoints": 600}"#).expect(200).await;
    let board = app.get("/leaderboard").expect(200).await.json();
    let names: Vec<&str> = board.as_array().unwrap().iter().map(|row| row["username"].as_str().unwrap()).collect();
    assert_eq!(names, ["Ahead", "ArcTrooper"]);
}
