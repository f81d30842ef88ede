//! Events on their way into a queue: what the queue refuses is lost, and keeps nothing else from happening.

use grps::domains::jobs::{Events, JOB_KEYS, JOBS};
use grps::store::Table;
use serde_json::{Value, json};

use crate::harness::{Setup, TestApp};
use crate::state::rows;

static NOTES: Table<u64, u64> = Table::new("notes", *b"zz");

/// Adds an event together with a row of somebody else's.
async fn tell(app: &TestApp, key: &str, body: &Value, row: u64) {
    let events = Events::new(app.app.jobs.clone(), Some("events".parse().unwrap()));
    let event = events.prepare(key, body).unwrap();
    let (events, shared) = (&events, &event);
    let work = |tx: grps::store::Tx| async move {
        events.add(&tx, shared).await?;
        tx.put(&NOTES, &row, &1);
        Ok(())
    };
    let done = app.app.store.transact(work).await;
    event.settle(&done);
    done.unwrap();
}

#[tokio::test]
async fn an_event_that_is_refused_is_lost_and_nothing_of_it_stays() {
    let app = Setup::new().set("JOB_QUEUE_LENGTH", "25").start().await;
    tell(&app, "a", &json!({"event": "first"}), 1).await;
    tell(&app, "a", &json!({"event": "first"}), 2).await;
    tell(&app, "a", &json!({"event": "another"}), 3).await;
    let count =
        async || (rows(&app, &NOTES).await.len(), rows(&app, &JOBS).await.len(), rows(&app, &JOB_KEYS).await.len());
    assert_eq!(count().await, (3, 1, 1));
    for row in 4..40 {
        tell(&app, &format!("key-{row}"), &json!({"event": row}), row).await;
    }
    assert_eq!(count().await, (39, 25, 25), "full, and nothing but the rows of others is added");
}
