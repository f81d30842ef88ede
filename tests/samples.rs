//! Sample data: it may be loaded twice, and it goes without a trace.

use grps::domains::effects::{EFFECTS, EFFECTS_OPEN};
use grps::domains::players::{PLAYERS, SNAPSHOTS};
use grps::domains::samples::DEMO_BASE;
use serde_json::json;

use crate::applying::{SPECIALIST, Scene};
use crate::harness::{SEED_001, TestApp};
use crate::state::{audits, dump, rows};

const BOOTSTRAP: &str = "/admin/api/bootstrap";
const DEMO: &str = "/admin/api/demo";

/// Everything but the audit trail, which only grows.
/// All but what tells of the past: the audit trail, and how many decisions were queued lately.
async fn without_audits(app: &TestApp) -> Vec<String> {
    let past = |row: &String| row.starts_with("audits ") || row.starts_with("breaker ");
    dump(app).await.into_iter().filter(|row| !past(row)).collect()
}

async fn load(app: &TestApp, from: u64, players: u64) {
    let body = json!({ "from": from, "players": players }).to_string();
    let answer = app.post(DEMO, body).operator().expect(200).await.json();
    assert_eq!(answer, json!({ "loaded": players, "removed": 0, "more": false }));
}

/// Removes slices until none is left; gives what each removed.
async fn remove(app: &TestApp) -> Vec<u64> {
    let mut slices = Vec::new();
    loop {
        let answer = app.request("DELETE", DEMO).operator().expect(200).await.json();
        slices.push(answer["removed"].as_u64().unwrap());
        if answer["more"] == json!(false) {
            return slices;
        }
    }
}

#[tokio::test]
async fn bootstrap_adds_the_seeds_player_once() {
    let app = TestApp::new().await;
    let run = async || app.request("POST", BOOTSTRAP).operator().expect(200).await.json();
    assert_eq!(run().await, json!({ "added": 1 }));
    let player = app.get("/players/123456").key().expect(200).await.json();
    assert_eq!((&player["username"], &player["rank"]), (&json!("LightningMarshal"), &json!("Stormmarshal")));
    assert_eq!((&player["rankPoints"], &player["kos"], &player["wos"]), (&json!(8200), &json!(1200), &json!(340)));
    assert_eq!(app.get("/leaderboard").expect(200).await.json()[0]["user_id"], 123456);
    let after_one = dump(&app).await;
    app.advance(60);
    assert_eq!(run().await, json!({ "added": 0 }));
    assert_eq!(dump(&app).await, after_one, "running it twice changes nothing");
    assert_eq!(audits(&app).await[0].action, "player.bootstrapped");
}

#[tokio::test]
async fn an_invented_group_goes_as_it_came() {
    let app = TestApp::new().await;
    app.ingest(SEED_001).expect(200).await;
    let (before, health) = (without_audits(&app).await, app.get("/metrics/health").expect(200).await.json());
    load(&app, 0, 250).await;
    assert_eq!(app.get("/metrics/health").expect(200).await.json()["totalPlayers"], 251.0);
    let loaded = without_audits(&app).await;
    load(&app, 0, 250).await;
    assert_eq!(without_audits(&app).await, loaded, "the same number makes the same person");
    let snapshot =
        json!({ "userId": DEMO_BASE + 3, "username": "Played", "rank": "Volt Specialist II", "rankPoints": 800 });
    app.apply(snapshot).await;
    assert_eq!(remove(&app).await, [250]);
    assert_eq!(without_audits(&app).await, before);
    assert_eq!(app.get("/metrics/health").expect(200).await.json(), health);
    assert_eq!(app.get("/leaderboard").expect(200).await.json().as_array().unwrap().len(), 1);
    let verbs: Vec<String> = audits(&app).await.into_iter().map(|entry| entry.action).collect();
    assert_eq!(verbs.iter().filter(|verb| *verb == "demo.loaded").count(), 6, "one for each commit of a hundred");
    assert_eq!(verbs.last().map(String::as_str), Some("demo.removed"));
}

#[tokio::test]
async fn someone_real_among_the_invented_stays_and_hides_nobody() {
    let app = TestApp::new().await;
    app.ingest(json!({ "userId": DEMO_BASE, "username": "Real" }).to_string()).expect(200).await;
    load(&app, 1, 1_100).await;
    assert_eq!(remove(&app).await, [1_000, 100]);
    let left: Vec<String> = rows(&app, &PLAYERS).await.into_iter().map(|(_, player)| player.username).collect();
    assert_eq!(left, ["Real"]);
}

#[tokio::test]
async fn an_invented_player_with_a_long_history_leaves_none_of_it() {
    let app = TestApp::new().await;
    load(&app, 0, 1).await;
    let snapshot = json!({ "userId": DEMO_BASE, "username": "Busy" }).to_string();
    futures_util::future::join_all((0..450).map(|_| app.ingest(snapshot.as_str()).expect(200))).await;
    assert_eq!(rows(&app, &SNAPSHOTS).await.len(), 450);
    assert_eq!(remove(&app).await, [1]);
    assert_eq!(without_audits(&app).await, [] as [String; 0]);
}

#[tokio::test]
async fn what_was_done_on_roblox_goes_with_the_invented_and_with_age() {
    let scene = Scene::new().await;
    let effects = async || rows(&scene.app, &EFFECTS).await.len() + rows(&scene.app, &EFFECTS_OPEN).await.len();
    scene.promote(DEMO_BASE, &[SPECIALIST]).await;
    scene.work().await;
    load(&scene.app, 0, 1).await;
    assert_eq!(effects().await, 1);
    assert_eq!(remove(&scene.app).await, [1]);
    assert_eq!(effects().await, 0);
    scene.promote(7, &[SPECIALIST]).await;
    scene.work().await;
    assert_eq!(effects().await, 1);
    scene.app.advance(4_000 * 86_400);
    scene.app.tick("history-retention").await;
    assert_eq!(effects().await, 0);
}
