//! A group as a checkpoint holds it.

use bytes::Bytes;

use super::format::{MAX_ENTRY_ROWS, put_row, take, take_row};
use crate::base::Time;
use crate::store::engine::disk::census;
use crate::store::engine::disk::journal::Entry;

/// Appends `entry`: seq u64, time i64, how many rows u16, the rows, the census. False when a row or their number is out of bounds; what was appended
/// by then is of no use.
pub(super) fn encode(entry: &Entry, out: &mut Vec<u8>) -> bool {
    if entry.rows.len() > MAX_ENTRY_ROWS || entry.census.len() > census::MAX_TABLES {
        return false;
    }
    out.extend_from_slice(&entry.seq.to_le_bytes());
    out.extend_from_slice(&entry.at.0.to_le_bytes());
    out.extend_from_slice(&(entry.rows.len() as u16).to_le_bytes());
    let fits = entry.rows.iter().all(|row| put_row(&row.key, row.value.as_deref(), out));
    census::encode(entry.census.iter().copied(), out);
    fits
}

/// Reads exactly what [`encode`] wrote; the rows share the memory of `bytes`.
pub(super) fn decode(mut bytes: Bytes) -> Option<Entry> {
    const HEAD: usize = 8 + 8 + 2;
    let mut head = bytes.get(..HEAD)?;
    let seq = u64::from_le_bytes(take(&mut head)?);
    let at = Time(i64::from_le_bytes(take(&mut head)?));
    let count = usize::from(u16::from_le_bytes(take(&mut head)?));
    if count > MAX_ENTRY_ROWS {
        return None;
    }
    let _ = bytes.split_to(HEAD);
    let rows = (0..count).map(|_| take_row(&mut bytes)).collect::<Option<_>>()?;
    let mut rest = &bytes[..];
    let census = census::decode(&mut rest)?;
    rest.is_empty().then_some(Entry { seq, at, rows, census })
}
