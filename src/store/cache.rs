//! The record cache: encoded rows by raw key, absent rows included, bounded by bytes. A hit costs no await and no thread hop.
//!
//! Commits update it before they are acknowledged. A reader that fetched a row just before a commit changed it must not put the old row
//! back afterwards, so each stripe of keys counts its commits, and a fetched row is only kept if the count has not moved since.

use std::array;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use foldhash::fast::RandomState;

use super::engine::Row;

const STRIPES: usize = 64;

/// What an entry costs beside its bytes: moka's node, its place in two queues, and two `Bytes` handles. An estimate, in bytes.
const ENTRY_OVERHEAD: usize = 200;

pub(super) struct Cache {
    rows: moka::sync::Cache<Bytes, Option<Bytes>, RandomState>,
    stripes: [Mutex<u64>; STRIPES],
}

/// Whether a row that was just written is likely to be read soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Soon {
    Read,
    Unknown,
}

/// Taken before a row is fetched; says whether the row may still be kept.
#[derive(Clone, Copy)]
pub(super) struct Ticket(u64);

impl Cache {
    /// `max_bytes` 0 keeps nothing.
    pub fn new(max_bytes: u64) -> Self {
        let weigh = |key: &Bytes, value: &Option<Bytes>| {
            let bytes = key.len() + value.as_ref().map_or(0, Bytes::len) + ENTRY_OVERHEAD;
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        let rows = moka::sync::Cache::builder()
            .max_capacity(max_bytes)
            .weigher(weigh)
            .build_with_hasher(RandomState::default());
        Self { rows, stripes: array::from_fn(|_| Mutex::new(0)) }
    }

    /// `Some(None)` is a row known to be absent.
    #[allow(clippy::option_option)]
    pub fn get(&self, key: &[u8]) -> Option<Option<Bytes>> {
        self.rows.get(key)
    }

    pub fn ticket(&self, key: &[u8]) -> Ticket {
        Ticket(*self.stripe(key))
    }

    /// Keeps a fetched row unless a commit has touched its stripe since `ticket`.
    pub fn fill(&self, ticket: Ticket, key: Bytes, value: Option<Bytes>) {
        let commits = self.stripe(&key);
        if *commits == ticket.0 {
            self.rows.insert(key, value);
        }
    }

    /// Takes over a committed row, if the row is in demand, or about to be: one that nobody reads does not push out others.
    pub fn commit(&self, row: &Row, soon: Soon) {
        let mut commits = self.stripe(&row.key);
        *commits += 1;
        let wanted = soon == Soon::Read && row.value.is_some();
        if wanted || self.rows.contains_key(&row.key) {
            self.rows.insert(row.key.clone(), row.value.clone());
        }
    }

    /// Entries and their bytes.
    pub fn size(&self) -> (u64, u64) {
        (self.rows.entry_count(), self.rows.weighted_size())
    }

    fn stripe(&self, key: &[u8]) -> MutexGuard<'_, u64> {
        // FNV-1a: keys are short, and a poor spread only costs a few refused fills.
        let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        self.stripes[(hash >> 32) as usize % STRIPES].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    #[test]
    fn a_slow_reader_does_not_bring_an_old_row_back() {
        let cache = Cache::new(1 << 20);
        let ticket = cache.ticket(b"k");
        cache.commit(&Row { key: bytes("k"), value: Some(bytes("new")) }, Soon::Unknown);
        cache.fill(ticket, bytes("k"), Some(bytes("old")));
        assert_eq!(cache.get(b"k"), None);
        cache.fill(cache.ticket(b"k"), bytes("k"), Some(bytes("new")));
        assert_eq!(cache.get(b"k"), Some(Some(bytes("new"))));
    }

    #[test]
    fn commits_update_rows_in_demand_only() {
        let cache = Cache::new(1 << 20);
        cache.fill(cache.ticket(b"seen"), bytes("seen"), None);
        assert_eq!(cache.get(b"seen"), Some(None));
        cache.commit(&Row { key: bytes("seen"), value: Some(bytes("1")) }, Soon::Unknown);
        cache.commit(&Row { key: bytes("unseen"), value: Some(bytes("1")) }, Soon::Unknown);
        cache.commit(&Row { key: bytes("soon"), value: Some(bytes("1")) }, Soon::Read);
        cache.commit(&Row { key: bytes("gone"), value: None }, Soon::Read);
        assert_eq!(cache.get(b"seen"), Some(Some(bytes("1"))));
        assert_eq!(cache.get(b"unseen"), None);
        assert_eq!(cache.get(b"soon"), Some(Some(bytes("1"))));
        assert_eq!(cache.get(b"gone"), None);
    }

    #[test]
    fn it_stays_within_its_bytes() {
        let cache = Cache::new(64 * 1024);
        for n in 0..5_000u32 {
            let key = Bytes::copy_from_slice(&n.to_be_bytes());
            cache.fill(cache.ticket(&key), key.clone(), Some(Bytes::from(vec![0; 1000])));
        }
        cache.rows.run_pending_tasks();
        assert!(cache.size().1 <= 64 * 1024, "{:?}", cache.size());
    }
}
