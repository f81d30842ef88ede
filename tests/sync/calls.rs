//! The endpoint's contract: bodies, headers, credentials, one run at a time, pages and the background.

use grps::domains::audit::AUDITS;
use grps::domains::sync::{KEEP_RUNS, SYNC_ACTIVE, SYNC_FAILURES, SYNC_JOBS, SYNC_PAGES};
use serde_json::json;

use super::{STORE, Scene, counts};
use crate::harness::{Setup, TestApp};
use crate::state;

#[tokio::test]
async fn the_answer_is_two_numbers_and_the_rest_is_in_headers() {
    let scene = Scene::new().await;
    scene.entries(5);
    let answer = scene.sync(json!({"activity": "nightly"})).await;
    assert_eq!(answer.json(), json!({"updated": 0, "created": 5}));
    assert_eq!(answer.header("x-grps-job-id").len(), 16);
    let header = |name: &str| answer.header(name).to_owned();
    assert_eq!([header("x-grps-pages"), header("x-grps-failed"), header("x-grps-unchanged")], ["1", "0", "0"]);
    assert!(!answer.headers.contains_key("x-grps-next-cursor"));
    let run = scene.run(answer.header("x-grps-job-id")).await;
    assert_eq!(
        (&run["status"], &run["activity"], &run["scope"]),
        (&json!("done"), &json!("nightly"), &json!("global"))
    );
    assert_eq!((counts(&run), &run["total"]), ([5, 5, 0, 0, 0, 0], &json!(5)));
    scene.end();
}

#[tokio::test]
async fn what_breaks_a_rule_is_refused_before_anything_begins() {
    let scene = Scene::new().await;
    for (body, place) in [
        (json!({"activity": "a", "limit": 0}), "body.limit"),
        (json!({"activity": "a", "limit": 501}), "body.limit"),
        (json!({"activity": "a", "limit": "x"}), "body.limit"),
        (json!({"activity": "a", "limit": 1.5}), "body.limit"),
        (json!({}), "body.activity"),
        (json!({"activity": ""}), "body.activity"),
        (json!({"activity": "x".repeat(33)}), "body.activity"),
        (json!({"activity": "a", "scope": "-"}), "body.scope"),
        (json!({"activity": "a", "prefix": "x".repeat(51)}), "body.prefix"),
        (json!({"activity": "a", "cursor": 5}), "body.cursor"),
    ] {
        let answer = scene.call(body.clone()).expect(422).await;
        assert_eq!(answer.complaints(), [place], "{body}");
    }
    let answer = scene.call(json!({"activity": "a"})).header("x-grps-sync", "half").expect(422).await;
    assert_eq!(answer.complaints(), ["header.x-grps-sync"]);
    assert_eq!((scene.runs().await, scene.fake.asked().len()), (json!([]), 0));
}

#[tokio::test]
async fn it_takes_a_signature_and_no_key() {
    let scene = Scene::new().await;
    let body = json!({"activity": "nightly"}).to_string();
    let post = || scene.app.post("/sync/roblox", body.clone());
    assert_eq!(post().expect(401).await.detail(), "Missing signature");
    let wrong = post().header("x-grps-signature", "00".repeat(32)).expect(401).await;
    assert_eq!(wrong.detail(), "Invalid signature");
    post().key().expect(401).await;
    assert_eq!(scene.answered(post().operator()).await.status.as_u16(), 200);
    scene.app.get("/sync/jobs").expect(401).await;
    scene.app.get("/sync/jobs").automation().expect(401).await;
    scene.app.get("/sync/jobs").key().expect(403).await;
}

