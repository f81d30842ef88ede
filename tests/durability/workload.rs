//! What the campaigns write: concurrent transactions whose every byte follows from seed, writer and number of the commit.
//!
//! Commit `n` of a writer raises the writer's counter to `n`, logs it, forgets an old log row, and overwrites or deletes some of the writer's
//! slots with values of 64 bytes up to the largest. Every [`SHARED_EVERY`]th one also raises a counter that all writers share. So a store is
//! right exactly if it equals what its own counters say, and nothing was lost exactly if they are not behind the acknowledgements.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use grps::base::{Error, Result};
use grps::store::{DataDir, MAX_VALUE, Settings, Store, Table, Tx};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use super::chores::Chore;

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

/// A store that is opening itself again asks for patience with this.
pub const REOPENING: &str = "store.reopening";

/// After how many commits a writer reads all its rows, if it is to.
const VERIFY_EVERY: u64 = 3;

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
    pub settings: Settings,
    /// What it does before it ends by itself.
    pub steps: Vec<Step>,
    /// Whether it closes the store before it ends by itself, or just vanishes.
    pub close: bool,
    /// What it keeps doing beside the writers.
    pub chore: Chore,
    /// Whether every writer reads all its rows now and then.
    pub verify: bool,
}

/// One thing after the other.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Step {
    /// All writers commit so often; without a number for ever.
    Commit(Option<u64>),
    /// Says which commits the groups since the last time are made of.
    TellGroups,
    /// sled has everything on disk.
    Settle,
    Do(Chore),
}

impl Step {
    /// Whether it comes to an end.
    pub fn ends(&self) -> bool {
        !matches!(self, Self::Commit(None))
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

/// Small caches, so that reads come from where the rows are kept; short segments, so that the journal rolls often and is let go of early.
pub fn settings() -> Settings {
    Settings {
        page_cache_bytes: 8 << 20,
        record_cache_bytes: 0,
        reserve_bytes: 8 << 20,
        journal_keep_bytes: 0,
        segment_bytes: 128 << 10,
    }
}

/// [`settings`] with another length of segments, and now and then with all of the journal kept.
pub fn varied_settings(rng: &mut fastrand::Rng) -> Settings {
    let segment_bytes = [64 << 10, 128 << 10, 256 << 10, 1 << 20][rng.usize(0..4)];
    Settings { segment_bytes, journal_keep_bytes: if rng.u8(0..4) == 0 { 256 << 20 } else { 0 }, ..settings() }
}

/// Opens the store in `data`.
pub fn open(data: &Path, settings: &Settings) -> Result<Store> {
    Store::open(&DataDir::open(data)?, settings, &Default::default())
}

/// What the store says of its last opening: which copies it read, what it repaired, what is gone.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct OpeningReport {
    pub outcome: String,
    pub text: String,
    /// The first and the last group that are gone.
    pub lost: Option<(u64, u64)>,
}

impl OpeningReport {
    pub fn of(store: &Store) -> Self {
        let opening = store.upkeep().unwrap().survey().opening;
        Self { outcome: format!("{:?}", opening.outcome), text: opening.text, lost: opening.lost }
    }

