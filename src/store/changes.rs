//! Following the changes: whoever copies the store elsewhere reads them by number, and notes how far it has come under a name. The store keeps
//! what has not been read, within a bound; who lags further reads everything again.

use bytes::Bytes;

use super::engine::{Order, Span};
use super::{Change, Store, Table, record};
use crate::base::Result;

/// How far each follower has come, by its name.
pub static CURSORS: Table<String, u64> = Table::new("change_cursors", *b"cc");

/// The span of [`CURSORS`].
pub(super) fn cursors() -> Span {
    let [first, last] = CURSORS.prefix();
    Span {
        low: Bytes::copy_from_slice(&[first, last]),
        high: Some(Bytes::copy_from_slice(&[first, last + 1])),
        order: Order::Rising,
    }
}

/// The least of the cursors in `rows`.
pub(super) fn slowest(rows: &[(Bytes, Bytes)]) -> Option<u64> {
    rows.iter().filter_map(|(_, value)| record::decode::<u64>(value).ok()).min()
}

impl Store {
    /// The groups of commits behind `after`, at most `limit` of them, oldest first; none when there are none yet.
    ///
    /// # Errors
    /// `store.feed_lagged` when they are not kept any more: read everything again, and follow from a [`Store::seq`] taken before that.
    pub async fn changes(&self, after: u64, limit: usize) -> Result<Vec<Change>> {
        self.0.engine.changes(after, limit).await
    }

    /// The number of the last group of commits that was acknowledged.
    pub fn seq(&self) -> u64 {
        self.0.engine.seq()
    }

    /// How far the follower called `name` has come; none when there is no such follower.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub async fn cursor(&self, name: &str) -> Result<Option<u64>> {
        self.get(&CURSORS, &name.to_owned()).await
    }

    /// Notes how far the follower called `name` has come; with none it does not follow any more.
    ///
    /// # Errors
    /// As [`Store::transact`].
    pub async fn set_cursor(&self, name: &str, seq: Option<u64>) -> Result<()> {
        let name = &name.to_owned();
        let note = |tx: super::Tx| async move {
            match seq {
                Some(seq) => tx.put(&CURSORS, name, &seq),
                None => tx.delete(&CURSORS, name),
            }
            Ok(())
        };
        self.transact(note).await
    }
}
