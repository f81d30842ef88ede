//! What the campaigns write: concurrent transactions whose every byte follows from seed, writer and number of the commit.
//!
//! Commit `n` of a writer raises the writer's counter to `n`, logs it, forgets an old log row, and overwrites or deletes some of the writer's
//! slots with values of 64 bytes up to the largest. Every [`SHARED_EVERY`]th one also raises a counter that all writers share. So a store is
//! right exactly if it equals what its own counters say, and nothing was lost exactly if they are not behind the acknowledgements.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use grps::base::{Error, Result};
use grps::store::{DataDir, MAX_VALUE, Settings, Store, Table, Tx};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

/// How often a writer has committed.
pub static COUNTS: Table<u32, u64> = Table::new("counts", *b"ct");
/// One row for each of a writer's last [`LOG_ROWS`] commits.
pub static LOG: Table<(u32, u64), u64> = Table::new("log", *b"lo");
/// What the writers overwrite and delete.
pub static SLOTS: Table<(u32, u32), String> = Table::new("slots", *b"sl");
/// One counter for all.
pub static SHARED: Table<(), u64> = Table::new("shared", *b"sh");

/// Slots of one writer.
pub const SLOT_COUNT: u32 = 24;
/// Log rows of one writer.
pub const LOG_ROWS: u64 = 50;
/// Which commits of a writer raise the shared counter.
pub const SHARED_EVERY: u64 = 8;

/// The longest text that fits a row: its version byte and MessagePack's length go off.
pub const LARGEST_TEXT: usize = MAX_VALUE - 6;
/// The shortest text.
const SMALLEST_TEXT: usize = 64;
/// What the values of one commit may come to together.
const COMMIT_BYTES: usize = 3 << 20;

/// The variable that a child finds its orders in.
pub const ORDERS: &str = "GRPS_DURABILITY_ORDERS";

/// How long a writer waits after a refused commit.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// What a child process is to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Orders {
    /// The data directory.
    pub data: PathBuf,
    /// Where it appends what happened, one line each: `opened`, `ack <writer> <n>`, `refused <writer> <n> <code>`, …
    pub acks: PathBuf,
    pub plan: Plan,
    /// Commits of each writer before the child ends by itself; none = until killed.
    pub commits: Option<u64>,
    /// Whether it closes the store before it ends by itself, or just vanishes.
    pub close: bool,
    /// What it keeps doing beside the writers.
    pub chore: Chore,
}

/// Upkeep that runs beside the load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Chore {
    None,
}

impl Chore {
    /// All of them, for campaigns that take turns.
    pub const ALL: &[Chore] = &[Chore::None];

    /// Runs until the process ends. This is the place for checkpoints, backups and compactions, one variant each.
    async fn keep_doing(self, _store: &Store) {
        match self {
            Self::None => {}
        }
    }
}

/// The size and the seed of a workload.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    pub seed: u64,
    pub writers: u32,
    /// Length of the longest text.
    pub largest: usize,
}

/// What a commit does to a slot: the length of its new text, or none when it is deleted.
pub type SlotWrite = (u32, Option<usize>);

impl Plan {
    pub fn new(seed: u64) -> Self {
        Self { seed, writers: 8, largest: LARGEST_TEXT }
    }

