//! What cannot be shown to be all there is said to be lost, and nothing else is.

use std::fs::{self, File};
use std::path::PathBuf;

use tempfile::TempDir;

use super::recovery::{ROWS, assert_holds, copy_dir, files, fill, newest_database, outcome, upkeep};
use super::{open, put, small};
use crate::store::engine::disk::journal::StoreId;
use crate::store::engine::disk::recovery::Outcome;
use crate::store::{DataDir, Progress, Settings, Store, Surroundings, Table};

static OTHERS: Table<u64, u64> = Table::new("others", *b"ot");

const COUNT: u64 = 90;

/// Short segments, all of them kept.
fn short() -> Settings {
    Settings { segment_bytes: 16 << 10, ..small() }
}

/// A store with [`COUNT`] rows as it lies on the disk while it is open: a checkpoint after a third of them, a backup after two thirds.
async fn crashed() -> TempDir {
    let (live, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(&live, &short());
    fill(&store, 0..COUNT / 3).await;
    upkeep(&store, |upkeep| upkeep.checkpoint(&Progress::silent()).unwrap()).await;
    fill(&store, COUNT / 3..COUNT / 3 * 2).await;
    let backups = live.path().join("backups");
    upkeep(&store, move |upkeep| upkeep.back_up(&backups, "one", None, &Progress::silent()).unwrap()).await;
    fill(&store, COUNT / 3 * 2..COUNT).await;
    copy_dir(live.path(), copy.path());
    copy
}

/// The segments of each copy of the journal, oldest first.
fn segments(dir: &TempDir) -> [Vec<PathBuf>; 2] {
    ["a", "b"].map(|copy| {
        let mut found = files(dir.path().join("store/journal").join(copy));
        found.retain(|path| path.extension().is_some_and(|end| end == "log"));
        found
    })
}

fn first_of(segment: &std::path::Path) -> u64 {
    segment.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

async fn assert_restored(dir: &TempDir, rows: u64) {
    let store = open(dir, &short());
    let opening = store.upkeep().unwrap().survey().opening;
    assert_eq!(opening.outcome, Outcome::Restored, "{opening:?}");
    assert_eq!(opening.lost.unwrap().0, rows + 1, "{opening:?}");
    assert!(store.seq() > COUNT, "numbers are not given out twice");
    assert_holds(&store, rows).await;
    store.close().await.unwrap();
    drop(store);
    let store = open(dir, &short());
    assert_eq!(outcome(&store), Outcome::Opened);
    assert_holds(&store, rows).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_alone_is_never_taken_for_all_there_was() {
    let dir = crashed().await;
    fs::remove_dir_all(newest_database(&dir)).unwrap();
    for folder in ["journal", "checkpoints"] {
        fs::remove_dir_all(dir.path().join("store").join(folder)).unwrap();
    }
    assert_restored(&dir, COUNT / 3 * 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_has_to_show_its_end() {
    let missing = crashed().await;
    fs::remove_dir_all(newest_database(&missing)).unwrap();
    let newest = segments(&missing).map(|mut copy| copy.pop().unwrap());
    newest.iter().for_each(|path| fs::remove_file(path).unwrap());
    assert_restored(&missing, first_of(&newest[0]) - 1).await;

    let blank = crashed().await;
    fs::remove_dir_all(newest_database(&blank)).unwrap();
    let newest = segments(&blank).map(|mut copy| copy.pop().unwrap());
    newest.iter().for_each(|path| fs::write(path, vec![0; fs::metadata(path).unwrap().len() as usize]).unwrap());
    assert_restored(&blank, first_of(&newest[0]) - 1).await;

    let cut = crashed().await;
    fs::remove_dir_all(newest_database(&cut)).unwrap();
    let newest = segments(&cut).map(|mut copy| copy.pop().unwrap());
    newest.iter().for_each(|path| File::options().write(true).open(path).unwrap().set_len(80).unwrap());
    assert_restored(&cut, first_of(&newest[0]) - 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_base_that_leads_furthest_is_taken() {
    let dir = crashed().await;
    fs::remove_dir_all(newest_database(&dir)).unwrap();
    let between = |path: &&PathBuf| (COUNT / 3 + 2..COUNT / 3 * 2 - 5).contains(&first_of(path));
    let holes: Vec<PathBuf> = segments(&dir).iter().filter_map(|copy| copy.iter().find(between)).cloned().collect();
    assert!(holes.iter().any(|path| path.to_str().unwrap().contains("/a/")));
    holes.iter().for_each(|path| fs::remove_file(path).unwrap());
    let store = open(&dir, &short());
    assert_eq!(outcome(&store), Outcome::Rebuilt);
    assert_holds(&store, COUNT).await;
}

#[test]
fn an_interrupted_creation_begins_again() {
    let before_the_marker = tempfile::tempdir().unwrap();
    fs::create_dir(before_the_marker.path().join("store")).unwrap();
    fs::write(before_the_marker.path().join("store/marker.new"), "half").unwrap();
    assert_eq!(outcome(&open(&before_the_marker, &short())), Outcome::Created);

    let after = tempfile::tempdir().unwrap();
    let held = DataDir::open(after.path()).unwrap();
    let surroundings = Surroundings::new(&held, &short());
    surroundings.place.create().unwrap();
    surroundings.mark(StoreId([7; 16]), 0, 0, false).unwrap();
    fs::create_dir(surroundings.place.database(1)).unwrap();
    fs::write(surroundings.place.database(1).join("conf"), "half").unwrap();
    drop((surroundings, held));
    assert_eq!(outcome(&open(&after, &short())), Outcome::Created);
    assert_eq!(outcome(&open(&after, &short())), Outcome::Opened);
}

/// Of a store of the first format, of which nothing is in the journal.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lifted_store_has_two_copies_at_once() {
    let dir = tempfile::tempdir().unwrap();
    {
        let old = sled::open(dir.path().join("store")).unwrap();
        let value = [&[1][..], &rmp_serde::to_vec("old").unwrap()].concat();
        old.insert([&b"ro"[..], &7u64.to_be_bytes()].concat(), value).unwrap();
        old.flush().unwrap();
    }
    let store = open(&dir, &short());
    put(&store, &OTHERS, &1, &1).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    // Its checkpoint, and then the backup that was made before.
    for checkpoint in ["checkpoints", "no checkpoint"] {
        fs::remove_dir_all(newest_database(&dir)).unwrap();
        let store: Store = open(&dir, &short());
        assert_eq!(outcome(&store), Outcome::Rebuilt, "{checkpoint}");
        assert_eq!(store.get(&ROWS, &7).await.unwrap().as_deref(), Some("old"));
        assert_eq!(store.get(&OTHERS, &1).await.unwrap(), Some(1));
        store.close().await.unwrap();
        drop(store);
        fs::remove_dir_all(dir.path().join("store/checkpoints")).unwrap();
    }
}
