//! What a store on disk does about damage, and what its keeper can do with it.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::{open, put, small};
use crate::base::metrics::Metrics;
use crate::store::engine::disk::recovery::Outcome;
use crate::store::upkeep::{Upkeep, inspect};
use crate::store::{DataDir, Health, Progress, Settings, Store, Surroundings, Table};

/// By number; values of every size, derived from the number.
pub(super) static ROWS: Table<u64, String> = Table::new("rows", *b"ro");

pub(super) const COUNT: u64 = 120;

/// From a few bytes to several parts.
pub(super) fn text(number: u64) -> String {
    let length = match number % 10 {
        0 => 20_000 + number as usize,
        _ => 10 + number as usize % 90,
    };
    format!("{number}-").repeat(length / 3 + 1)
}

pub(super) async fn fill(store: &Store, numbers: std::ops::Range<u64>) {
    for number in numbers {
        put(store, &ROWS, &number, &text(number)).await.unwrap();
    }
}

pub(super) async fn assert_holds(store: &Store, count: u64) {
    for number in 0..count {
        assert_eq!(store.get(&ROWS, &number).await.unwrap().as_deref(), Some(&*text(number)), "row {number}");
    }
    let mut rows = 0;
    let mut after = None;
    loop {
        let page = store.scan(ROWS.all().after(after.as_ref()), 100).await.unwrap();
        rows += page.items.len() as u64;
        assert!(page.items.iter().all(|(number, value)| *value == text(*number)));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(rows, count);
}

/// A store with [`COUNT`] rows, as it lies on the disk while it is open: a checkpoint in the middle of its life, the rest in the journal.
pub(super) async fn crashed() -> TempDir {
    let (live, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(&live, &small());
    fill(&store, 0..COUNT / 2).await;
    upkeep(&store, |upkeep| upkeep.checkpoint(&Progress::silent()).unwrap()).await;
    fill(&store, COUNT / 2..COUNT).await;
    copy_dir(&live.path().join("store"), &copy.path().join("store"));
    copy
}

pub(super) async fn upkeep<T: Send + 'static>(store: &Store, work: impl FnOnce(&Upkeep) -> T + Send + 'static) -> T {
    let upkeep = store.upkeep().unwrap().clone();
    tokio::task::spawn_blocking(move || work(&upkeep)).await.unwrap()
}

pub(super) fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        match source.is_dir() {
            true => copy_dir(&source, &target),
            // Files of the journal come and go while it is in use.
            false => drop(fs::copy(&source, &target)),
        }
    }
}

/// The whole key of a row.
pub(super) fn key_of(number: u64) -> Vec<u8> {
    [&b"ro"[..], &number.to_be_bytes()].concat()
}

/// Waits until the store takes commits again.
pub(super) fn mended(store: &Store) {
    for _ in 0..400 {
        if matches!(store.health(), Health::Ready) {
            return;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    panic!("{:?}", store.health());
}

pub(super) fn files(folder: PathBuf) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.is_file()).collect();
    found.sort();
    found
}

pub(super) fn flip(path: &Path, at: impl Fn(usize) -> usize) {
    let mut bytes = fs::read(path).unwrap();
    let at = at(bytes.len());
    bytes[at] ^= 0x10;
    fs::write(path, bytes).unwrap();
}

pub(super) fn outcome(store: &Store) -> Outcome {
    store.upkeep().unwrap().survey().opening.outcome
}

pub(super) fn newest_database(dir: &TempDir) -> PathBuf {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(dir.path().join("store")).unwrap().flatten().map(|entry| entry.path()).collect();
    folders.retain(|path| path.file_name().unwrap().to_string_lossy().starts_with("db-"));
    folders.sort();
    folders.pop().unwrap()
}

