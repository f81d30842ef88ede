//! The seam: what a storage engine must do. An engine sees one ordered keyspace of bytes and batches with asserts; tables, types,
//! transactions, the record cache and followers live above it.

pub(super) mod disk;
mod memory;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use crate::base::{Error, Result, Time};

pub use disk::Sled;
pub use memory::Memory;

/// Writes one batch may carry; larger work is cut into several transactions. One batch is at most one group.
pub const MAX_BATCH_WRITES: usize = MAX_GROUP_OPS;

/// Batches that share one flush, at most: more would make readers wait for the engine.
pub const MAX_GROUP_COMMITS: usize = 128;

/// Writes that share one flush, at most.
pub const MAX_GROUP_OPS: usize = 1000;

/// Keys and values that share one flush, in bytes, at most; one batch is at most one group here too.
pub const MAX_GROUP_BYTES: usize = 8 << 20;

/// A key with its value, or with none: an absent row in an assert, a deletion in a write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub key: Bytes,
    pub value: Option<Bytes>,
}

impl Row {
    /// Key and value, in bytes.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// All or nothing: `writes` happen iff every row of `asserts` is still stored exactly so.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    pub asserts: Vec<Row>,
    pub writes: Vec<Row>,
}

impl Batch {
    /// Keys and values it writes, in bytes.
    pub fn bytes(&self) -> usize {
        self.writes.iter().map(Row::bytes).sum()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Durable, and seen by every follower.
    Committed,
    /// An assert did not hold; nothing was written.
    Conflict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Rising,
    Falling,
}

/// Keys from `low` (inclusive) to `high` (exclusive; none = the end).
#[derive(Debug, Clone)]
pub struct Span {
    pub low: Bytes,
    pub high: Option<Bytes>,
    pub order: Order,
}

impl Span {
    fn is_empty(&self) -> bool {
        self.high.as_ref().is_some_and(|high| self.low >= high)
    }
}

/// Whether an engine takes commits.
#[derive(Debug, Clone)]
pub enum Health {
    Ready,
    /// Closed in good order.
    Closed,
    /// The disk is so full that only deletions are taken, until as many bytes are free as are needed.
    Full {
        free: u64,
        needed: u64,
    },
    /// The disk has not answered a sync for so long.
    Stalled(Duration),
    /// A commit failed or data was found damaged. The store tries to open itself again; nothing is written until it has.
    Failed(Error),
}

/// A group of commits that became durable together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Its number; the next group has the next one.
    pub seq: u64,
    pub at: Time,
    /// The last write of each key.
    pub rows: Vec<Row>,
}

/// Told of every committed batch, in commit order, when it is durable and before it is acknowledged.
pub type Publish = Arc<dyn Fn(&[Row]) + Send + Sync>;

/// A storage engine.
///
/// Reads never wait for commits beyond one applied group, and commits never wait for a reader beyond one bounded page.
pub trait Engine: Send + Sync + 'static {
    /// Sets whom to tell of commits. Called once, before the first commit.
    fn attach(&self, publish: Publish);

    /// The values of `keys`, in their order.
    fn get_many(&self, keys: Vec<Bytes>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>>>;

    /// The first `limit` rows of `span`: no batch is seen in part.
    fn scan(&self, span: Span, limit: usize) -> BoxFuture<'_, Result<Vec<(Bytes, Bytes)>>>;

    /// Answers when the batch is durable, or has not happened.
    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Outcome>>;

    /// Answers when all earlier commits are on disk.
    fn sync(&self) -> BoxFuture<'_, Result<()>>;

    /// Finishes what was accepted, syncs, and refuses every later commit.
    fn close(&self) -> BoxFuture<'_, Result<()>>;

    /// The groups of commits behind `after`, at most `limit` of them, oldest first; none when there are none yet. An engine need not keep any.
    ///
    /// # Errors
    /// `store.feed_lagged` when they are not kept any more.
    fn changes(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Change>>> {
        let _ = limit;
        ready(Err(lagged(after))).boxed()
    }

    /// The number of the last group of commits that was acknowledged; 0 where none are numbered.
    fn seq(&self) -> u64 {
        0
    }

    fn health(&self) -> Health;

    /// Bytes on disk; 0 for an engine without one.
    fn disk_bytes(&self) -> u64;
}

fn lagged(after: u64) -> Error {
    Error::conflict("store.feed_lagged", format!("the changes behind group {after} are not kept any more"))
        .hint("read everything again, then follow from there")
}

fn closed() -> Error {
    Error::busy("store.closed", "the server is shutting down and takes no more writes")
        .hint("send the request again when it is back")
}
