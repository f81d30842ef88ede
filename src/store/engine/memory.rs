//! The engine for tests: a `BTreeMap`. It can be told to conflict, which proves that transaction closures may run again.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::{Batch, Change, Engine, Health, Order, Outcome, Publish, Row, Span, closed};
use crate::base::{Result, Time};

/// Changes that can be read again.
const MAX_CHANGES: usize = 10_000;

/// Rows in memory only; durable as long as the process lives.
#[derive(Default)]
pub struct Memory {
    rows: RwLock<BTreeMap<Bytes, Bytes>>,
    /// Held for a whole commit, so that followers hear of commits in order.
    commits: Mutex<Commits>,
    publish: OnceLock<Publish>,
    conflict_every: Option<u64>,
}

#[derive(Default)]
struct Commits {
    asked: u64,
    closed: bool,
    seq: u64,
    /// The newest [`MAX_CHANGES`].
    changes: VecDeque<Change>,
}

impl Memory {
    pub fn new() -> Self {
        Self::default()
    }

    /// Every `n`-th commit answers Conflict although its asserts hold; `n` below 2 is taken as 2, since nothing would ever commit.
    pub fn conflicting_every(n: u64) -> Self {
        Self { conflict_every: Some(n.max(2)), ..Self::default() }
    }

    fn write(&self, batch: &Batch) -> Result<Outcome> {
        let mut commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        if commits.closed {
            return Err(closed());
        }
        commits.asked += 1;
        let forced = self.conflict_every.is_some_and(|n| commits.asked.is_multiple_of(n));
        if forced || !self.apply(batch) {
            return Ok(Outcome::Conflict);
        }
        if let Some(publish) = self.publish.get().filter(|_| !batch.writes.is_empty()) {
            publish(&batch.writes);
        }
        if !batch.writes.is_empty() {
            commits.seq += 1;
            let change = Change { seq: commits.seq, at: Time::default(), rows: batch.writes.clone() };
            commits.changes.push_back(change);
            let excess = commits.changes.len().saturating_sub(MAX_CHANGES);
            commits.changes.drain(..excess);
        }
        Ok(Outcome::Committed)
    }

    fn after(&self, after: u64, limit: usize) -> Result<Vec<Change>> {
        let commits = self.commits.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = commits.changes.front().map_or(commits.seq + 1, |change| change.seq);
        if after > commits.seq || after + 1 < oldest {
            return Err(super::lagged(after));
        }
        Ok(commits.changes.iter().filter(|change| change.seq > after).take(limit).cloned().collect())
    }

    fn apply(&self, batch: &Batch) -> bool {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        if !batch.asserts.iter().all(|Row { key, value }| rows.get(key) == value.as_ref()) {
            return false;
        }
        for Row { key, value } in &batch.writes {
            match value {
                Some(value) => rows.insert(key.clone(), value.clone()),
                None => rows.remove(key),
            };
        }
        true
    }

    fn page(&self, span: &Span, limit: usize) -> Vec<(Bytes, Bytes)> {
        if span.is_empty() {
            return Vec::new();
        }
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        let high = span.high.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let range = rows.range::<Bytes, _>((Bound::Included(&span.low), high)).map(|(k, v)| (k.clone(), v.clone()));
        match span.order {
            Order::Rising => range.take(limit).collect(),
            Order::Falling => range.rev().take(limit).collect(),
        }
    }
}

impl Engine for Memory {
    fn attach(&self, publish: Publish) {
        let _ = self.publish.set(publish);
    }

    fn get_many(&self, keys: Vec<Bytes>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>>> {
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        ready(Ok(keys.iter().map(|key| rows.get(key).cloned()).collect())).boxed()
    }

    fn scan(&self, span: Span, limit: usize) -> BoxFuture<'_, Result<Vec<(Bytes, Bytes)>>> {
        ready(Ok(self.page(&span, limit))).boxed()
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Outcome>> {
        ready(self.write(&batch)).boxed()
    }

    fn sync(&self) -> BoxFuture<'_, Result<()>> {
        ready(Ok(())).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        ready(Ok(())).boxed()
    }

    fn changes(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Change>>> {
        ready(self.after(after, limit)).boxed()
    }

    fn seq(&self) -> u64 {
        self.commits.lock().unwrap_or_else(PoisonError::into_inner).seq
    }

    fn health(&self) -> Health {
        let closed = self.commits.lock().unwrap_or_else(PoisonError::into_inner).closed;
        if closed { Health::Closed } else { Health::Ready }
    }

    fn disk_bytes(&self) -> u64 {
        0
    }
}
