//! What takes a body: where, a good one, and bad ones with what is complained of.

use serde_json::{Value, json};

use super::{automation, jobs};
use crate::harness::INGEST;

/// Something that takes a body: where, a good body, and what is wrong about others: a body and the places complained of.
pub struct Taker {
    pub target: &'static str,
    pub good: Value,
    pub wrong: Vec<(Value, &'static [&'static str])>,
}

/// The largest user id, and one more.
pub const MAX_ID: u64 = (1 << 53) - 1;

pub fn long(count: usize) -> String {
    "x".repeat(count)
}

/// `good` with one field replaced.
pub fn with(good: &Value, field: &str, value: Value) -> Value {
    let mut changed = good.clone();
    changed[field] = value;
    changed
}

/// What no user id is.
pub fn no_ids() -> Vec<Value> {
    vec![
        json!(0),
        json!(-1),
        json!(1.5),
        json!(MAX_ID + 1),
        json!(u64::MAX),
        json!(1e300),
        json!(true),
        json!([7]),
        json!({}),
        json!("x"),
        json!("0"),
        json!("-1"),
        json!("1.5"),
        json!("1e3"),
        json!(" 7"),
        json!("9007199254740992"),
        json!(""),
    ]
}

pub fn takers() -> Vec<Taker> {
    let mut all = vec![ingest(), decisions(), simulate(), submit(), keys(), demo(), tasks()];
    all.extend(automation::takers());
    all.extend(jobs::takers());
    all
}

fn ingest() -> Taker {
    let good = json!({ "userId": 7, "username": "A" });
    let each = |field: &'static str,
                loc: &'static [&'static str],
                values: Vec<Value>|
     -> Vec<(Value, &'static [&'static str])> {
        values.into_iter().map(|value| (with(&json!({ "userId": 7, "username": "A" }), field, value), loc)).collect()
    };
    let mut wrong = each("userId", &["body.userId"], no_ids());
    wrong.extend(each("userId", &["body.userId"], vec![json!(null)]));
    wrong.extend(each(
        "username",
        &["body.username"],
        vec![json!(null), json!(5), json!(""), json!(long(65)), json!(["A"])],
    ));
    for (field, loc) in [
        ("displayName", &["body.displayName"]),
        ("rank", &["body.rank"]),
        ("punishmentStatus", &["body.punishmentStatus"]),
    ] {
        wrong.extend(each(field, loc, vec![json!(5), json!(false), json!(long(65)), json!([]), json!({})]));
    }
    let no_points =
        vec![json!("5"), json!(1.5), json!(MAX_ID + 1), json!(-(MAX_ID as i64) - 1), json!(true), json!([5])];
    wrong.extend(each("rankPoints", &["body.rankPoints"], no_points));
    for (field, loc) in [("kos", &["body.kos"]), ("wos", &["body.wos"])] {
        wrong.extend(each(field, loc, vec![json!(-1), json!(0.5), json!(MAX_ID + 1), json!("0")]));
    }
    for (field, loc) in [("warnings", &["body.warnings"]), ("recommendations", &["body.recommendations"])] {
        wrong.extend(each(field, loc, vec![json!(-1), json!(1_000_001), json!(1u64 << 32), json!("2"), json!(0.5)]));
    }
    wrong.extend(each("experience", &["body.experience"], vec![json!(5), json!("nexus"), json!([])]));
    wrong.extend(each(
        "experience",
        &["body.experience.placeId"],
        vec![json!({ "placeId": "x" }), json!({ "placeId": -1 })],
    ));
    wrong.extend(each(
        "experience",
        &["body.experience.server"],
        vec![json!({ "server": long(129) }), json!({ "server": 3 })],
    ));
    wrong.push((json!({ "username": "A" }), &["body.userId"]));
    wrong.push((json!({ "userId": 7 }), &["body.username"]));
    wrong.push((json!({}), &["body.userId", "body.username"]));
    let all = json!({ "userId": -1, "username": "", "kos": -5, "rankPoints": "x", "experience": { "placeId": "x" } });
    wrong.push((all, &["body.experience.placeId", "body.kos", "body.rankPoints", "body.userId", "body.username"]));
    Taker { target: INGEST, good, wrong }
}

fn decisions() -> Taker {
    let mut wrong: Vec<(Value, &'static [&'static str])> =
        no_ids().into_iter().map(|id| (json!({ "userId": id }), &["body.userId"][..])).collect();
    wrong.extend([
        (json!({ "userIds": 7 }), &["body.userIds"][..]),
        (json!({ "userIds": [1, "x"] }), &["body.userIds.1"]),
        (json!({ "all": "true" }), &["body.all"]),
        (json!({ "all": true, "limit": "5" }), &["body.limit"]),
        (json!({ "all": true, "limit": -5, "apply": 1 }), &["body.apply", "body.limit"]),
        (json!({ "all": true, "cursor": 5 }), &["body.cursor"]),
        (json!({}), &["body"]),
    ]);
    Taker { target: "/automation/decisions", good: json!({ "userId": 12345678 }), wrong }
}

