//! For fuzzing: what reads bytes from disk, as functions of bytes. What a bound or a checksum refuses is none or an error; nothing may panic.

use std::path::Path;

use bytes::Bytes;

use super::checkpoint::{self, Item, Lock};
use super::database::Meta;
use super::journal::StoreId;
use super::journal::record::{self, HEAD, Salt};
use super::journal::walk::Walk;
use super::{census, envelope};
use crate::base::{Error, Result};
use crate::store::Progress;

/// The store that all bytes here belong to.
pub const STORE: [u8; 16] = [7; 16];

/// A payload of the journal, decoded and encoded again.
pub fn record(payload: &[u8]) -> Option<Vec<u8>> {
    let entry = record::decode(payload)?;
    let rows = entry.rows.iter().map(|row| (&row.key, row.value.as_ref()));
    let mut out = Vec::new();
    record::encode(entry.seq, entry.at, rows, &entry.census, &mut out).ok()?;
    Some(out.split_off(HEAD))
}

/// The record with that payload, in the segment that begins with `first`.
pub fn sealed(first: u64, payload: &[u8]) -> Vec<u8> {
    let mut out = [&[0; HEAD], payload].concat();
    record::seal(&Salt::new(StoreId(STORE), first), &mut out);
    out
}

/// Where the records of a segment stand, and their seqs.
///
/// # Errors
/// None: memory always reads.
pub fn segment(bytes: &[u8], first: u64) -> std::io::Result<Vec<(u64, u64)>> {
    let mut walk = Walk::new(bytes, StoreId(STORE), first);
    walk.has_header()?;
    let mut found = Vec::new();
    loop {
        let offset = walk.offset();
        match walk.take()? {
            Some(entry) => found.push((offset, entry.seq)),
            None if walk.resync()? => {}
            None => return walk.is_blank().map(|_| found),
        }
    }
}

/// What was read of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    pub seq: u64,
    /// Of the store at `seq`.
    pub rows: u64,
}

/// Reads a checkpoint to its end.
///
/// # Errors
/// Those of reading.
pub fn read_checkpoint(path: &Path) -> Result<Checkpoint> {
    let mut reader = checkpoint::Reader::open(path, Some(&lock()))?;
    while let Some(item) = reader.next()? {
        if let Item::End(end) = item {
            return Ok(Checkpoint { seq: end.seq, rows: end.census.total().rows });
        }
    }
    Err(Error::broken("checkpoint.cut_short", "it has no end"))
}

/// Proves a checkpoint good.
///
/// # Errors
/// Those of proving.
pub fn verify_checkpoint(path: &Path) -> Result<Checkpoint> {
    let info = checkpoint::verify(path, Some(&lock()), &Progress::silent())?;
    Ok(Checkpoint { seq: info.seq, rows: info.rows })
}

/// Reads a checkpoint's first and last bytes.
///
/// # Errors
/// Those of reading.
pub fn inspect_checkpoint(path: &Path) -> Result<Checkpoint> {
    checkpoint::inspect(path).map(|info| Checkpoint { seq: info.seq, rows: info.rows })
}

fn lock() -> Lock {
    Lock::Key([7; 32])
}

/// The value that `stored` wraps; its parts, if it has any, are `parts`.
///
/// # Errors
/// `store.damaged`.
pub fn unwrapped(key: &[u8], stored: &[u8], parts: &[&[u8]]) -> Result<Bytes> {
    envelope::open(key, stored, |number, out| {
        let part = parts.get(usize::from(number));
        out.extend_from_slice(part.ok_or_else(|| envelope::damaged(key, "a part of it is missing"))?);
        Ok(())
    })
}

/// What lies under the row's own key, and the size of the parts that lie elsewhere, if there are any.
pub fn wrapped(key: &[u8], value: &[u8]) -> (Vec<u8>, Option<usize>) {
    let head = envelope::Head::of(key, value);
    let mut out = Vec::new();
    head.write(value, &mut out);
    (out, (head.parts > 0).then_some(envelope::PART))
}

/// A census at the beginning of `bytes`, decoded and encoded again.
pub fn census(mut bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    census::encode(census::decode(&mut bytes)?.into_iter(), &mut out);
    Some(out)
}

/// What a database says of itself, decoded and encoded again.
pub fn meta(bytes: &[u8]) -> Option<Vec<u8>> {
    Meta::decode(bytes).map(|meta| meta.encode())
}
