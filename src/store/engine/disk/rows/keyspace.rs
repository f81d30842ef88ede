//! The current database, as readers see it: pages never show half a batch, and the database can be replaced while they read.
//!
//! sled applies a batch atomically for single reads, but its iterators step through the middle of one. So what spans several rows is read
//! optimistically (did a batch come in between?), which keeps commits from ever waiting for a reader; only a read that was unlucky several
//! times, and whose rows are in memory by then, makes the next batch wait for it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::database::{Database, Prepared};
use crate::base::{Error, Result};
use crate::store::engine::Span;
use crate::store::engine::disk::guarded;
use crate::store::engine::disk::journal::StoreId;

/// Reads of one page before it asks commits to wait.
const OPTIMISTIC_READS: usize = 3;

/// When to come back while the database is being repaired.
const REPAIR_WAIT: Duration = Duration::from_secs(2);

/// The writes of one group: the last one of each key.
pub type Writes<'a> = HashMap<&'a Bytes, &'a Option<Bytes>, RandomState>;

pub struct Keyspace {
    /// None while it is being opened again.
    current: RwLock<Option<Database>>,
    /// Odd while a batch is being applied.
    applied: AtomicU64,
    /// The last group that readers may have seen; it may not be durable yet.
    shown: AtomicU64,
    gate: RwLock<()>,
}

impl Keyspace {
    pub fn new(database: Database) -> Self {
        Self {
            current: RwLock::new(Some(database)),
            applied: AtomicU64::new(0),
            shown: AtomicU64::new(0),
            gate: RwLock::new(()),
        }
    }

    /// Puts another database in the place of the current one, which is returned once no reader is in it any more.
    pub fn replace(&self, database: Option<Database>) -> Option<Database> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *current, database)
    }

    /// The last group that readers may have seen.
    pub fn shown(&self) -> u64 {
        self.shown.load(Ordering::SeqCst)
    }

    /// Works on the current database; what it panics with is an error.
    ///
    /// # Errors
    /// `store.reopening` while there is none; those of `work`.
    pub fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T>) -> Result<T> {
        let current = self.current();
        let database = current.as_ref().ok_or_else(reopening)?;
        guarded(|| work(database))
    }

    fn current(&self) -> RwLockReadGuard<'_, Option<Database>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.with(|database| match database.get_whole(key)? {
            Some(value) => Ok(value),
            None => self.between_batches(|| database.get(key)),
        })
    }

    /// The first `limit` rows of `span`, all from between the same two batches.
    pub fn page(&self, span: &Span, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        if span.is_empty() {
            return Ok(Vec::new());
        }
        self.with(|database| self.between_batches(|| database.rows(span, limit)))
    }

    /// Runs `read` such that no batch is applied meanwhile.
    fn between_batches<T>(&self, read: impl Fn() -> Result<T>) -> Result<T> {
        for _ in 0..OPTIMISTIC_READS {
            let before = self.applied.load(Ordering::SeqCst);
            let outcome = read();
            if before.is_multiple_of(2) && self.applied.load(Ordering::SeqCst) == before {
                return outcome;
            }
        }
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        read()
    }

    /// Applies a group; see [`Database::apply`].
    pub fn apply(&self, prepared: Prepared, store: StoreId, seq: u64) -> Result<()> {
        self.with(|database| {
            let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
            self.applied.fetch_add(1, Ordering::SeqCst);
            self.shown.store(seq, Ordering::SeqCst);
            let outcome = guarded(|| database.apply(prepared, store, seq));
            self.applied.fetch_add(1, Ordering::SeqCst);
            outcome
        })
    }
}

/// For those who come while there is no database that answers.
pub fn reopening() -> Error {
    Error::busy("store.reopening", "the store is being repaired")
        .hint("send the request again in a moment")
        .retry_after(REPAIR_WAIT)
}
