//! Floor 2, the store: typed tables in one ordered keyspace, and transactions that are on disk when they return.
//!
//! * A [`Table`] is declared once as a `static`; its keys sort ([`Key`]), its values are versioned ([`Record`]).
//! * [`Store::transact`] runs a closure that reads and writes through a [`Tx`]. It commits iff every row it read is still the same; else the
//!   closure runs again. So closures touch nothing but their `Tx`, and never call `transact` themselves.
//! * There is no scan in a transaction: a scan proposes, `tx.get` confirms. Uniqueness is a key, never a scan.
//! * [`Store::follow`] feeds in-memory indexes with the rows of each commit, in commit order, before the commit is acknowledged.
//! * [`Engine`] is the seam below: [`Memory`] for tests, [`Sled`] on disk. Nothing above this floor knows which one runs.
//!
//! What a plain read or scan shows is committed; rows on their way to disk may already show. Whatever `transact` returned is on disk.

mod cache;
mod changes;
#[cfg(test)]
mod conformance;
mod dir;
mod engine;
mod feed;
mod key;
mod progress;
mod record;
mod stats;
mod table;
mod tx;
pub mod upkeep;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use crate::base::clock::Stopwatch;
use crate::base::metrics::Metrics;
use crate::base::{Cursor, Error, Page, Result};
use cache::Cache;

use feed::Feed;
use stats::Meters;

pub use changes::CURSORS;
pub use dir::{DataDir, Owner};
pub use engine::disk::Surroundings;
#[doc(hidden)]
pub use engine::disk::decoders;
pub use engine::{
    Batch, Change, Engine, Health, MAX_BATCH_WRITES, MAX_GROUP_BYTES, Memory, Order, Outcome, Publish, Row, Sled, Span,
};
pub use key::{Key, Leading};
pub use progress::Progress;
pub use record::{MAX_VALUE, Record, unpack};
pub use stats::Stats;
pub use table::{MAX_KEY, Scan, Table, TableInfo};
pub use tx::{MAX_TX_READS, Tx};
pub use upkeep::{
    CheckReport, CheckpointInfo, Compaction, Lock, OpeningOutcome, Restored, SCHEMA, Survey, TableSurvey, Upkeep,
};

/// Rows in one page of a scan, and keys in one `get_many`, at most.
pub const MAX_PAGE: usize = 1000;

/// How often a transaction is run again before the caller is told to come back.
pub const MAX_RERUNS: usize = 64;

/// Conflicts after which a transaction waits for its turn: of those that keep losing, one runs at a time.
const PATIENCE: usize = 4;

/// When to come back after [`MAX_RERUNS`].
const CONTENDED_WAIT: Duration = Duration::from_secs(1);

/// The store's settings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// sled's page cache, in bytes. The process uses two to four times that.
    pub page_cache_bytes: u64,
    /// The record cache, in bytes; 0 turns it off.
    pub record_cache_bytes: u64,
    /// What ordinary writes leave free on the disk, in bytes.
    pub reserve_bytes: u64,
    /// Journal kept for restores to a point in time, beyond what safety needs, in bytes.
    pub journal_keep_bytes: u64,
    /// Size of the journal's files, in bytes; two copies of two of them are there at any time.
    pub segment_bytes: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            page_cache_bytes: 256 << 20,
            record_cache_bytes: 64 << 20,
            reserve_bytes: 256 << 20,
            journal_keep_bytes: 256 << 20,
            segment_bytes: 8 << 20,
        }
    }
}

/// The store. Cheap to clone; all clones are one store.
#[derive(Clone)]
pub struct Store(Arc<Inner>);

struct Inner {
    engine: Box<dyn Engine>,
    upkeep: Option<Upkeep>,
    feed: Arc<Feed>,
    meters: Meters,
    /// Held by the one transaction that has lost too often.
    turn: Mutex<()>,
}

/// Whether a read may come from the record cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Freshness {
    Cached,
    /// From the engine: what the cache held has just lost against a commit.
    Engine,
}

impl Store {
    /// Opens the database in `dir`, and repairs it where that is needed. Blocks while it reads everything once; call it before serving.
    ///
    /// # Errors
    /// `store.newer` for data of a newer program, `store.beyond_repair`, `store.disk_full`, `store.disk_failed`.
    pub fn open(dir: &DataDir, settings: &Settings, metrics: &Metrics) -> Result<Self> {
        Self::open_in(dir, Surroundings::new(dir, settings), metrics)
    }

