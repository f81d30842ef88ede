//! Transactions, one at a time: what they see, when they run again, what they refuse.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::{COUNTS, on_every_engine, put};
use crate::base::{Error, Kind, Result};
use crate::store::{Health, MAX_BATCH_WRITES, MAX_KEY, MAX_RERUNS, MAX_VALUE, Record, Store, Table};

on_every_engine! {
    a_transaction_sees_its_own_writes,
    an_error_writes_nothing,
    a_stale_read_runs_again,
    an_error_from_a_stale_read_runs_again,
    endless_conflicts_end_as_busy,
    what_cannot_be_stored_is_refused,
    an_unreadable_row_is_an_error,
    a_closed_store_says_so,
}

fn name(text: &str) -> String {
    text.to_owned()
}

async fn set(store: &Store, key: &str, value: u64) {
    put(store, &COUNTS, &name(key), &value).await.unwrap();
}

async fn a_transaction_sees_its_own_writes(store: Store) {
    set(&store, "old", 1).await;
    let seen = store.transact(|tx| async move {
        tx.put(&COUNTS, &name("new"), &2);
        tx.delete(&COUNTS, &name("old"));
        tx.get_many(&COUNTS, &[name("new"), name("old"), name("none"), name("new")]).await
    });
    assert_eq!(seen.await.unwrap(), [Some(2), None, None, Some(2)]);
    assert_eq!(store.get(&COUNTS, &name("new")).await.unwrap(), Some(2));
    assert_eq!(store.get_many(&COUNTS, &[name("old"), name("new")]).await.unwrap(), [None, Some(2)]);
    let missing = store.transact(|tx| async move { tx.require(&COUNTS, &name("old")).await }).await.unwrap_err();
    assert_eq!((missing.kind(), missing.code()), (Kind::Missing, "counts.missing"));
}

async fn an_error_writes_nothing(store: Store) {
    let failed: Result<()> = store
        .transact(|tx| async move {
            tx.put(&COUNTS, &name("a"), &1);
            Err(Error::denied("test.no", "no"))
        })
        .await;
    assert_eq!(failed.unwrap_err().code(), "test.no");
    assert_eq!(store.get(&COUNTS, &name("a")).await.unwrap(), None);
}

async fn a_stale_read_runs_again(store: Store) {
    set(&store, "a", 1).await;
    let (store, runs) = (&store, &AtomicU64::new(0));
    let sum = store.transact(|tx| async move {
        let a = tx.require(&COUNTS, &name("a")).await?;
        if runs.fetch_add(1, Ordering::SeqCst) == 0 {
            set(store, "a", 10).await;
        }
        tx.put(&COUNTS, &name("b"), &(a + 1));
        Ok(a)
    });
    assert_eq!(sum.await.unwrap(), 10);
    assert_eq!(store.get(&COUNTS, &name("b")).await.unwrap(), Some(11));
    assert!(store.stats().conflicts >= 1);
}

async fn an_error_from_a_stale_read_runs_again(store: Store) {
    let (store, runs) = (&store, &AtomicU64::new(0));
    let found = store.transact(|tx| async move {
        let a = tx.get(&COUNTS, &name("a")).await?;
        if runs.fetch_add(1, Ordering::SeqCst) == 0 {
            set(store, "a", 10).await;
        }
        tx.get(&COUNTS, &name("b")).await?;
        a.ok_or_else(|| Error::missing("test.absent", "a is absent"))
    });
    assert_eq!(found.await.unwrap(), 10);
}

async fn endless_conflicts_end_as_busy(store: Store) {
    let (store, runs) = (&store, &AtomicU64::new(0));
    let busy = store.transact(|tx| async move {
        tx.get(&COUNTS, &name("a")).await?;
        set(store, "a", runs.fetch_add(1, Ordering::SeqCst)).await;
        tx.put(&COUNTS, &name("b"), &1);
        Ok(())
    });
    // The rival writes blindly, so that it always wins.
    let busy = busy.await.unwrap_err();
    assert_eq!((busy.kind(), busy.code()), (Kind::Busy, "store.contended"));
    assert!(busy.wait().is_some());
    assert_eq!(runs.load(Ordering::SeqCst), MAX_RERUNS as u64 + 1);
    assert_eq!(store.get(&COUNTS, &name("b")).await.unwrap(), None);
}

#[derive(Serialize, Deserialize)]
struct Note(String);

impl Record for Note {
    const VERSION: u8 = 9;
}

static NOTES: Table<String, Note> = Table::new("notes", *b"ct");

async fn what_cannot_be_stored_is_refused(store: Store) {
    let fat = put(&store, &NOTES, &name("n"), &Note("x".repeat(MAX_VALUE))).await.unwrap_err();
    assert_eq!((fat.kind(), fat.code()), (Kind::TooLarge, "store.value_too_large"));
    assert!(fat.context_text().unwrap().contains("notes"));
    let long = put(&store, &NOTES, &"k".repeat(MAX_KEY), &Note(name("x"))).await.unwrap_err();
    assert_eq!((long.kind(), long.code()), (Kind::TooLarge, "store.key_too_large"));
    let wide = store.transact(|tx| async move {
        (0..=MAX_BATCH_WRITES).for_each(|n| tx.put(&COUNTS, &n.to_string(), &1));
        Ok(())
    });
    assert_eq!(wide.await.unwrap_err().code(), "store.tx_too_large");
    assert_eq!(store.scan(COUNTS.all(), 1).await.unwrap().items, []);
}

async fn an_unreadable_row_is_an_error(store: Store) {
    put(&store, &NOTES, &name("n"), &Note(name("text"))).await.unwrap();
    for failed in [
        store.get(&COUNTS, &name("n")).await.map(drop),
        store.scan(COUNTS.all(), 10).await.map(drop),
        store.transact(|tx| async move { tx.get(&COUNTS, &name("n")).await.map(drop) }).await,
    ] {
        let error = failed.unwrap_err();
        assert_eq!((error.kind(), error.code()), (Kind::Broken, "store.version_unknown"));
    }
}

async fn a_closed_store_says_so(store: Store) {
    set(&store, "a", 1).await;
    assert!(matches!(store.health(), Health::Ready));
    store.close().await.unwrap();
    let refused = put(&store, &COUNTS, &name("a"), &2).await.unwrap_err();
    assert_eq!(refused.code(), "store.closed");
    assert!(matches!(store.stats().health, Health::Closed));
    assert_eq!(store.get(&COUNTS, &name("a")).await.unwrap(), Some(1));
}
