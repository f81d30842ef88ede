//! What a store makes of work that was cut short: by a crash at an awkward moment, or by a mistake of its own.

use std::fs;
use std::path::Path;

use super::recovery::{
    COUNT, ROWS, assert_holds, copy_dir, crashed, files, fill, flip, key_of, mended, newest_database, outcome,
    survives, text, upkeep,
};
use super::{open, put, small};
use crate::store::upkeep::OpeningOutcome as Outcome;
use crate::store::{DataDir, Progress, Settings, Store, Surroundings};

fn remove_all(folder: &Path) {
    files(folder.to_owned()).iter().for_each(|path| fs::remove_file(path).unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_that_was_killed_is_begun_again() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    // Before there is a marker, which comes first.
    fs::create_dir_all(store.join("checkpoints")).unwrap();
    fs::write(store.join("marker.new"), b"half").unwrap();
    assert_eq!(outcome(&open(&dir, &small())), Outcome::Created);
    let store = open(&dir, &small());
    assert_eq!(outcome(&store), Outcome::Opened);
    fill(&store, 0..3).await;
    assert_holds(&store, 3).await;
}

/// There is no checkpoint yet, and a journal from the very beginning, which says that there was nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_holds_nothing_yet_is_built_again_too() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir, &small()));
    let database = newest_database(&dir);
    fs::remove_dir_all(&database).unwrap();
    let store = open(&dir, &small());
    assert_eq!(outcome(&store), Outcome::Rebuilt);
    fill(&store, 0..3).await;
    drop(store);
    let store = open(&dir, &small());
    assert_holds(&store, 3).await;
    drop(store);
    // Without its journal nobody knows that there was nothing.
    let dir = tempfile::tempdir().unwrap();
    drop(open(&dir, &small()));
    fs::remove_dir_all(newest_database(&dir)).unwrap();
    fs::remove_dir_all(dir.path().join("store/journal")).unwrap();
    let held = DataDir::open(dir.path()).unwrap();
    let refused = Store::open(&held, &small(), &Default::default()).err().unwrap();
    assert_eq!(refused.code(), "store.beyond_repair");
}

/// The repair ends after it has put the journal aside, which alone knew how far the store had come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_repair_that_was_cut_short_still_says_what_is_lost() {
    let (live, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = Settings { segment_bytes: 16 << 10, ..small() };
    let store = open(&live, &settings);
    fill(&store, 0..40).await;
    let backups = live.path().join("backups");
    upkeep(&store, move |upkeep| upkeep.back_up(&backups, "one", None, &Progress::silent()).unwrap()).await;
    fill(&store, 40..COUNT).await;
    copy_dir(live.path(), dir.path());
    fs::remove_dir_all(newest_database(&dir)).unwrap();
    for copy in ["a", "b"] {
        let kept = files(dir.path().join("store/journal").join(copy));
        let logs: Vec<_> = kept.iter().filter(|path| path.extension().is_some_and(|end| end == "log")).collect();
        logs[..logs.len() - 1].iter().for_each(|path| fs::remove_file(path).unwrap());
    }
    let blocked = dir.path().join("store/damaged");
    fs::write(&blocked, b"in the way").unwrap();
    let held = DataDir::open(dir.path()).unwrap();
    let refused = Store::open(&held, &settings, &Default::default()).err().unwrap();
    assert_eq!(refused.code(), "store.disk_failed");
    drop(held);
    fs::remove_file(blocked).unwrap();
    fs::rename(dir.path().join("store/journal"), dir.path().join("gone")).unwrap();
    let store = open(&dir, &settings);
    let opening = store.upkeep().unwrap().survey().opening;
    assert_eq!(opening.outcome, Outcome::Restored, "{opening:?}");
    let (from, to) = opening.lost.unwrap();
    assert!(from == 41 && to > 50, "{opening:?}");
    assert!(store.seq() > to);
    assert_holds(&store, 40).await;
}

/// Both copies are damaged, each where the other is not.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_bridges_a_hole_in_the_journal() {
    let (live, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let settings = Settings { segment_bytes: 16 << 10, ..small() };
    let store = open(&live, &settings);
    fill(&store, 0..60).await;
    let backups = live.path().join("backups");
    upkeep(&store, move |upkeep| upkeep.back_up(&backups, "one", None, &Progress::silent()).unwrap()).await;
    fill(&store, 60..COUNT).await;
    copy_dir(live.path(), dir.path());
    fs::remove_dir_all(newest_database(&dir)).unwrap();
    for copy in ["a", "b"] {
        let folder = dir.path().join("store/journal").join(copy);
        let early = files(folder).into_iter().filter(|path| {
            let first = path.file_stem().unwrap().to_string_lossy().parse::<u64>();
            first.is_ok_and(|first| (2..40).contains(&first))
        });
        early.for_each(|path| fs::remove_file(path).unwrap());
    }
    let store = open(&dir, &settings);
    let opening = store.upkeep().unwrap().survey().opening;
    assert_eq!((opening.outcome, opening.lost), (Outcome::Rebuilt, None), "{opening:?}");
    assert_holds(&store, COUNT).await;
}