fn simulate() -> Taker {
    let wrong: Vec<(Value, &'static [&'static str])> = vec![
        (json!({ "limit": 0 }), &["body.limit"]),
        (json!({ "limit": 1001 }), &["body.limit"]),
        (json!({ "limit": "all" }), &["body.limit"]),
        (json!({ "policy": [] }), &["body.policy"]),
        (json!({ "policy": "policy.ranks" }), &["body.policy"]),
        (json!({ "policy": { "../../etc/passwd": {} } }), &["body.policy.../../etc/passwd"]),
    ];
    Taker { target: "/automation/simulate", good: json!({}), wrong }
}

fn submit() -> Taker {
    let good = json!({ "user_id": 7, "score": 5, "season": "s1", "mode": "ranked" });
    let no_keys = [
        json!(0),
        json!(-5),
        json!(1.5),
        json!("0"),
        json!("-5"),
        json!(""),
        json!("two words"),
        json!("é"),
        json!(long(65)),
    ];
    let mut wrong: Vec<(Value, &'static [&'static str])> =
        no_keys.into_iter().map(|id| (with(&good, "user_id", id), &["body.user_id"][..])).collect();
    for score in [json!("5"), json!(null), json!(true), json!([5])] {
        wrong.push((with(&good, "score", score), &["body.score"]));
    }
    for (field, loc) in [("season", &["body.season"]), ("mode", &["body.mode"])] {
        wrong.extend([json!(""), json!(5), json!(long(65))].map(|value| (with(&good, field, value), &loc[..])));
    }
    for policy in [json!("max"), json!("BEST"), json!(1)] {
        wrong.push((with(&good, "policy", policy), &["body.policy"]));
    }
    wrong.push((json!({}), &["body.mode", "body.score", "body.season", "body.user_id"]));
    wrong.push((with(&good, "season", json!("a b")), &[]));
    wrong.push((with(&good, "mode", json!("a/b")), &[]));
    Taker { target: "/leaderboards/submit", good, wrong }
}

fn keys() -> Taker {
    let good = json!({ "name": "k", "scopes": ["ingest"] });
    let wrong: Vec<(Value, &'static [&'static str])> = vec![
        (json!({}), &["body.name", "body.scopes"]),
        (with(&good, "name", json!("")), &["body.name"]),
        (with(&good, "name", json!(long(65))), &["body.name"]),
        (with(&good, "name", json!("a\u{0}b")), &["body.name"]),
        (with(&good, "name", json!(5)), &["body.name"]),
        (with(&good, "scopes", json!([])), &["body.scopes"]),
        (with(&good, "scopes", json!("ingest")), &["body.scopes"]),
        (with(&good, "scopes", json!(["fly"])), &["body.scopes"]),
        (with(&good, "scopes", json!(["ingest", 5])), &["body.scopes.1"]),
        (with(&good, "scopes", json!(vec!["ingest"; 33])), &["body.scopes"]),
        (with(&good, "compat", json!("yes")), &["body.compat"]),
    ];
    Taker { target: "/admin/api/keys", good, wrong }
}

fn demo() -> Taker {
    let wrong: Vec<(Value, &'static [&'static str])> = vec![
        (json!({}), &["body.players"]),
        (json!({ "players": 0 }), &["body.players"]),
        (json!({ "players": 10_001 }), &["body.players"]),
        (json!({ "players": -1 }), &["body.players"]),
        (json!({ "players": "5" }), &["body.players"]),
        (json!({ "players": 1, "from": -1 }), &["body.from"]),
        (json!({ "players": 1, "from": 1_000_001 }), &["body.from"]),
        (json!({ "players": 2, "from": 999_999 }), &[]),
    ];
    Taker { target: "/admin/api/demo", good: json!({ "players": 1 }), wrong }
}

fn tasks() -> Taker {
    let backup = |name: Value| json!({ "kind": "backup", "name": name });
    let wrong: Vec<(Value, &'static [&'static str])> = vec![
        (json!({}), &["body.kind"]),
        (json!({ "kind": "fly" }), &["body.kind"]),
        (json!({ "kind": "Backup" }), &["body.kind"]),
        (json!({ "kind": "housekeeping" }), &["body.kind"]),
        (json!({ "kind": "check", "name": "x" }), &["body.name"]),
        (json!({ "kind": "compact", "name": "x" }), &["body.name"]),
        (json!({ "kind": "verify" }), &["body.name"]),
        (backup(json!(5)), &["body.name"]),
        (backup(json!(long(65))), &["body.name"]),
        (backup(json!("../secrets")), &["body.name"]),
        (backup(json!("a/b")), &["body.name"]),
        (backup(json!(".hidden")), &["body.name"]),
        (backup(json!("two words")), &["body.name"]),
        (backup(json!("a\nb")), &["body.name"]),
    ];
    Taker { target: "/admin/api/store/tasks", good: json!({ "kind": "check" }), wrong }
}
