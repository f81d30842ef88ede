//! How a row lies in sled. Its value is wrapped with a check, so that damage is told from data; a value too large for sled is cut into parts
//! that lie elsewhere, because sled moves large values into files that it never syncs.
//!
//! | first byte | then |
//! | --- | --- |
//! | 0, whole | the value, its check (8 bytes) |
//! | 1, parted | length of the value (4), number of parts (2), the check of the whole value (8) |
//!
//! Numbers are little-endian; the check is [`super::census::check`] of key and value. Keys that start with a zero byte are the engine's own.

use bytes::Bytes;

use super::census::check;
use crate::base::{Error, Result};

/// Largest value stored in one piece, and the size of a part, in bytes. sled has two limits, past which it uses files that it never syncs:
/// values of 8,000 bytes, and nodes of a quarter of a segment, 128 KiB. A node holds up to some 30 rows, so this is about as large as rows
/// that are neighbours may all be.
pub const PART: usize = 3 * 1024;

/// Size of the parts that earlier versions wrote.
const LARGER_PART: usize = 7 * 1024;

/// Largest value, in bytes.
pub const MAX_VALUE: usize = 1 << 20;

/// First bytes of the parts' keys.
pub const PARTS: &[u8] = &[0, b'p'];

/// The key of the engine's own row, which says what the database holds.
pub const META: &[u8] = &[0, b'm'];

/// The first key that is not the engine's own.
pub const FIRST: &[u8] = &[1];

const WHOLE: u8 = 0;
const PARTED: u8 = 1;
const CHECK: usize = 8;

/// What can be told of a value without reading all of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// Length of the value.
    pub bytes: usize,
    /// Zero for a value in one piece.
    pub parts: u16,
    pub check: u64,
}

impl Head {
    pub fn of(key: &[u8], value: &[u8]) -> Self {
        let parts = if value.len() <= PART { 0 } else { value.len().div_ceil(PART) as u16 };
        Self { bytes: value.len(), parts, check: check(key, value) }
    }

    /// Reads the head of a stored value.
    ///
    /// # Errors
    /// `store.damaged` for bytes that were never written so.
    pub fn read(key: &[u8], stored: &[u8]) -> Result<Self> {
        let head = match stored.split_first() {
            Some((&WHOLE, rest)) => rest.split_last_chunk::<CHECK>().map(|(value, check)| Self {
                bytes: value.len(),
                parts: 0,
                check: u64::from_le_bytes(*check),
            }),
            Some((&PARTED, rest)) => parted(rest),
            _ => None,
        };
        head.ok_or_else(|| damaged(key, "its wrapping is broken"))
    }

    /// # Errors
    /// `store.damaged` when `value` is not what was written.
    pub fn prove(&self, key: &[u8], value: &[u8]) -> Result<()> {
        if value.len() == self.bytes && check(key, value) == self.check {
            return Ok(());
        }
        Err(damaged(key, "its bytes are not the ones that were written"))
    }

    /// Writes what lies under the row's own key.
    pub fn write(&self, value: &[u8], out: &mut Vec<u8>) {
        out.clear();
        if self.parts == 0 {
            out.push(WHOLE);
            out.extend_from_slice(value);
        } else {
            out.push(PARTED);
            out.extend_from_slice(&(self.bytes as u32).to_le_bytes());
            out.extend_from_slice(&self.parts.to_le_bytes());
        }
        out.extend_from_slice(&self.check.to_le_bytes());
    }
}

fn parted(rest: &[u8]) -> Option<Head> {
    let (bytes, rest) = rest.split_first_chunk::<4>()?;
    let (parts, rest) = rest.split_first_chunk::<2>()?;
    let check = u64::from_le_bytes(rest.try_into().ok()?);
    let (bytes, parts) = (u32::from_le_bytes(*bytes) as usize, u16::from_le_bytes(*parts));
    let sizes = [PART, LARGER_PART];
    let plausible =
        bytes <= MAX_VALUE && sizes.iter().any(|size| bytes > *size && bytes.div_ceil(*size) == usize::from(parts));
    plausible.then_some(Head { bytes, parts, check })
}

/// The value that `stored` wraps; `part` fetches its parts by number.
///
/// # Errors
/// `store.damaged` when it is not what was written; those of `part`.
pub fn open(key: &[u8], stored: &[u8], mut part: impl FnMut(u16, &mut Vec<u8>) -> Result<()>) -> Result<Bytes> {
    let head = Head::read(key, stored)?;
    let value = if head.parts == 0 {
        Bytes::copy_from_slice(&stored[1..1 + head.bytes])
    } else {
        let mut value = Vec::with_capacity(head.bytes);
        for number in 0..head.parts {
            part(number, &mut value)?;
        }
        Bytes::from(value)
    };
    head.prove(key, &value)?;
    Ok(value)
}

/// The key of a part.
pub fn part_key(key: &[u8], number: u16) -> Vec<u8> {
    [PARTS, key, &number.to_be_bytes()].concat()
}

/// A row that cannot be trusted.
pub fn damaged(key: &[u8], how: &str) -> Error {
    Error::broken("store.damaged", format!("the row {} is damaged: {how}", key.escape_ascii()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn roundtrip(key: &[u8], value: &[u8]) -> Result<Bytes> {
        let head = Head::of(key, value);
        let mut stored = Vec::new();
        head.write(value, &mut stored);
        assert!(stored.len() <= PART + 16);
        assert_eq!(Head::read(key, &stored)?, head);
        open(key, &stored, |number, out| {
            out.extend_from_slice(value.chunks(PART).nth(usize::from(number)).unwrap());
            Ok(())
        })
    }

    #[test]
    fn values_of_every_size_come_back() {
        for size in [0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1, MAX_VALUE] {
            let value: Vec<u8> = (0..size).map(|n| n as u8).collect();
            assert_eq!(roundtrip(b"key", &value).unwrap(), value);
        }
    }

    proptest! {
        #[test]
        fn one_wrong_bit_is_noticed(value in prop::collection::vec(any::<u8>(), 0..100), at in any::<prop::sample::Index>(), bit in 0..8u8) {
            let mut stored = Vec::new();
            Head::of(b"k", &value).write(&value, &mut stored);
            let at = at.index(stored.len());
            stored[at] ^= 1 << bit;
            prop_assert!(open(b"k", &stored, |_, _| Ok(())).is_err());
        }

        #[test]
        fn any_bytes_open_or_are_refused(stored in prop::collection::vec(any::<u8>(), 0..64)) {
            let _ = open(b"k", &stored, |_, _| Ok(()));
        }
    }
}