/// The old files are there in part: the last start ended while it removed them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_is_lifted_once() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &small());
    fill(&store, 0..5).await;
    store.close().await.unwrap();
    drop(store);
    let left = dir.path().join("store/db");
    fs::write(&left, b"of the first format").unwrap();
    assert_holds(&open(&dir, &small()), 5).await;
    assert!(!left.exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_left_unfinished_is_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &small());
    fill(&store, 0..5).await;
    store.close().await.unwrap();
    drop(store);
    let unfinished = ["store/scratch", "store.restoring", "store/db-00000009"].map(|name| dir.path().join(name));
    let current = newest_database(&dir);
    unfinished.iter().for_each(|path| copy_dir(&current, path));
    let partial = dir.path().join("store/checkpoints/00000000000000000003.ckp.partial");
    fs::write(&partial, b"half").unwrap();
    let store = open(&dir, &small());
    assert_eq!(outcome(&store), Outcome::Opened);
    assert_holds(&store, 5).await;
    assert!(unfinished.iter().chain([&partial]).all(|path| !path.exists()));
    assert!(!dir.path().join("store/damaged").exists(), "nothing was damaged");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_store_is_there_twice_before_it_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &small());
    fill(&store, 0..20).await;
    let backups = dir.path().join("backups");
    let path = backups.join("one.ckp");
    upkeep(&store, move |upkeep| upkeep.back_up(&backups, "one", None, &Progress::silent()).unwrap()).await;
    store.close().await.unwrap();
    drop(store);
    let held = DataDir::open(dir.path()).unwrap();
    Surroundings::new(&held, &small()).restore(&held, &path, None, None).unwrap();
    drop(held);
    fs::remove_file(&path).unwrap();
    flip(&newest_database(&dir).join("db"), |length| length / 2);
    fs::remove_file(newest_database(&dir).join("db")).unwrap();
    let store = open(&dir, &small());
    assert_eq!(outcome(&store), Outcome::Rebuilt);
    assert_holds(&store, 20).await;
}

/// A disk gives an error instead of bytes.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_journal_that_cannot_be_read_is_like_a_damaged_one() {
    for (copy, expected) in [("a", &[Outcome::Renewed][..]), ("b", &[Outcome::Replayed, Outcome::Opened])] {
        let unreadable = |dir: &tempfile::TempDir| {
            let logs = files(dir.path().join("store/journal").join(copy));
            let newest = logs.iter().rfind(|path| path.extension().is_some_and(|end| end == "log")).unwrap();
            fs::remove_file(newest).unwrap();
            std::os::unix::fs::symlink("/proc/self/mem", newest).unwrap();
        };
        survives(unreadable, expected).await;
    }
}

/// A row is damaged and then written without having been read: what it was counted with must not be believed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_row_that_is_overwritten_does_not_spoil_the_count() {
    for number in [7, 10] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(&dir, &Settings { record_cache_bytes: 0, ..small() });
        fill(&store, 0..20).await;
        // The check that stands at its end.
        upkeep(&store, move |upkeep| upkeep.damage_for_test(&key_of(number), |length| length - 1)).await;
        let refused = put(&store, &ROWS, &number, &text(number)).await.unwrap_err();
        assert_eq!(refused.code(), "store.damaged");
        mended(&store);
        assert_eq!(outcome(&store), Outcome::Rebuilt);
        put(&store, &ROWS, &number, &text(number)).await.unwrap();
        assert_holds(&store, 20).await;
        store.close().await.unwrap();
        drop(store);
        let store = open(&dir, &small());
        assert_eq!(outcome(&store), Outcome::Opened);
        assert_holds(&store, 20).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_committer_outlives_a_panic() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &small());
    fill(&store, 0..10).await;
    upkeep(&store, |upkeep| upkeep.panic_for_test()).await;
    let refused = store.sync().await.unwrap_err();
    assert_eq!(refused.code(), "store.panicked");
    assert_eq!(put(&store, &ROWS, &10, &text(10)).await.unwrap_err().code(), "store.panicked");
    mended(&store);
    fill(&store, 10..20).await;
    assert_holds(&store, 20).await;
    upkeep(&store, |upkeep| upkeep.compact(&Progress::silent()).unwrap()).await;
    assert_holds(&store, 20).await;
    store.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_directory_is_held_until_the_last_piece_of_work_is_done() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &small());
    let upkeep = store.upkeep().unwrap().clone();
    drop(store);
    assert_eq!(DataDir::open(dir.path()).unwrap_err().code(), "store.dir_in_use");
    drop(upkeep);
    DataDir::open(dir.path()).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_come_in_pieces_that_fit_into_memory() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(&dir, &small());
    let large = "x".repeat(1_000_000);
    for number in 0..20 {
        put(&store, &ROWS, &number, &large).await.unwrap();
    }
    let first = store.changes(0, 1000).await.unwrap();
    assert!((15..20).contains(&first.len()), "{}", first.len());
    let rest = store.changes(first.last().unwrap().seq, 1000).await.unwrap();
    assert_eq!(first.len() + rest.len(), 20);
}

/// A forced repair that has nothing to build from leaves the database as it was.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_forced_repair_keeps_what_is_better() {
    let dir = crashed().await;
    flip(&files(dir.path().join("store/checkpoints"))[0], |length| length / 2);
    let held = DataDir::open(dir.path()).unwrap();
    remove_all(&dir.path().join("store/journal/a"));
    let repaired = Surroundings::new(&held, &small()).repair(true).unwrap();
    assert_eq!(repaired.lost, None, "{repaired:?}");
    drop(held);
    assert_holds(&open(&dir, &small()), COUNT).await;
}
