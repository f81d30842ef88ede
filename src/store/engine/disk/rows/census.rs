//! Counting what is stored, so that two copies can be compared without reading them side by side: per table the rows, their bytes, and the
//! wrapping sum of their checks. The sum does not depend on order, so it can be kept while rows come and go, and any scan can confirm it.

use std::collections::BTreeMap;

use bytes::Bytes;
use twox_hash::XxHash3_64;

use crate::store::table::PREFIX;

/// Tables one census can hold; far more than the program has, and a bound on what damaged bytes can ask for.
pub const MAX_TABLES: usize = 1024;

/// Bytes of one encoded table.
const ENTRY: usize = PREFIX + 8 + 8 + 8;

/// The check of a row: XXH3-64 of the value, seeded with XXH3-64 of the key.
pub fn check(key: &[u8], value: &[u8]) -> u64 {
    XxHash3_64::oneshot_with_seed(XxHash3_64::oneshot(key), value)
}

/// The rows of one table.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    pub rows: u64,
    /// Keys and values, in bytes.
    pub bytes: u64,
    /// Wrapping sum of [`check`].
    pub digest: u64,
}

/// A tally per table. Tables without rows are not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Census(BTreeMap<[u8; PREFIX], Tally>);

impl Census {
    pub fn add(&mut self, key: &[u8], value_bytes: usize, check: u64) {
        let tally = self.0.entry(prefix(key)).or_default();
        tally.rows = tally.rows.wrapping_add(1);
        tally.bytes = tally.bytes.wrapping_add((key.len() + value_bytes) as u64);
        tally.digest = tally.digest.wrapping_add(check);
    }

    pub fn remove(&mut self, key: &[u8], value_bytes: usize, check: u64) {
        let tally = self.0.entry(prefix(key)).or_default();
        tally.rows = tally.rows.wrapping_sub(1);
        tally.bytes = tally.bytes.wrapping_sub((key.len() + value_bytes) as u64);
        tally.digest = tally.digest.wrapping_sub(check);
        if *tally == Tally::default() {
            self.0.remove(&prefix(key));
        }
    }

    /// Adds all of `other`, which counted other rows.
    pub fn merge(&mut self, other: &Census) {
        for (prefix, tally) in &other.0 {
            let sum = self.0.entry(*prefix).or_default();
            sum.rows = sum.rows.wrapping_add(tally.rows);
            sum.bytes = sum.bytes.wrapping_add(tally.bytes);
            sum.digest = sum.digest.wrapping_add(tally.digest);
        }
    }

    /// Takes the tallies of `later`, a newer count of some of the tables.
    pub fn update(&mut self, later: &[([u8; PREFIX], Tally)]) {
        for (prefix, tally) in later {
            if *tally == Tally::default() {
                self.0.remove(prefix);
            } else {
                self.0.insert(*prefix, *tally);
            }
        }
    }

    pub fn table(&self, prefix: [u8; PREFIX]) -> Tally {
        self.0.get(&prefix).copied().unwrap_or_default()
    }

    pub fn tables(&self) -> impl ExactSizeIterator<Item = ([u8; PREFIX], Tally)> + '_ {
        self.0.iter().map(|(prefix, tally)| (*prefix, *tally))
    }

    /// All tables together; the digest is of no use there.
    pub fn total(&self) -> Tally {
        self.0.values().fold(Tally::default(), |sum, tally| Tally {
            rows: sum.rows.wrapping_add(tally.rows),
            bytes: sum.bytes.wrapping_add(tally.bytes),
            digest: sum.digest.wrapping_add(tally.digest),
        })
    }
}

/// Appends tallies: how many, then prefix, rows, bytes, digest each, little-endian.
pub fn encode(tallies: impl ExactSizeIterator<Item = ([u8; PREFIX], Tally)>, out: &mut Vec<u8>) {
    out.extend_from_slice(&(tallies.len() as u16).to_le_bytes());
    for (prefix, tally) in tallies {
        out.extend_from_slice(&prefix);
        for number in [tally.rows, tally.bytes, tally.digest] {
            out.extend_from_slice(&number.to_le_bytes());
        }
    }
}

/// Reads what [`encode`] wrote and moves `input` behind it; none when it is something else.
pub fn decode(input: &mut &[u8]) -> Option<Vec<([u8; PREFIX], Tally)>> {
    let (count, rest) = input.split_first_chunk::<2>()?;
    let count = usize::from(u16::from_le_bytes(*count));
    if count > MAX_TABLES || rest.len() < count * ENTRY {
        return None;
    }
    let (entries, rest) = rest.split_at(count * ENTRY);
    *input = rest;
    let number = |bytes: &[u8]| bytes.try_into().map(u64::from_le_bytes).ok();
    let entry = |entry: &[u8]| {
        let (prefix, rest) = entry.split_first_chunk::<PREFIX>()?;
        let tally = Tally { rows: number(&rest[..8])?, bytes: number(&rest[8..16])?, digest: number(&rest[16..24])? };
        Some((*prefix, tally))
    };
    entries.chunks_exact(ENTRY).map(entry).collect()
}

pub fn prefix(key: &[u8]) -> [u8; PREFIX] {
    let mut prefix = [0; PREFIX];
    let length = key.len().min(PREFIX);
    prefix[..length].copy_from_slice(&key[..length]);
    prefix
}

impl FromIterator<(Bytes, Bytes)> for Census {
    fn from_iter<I: IntoIterator<Item = (Bytes, Bytes)>>(rows: I) -> Self {
        let mut census = Self::default();
        rows.into_iter().for_each(|(key, value)| census.add(&key, value.len(), check(&key, &value)));
        census
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_was_removed_leaves_no_trace(rows in prop::collection::btree_map(prop::collection::vec(any::<u8>(), 2..6), any::<Vec<u8>>(), 0..20)) {
            let mut census = Census::default();
            rows.iter().for_each(|(key, value)| census.add(key, value.len(), check(key, value)));
            let mut encoded = Vec::new();
            encode(census.tables().collect::<Vec<_>>().into_iter(), &mut encoded);
            let mut read = Census::default();
            read.update(&decode(&mut &encoded[..]).unwrap());
            prop_assert_eq!(&read, &census);
            rows.iter().rev().for_each(|(key, value)| census.remove(key, value.len(), check(key, value)));
            prop_assert_eq!(census, Census::default());
        }

        #[test]
        fn any_bytes_decode_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&mut &bytes[..]);
        }
    }

    #[test]
    fn a_row_that_moved_to_another_key_is_noticed() {
        assert_ne!(check(b"ab", b"c"), check(b"a", b"bc"));
        assert_ne!(check(b"ab", b"c"), check(b"ac", b"b"));
    }
}