    /// As [`Store::open`], with a clock, backups and progress of the caller's.
    ///
    /// # Errors
    /// As [`Store::open`].
    pub fn open_in(dir: &DataDir, surroundings: Surroundings, metrics: &Metrics) -> Result<Self> {
        let settings = surroundings.settings.clone();
        let engine = Sled::open(dir, surroundings, metrics)?;
        let upkeep = engine.upkeep();
        Ok(Self::over(engine, Some(upkeep), &settings, metrics))
    }

    /// An empty store that lives in memory, with default settings.
    pub fn in_memory() -> Self {
        Self::new(Memory::new(), &Settings::default(), &Metrics::default())
    }

    pub fn new(engine: impl Engine, settings: &Settings, metrics: &Metrics) -> Self {
        Self::over(engine, None, settings, metrics)
    }

    fn over(engine: impl Engine, upkeep: Option<Upkeep>, settings: &Settings, metrics: &Metrics) -> Self {
        let meters = Meters::new(metrics);
        let feed = Arc::new(Feed::new(Cache::new(settings.record_cache_bytes), meters.follower_failures.clone()));
        let publish = feed.clone();
        engine.attach(Arc::new(move |rows| publish.publish(rows)));
        Self(Arc::new(Inner { engine: Box::new(engine), upkeep, feed, meters, turn: Mutex::new(()) }))
    }

    /// Runs `work` and commits what it wrote, iff every row it read by key is still the same; else runs it again on fresh rows. Returns when
    /// the commit is durable and every follower has seen it. When `work` fails nothing is written, but what it read is checked all the same,
    /// so an error is never the result of a row that was already replaced.
    ///
    /// Dropping the future leaves open whether the commit happens.
    ///
    /// # Errors
    /// What `work` returns; `store.contended` after [`MAX_RERUNS`]; `store.closed`; `store.value_too_large`, `store.key_too_large`,
    /// `store.tx_too_large`; faults of the disk, which stay until the store is opened again.
    pub async fn transact<T, F, Fut>(&self, work: F) -> Result<T>
    where
        F: Fn(Tx) -> Fut,
        Fut: Future<Output = Result<T>>,
    {
        let mut _turn = None;
        for attempt in 0..=MAX_RERUNS {
            if attempt == PATIENCE {
                _turn = Some(self.0.turn.lock().await);
            }
            let freshness = if attempt == 0 { Freshness::Cached } else { Freshness::Engine };
            let tx = Tx::new(self.clone(), freshness);
            let answer = work(tx.clone()).await;
            if let Some(done) = self.conclude(&tx, answer).await {
                return done;
            }
            self.0.meters.conflicts.inc();
            tokio::task::yield_now().await;
        }
        Err(Error::busy("store.contended", "too many requests are changing the same records right now")
            .hint("send the request again")
            .retry_after(CONTENDED_WAIT))
    }

    /// Commits an attempt; none when it must run again.
    async fn conclude<T>(&self, tx: &Tx, answer: Result<T>) -> Option<Result<T>> {
        let (mut batch, refused) = tx.finish();
        let answer = refused.map_or(answer, Err);
        if answer.is_err() {
            batch.writes.clear();
        }
        // A single read is consistent with itself.
        if batch.writes.is_empty() && batch.asserts.len() <= 1 {
            return Some(answer);
        }
        let watch = Stopwatch::start();
        match self.0.engine.commit(batch).await {
            Ok(Outcome::Conflict) => None,
            Ok(Outcome::Committed) => {
                self.0.meters.committed(watch.elapsed());
                Some(answer)
            }
            Err(fault) => Some(answer.and(Err(fault))),
        }
    }

    /// The committed row at `key`.
    ///
    /// # Errors
    /// Faults of the engine; a row that does not decode.
    pub async fn get<K: Key, V: Record>(&self, table: &Table<K, V>, key: &K) -> Result<Option<V>> {
        let raw = table.raw(key);
        if let Some(value) = self.0.feed.cache.get(&raw) {
            self.0.meters.cache_hits.inc();
            return table.value(value);
        }
        let mut values = self.load(&[raw.into()], Freshness::Engine).await?;
        table.value(values.pop().flatten())
    }

    /// The committed rows at `keys`, in their order. Each is committed; together they are no snapshot.
    ///
    /// # Errors
    /// `store.too_many_keys` past [`MAX_PAGE`]; else as [`Store::get`].
    pub async fn get_many<K: Key, V: Record>(&self, table: &Table<K, V>, keys: &[K]) -> Result<Vec<Option<V>>> {
        if keys.len() > MAX_PAGE {
            return Err(Error::too_large(
                "store.too_many_keys",
                format!("at most {MAX_PAGE} rows can be read at once"),
            ));
        }
        let raw: Vec<Bytes> = keys.iter().map(|key| table.raw(key).into()).collect();
        self.load(&raw, Freshness::Cached).await?.into_iter().map(|value| table.value(value)).collect()
    }