    /// Whether all is there, as far as the store knows.
    pub fn is_complete(&self) -> bool {
        self.lost.is_none() && self.outcome != "Restored"
    }
}

/// Where a child says what happened. A line is one write, so it is there whole once it is there, whatever happens to the process.
pub fn tell(acks: &File, line: &str) {
    let mut acks = acks;
    acks.write_all(format!("{}\n", line.replace('\n', " ")).as_bytes()).unwrap();
}

/// Commits so often, and goes on after a refusal.
pub async fn keep_writing(store: Store, plan: Plan, (commits, verify): (Option<u64>, bool), acks: File, writer: u32) {
    let mut n = store.get(&COUNTS, &writer).await.unwrap().unwrap_or(0);
    // What a store shows once it is open is a promise too.
    tell(&acks, &format!("ack {writer} {n}"));
    let end = commits.map_or(u64::MAX, |commits| n + commits);
    let mut refused = None;
    while n < end {
        match store.transact(|tx| commit(tx, &plan, writer, n + 1)).await {
            Ok(done) => {
                n += 1;
                match done {
                    Done::Committed => tell(&acks, &format!("ack {writer} {n}")),
                    Done::Before => tell(&acks, &format!("ghost {writer} {n}")),
                }
                refused = None;
                if verify && n.is_multiple_of(VERIFY_EVERY) {
                    tell(&acks, &super::check::verify(&store, &plan, writer, n).await);
                }
            }
            Err(error) => {
                if refused.as_deref() != Some(error.code()) {
                    tell(&acks, &format!("refused {writer} {} {} {error:?}", n + 1, error.code()));
                }
                refused = Some(error.code().to_owned());
                match store.get(&COUNTS, &writer).await {
                    Ok(count) if count.unwrap_or(0) == n => {}
                    Err(error) if error.code() == REOPENING => tell(&acks, "waited"),
                    found => tell(&acks, &format!("misread {writer} {n} {found:?}")),
                }
                tokio::time::sleep(REFUSED_PAUSE).await;
            }
        }
    }
}

async fn all_write(store: &Store, plan: &Plan, commits: (Option<u64>, bool), acks: &File) {
    let mut writers = JoinSet::new();
    for writer in 0..plan.writers {
        writers.spawn(keep_writing(store.clone(), plan.clone(), commits, acks.try_clone().unwrap(), writer));
    }
    while let Some(ended) = writers.join_next().await {
        ended.unwrap();
    }
}

/// Says which commits the groups behind `told` are made of: `group <seq> <writer>:<n> …`. Every commit logs itself, so the log's rows name them.
async fn tell_groups(store: &Store, told: &mut u64, acks: &File) {
    while *told < store.seq() {
        for change in store.changes(*told, 1000).await.unwrap() {
            let mut line = format!("group {}", change.seq);
            for row in change.rows.iter().filter(|row| row.value.is_some()) {
                let Some(key) = row.key.strip_prefix(b"lo") else { continue };
                let (writer, n) = key.split_first_chunk().unwrap();
                line += &format!(" {}:{}", u32::from_be_bytes(*writer), u64::from_be_bytes(n.try_into().unwrap()));
            }
            tell(acks, &line);
            *told = change.seq;
        }
    }
}

/// What a child process does.
async fn work(orders: Orders) {
    let acks = File::options().append(true).create(true).open(&orders.acks).unwrap();
    tell(&acks, "opening");
    let store = match open(&orders.data, &orders.settings) {
        Ok(store) => store,
        Err(error) => {
            tell(&acks, &format!("unopened {} {error:?}", error.code()));
            std::process::exit(1);
        }
    };
    tell(&acks, &format!("opened {}", serde_json::to_string(&OpeningReport::of(&store)).unwrap()));
    let stop = Arc::new(AtomicBool::new(false));
    let (chore, beside, own_acks, own_stop) = (orders.chore, store.clone(), acks.try_clone().unwrap(), stop.clone());
    let data = orders.data.clone();
    let chore = tokio::spawn(async move { chore.keep_doing(beside, &data, own_acks, own_stop).await });
    let mut told = store.seq();
    for step in &orders.steps {
        match step {
            Step::Commit(commits) => all_write(&store, &orders.plan, (*commits, orders.verify), &acks).await,
            Step::TellGroups => tell_groups(&store, &mut told, &acks).await,
            Step::Settle => store.sync().await.unwrap(),
            Step::Do(chore) => {
                let (chore, upkeep, data) = (*chore, store.upkeep().unwrap().clone(), orders.data.clone());
                tokio::task::spawn_blocking(move || chore.once(&upkeep, &data)).await.unwrap().unwrap();
            }
        }
    }
    stop.store(true, Ordering::SeqCst);
    chore.await.unwrap();
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
    let store = open(&data, &settings()).unwrap();
    for writer in 0..plan.writers {
        keep_writing(store.clone(), plan.clone(), (Some(60), true), file.try_clone().unwrap(), writer).await;
    }
    let mut told = 0;
    tell_groups(&store, &mut told, &file).await;
    let mut said = super::child::Acks::new(&acks, &plan);
    said.poll();
    assert_eq!((&said.last[..], said.groups.last().unwrap()), (&[60, 60][..], &(store.seq(), vec![60, 60])));
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
