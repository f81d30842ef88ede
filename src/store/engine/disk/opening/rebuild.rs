//! Making a database out of the other copy: a checkpoint, and the journal behind it. Repair, compaction, restore and the proof of a backup
//! are all this.

use std::path::Path;

use super::recovery::refuse_format;
use crate::base::{Error, Result, Time};
use crate::store::Progress;
use crate::store::engine::disk::census::Census;
use crate::store::engine::disk::checkpoint::{self, Item, Lock};
use crate::store::engine::disk::database::{Database, Meta, as_write};
use crate::store::engine::disk::journal::{End, Entry, Reader, StoreId};
use crate::store::engine::{MAX_GROUP_BYTES, MAX_GROUP_OPS};

/// Bytes written between two syncs while a database is filled, so that the last sync has little left to do.
const SYNC_EVERY: usize = 64 << 20;

/// Groups between two steps of progress.
const STEP: u64 = 512;

/// A database being brought to some group of a store's history.
pub struct Rebuild {
    pub database: Database,
    pub store: StoreId,
    pub seq: u64,
    /// What the rows add up to by our own count.
    pub census: Census,
    /// What they should add up to by the records of the commits.
    pub expected: Census,
    /// Whether the database says what it holds. A new one does not until it is to be used: what an interrupted repair leaves is no database.
    speaks: bool,
}

impl Rebuild {
    /// An empty database in `folder`, which must be new.
    ///
    /// # Errors
    /// Those of opening it.
    pub fn new(folder: &Path, store: StoreId, page_cache_bytes: u64) -> Result<Self> {
        let database = Database::open(folder, page_cache_bytes)?;
        Ok(Self { database, store, seq: 0, census: Census::default(), expected: Census::default(), speaks: false })
    }

    /// Goes on with a database that holds what its meta row says.
    pub fn resume(database: Database, meta: Meta) -> Self {
        let (expected, census) = (meta.census.clone(), meta.census);
        Self { database, store: meta.store, seq: meta.seq, expected, census, speaks: true }
    }

    /// Fills the empty database from a checkpoint.
    ///
    /// # Errors
    /// `checkpoint.*` when it is damaged or locked, `store.newer`; faults of sled.
    pub fn load(&mut self, path: &Path, lock: Option<&Lock>, progress: &Progress) -> Result<()> {
        let mut reader = checkpoint::Reader::open(path, lock)?;
        refuse_format(reader.head().schema)?;
        self.store = reader.head().store;
        let mut filler = Filler::default();
        let mut rows = 0;
        loop {
            match reader.next()? {
                Some(Item::Row(key, value)) => {
                    filler.push(key, value, &self.database, &mut self.census)?;
                    rows += 1;
                    if rows % (STEP * 8) == 0 {
                        progress.step("loading", rows, 0);
                    }
                }
                Some(Item::Entry(entry)) => {
                    filler.flush(&self.database, &mut self.census)?;
                    self.apply(&entry)?;
                }
                Some(Item::End(end)) => {
                    filler.flush(&self.database, &mut self.census)?;
                    self.seq = end.seq;
                    self.expected = end.census;
                    return Ok(());
                }
                None => return Err(Error::broken("checkpoint.cut_short", "a checkpoint without its end")),
            }
        }
    }

    /// Applies the journal behind what is there: up to `until`, or all of it.
    ///
    /// # Errors
    /// Faults of the disk and of sled. Damage of the journal is no error; see [`End`].
    pub fn replay(&mut self, reader: &mut Reader, until: Option<Time>, progress: &Progress) -> Result<u64> {
        let mut replayed = 0;
        while let Some(entry) = reader.next()? {
            if until.is_some_and(|until| entry.at > until) {
                break;
            }
            self.apply(&entry)?;
            self.seq = entry.seq;
            self.expected.update(&entry.census);
            replayed += 1;
            if replayed % STEP == 0 {
                progress.step("replaying", replayed, 0);
            }
        }
        Ok(replayed)
    }

    fn apply(&mut self, entry: &Entry) -> Result<()> {
        let prepared = self.database.prepare(entry.rows.iter().map(as_write), &self.census)?;
        self.census.clone_from(&prepared.census);
        match self.speaks {
            true => self.database.apply(prepared, self.store, entry.seq),
            false => self.database.apply_rows(prepared),
        }
    }

    /// Reads everything back and compares it with what it should be.
    ///
    /// # Errors
    /// `store.damaged` when it does not agree; faults of sled.
    pub fn prove(&mut self, progress: &Progress) -> Result<()> {
        self.census = self.database.count(&self.expected, progress)?;
        self.agree()
    }

