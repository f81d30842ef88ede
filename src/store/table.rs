//! Tables and the ranges of them one can scan. A table is a name, a two-byte prefix, a key type that sorts and a versioned value.

use std::marker::PhantomData;

use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use super::engine::{Order, Span};
use super::key::{Key, Leading};
use super::record::{self, Record};
use crate::base::{Cursor, Error, Result};

/// Longest encoded key including its table prefix, in bytes: what still fits a [`Cursor`]'s text.
pub const MAX_KEY: usize = 384;

/// Length of every table's prefix, in bytes.
pub(super) const PREFIX: usize = 2;

const TYPICAL_KEY: usize = 40;

/// A typed part of the keyspace, declared once as a `static`.
///
/// ```ignore
/// pub static PLAYERS: Table<RobloxId, Player> = Table::new("players", *b"pl");
/// ```
#[derive(Debug)]
pub struct Table<K, V> {
    name: &'static str,
    prefix: [u8; PREFIX],
    shape: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Record> Table<K, V> {
    /// `prefix` must be unique in the program; it is what the rows are stored under, so it never changes.
    pub const fn new(name: &'static str, prefix: [u8; PREFIX]) -> Self {
        Self { name, prefix, shape: PhantomData }
    }

    /// The table's name in logs and error codes.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The two bytes that all its keys start with.
    pub fn prefix(&self) -> [u8; PREFIX] {
        self.prefix
    }

    /// Every row, in key order.
    pub fn all(&self) -> Scan<K, V> {
        self.range(self.prefix.to_vec(), after_all(&self.prefix))
    }

    /// The rows whose key starts with `part`.
    pub fn under<P: Leading<K>>(&self, part: &P) -> Scan<K, V> {
        let low = self.raw(part);
        let high = after_all(&low);
        self.range(low, high)
    }

    /// The rows from `low` (inclusive) to `high` (exclusive); either may be a whole key or its leading parts.
    pub fn between<P: Leading<K>, Q: Leading<K>>(&self, low: &P, high: &Q) -> Scan<K, V> {
        self.range(self.raw(low), Some(self.raw(high)))
    }

    fn range(&self, low: Vec<u8>, high: Option<Vec<u8>>) -> Scan<K, V> {
        let span = Span { low: low.into(), high: high.map(Bytes::from), order: Order::Rising };
        Scan { name: self.name, span, after: None, shape: PhantomData }
    }

    pub(super) fn raw(&self, key: &impl Key) -> Vec<u8> {
        let mut out = Vec::with_capacity(TYPICAL_KEY);
        out.extend_from_slice(&self.prefix);
        key.encode(&mut out);
        out
    }

    pub(super) fn value(&self, bytes: Option<Bytes>) -> Result<Option<V>> {
        bytes.map(|bytes| record::decode(&bytes).map_err(|e| in_table(self.name, e))).transpose()
    }
}

impl<K: Key + Serialize, V: Record> Table<K, V> {
    /// The table without its types.
    pub const fn info(&self) -> TableInfo {
        TableInfo { name: self.name, prefix: self.prefix, show: show::<K, V> }
    }
}

/// A table told without its types: for listing what a store holds, and for showing its rows to a person.
#[derive(Debug, Clone, Copy)]
pub struct TableInfo {
    pub name: &'static str,
    /// The two bytes that all its keys start with.
    pub prefix: [u8; PREFIX],
    show: Show,
}

/// Reads a key and a value as JSON.
type Show = fn(&[u8], &[u8]) -> Result<(Value, Value)>;

impl TableInfo {
    /// A stored row, its key (prefix included) and its value, as JSON with the fields' names.
    ///
    /// # Errors
    /// `store.key_corrupt`, `store.value_corrupt`, `store.version_unknown`.
    pub fn show(&self, key: &[u8], value: &[u8]) -> Result<(Value, Value)> {
        (self.show)(key, value)
    }
}

fn show<K: Key + Serialize, V: Record>(key: &[u8], value: &[u8]) -> Result<(Value, Value)> {
    let json = |value: serde_json::Result<Value>| value.map_err(|e| Error::broken("store.value_corrupt", e));
    Ok((json(serde_json::to_value(decode_key::<K>(key)?))?, json(serde_json::to_value(record::decode::<V>(value)?))?))
}

/// Says in the log which table a row that cannot be read is in.
pub(super) fn in_table(name: &str, error: Error) -> Error {
    let said = error.context_text().unwrap_or_default().to_owned();
    error.context(format!("table {name}: {said}"))
}

pub(super) fn decode_key<K: Key>(raw: &[u8]) -> Result<K> {
    let mut rest = raw.get(PREFIX..).unwrap_or_default();
    let key = K::decode(&mut rest)?;
    if rest.is_empty() { Ok(key) } else { Err(Error::broken("store.key_corrupt", "a stored key has bytes left over")) }
}

/// The first key after all that start with `prefix`; none when they run to the end of the keyspace.
fn after_all(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != 0xFF)?;
    let mut next = prefix[..=last].to_vec();
    next[last] += 1;
    Some(next)
}

