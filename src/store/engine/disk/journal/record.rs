//! One record: a group of commits as bytes.
//!
//! ```text
//! len u32 | mark u32 | crc u32 | seq u64 | at i64 | n u32, n × [key u16, value u32 (0 = deleted, else length + 1), key, value] | census | 0 to 7 zeros
//! └─────────── HEAD ──────────┘ └────────────────────────────────── payload: len bytes ──────────────────────────────────────────────────────────┘
//! ```
//! All numbers are little-endian, and a record is a multiple of eight bytes long. `crc` covers everything but itself, `mark` only `len` and
//! `seq`: it makes a head recognisable without its payload, so that searching damaged bytes for the next record takes linear time whatever
//! they hold. Both start from a [`Salt`], so a record is one in its own segment of its own store and nowhere else.

use bytes::Bytes;
use crc32fast::Hasher;

use super::{Entry, StoreId, TableTally};
use crate::base::{Error, Result, Time};
use crate::store::engine::disk::census;
use crate::store::engine::{MAX_GROUP_BYTES, MAX_GROUP_OPS, Row};

/// Bytes before the payload. Where they are all zero, a segment's records end.
pub const HEAD: usize = 12;

/// What the beginning and the length of a record are multiples of.
pub const ALIGN: usize = 8;

/// Rows one record may hold, with room for the store's own beside a full group.
pub const MAX_ROWS: usize = 2 * MAX_GROUP_OPS;

/// Bytes of one payload, at most: a full group, and room for lengths, census and the store's own rows.
pub const MAX_PAYLOAD: usize = MAX_GROUP_BYTES + (1 << 20);

/// The smallest payload: no row, no table.
const MIN_PAYLOAD: usize = 8 + 8 + 4 + 2;

/// Bytes of a row beside its key and value.
const ROW: usize = 2 + 4;

/// The smallest record.
pub const MIN_RECORD: usize = (HEAD + MIN_PAYLOAD).next_multiple_of(ALIGN);

/// What the checksums of a segment's records start from. Two segments of one store whose first seqs are less than 2³² apart never share one.
#[derive(Clone)]
pub struct Salt(Hasher);

impl Salt {
    /// For the segment of `store` that begins with `first`.
    pub fn new(store: StoreId, first: u64) -> Self {
        let mut hasher = Hasher::new();
        hasher.update(&store.0);
        hasher.update(&first.to_le_bytes());
        Self(hasher)
    }

    fn sum(&self, parts: [&[u8]; 2]) -> u32 {
        let mut hasher = self.0.clone();
        parts.iter().for_each(|part| hasher.update(part));
        hasher.finalize()
    }
}

/// Writes a group into `out`, which is emptied first. It becomes a record with [`seal`].
///
/// # Errors
/// `store.group_too_large` past [`MAX_ROWS`] or [`MAX_PAYLOAD`].
pub fn encode<'a>(
    seq: u64,
    at: Time,
    rows: impl ExactSizeIterator<Item = (&'a Bytes, Option<&'a Bytes>)>,
    tallies: &[TableTally],
    out: &mut Vec<u8>,
) -> Result<()> {
    let too_large =
        || Error::too_large("store.group_too_large", "these changes are too many to be made durable at once");
    if rows.len() > MAX_ROWS || tallies.len() > census::MAX_TABLES {
        return Err(too_large());
    }
    out.clear();
    out.extend_from_slice(&[0; HEAD]);
    out.extend_from_slice(&seq.to_le_bytes());
    out.extend_from_slice(&at.0.to_le_bytes());
    out.extend_from_slice(&(rows.len() as u32).to_le_bytes());
    for (key, value) in rows {
        let length = value.map_or(0, |value| value.len() + 1);
        if key.len() > usize::from(u16::MAX) || out.len() + ROW + key.len() + length > MAX_PAYLOAD {
            return Err(too_large());
        }
        out.extend_from_slice(&(key.len() as u16).to_le_bytes());
        out.extend_from_slice(&(length as u32).to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(value.map_or(&[], |value| value));
    }
    census::encode(tallies.iter().copied(), out);
    out.resize(out.len().next_multiple_of(ALIGN), 0);
    if out.len() > HEAD + MAX_PAYLOAD { Err(too_large()) } else { Ok(()) }
}

/// Fills in the head of what [`encode`] wrote, for the segment of `salt`.
pub fn seal(salt: &Salt, record: &mut [u8]) {
    let Some((head, payload)) = record.split_at_mut_checked(HEAD) else { return };
    let len = (payload.len() as u32).to_le_bytes();
    let mark = salt.sum([&len, payload.get(..8).unwrap_or_default()]).to_le_bytes();
    head[..4].copy_from_slice(&len);
    head[4..8].copy_from_slice(&mark);
    let crc = salt.sum([&head[..8], payload]).to_le_bytes();
    head[8..].copy_from_slice(&crc);
}

/// What stands behind the last record of a segment that another one follows.
pub fn seal_of(salt: &Salt) -> [u8; HEAD] {
    let mut out = [0xFF; HEAD];
    out[4..8].copy_from_slice(&salt.sum([&[0xFF; 4], b"followed"]).to_le_bytes());
    out
}

/// What stands at the beginning of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub seq: u64,
    /// Bytes of the whole record.
    pub size: usize,
}

