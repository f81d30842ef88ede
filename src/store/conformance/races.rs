//! Transactions against each other.

use tokio::task::JoinSet;

use super::{COUNTS, on_every_engine};
use crate::base::{Error, Result};
use crate::store::{Store, Tx};

on_every_engine! { no_update_is_lost, a_name_is_taken_once, transfers_keep_the_sum }

const TASKS: u64 = 64;
const ROUNDS: u64 = 4;

fn name(n: u64) -> String {
    format!("n{n}")
}

async fn add_one(tx: Tx, n: u64) -> Result<()> {
    let count = tx.get(&COUNTS, &name(n)).await?.unwrap_or(0);
    tx.put(&COUNTS, &name(n), &(count + 1));
    Ok(())
}

async fn no_update_is_lost(store: Store) {
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let store = store.clone();
        tasks.spawn(async move {
            for _ in 0..ROUNDS {
                store.transact(|tx| add_one(tx, 0)).await.unwrap();
            }
        });
    }
    tasks.join_all().await;
    assert_eq!(store.get(&COUNTS, &name(0)).await.unwrap(), Some(TASKS * ROUNDS));
}

async fn a_name_is_taken_once(store: Store) {
    for n in 0..ROUNDS {
        let mut tasks = JoinSet::new();
        for task in 0..TASKS {
            let store = store.clone();
            let take = move |tx: Tx| async move {
                if tx.get(&COUNTS, &name(n)).await?.is_some() {
                    return Err(Error::conflict("test.taken", "taken"));
                }
                tx.put(&COUNTS, &name(n), &task);
                Ok(task)
            };
            tasks.spawn(async move { store.transact(take).await });
        }
        let answers = tasks.join_all().await;
        let winners: Vec<u64> = answers.iter().filter_map(|answer| answer.as_ref().ok().copied()).collect();
        assert!(answers.iter().flat_map(|answer| answer.as_ref().err()).all(|e| e.code() == "test.taken"));
        assert_eq!(winners.len(), 1);
        assert_eq!(store.get(&COUNTS, &name(n)).await.unwrap(), Some(winners[0]));
    }
}

/// Accounts that start with the same balance; money only moves between them.
const ACCOUNTS: u64 = 40;
const BALANCE: u64 = 100;

async fn transfer(tx: Tx, from: u64, to: u64) -> Result<()> {
    let have = tx.get_many(&COUNTS, &[name(from), name(to)]).await?;
    if let [Some(rich @ 1..), Some(poor)] = have[..] {
        tx.put(&COUNTS, &name(from), &(rich - 1));
        tx.put(&COUNTS, &name(to), &(poor + 1));
    }
    Ok(())
}

async fn transfers_keep_the_sum(store: Store) {
    let fill = |tx: Tx| async move {
        (0..ACCOUNTS).for_each(|n| tx.put(&COUNTS, &name(n), &BALANCE));
        Ok(())
    };
    store.transact(fill).await.unwrap();
    let mut tasks = JoinSet::new();
    for task in 0..16 {
        let store = store.clone();
        tasks.spawn(async move {
            for round in 0..20 {
                let from = (task * 7 + round * 3) % ACCOUNTS;
                let to = (from + 1 + task) % ACCOUNTS;
                if from != to {
                    store.transact(move |tx| transfer(tx, from, to)).await.unwrap();
                }
            }
        });
    }
    let total = ACCOUNTS * BALANCE;
    let names: &[String] = &(0..ACCOUNTS).map(name).collect::<Vec<_>>();
    while !tasks.is_empty() {
        let page = store.scan(COUNTS.all(), 100).await.unwrap();
        assert_eq!(page.items.iter().map(|(_, count)| count).sum::<u64>(), total, "a page shows half a transfer");
        let read = store.transact(|tx| async move { tx.get_many(&COUNTS, names).await });
        match read.await {
            Ok(counts) => assert_eq!(counts.into_iter().flatten().sum::<u64>(), total),
            Err(busy) => assert_eq!(busy.code(), "store.contended"),
        }
        while tasks.try_join_next().map(|done| done.unwrap()).is_some() {}
    }
}
