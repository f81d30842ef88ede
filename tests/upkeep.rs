//! Looking after the store over HTTP: tasks, the survey, backups by the clock, and what health checks and metrics say of them.

use std::collections::BTreeSet;
use std::path::PathBuf;

use grps::base::Time;
use grps::workers::Next;
use serde_json::{Value, json};

use crate::harness::{SEED_001, START, Setup, TestApp};
use crate::state::audits;

const STORE: &str = "/admin/api/store";
const TASKS: &str = "/admin/api/store/tasks";
const BACKUPS: &str = "/admin/api/backups";

async fn on_disk() -> TestApp {
    Setup::new().on_disk().start().await
}

/// Starts a task and waits for its end.
async fn run(app: &TestApp, wanted: Value) -> Value {
    let started = app.post(TASKS, wanted.to_string()).operator().expect(202).await.json();
    assert_eq!((&started["kind"], &started["startedBy"]), (&wanted["kind"], &json!("operator")));
    ended(app, started["id"].as_str().unwrap()).await
}

async fn ended(app: &TestApp, id: &str) -> Value {
    for _ in 0..3_000 {
        let task = app.get(&format!("{TASKS}/{id}")).operator().expect(200).await.json();
        if task["state"] != "running" {
            return task;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("task {id} does not end");
}

async fn backups(app: &TestApp) -> Vec<String> {
    let list = app.get(BACKUPS).operator().expect(200).await.json();
    let names = list["backups"].as_array().unwrap().iter().map(|backup| backup["name"].as_str().unwrap().to_owned());
    names.collect()
}

fn folder(app: &TestApp) -> PathBuf {
    app.data_dir().join("backups")
}

async fn check(app: &TestApp, name: &str) -> Value {
    let ready = app.get("/health/ready").expect(200).await.json();
    ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).cloned().unwrap_or_default()
}

#[tokio::test]
async fn a_store_in_memory_says_that_there_is_nothing_to_look_after() {
    let app = Setup::new().in_memory().start().await;
    let refused = app.get(STORE).operator().refused(409, "store.no_upkeep").await;
    assert!(refused.detail().contains("memory") && refused.hint().contains("grps serve"), "{}", refused.text);
    for kind in ["check", "compact", "checkpoint", "backup"] {
        app.post(TASKS, json!({ "kind": kind }).to_string()).operator().refused(409, "store.no_upkeep").await;
    }
    assert_eq!(app.get(TASKS).operator().expect(200).await.json(), json!({ "tasks": [] }));
    assert!(backups(&app).await.is_empty());
    for worker in ["upkeep", "backups"] {
        assert!(matches!(app.tick(worker).await, Next::After(pause) if pause.as_secs() > 3600), "{worker} rests");
    }
    assert_eq!(check(&app, "backups").await, Value::Null);
    assert!(!folder(&app).exists());
}

#[tokio::test]
async fn a_survey_counts_what_is_there() {
    let app = on_disk().await;
    app.ingest(SEED_001).expect(200).await;
    let survey = app.get(STORE).operator().expect(200).await.json();
    let tables = survey["tables"].as_array().unwrap();
    let rows =
        |name: &str| tables.iter().find(|table| table["name"] == name).map_or(0, |t| t["rows"].as_u64().unwrap());
    assert_eq!((rows("players"), rows("player_snapshots"), rows("ranked")), (1, 1, 1), "{survey}");
    let live: u64 = tables.iter().map(|table| table["bytes"].as_u64().unwrap()).sum();
    assert_eq!(survey["liveBytes"], live);
    assert_eq!(survey["schema"], survey["programSchema"]);
    assert!(survey["seq"].as_u64() > Some(0) && survey["freeBytes"].as_u64() > Some(0), "{survey}");
    assert!(survey["opening"].as_str().is_some_and(|text| text.len() > 4), "{survey}");
}

#[tokio::test]
async fn work_is_a_task_that_ends_with_an_outcome() {
    let app = on_disk().await;
    app.ingest(SEED_001).expect(200).await;
    let checked = run(&app, json!({ "kind": "check" })).await;
    assert_eq!((&checked["state"], &checked["outcome"]), (&json!("done"), &json!({ "findings": [] })));
    assert_eq!((&checked["startedAt"], &checked["endedAt"]), (&json!(START.to_string()), &json!(START.to_string())));
    let compacted = run(&app, json!({ "kind": "compact" })).await;
    assert!(compacted["outcome"]["bytesAfter"].is_u64(), "{compacted}");
    assert_eq!(run(&app, json!({ "kind": "checkpoint" })).await["state"], "done");
    let backup = run(&app, json!({ "kind": "backup" })).await;
    assert_eq!(backup["outcome"]["backup"]["name"], "grps-20250301T181544Z");
    assert_eq!((&backup["outcome"]["removed"], &backup["failure"]), (&json!([]), &Value::Null));
    let verified = run(&app, json!({ "kind": "verify", "name": "grps-20250301T181544Z" })).await;
    assert_eq!(verified["outcome"]["backup"]["rows"], backup["outcome"]["backup"]["rows"]);
    let kinds: Vec<Value> = app.get(TASKS).operator().expect(200).await.json()["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["kind"].clone())
        .collect();
    assert_eq!(kinds, ["verify", "backup", "checkpoint", "compact", "check"], "newest first");
    let left: BTreeSet<String> = std::fs::read_dir(app.data_dir())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(left.iter().all(|name| !name.starts_with("scratch")), "{left:?}");
}

#[tokio::test]
async fn what_changes_the_store_or_leaves_it_is_audited() {
    let app = on_disk().await;
    app.ingest(SEED_001).expect(200).await;
    let before = audits(&app).await.len();
    for kind in ["check", "compact", "checkpoint", "backup"] {
        run(&app, json!({ "kind": kind })).await;
    }
    let rows = audits(&app).await.split_off(before);
    let told: Vec<(&str, &str, &str)> =
        rows.iter().map(|row| (row.action.as_str(), row.subject.as_str(), row.actor.id.as_str())).collect();
    assert_eq!(
        told,
        [("store.compacted", "store", "operator"), ("store.backed_up", "backup:grps-20250301T181544Z", "operator")]
    );
    let after: Value = serde_json::from_str(rows[1].after.as_deref().unwrap()).unwrap();
    assert!(after["rows"].as_u64() > Some(3) && after["encrypted"] == false, "{after}");
}

#[tokio::test]
async fn work_that_makes_no_sense_is_refused_before_it_begins() {
    let app = on_disk().await;
    let ask = |kind: &str, name: &str| app.post(TASKS, json!({ "kind": kind, "name": name }).to_string()).operator();
    ask("verify", "nothing").refused(404, "upkeep.backup_missing").await;
    ask("verify", "../../secrets").refused(422, "request.invalid").await;
    ask("backup", "grps-20250301T181544Z").refused(422, "upkeep.name_invalid").await;
    run(&app, json!({ "kind": "backup", "name": "before-upgrade" })).await;
    ask("backup", "before-upgrade").refused(409, "upkeep.backup_exists").await;
    for id in ["0000000000000000", "none"] {
        app.get(&format!("{TASKS}/{id}")).operator().refused(404, "upkeep.task_missing").await;
    }
}

#[tokio::test]
async fn backups_are_made_by_the_clock_and_thinned_out() {
    let app = Setup::new().on_disk().set("BACKUP_KEEP", "last=2").start().await;
    app.tick("backups").await;
    assert!(backups(&app).await.is_empty(), "nothing is stored yet, and it is not four o'clock");
    app.ingest(SEED_001).expect(200).await;
    app.tick("backups").await;
    assert_eq!(backups(&app).await, ["grps-20250301T181544Z"], "there has been none: one is made at the start");
    app.tick("backups").await;
    app.advance(9 * 3600);
    app.tick("backups").await;
    assert_eq!(backups(&app).await.len(), 1, "it is not due before 04:00");
    app.advance(3600);
    app.tick("backups").await;
    assert_eq!(backups(&app).await[0], "grps-20250302T041544Z", "a time that was missed is made up for");
    run(&app, json!({ "kind": "backup", "name": "mine" })).await;
    app.advance(24 * 3600);
    app.tick("backups").await;
    let left: BTreeSet<String> = backups(&app).await.into_iter().collect();
    let expected = ["grps-20250302T041544Z", "grps-20250303T041544Z", "mine"].map(str::to_owned);
    assert_eq!(left, expected.into(), "named ones stay");
    let rows = audits(&app).await;
    let last = rows.iter().rfind(|row| row.action == "store.backed_up").unwrap();
    assert_eq!((last.actor.id.as_str(), last.subject.as_str()), ("backups", "backup:grps-20250303T041544Z"));
    assert!(last.after.as_deref().unwrap().contains("grps-20250301T181544Z"), "{last:?}");
}

#[tokio::test]
async fn a_worker_that_stays_waits_for_its_time() {
    let app = on_disk().await;
    app.ingest(SEED_001).expect(200).await;
    let mut workers = app.app.workers();
    let worker = workers.iter_mut().find(|worker| worker.name() == "backups").unwrap();
    for _ in 0..3 {
        worker.tick().await.unwrap();
    }
    assert_eq!(backups(&app).await.len(), 1);
    app.advance(10 * 3600);
    worker.tick().await.unwrap();
    worker.tick().await.unwrap();
    assert_eq!(backups(&app).await.len(), 2, "04:00 has come once");
}

#[tokio::test]
async fn without_a_schedule_none_are_made() {
    let app = Setup::new().on_disk().set("BACKUP_CRON", "").start().await;
    app.ingest(SEED_001).expect(200).await;
    app.tick("backups").await;
    app.advance(30 * 24 * 3600);
    app.tick("backups").await;
    assert!(backups(&app).await.is_empty());
    let check = check(&app, "backups").await;
    assert!(check["ok"] == true && check["detail"].as_str().unwrap().contains("BACKUP_CRON is empty"), "{check}");
}

#[tokio::test]
async fn the_start_clears_away_what_an_interruption_left_and_nothing_else() {
    let app = on_disk().await;
    let folder = folder(&app);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("grps-20250228T040000Z.ckp.partial"), b"half").unwrap();
    std::fs::write(folder.join("notes.txt"), b"mine").unwrap();
    let scratch = app.data_dir().join("scratch-1999999999");
    std::fs::create_dir(&scratch).unwrap();
    std::fs::create_dir(app.data_dir().join("scratch-of-mine")).unwrap();
    app.tick("backups").await;
    let left: Vec<String> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left, ["notes.txt"]);
    assert!(!scratch.exists() && app.data_dir().join("scratch-of-mine").exists());
}

