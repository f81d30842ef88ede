//! What survives: closing, dropping, and a process killed in the middle of its work.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use tokio::task::JoinSet;

use super::{COUNTS, open, small};
use crate::base::Result;
use crate::store::{DataDir, Store, Table, Tx};

/// Tells the child process where to work.
const CHILD_DIR: &str = "GRPS_CRASH_TEST_DIR";

static LOG: Table<u64, u64> = Table::new("log", *b"lo");

/// Raises the counter and logs its value: two rows that belong together.
async fn append(tx: Tx) -> Result<u64> {
    let count = tx.get(&COUNTS, &String::new()).await?.unwrap_or(0) + 1;
    tx.put(&COUNTS, &String::new(), &count);
    tx.put(&LOG, &count, &count);
    Ok(count)
}

async fn counted(store: &Store) -> u64 {
    store.get(&COUNTS, &String::new()).await.unwrap().unwrap_or(0)
}

#[tokio::test]
async fn what_was_acknowledged_is_there_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    for (opened, close_first) in [true, false, true].into_iter().enumerate() {
        let store = open(&dir, &small());
        assert_eq!(counted(&store).await, opened as u64 * 20);
        for _ in 0..20 {
            store.transact(append).await.unwrap();
        }
        if close_first {
            store.close().await.unwrap();
        }
    }
    let page = open(&dir, &small()).scan(LOG.all(), 100).await.unwrap();
    assert_eq!(page.items, (1..=60).map(|n| (n, n)).collect::<Vec<_>>());
}

/// What the child process does until it is killed.
#[allow(clippy::disallowed_methods)] // tests own their tasks
async fn work(dir: &std::path::Path) {
    let dir = DataDir::open(dir).unwrap();
    dir.announce("127.0.0.1:8000".parse().unwrap()).unwrap();
    let store = Store::open(&dir, &small(), &Default::default(), &crate::store::Progress::silent()).unwrap();
    let mut tasks = JoinSet::new();
    for _ in 0..4 {
        let store = store.clone();
        tasks.spawn(async move {
            loop {
                let count = store.transact(append).await.unwrap();
                println!("\nacknowledged {count}");
            }
        });
    }
    tasks.join_all().await;
}

fn start_child(dir: &std::path::Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["store::conformance::crash::a_killed_process_loses_nothing_it_acknowledged", "--exact", "--nocapture"])
        .env(CHILD_DIR, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn acknowledged(line: &str) -> Option<u64> {
    line.strip_prefix("acknowledged ")?.parse().ok()
}

/// The test starts itself again as the process to kill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods)] // a test's own variable
async fn a_killed_process_loses_nothing_it_acknowledged() {
    if let Some(dir) = std::env::var_os(CHILD_DIR) {
        return work(dir.as_ref()).await;
    }
    let dir = tempfile::tempdir().unwrap();
    for round in 1..=3 {
        let mut child = start_child(dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(|line| line.ok());
        let seen: Vec<u64> = lines.by_ref().filter_map(|line| acknowledged(&line)).take(40 * round).collect();

        let refused = DataDir::open(dir.path()).unwrap_err();
        let named = format!("process {} (listening on 127.0.0.1:8000)", child.id());
        assert!(refused.detail().contains(&named), "{refused}");

        child.kill().unwrap();
        child.wait().unwrap();
        let late = lines.filter_map(|line| acknowledged(&line));
        let last = seen.into_iter().chain(late).max().unwrap();

        let store = open(&dir, &small());
        let count = counted(&store).await;
        assert!(count >= last, "{last} was acknowledged, {count} are there");
        let newest = store.scan(LOG.all().newest_first(), 1).await.unwrap();
        assert_eq!(newest.items, [(count, count)], "the counter and the log were written together");
        let mut from = None;
        let mut rows = 0;
        loop {
            let page = store.scan(LOG.all().after(from.as_ref()), 1000).await.unwrap();
            rows += page.items.len() as u64;
            from = page.next;
            if from.is_none() {
                break;
            }
        }
        assert_eq!(rows, count, "every acknowledged row is in the log");
    }
}
