//! One sled database with our rows in it: wrapped and checked values, parts of large ones, and the row that says what it all adds up to.

use std::ops::Bound;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use sled::IVec;

use super::census::{self, Census, Tally};
use super::envelope::{self, FIRST, Head, META, PART, PARTS, damaged, part_key};
use super::files::{Files, failure};
use crate::base::{Error, Result, panics};
use crate::store::Progress;
use crate::store::engine::disk::guarded;
use crate::store::engine::disk::journal::StoreId;
use crate::store::engine::disk::recovery::refuse_format;
use crate::store::engine::{Order, Row, Span};
use crate::store::table::PREFIX;

/// Rows between two steps of progress.
const STEP: u64 = 4096;

/// What a database holds, written with every batch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Meta {
    pub store: StoreId,
    /// The last group that was applied.
    pub seq: u64,
    pub census: Census,
}

/// A group as sled will write it, and what the store adds up to after it.
pub struct Prepared {
    batch: sled::Batch,
    /// Of every table.
    pub census: Census,
    /// Of the tables that the group changes.
    pub touched: Vec<([u8; PREFIX], Tally)>,
}

pub struct Database {
    files: Files,
}

impl Database {
    /// Opens or creates the database in `path`. Blocks: replaying a large log takes seconds.
    ///
    /// # Errors
    /// `store.open_failed`, `store.disk_full`, `store.disk_failed`.
    pub fn open(path: &Path, page_cache_bytes: u64) -> Result<Self> {
        Files::open(path, page_cache_bytes).map(|files| Self { files })
    }

    /// What it holds; none while it is being filled.
    ///
    /// # Errors
    /// `store.damaged`, `store.newer`; faults of sled.
    pub fn meta(&self) -> Result<Option<Meta>> {
        let Some(stored) = self.raw(META)? else { return Ok(None) };
        let value = envelope::open(META, &stored, |_, _| Ok(()))?;
        value.first_chunk().map_or(Ok(()), |format| refuse_format(u16::from_le_bytes(*format)))?;
        Meta::decode(&value).map(Some).ok_or_else(|| damaged(META, "it says nothing we know"))
    }

    /// Says what it holds; durable after [`Database::make_durable`].
    ///
    /// # Errors
    /// Faults of sled.
    pub fn set_meta(&self, meta: &Meta) -> Result<()> {
        let mut batch = sled::Batch::default();
        insert_meta(&mut batch, meta);
        self.files.db.apply_batch(batch).map_err(|e| failure("writing what the database holds", e))
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<Bytes>> {
        self.raw(key)?.map(|stored| self.open_row(key, &stored)).transpose()
    }

    /// The value of a row that lies in one piece; `Err` with the row's bytes when it lies in parts.
    pub fn get_whole(&self, key: &[u8]) -> Result<Option<Option<Bytes>>> {
        let Some(stored) = self.raw(key)? else { return Ok(Some(None)) };
        if Head::read(key, &stored)?.parts > 0 {
            return Ok(None);
        }
        Ok(Some(Some(self.open_row(key, &stored)?)))
    }

    /// Whether `key` holds exactly `expected`.
    pub fn holds(&self, key: &[u8], expected: Option<&[u8]>) -> Result<bool> {
        let found = self.raw(key)?;
        let (Some(stored), Some(expected)) = (&found, expected) else {
            return Ok(found.is_none() && expected.is_none());
        };
        let head = Head::read(key, stored)?;
        if head.bytes != expected.len() {
            return Ok(false);
        }
        if head.parts == 0 {
            return Ok(stored[1..=head.bytes] == *expected);
        }
        Ok(self.open_row(key, stored)? == expected)
    }

    /// The first `limit` rows of `span`.
    pub fn rows(&self, span: &Span, limit: usize) -> Result<Vec<(Bytes, Bytes)>> {
        let high = span.high.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.files.db.range::<&[u8], _>((Bound::Included(&span.low[..]), high));
        let owned = |row: sled::Result<(IVec, IVec)>| {
            let (key, stored) = row.map_err(|e| failure("scanning", e))?;
            let value = self.open_row(&key, &stored)?;
            Ok((Bytes::copy_from_slice(&key), value))
        };
        match span.order {
            Order::Rising => range.take(limit).map(owned).collect(),
            Order::Falling => range.rev().take(limit).map(owned).collect(),
        }
    }

    /// Works out what sled has to do for `writes`, each key once, on top of `before`. Changes nothing.
    ///
    /// The rows that go are checked first: what a damaged one took out of the census would make every later count of either copy wrong, and
    /// nobody could tell any more which of them is to be trusted.
    ///
    /// # Errors
    /// `store.damaged`; faults of sled.
    pub fn prepare<'a>(
        &self,
        writes: impl Iterator<Item = (&'a Bytes, &'a Option<Bytes>)>,
        before: &Census,
    ) -> Result<Prepared> {
        let mut batch = sled::Batch::default();
        let mut census = before.clone();
        let mut touched: Vec<[u8; PREFIX]> = Vec::new();
        let mut wrapped = Vec::new();
        for (key, value) in writes {
            let old = self.raw(key)?.map(|stored| self.proven_head(key, &stored)).transpose()?;
            let new = value.as_ref().map(|value| Head::of(key, value));
            if let Some(old) = old {
                census.remove(key, old.bytes, old.check);
            }
            let kept = new.map_or(0, |new| new.parts);
            (kept..old.map_or(0, |old| old.parts)).for_each(|number| batch.remove(part_key(key, number)));
            match (new, value) {
                (Some(new), Some(value)) => {
                    census.add(key, new.bytes, new.check);
                    insert(&mut batch, key, value, &new, &mut wrapped);
                }
                _ => batch.remove(key.as_ref()),
            }
            let prefix = census::prefix(key);
            if !touched.contains(&prefix) {
                touched.push(prefix);
            }
        }
        let touched = touched.into_iter().map(|prefix| (prefix, census.table(prefix))).collect();
        Ok(Prepared { batch, census, touched })
    }

