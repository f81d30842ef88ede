//! Adjustments: points for many players at once, carried out in portions, once each, whatever happens meanwhile.

use grps::domains::adjustments::{ADJUSTMENT_ROWS, ADJUSTMENTS, ADJUSTMENTS_OPEN, MAX_KEPT, MAX_OPEN, PART};
use grps::domains::jobs::JOBS;
use grps::workers::Next;
use serde_json::{Value, json};

use crate::cli::both_ways;
use crate::harness::{Setup, TestApp};
use crate::process::{Home, until};
use crate::state::{audits, dump, rows};

const PATH: &str = "/automation/adjustments";

/// A game server that may do everything.
const KEY: &str = "everything-key-for-the-tests-of-adjustments:*";

/// A group of `count` players with ids from 1, each with 100 points.
async fn group(app: &TestApp, count: u64) {
    for id in 1..=count {
        let snapshot = json!({ "userId": id, "username": format!("P{id}"), "rankPoints": 100 });
        app.ingest(snapshot.to_string()).expect(200).await;
    }
}

async fn with_group(count: u64) -> TestApp {
    let app = Setup::new().set("INBOUND_API_KEYS", KEY).start().await;
    group(&app, count).await;
    app
}

/// `count` players from id 1, five points each.
fn five_each(count: u64) -> Value {
    let list: Vec<Value> = (1..=count).map(|id| json!({ "userId": id, "delta": 5 })).collect();
    json!({ "reason": "Event", "adjustments": list })
}

async fn start(app: &TestApp, body: &Value) -> Value {
    app.post(PATH, body.to_string()).key().expect(202).await.json()
}

async fn show(app: &TestApp, run: &Value) -> Value {
    app.get(&format!("{PATH}/{}", run["id"].as_str().unwrap())).key().expect(200).await.json()
}

async fn ask(app: &TestApp, run: &Value, what: &str, status: u16) -> Value {
    let target = format!("{PATH}/{}/{what}", run["id"].as_str().unwrap());
    app.post(&target, "").key().expect(status).await.json()
}

/// Lets the worker do all there is.
async fn carry_out(app: &TestApp) {
    while app.tick("adjustments").await == Next::Now {}
}

async fn points(app: &TestApp, user: u64) -> i64 {
    app.get(&format!("/players/{user}")).key().expect(200).await.json()["rankPoints"].as_i64().unwrap()
}

async fn all_points(app: &TestApp, count: u64) -> Vec<i64> {
    let mut out = Vec::new();
    for user in 1..=count {
        out.push(points(app, user).await);
    }
    out
}

async fn listed(app: &TestApp, run: &Value, query: &str) -> (Vec<Value>, Value) {
    let target = format!("{PATH}/{}/rows{query}", run["id"].as_str().unwrap());
    let page = app.get(&target).key().expect(200).await.json();
    (page["rows"].as_array().unwrap().clone(), page["nextCursor"].clone())
}