#[tokio::test]
async fn a_backup_that_cannot_be_made_shows_and_is_not_tried_at_once_again() {
    let app = on_disk().await;
    app.ingest(SEED_001).expect(200).await;
    std::fs::write(folder(&app), b"in the way").unwrap();
    let mut workers = app.app.workers();
    let worker = workers.iter_mut().find(|worker| worker.name() == "backups").unwrap();
    let error = worker.tick().await.unwrap_err();
    assert_eq!(error.code(), "upkeep.folder_unusable");
    assert!(error.hint_text().unwrap().contains("BACKUP_DIR"), "{error}");
    let place = folder(&app).display().to_string();
    assert!(!error.detail().contains(&place), "health checks show it to anyone: {error}");
    assert!(error.context_text().unwrap().contains(&place), "the log says where: {error:?}");
    std::fs::remove_file(folder(&app)).unwrap();
    worker.tick().await.unwrap();
    assert_eq!(backups(&app).await.len(), 1);
}

#[tokio::test]
async fn health_tells_the_age_of_the_last_good_backup() {
    let app = on_disk().await;
    app.ingest(SEED_001).expect(200).await;
    app.tick("backups").await;
    app.advance(3 * 3600);
    let fresh = check(&app, "backups").await;
    assert_eq!(fresh["detail"], "the last good backup was made 3 h ago");
    assert_eq!((&fresh["ok"], &fresh["vital"]), (&json!(true), &json!(false)));
    app.advance(3 * 24 * 3600);
    let late = check(&app, "backups").await;
    assert!(late["ok"] == false && late["detail"].as_str().unwrap().contains("3 days ago"), "{late}");
}

#[tokio::test]
async fn metrics_tell_sizes_and_the_last_good_backup() {
    let app = on_disk().await;
    app.ingest(SEED_001).expect(200).await;
    app.tick("upkeep").await;
    let value = async |name: &str| -> f64 {
        let text = app.get("/metrics").from("127.0.0.1:4711").expect(200).await.text;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in: {text}")).parse().unwrap()
    };
    for name in
        ["grps_store_free_bytes", "grps_store_live_bytes", "grps_store_database_bytes", "grps_store_amplification"]
    {
        assert!(value(name).await > 0.0, "{name}");
    }
    assert_eq!(value("grps_store_read_only").await, 0.0);
    assert_eq!(value("grps_backup_last_good_timestamp_seconds").await, 0.0);
    run(&app, json!({ "kind": "backup" })).await;
    assert_eq!(value("grps_backup_last_good_timestamp_seconds").await, START.seconds() as f64);
    assert!(Time::parse("2025-03-01T18:15:44Z") == Some(START));
}
