//! Bytes of the format: header, trailer, footer and rows. Chunks are in `chunk.rs`. Everything read here may be hostile.

use std::path::Path;

use bytes::Bytes;

use super::{cut_short, damaged};
use crate::base::{Error, Result, Time};
use crate::store::engine::Row;
use crate::store::engine::disk::census::{self, Census};
use crate::store::engine::disk::envelope;
use crate::store::engine::disk::journal::{StoreId, record};
use crate::store::table::MAX_KEY;

const MAGIC: &[u8; 8] = b"grps.ckp";
const END_MAGIC: &[u8; 8] = b"grps.end";

/// The format written here, and the newest one read here.
pub(super) const FORMAT: u16 = 1;

pub(super) const HEADER: usize = 8 + 2 + 2 + 1 + 16 + 8 + 8 + 4 + 16 + 16 + 4;
pub(super) const FOOTER: usize = 8 + 8 + 8 + 4 + 4;

/// Raw bytes after which a chunk is closed.
pub(super) const CHUNK: usize = 256 << 10;

/// Largest value of a row, in bytes.
pub(super) const MAX_VALUE: usize = envelope::MAX_VALUE;

/// Rows of an entry, at most: what the journal takes, which is more than a group has.
pub(super) const MAX_ENTRY_ROWS: usize = record::MAX_ROWS;

/// Largest encoded entry, in bytes: what the journal takes, which is more than a full group and the lengths and the census of it.
pub(super) const MAX_ENTRY: usize = record::MAX_PAYLOAD;

/// Largest encoded row, in bytes.
pub(super) const MAX_ROW: usize = ROW_HEAD + MAX_KEY + MAX_VALUE;

/// Length of an entry's own length.
pub(super) const ENTRY_HEAD: usize = 4;

/// Largest encoded trailer, in bytes; that many tables are far more than there are.
pub(super) const MAX_TRAILER: usize = 4 * 8 + 2 + census::MAX_TABLES * (2 + 3 * 8);

const ROW_HEAD: usize = 2 + 4;
const DELETED: u32 = u32::MAX;

/// What a file says of itself first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Version of the stored shapes, for whoever reads the rows.
    pub schema: u16,
    pub store: StoreId,
    pub created: Time,
    /// Every group up to this one is in the rows; the entries go on behind it.
    pub start: u64,
}

/// How a file is locked, and what deriving its key takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Locking {
    pub kind: LockKind,
    pub iterations: u32,
    pub salt: [u8; 16],
    /// Derived from the key: tells a wrong one at once.
    pub check: [u8; 16],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LockKind {
    None,
    Passphrase,
    Key,
}

impl Locking {
    pub const NONE: Self = Self { kind: LockKind::None, iterations: 0, salt: [0; 16], check: [0; 16] };
}

pub(super) fn encode_header(head: &Head, locking: &Locking) -> [u8; HEADER] {
    let mut out = Vec::with_capacity(HEADER);
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&FORMAT.to_le_bytes());
    out.extend_from_slice(&head.schema.to_le_bytes());
    out.push(locking.kind as u8);
    out.extend_from_slice(&head.store.0);
    out.extend_from_slice(&head.created.0.to_le_bytes());
    out.extend_from_slice(&head.start.to_le_bytes());
    out.extend_from_slice(&locking.iterations.to_le_bytes());
    out.extend_from_slice(&locking.salt);
    out.extend_from_slice(&locking.check);
    sealed_with_crc(out)
}

/// # Errors
/// `checkpoint.foreign` for a file of another kind, `checkpoint.newer`, `checkpoint.cut_short`, `checkpoint.damaged`.
pub(super) fn decode_header(bytes: &[u8], path: &Path) -> Result<(Head, Locking)> {
    let known = bytes.len().min(MAGIC.len());
    if bytes[..known] != MAGIC[..known] {
        let detail = format!("{} is neither a checkpoint nor a backup of grps", path.display());
        return Err(Error::invalid("checkpoint.foreign", detail));
    }
    let mut rest = &bytes[known..];
    let format = take(&mut rest).map(u16::from_le_bytes).ok_or_else(|| cut_short(path))?;
    if format > FORMAT {
        let detail = format!("{} has format {format}; this program reads formats up to {FORMAT}", path.display());
        return Err(Error::invalid("checkpoint.newer", detail)
            .hint("use the newer grps that wrote it; if there never was one, the file is damaged"));
    }
    let bytes = bytes.get(..HEADER).ok_or_else(|| cut_short(path))?;
    let fields = checked(bytes).filter(|_| format == FORMAT).and_then(|_| header_fields(rest));
    fields.ok_or_else(|| damaged(path, "its header does not match its checksum"))
}

