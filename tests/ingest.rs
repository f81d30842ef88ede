//! A snapshot comes in: what is kept of it, what is answered, and that one commit carries all of it.

use grps::base::RobloxId;
use grps::domains::players::{PLAYERS, SNAPSHOTS};
use grps::domains::policy::Reload;
use grps::domains::ranks::DECISIONS;
use grps::domains::standings::{BoardId, RANKED};
use serde_json::{Value, json};

use crate::harness::{INGEST, SEED_001, Setup, TestApp};
use crate::state::{audits, dump, rows};

/// The seed's answer, letter by letter but for `lastSyncedAt` (our clock's) and `requestId` (random).
const SEED_ANSWER: &str = r#"{"player":{"userId":12345678,"username":"ArcTrooper","rank":"Volt Specialist II","rankPoints":520,"nextRank":"Storm Corporal I","nextRankRequiredPoints":750,"previousRank":"Shock Trooper II","previousRankRequiredPoints":150,"warnings":1,"privileged":false,"decisionsBlocked":false,"lastSyncedAt":"2025-03-01T18:15:44Z"},"decision":{"action":"PROMOTE","targetRank":"Storm Corporal I","reason":"Eligible for promotion","apply":true,"requestId":"REQUEST_ID"}}"#;

async fn player(app: &TestApp, id: u64) -> Value {
    app.get(&format!("/players/{id}")).key().expect(200).await.json()
}