    fn rng(&self, writer: u32, n: u64) -> fastrand::Rng {
        fastrand::Rng::with_seed(self.seed ^ (u64::from(writer) << 48) ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15))
    }

    /// What commit `n` does to the writer's slots, the last write of a slot counting.
    pub fn slot_writes(&self, writer: u32, n: u64) -> Vec<SlotWrite> {
        let mut rng = self.rng(writer, n);
        let many = if rng.u32(0..40) == 0 { SLOT_COUNT } else { rng.u32(1..7) };
        let mut room = COMMIT_BYTES;
        let mut write = |_| {
            let slot = rng.u32(0..SLOT_COUNT);
            if rng.u32(0..8) == 0 {
                return (slot, None);
            }
            let length = self.length(&mut rng);
            let length = if length > room { SMALLEST_TEXT } else { length };
            room = room.saturating_sub(length);
            (slot, Some(length))
        };
        (0..many).map(&mut write).collect()
    }

    /// Mostly small, some up to what fits one node of a tree, few large, and now and then the largest.
    fn length(&self, rng: &mut fastrand::Rng) -> usize {
        let top = match rng.u32(0..100) {
            0..70 => 1 << 10,
            70..95 => 7 << 10,
            95..99 => SMALLEST_TEXT << rng.u32(4..15),
            _ => return self.largest,
        };
        rng.usize(SMALLEST_TEXT..=top.min(self.largest))
    }

    /// The text that commit `n` writes into a slot: its own name, then a stretch of random letters, half of them hard to compress.
    pub fn text(&self, writer: u32, slot: u32, n: u64, length: usize) -> String {
        let mut out = format!("{writer}/{slot}/{n}/");
        let from = self.rng(writer, n.wrapping_add(u64::from(slot) << 32)).usize(0..letters().len() - length);
        out.push_str(&letters()[from..from + length - out.len()]);
        out
    }

    /// What commit `n` logs.
    pub fn logged(&self, writer: u32, n: u64) -> u64 {
        self.rng(writer, !n).u64(..)
    }
}

/// Twice the longest text, of random letters with runs of one letter in between.
fn letters() -> &'static str {
    static LETTERS: OnceLock<String> = OnceLock::new();
    LETTERS.get_or_init(|| {
        let mut rng = fastrand::Rng::with_seed(1);
        let mut out = String::with_capacity(2 * LARGEST_TEXT + 64);
        while out.len() <= 2 * LARGEST_TEXT {
            out.extend((0..32).map(|_| rng.alphanumeric()));
            out.extend(std::iter::repeat_n('.', 32));
        }
        out
    })
}

/// How commit `n` of a writer went.
enum Done {
    Committed,
    /// The counter stood at `n` before: an earlier attempt was answered with an error and happened all the same.
    Before,
}

/// One commit: see the head of this file.
async fn commit(tx: Tx, plan: &Plan, writer: u32, n: u64) -> Result<Done> {
    let count = tx.get(&COUNTS, &writer).await?.unwrap_or(0);
    if count == n {
        return Ok(Done::Before);
    }
    if count + 1 != n {
        return Err(Error::broken("campaign.counter", format!("writer {writer} is at {count}, not before {n}")));
    }
    tx.put(&COUNTS, &writer, &n);
    tx.put(&LOG, &(writer, n), &plan.logged(writer, n));
    if n > LOG_ROWS {
        tx.delete(&LOG, &(writer, n - LOG_ROWS));
    }
    for (slot, length) in plan.slot_writes(writer, n) {
        match length {
            Some(length) => tx.put(&SLOTS, &(writer, slot), &plan.text(writer, slot, n, length)),
            None => tx.delete(&SLOTS, &(writer, slot)),
        }
    }
    if n.is_multiple_of(SHARED_EVERY) {
        let shared = tx.get(&SHARED, &()).await?.unwrap_or(0);
        tx.put(&SHARED, &(), &(shared + 1));
    }
    Ok(Done::Committed)
}

/// Small caches, so that reads come from where the rows are kept.
#[allow(clippy::needless_update)] // the other settings are not this file's business
pub fn settings() -> Settings {
    Settings { page_cache_bytes: 8 << 20, record_cache_bytes: 0, ..Settings::default() }
}

/// Opens the store in `data`.
pub fn open(data: &Path) -> Result<Store> {
    Store::open(&DataDir::open(data)?, &settings(), &Default::default())
}

/// What the store says of its last opening: which copies it read, what it repaired, what is gone. Empty as long as it says nothing.
pub fn opening_report(_store: &Store) -> String {
    String::new()
}