#[tokio::test]
async fn what_is_not_set_up_is_named() {
    let key = ("ROBLOX_OPEN_CLOUD_API_KEY", "k");
    let universe = ("ROBLOX_UNIVERSE_ID", "5");
    let name = ("ROBLOX_DATASTORE_NAME", "s");
    for (settings, missing) in [
        (&[universe, name][..], "ROBLOX_OPEN_CLOUD_API_KEY"),
        (&[key, name], "ROBLOX_UNIVERSE_ID"),
        (&[key, universe], "ROBLOX_DATASTORE_NAME"),
    ] {
        let app = TestApp::with(settings).await;
        let answer = app.post("/sync/roblox", r#"{"activity":"a"}"#).automation();
        let answer = answer.refused(503, "sync.not_configured").await;
        assert!(answer.detail().starts_with(missing), "{}", answer.detail());
        assert!(app.app.workers().iter().all(|worker| worker.name() != "sync"));
    }
}

#[tokio::test]
async fn scope_and_prefix_come_from_the_settings_unless_the_call_names_others() {
    let setup = Setup::new().set("ROBLOX_DATASTORE_PREFIX", "player:").set("ROBLOX_DATASTORE_SCOPE", "live");
    let scene = Scene::with(setup).await;
    for (scope, key) in [("live", "player:1"), ("live", "other:2"), ("test", "player:3"), ("test", "other:4")] {
        scene.fake.entry(STORE, scope, key, &json!({"username": key}));
    }
    let synced = async |body| {
        scene.sync(body).await;
        let mut users: Vec<u64> = scene.players().await.iter().map(|player| player.user_id.get()).collect();
        users.sort_unstable();
        users
    };
    assert_eq!(synced(json!({"activity": "a"})).await, [1]);
    assert_eq!(synced(json!({"activity": "a", "scope": "test"})).await, [1, 3]);
    assert_eq!(synced(json!({"activity": "a", "prefix": "other:"})).await, [1, 2, 3]);
    assert_eq!(synced(json!({"activity": "a", "prefix": "", "scope": "test"})).await, [1, 2, 3, 4]);
    scene.end();
}

#[tokio::test]
async fn behind_the_limit_the_run_goes_on_by_itself() {
    let scene = Scene::new().await;
    scene.entries(700);
    let answer = scene.sync(json!({"activity": "nightly", "limit": 100})).await;
    assert_eq!(answer.json(), json!({"updated": 0, "created": 100}));
    assert!(!answer.header("x-grps-next-cursor").is_empty());
    let id = answer.header("x-grps-job-id");
    assert_eq!(scene.run(id).await["status"], "running");
    scene.settle().await;
    let run = scene.run(id).await;
    assert_eq!((counts(&run), &run["status"]), ([700, 700, 0, 0, 0, 0], &json!("done")));
    assert_eq!((scene.players().await.len(), scene.reads()), (700, 700));
    scene.end();
}

#[tokio::test]
async fn a_page_is_a_page_and_its_cursor_leads_to_the_next() {
    let scene = Scene::new().await;
    scene.entries(750);
    let (mut cursor, mut created) = (None::<String>, Vec::new());
    loop {
        let mut body = json!({"activity": "by hand", "limit": 300});
        if let Some(cursor) = &cursor {
            body["cursor"] = cursor.as_str().into();
        }
        let answer = scene.answered(scene.call(body).header("x-grps-sync", "page")).await;
        created.push(answer.json()["created"].as_u64().unwrap());
        assert_eq!(scene.run(answer.header("x-grps-job-id")).await["status"], "done");
        cursor = Some(answer.header("x-grps-next-cursor").to_owned()).filter(|cursor| !cursor.is_empty());
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((created, scene.reads()), (vec![300, 300, 150], 750));
    scene.end();
}

#[tokio::test]
async fn of_one_kind_one_run_is_alive() {
    let scene = Scene::new().await;
    scene.entries(400);
    let id = |answer: &crate::harness::Answer| answer.header("x-grps-job-id").to_owned();
    let first = scene.sync(json!({"activity": "nightly"})).await;
    let again = scene.sync(json!({"activity": "nightly"})).await;
    assert_eq!(id(&first), id(&again));
    let other = scene.sync(json!({"activity": "weekly"})).await;
    assert_ne!(id(&first), id(&other));
    scene.settle().await;
    assert_eq!(scene.runs().await.as_array().unwrap().len(), 2);
    let later = scene.sync(json!({"activity": "nightly"})).await;
    assert_ne!(id(&first), id(&later));
    scene.settle().await;
    assert_eq!(state::rows(&scene.app, &SYNC_ACTIVE).await, []);
    assert_eq!(state::rows(&scene.app, &SYNC_PAGES).await, []);
}

#[tokio::test]
async fn ten_callers_at_once_share_a_run() {
    let scene = Scene::new().await;
    scene.entries(50);
    let calls = (0..10).map(|_| scene.call(json!({"activity": "nightly"})).send());
    let answers = scene.meanwhile(futures_util::future::join_all(calls)).await;
    assert!(answers.iter().all(|answer| answer.json() == json!({"updated": 0, "created": 50})));
    assert_eq!(scene.runs().await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_second_walk_changes_nothing_and_says_so() {
    let scene = Scene::new().await;
    scene.entries(300);
    scene.walk().await;
    let told = async || {
        let mut rows = state::dump(&scene.app).await;
        rows.retain(|row| !row.starts_with("sync_") && !row.contains("sync:"));
        rows
    };
    let before = told().await;
    let run = scene.walk().await;
    assert_eq!(counts(&run), [300, 0, 0, 300, 0, 0]);
    assert_eq!(told().await, before);
    scene.entry("player:7", json!({"points": 7, "username": "P"}));
    scene.entry("player:8", json!({"points": 9000}));
    let run = scene.walk().await;
    assert_eq!(counts(&run), [300, 0, 1, 299, 0, 0], "a new revision with the old values changes nothing");
    assert_eq!((&scene.player(8).await["rankPoints"], &scene.player(8).await["username"]), (&json!(9000), &json!("P")));
}

#[tokio::test]
async fn a_run_can_be_cancelled_and_keeps_what_it_has() {
    let scene = Scene::new().await;
    scene.entries(400);
    let id = scene.sync(json!({"activity": "nightly"})).await.header("x-grps-job-id").to_owned();
    let run = scene.app.post(&format!("/sync/jobs/{id}/cancel"), "").operator().expect(200).await.json();
    assert_eq!((&run["status"], &run["reason"]), (&json!("partial"), &json!("cancelled by operator")));
    scene.settle().await;
    assert_eq!(scene.players().await.len(), 100.max(run["seen"].as_u64().unwrap() as usize));
    assert_eq!(scene.run(&id).await, run, "it stays over");
    scene.app.post(&format!("/sync/jobs/{id}/retry"), "").operator().refused(409, "sync.nothing_failed").await;
    assert_ne!(scene.sync(json!({"activity": "nightly"})).await.header("x-grps-job-id"), id);
    for target in ["/sync/jobs/0000000000000001", "/sync/jobs/x", "/sync/jobs/x/failures"] {
        scene.app.get(target).operator().refused(404, "sync.missing").await;
    }
}

#[tokio::test]
async fn runs_are_listed_newest_first_and_the_oldest_forgotten() {
    let scene = Scene::new().await;
    scene.entry("player:1", json!({}));
    scene.entry("odd", json!({}));
    for n in 0..KEEP_RUNS + 3 {
        scene.app.advance(61);
        scene.answered(scene.call(json!({"activity": format!("run {n}")}))).await;
    }
    scene.settle().await;
    let first = scene.app.get("/sync/jobs?limit=60").operator().expect(200).await.json();
    let next = first["next_cursor"].as_str().unwrap();
    let second = scene.app.get(&format!("/sync/jobs?limit=60&cursor={next}")).operator().expect(200).await.json();
    let names = |page: &serde_json::Value| -> Vec<String> {
        page["runs"].as_array().unwrap().iter().map(|run| run["activity"].as_str().unwrap().to_owned()).collect()
    };
    let all = [names(&first), names(&second)].concat();
    let expected: Vec<String> = (3..KEEP_RUNS + 3).rev().map(|n| format!("run {n}")).collect();
    assert_eq!((all, &second["next_cursor"]), (expected, &serde_json::Value::Null));
    assert_eq!(state::rows(&scene.app, &SYNC_JOBS).await.len(), KEEP_RUNS);
    assert_eq!(state::rows(&scene.app, &SYNC_FAILURES).await.len(), KEEP_RUNS);
}

#[tokio::test]
async fn what_happens_to_runs_and_players_is_audited() {
    let scene = Scene::new().await;
    scene.entries(2);
    scene.walk().await;
    let told: Vec<(String, String, String)> = state::rows(&scene.app, &AUDITS)
        .await
        .into_iter()
        .map(|(_, entry)| (entry.action, entry.actor.id, entry.subject))
        .filter(|(action, _, _)| action != "player.synced")
        .collect();
    assert_eq!((&*told[0].0, &*told[0].1, &*told[1].0), ("sync.started", "automation", "sync.ended"));
    let players = state::audits(&scene.app).await;
    let player = players.iter().find(|entry| entry.subject == "player:2").unwrap();
    assert_eq!((&*player.action, &*player.actor.id), ("player.synced", "sync"));
    assert!(player.after.as_ref().unwrap().contains(r#""points":2"#));
}

#[tokio::test]
async fn the_schedule_begins_the_nightly_run_or_goes_on_with_it() {
    let scene = Scene::new().await;
    scene.entries(3);
    let told = scene.nightly().await;
    assert_eq!(scene.nightly().await, told);
    scene.settle().await;
    let runs = scene.runs().await;
    assert_eq!((&runs[0]["activity"], &runs[0]["status"]), (&json!("nightly"), &json!("done")));
    assert!(runs[0]["id"] == *told);
    assert_ne!(scene.nightly().await, told);
}

#[tokio::test]
async fn a_stopping_server_lets_nobody_wait() {
    let scene = Scene::new().await;
    let (answer, ()) = tokio::join!(scene.call(json!({"activity": "nightly"})).send(), async {
        while scene.runs().await == json!([]) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        scene.app.app.stop_waiting();
    });
    assert_eq!(answer.json(), json!({"updated": 0, "created": 0}));
    let scene = scene.restart().await;
    scene.settle().await;
    assert_eq!(scene.runs().await[0]["status"], "done");
}