    /// Applies what was prepared as group `seq`: in memory and in sled's log buffer; durable after [`Database::make_durable`].
    ///
    /// # Errors
    /// Faults of sled.
    pub fn apply(&self, prepared: Prepared, store: StoreId, seq: u64) -> Result<()> {
        let Prepared { mut batch, census, .. } = prepared;
        insert_meta(&mut batch, &Meta { store, seq, census });
        self.files.db.apply_batch(batch).map_err(|e| failure("applying a batch", e))
    }

    /// As [`Database::apply`], in a database that does not say yet what it holds.
    ///
    /// # Errors
    /// Faults of sled.
    pub fn apply_rows(&self, prepared: Prepared) -> Result<()> {
        self.files.db.apply_batch(prepared.batch).map_err(|e| failure("applying a batch", e))
    }

    /// Writes rows into a database that has none of them, and counts them.
    ///
    /// # Errors
    /// Faults of sled.
    pub fn fill(&self, rows: &[(Bytes, Bytes)], census: &mut Census) -> Result<()> {
        let mut batch = sled::Batch::default();
        let mut wrapped = Vec::new();
        for (key, value) in rows {
            let head = Head::of(key, value);
            census.add(key, head.bytes, head.check);
            insert(&mut batch, key, value, &head, &mut wrapped);
        }
        self.files.db.apply_batch(batch).map_err(|e| failure("filling the database", e))
    }

    /// Reads every row, holds it against its check, and adds all up. Takes about a second per million rows.
    ///
    /// # Errors
    /// `store.damaged`; faults of sled. sled may panic, too.
    pub fn count(&self, expected: &Census, progress: &Progress) -> Result<Census> {
        let total = expected.total().rows;
        let done = AtomicU64::new(0);
        let middle = halfway(expected);
        let (low, high) = std::thread::scope(|scope| {
            let (done, middle) = (&done, middle.as_slice());
            let upper = scope.spawn(move || guarded(|| self.count_range(middle, None, (done, total), &|_| ())));
            let lower =
                self.count_range(FIRST, Some(middle), (done, total), &|done| progress.step("checking", done, total));
            (lower, upper.join())
        });
        let (mut census, mut parts) = low?;
        let (upper, more) =
            high.map_err(|panic| Error::broken("store.panicked", panics::message(panic.as_ref())))??;
        census.merge(&upper);
        parts += more;
        // An iterator of sled that has failed fails again for ever: the first error ends the count.
        let mut found = self.files.db.range(PARTS..PARTS_END).take(parts as usize + 1);
        let stored = found.try_fold(0, |count, part| part.map(|_| count + 1));
        let stored: u64 = stored.map_err(|e| failure("counting parts", e))?;
        if stored != parts {
            return Err(damaged(PARTS, &format!("{stored} parts of values are there, {parts} belong to rows")));
        }
        Ok(census)
    }

