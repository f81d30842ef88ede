//! Bad lists of adjustments and bad reviews.

use serde_json::{Value, json};

use super::{MAX_ID, Taker, long, no_ids, with};

pub fn takers() -> Vec<Taker> {
    vec![adjustments(), reviews()]
}

fn adjustments() -> Taker {
    let good = json!({ "reason": "r", "dryRun": true, "adjustments": [{ "userId": 7, "delta": 1 }] });
    let row = |value: Value| with(&good, "adjustments", json!([value]));
    let mut wrong: Vec<(Value, &'static [&'static str])> = no_ids()
        .into_iter()
        .map(|id| (row(json!({ "userId": id, "delta": 1 })), &["body.adjustments.0.userId"][..]))
        .collect();
    for delta in [json!("5"), json!(1.5), json!(MAX_ID + 1), json!(-(MAX_ID as i64) - 1), json!(true)] {
        wrong.push((row(json!({ "userId": 7, "delta": delta })), &["body.adjustments.0.delta"]));
        wrong.push((row(json!({ "userId": 7, "set": delta })), &["body.adjustments.0.set"]));
    }
    wrong.extend([
        (json!({}), &["body.adjustments", "body.reason"][..]),
        (with(&good, "adjustments", json!([])), &["body.adjustments"]),
        (with(&good, "adjustments", json!({ "7": 5 })), &["body.adjustments"]),
        (with(&good, "adjustments", json!(vec![json!({ "userId": 7, "delta": 1 }); 10_001])), &["body.adjustments"]),
        (row(json!({ "userId": 7 })), &["body.adjustments.0"]),
        (row(json!({ "userId": 7, "delta": 1, "set": 1 })), &["body.adjustments.0"]),
        (row(json!(7)), &["body.adjustments.0"]),
        (with(&good, "reason", json!("")), &["body.reason"]),
        (with(&good, "reason", json!(long(201))), &["body.reason"]),
        (with(&good, "reason", json!(null)), &["body.reason"]),
        (with(&good, "dryRun", json!("yes")), &["body.dryRun"]),
        (with(&good, "key", json!("")), &["body.key", "body.key"]),
        (with(&good, "key", json!("two words")), &["body.key"]),
        (with(&good, "key", json!(long(101))), &["body.key"]),
        (with(&good, "queue", json!("a b")), &["body.queue"]),
        (with(&good, "queue", json!(long(65))), &["body.queue"]),
    ]);
    Taker { target: "/automation/adjustments", good, wrong }
}

fn reviews() -> Taker {
    let wrong: Vec<(Value, &'static [&'static str])> =
        vec![(json!({ "apply": "yes" }), &["body.apply"]), (json!({ "apply": 1 }), &["body.apply"])];
    Taker { target: "/automation/reviews", good: json!({}), wrong }
}