/// Reads the head at the beginning of `bytes`; none when what stands there is none. The payload may still be damaged.
pub fn head(salt: &Salt, bytes: &[u8]) -> Option<Head> {
    let seq = u64::from_le_bytes(*bytes.get(HEAD..)?.first_chunk()?);
    let len = u32::from_le_bytes(*bytes.first_chunk()?) as usize;
    let size = HEAD.checked_add(len)?;
    let fits = (MIN_PAYLOAD..=MAX_PAYLOAD).contains(&len) && size.is_multiple_of(ALIGN);
    let marked = || salt.sum([&bytes[..4], &bytes[HEAD..HEAD + 8]]).to_le_bytes() == bytes[4..8];
    (fits && marked()).then_some(Head { seq, size })
}

/// The payload of `record`, which is as long as its [`Head`] says; none when it is damaged.
pub fn payload<'a>(salt: &Salt, record: &'a [u8]) -> Option<&'a [u8]> {
    let (head, payload) = record.split_at_checked(HEAD)?;
    (salt.sum([&head[..8], payload]).to_le_bytes() == head[8..]).then_some(payload)
}

/// Reads a payload; none when it is something else. All rows of the entry share one allocation.
pub fn decode(payload: &[u8]) -> Option<Entry> {
    if payload.len() > MAX_PAYLOAD {
        return None;
    }
    let mut input = Bytes::copy_from_slice(payload);
    let seq = u64::from_le_bytes(take(&mut input)?);
    let at = Time(i64::from_le_bytes(take(&mut input)?));
    let count = u32::from_le_bytes(take(&mut input)?) as usize;
    if count > MAX_ROWS || count * ROW > input.len() {
        return None;
    }
    let rows = (0..count).map(|_| row(&mut input)).collect::<Option<Vec<Row>>>()?;
    let mut rest = &input[..];
    let census = census::decode(&mut rest)?;
    (rest.len() < ALIGN && rest.iter().all(|byte| *byte == 0)).then_some(Entry { seq, at, rows, census })
}

fn row(input: &mut Bytes) -> Option<Row> {
    let key = usize::from(u16::from_le_bytes(take(input)?));
    let value = u32::from_le_bytes(take(input)?) as usize;
    if input.len() < key.saturating_add(value.saturating_sub(1)) {
        return None;
    }
    let key = input.split_to(key);
    Some(Row { key, value: value.checked_sub(1).map(|length| input.split_to(length)) })
}

