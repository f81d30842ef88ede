//! Health and metrics: exact bodies, what makes the server not ready, and what a scrape finds.

use grps::base::Secret;
use serde_json::{Value, json};

use crate::harness::{INGEST, SEED_001, Setup, TestApp};

const HERE: &str = "127.0.0.1:4711";

async fn ready(app: &TestApp) -> Value {
    app.get("/health/ready").expect(200).await.json()
}

fn check<'a>(ready: &'a Value, name: &str) -> &'a Value {
    ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == name).unwrap()
}

#[tokio::test]
async fn the_bodies_are_the_seeds() {
    let app = TestApp::new().await;
    assert_eq!(app.get("/health/live").expect(200).await.text, r#"{"status":"ok"}"#);
    assert_eq!(app.get("/health").expect(200).await.text, r#"{"ok":true,"status":"ok"}"#);
    assert_eq!(app.get("/metrics/health").expect(200).await.text, r#"{"totalPlayers":0.0,"updatedLastHour":0.0}"#);
    assert_eq!(app.get("/health/live").expect(200).await.header("cache-control"), "no-store");
}

#[tokio::test]
async fn updated_last_hour_falls_when_the_hour_is_over() {
    let app = TestApp::new().await;
    let numbers = || async { app.get("/metrics/health").expect(200).await.json() };
    app.ingest(SEED_001).expect(200).await;
    app.advance(1800);
    app.ingest(r#"{"userId": 7, "username": "A"}"#).expect(200).await;
    assert_eq!(numbers().await, json!({ "totalPlayers": 2.0, "updatedLastHour": 2.0 }));
    app.advance(1801);
    assert_eq!(numbers().await, json!({ "totalPlayers": 2.0, "updatedLastHour": 1.0 }));
    app.ingest(SEED_001).expect(200).await;
    assert_eq!(numbers().await["updatedLastHour"], 2.0, "the same values again are news too");
    app.advance(3601);
    assert_eq!(numbers().await, json!({ "totalPlayers": 2.0, "updatedLastHour": 0.0 }));
}

#[tokio::test]
async fn health_is_open_unless_what_is_shown_is_wrong() {
    let app = TestApp::new().await;
    app.get("/health").key().expect(200).await;
    app.get("/health").gateway().expect(200).await;
    app.get("/health").operator().expect(200).await;
    app.get("/health").header("x-grps-api-key", "guess").refused(401, "auth.key_invalid").await;
    app.get("/health").header("x-api-key", "guess").refused(401, "auth.gateway_key_invalid").await;
    app.get("/health").signed("operator", &Secret::new("guess")).refused(401, "auth.signature_invalid").await;
    for open in ["/health/live", "/health/ready", "/metrics/health"] {
        app.get(open).header("x-grps-api-key", "guess").expect(200).await;
    }
}

#[tokio::test]
async fn health_may_be_told_to_want_a_credential() {
    let app = TestApp::with(&[("HEALTH_AUTH", "required")]).await;
    let answer = app.get("/health").refused(401, "auth.credentials_missing").await;
    assert!(answer.hint().contains("/health/live"));
    app.get("/health").gateway().expect(200).await;
    app.get("/health/live").expect(200).await;
}

#[tokio::test]
async fn a_refused_edit_of_the_policy_shows_and_does_not_stop_the_server() {
    let app = TestApp::new().await;
    let before = ready(&app).await;
    assert_eq!((&before["ready"], &check(&before, "policy")["ok"]), (&json!(true), &json!(true)));
    std::fs::write(app.policy_dir().join("policy.ranks.json"), "{").unwrap();
    app.tick("policy-watch").await;
    app.tick("policy-watch").await;
    let after = ready(&app).await;
    assert_eq!(after["ready"], true, "the last good policy still decides");
    let policy = check(&after, "policy");
    assert_eq!((&policy["ok"], &policy["vital"]), (&json!(false), &json!(false)));
    let detail = policy["detail"].as_str().unwrap();
    assert!(detail.contains("policy.ranks.json") && detail.contains("last good policy"), "{detail}");
}

#[tokio::test]
async fn a_store_that_takes_no_writes_is_not_ready_and_reads_go_on() {
    let app = TestApp::new().await;
    app.ingest(SEED_001).expect(200).await;
    app.app.store.close().await.unwrap();
    let answer = app.get("/health/ready").expect(503).await.json();
    assert_eq!((&answer["ready"], &check(&answer, "store")["ok"]), (&json!(false), &json!(false)));
    let refused = app.ingest(SEED_001).refused(503, "store.closed").await;
    assert!(!refused.header("retry-after").is_empty(), "it is worth trying again");
    app.get("/players/12345678").key().expect(200).await;
    app.get("/leaderboard").expect(200).await;
    app.get("/health/live").expect(200).await;
}

/// The samples of one metric: the labels and the value of each.
fn samples<'a>(text: &'a str, name: &str) -> Vec<(&'a str, f64)> {
    let of = |line: &'a str| -> Option<(&'a str, f64)> {
        let rest = line.strip_prefix(name)?;
        let (labels, value) = rest.rsplit_once(' ')?;
        (labels.is_empty() || labels.starts_with('{')).then(|| (labels, value.parse().unwrap()))
    };
    text.lines().filter_map(of).collect()
}

#[tokio::test]
async fn a_scrape_from_this_machine_finds_requests_by_route_and_commits() {
    let app = TestApp::new().await;
    app.ingest(SEED_001).expect(200).await;
    app.get("/players/12345678").key().expect(200).await;
    app.get("/players/99").key().expect(404).await;
    app.get("/nothing/secret-7").expect(404).await;
    let answer = app.get("/metrics").from(HERE).expect(200).await;
    assert!(answer.header("content-type").starts_with("text/plain"), "{}", answer.header("content-type"));
    let text = &answer.text;
    assert!(text.ends_with("# EOF\n"), "a whole scrape");
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok() && line.starts_with("grps_"), "{line}");
    }
    let counts = samples(text, "grps_http_request_seconds_count");
    let count = |parts: &[&str]| -> f64 {
        counts.iter().filter(|(labels, _)| parts.iter().all(|part| labels.contains(part))).map(|(_, value)| value).sum()
    };
    assert_eq!(count(&[&format!("route=\"{INGEST}\""), "method=\"POST\"", "status=\"2xx\""]), 1.0);
    assert_eq!(count(&["route=\"/players/{userId}\"", "status=\"2xx\""]), 1.0);
    assert_eq!(count(&["route=\"/players/{userId}\"", "status=\"4xx\""]), 1.0);
    assert_eq!(count(&["route=\"unmatched\"", "status=\"4xx\""]), 1.0);
    assert!(!text.contains("secret-7"), "paths of callers are no labels");
    assert_eq!(samples(text, "grps_store_commits_total"), [("", app.app.store.stats().commits as f64)]);
    let durable = samples(text, "grps_store_commit_seconds_count")[0].1;
    assert!(durable >= 1.0 && samples(text, "grps_store_conflicts_total").len() == 1);
}