/// Opens what is left after `damage`; everything has to be there, and still be there when opened once more.
pub(super) async fn survives(damage: impl Fn(&TempDir), expected: &[Outcome]) {
    let dir = crashed().await;
    damage(&dir);
    let store = open(&dir, &small());
    assert!(expected.contains(&outcome(&store)), "{:?}", store.upkeep().unwrap().survey().opening);
    assert_holds(&store, COUNT).await;
    fill(&store, COUNT..COUNT + 5).await;
    store.close().await.unwrap();
    drop(store);
    let store = open(&dir, &small());
    assert_eq!(outcome(&store), Outcome::Opened);
    assert_holds(&store, COUNT + 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_alone_needs_no_more_than_the_journal() {
    survives(|_| (), &[Outcome::Replayed, Outcome::Opened]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_sled_is_rebuilt() {
    for part in 1..6 {
        survives(
            |dir| flip(&newest_database(dir).join("db"), |length| length * part / 6),
            &[Outcome::Rebuilt, Outcome::Replayed, Outcome::Opened],
        )
        .await;
    }
    survives(|dir| fs::remove_dir_all(newest_database(dir)).unwrap(), &[Outcome::Rebuilt]).await;
    survives(|dir| fs::remove_file(newest_database(dir).join("conf")).unwrap(), &[Outcome::Rebuilt, Outcome::Replayed])
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_journal_is_written_anew() {
    let middle_of = |copy: &'static str| {
        move |dir: &TempDir| {
            let newest = files(dir.path().join("store/journal").join(copy))
                .into_iter()
                .rfind(|path| path.extension().is_some_and(|end| end == "log"));
            flip(&newest.unwrap(), |_| 200);
        }
    };
    survives(middle_of("a"), &[Outcome::Renewed]).await;
    survives(middle_of("b"), &[Outcome::Replayed, Outcome::Opened]).await;
    survives(|dir| fs::remove_dir_all(dir.path().join("store/journal/a")).unwrap(), &[Outcome::Renewed]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_checkpoint_is_written_anew() {
    survives(|dir| flip(&files(dir.path().join("store/checkpoints"))[0], |length| length / 2), &[Outcome::Renewed])
        .await;
    // The journal still goes back to the beginning.
    survives(|dir| fs::remove_dir_all(dir.path().join("store/checkpoints")).unwrap(), &[Outcome::Replayed]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_marker_is_no_loss() {
    survives(|dir| fs::remove_file(dir.path().join("store/marker")).unwrap(), &[Outcome::Replayed, Outcome::Opened])
        .await;
    survives(|dir| flip(&dir.path().join("store/marker"), |length| length / 2), &[Outcome::Replayed, Outcome::Opened])
        .await;
}

fn damage_both(dir: &TempDir) {
    fs::remove_dir_all(newest_database(dir)).unwrap();
    flip(&files(dir.path().join("store/checkpoints"))[0], |length| length / 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_copies_damaged_go_back_to_the_last_backup_and_say_so() {
    let (live, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = open(&live, &Settings { journal_keep_bytes: 0, ..small() });
    fill(&store, 0..COUNT / 2).await;
    let backups = live.path().join("backups");
    upkeep(&store, move |upkeep| upkeep.back_up(&backups, "one", None, &Progress::silent()).unwrap()).await;
    fill(&store, COUNT / 2..COUNT).await;
    upkeep(&store, |upkeep| upkeep.checkpoint(&Progress::silent()).unwrap()).await;
    store.close().await.unwrap();
    drop(store);
    copy_dir(live.path(), dir.path());
    for copy in ["a", "b"] {
        files(dir.path().join("store/journal").join(copy)).iter().for_each(|path| fs::remove_file(path).unwrap());
    }
    damage_both(&dir);
    let store = open(&dir, &small());
    assert_eq!(outcome(&store), Outcome::Restored);
    let opening = store.upkeep().unwrap().survey().opening;
    assert_eq!(opening.lost, Some((COUNT / 2 + 1, COUNT)), "{opening:?}");
    assert_holds(&store, COUNT / 2).await;
    assert!(store.seq() > COUNT, "numbers are not given out twice");
    put(&store, &ROWS, &(COUNT / 2), &text(COUNT / 2)).await.unwrap();
    store.close().await.unwrap();
    drop(store);
    assert_holds(&open(&dir, &small()), COUNT / 2 + 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_copies_damaged_without_a_backup_are_refused_and_left_alone() {
    let dir = crashed().await;
    for copy in ["a", "b"] {
        fs::remove_dir_all(dir.path().join("store/journal").join(copy)).unwrap();
    }
    damage_both(&dir);
    let checkpoint = files(dir.path().join("store/checkpoints")).remove(0);
    let before = fs::read(&checkpoint).unwrap();
    for _ in 0..2 {
        let refused = Store::open(&DataDir::open(dir.path()).unwrap(), &small(), &Metrics::default()).err().unwrap();
        assert_eq!(refused.code(), "store.beyond_repair", "{refused:?}");
    }
    assert!(fs::read(&checkpoint).unwrap() == before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compaction_and_checkpoints_go_on_beside_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &small());
    fill(&store, 0..COUNT / 2).await;
    let work = |upkeep: &Upkeep| {
        for _ in 0..3 {
            upkeep.compact(&Progress::silent()).unwrap();
            let checked = upkeep.check(&Progress::silent()).unwrap();
            assert!(checked.findings.is_empty(), "{checked:?}");
        }
    };
    tokio::join!(fill(&store, COUNT / 2..COUNT), upkeep(&store, work));
    assert_holds(&store, COUNT).await;
    store.close().await.unwrap();
    drop(store);
    assert_holds(&open(&dir, &small()), COUNT).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_is_restored_and_what_was_there_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &small());
    fill(&store, 0..10).await;
    let backups = dir.path().join("backups");
    let path = backups.join("one.ckp");
    upkeep(&store, move |upkeep| upkeep.back_up(&backups, "one", None, &Progress::silent()).unwrap()).await;
    fill(&store, 10..20).await;
    let then = crate::base::Clock::system().now();
    std::thread::sleep(std::time::Duration::from_millis(5));
    fill(&store, 20..30).await;
    let seq = store.seq();
    store.close().await.unwrap();
    drop(store);
    for (until, rows) in [(Some(then), 20), (None, 10)] {
        let held = DataDir::open(dir.path()).unwrap();
        let restored = Surroundings::new(&held, &small()).restore(&held, &path, None, until).unwrap();
        assert_eq!(restored.rows, rows);
        assert!(restored.kept.unwrap().join("marker").exists());
        drop(held);
        let store = open(&dir, &small());
        assert_holds(&store, rows).await;
        assert!(store.seq() > seq);
        assert_eq!(store.changes(seq, 10).await.unwrap_err().code(), "store.feed_lagged");
        store.close().await.unwrap();
        drop(store);
        if until.is_some() {
            fs::remove_dir_all(dir.path().join("store")).unwrap();
            fs::rename(dir.path().join("store.before-restore-1"), dir.path().join("store")).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_of_the_first_format_is_lifted_with_a_backup() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("store");
    {
        let old = sled::open(&folder).unwrap();
        for number in 0..50u64 {
            let key = [&b"ro"[..], &number.to_be_bytes()].concat();
            let mut value = vec![1];
            value.extend(rmp_serde::to_vec(&format!("{number}")).unwrap());
            old.insert(key, value).unwrap();
        }
        old.flush().unwrap();
    }
    for _ in 0..2 {
        let store = open(&dir, &small());
        for number in 0..50u64 {
            assert_eq!(store.get(&ROWS, &number).await.unwrap(), Some(number.to_string()));
        }
        store.close().await.unwrap();
    }
    assert!(!folder.join("db").exists());
    let backup = dir.path().join("backups/grps-before-format-2.ckp");
    assert_eq!(inspect(&backup).unwrap().rows, 50);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_are_read_in_order_and_held_back_for_those_who_follow() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings { journal_keep_bytes: 0, segment_bytes: 16 << 10, ..small() };
    let store = open(&dir, &settings);
    store.set_cursor("export", Some(0)).await.unwrap();
    fill(&store, 0..100).await;
    upkeep(&store, |upkeep| upkeep.checkpoint(&Progress::silent()).unwrap()).await;
    let mut seen = 0;
    loop {
        let changes = store.changes(seen, 7).await.unwrap();
        let Some(last) = changes.last() else { break };
        assert!(changes.iter().zip(seen + 1..).all(|(change, seq)| change.seq == seq));
        seen = last.seq;
    }
    assert_eq!(seen, store.seq());
    store.set_cursor("export", None).await.unwrap();
    // The journal's second copy is given up only as far as sled is synced.
    store.sync().await.unwrap();
    upkeep(&store, |upkeep| upkeep.checkpoint(&Progress::silent()).unwrap()).await;
    // What was given up is gone a little later, and at the latest when the store is closed.
    store.close().await.unwrap();
    drop(store);
    let store = open(&dir, &settings);
    assert_eq!(store.changes(0, 7).await.map(drop).unwrap_err().code(), "store.feed_lagged");
}

/// A read finds damage that was done while the store was open: it is an error, never a missing row, and the store mends itself.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_found_while_running_is_repaired_without_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &Settings { record_cache_bytes: 0, ..small() });
    fill(&store, 0..50).await;
    let upkeep = store.upkeep().unwrap().clone();
    tokio::task::spawn_blocking(move || upkeep.damage_for_test(&key_of(7), |_| 1)).await.unwrap();
    let refused = store.get(&ROWS, &7).await.unwrap_err();
    assert_eq!(refused.code(), "store.damaged");
    mended(&store);
    assert_eq!(outcome(&store), Outcome::Rebuilt);
    assert_holds(&store, 50).await;
    fill(&store, 50..60).await;
    assert_holds(&store, 60).await;
}

/// sled never syncs its blob files, so nothing may go there: not the largest values side by side, in whatever order they come.
#[tokio::test]
async fn the_largest_values_side_by_side_make_no_blobs() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &small());
    // Neighbours that come small, grow, and lose some of themselves, so that what is left is put together.
    for (count, length) in [(400, 10), (400, 7_150), (400, 3_060), (20, 900_000)] {
        for number in 0..count {
            put(&store, &ROWS, &((number * 7919) % count), &"x".repeat(length)).await.unwrap();
        }
        for number in (0..count).filter(|number| number % 3 > 0 && length > 10) {
            let gone = &number;
            let remove = |tx: crate::store::Tx| async move {
                tx.delete(&ROWS, gone);
                Ok(())
            };
            store.transact(remove).await.unwrap();
        }
    }
    store.close().await.unwrap();
    let blobs = fs::read_dir(dir.path().join("store/db-00000001/blobs")).map_or(0, Iterator::count);
    assert_eq!(blobs, 0);
}
