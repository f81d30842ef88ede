//! What the format's tests share: contents, their model, and files made of them.

mod damage;
mod locks;
mod roundtrip;

use crate::store::engine::disk::journal::{Entry, StoreId};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use proptest::prelude::*;

use super::format::{MAX_ENTRY_ROWS, MAX_VALUE};
use super::*;
use crate::base::Result;
use crate::store::Progress;
use crate::store::engine::Row;
use crate::store::engine::disk::census::{Census, Tally};

const HEAD: Head =
    Head { schema: 7, store: StoreId(*b"the store's name"), created: Time(1_740_852_944_789), start: 40 };

/// A store as a checkpoint meets it.
#[derive(Debug, Clone, Default)]
struct Content {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The rows of each group behind the start.
    groups: Vec<Vec<Row>>,
}

impl Content {
    fn entries(&self) -> Vec<Entry> {
        let entry = |(seq, rows): (u64, &Vec<Row>)| Entry {
            seq,
            at: Time(seq as i64 * 10),
            rows: rows.clone(),
            census: vec![(*b"aa", Tally { rows: seq, bytes: 2, digest: u64::MAX })],
        };
        (HEAD.start + 1..).zip(&self.groups).map(entry).collect()
    }

    /// The store at the end.
    fn model(&self) -> BTreeMap<Bytes, Bytes> {
        let mut model: BTreeMap<Bytes, Bytes> =
            self.rows.iter().map(|(key, value)| (key.clone().into(), value.clone().into())).collect();
        self.groups.iter().flatten().for_each(|row| put(&mut model, row.clone()));
        model
    }

    fn census(&self) -> Census {
        self.model().into_iter().collect()
    }

    fn write(&self, path: &Path, lock: Option<&Lock>) -> Info {
        let writer = self.fill(path, lock);
        let end = HEAD.start + self.groups.len() as u64;
        finish(writer, path, end, &self.census())
    }

    /// A writer that was given everything but the end.
    fn fill(&self, path: &Path, lock: Option<&Lock>) -> Writer {
        let mut writer = Writer::create(path, HEAD, lock).unwrap();
        self.rows.iter().for_each(|(key, value)| writer.row(key, value).unwrap());
        self.entries().iter().for_each(|entry| writer.entry(entry).unwrap());
        writer
    }

    /// Every kind of chunk, each of few bytes.
    fn small() -> Self {
        let rows = [("aa1", "one"), ("aa2", "two"), ("bb1", "")].map(|(k, v)| (k.into(), v.into())).into();
        Self { rows, groups: vec![vec![row("aa1", None), row("cc", Some("new"))], vec![row("bb1", Some("changed"))]] }
    }

    /// Several chunks of rows and of entries, which do not compress.
    fn large() -> Self {
        let mut noise = fastrand::Rng::with_seed(1);
        let mut value = || std::iter::repeat_with(|| noise.u8(..)).take(50_000).collect::<Vec<_>>();
        let rows = (0..30).map(|n| (format!("aa{n:02}").into_bytes(), value())).collect();
        let groups = (0..15).map(|n| vec![Row { key: format!("bb{n}").into(), value: Some(value().into()) }]).collect();
        Self { rows, groups }
    }
}

fn put(model: &mut BTreeMap<Bytes, Bytes>, row: Row) {
    match row.value {
        Some(value) => drop(model.insert(row.key, value)),
        None => drop(model.remove(&row.key)),
    }
}

fn row(key: &str, value: Option<&str>) -> Row {
    Row { key: key.to_owned().into(), value: value.map(|value| value.to_owned().into()) }
}

/// Ends a file, and gives it the name it was created with.
fn finish(writer: Writer, path: &Path, end: u64, census: &Census) -> Info {
    writer.complete(end, Time(end as i64 * 10), census).unwrap().publish(path).unwrap()
}

fn key_lock() -> Lock {
    Lock::Key([9; 32])
}

fn file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.ckp");
    (dir, path)
}

fn check(path: &Path, lock: Option<&Lock>) -> Result<Info> {
    verify(path, lock, &Progress::silent())
}

/// The code that refuses the file.
fn refused(path: &Path, lock: Option<&Lock>) -> String {
    check(path, lock).unwrap_err().code().to_owned()
}

fn items(path: &Path, lock: Option<&Lock>) -> Result<Vec<Item>> {
    let mut reader = Reader::open(path, lock)?;
    std::iter::from_fn(|| reader.next().transpose()).collect()
}

/// Few keys, so that groups meet rows; values from none to several chunks' worth.
fn contents() -> impl Strategy<Value = Content> {
    let key =
        || ("[abc]{2}", prop::collection::vec(0u8..4, 0..3)).prop_map(|(table, id)| [table.as_bytes(), &id].concat());
    let value = || {
        prop_oneof![
            8 => prop::collection::vec(any::<u8>(), 0..40),
            1 => (any::<u8>(), 0usize..300_000).prop_map(|(byte, length)| vec![byte; length]),
        ]
    };
    let row = (key(), prop::option::weighted(0.7, value()))
        .prop_map(|(key, value)| Row { key: key.into(), value: value.map(Bytes::from) });
    let groups = prop::collection::vec(prop::collection::vec(row, 0..6), 0..8);
    (prop::collection::btree_map(key(), value(), 0..30), groups).prop_map(|(rows, groups)| Content { rows, groups })
}
