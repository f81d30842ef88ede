//! Scans: order, ranges, and pages that join up.

use std::cmp::Reverse;

use super::on_every_engine;
use crate::base::Page;
use crate::store::{Scan, Store, Table};

on_every_engine! { pages_join_up, ranges_hold_what_they_name, a_page_is_bounded }

type Entry = (u32, Reverse<u64>, String);

static BOARD: Table<Entry, u64> = Table::new("board", *b"bo");
static NEXT_DOOR: Table<u32, u64> = Table::new("next_door", *b"bp");

fn entries() -> Vec<Entry> {
    let boards = [1, 2, 255, 256, u32::MAX];
    let all =
        boards.into_iter().flat_map(|board| (0..7u64).map(move |score| (board, Reverse(score), format!("p{score}"))));
    let mut all: Vec<Entry> = all.collect();
    all.sort();
    all
}

async fn fill(store: &Store) {
    let write = |tx: crate::store::Tx| async move {
        entries().iter().rev().for_each(|entry| tx.put(&BOARD, entry, &entry.1.0));
        tx.put(&NEXT_DOOR, &0, &0);
        Ok(())
    };
    store.transact(write).await.unwrap();
}

fn keys(page: Page<(Entry, u64)>) -> Vec<Entry> {
    assert!(page.items.iter().all(|(key, value)| key.1.0 == *value));
    page.items.into_iter().map(|(key, _)| key).collect()
}

async fn read_in_pages(store: &Store, scan: impl Fn() -> Scan<Entry, u64>, limit: usize) -> Vec<Entry> {
    let (mut all, mut cursor) = (Vec::new(), None);
    loop {
        let page = store.scan(scan().after(cursor.as_ref()), limit).await.unwrap();
        cursor = page.next.clone();
        let keys = keys(page);
        assert!(keys.len() == limit || cursor.is_none(), "only the last page is short");
        all.extend(keys);
        if cursor.is_none() {
            return all;
        }
    }
}

async fn pages_join_up(store: Store) {
    fill(&store).await;
    let mut expected = entries();
    for limit in [1, 2, 7, 34, 35, 36] {
        assert_eq!(read_in_pages(&store, || BOARD.all(), limit).await, expected);
    }
    expected.reverse();
    for limit in [1, 3, 35, 100] {
        assert_eq!(read_in_pages(&store, || BOARD.all().newest_first(), limit).await, expected);
    }
}

async fn ranges_hold_what_they_name(store: Store) {
    fill(&store).await;
    let expect = |keep: &dyn Fn(&Entry) -> bool| entries().into_iter().filter(|entry| keep(entry)).collect::<Vec<_>>();
    let read = async |scan: Scan<Entry, u64>| keys(store.scan(scan, 100).await.unwrap());
    for board in [0, 1, 255, 256, u32::MAX] {
        assert_eq!(read(BOARD.under(&board)).await, expect(&|entry| entry.0 == board));
    }
    assert_eq!(read(BOARD.under(&(2, Reverse(3)))).await, expect(&|entry| entry.0 == 2 && entry.1.0 == 3));
    assert_eq!(read(BOARD.between(&2, &256)).await, expect(&|entry| (2..256).contains(&entry.0)));
    let best = BOARD.between(&1, &(1, Reverse(4)));
    assert_eq!(read(best).await, expect(&|entry| entry.0 == 1 && entry.1.0 > 4));
    assert_eq!(read(BOARD.between(&256, &2)).await, []);
    assert_eq!(read(BOARD.between(&256, &2).newest_first()).await, []);
}

async fn a_page_is_bounded(store: Store) {
    fill(&store).await;
    assert_eq!(store.scan(BOARD.all(), 0).await.unwrap().items.len(), 1);
    let all = store.scan(BOARD.all(), usize::MAX).await.unwrap();
    assert_eq!((all.items.len(), all.next), (entries().len(), None));
    let first = store.scan(BOARD.all(), 1).await.unwrap().next;
    assert!(store.scan(NEXT_DOOR.all().after(first.as_ref()), 1).await.is_err());
}