fn header_fields(mut rest: &[u8]) -> Option<(Head, Locking)> {
    let rest = &mut rest;
    let schema = u16::from_le_bytes(take(rest)?);
    let kind = match take(rest)? {
        [0] => LockKind::None,
        [1] => LockKind::Passphrase,
        [2] => LockKind::Key,
        _ => return None,
    };
    let store = StoreId(take(rest)?);
    let created = Time(i64::from_le_bytes(take(rest)?));
    let start = u64::from_le_bytes(take(rest)?);
    let iterations = u32::from_le_bytes(take(rest)?);
    let locking = Locking { kind, iterations, salt: take(rest)?, check: take(rest)? };
    Some((Head { schema, store, created, start }, locking))
}

/// Where the trailer is, at the end of the file so that it is found without reading the middle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Footer {
    pub offset: u64,
    pub index: u64,
    pub header_crc: u32,
}

impl Footer {
    pub fn encode(&self) -> [u8; FOOTER] {
        let mut out = Vec::with_capacity(FOOTER);
        out.extend_from_slice(END_MAGIC);
        out.extend_from_slice(&self.offset.to_le_bytes());
        out.extend_from_slice(&self.index.to_le_bytes());
        out.extend_from_slice(&self.header_crc.to_le_bytes());
        sealed_with_crc(out)
    }

    pub fn decode(bytes: &[u8; FOOTER]) -> Option<Self> {
        let mut rest = checked(bytes)?.strip_prefix(END_MAGIC)?;
        let offset = u64::from_le_bytes(take(&mut rest)?);
        let index = u64::from_le_bytes(take(&mut rest)?);
        Some(Self { offset, index, header_crc: u32::from_le_bytes(take(&mut rest)?) })
    }
}

/// What a file says last; without it a file is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trailer {
    /// The last group in the file.
    pub seq: u64,
    /// When that was committed.
    pub at: Time,
    /// Rows in the file, which are those of the store at no time in particular.
    pub rows: u64,
    pub entries: u64,
    /// Of the store after the group `seq`.
    pub census: Census,
}

impl Trailer {
    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        for number in [self.seq, self.at.0.cast_unsigned(), self.rows, self.entries] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        census::encode(self.census.tables().collect::<Vec<_>>().into_iter(), out);
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Option<Self> {
        let rest = &mut bytes;
        let seq = u64::from_le_bytes(take(rest)?);
        let at = Time(i64::from_le_bytes(take(rest)?));
        let rows = u64::from_le_bytes(take(rest)?);
        let entries = u64::from_le_bytes(take(rest)?);
        let mut census = Census::default();
        census.update(&census::decode(rest)?);
        rest.is_empty().then_some(Self { seq, at, rows, entries, census })
    }
}

/// Appends a row; false when it is larger than a row can be.
pub(super) fn put_row(key: &[u8], value: Option<&[u8]>, out: &mut Vec<u8>) -> bool {
    let length = value.map_or(0, <[u8]>::len);
    if key.len() > MAX_KEY || length > MAX_VALUE {
        return false;
    }
    out.extend_from_slice(&(key.len() as u16).to_le_bytes());
    out.extend_from_slice(&value.map_or(DELETED, |_| length as u32).to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value.unwrap_or_default());
    true
}

/// Takes a row off the front of `input`, whose memory it shares.
pub(super) fn take_row(input: &mut Bytes) -> Option<Row> {
    let mut head = &input[..];
    let key = usize::from(u16::from_le_bytes(take(&mut head)?));
    let value = u32::from_le_bytes(take(&mut head)?);
    let length = if value == DELETED { 0 } else { value as usize };
    if key > MAX_KEY || length > MAX_VALUE || head.len() < key + length {
        return None;
    }
    let _ = input.split_to(ROW_HEAD);
    let key = input.split_to(key);
    let bytes = input.split_to(length);
    Some(Row { key, value: (value != DELETED).then_some(bytes) })
}

pub(super) fn take<const N: usize>(input: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>()?;
    *input = rest;
    Some(*head)
}

/// The CRC that `bytes` end with.
pub(super) fn own_crc(bytes: &[u8]) -> u32 {
    bytes.last_chunk().copied().map_or(0, u32::from_le_bytes)
}

/// `bytes` without the CRC they end with, when it is theirs.
fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (bytes, crc) = bytes.split_last_chunk::<4>()?;
    (crc32fast::hash(bytes) == u32::from_le_bytes(*crc)).then_some(bytes)
}

/// `N` bytes: those of `out`, which are four fewer, and their CRC.
fn sealed_with_crc<const N: usize>(mut out: Vec<u8>) -> [u8; N] {
    debug_assert_eq!(out.len() + 4, N);
    out.extend_from_slice(&crc32fast::hash(&out).to_le_bytes());
    let mut array = [0; N];
    array.copy_from_slice(&out);
    array
}