#[tokio::test]
async fn the_seeds_request_gets_the_seeds_answer() {
    let app = Setup::example("seed-001").start().await;
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

#[tokio::test]
async fn a_first_snapshot_may_say_nothing_but_who_it_is_about() {
    let app = TestApp::new().await;
    let answer = app.ingest(r#"{"userId": 7, "username": "New"}"#).expect(200).await.json();
    assert_eq!(answer["decision"], json!(null), "nobody asked for a decision");
    let expected = json!({
        "userId": 7, "username": "New", "rank": null, "rankPoints": 0, "nextRank": "Shock Trooper II", "nextRankRequiredPoints": 150,
        "previousRank": null, "previousRankRequiredPoints": null, "warnings": 0, "privileged": false, "decisionsBlocked": false,
        "lastSyncedAt": "2025-03-01T18:15:44Z", "displayName": null, "kos": 0, "wos": 0, "recommendations": 0, "punishmentStatus": null, "pointsFlagged": false,
    });
    assert_eq!(player(&app, 7).await, expected);
    assert_eq!(answer["player"]["nextRank"], "Shock Trooper II");
}

#[tokio::test]
async fn what_a_snapshot_leaves_out_stays_and_what_it_says_is_null_goes() {
    let app = TestApp::new().await;
    let full = json!({
        "userId": 7, "username": "Kept", "displayName": "K", "rank": "Shock Trooper II", "rankPoints": 200, "kos": 9, "wos": 3,
        "warnings": 1, "recommendations": 2, "punishmentStatus": "probation",
    });
    app.ingest(full.to_string()).expect(200).await;
    let before = player(&app, 7).await;
    app.ingest(r#"{"userId": 7, "username": "Renamed"}"#).expect(200).await;
    let mut expected = before.clone();
    expected["username"] = "Renamed".into();
    assert_eq!(player(&app, 7).await, expected);
    // Where null can mean something it does; where it cannot (numbers), it is as good as left out.
    let nulls = json!({
        "userId": 7, "username": "Renamed", "displayName": null, "rank": null, "rankPoints": null, "kos": null, "wos": null,
        "warnings": null, "recommendations": null, "punishmentStatus": null, "experience": null,
    });
    app.ingest(nulls.to_string()).expect(200).await;
    let after = player(&app, 7).await;
    for gone in ["displayName", "rank", "punishmentStatus"] {
        assert_eq!(after[gone], json!(null), "{gone}");
    }
    for kept in ["rankPoints", "kos", "wos", "warnings", "recommendations"] {
        assert_eq!(after[kept], before[kept], "{kept}");
    }
}

#[tokio::test]
async fn the_ends_of_the_ladder_have_nothing_beyond() {
    let app = TestApp::new().await;
    let top = app
        .ingest(r#"{"userId": 7, "username": "Top", "rank": "Stormmarshal", "rankPoints": 8200}"#)
        .expect(200)
        .await
        .json();
    assert_eq!((&top["player"]["nextRank"], &top["player"]["nextRankRequiredPoints"]), (&json!(null), &json!(null)));
    assert_eq!((&top["player"]["privileged"], &top["player"]["decisionsBlocked"]), (&json!(true), &json!(true)));
    let bottom = app.ingest(r#"{"userId": 8, "username": "Low", "rank": "Shock Trooper II"}"#).expect(200).await.json();
    assert_eq!(
        (&bottom["player"]["previousRank"], &bottom["player"]["previousRankRequiredPoints"]),
        (&json!(null), &json!(null))
    );
}

#[tokio::test]
async fn ids_come_as_numbers_or_digits_and_leave_as_numbers() {
    let app = TestApp::new().await;
    for id in [json!(9007199254740991u64), json!("9007199254740991"), json!(1), json!("1")] {
        let answer = app.ingest(json!({ "userId": id, "username": "A" }).to_string()).expect(200).await.json();
        assert!(answer["player"]["userId"].is_u64(), "{answer}");
    }
    assert_eq!(rows(&app, &PLAYERS).await.len(), 2);
}

#[tokio::test]
async fn unknown_fields_are_ignored_but_kept_in_the_snapshot() {
    let app = TestApp::new().await;
    let body =
        r#"{"userId": 7, "username": "A", "future": {"deep": [1, 2]}, "experience": {"server": "vip-3", "mood": 5}}"#;
    app.ingest(body).expect(200).await;
    let page = app.get("/players/7/snapshots").key().expect(200).await.json();
    assert_eq!(page["snapshots"][0]["body"]["future"]["deep"], json!([1, 2]));
    assert_eq!(rows(&app, &SNAPSHOTS).await[0].1.body, body, "byte for byte");
}

#[tokio::test]
async fn the_headers_are_kept_with_the_snapshot_and_the_actor_is_only_a_claim() {
    let app = TestApp::new().await;
    let call = app.ingest(SEED_001).header("x-roblox-experience", "nexus").header("x-grps-actor", "777");
    call.header("x-request-id", "from-the-game").expect(200).await;
    let page = app.get("/players/12345678/snapshots").key().expect(200).await.json();
    let (snapshot, trail) = (&page["snapshots"][0], audits(&app).await);
    assert_eq!((&snapshot["experience"], &snapshot["action"]), (&json!("nexus"), &json!(null)));
    let key = grps::domains::auth::fingerprint(&app.app.config.auth.inbound[0].secret);
    assert_eq!(snapshot["keyId"], key);
    assert_eq!((trail[0].actor.id.as_str(), trail[0].actor.claimed), (key.as_str(), Some(777)));
    assert_eq!((trail[0].action.as_str(), trail[0].request_id.as_str()), ("player.created", "from-the-game"));
    assert_eq!(rows(&app, &PLAYERS).await[0].1.experience.as_deref(), Some("nexus"));
    app.ingest(SEED_001).expect(200).await;
    assert_eq!(rows(&app, &PLAYERS).await[0].1.experience.as_deref(), Some("nexus"), "not said: kept");
}

#[tokio::test]
async fn flags_are_true_or_false_in_any_case() {
    let app = TestApp::new().await;
    for (flag, decided) in [("true", true), ("TRUE", true), ("True", true), ("false", false), ("FALSE", false)] {
        let answer = app.ingest(SEED_001).header("x-grps-evaluate", flag).expect(200).await.json();
        assert_eq!(answer["decision"].is_object(), decided, "{flag}");
    }
    for name in ["x-grps-evaluate", "x-grps-apply", "x-grps-explain"] {
        for wrong in ["yes", "1", "0", "tru", "true false", ""] {
            let answer = app.ingest(SEED_001).header(name, wrong).refused(422, "request.invalid").await;
            assert_eq!(answer.complaints(), [format!("header.{name}")], "{wrong}");
        }
    }
    let answer = app.ingest(SEED_001).header("x-grps-apply", "true").expect(200).await.json();
    assert_eq!(answer["decision"], json!(null), "apply without evaluate is ignored");
}

#[tokio::test]
async fn one_commit_carries_every_row() {
    let app = TestApp::new().await;
    let commits = app.app.store.stats().commits;
    let body = r#"{"userId": 7, "username": "A", "rank": "Volt Specialist II", "rankPoints": 800, "kos": 3}"#;
    let call = app.ingest(body).header("x-grps-evaluate", "true").header("x-grps-apply", "true");
    let answer = call.header("x-request-id", "one-commit").expect(200).await.json();
    assert_eq!(app.app.store.stats().commits, commits + 1);
    let id = RobloxId::new(7).unwrap();
    let (players, snapshots) = (rows(&app, &PLAYERS).await, rows(&app, &SNAPSHOTS).await);
    let (ranked, decisions, trail) = (rows(&app, &RANKED).await, rows(&app, &DECISIONS).await, audits(&app).await);
    assert_eq!((players.len(), snapshots.len(), ranked.len(), decisions.len(), trail.len()), (1, 1, 1, 1, 2));
    assert_eq!((players[0].0, snapshots[0].0.0, decisions[0].0.0), (id, id, id));
    assert_eq!((ranked[0].0.0, ranked[0].0.1.points_and_kos()), (BoardId::PLAYERS, (800, 3)));
    assert_eq!(decisions[0].0.1.to_string(), answer["decision"]["requestId"]);
    assert_eq!(snapshots[0].1.outcome.as_ref().unwrap().0, "PROMOTE");
    assert_eq!(answer["decision"]["policyVersion"], snapshots[0].1.outcome.as_ref().unwrap().1);
    let actions: Vec<&str> = trail.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["player.created", "decision.queued"]);
    assert!(trail.iter().all(|entry| entry.request_id == "one-commit"));
}

#[tokio::test]
async fn the_audit_row_tells_what_changed_and_only_that() {
    let app = TestApp::new().await;
    app.ingest(r#"{"userId": 7, "username": "A", "rankPoints": 100, "kos": 1}"#).expect(200).await;
    app.ingest(r#"{"userId": 7, "username": "A", "rankPoints": 150, "kos": 1}"#).expect(200).await;
    app.ingest(r#"{"userId": 7, "username": "A", "rankPoints": 150, "kos": 1}"#).expect(200).await;
    let trail = audits(&app).await;
    assert_eq!(trail[1].action, "player.snapshot");
    assert_eq!(trail[1].before.as_deref(), Some(r#"{"points":100}"#));
    assert_eq!(trail[1].after.as_deref(), Some(r#"{"points":150}"#));
    assert_eq!(trail.len(), 2, "a snapshot that changes nothing is told by its own row");
    assert_eq!(rows(&app, &SNAPSHOTS).await.len(), 3);
}

#[tokio::test]
async fn many_snapshots_of_one_player_at_once_all_count() {
    let app = TestApp::new().await;
    let posts = (1..=40)
        .map(|kos| app.post(INGEST, json!({ "userId": 7, "username": "A", "kos": kos }).to_string()).key().expect(200));
    futures_util::future::join_all(posts).await;
    assert_eq!(rows(&app, &SNAPSHOTS).await.len(), 40);
    assert_eq!(audits(&app).await.len(), 40);
    assert_eq!(rows(&app, &RANKED).await.len(), 1, "one place, wherever it ended up");
    let stored = rows(&app, &PLAYERS).await[0].1.kos;
    assert_eq!(rows(&app, &RANKED).await[0].0.1.points_and_kos(), (0, stored));
}

#[tokio::test]
async fn unknown_players_are_not_found_in_the_seeds_words() {
    let app = TestApp::new().await;
    for target in ["/players/7", "/players/7/snapshots"] {
        assert_eq!(app.get(target).key().refused(404, "players.missing").await.detail(), "Player not found");
    }
}

#[tokio::test]
async fn only_listed_experiences_may_send_snapshots() {
    let app = TestApp::new().await;
    let allow = |list: Value| {
        std::fs::write(app.policy_dir().join("backend.integrations.json"), list.to_string()).unwrap();
        assert_eq!(app.app.policy.reload_if_changed(), Reload::Settling);
        assert!(matches!(app.app.policy.reload_if_changed(), Reload::Swapped { .. }));
    };
    allow(json!({ "experiences": { "allow": ["training"] } }));
    let post = || app.ingest(json!({ "userId": 7, "username": "A" }).to_string());
    let before = dump(&app).await;
    for stranger in [post(), post().header("x-roblox-experience", ""), post().header("x-roblox-experience", "copy")] {
        let answer = stranger.refused(403, "ingest.experience_not_allowed").await;
        assert!(answer.hint().contains("experiences.allow"), "{}", answer.text);
    }
    assert_eq!(dump(&app).await, before);
    post().header("x-roblox-experience", "training").expect(200).await;
    allow(json!({ "experiences": { "allow": [] } }));
    post().expect(200).await;
}
