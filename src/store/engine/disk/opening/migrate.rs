//! Lifting a store of an older format, beside and with a backup, so that a start of a newer program is safe to interrupt and to undo.
//!
//! Format 1 was sled alone, directly in the store's folder, with values as they are. It becomes a database of the current format; its rows
//! are also written into a backup first, and counted again when all is done. Its files stay until then, and go last.

use std::fs;
use std::path::PathBuf;

use bytes::Bytes;

use super::marker::Marker;
use super::place::{Place, remove};
use super::rebuild::{Filler, Rebuild};
use super::recovery::Surroundings;
use crate::base::{Error, Result};
use crate::store::dir::create_private;
use crate::store::engine::disk::capture::{Capture, Ledger};
use crate::store::engine::disk::census::{Census, check};
use crate::store::engine::disk::checkpoint;
use crate::store::engine::disk::files::{Files, disk_failure, failure};
use crate::store::engine::disk::journal::StoreId;

/// sled's own files in a store of format 1. The log is last: while it is there, the store is of format 1.
const OLD_FILES: [&str; 3] = ["blobs", "conf", "db"];

/// What was lifted counts as the first group: so the journal does not go back to the beginning, and a checkpoint is written at once.
const LIFTED: u64 = 1;

/// Whether the store is of format 1.
pub fn is_old(place: &Place) -> bool {
    place.root().join("db").is_file()
}

/// Makes a store of the current format out of one of format 1. With a marker that was already done, and only the old files were left to go;
/// some of them may be gone.
///
/// # Errors
/// `store.disk_full`; `store.open_failed` when the old store does not open; `store.damaged` when the new one does not agree with it.
pub fn lift(at: &Surroundings, marker: Option<&Marker>) -> Result<()> {
    if marker.is_none() {
        rewrite(at)?;
    }
    let removed = old_files(&at.place).iter().try_for_each(|path| remove(path));
    removed.map_err(|e| disk_failure("removing the old store", &e))
}

fn rewrite(at: &Surroundings) -> Result<()> {
    tracing::info!("the store is of format 1; lifting it to format {}", crate::store::engine::disk::FORMAT);
    let old = Files::open(at.place.root(), at.settings.page_cache_bytes)?;
    let mut census = Census::default();
    for row in old.db.iter() {
        let (key, value) = row.map_err(|e| failure("reading the old store", e))?;
        census.add(&key, value.len(), check(&key, &value));
    }
    let store = StoreId::random()?;
    let backup = back_up(at, &old, store, &census)?;
    tracing::info!(backup = %backup.display(), rows = census.total().rows, "the old store was backed up");

    let folder = at.place.database(1);
    remove(&folder).map_err(|e| disk_failure("removing an unfinished database", &e))?;
    let mut rebuild = Rebuild::new(&folder, store, at.settings.page_cache_bytes)?;
    let mut filler = Filler::default();
    for row in old.db.iter() {
        let (key, value) = row.map_err(|e| failure("reading the old store", e))?;
        let (key, value) = (Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value));
        filler.push(key, value, &rebuild.database, &mut rebuild.census)?;
    }
    filler.flush(&rebuild.database, &mut rebuild.census)?;
    (rebuild.seq, rebuild.expected) = (LIFTED, census);
    rebuild.prove(&at.progress)?;
    rebuild.finish()?;
    at.mark(store, 1, LIFTED, true)
}

/// What is to go, the log last.
fn old_files(place: &Place) -> Vec<PathBuf> {
    let entries = fs::read_dir(place.root()).into_iter().flatten().flatten().map(|entry| entry.path());
    let snapshots =
        entries.filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("snap.")));
    snapshots.chain(OLD_FILES.iter().map(|name| place.root().join(name))).collect()
}

fn back_up(at: &Surroundings, old: &Files, store: StoreId, census: &Census) -> Result<PathBuf> {
    create_private(&at.backups).map_err(|e| disk_failure("creating the backups folder", &e))?;
    let path = at.backups.join("grps-before-format-2.ckp");
    let page = |span: &crate::store::engine::Span, limit: usize| {
        let range = old.db.range::<&[u8], _>(&span.low[..]..);
        let owned = |row: sled::Result<(sled::IVec, sled::IVec)>| {
            let (key, value) = row.map_err(|e| failure("reading the old store", e))?;
            Ok((Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
        };
        range.take(limit).map(owned).collect()
    };
    let start = Ledger { seq: LIFTED, at: at.clock.now(), census: census.clone() };
    let capture = Capture { store, start, page: &page, durable: &|| Ok(LIFTED), journals: &[], clock: &at.clock };
    let written = capture.write(&path, at.lock.as_ref(), &at.progress)?;
    let info = checkpoint::verify(&written.info().path, at.lock.as_ref(), &at.progress)?;
    written.publish(&path)?;
    if info.rows != census.total().rows {
        return Err(Error::broken("store.damaged", "the backup of the old store has other rows than the store"));
    }
    Ok(path)
}
