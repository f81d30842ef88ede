//! Writing a checkpoint of a store that may be in use: every row as a scan meets it, then the groups that were committed meanwhile. Applied
//! in that order they give exactly the last of those groups, because a group says what its rows are, not how they change.

use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::base::{Clock, Error, Result, Time};
use crate::store::engine::disk::census::Census;
use crate::store::engine::disk::checkpoint::{Finished, Head, Lock, Writer};
use crate::store::engine::disk::envelope::FIRST;
use crate::store::engine::disk::journal::{End, Reader, StoreId};
use crate::store::engine::{Order, Span};
use crate::store::{MAX_PAGE, Progress};

/// The last group that counts, and what the store adds up to with it.
#[derive(Debug, Clone, Default)]
pub struct Ledger {
    pub seq: u64,
    pub at: Time,
    pub census: Census,
}

/// Reads at most so many rows of a span.
pub type Pages<'a> = dyn Fn(&Span, usize) -> Result<Vec<(Bytes, Bytes)>> + 'a;

/// What to write down.
pub struct Capture<'a> {
    pub store: StoreId,
    /// Everything up to here is in the rows.
    pub start: Ledger,
    /// One page of rows, none of which shows half a batch.
    pub page: &'a Pages<'a>,
    /// Waits until all that was in the pages is durable, and says which group is the last that is.
    pub durable: &'a dyn Fn() -> Result<u64>,
    pub journals: &'a [PathBuf],
    pub clock: &'a Clock,
}

impl Capture<'_> {
    /// Writes a checkpoint beside `path`, complete and on disk, but without its name.
    ///
    /// # Errors
    /// `store.disk_full`; faults of the store.
    pub fn write(self, path: &Path, lock: Option<&Lock>, progress: &Progress) -> Result<Finished> {
        let Ledger { seq, mut at, mut census } = self.start;
        let head = Head {
            store: self.store,
            schema: crate::store::engine::disk::FORMAT,
            created: self.clock.now(),
            start: seq,
        };
        let mut writer = Writer::create(path, head, lock)?;
        let total = census.total().rows;
        let mut span = Span { low: Bytes::from_static(FIRST), high: None, order: Order::Rising };
        let mut rows = 0;
        loop {
            let page = (self.page)(&span, MAX_PAGE)?;
            page.iter().try_for_each(|(key, value)| writer.row(key, value))?;
            rows += page.len() as u64;
            progress.step("writing", rows, total);
            match page.last() {
                Some((last, _)) if page.len() == MAX_PAGE => span.low = [&last[..], &[0]].concat().into(),
                _ => break,
            }
        }
        let end = (self.durable)()?;
        let mut reached = seq;
        if end > seq {
            let mut reader = Reader::open(self.journals, self.store, seq)?.upto(end);
            while let Some(entry) = reader.next()? {
                writer.entry(&entry)?;
                census.update(&entry.census);
                (reached, at) = (entry.seq, entry.at);
            }
            if reached != end {
                let why = match reader.end() {
                    End::Gap { missing_from, .. } => format!("group {missing_from} is in no copy of the journal"),
                    _ => format!("the journal ends at group {reached}, not {end}"),
                };
                return Err(Error::broken("store.damaged", why));
            }
        }
        writer.complete(reached, at, &census)
    }
}