/// Where a child says what happened. A line is one write, so it is there whole once it is there, whatever happens to the process.
fn tell(acks: &File, line: &str) {
    let mut acks = acks;
    acks.write_all(format!("{}\n", line.replace('\n', " ")).as_bytes()).unwrap();
}

/// Commits until told to stop, and goes on after a refusal.
async fn keep_writing(store: Store, orders: Orders, acks: File, writer: u32) {
    let plan = &orders.plan;
    let mut n = store.get(&COUNTS, &writer).await.unwrap().unwrap_or(0);
    // What a store shows once it is open is a promise too.
    tell(&acks, &format!("ack {writer} {n}"));
    let end = orders.commits.map_or(u64::MAX, |commits| n + commits);
    let mut refused = false;
    while n < end {
        match store.transact(|tx| commit(tx, plan, writer, n + 1)).await {
            Ok(done) => {
                n += 1;
                match done {
                    Done::Committed => tell(&acks, &format!("ack {writer} {n}")),
                    Done::Before => tell(&acks, &format!("ghost {writer} {n}")),
                }
                refused = false;
            }
            Err(error) => {
                if !refused || error.code() != "store.disk_full" {
                    tell(&acks, &format!("refused {writer} {} {} {error:?}", n + 1, error.code()));
                }
                refused = true;
                match store.get(&COUNTS, &writer).await {
                    Ok(count) if count.unwrap_or(0) == n => {}
                    found => tell(&acks, &format!("misread {writer} {n} {found:?}")),
                }
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

/// What a child process does.
async fn work(orders: Orders) {
    let acks = File::options().append(true).create(true).open(&orders.acks).unwrap();
    let store = match open(&orders.data) {
        Ok(store) => store,
        Err(error) => {
            tell(&acks, &format!("unopened {} {error:?}", error.code()));
            std::process::exit(1);
        }
    };
    tell(&acks, "opened");
    let mut writers = JoinSet::new();
    for writer in 0..orders.plan.writers {
        writers.spawn(keep_writing(store.clone(), orders.clone(), acks.try_clone().unwrap(), writer));
    }
    let chore = orders.chore;
    let beside = store.clone();
    let chore = tokio::spawn(async move { chore.keep_doing(&beside).await });
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
    chore.abort();
    if orders.close {
        store.close().await.unwrap();
        drop(store);
    }
    tell(&acks, "done");
    std::process::exit(0);
}

/// The test that a child process runs as. Without orders it is a test of the campaigns' own tools: what nobody disturbed is right.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_undisturbed_run_checks_out() {
    if let Some(orders) = std::env::var_os(ORDERS) {
        return work(serde_json::from_slice(orders.as_encoded_bytes()).unwrap()).await;
    }
    let scratch = super::on_disk();
    let plan = Plan { writers: 2, ..Plan::new(super::SEED) };
    let (data, acks) = (scratch.path().join("data"), scratch.path().join("acks"));
    let file = File::create(&acks).unwrap();
    let orders =
        Orders { data: data.clone(), acks, plan: plan.clone(), commits: Some(60), close: true, chore: Chore::None };
    let store = open(&data).unwrap();
    for writer in 0..plan.writers {
        keep_writing(store.clone(), orders.clone(), file.try_clone().unwrap(), writer).await;
    }
    let seen = super::check::look(&store, &plan, &[60, 60]).await;
    assert!(seen.is_right(), "{seen:?}");
    let text = plan.text(1, 2, 3, 64);
    let meddle = |tx: Tx| {
        let text = text.clone();
        async move {
            tx.put(&SLOTS, &(1, 2), &text);
            tx.delete(&LOG, &(0, 60));
            Ok(())
        }
    };
    store.transact(meddle).await.unwrap();
    let seen = super::check::look(&store, &plan, &[60, 62]).await;
    assert_eq!((seen.wrong, seen.missing, seen.lost), (1, 1, 2), "{seen:?}");
    store.close().await.unwrap();
}
