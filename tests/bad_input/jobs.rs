//! Bad jobs, bad answers to jobs, and bad requests about many.

use serde_json::{Value, json};

use super::takers::{Taker, long, with};

pub fn takers() -> Vec<Taker> {
    let mut all = vec![job(), batch()];
    all.extend(answers());
    all.extend(["/admin/api/jobs/purge", "/admin/api/jobs/requeue"].map(bulk));
    all
}

/// Any object is a job; what can be wrong with one is in tests/jobs.rs.
fn job() -> Taker {
    Taker { target: "/job", good: json!({ "a": 1 }), wrong: vec![] }
}

fn batch() -> Taker {
    let one = |field: &str, value: Value| json!({ "jobs": [with(&json!({ "payload": {} }), field, value)] });
    let wrong: Vec<(Value, &'static [&'static str])> = vec![
        (json!({}), &["body.jobs"]),
        (json!({ "jobs": [] }), &["body.jobs"]),
        (json!({ "jobs": vec![json!({ "payload": {} }); 101] }), &["body.jobs"]),
        (json!({ "jobs": [{}] }), &["body.jobs.0.payload"]),
        (one("payload", json!(5)), &["body.jobs.0.payload"]),
        (one("payload", json!([1])), &["body.jobs.0.payload"]),
        (one("queue", json!("a b")), &["body.jobs.0.queue"]),
        (one("queue", json!(long(65))), &["body.jobs.0.queue"]),
        (one("priority", json!(10)), &["body.jobs.0.priority"]),
        (one("priority", json!(0.5)), &["body.jobs.0.priority"]),
        (one("delay", json!(-1)), &["body.jobs.0.delay"]),
        (one("ttl", json!(0)), &["body.jobs.0.ttl"]),
        (one("maxAttempts", json!(101)), &["body.jobs.0.maxAttempts"]),
        (one("key", json!(long(129))), &["body.jobs.0.key"]),
    ];
    Taker { target: "/job/batch", good: json!({ "jobs": [{ "payload": {} }] }), wrong }
}

fn answers() -> Vec<Taker> {
    let good = json!({ "leaseToken": "1.0" });
    let tokens: Vec<(Value, &'static [&'static str])> = vec![
        (json!({}), &["body.leaseToken"]),
        (json!({ "leaseToken": "" }), &["body.leaseToken"]),
        (json!({ "leaseToken": 5 }), &["body.leaseToken"]),
        (json!({ "leaseToken": long(65) }), &["body.leaseToken"]),
    ];
    let mut nack = tokens.clone();
    nack.push((with(&good, "retryIn", json!(-1)), &["body.retryIn"]));
    nack.push((with(&good, "dead", json!("yes")), &["body.dead"]));
    nack.push((with(&good, "reason", json!(7)), &["body.reason"]));
    let mut extend = tokens.clone();
    extend.push((with(&good, "lease", json!(0)), &["body.lease"]));
    extend.push((with(&good, "lease", json!(3601)), &["body.lease"]));
    let each = [("/job/{id}/ack", tokens), ("/job/{id}/nack", nack), ("/job/{id}/extend", extend)];
    each.into_iter().map(|(target, wrong)| Taker { target, good: good.clone(), wrong }).collect()
}

fn bulk(target: &'static str) -> Taker {
    let good = json!({ "queue": "default", "state": "dead" });
    let wrong: Vec<(Value, &'static [&'static str])> = vec![
        (json!({}), &["body.queue", "body.state"]),
        (with(&good, "queue", json!("a b")), &["body.queue"]),
        (with(&good, "state", json!("lost")), &["body.state"]),
        (with(&good, "limit", json!(0)), &["body.limit"]),
        (with(&good, "dryRun", json!(1)), &["body.dryRun"]),
    ];
    Taker { target, good, wrong }
}