#[tokio::test]
async fn a_scrape_from_elsewhere_needs_a_key_that_may() {
    let app = Setup::new()
        .set("INBOUND_API_KEYS", "a-key-for-prometheus-and-nothing-else:metrics:read,the-key-of-a-game-server:ingest")
        .start()
        .await;
    app.get("/metrics").refused(401, "auth.credentials_missing").await;
    app.get("/metrics").from("10.0.0.7:1").refused(401, "auth.credentials_missing").await;
    app.get("/metrics").header("x-grps-api-key", "a-key-for-prometheus-and-nothing-else").expect(200).await;
    app.get("/metrics").header("x-grps-api-key", "the-key-of-a-game-server").refused(403, "auth.scope_missing").await;
    app.get("/metrics").from(HERE).header("x-grps-api-key", "guess").refused(401, "auth.key_invalid").await;
}

#[tokio::test]
async fn what_a_proxy_or_a_foreign_page_passes_on_does_not_come_from_this_machine() {
    let app = TestApp::new().await;
    let scrape = || app.get("/metrics").from(HERE);
    scrape().header("host", "localhost:8000").expect(200).await;
    scrape().header("host", "[::1]:8000").expect(200).await;
    for name in ["x-forwarded-for", "forwarded", "x-real-ip", "via"] {
        scrape().header("host", "localhost").header(name, "127.0.0.1").refused(401, "auth.credentials_missing").await;
    }
    scrape().header("host", "metrics.example.com").refused(401, "auth.credentials_missing").await;
}
