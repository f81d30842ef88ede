//! A transaction as a closure sees it: reads are remembered, writes are collected; nothing happens before the closure has returned.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::engine::{Batch, MAX_BATCH_WRITES, MAX_GROUP_BYTES, Row};
use super::key::Key;
use super::record::{self, Record};
use super::table::{MAX_KEY, Table};
use super::{Freshness, Store};
use crate::base::{Error, Result};

/// Different rows one transaction may read.
pub const MAX_TX_READS: usize = 4096;

/// A running attempt of a transaction: a cheap handle, all clones of which are the same attempt.
#[derive(Clone)]
pub struct Tx {
    store: Store,
    freshness: Freshness,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    reads: BTreeMap<Bytes, Option<Bytes>>,
    writes: BTreeMap<Bytes, Option<Bytes>>,
    /// The first put that cannot be stored; it fails the transaction.
    refused: Option<Error>,
}

impl State {
    /// What this transaction already knows of `key`.
    #[allow(clippy::option_option)]
    fn known(&self, key: &[u8]) -> Option<Option<Bytes>> {
        self.writes.get(key).or_else(|| self.reads.get(key)).cloned()
    }
}

impl Tx {
    pub(super) fn new(store: Store, freshness: Freshness) -> Self {
        Self { store, freshness, state: Arc::default() }
    }

    /// The row at `key`, with what this transaction wrote. Absence is remembered and asserted too.
    ///
    /// # Errors
    /// `store.tx_too_large` past [`MAX_TX_READS`]; faults of the engine; a row that does not decode.
    pub async fn get<K: Key, V: Record>(&self, table: &Table<K, V>, key: &K) -> Result<Option<V>> {
        let mut values = self.read(vec![table.raw(key).into()]).await?;
        table.value(values.pop().flatten())
    }

    /// The rows at `keys`, in their order.
    ///
    /// # Errors
    /// As [`Tx::get`].
    pub async fn get_many<K: Key, V: Record>(&self, table: &Table<K, V>, keys: &[K]) -> Result<Vec<Option<V>>> {
        let raw = keys.iter().map(|key| table.raw(key).into()).collect();
        self.read(raw).await?.into_iter().map(|value| table.value(value)).collect()
    }

    /// The row at `key`, which must exist.
    ///
    /// # Errors
    /// `<table>.missing` when it does not; callers that can say more use [`Tx::get`] and an error of their own. Else as [`Tx::get`].
    pub async fn require<K: Key, V: Record>(&self, table: &Table<K, V>, key: &K) -> Result<V> {
        let name = table.name();
        let missing = || Error::missing(format!("{name}.missing"), format!("there is no such row in {name}"));
        self.get(table, key).await?.ok_or_else(missing)
    }

    /// Writes the row when the transaction commits. A value or key too large to store fails the whole transaction.
    pub fn put<K: Key, V: Record>(&self, table: &Table<K, V>, key: &K, value: &V) {
        match record::encode(value) {
            Ok(bytes) => self.write(table.raw(key), Some(bytes)),
            Err(error) => self.refuse(super::table::in_table(table.name(), error)),
        }
    }

    /// Removes the row, if there is one, when the transaction commits.
    pub fn delete<K: Key, V: Record>(&self, table: &Table<K, V>, key: &K) {
        self.write(table.raw(key), None);
    }

    fn write(&self, key: Vec<u8>, value: Option<Bytes>) {
        if key.len() > MAX_KEY {
            let detail = format!("a key of {} bytes is longer than {MAX_KEY}", key.len());
            return self.refuse(Error::too_large("store.key_too_large", detail).hint("shorten the names in it"));
        }
        self.state().writes.insert(key.into(), value);
    }

    fn refuse(&self, error: Error) {
        self.state().refused.get_or_insert(error);
    }

    async fn read(&self, keys: Vec<Bytes>) -> Result<Vec<Option<Bytes>>> {
        let unknown: Vec<Bytes> = {
            let state = self.state();
            let known: Vec<_> = keys.iter().map_while(|key| state.known(key)).collect();
            if known.len() == keys.len() {
                return Ok(known);
            }
            keys.iter().filter(|key| state.known(key).is_none()).cloned().collect()
        };
        let values = self.store.load(&unknown, self.freshness).await?;
        let mut state = self.state();
        for (key, value) in unknown.into_iter().zip(values) {
            // Kept if another clone of this handle read it meanwhile: what was shown once is what gets asserted.
            state.reads.entry(key).or_insert(value);
        }
        if state.reads.len() > MAX_TX_READS {
            return Err(too_large(format!("reads more than {MAX_TX_READS} rows")));
        }
        Ok(keys.iter().map(|key| state.known(key).flatten()).collect())
    }

    /// Ends the attempt: what it read, what it writes, and why it cannot be stored if so.
    pub(super) fn finish(&self) -> (Batch, Option<Error>) {
        let State { reads, writes, refused } = std::mem::take(&mut *self.state());
        let oversized = || too_large(format!("writes {} rows, more than {MAX_BATCH_WRITES}", writes.len()));
        let refused = refused.or_else(|| (writes.len() > MAX_BATCH_WRITES).then(oversized));
        let rows = |map: BTreeMap<_, _>| map.into_iter().map(|(key, value)| Row { key, value }).collect();
        let batch = Batch { asserts: rows(reads), writes: rows(writes) };
        let heavy = || too_large(format!("writes more than {} MiB", MAX_GROUP_BYTES >> 20));
        let refused = refused.or_else(|| (batch.bytes() > MAX_GROUP_BYTES).then(heavy));
        (batch, refused)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn too_large(what: String) -> Error {
    Error::too_large("store.tx_too_large", format!("one transaction {what}")).hint("ask for less at a time")
}
