//! Bad input to everything that takes a body: none of it is a fault of ours, none of it changes what is stored, and every answer says
//! what is wrong, where, and how to put it right. That an answer has the one shape of all failures is checked for every answer there is.

mod automation;
mod jobs;
mod takers;

use grps::domains::auth::{TABLE, find};
use serde_json::json;

use crate::harness::{Answer, Call, INGEST, SEED_001, TestApp};
use crate::state::dump;
use takers::{Taker, long, takers};

/// A server that knows one player, and everything in its store.
async fn server() -> (TestApp, Vec<String>) {
    let app = TestApp::new().await;
    app.ingest(SEED_001).expect(200).await;
    let before = dump(&app).await;
    (app, before)
}

/// Signs in the way `target` wants it.
fn let_in<'a>(call: Call<'a>, target: &str) -> Call<'a> {
    match target {
        _ if target.starts_with("/admin")
            || target.starts_with("/sync")
            || target.starts_with("/automation/drift")
            || by_people(target) =>
        {
            call.operator()
        }
        _ if target.starts_with("/job") => call.gateway(),
        _ => call.key(),
    }
}

/// Whether game servers' keys do not reach it.
fn by_people(target: &str) -> bool {
    let bare = ["/automation/revert", "/automation/breaker", "/automation/adjustments", "/automation/reviews"];
    target.starts_with("/automation/decisions/") || bare.contains(&target)
}

async fn post(app: &TestApp, target: &str, body: impl Into<Vec<u8>>) -> Answer {
    let_in(app.post(target, body), target).send().await
}

#[test]
fn everything_that_takes_a_body_is_tried() {
    let bodiless = [
        "/admin/api/keys/{kid}/rotate",
        "/admin/api/bootstrap",
        "/players/{userId}/clear-flag",
        "/admin/api/jobs/{id}/requeue",
        "/ws/tickets",
        "/automation/decisions/{id}/approve",
        "/automation/decisions/{id}/retry",
        "/automation/drift/runs",
        "/automation/adjustments/{id}/cancel",
        "/automation/adjustments/{id}/undo",
        "/automation/reviews/{id}/cancel",
        "/admin/api/roblox/probe",
        "/sync/jobs/{id}/retry",
        "/sync/jobs/{id}/cancel",
        "/admin/api/schedules/{name}/run",
    ];
    let mut listed: Vec<&str> = TABLE.iter().filter(|rule| rule.method == "POST").map(|rule| rule.path).collect();
    listed.retain(|path| !bodiless.contains(path));
    let mut tried: Vec<&str> = takers().iter().filter_map(|taker| Some(find("POST", taker.target)?.path)).collect();
    listed.sort();
    tried.sort();
    assert_eq!(tried, listed);
}

#[tokio::test]
async fn wrong_fields_are_all_named_at_once_and_change_nothing() {
    let (app, before) = server().await;
    for Taker { target, wrong, .. } in takers() {
        for (body, complaints) in wrong {
            let answer = post(&app, target, body.to_string()).await;
            assert_eq!(answer.status, 422, "{target} {body}: {}", answer.text);
            assert_eq!(answer.complaints(), complaints, "{target} {body}: {}", answer.text);
            for error in answer.json()["errors"].as_array().into_iter().flatten() {
                assert!(
                    error["msg"].as_str().unwrap().len() > 8 && error["type"].is_string(),
                    "{target} {body}: {error}"
                );
            }
        }
    }
    assert_eq!(dump(&app).await, before);
}

#[tokio::test]
async fn what_is_no_json_object_is_refused() {
    let (app, before) = server().await;
    let deep = format!("{{\"deep\":{}{}}}", "[".repeat(100), "]".repeat(100));
    let unreadable: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "empty"),
        (b"{".to_vec(), "line 1 column 1"),
        (b"{\"a\":1}}".to_vec(), "line 1 column"),
        (b"{'a':1}".to_vec(), "line 1 column"),
        (b"{\"score\":NaN}".to_vec(), "line 1 column"),
        (b"{\"score\":Infinity}".to_vec(), "line 1 column"),
        (b"{\"score\":-Infinity}".to_vec(), "line 1 column"),
        (b"{\"score\":1e999}".to_vec(), "line 1 column"),
        (b"{\"a\":1,\"b\":2,\"a\":3}".to_vec(), "\"a\" stands twice"),
        (b"{\"o\":{\"a\":1,\"\\u0061\":3}}".to_vec(), "\"a\" stands twice"),
        (b"{\"username\":\"\xff\xfe\"}".to_vec(), "not UTF-8"),
        (b"\xef\xbb\xbf{}".to_vec(), "line 1 column"),
        (b"userId=7&username=A".to_vec(), "line 1 column"),
        (deep.into_bytes(), "deeper than 32"),
    ];
    for Taker { target, .. } in takers() {
        for (body, said) in &unreadable {
            let answer = post(&app, target, body.clone()).await;
            let shown = String::from_utf8_lossy(body);
            assert_eq!(
                (answer.status.as_u16(), answer.code().as_str()),
                (422, "request.json_invalid"),
                "{target} {shown}: {}",
                answer.text
            );
            assert!(answer.detail().contains(said), "{target} {shown}: {}", answer.text);
        }
        for body in ["[]", "[{}]", "5", "\"text\"", "true", "null"] {
            // An empty table of Luau's is an empty job.
            if (target, body) == ("/job", "[]") {
                continue;
            }
            let answer = post(&app, target, body).await;
            assert_eq!(
                (answer.status.as_u16(), answer.code().as_str()),
                (422, "request.invalid"),
                "{target} {body}: {}",
                answer.text
            );
            assert!(answer.detail().contains("object"), "{target} {body}: {}", answer.text);
        }
    }
    assert_eq!(dump(&app).await, before);
}