    /// Compares what the rows add up to with what they should, without reading them again.
    ///
    /// # Errors
    /// `store.damaged`.
    pub fn agree(&self) -> Result<()> {
        let differ = || Error::broken("store.damaged", differences(&self.expected, &self.census));
        if self.census == self.expected { Ok(()) } else { Err(differ()) }
    }

    /// Lets the database say what it holds, and makes all of it durable.
    ///
    /// # Errors
    /// `store.disk_full`, `store.disk_failed`.
    pub fn finish(&mut self) -> Result<()> {
        self.database.set_meta(&Meta { store: self.store, seq: self.seq, census: self.census.clone() })?;
        self.speaks = true;
        self.database.make_durable()
    }
}

/// Which tables do not agree, for the log.
pub fn differences(expected: &Census, found: &Census) -> String {
    let mut prefixes: Vec<[u8; 2]> = expected.tables().chain(found.tables()).map(|(prefix, _)| prefix).collect();
    prefixes.dedup();
    prefixes.sort_unstable();
    prefixes.dedup();
    let tables = prefixes.iter().filter(|prefix| expected.table(**prefix) != found.table(**prefix));
    let shown: Vec<String> = tables
        .map(|prefix| {
            let (expected, found) = (expected.table(*prefix), found.table(*prefix));
            format!("{}: {} rows expected, {} found", prefix.escape_ascii(), expected.rows, found.rows)
        })
        .collect();
    format!("tables do not add up: {}", shown.join("; "))
}

/// Rows on their way into an empty database, in batches.
#[derive(Default)]
pub struct Filler {
    rows: Vec<(bytes::Bytes, bytes::Bytes)>,
    bytes: usize,
    unsynced: usize,
}

impl Filler {
    pub fn push(
        &mut self,
        key: bytes::Bytes,
        value: bytes::Bytes,
        database: &Database,
        census: &mut Census,
    ) -> Result<()> {
        self.bytes += key.len() + value.len();
        self.rows.push((key, value));
        if self.rows.len() < MAX_GROUP_OPS && self.bytes < MAX_GROUP_BYTES {
            return Ok(());
        }
        self.flush(database, census)
    }

    pub fn flush(&mut self, database: &Database, census: &mut Census) -> Result<()> {
        database.fill(&self.rows, census)?;
        self.unsynced += self.bytes;
        if self.unsynced >= SYNC_EVERY {
            database.make_durable()?;
            self.unsynced = 0;
        }
        self.rows.clear();
        self.bytes = 0;
        Ok(())
    }
}

/// Where the journal stopped, for the log.
pub fn how_it_ended(end: &End) -> Option<String> {
    match end {
        End::Complete => None,
        End::TornTail | End::TornEverywhere => Some("the last record was being written".to_owned()),
        End::Unproven => Some("the end of the journal is missing".to_owned()),
        End::Gap { missing_from, .. } => Some(format!("group {missing_from} is in no copy of the journal")),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::base::Clock;
    use crate::store::engine::Row;
    use crate::store::engine::disk::checkpoint::{Head, Writer};

    /// Rows of a checkpoint may be younger than some of its entries: in between they are no state the store ever was in.
    #[test]
    fn a_database_says_what_it_holds_only_when_it_is_complete() {
        let dir = tempfile::tempdir().unwrap();
        let (path, store) = (dir.path().join("one.ckp"), StoreId([3; 16]));
        let head = Head { store, schema: crate::store::engine::disk::FORMAT, created: Clock::system().now(), start: 4 };
        let rows = [(Bytes::from("aa1"), Bytes::from("later")), (Bytes::from("aa2"), Bytes::from("later"))];
        let census: Census = rows.iter().cloned().collect();
        let mut writer = Writer::create(&path, head, None).unwrap();
        rows.iter().for_each(|(key, value)| writer.row(key, value).unwrap());
        let row = |at: usize| Row { key: rows[at].0.clone(), value: Some(rows[at].1.clone()) };
        for (seq, at) in [(5, 0), (6, 1)] {
            let entry = Entry { seq, at: Time(0), rows: vec![row(at)], census: census.tables().collect() };
            writer.entry(&entry).unwrap();
        }
        writer.complete(6, Time(0), &census).unwrap().publish(&path).unwrap();
        let mut rebuild = Rebuild::new(&dir.path().join("db"), StoreId::default(), 1 << 20).unwrap();
        rebuild.load(&path, None, &Progress::silent()).unwrap();
        assert_eq!(rebuild.database.meta().unwrap(), None);
        rebuild.prove(&Progress::silent()).unwrap();
        rebuild.finish().unwrap();
        assert_eq!(rebuild.database.meta().unwrap(), Some(Meta { store, seq: 6, census }));
    }
}