    fn count_range(
        &self,
        low: &[u8],
        high: Option<&[u8]>,
        (done, most): (&AtomicU64, u64),
        step: &dyn Fn(u64),
    ) -> Result<(Census, u64)> {
        let mut census = Census::default();
        let mut parts = 0;
        let high = high.map_or(Bound::Unbounded, Bound::Excluded);
        for (number, row) in (1u64..).zip(self.files.db.range::<&[u8], _>((Bound::Included(low), high))) {
            let (key, stored) = row.map_err(|e| failure("checking", e))?;
            if number > most {
                return Err(damaged(&key, "there are more rows than were written"));
            }
            let head = self.proven_head(&key, &stored)?;
            parts += u64::from(head.parts);
            census.add(&key, head.bytes, head.check);
            if number % STEP == 0 {
                step(done.fetch_add(STEP, Ordering::Relaxed) + STEP);
            }
        }
        Ok((census, parts))
    }

    /// Everything applied so far is on disk when this returns.
    ///
    /// # Errors
    /// `store.disk_full`, `store.disk_failed`.
    pub fn make_durable(&self) -> Result<()> {
        self.files.make_durable()
    }

    pub fn disk_bytes(&self) -> u64 {
        self.files.db.size_on_disk().unwrap_or(0)
    }

    #[cfg(test)]
    pub fn damage_for_test(&self, key: &[u8], at: impl Fn(usize) -> usize) -> Result<()> {
        let mut stored = self.raw(key)?.unwrap_or_default().to_vec();
        let at = at(stored.len());
        stored[at] ^= 1;
        self.files.db.insert(key, stored).map(drop).map_err(|e| failure("damaging", e))
    }

    /// The head of a row, all of which was checked.
    fn proven_head(&self, key: &[u8], stored: &[u8]) -> Result<Head> {
        let head = Head::read(key, stored)?;
        if head.parts > 0 {
            self.open_row(key, stored)?;
        } else {
            head.prove(key, &stored[1..=head.bytes])?;
        }
        Ok(head)
    }

    fn raw(&self, key: &[u8]) -> Result<Option<IVec>> {
        self.files.db.get(key).map_err(|e| failure("reading", e))
    }

    fn open_row(&self, key: &[u8], stored: &[u8]) -> Result<Bytes> {
        envelope::open(key, stored, |number, out| {
            let part = self.raw(&part_key(key, number))?.ok_or_else(|| damaged(key, "a part of it is missing"))?;
            out.extend_from_slice(&part);
            Ok(())
        })
    }
}

/// Behind the last part's key.
const PARTS_END: &[u8] = &[0, b'p' + 1];

fn insert(batch: &mut sled::Batch, key: &[u8], value: &[u8], head: &Head, wrapped: &mut Vec<u8>) {
    head.write(value, wrapped);
    batch.insert(key, &wrapped[..]);
    if head.parts > 0 {
        for (number, part) in (0u16..).zip(value.chunks(PART)) {
            batch.insert(part_key(key, number), part);
        }
    }
}

fn insert_meta(batch: &mut sled::Batch, meta: &Meta) {
    let value = meta.encode();
    let mut wrapped = Vec::new();
    // Bounded by the number of tables, far below what needs parts.
    Head { parts: 0, ..Head::of(META, &value) }.write(&value, &mut wrapped);
    batch.insert(META, wrapped);
}

/// The first key of the table in the middle, so that two threads have about equally many rows to count.
fn halfway(census: &Census) -> Vec<u8> {
    let half = census.total().rows / 2;
    let mut rows = 0;
    let middle = census.tables().find(|(_, tally)| {
        rows += tally.rows;
        rows > half
    });
    middle.map_or_else(|| vec![0xFF], |(prefix, _)| prefix.to_vec())
}

impl Meta {
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(512);
        out.extend_from_slice(&crate::store::engine::disk::FORMAT.to_le_bytes());
        out.extend_from_slice(&self.store.0);
        out.extend_from_slice(&self.seq.to_le_bytes());
        census::encode(self.census.tables(), &mut out);
        out
    }

    /// Reads what [`Meta::encode`] wrote; none when it is something else.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let (format, rest) = bytes.split_first_chunk::<2>()?;
        let (store, rest) = rest.split_first_chunk::<16>()?;
        let (seq, rest) = rest.split_first_chunk::<8>()?;
        bytes = rest;
        let mut census = Census::default();
        census.update(&census::decode(&mut bytes)?);
        let known = u16::from_le_bytes(*format) == crate::store::engine::disk::FORMAT && bytes.is_empty();
        known.then(|| Self { store: StoreId(*store), seq: u64::from_le_bytes(*seq), census })
    }
}

/// One row of a group as the journal keeps it.
pub fn as_write(row: &Row) -> (&Bytes, &Option<Bytes>) {
    (&row.key, &row.value)
}
