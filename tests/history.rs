//! A player's snapshots: paged newest first, and kept within their bounds.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use grps::base::metrics::Metrics;
use grps::base::{Clock, Error, Id, Result, RobloxId};
use grps::domains::players::{Retention, RetentionConfig, SNAPSHOTS, Snapshot};
use grps::store::{Batch, Engine, Health, Memory, Outcome, Publish, Settings, Span, Store};
use grps::workers::{Next, Worker};
use serde_json::{Value, json};

use crate::harness::{START, TestApp};
use crate::state::rows;

async fn post(app: &TestApp, user: u64, points: u64) {
    app.ingest(json!({ "userId": user, "username": "A", "rankPoints": points }).to_string()).expect(200).await;
}

/// The points of each snapshot on a page, and the cursor of the next.
fn points(page: &Value) -> (Vec<u64>, Option<String>) {
    let points = page["snapshots"].as_array().unwrap().iter().map(|one| one["body"]["rankPoints"].as_u64().unwrap());
    (points.collect(), page["nextCursor"].as_str().map(str::to_owned))
}

#[tokio::test]
async fn pages_run_newest_first_and_do_not_shift_when_more_come_in() {
    let app = TestApp::new().await;
    for count in 1..=7 {
        post(&app, 7, count).await;
        post(&app, 8, 100).await;
        app.advance(1);
    }
    let page = |query: String| app.get(&format!("/players/7/snapshots?limit=3{query}")).key().expect(200);
    let (first, cursor) = points(&page(String::new()).await.json());
    assert_eq!(first, [7, 6, 5]);
    post(&app, 7, 8).await;
    let (second, cursor) = points(&page(format!("&cursor={}", cursor.unwrap())).await.json());
    assert_eq!(second, [4, 3, 2]);
    let (third, cursor) = points(&page(format!("&cursor={}", cursor.unwrap())).await.json());
    assert_eq!((third, cursor), (vec![1], None));
}

#[tokio::test]
async fn a_cursor_of_another_player_is_refused() {
    let app = TestApp::new().await;
    for count in 1..=3 {
        post(&app, 7, count).await;
        post(&app, 8, count).await;
    }
    let (_, cursor) = points(&app.get("/players/7/snapshots?limit=1").key().expect(200).await.json());
    let foreign = format!("/players/8/snapshots?cursor={}", cursor.unwrap());
    let answer = app.get(&foreign).key().refused(422, "request.invalid").await;
    assert_eq!(answer.complaints(), ["query.cursor"]);
    for wrong in ["cursor=%00", "cursor=x", "cursor=AAAA", "limit=0", "limit=201", "limit=x", "limit=-1"] {
        let answer = app.get(&format!("/players/8/snapshots?{wrong}")).key().refused(422, "request.invalid").await;
        let name = wrong.split('=').next().unwrap();
        assert_eq!(answer.complaints(), [format!("query.{name}")], "{wrong}");
    }
}

#[tokio::test]
async fn only_the_newest_of_each_player_are_kept() {
    let app = TestApp::with(&[("SNAPSHOTS_PER_PLAYER", "3")]).await;
    for count in 1..=5 {
        post(&app, 7, count).await;
        app.advance(1);
    }
    post(&app, 8, 1).await;
    assert!(matches!(app.tick("snapshot-retention").await, Next::After(_)));
    let (kept, _) = points(&app.get("/players/7/snapshots").key().expect(200).await.json());
    assert_eq!(kept, [5, 4, 3]);
    assert_eq!(rows(&app, &SNAPSHOTS).await.len(), 4);
    app.tick("snapshot-retention").await;
    assert_eq!(rows(&app, &SNAPSHOTS).await.len(), 4, "a second walk finds nothing to do");
}

#[tokio::test]
async fn snapshots_older_than_their_time_go_and_the_player_stays() {
    let app = TestApp::with(&[("SNAPSHOT_RETENTION_DAYS", "1")]).await;
    post(&app, 7, 1).await;
    app.advance(86_400 - 1);
    post(&app, 7, 2).await;
    app.tick("snapshot-retention").await;
    assert_eq!(rows(&app, &SNAPSHOTS).await.len(), 2, "a day is not over");
    app.advance(2);
    app.tick("snapshot-retention").await;
    let (kept, _) = points(&app.get("/players/7/snapshots").key().expect(200).await.json());
    assert_eq!(kept, [2]);
    app.advance(2 * 86_400);
    app.tick("snapshot-retention").await;
    assert_eq!(points(&app.get("/players/7/snapshots").key().expect(200).await.json()).0, [] as [u64; 0]);
    app.get("/players/7").key().expect(200).await;
}

/// An engine whose commits fail while told to.
struct Failing(Memory, Arc<AtomicBool>);

impl Engine for Failing {
    fn attach(&self, publish: Publish) {
        self.0.attach(publish);
    }
    fn get_many(&self, keys: Vec<Bytes>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>>> {
        self.0.get_many(keys)
    }
    fn scan(&self, span: Span, limit: usize) -> BoxFuture<'_, Result<Vec<(Bytes, Bytes)>>> {
        self.0.scan(span, limit)
    }
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Outcome>> {
        match self.1.load(Ordering::SeqCst) {
            true => ready(Err(Error::busy("test.failing", "not now"))).boxed(),
            false => self.0.commit(batch),
        }
    }
    fn sync(&self) -> BoxFuture<'_, Result<()>> {
        self.0.sync()
    }
    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.0.close()
    }
    fn health(&self) -> Health {
        self.0.health()
    }
    fn disk_bytes(&self) -> u64 {
        self.0.disk_bytes()
    }
}

#[tokio::test]
async fn a_walk_that_failed_midway_deletes_no_more_than_it_should() {
    let failing = Arc::new(AtomicBool::new(false));
    let store = Store::new(Failing(Memory::new(), failing.clone()), &Settings::default(), &Metrics::default());
    let user = RobloxId::new(7).unwrap();
    let snapshot =
        Snapshot { received_at: START, experience: None, key_id: "k".into(), body: "{}".into(), outcome: None };
    store
        .transact(|tx| {
            (0..20).for_each(|at| tx.put(&SNAPSHOTS, &(user, Id(Id::floor(START).0 + at)), &snapshot));
            ready(Ok(()))
        })
        .await
        .unwrap();
    let mut retention = Retention::new(
        store.clone(),
        Clock::fake(START),
        RetentionConfig { days: 1, per_player: 5, ..RetentionConfig::default() },
    );
    failing.store(true, Ordering::SeqCst);
    assert!(retention.tick().await.is_err() && retention.tick().await.is_err());
    failing.store(false, Ordering::SeqCst);
    assert!(matches!(retention.tick().await.unwrap(), Next::After(pause) if pause > Duration::ZERO));
    let kept: Vec<u64> = store
        .scan(SNAPSHOTS.all(), 100)
        .await
        .unwrap()
        .items
        .iter()
        .map(|((_, id), _)| id.0 - Id::floor(START).0)
        .collect();
    assert_eq!(kept, [15, 16, 17, 18, 19], "the newest five");
}
