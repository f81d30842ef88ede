//! Bad lists of adjustments, bad reviews, bad calls for the sync, and bad words of people about decisions, drift and the breaker.

use serde_json::{Value, json};

use super::takers::{MAX_ID, Taker, long, no_ids, with};

pub fn takers() -> Vec<Taker> {
    let mut all = vec![adjustments(), reviews(), resolution(), sync()];
    all.extend(people());
    all
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

fn resolution() -> Taker {
    let wrong: Vec<(Value, &'static [&'static str])> = vec![
        (json!({}), &["body.resolution"]),
        (json!({ "resolution": "ACCEPT" }), &["body.resolution"]),
        (json!({ "resolution": null }), &["body.resolution"]),
        (json!({ "resolution": true }), &["body.resolution"]),
    ];
    Taker { target: "/automation/drift/7", good: json!({ "resolution": "accept" }), wrong }
}

fn sync() -> Taker {
    let good = json!({ "activity": "nightly" });
    let wrong: Vec<(Value, &'static [&'static str])> = vec![
        (json!({}), &["body.activity"]),
        (with(&good, "activity", json!("")), &["body.activity"]),
        (with(&good, "activity", json!(long(33))), &["body.activity"]),
        (with(&good, "activity", json!(5)), &["body.activity"]),
        (with(&good, "limit", json!(0)), &["body.limit"]),
        (with(&good, "limit", json!(501)), &["body.limit"]),
        (with(&good, "limit", json!("100")), &["body.limit"]),
        (with(&good, "cursor", json!(long(16_385))), &["body.cursor"]),
        (with(&good, "scope", json!(long(51))), &["body.scope"]),
        (with(&good, "scope", json!("-")), &["body.scope"]),
        (with(&good, "prefix", json!(long(51))), &["body.prefix"]),
    ];
    Taker { target: "/sync/roblox", good, wrong }
}

/// What people say about decisions, and what they do with the breaker.
fn people() -> Vec<Taker> {
    let reason = (json!({ "reason": 5 }), &["body.reason"][..]);
    let long_reason = (json!({ "reason": long(201) }), &["body.reason"][..]);
    let ids = |ids: Value| json!({ "ids": ids });
    let many: Vec<(Value, &'static [&'static str])> = vec![
        (json!({}), &["body.ids"]),
        (ids(json!([])), &["body.ids"]),
        (ids(json!(vec!["0000000000000000"; 101])), &["body.ids"]),
        (ids(json!([5])), &["body.ids.0"]),
        (ids(json!(["0000000000000000", "x"])), &["body.ids.1"]),
        (with(&ids(json!(["0000000000000000"])), "reason", json!(long(201))), &["body.reason"]),
    ];
    let since = "2025-03-01T00:00:00Z";
    let window = json!({ "since": since });
    let revert: Vec<(Value, &'static [&'static str])> = vec![
        (json!({}), &["body"]),
        (json!({ "dryRun": false }), &["body"]),
        (json!({ "decisionId": "x" }), &["body.decisionId"]),
        (json!({ "decisionId": 5 }), &["body.decisionId"]),
        (json!({ "decisionId": "0000000000000000", "since": since }), &["body"]),
        (json!({ "since": "yesterday" }), &["body.since"]),
        (with(&window, "until", json!(since)), &["body.until"]),
        (with(&window, "limit", json!(1001)), &["body.limit"]),
        (with(&window, "limit", json!(0)), &["body.limit"]),
        (with(&window, "dryRun", json!("no")), &["body.dryRun"]),
        (with(&window, "actor", json!("")), &["body.actor"]),
        (with(&window, "cursor", json!("?")), &["body.cursor"]),
        (with(&window, "cursor", json!("AAAA")), &["body.cursor"]),
    ];
    let breaker: Vec<(Value, &'static [&'static str])> = vec![
        (json!({}), &["body.open"]),
        (json!({ "open": "yes" }), &["body.open"]),
        (json!({ "open": true, "reason": long(201) }), &["body.reason"]),
    ];
    vec![
        Taker { target: "/automation/decisions/{id}/reject", good: json!({}), wrong: vec![reason, long_reason] },
        Taker { target: "/automation/decisions/approve", good: ids(json!(["0000000000000000"])), wrong: many.clone() },
        Taker { target: "/automation/decisions/reject", good: ids(json!(["0000000000000000"])), wrong: many },
        Taker { target: "/automation/revert", good: window, wrong: revert },
        Taker { target: "/automation/breaker", good: json!({ "open": false }), wrong: breaker },
    ]
}