/// A range of a table, to be read page by page with `Store::scan`.
#[derive(Debug)]
pub struct Scan<K, V> {
    pub(super) name: &'static str,
    span: Span,
    after: Option<Vec<u8>>,
    shape: PhantomData<fn() -> (K, V)>,
}

impl<K: Key, V: Record> Scan<K, V> {
    /// Turns the order round: highest key first, which is newest first for keys that start with an id or a time.
    #[must_use]
    pub fn newest_first(mut self) -> Self {
        self.span.order = Order::Falling;
        self
    }

    /// Continues behind the page that gave `cursor`; `None` starts at the beginning.
    #[must_use]
    pub fn after(mut self, cursor: Option<&Cursor>) -> Self {
        self.after = cursor.map(|cursor| cursor.0.clone());
        self
    }

    /// The bytes to read.
    ///
    /// # Errors
    /// `request.invalid` when the cursor belongs to another list.
    pub(super) fn span(self) -> Result<Span> {
        let Self { mut span, after, .. } = self;
        let Some(after) = after else { return Ok(span) };
        let within =
            after.as_slice() >= &span.low[..] && span.high.as_ref().is_none_or(|high| after.as_slice() < &high[..]);
        if !within {
            let message = "not a cursor of this list; leave it out to start over";
            return Err(Error::field(&["query", "cursor"], "cursor_invalid", message));
        }
        match span.order {
            Order::Rising => span.low = [&after[..], &[0]].concat().into(),
            Order::Falling => span.high = Some(after.into()),
        }
        Ok(span)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_where_the_next_one_starts() {
        assert_eq!(after_all(b"pl"), Some(b"pm".to_vec()));
        assert_eq!(after_all(&[1, 0xFF]), Some(vec![2]));
        assert_eq!(after_all(&[0xFF, 0xFF]), None);
    }

    #[test]
    fn a_row_shows_without_its_types() {
        static NAMES: Table<(u32, String), String> = Table::new("names", *b"na");
        let (key, value) = (NAMES.raw(&(7u32, "a".to_owned())), record::encode(&"Arc".to_owned()).unwrap());
        let shown = NAMES.info().show(&key, &value).unwrap();
        assert_eq!(shown, (serde_json::json!([7, "a"]), serde_json::json!("Arc")));
        assert_eq!(NAMES.info().show(&key[..3], &value).unwrap_err().code(), "store.key_corrupt");
        assert_eq!(NAMES.info().show(&key, &[9]).unwrap_err().code(), "store.version_unknown");
    }

    #[test]
    fn a_cursor_of_another_list_is_refused() {
        static A: Table<u32, u64> = Table::new("a", *b"aa");
        static B: Table<u32, u64> = Table::new("b", *b"bb");
        let foreign = Cursor(A.raw(&7u32));
        assert!(A.all().after(Some(&foreign)).span().is_ok());
        assert_eq!(B.all().after(Some(&foreign)).span().unwrap_err().code(), "request.invalid");
    }
}
