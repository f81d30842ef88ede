//! Followers: commit order, before the answer, and no way to stop the store.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::task::JoinSet;

use super::{COUNTS, on_every_engine, put};
use crate::store::{Store, Table, Tx};

on_every_engine! {
    followers_hear_in_commit_order_and_before_the_answer,
    a_follower_hears_of_its_table_only,
    a_follower_gets_a_commit_whole,
    a_failing_follower_stops_nobody,
}

async fn add_one(tx: Tx) -> crate::base::Result<u64> {
    let count = tx.get(&COUNTS, &String::from("n")).await?.unwrap_or(0) + 1;
    tx.put(&COUNTS, &String::from("n"), &count);
    Ok(count)
}

async fn followers_hear_in_commit_order_and_before_the_answer(store: Store) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let latest = Arc::new(AtomicU64::new(0));
    let (list, mirror) = (heard.clone(), latest.clone());
    store.follow(&COUNTS, move |rows| list.lock().unwrap().extend(rows.into_iter().map(|(_, count)| count.unwrap())));
    store.follow(&COUNTS, move |rows| {
        rows.into_iter().for_each(|(_, count)| mirror.store(count.unwrap(), Ordering::SeqCst))
    });
    let mut tasks = JoinSet::new();
    for _ in 0..16 {
        let (store, latest) = (store.clone(), latest.clone());
        tasks.spawn(async move {
            for _ in 0..8 {
                let mine = store.transact(add_one).await.unwrap();
                assert!(latest.load(Ordering::SeqCst) >= mine, "acknowledged before the follower heard");
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(*heard.lock().unwrap(), (1..=128).collect::<Vec<u64>>());
}

static OTHERS: Table<u32, u64> = Table::new("others", *b"ot");

async fn a_follower_hears_of_its_table_only(store: Store) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let list = heard.clone();
    store.follow(&OTHERS, move |rows| list.lock().unwrap().push(rows));
    store.transact(add_one).await.unwrap();
    put(&store, &OTHERS, &7, &70).await.unwrap();
    let delete = |tx: Tx| async move {
        tx.delete(&OTHERS, &7);
        Ok(())
    };
    store.transact(delete).await.unwrap();
    assert_eq!(*heard.lock().unwrap(), [vec![(7, Some(70))], vec![(7, None)]]);
}

async fn a_follower_gets_a_commit_whole(store: Store) {
    let heard = Arc::new(Mutex::new(Vec::new()));
    let list = heard.clone();
    put(&store, &OTHERS, &1, &10).await.unwrap();
    store.follow(&OTHERS, move |mut rows| {
        rows.sort();
        list.lock().unwrap().push(rows);
    });
    let moved = |tx: Tx| async move {
        tx.delete(&OTHERS, &1);
        tx.put(&COUNTS, &String::from("n"), &1);
        tx.put(&OTHERS, &2, &10);
        Ok(())
    };
    store.transact(moved).await.unwrap();
    assert_eq!(*heard.lock().unwrap(), [vec![(1, None), (2, Some(10))]], "a move is one call");
}

async fn a_failing_follower_stops_nobody(store: Store) {
    let heard = Arc::new(AtomicU64::new(0));
    let count = heard.clone();
    store.follow(&COUNTS, |_| panic!("a follower's own fault"));
    store.follow(&COUNTS, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
    });
    for expected in 1..=3 {
        assert_eq!(store.transact(add_one).await.unwrap(), expected);
    }
    assert_eq!(heard.load(Ordering::SeqCst), 3);
}