    /// One page of at most `limit` rows (1 to [`MAX_PAGE`]; clamped), no batch of which is seen in part. `next` continues behind its last row.
    ///
    /// # Errors
    /// `request.invalid` for a cursor of another list; faults of the engine; rows that do not decode.
    pub async fn scan<K: Key, V: Record>(&self, scan: Scan<K, V>, limit: usize) -> Result<Page<(K, V)>> {
        let limit = limit.clamp(1, MAX_PAGE);
        let name = scan.name;
        let mut rows = self.0.engine.scan(scan.span()?, limit + 1).await?;
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next = rows.last().filter(|_| more).map(|(key, _)| Cursor(key.to_vec()));
        let decode = |(key, value): &(Bytes, Bytes)| Ok((table::decode_key(key)?, record::decode(value)?));
        let items = rows.iter().map(decode).collect::<Result<_>>().map_err(|e| table::in_table(name, e))?;
        Ok(Page { items, next })
    }

    /// Calls `each` for every commit from now on that writes to `table`, with all rows it wrote there, so that a mirror can apply them
    /// under one lock: in commit order, once durable, before the commit is acknowledged. A row is one key with its new value, `None` when
    /// deleted. It runs on the committing thread, so it is quick, and neither waits for this store nor owns a clone of it. To mirror a
    /// whole table, follow it before scanning it, and before anything is written.
    pub fn follow<K: Key, V: Record>(
        &self,
        table: &'static Table<K, V>,
        each: impl Fn(Vec<(K, Option<V>)>) + Send + Sync + 'static,
    ) {
        self.0.feed.follow(table, each);
    }

    /// Tells that rows of `table` are read soon after they are written, so that the record cache takes them up at once: reading one then needs
    /// no other thread.
    pub fn warm<K: Key, V: Record>(&self, table: &'static Table<K, V>) {
        self.0.feed.warm(table.prefix());
    }

    /// Returns when everything committed so far is on disk.
    ///
    /// # Errors
    /// Faults of the disk; `store.closed`.
    pub async fn sync(&self) -> Result<()> {
        self.0.engine.sync().await
    }

    /// Finishes the commits that were accepted, syncs, and refuses later ones with `store.closed`. Reads go on.
    ///
    /// # Errors
    /// Faults of the disk.
    pub async fn close(&self) -> Result<()> {
        self.0.engine.close().await
    }

    /// What keeps a store on disk in shape; none in memory.
    pub fn upkeep(&self) -> Option<&Upkeep> {
        self.0.upkeep.as_ref()
    }

    /// Whether the store takes commits.
    pub fn health(&self) -> Health {
        self.0.engine.health()
    }

    pub fn stats(&self) -> Stats {
        let Inner { engine, feed, meters, .. } = &*self.0;
        let (cached_rows, cached_bytes) = feed.cache.size();
        Stats {
            health: engine.health(),
            commits: meters.commits.get(),
            conflicts: meters.conflicts.get(),
            cache_hits: meters.cache_hits.get(),
            cache_misses: meters.cache_misses.get(),
            cached_rows,
            cached_bytes,
            disk_bytes: engine.disk_bytes(),
        }
    }

    /// Encoded rows, from the cache where allowed, else from the engine and then cached.
    async fn load(&self, keys: &[Bytes], freshness: Freshness) -> Result<Vec<Option<Bytes>>> {
        let Inner { engine, feed, meters, .. } = &*self.0;
        let cached = |key: &Bytes| if freshness == Freshness::Cached { feed.cache.get(key) } else { None };
        let values: Vec<Option<Option<Bytes>>> = keys.iter().map(cached).collect();
        let unknown = keys.iter().zip(&values).filter(|(_, value)| value.is_none());
        let unknown: Vec<Bytes> = unknown.map(|(key, _)| key.clone()).collect();
        meters.cache_hits.inc_by((keys.len() - unknown.len()) as u64);
        meters.cache_misses.inc_by(unknown.len() as u64);
        let mut fetched = Vec::new();
        if !unknown.is_empty() {
            let tickets: Vec<_> = unknown.iter().map(|key| feed.cache.ticket(key)).collect();
            fetched = engine.get_many(unknown.clone()).await?;
            for ((key, value), ticket) in unknown.into_iter().zip(&fetched).zip(tickets) {
                feed.cache.fill(ticket, key, value.clone());
            }
        }
        let mut fetched = fetched.into_iter();
        Ok(values.into_iter().map(|value| value.or_else(|| fetched.next()).flatten()).collect())
    }
}
