//! Random transactions and scans against a `BTreeMap`.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::Place;
use crate::base::{Cursor, Error, Result};
use crate::store::{Store, Table, Tx};

type Name = (u8, String);

static ROWS: Table<Name, u64> = Table::new("rows", *b"ro");

#[derive(Debug, Clone)]
enum Step {
    Put(Name, u64),
    Delete(Name),
    /// Adds to what is there, which reads it.
    Add(Name, u64),
}

#[derive(Debug, Clone)]
enum Act {
    Commit(Vec<Step>),
    /// Does all its steps and then fails.
    Fail(Vec<Step>),
    Get(Vec<Name>),
    Pages {
        under: Option<u8>,
        falling: bool,
        limit: usize,
    },
}

fn key() -> impl Strategy<Value = Name> {
    (0..4u8, "[a\\x00]{0,2}")
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (key(), any::<u64>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => key().prop_map(Step::Delete),
        2 => (key(), 0..9u64).prop_map(|(key, more)| Step::Add(key, more)),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let steps = || proptest::collection::vec(step(), 1..8);
    prop_oneof![
        6 => steps().prop_map(Act::Commit),
        1 => steps().prop_map(Act::Fail),
        2 => proptest::collection::vec(key(), 1..6).prop_map(Act::Get),
        2 => (proptest::option::of(0..5u8), any::<bool>(), 1..5usize)
            .prop_map(|(under, falling, limit)| Act::Pages { under, falling, limit }),
    ]
}

async fn take(tx: &Tx, steps: &[Step]) -> Result<()> {
    for step in steps {
        match step {
            Step::Put(key, value) => tx.put(&ROWS, key, value),
            Step::Delete(key) => tx.delete(&ROWS, key),
            Step::Add(key, more) => {
                let value = tx.get(&ROWS, key).await?.unwrap_or(0);
                tx.put(&ROWS, key, &value.wrapping_add(*more));
            }
        }
    }
    Ok(())
}

fn imagine(rows: &mut BTreeMap<Name, u64>, steps: &[Step]) {
    for step in steps {
        match step {
            Step::Put(key, value) => drop(rows.insert(key.clone(), *value)),
            Step::Delete(key) => drop(rows.remove(key)),
            Step::Add(key, more) => {
                let value = rows.entry(key.clone()).or_insert(0);
                *value = value.wrapping_add(*more);
            }
        }
    }
}

async fn pages(store: &Store, under: Option<u8>, falling: bool, limit: usize) -> Vec<(Name, u64)> {
    let (mut all, mut cursor): (_, Option<Cursor>) = (Vec::new(), None);
    loop {
        let scan = under.map_or_else(|| ROWS.all(), |part| ROWS.under(&part)).after(cursor.as_ref());
        let page = store.scan(if falling { scan.newest_first() } else { scan }, limit).await.unwrap();
        assert!(page.items.len() <= limit);
        all.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            return all;
        }
    }
}

async fn play(store: &Store, acts: &[Act]) {
    let mut rows = BTreeMap::new();
    for act in acts {
        match act {
            Act::Commit(steps) => {
                store.transact(|tx| async move { take(&tx, steps).await }).await.unwrap();
                imagine(&mut rows, steps);
            }
            Act::Fail(steps) => {
                let fail = |tx: Tx| async move {
                    take(&tx, steps).await?;
                    Err::<(), _>(Error::denied("test.no", "no"))
                };
                assert_eq!(store.transact(fail).await.unwrap_err().code(), "test.no");
            }
            Act::Get(keys) => {
                let expected: Vec<_> = keys.iter().map(|key| rows.get(key).copied()).collect();
                assert_eq!(store.get_many(&ROWS, keys).await.unwrap(), expected);
                assert_eq!(store.get(&ROWS, &keys[0]).await.unwrap(), expected[0]);
            }
            Act::Pages { under, falling, limit } => {
                let within = rows.iter().filter(|(key, _)| under.is_none_or(|part| key.0 == part));
                let mut expected: Vec<_> = within.map(|(key, value)| (key.clone(), *value)).collect();
                if *falling {
                    expected.reverse();
                }
                assert_eq!(pages(store, *under, *falling, *limit).await, expected);
            }
        }
    }
}

fn check(place: fn() -> Place, acts: &[Act]) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async {
        let place = place();
        play(&place.store, acts).await;
        place.store.close().await.unwrap();
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn memory(acts in proptest::collection::vec(act(), 1..40)) {
        check(Place::memory, &acts);
    }

    #[test]
    fn conflicting(acts in proptest::collection::vec(act(), 1..40)) {
        check(Place::conflicting, &acts);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    #[test]
    fn sled(acts in proptest::collection::vec(act(), 1..60)) {
        check(Place::sled, &acts);
        check(Place::uncached, &acts);
    }
}