#[tokio::test]
async fn points_are_given_taken_and_set_and_every_row_says_what_came_of_it() {
    let app = with_group(4).await;
    let list = json!([
        { "userId": 1, "delta": 50 },
        { "userId": "2", "set": 7 },
        { "userId": 3, "delta": -101 },
        { "userId": 4, "set": 100 },
        { "userId": 99, "delta": 1 },
    ]);
    let run = start(&app, &json!({ "reason": "Event of Saturday", "adjustments": list })).await;
    assert_eq!((&run["status"], &run["rows"]), (&json!("queued"), &json!(5)));
    assert_eq!(all_points(&app, 4).await, [100; 4], "nothing happens before the worker's turn");
    carry_out(&app).await;
    assert_eq!(all_points(&app, 4).await, [150, 7, 100, 100]);
    let run = show(&app, &run).await;
    assert_eq!((&run["status"], &run["done"], &run["refused"]), (&json!("done"), &json!(3), &json!(2)));
    let (rows, next) = listed(&app, &run, "").await;
    assert_eq!((rows.len(), next), (5, Value::Null));
    assert_eq!((&rows[0]["before"], &rows[0]["after"]), (&json!(100), &json!(150)));
    assert!(rows[2]["refused"].as_str().unwrap().contains("bounds") && rows[2]["after"].is_null(), "{}", rows[2]);
    assert!(rows[4]["refused"].as_str().unwrap().contains("no such player"), "{}", rows[4]);
    let refused = listed(&app, &run, "?status=refused").await.0;
    assert_eq!(refused.iter().map(|row| row["userId"].as_u64().unwrap()).collect::<Vec<_>>(), [3, 99]);
    let adjusted: Vec<_> = audits(&app).await.into_iter().filter(|entry| entry.action == "points.adjusted").collect();
    assert_eq!(adjusted.len(), 2, "one row for each player who changed");
    assert_eq!((adjusted[0].subject.as_str(), adjusted[0].before.as_deref()), ("player:1", Some(r#"{"points":100}"#)));
    assert!(adjusted[0].after.as_deref().unwrap().contains("Event of Saturday"));
    let first = app.get("/leaderboard").expect(200).await.json()[0]["user_id"].clone();
    assert_eq!(first, 1, "the board moves with the points");
}

#[tokio::test]
async fn a_dry_run_tells_what_would_happen_and_stores_nothing() {
    let app = with_group(2).await;
    let before = dump(&app).await;
    let list = json!([{ "userId": 1, "delta": 5 }, { "userId": 2, "set": -1 }, { "userId": 3, "delta": 5 }]);
    let body = json!({ "reason": "Try", "dryRun": true, "adjustments": list });
    let answer = app.post(PATH, body.to_string()).key().expect(200).await.json();
    assert_eq!((&answer["done"], &answer["refused"]), (&json!(1), &json!(2)));
    assert_eq!((&answer["rows"][0]["before"], &answer["rows"][0]["after"]), (&json!(100), &json!(105)));
    assert!(answer["rows"][1]["refused"].is_string() && answer["rows"][2]["refused"].is_string());
    assert_eq!(dump(&app).await, before);
}

#[tokio::test]
async fn a_run_goes_on_after_a_restart_and_adjusts_nobody_twice() {
    let count = PART as u64 * 2 + 20;
    let mut app = with_group(count).await;
    let run = start(&app, &five_each(count)).await;
    let mut steps = 0;
    while app.tick("adjustments").await == Next::Now {
        app = app.restart().await;
        steps += 1;
        let shown = show(&app, &run).await;
        assert_eq!(shown["done"], (steps * PART as u64).min(count), "a portion a tick: {shown}");
    }
    assert_eq!((steps, show(&app, &run).await["status"].clone()), (3, json!("done")));
    assert_eq!(all_points(&app, count).await, vec![105; count as usize]);
    let adjusted = audits(&app).await.iter().filter(|entry| entry.action == "points.adjusted").count();
    assert_eq!(adjusted, count as usize);
    let (first, cursor) = listed(&app, &run, "?limit=150&status=done").await;
    let (second, end) = listed(&app, &run, &format!("?limit=150&cursor={}", cursor.as_str().unwrap())).await;
    assert_eq!((first.len(), second.len(), end), (150, 70, Value::Null));
    assert_eq!(second[0]["userId"], 151);
}

#[tokio::test]
async fn two_workers_and_snapshots_at_once_neither_repeat_nor_lose_anything() {
    for commits_before in 0..2 {
        let app = Setup::new().set("INBOUND_API_KEYS", KEY).contended().start().await;
        group(&app, 30).await;
        group(&app, commits_before).await; // Which commits are refused is counted: each time it is others.
        let mut body = five_each(30);
        let list = body["adjustments"].as_array_mut().unwrap();
        list.extend((1..=PART).map(|number| json!({ "userId": 1_000 + number, "delta": 5 })));
        list.rotate_left(30);
        let run = start(&app, &body).await;
        let snapshots = async {
            for id in 1..=30 {
                let snapshot = json!({ "userId": id, "username": "P", "rankPoints": 300 });
                app.ingest(snapshot.to_string()).expect(200).await;
            }
        };
        tokio::join!(carry_out(&app), carry_out(&app), snapshots);
        let run = show(&app, &run).await;
        assert_eq!((&run["done"], &run["refused"], &run["status"]), (&json!(30), &json!(PART), &json!("done")));
        let after = all_points(&app, 30).await;
        assert!(after.iter().all(|points| [300, 305].contains(points)), "{after:?}");
        let adjusted = audits(&app).await.iter().filter(|entry| entry.action == "points.adjusted").count();
        assert_eq!(adjusted, 30);
    }
}

#[tokio::test]
async fn what_a_run_changed_can_be_taken_back_and_given_again() {
    let app = with_group(3).await;
    let list = json!([{ "userId": 1, "set": 40 }, { "userId": 2, "delta": 5 }, { "userId": 9, "delta": 5 }]);
    let run = start(&app, &json!({ "reason": "Oops", "adjustments": list })).await;
    let early = app.post(&format!("{PATH}/{}/undo", run["id"].as_str().unwrap()), "").key();
    early.refused(409, "adjustments.open").await;
    carry_out(&app).await;
    let undo = ask(&app, &run, "undo", 202).await;
    assert_eq!((&undo["rows"], &undo["undoes"]), (&json!(2), &run["id"]), "only who was changed");
    assert_eq!(ask(&app, &run, "undo", 202).await["id"], undo["id"], "asked for twice, undone once");
    assert_eq!(show(&app, &run).await["undoneBy"], undo["id"]);
    app.ingest(json!({ "userId": 2, "username": "P2", "rankPoints": 300 }).to_string()).expect(200).await;
    carry_out(&app).await;
    assert_eq!(all_points(&app, 3).await, [100, 295, 100], "differences are taken back, not what came since");
    let again = ask(&app, &undo, "undo", 202).await;
    carry_out(&app).await;
    assert_eq!(all_points(&app, 3).await, [40, 300, 100]);
    assert_ne!(again["id"], run["id"]);
    let nothing = start(&app, &json!({ "reason": "x", "adjustments": [{ "userId": 9, "delta": 5 }] })).await;
    carry_out(&app).await;
    let target = format!("{PATH}/{}/undo", nothing["id"].as_str().unwrap());
    app.post(&target, "").key().refused(409, "adjustments.nothing_to_undo").await;
}

#[tokio::test]
async fn a_cancelled_run_stops_where_it_is_and_what_it_did_can_be_undone() {
    let count = PART as u64 + 10;
    let app = with_group(count).await;
    let run = start(&app, &five_each(count)).await;
    assert_eq!(app.tick("adjustments").await, Next::Now);
    let cancelled = ask(&app, &run, "cancel", 200).await;
    assert_eq!((&cancelled["status"], &cancelled["done"]), (&json!("cancelled"), &json!(PART)));
    assert_eq!(ask(&app, &run, "cancel", 200).await["endedAt"], cancelled["endedAt"]);
    carry_out(&app).await;
    assert_eq!(points(&app, count).await, 100);
    assert_eq!(listed(&app, &run, "?status=cancelled").await.0.len(), 10);
    let undo = ask(&app, &run, "undo", 202).await;
    carry_out(&app).await;
    assert_eq!(all_points(&app, count).await, vec![100; count as usize]);
    let target = format!("{PATH}/{}/cancel", undo["id"].as_str().unwrap());
    app.post(&target, "").key().refused(409, "adjustments.done").await;
}

#[tokio::test]
async fn an_undo_that_was_cancelled_is_taken_up_where_it_stopped() {
    let count = PART as u64 + 10;
    let app = with_group(count).await;
    let run = start(&app, &five_each(count)).await;
    carry_out(&app).await;
    let first = ask(&app, &run, "undo", 202).await;
    assert_eq!(app.tick("adjustments").await, Next::Now);
    ask(&app, &first, "cancel", 200).await;
    assert_eq!((points(&app, 1).await, points(&app, count).await), (100, 105));
    let second = ask(&app, &run, "undo", 202).await;
    assert_eq!((&second["rows"], &second["undoes"]), (&json!(10), &run["id"]), "only who is left");
    assert_eq!(show(&app, &run).await["undoneBy"], second["id"]);
    assert_eq!(ask(&app, &run, "undo", 202).await["id"], second["id"]);
    ask(&app, &second, "cancel", 200).await;
    let third = ask(&app, &run, "undo", 202).await;
    assert_ne!(third["id"], second["id"]);
    carry_out(&app).await;
    assert_eq!(all_points(&app, count).await, vec![100; count as usize]);
    assert_eq!(ask(&app, &run, "undo", 202).await["id"], third["id"], "what is done stays the answer");
}

#[tokio::test]
async fn a_full_queue_holds_up_only_the_runs_that_need_it() {
    let app = Setup::new().set("INBOUND_API_KEYS", KEY).set("JOB_QUEUE_LENGTH", "3").start().await;
    group(&app, 5).await;
    let mut body = five_each(5);
    body["queue"] = json!("points");
    let blocked = start(&app, &body).await;
    let free = start(&app, &five_each(2)).await;
    body["queue"] = json!("other");
    let half = start(&app, &body).await;
    let mut workers = app.app.workers();
    let worker = workers.iter_mut().find(|worker| worker.name() == "adjustments").unwrap();
    let error = loop {
        match worker.tick().await {
            Ok(next) => assert_eq!(next, Next::Now),
            Err(error) => break error,
        }
    };
    assert_eq!(error.code(), "jobs.queue_full");
    assert_eq!(show(&app, &free).await["status"], "done");
    for run in [&blocked, &half] {
        assert_eq!(show(&app, run).await["done"], 3, "what there is room for is done");
    }
    let open = rows(&app, &ADJUSTMENTS_OPEN).await.pop().unwrap().1;
    assert_eq!(open.ids.len(), 2);
    for queue in ["points", "other"] {
        for _ in 0..3 {
            app.get(&format!("/job/next?queue={queue}")).gateway().expect(200).await;
        }
    }
    while worker.tick().await.unwrap() == Next::Now {}
    assert_eq!(all_points(&app, 5).await, [115, 115, 110, 110, 110]);
}

#[tokio::test]
async fn every_change_becomes_a_job_for_the_game_once() {
    let app = with_group(3).await;
    let list = json!([{ "userId": 1, "delta": 5 }, { "userId": 2, "set": 100 }, { "userId": 3, "set": 90 }]);
    let run = start(&app, &json!({ "reason": "Event", "adjustments": list, "queue": "points" })).await;
    carry_out(&app).await;
    let jobs = rows(&app, &JOBS).await;
    let payloads: Vec<Value> = jobs.iter().map(|(_, job)| serde_json::from_str(&job.payload).unwrap()).collect();
    let id = run["id"].as_str().unwrap();
    let job = |user: u64, delta: i64| json!({ "type": "points.adjust", "userId": user, "delta": delta, "adjustmentId": format!("{id}:{user}") });
    assert_eq!(payloads, [job(1, 5), job(3, -10)], "who does not change gets none");
    assert!(jobs.iter().all(|(_, job)| job.queue.as_str() == "points"));
}

#[tokio::test]
async fn a_full_queue_holds_a_run_up_without_losing_or_repeating_anything() {
    let app = Setup::new().set("INBOUND_API_KEYS", KEY).set("JOB_QUEUE_LENGTH", "7").start().await;
    group(&app, 10).await;
    let mut body = five_each(10);
    body["queue"] = json!("points");
    let run = start(&app, &body).await;
    let mut workers = app.app.workers();
    let worker = workers.iter_mut().find(|worker| worker.name() == "adjustments").unwrap();
    let error = loop {
        match worker.tick().await {
            Ok(next) => assert_eq!(next, Next::Now),
            Err(error) => break error,
        }
    };
    assert_eq!((error.code(), show(&app, &run).await["done"].clone()), ("jobs.queue_full", json!(7)));
    for _ in 0..7 {
        app.get("/job/next?queue=points").gateway().expect(200).await;
    }
    while worker.tick().await.unwrap() == Next::Now {}
    assert_eq!(show(&app, &run).await["status"], "done");
    assert_eq!((all_points(&app, 10).await, rows(&app, &JOBS).await.len()), (vec![105; 10], 10));
}

#[tokio::test]
async fn the_same_request_under_the_same_key_is_the_same_run() {
    let app = with_group(2).await;
    let mut body = five_each(2);
    body["key"] = json!("event-7");
    let run = start(&app, &body).await;
    carry_out(&app).await;
    assert_eq!(start(&app, &body).await["id"], run["id"]);
    carry_out(&app).await;
    assert_eq!(all_points(&app, 2).await, [105, 105]);
    body["adjustments"][0]["delta"] = json!(6);
    app.post(PATH, body.to_string()).key().refused(409, "adjustments.key_reused").await;
}

#[tokio::test]
async fn what_is_said_twice_or_by_halves_is_named_row_by_row() {
    let app = with_group(1).await;
    let before = dump(&app).await;
    let list = json!([
        { "userId": 1, "delta": 5 },
        { "userId": 2 },
        { "userId": "1", "delta": 5 },
        { "userId": 3, "delta": 5, "set": 5 },
    ]);
    let body = json!({ "reason": "x", "adjustments": list }).to_string();
    let answer = app.post(PATH, body).key().refused(422, "request.invalid").await;
    assert_eq!(answer.complaints(), ["body.adjustments.1", "body.adjustments.2.userId", "body.adjustments.3"]);
    for target in ["/0000000000000001", "/nonsense", "/0000000000000001/rows"] {
        app.get(&format!("{PATH}{target}")).key().refused(404, "adjustments.missing").await;
    }
    let run = start(&app, &five_each(1)).await;
    for cursor in ["x", "AAAA", "AAAAAAAAAAA"] {
        let target = format!("{PATH}/{}/rows?cursor={cursor}", run["id"].as_str().unwrap());
        assert_eq!(app.get(&target).key().refused(422, "request.invalid").await.complaints(), ["query.cursor"]);
    }
    ask(&app, &run, "cancel", 200).await;
    assert_eq!(dump(&app).await.iter().filter(|row| row.starts_with("players ")).count(), 1);
    assert!(before.iter().all(|row| !row.starts_with("adjust")));
}

#[tokio::test]
async fn only_so_many_runs_wait_and_only_so_many_are_kept() {
    let app = with_group(1).await;
    for _ in 0..MAX_OPEN {
        start(&app, &five_each(1)).await;
    }
    app.post(PATH, five_each(1).to_string()).key().refused(429, "adjustments.too_many_open").await;
    carry_out(&app).await;
    assert_eq!(points(&app, 1).await, 100 + 5 * MAX_OPEN as i64);
    for _ in MAX_OPEN..MAX_KEPT + 7 {
        let run = start(&app, &five_each(1)).await;
        ask(&app, &run, "cancel", 200).await;
    }
    carry_out(&app).await;
    assert_eq!(rows(&app, &ADJUSTMENTS).await.len(), MAX_KEPT);
    app.advance(366 * 86_400);
    carry_out(&app).await;
    assert_eq!((rows(&app, &ADJUSTMENTS).await.len(), rows(&app, &ADJUSTMENT_ROWS).await.len()), (0, 0));
}

#[test]
fn lists_are_adjusted_from_the_command_line() {
    both_ways(|home| {
        home.json(&["bootstrap"]);
        let file = home.data().with_file_name("winners.csv");
        std::fs::write(&file, "userId,delta\n123456,5\n99,5\n").unwrap();
        let list = file.to_str().unwrap();
        let foreseen = home.json(&["points", "adjust", list, "--reason", "Event", "--dry-run"]);
        assert_eq!((&foreseen["done"], &foreseen["refused"]), (&json!(1), &json!(1)));
        assert_eq!(home.json(&["points", "runs"])["runs"], json!([]));
        let adjust = ["points", "adjust", list, "--reason", "Event", "--key", "event-7", "--queue", "points"];
        let run = home.json(&adjust);
        let id = run["id"].as_str().unwrap();
        assert_eq!(home.json(&adjust)["id"], run["id"], "the same key is the same run");
        assert_eq!(home.json(&["points", "show", id])["run"]["queue"], "points");
        let shown = home.run(&["points", "runs"]);
        assert!(shown.stdout.contains(id) && shown.stdout.contains("Event"), "{}", shown.stdout);
        home.run(&["points", "cancel", id]);
        let undone = home.run(&["points", "undo", "0000000000000001"]);
        assert!(undone.code == Some(1) && undone.stderr.contains("adjustments.missing"), "{}", undone.stderr);
        let pasted = home.run(&["points", "show", "not a run/../../keys"]);
        assert!(pasted.code == Some(1) && pasted.stderr.contains("adjustments.missing"), "{}", pasted.stderr);
        std::fs::write(&file, "userId,delta\n123456,5\n123456,7\n").unwrap();
        let twice = home.run(&["points", "adjust", list, "--reason", "Event"]);
        assert!(
            twice.code == Some(2) && twice.stderr.contains("adjustments.1.userId: this player stands"),
            "{}",
            twice.stderr
        );
        std::fs::write(&file, "7,5\n").unwrap();
        let wrong = home.run(&["points", "adjust", list, "--reason", "Event"]);
        assert!(wrong.code == Some(2) && wrong.stderr.contains("userId,delta"), "{}", wrong.stderr);
    });
}

#[test]
fn a_running_server_carries_a_list_out() {
    let home = Home::new();
    let server = home.serve();
    home.json(&["bootstrap"]);
    let file = home.data().with_file_name("winners.json");
    std::fs::write(&file, r#"[{"userId": 123456, "delta": 5}, {"userId": 99, "set": 5}]"#).unwrap();
    let run = home.json(&["points", "adjust", file.to_str().unwrap(), "--reason", "Event"]);
    let id = run["id"].as_str().unwrap();
    let done = |id: &str| {
        let shown = home.json(&["points", "show", id]);
        (shown["run"]["status"] == "done").then_some(shown)
    };
    let shown = until("the run to end", || done(id));
    assert_eq!((&shown["run"]["done"], &shown["refused"][0]["userId"]), (&json!(1), &json!(99)));
    let undo = home.json(&["points", "undo", id]);
    until("the undo to end", || done(undo["id"].as_str().unwrap()));
    server.stop();
}
