//! Queues over HTTP: what goes in comes out, once; leases, refusals, operators (requirements J1, J2, R5).

use std::time::Duration;

use grps::base::metrics::Metrics;
use grps::base::{Id, Ids};
use grps::domains::audit::Actor;
use grps::domains::auth::Sender;
use grps::domains::jobs::{Config, Jobs, NewJob, QueueName};
use serde_json::{Value, json};

use crate::harness::{Setup, TestApp};

async fn put(app: &TestApp, target: &str, body: &str) -> String {
    let answer = app.post(target, body).gateway().expect(200).await.json();
    assert_eq!(answer["queued"], true);
    answer["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_job_leaves_byte_for_byte_as_it_came_and_only_once() {
    let app = TestApp::new().await;
    let body = "{ \"b\": 1.0,\t\"a\":[1e5, 12345678901234567890123],\"é\":\"\\u00e9\" }";
    let id = put(&app, "/job", body).await;
    let answer = app.get("/job/next").gateway().expect(200).await;
    assert_eq!(answer.text, body);
    assert_eq!((answer.header("x-job-id"), answer.header("x-job-queue")), (id.as_str(), "default"));
    assert_eq!((answer.header("x-job-attempt"), answer.header("cache-control")), ("1", "no-store"));
    let none = app.get("/job/next").gateway().expect(204).await;
    assert_eq!(none.text, "");
    let status = app.get(&format!("/job/{id}")).gateway().expect(200).await.json();
    assert_eq!((&status["state"], &status["producer"]), (&json!("delivered"), &json!("gateway")));
}

#[tokio::test]
async fn jobs_come_first_in_first_out_within_their_priority() {
    let app = TestApp::new().await;
    for (n, priority) in [(1, 0), (2, 5), (3, 0), (4, -3), (5, 5)] {
        put(&app, &format!("/job?priority={priority}"), &json!({ "n": n }).to_string()).await;
    }
    let mut order = Vec::new();
    for _ in 0..5 {
        order.push(app.get("/job/next").gateway().expect(200).await.json()["n"].as_i64().unwrap());
    }
    assert_eq!(order, [2, 5, 1, 3, 4]);
}

#[tokio::test]
async fn a_lease_ends_in_an_answer_or_in_another_delivery() {
    let app = TestApp::new().await;
    let id = put(&app, "/job?maxAttempts=2", r#"{"x":1}"#).await;
    let first = app.get("/job/next?lease=30").gateway().expect(200).await.json();
    assert_eq!((&first["id"], &first["attempt"], &first["payload"]), (&json!(id), &json!(1), &json!({"x":1})));
    app.get("/job/next").gateway().expect(204).await;
    app.advance(31);
    let token = |envelope: &Value| json!({ "leaseToken": envelope["leaseToken"] }).to_string();
    let late = app.post(&format!("/job/{id}/ack"), token(&first)).gateway().refused(409, "jobs.lease_lost").await;
    assert!(late.hint().contains("somebody else"));
    app.tick("jobs").await;
    let second = app.get("/job/next").header("x-job-lease", "30").gateway().expect(200).await.json();
    assert_eq!(second["attempt"], 2);
    assert_ne!(second["leaseToken"], first["leaseToken"]);
    for target in ["ack", "nack", "extend"] {
        app.post(&format!("/job/{id}/{target}"), token(&first)).gateway().refused(409, "jobs.lease_lost").await;
    }
    app.advance(20);
    let extended = app.post(&format!("/job/{id}/extend"), token(&second)).gateway().expect(200).await.json();
    assert_eq!(extended["state"], "leased");
    app.advance(20);
    for _ in 0..2 {
        let done = app.post(&format!("/job/{id}/ack"), token(&second)).gateway().expect(200).await.json();
        assert_eq!(done["state"], "done");
    }
    app.post(&format!("/job/{id}/nack"), token(&second)).gateway().refused(409, "jobs.lease_lost").await;
}

#[tokio::test]
async fn what_fails_comes_back_later_until_it_is_dead_and_can_be_redriven() {
    let app = TestApp::new().await;
    let id = put(&app, "/job?maxAttempts=2", r#"{"x":1}"#).await;
    for attempt in 1..=2 {
        let taken = app.get("/job/next?lease=30").gateway().expect(200).await.json();
        assert_eq!(taken["attempt"], attempt);
        let body = json!({ "leaseToken": taken["leaseToken"], "reason": "no such player" }).to_string();
        for _ in 0..2 {
            app.post(&format!("/job/{id}/nack"), body.clone()).gateway().expect(200).await;
        }
        app.get("/job/next").gateway().expect(204).await;
        app.advance(2);
    }
    let dead = app.get(&format!("/admin/api/jobs/{id}")).operator().expect(200).await.json();
    assert_eq!((&dead["state"], &dead["reason"]), (&json!("dead"), &json!("failed 2 times; last: no such player")));
    let request = json!({ "queue": "default", "state": "dead", "dryRun": true }).to_string();
    let counted = app.post("/admin/api/jobs/requeue", request).operator().expect(200).await.json();
    assert_eq!(counted, json!({ "matched": 1, "changed": 0 }));
    let request = json!({ "queue": "default", "state": "dead" }).to_string();
    let changed = app.post("/admin/api/jobs/requeue", request).operator().expect(200).await.json();
    assert_eq!(changed, json!({ "matched": 1, "changed": 1 }));
    let again = app.get("/job/next?lease=30").gateway().expect(200).await.json();
    assert_eq!((&again["id"], &again["attempt"]), (&json!(id), &json!(1)));
}

#[tokio::test]
async fn what_is_given_back_untried_keeps_its_attempt() {
    let app = TestApp::new().await;
    let id = put(&app, "/job?maxAttempts=1", r#"{"x":1}"#).await;
    let mut tokens = Vec::new();
    for _ in 0..3 {
        let taken = app.get("/job/next?lease=30").gateway().expect(200).await.json();
        assert_eq!(taken["attempt"], 1);
        assert!(!tokens.contains(&taken["leaseToken"]), "a token was given out twice");
        tokens.push(taken["leaseToken"].clone());
        let body = json!({ "leaseToken": taken["leaseToken"], "retryIn": 0, "released": true }).to_string();
        for _ in 0..2 {
            let back = app.post(&format!("/job/{id}/nack"), body.clone()).gateway().expect(200).await.json();
            assert_eq!((&back["state"], &back["attempt"]), (&json!("ready"), &json!(0)));
        }
    }
    let taken = app.get("/job/next?lease=30").gateway().expect(200).await.json();
    let body = json!({ "leaseToken": taken["leaseToken"], "released": true, "dead": true }).to_string();
    assert_eq!(app.post(&format!("/job/{id}/nack"), body).gateway().expect(200).await.json()["state"], "dead");
}

#[tokio::test]
async fn a_poll_that_waits_is_answered_by_the_commit() {
    let app = TestApp::new().await;
    let poll = app.get("/job/next?wait=25").gateway();
    let (answer, _) = tokio::join!(poll.expect(200), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        put(&app, "/job", r#"{"late":true}"#).await
    });
    assert_eq!(answer.text, r#"{"late":true}"#);
    let waiting = app.get("/job/next?wait=25").gateway();
    let (none, ()) = tokio::join!(waiting.expect(204), async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        app.app.stop_waiting();
    });
    assert_eq!(none.text, "");
}

#[tokio::test]
async fn the_same_key_is_the_same_job_for_a_day() {
    let app = TestApp::new().await;
    let send = |key: &'static str, body: &'static str| app.post("/job", body).header("idempotency-key", key).gateway();
    let first = send("k1", r#"{"n":1}"#).expect(200).await;
    let again = send("k1", r#"{"n":1}"#).expect(200).await;
    assert_eq!(first.text, again.text);
    assert_eq!((first.header("idempotent-replayed"), again.header("idempotent-replayed")), ("", "true"));
    let other = send("k1", r#"{"n":2}"#).refused(422, "jobs.key_reused").await;
    assert!(other.hint().contains("new key"));
    app.get("/job/next").gateway().expect(200).await;
    app.get("/job/next").gateway().expect(204).await;
    app.advance(24 * 3600);
    let fresh = send("k1", r#"{"n":1}"#).expect(200).await;
    assert_ne!(first.json()["id"], fresh.json()["id"]);
}

#[tokio::test]
async fn delays_and_times_to_live_are_kept() {
    let app = TestApp::new().await;
    let later = put(&app, "/job?delay=60", r#"{"n":1}"#).await;
    let mortal = put(&app, "/job?ttl=10", r#"{"n":2}"#).await;
    app.advance(11);
    app.get("/job/next").gateway().expect(204).await;
    app.tick("jobs").await;
    let app = &app;
    let state =
        |id: String| async move { app.get(&format!("/job/{id}")).gateway().expect(200).await.json()["state"].take() };
    assert_eq!((state(later.clone()).await, state(mortal).await), (json!("waiting"), json!("expired")));
    app.advance(49);
    assert_eq!(app.get("/job/next").gateway().expect(200).await.json()["n"], 1);
}

#[tokio::test]
async fn batches_go_in_whole_and_come_out_in_order() {
    let app = TestApp::new().await;
    let jobs: Vec<Value> = (0..100).map(|n| json!({ "payload": { "n": n }, "queue": "b" })).collect();
    let answer = app.post("/job/batch", json!({ "jobs": jobs }).to_string()).gateway().expect(200).await.json();
    assert_eq!(answer["jobs"].as_array().unwrap().len(), 100);
    let taken = app.get("/job/next?queue=b&max=100&lease=5").gateway().expect(200).await.json();
    let order: Vec<i64> =
        taken["jobs"].as_array().unwrap().iter().map(|job| job["payload"]["n"].as_i64().unwrap()).collect();
    assert_eq!(order, (0..100).collect::<Vec<_>>());
    let none = app.get("/job/next?queue=b&max=2").gateway().expect(200).await.json();
    assert_eq!(none, json!({ "jobs": [] }));
    let mixed = json!({ "jobs": [{ "payload": { "n": 1 } }, { "payload": [1] }] }).to_string();
    app.post("/job/batch", mixed).gateway().refused(422, "request.invalid").await;
    app.get("/job/next").gateway().expect(204).await;
}

#[tokio::test]
async fn what_does_not_fit_is_refused_and_nothing_is_lost() {
    let app = Setup::new().set("JOB_QUEUE_LENGTH", "2").set("JOB_WAITERS", "1").start().await;
    let large = json!({ "x": "a".repeat(64 * 1024) }).to_string();
    app.post("/job", large).gateway().refused(413, "jobs.payload_too_large").await;
    for body in ["[1]", "5", "\"x\"", "null", "true"] {
        app.post("/job", body).gateway().refused(422, "request.invalid").await;
    }
    for body in ["", "{", "{\"a\":1,\"a\":2}"] {
        app.post("/job", body).gateway().refused(422, "request.json_invalid").await;
    }
    app.post("/job?priority=10", "{}").gateway().refused(422, "request.invalid").await;
    app.post("/job?queue=a%20b", "{}").gateway().refused(422, "request.invalid").await;
    app.get("/job/next?wait=26").gateway().refused(422, "request.invalid").await;
    app.get("/job/next?lease=0").gateway().refused(422, "request.invalid").await;
    app.get("/job/xyz").gateway().refused(404, "jobs.missing").await;
    app.request("HEAD", "/job/next").gateway().expect(405).await;
    put(&app, "/job", "[]").await;
    put(&app, "/job", "{}").await;
    let full = app.post("/job", "{}").gateway().refused(507, "jobs.queue_full").await;
    assert!(full.hint().contains("JOB_QUEUE_LENGTH"));
    assert_eq!(app.get("/job/next").gateway().expect(200).await.text, "{}");
    assert_eq!(app.get("/job/next").gateway().expect(200).await.text, "{}");
    let (one, other) =
        tokio::join!(app.get("/job/next?wait=1").gateway().send(), app.get("/job/next?wait=1").gateway().send(),);
    let mut statuses = [one.status.as_u16(), other.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [204, 429]);
    app.post("/job", "{}").key().refused(403, "auth.scope_missing").await;
    app.get("/admin/api/queues").gateway().refused(401, "auth.scheme_not_accepted").await;
}

#[tokio::test]
async fn queues_survive_a_restart_in_order() {
    let app = TestApp::new().await;
    for n in 0..3 {
        put(&app, "/job", &json!({ "n": n }).to_string()).await;
    }
    let leased = app.get("/job/next?lease=30").gateway().expect(200).await.json();
    let app = app.restart().await;
    assert_eq!(app.get("/job/next").gateway().expect(200).await.json()["n"], 1);
    let body = json!({ "leaseToken": leased["leaseToken"] }).to_string();
    let id = leased["id"].as_str().unwrap();
    app.post(&format!("/job/{id}/ack"), body).gateway().expect(200).await;
    let queues = app.get("/admin/api/queues").operator().expect(200).await.json();
    assert_eq!((&queues["queues"][0]["ready"], &queues["queues"][0]["done"]), (&json!(1), &json!(1)));
    let listed = app.get("/admin/api/jobs?state=ready").operator().expect(200).await.json();
    assert_eq!(listed["jobs"].as_array().unwrap().len(), 1);
    let purge = json!({ "queue": "default", "state": "ready" }).to_string();
    assert_eq!(app.post("/admin/api/jobs/purge", purge).operator().expect(200).await.json()["changed"], 1);
    app.get("/job/next").gateway().expect(204).await;
}

#[tokio::test]
async fn who_only_waits_takes_no_queue_away_from_producers() {
    let app = Setup::new().start().await;
    let names: Vec<String> = (0..400).map(|n| format!("invented-{n}")).collect();
    let polls = names.iter().map(|name| app.get(&format!("/job/next?wait=2&queue={name}")).gateway().send());
    let (answers, id) = tokio::join!(futures_util::future::join_all(polls), put(&app, "/job", r#"{"n":1}"#));
    assert!(answers.iter().all(|answer| answer.status == 204) && !id.is_empty());
    app.tick("jobs").await;
    let metrics = app.get("/metrics").from("127.0.0.1:9").expect(200).await.text;
    assert!(!metrics.contains("invented"), "a queue that holds nothing shows in no metric");
    let queues = app.get("/admin/api/queues").operator().expect(200).await.json();
    assert_eq!(queues["queues"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_request_that_is_repeated_finds_its_job_in_a_full_queue() {
    let app = Setup::new().set("JOB_QUEUE_LENGTH", "1").start().await;
    let send = || app.post("/job", r#"{"n":1}"#).header("idempotency-key", "k").gateway();
    let first = send().expect(200).await.json();
    assert_eq!(send().expect(200).await.json(), first);
    app.post("/job", "{}").gateway().refused(507, "jobs.queue_full").await;
    // Purged, it is no job any more, and the key is free.
    let purge = json!({ "queue": "default", "state": "ready" }).to_string();
    app.post("/admin/api/jobs/purge", purge).operator().expect(200).await;
    assert_ne!(send().expect(200).await.json()["id"], first["id"]);
}

#[tokio::test]
async fn many_that_expire_at_once_are_in_nobodys_way() {
    let app = TestApp::new().await;
    for _ in 0..50 {
        let jobs: Vec<Value> = (0..100).map(|_| json!({ "payload": {}, "ttl": 5 })).collect();
        app.post("/job/batch", json!({ "jobs": jobs }).to_string()).gateway().expect(200).await;
    }
    let last = put(&app, "/job", r#"{"last":true}"#).await;
    app.advance(6);
    assert_eq!(app.get("/job/next").gateway().expect(200).await.header("x-job-id"), last);
    app.get("/job/next").gateway().expect(204).await;
    for _ in 0..60 {
        app.tick("jobs").await;
    }
    let queues = app.get("/admin/api/queues").operator().expect(200).await.json();
    assert_eq!((&queues["queues"][0]["expired"], &queues["queues"][0]["ready"]), (&json!(5000), &json!(0)));
}

/// Follows a queue from `cursor` to the end: the jobs seen, and how often a loss was told.
async fn follow(app: &TestApp, queue: &str, cursor: Id) -> (usize, usize) {
    let tail = app.app.jobs.tail();
    let mut place = tail.place(queue.parse().unwrap(), cursor);
    let (mut seen, mut losses) = (0, 0);
    while place.cursor < tail.newest() {
        let page = tail.after(&mut place).await.unwrap();
        seen += page.jobs.iter().filter(|job| job.queue == place.queue).count();
        losses += usize::from(page.lost);
        place.cursor = page.cursor;
    }
    (seen, losses)
}

#[tokio::test]
async fn a_mirror_is_told_once_of_what_is_gone_and_only_of_its_own_queue() {
    let app = TestApp::new().await;
    let first: Id = put(&app, "/job?queue=a", "{}").await.parse().unwrap();
    for queue in ["a", "b"] {
        for _ in 0..4 {
            let jobs: Vec<Value> = (0..100).map(|_| json!({ "payload": {}, "queue": queue })).collect();
            app.post("/job/batch", json!({ "jobs": jobs }).to_string()).gateway().expect(200).await;
        }
    }
    let purge = json!({ "queue": "b", "state": "ready", "limit": 10 }).to_string();
    app.post("/admin/api/jobs/purge", purge).operator().expect(200).await;
    // Started again, nothing comes from memory.
    let app = app.restart().await;
    assert_eq!(follow(&app, "a", Id(0)).await, (401, 0));
    assert_eq!(follow(&app, "a", first).await, (400, 0));
    assert_eq!(follow(&app, "b", Id(0)).await, (390, 0), "who asks for all that is kept misses nothing");
    assert_eq!(follow(&app, "b", first).await, (390, 1));
}

#[tokio::test]
async fn a_job_that_waits_can_be_had_at_once_though_its_queue_is_over_a_lowered_limit() {
    let app = TestApp::new().await;
    let id: Id = put(&app, "/job?delay=60", "{}").await.parse().unwrap();
    put(&app, "/job", "{}").await;
    let (clock, limit) = (app.clock.clone(), Config { queue_length: 1, ..Config::default() });
    let jobs = Jobs::open(&app.app.store, clock.clone(), Ids::new(clock), limit, &Metrics::default()).await.unwrap();
    let asker = Sender { actor: Actor::of("test"), request_id: "test".into() };
    assert_eq!(jobs.requeue(id, &asker).await.unwrap().ready_at, None);
    let refused = jobs.submit(vec![NewJob::new(QueueName::default(), "{}", "test")]).await.unwrap_err();
    assert_eq!(refused.code(), "jobs.queue_full");
}