fn take<const N: usize>(input: &mut Bytes) -> Option<[u8; N]> {
    let number = *input.first_chunk::<N>()?;
    bytes::Buf::advance(input, N);
    Some(number)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::store::engine::disk::census::Tally;

    fn entries() -> impl Strategy<Value = Entry> {
        let bytes = |most| prop::collection::vec(any::<u8>(), 0..most).prop_map(Bytes::from);
        let row = (bytes(40), prop::option::of(bytes(60))).prop_map(|(key, value)| Row { key, value });
        let tally = any::<(u64, u64, u64)>().prop_map(|(rows, bytes, digest)| Tally { rows, bytes, digest });
        let census = prop::collection::vec((any::<[u8; 2]>(), tally), 0..4);
        (any::<u64>(), any::<i64>(), prop::collection::vec(row, 0..8), census)
            .prop_map(|(seq, at, rows, census)| Entry { seq, at: Time(at), rows, census })
    }

    fn encoded(entry: &Entry) -> Vec<u8> {
        let mut out = vec![1; 3];
        let rows = entry.rows.iter().map(|row| (&row.key, row.value.as_ref()));
        encode(entry.seq, entry.at, rows, &entry.census, &mut out).unwrap();
        out
    }

    fn read(salt: &Salt, bytes: &[u8]) -> Option<Entry> {
        let head = head(salt, bytes)?;
        decode(payload(salt, bytes.get(..head.size)?)?).filter(|entry| entry.seq == head.seq)
    }

    proptest! {
        #[test]
        fn a_record_reads_back_in_its_own_segment_only(entry in entries(), first in any::<u64>()) {
            let salt = Salt::new(StoreId([7; 16]), first);
            let mut bytes = encoded(&entry);
            prop_assert!(bytes.len().is_multiple_of(ALIGN));
            prop_assert_eq!(decode(&bytes[HEAD..]), Some(entry.clone()));
            seal(&salt, &mut bytes);
            prop_assert_eq!(read(&salt, &bytes), Some(entry));
            for other in [Salt::new(StoreId([7; 16]), first.wrapping_add(1)), Salt::new(StoreId([8; 16]), first)] {
                prop_assert_eq!(head(&other, &bytes), None);
                prop_assert_eq!(payload(&other, &bytes), None);
            }
        }

        #[test]
        fn every_changed_byte_is_noticed(entry in entries(), change in 1..=u8::MAX) {
            let salt = Salt::new(StoreId([7; 16]), 1);
            let mut bytes = encoded(&entry);
            seal(&salt, &mut bytes);
            for at in 0..bytes.len() {
                bytes[at] ^= change;
                prop_assert_eq!(read(&salt, &bytes), None, "byte {} of {}", at, bytes.len());
                bytes[at] ^= change;
                prop_assert_eq!(read(&salt, &bytes[..at]), None, "cut at {}", at);
            }
        }

        #[test]
        fn a_changed_payload_decodes_to_itself_or_not_at_all(entry in entries(), at in any::<prop::sample::Index>(), change: u8) {
            let mut bytes = encoded(&entry).split_off(HEAD);
            let at = at.index(bytes.len());
            bytes[at] = change;
            if let Some(entry) = decode(&bytes) {
                prop_assert_eq!(&encoded(&entry)[HEAD..], &bytes[..]);
            }
        }
    }

    #[test]
    fn counts_that_bytes_cannot_hold_are_refused_before_memory_is_taken() {
        let mut payload = vec![0; MIN_PAYLOAD];
        payload[16..20].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(decode(&payload), None);
        payload[16..20].copy_from_slice(&1u32.to_le_bytes());
        assert_eq!(decode(&payload), None);
        assert_eq!(decode(&vec![0; MAX_PAYLOAD + 1]), None);
    }

    #[test]
    fn what_is_too_large_is_refused() {
        let (key, value) = (Bytes::from_static(b"k"), Bytes::from(vec![0; MAX_PAYLOAD / 2]));
        let mut out = Vec::new();
        let mut refused = |rows: &[(&Bytes, Option<&Bytes>)], tallies: &[TableTally]| {
            encode(1, Time(0), rows.iter().copied(), tallies, &mut out).err().map(|e| e.code().to_owned())
        };
        assert_eq!(refused(&vec![(&key, None); MAX_ROWS], &[]), None);
        assert_eq!(refused(&vec![(&key, None); MAX_ROWS + 1], &[]).as_deref(), Some("store.group_too_large"));
        assert_eq!(refused(&[(&key, Some(&value))], &[]), None);
        assert_eq!(refused(&[(&key, Some(&value)); 2], &[]).as_deref(), Some("store.group_too_large"));
        let long = Bytes::from(vec![0; usize::from(u16::MAX) + 1]);
        assert_eq!(refused(&[(&long, None)], &[]).as_deref(), Some("store.group_too_large"));
        let tallies = vec![Default::default(); census::MAX_TABLES + 1];
        assert_eq!(refused(&[], &tallies).as_deref(), Some("store.group_too_large"));
    }
}