#[tokio::test]
async fn too_large_a_body_is_told_the_limit() {
    let (app, before) = server().await;
    for rule in TABLE.iter().filter(|rule| rule.method == "POST") {
        let target = rule.path.replace("{kid}", "c00000000");
        let answer = post(&app, &target, vec![b' '; 2 << 20]).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (413, "request.too_large"), "{target}");
        assert!(answer.detail().contains("1048576") && answer.hint().contains("MAX_BODY_BYTES"), "{}", answer.text);
    }
    let wordy = json!({ "userId": 7, "username": "A", "note": long(7_000) });
    let answer = post(&app, INGEST, wordy.to_string()).await;
    assert_eq!((answer.status.as_u16(), answer.code().as_str()), (413, "ingest.too_large"));
    assert!(answer.detail().contains("6144"), "{}", answer.text);
    assert_eq!(dump(&app).await, before);
}

#[tokio::test]
async fn other_media_types_are_refused_by_name() {
    let (app, before) = server().await;
    for Taker { target, good, .. } in takers() {
        for kind in [
            "text/plain",
            "application/x-www-form-urlencoded",
            "multipart/form-data; boundary=x",
            "application/xml",
            "json",
        ] {
            let call = app.request("POST", target).header("content-type", kind).body(good.to_string());
            let answer = let_in(call, target).refused(415, "request.media_type").await;
            let essence = kind.split(';').next().unwrap();
            assert!(answer.detail().contains(essence) && answer.hint().contains("application/json"), "{}", answer.text);
        }
    }
    assert_eq!(dump(&app).await, before);
    for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/problem+json"]
    {
        app.request("POST", INGEST).header("content-type", kind).key().body(SEED_001).expect(200).await;
    }
    app.request("POST", INGEST).key().body(SEED_001).expect(200).await;
}

#[tokio::test]
async fn another_method_is_told_which_ones_there_are() {
    let (app, before) = server().await;
    for rule in TABLE
        .iter()
        .filter(|rule| !rule.path.starts_with("/docs") && !rule.path.starts_with("/openapi.") && rule.path != "/")
    {
        let same_path = TABLE.iter().filter(|other| other.path == rule.path);
        let mut taken: Vec<&str> = same_path.map(|other| other.method).collect();
        let target = ["{userId}", "{user_id}", "{kid}", "{id}", "{name}"]
            .iter()
            .fold(rule.path.to_owned(), |path, name| path.replace(name, "7"));
        let target = target.replace("{season}", "s1").replace("{mode}", "ranked");
        for method in ["GET", "POST", "PUT", "PATCH", "DELETE"] {
            // /leaderboards/submit could also be a board's season: the literal path wins.
            if taken.contains(&method) {
                continue;
            }
            let answer = app.request(method, &target).refused(405, "request.method_not_allowed").await;
            let mut allowed: Vec<&str> = answer.header("allow").split(", ").filter(|name| *name != "HEAD").collect();
            allowed.sort();
            taken.sort();
            assert_eq!(allowed, taken, "{method} {target}");
            assert!(answer.detail().contains(taken[0]), "{}", answer.text);
        }
    }
    assert_eq!(dump(&app).await, before);
}

#[tokio::test]
async fn headers_that_cannot_be_read_are_complained_of() {
    let (app, before) = server().await;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("x-roblox-experience", long(65).into_bytes()),
        ("x-roblox-experience", b"\xff".to_vec()),
        ("x-grps-actor", b"abc".to_vec()),
        ("x-grps-actor", b"0".to_vec()),
        ("x-grps-actor", b"-5".to_vec()),
        ("x-grps-actor", b"9007199254740992".to_vec()),
        ("x-grps-actor", b"\xff".to_vec()),
        ("x-grps-evaluate", b"\xff".to_vec()),
        ("x-grps-apply", b"maybe".to_vec()),
    ];
    for (name, value) in cases {
        let answer = app.ingest(SEED_001).header(name, &value).refused(422, "request.invalid").await;
        assert_eq!(answer.complaints(), [format!("header.{name}")], "{}", answer.text);
    }
    assert_eq!(dump(&app).await, before);
}

#[tokio::test]
async fn parameters_that_cannot_be_read_are_quoted() {
    let (app, before) = server().await;
    for id in ["0", "-1", "x", "1.5", "9007199254740992", "%00", "99999999999999999999"] {
        for target in [format!("/players/{id}"), format!("/players/{id}/snapshots")] {
            let answer = app.get(&target).key().refused(422, "request.invalid").await;
            assert_eq!(answer.complaints(), ["path.userId"], "{target}");
            assert!(answer.detail().contains(id) && answer.detail().contains("9007199254740991"), "{}", answer.text);
        }
    }
    for target in ["/nothing", "/players/7/nothing", "/admin/api/keys/x/y/z", "/leaderboards", "/leaderboards/s1"] {
        let answer = app.get(target).operator().refused(404, "request.no_route").await;
        assert!(answer.hint().contains("/docs"), "{}", answer.text);
    }
    assert_eq!(dump(&app).await, before);
}
