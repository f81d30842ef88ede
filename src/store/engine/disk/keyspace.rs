//! sled as one ordered keyspace whose pages never show half a batch.
//!
//! sled applies a batch atomically for single reads, but its iterators step through the middle of one. So a page is read optimistically
//! (did a batch come in between?), which keeps commits from ever waiting for a reader; only a page that was unlucky several times, and whose
//! rows are in memory by then, makes the next batch wait for it.

use std::collections::HashMap;
use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use super::files::{Files, failure};
use crate::base::Result;
use crate::store::engine::{Order, Span};

/// Reads of one page before it asks commits to wait.
const OPTIMISTIC_READS: usize = 3;

/// The writes of one group: the last one of each key.
pub(super) type Writes<'a> = HashMap<&'a Bytes, &'a Option<Bytes>>;

pub(super) struct Keyspace {
    pub files: Files,
    /// Odd while a batch is being applied.
    applied: AtomicU64,
    gate: RwLock<()>,
}

impl Keyspace {
    pub fn new(files: Files) -> Self {
        Self { files, applied: AtomicU64::new(0), gate: RwLock::new(()) }
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        let found = self.files.db.get(key).map_err(|e| failure("reading", e))?;
        Ok(found.map(|value| Bytes::copy_from_slice(&value)))
    }

    /// Whether `key` holds exactly `expected`.
    pub fn holds(&self, key: &[u8], expected: Option<&[u8]>) -> Result<bool> {
        let found = self.files.db.get(key).map_err(|e| failure("reading", e))?;
        Ok(found.as_deref() == expected)
    }

    /// Writes all of `writes`, in memory and in sled's log buffer; durable after [`Files::make_durable`].
    pub fn apply(&self, writes: &Writes<'_>) -> Result<()> {
        let mut batch = sled::Batch::default();
        for (&key, &value) in writes {
            match value {
                Some(value) => batch.insert(key.as_ref(), value.as_ref()),
                None => batch.remove(key.as_ref()),
            }
        }
        let _gate = self.gate.write().unwrap_or_else(PoisonError::into_inner);
        self.applied.fetch_add(1, Ordering::SeqCst);
        let outcome = self.files.db.apply_batch(batch);
        self.applied.fetch_add(1, Ordering::SeqCst);
        outcome.map_err(|e| failure("applying a batch", e))
    }

    /// The first `limit` rows of `span`, all from between the same two batches.
    pub fn page(&self, span: &Span, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        if span.is_empty() {
            return Ok(Vec::new());
        }
        for _ in 0..OPTIMISTIC_READS {
            let before = self.applied.load(Ordering::SeqCst);
            let rows = self.rows(span, limit)?;
            if before.is_multiple_of(2) && self.applied.load(Ordering::SeqCst) == before {
                return Ok(rows);
            }
        }
        let _gate = self.gate.read().unwrap_or_else(PoisonError::into_inner);
        self.rows(span, limit)
    }

    fn rows(&self, span: &Span, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        let high = span.high.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.files.db.range::<&[u8], _>((Bound::Included(&span.low[..]), high));
        let owned = |row: sled::Result<(sled::IVec, sled::IVec)>| match row {
            Ok((key, value)) => Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value))),
            Err(e) => Err(failure("scanning", e)),
        };
        match span.order {
            Order::Rising => range.take(limit).map(owned).collect(),
            Order::Falling => range.rev().take(limit).map(owned).collect(),
        }
    }
}
