//! Reviews of all players: a walk in the background that outlives restarts and decides as a request for each would.

use grps::domains::ranks::DECISIONS;
use grps::domains::reviews::{PAGE, REVIEW_RUNNING, REVIEWS};
use grps::workers::Next;
use serde_json::{Value, json};

use crate::harness::{Setup, TestApp};
use crate::state::{audits, dump, rows};

const PATH: &str = "/automation/reviews";

fn setup() -> Setup {
    let keys = "everything-key-for-the-tests-of-reviews:*,a-key-that-may-review-and-not-apply:decisions:manage";
    Setup::new().set("INBOUND_API_KEYS", keys)
}

async fn group(count: u64) -> TestApp {
    fill(setup().start().await, count).await
}

/// Everybody may rise by one rank.
async fn fill(app: TestApp, count: u64) -> TestApp {
    for id in 1..=count {
        let snapshot =
            json!({ "userId": id, "username": format!("P{id}"), "rank": "Shock Trooper II", "rankPoints": 500 });
        app.ingest(snapshot.to_string()).expect(200).await;
    }
    app
}

async fn start(app: &TestApp, apply: bool) -> Value {
    app.post(PATH, json!({ "apply": apply }).to_string()).key().expect(202).await.json()
}

async fn show(app: &TestApp, review: &Value) -> Value {
    app.get(&format!("{PATH}/{}", review["id"].as_str().unwrap())).key().expect(200).await.json()
}

/// Lets the worker do all there is.
async fn carry_out(app: &TestApp) {
    while app.tick("reviews").await == Next::Now {}
}

#[tokio::test]
async fn a_review_decides_about_everybody_once() {
    let app = group(5).await;
    let review = start(&app, false).await;
    assert_eq!((&review["status"], &review["total"]), (&json!("running"), &json!(5)));
    assert_eq!(rows(&app, &DECISIONS).await.len(), 0, "nothing happens before the worker's turn");
    carry_out(&app).await;
    let done = show(&app, &review).await;
    assert_eq!((&done["status"], &done["done"]), (&json!("done"), &json!(5)));
    assert_eq!(done["counts"], json!({ "PROMOTE": { "proposed": 5 } }));
    assert_eq!(rows(&app, &DECISIONS).await.len(), 5);
    assert!(rows(&app, &REVIEW_RUNNING).await.is_empty());
    let actions: Vec<String> = audits(&app).await.into_iter().map(|entry| entry.action).collect();
    assert_eq!(actions.iter().filter(|action| *action == "review.started").count(), 1);
    let again = start(&app, false).await;
    carry_out(&app).await;
    assert_ne!(again["id"], review["id"]);
    assert_eq!(rows(&app, &DECISIONS).await.len(), 5, "what is open answers with itself");
}

#[tokio::test]
async fn a_review_that_applies_heeds_the_breaker() {
    let strict = setup().policy("policy.ranks.json", |file| {
        file["settings"]["breaker"] = json!({ "appliesPerMinute": 3, "appliesPerHour": 100 });
    });
    let app = fill(strict.start().await, 8).await;
    let review = start(&app, true).await;
    carry_out(&app).await;
    let counts = show(&app, &review).await["counts"].clone();
    assert_eq!(counts, json!({ "PROMOTE": { "proposed": 5, "queued": 3 } }));
}

#[tokio::test]
async fn a_review_goes_on_after_a_restart_and_runs_alone() {
    let count = PAGE as u64 * 2 + 10;
    let mut app = group(count).await;
    let review = start(&app, false).await;
    assert_eq!(start(&app, false).await["id"], review["id"], "a second one answers with the first");
    let mut pages = 0;
    while app.tick("reviews").await == Next::Now {
        app = app.restart().await;
        pages += 1;
        assert_eq!(show(&app, &review).await["done"], (pages * PAGE as u64).min(count));
    }
    let done = show(&app, &review).await;
    assert_eq!((pages, &done["status"], &done["counts"]["PROMOTE"]["proposed"]), (3, &json!("done"), &json!(count)));
    assert_eq!(rows(&app, &DECISIONS).await.len(), count as usize);
}

#[tokio::test]
async fn a_review_that_applies_is_not_mistaken_for_one_that_does_not() {
    let app = group(1).await;
    for apply in [false, true] {
        let review = start(&app, apply).await;
        let before = dump(&app).await;
        let body = json!({ "apply": !apply }).to_string();
        let answer = app.post(PATH, body).key().refused(409, "reviews.running").await;
        assert!(answer.detail().contains(review["id"].as_str().unwrap()), "{}", answer.text);
        assert_eq!(dump(&app).await, before);
        carry_out(&app).await;
    }
    assert_eq!(rows(&app, &REVIEWS).await.len(), 2);
}

#[tokio::test]
async fn two_workers_at_once_count_everybody_once() {
    for commits_before in 0..2 {
        let app = fill(setup().contended().start().await, PAGE as u64 + 10).await;
        let app = fill(app, commits_before).await; // Which commits are refused is counted: each time it is others.
        let review = start(&app, false).await;
        tokio::join!(carry_out(&app), carry_out(&app));
        let done = show(&app, &review).await;
        assert_eq!((&done["status"], &done["done"]), (&json!("done"), &json!(PAGE + 10)));
        assert_eq!(done["counts"], json!({ "PROMOTE": { "proposed": PAGE + 10 } }));
    }
}

#[tokio::test]
async fn a_cancelled_review_stays_where_it_is() {
    let app = group(PAGE as u64 + 1).await;
    let review = start(&app, false).await;
    assert_eq!(app.tick("reviews").await, Next::Now);
    let target = format!("{PATH}/{}/cancel", review["id"].as_str().unwrap());
    for _ in 0..2 {
        let cancelled = app.post(&target, "").key().expect(200).await.json();
        assert_eq!((&cancelled["status"], &cancelled["done"]), (&json!("cancelled"), &json!(PAGE)));
    }
    carry_out(&app).await;
    assert_eq!(rows(&app, &DECISIONS).await.len(), PAGE);
    let next = start(&app, false).await;
    carry_out(&app).await;
    let target = format!("{PATH}/{}/cancel", next["id"].as_str().unwrap());
    app.post(&target, "").key().refused(409, "reviews.ended").await;
    let list = app.get(&format!("{PATH}?limit=1")).key().expect(200).await.json();
    assert_eq!(list["reviews"][0]["id"], next["id"], "newest first");
    let rest =
        app.get(&format!("{PATH}?cursor={}", list["nextCursor"].as_str().unwrap())).key().expect(200).await.json();
    assert_eq!((rest["reviews"].as_array().unwrap().len(), &rest["nextCursor"]), (1, &Value::Null));
    app.advance(366 * 86_400);
    carry_out(&app).await;
    assert!(rows(&app, &REVIEWS).await.is_empty(), "old ones are forgotten");
}

#[tokio::test]
async fn who_may_not_apply_may_not_have_a_review_do_it() {
    let app = group(1).await;
    let before = dump(&app).await;
    let post = |body: &str| app.post(PATH, body).header("x-grps-api-key", "a-key-that-may-review-and-not-apply");
    let answer = post(r#"{"apply": true}"#).refused(403, "auth.scope_missing").await;
    assert!(answer.detail().contains("decisions:apply"));
    assert_eq!(dump(&app).await, before);
    post("{}").expect(202).await;
    for target in ["/0000000000000001", "/nonsense"] {
        app.get(&format!("{PATH}{target}")).key().refused(404, "reviews.missing").await;
    }
}
