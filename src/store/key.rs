//! Keys as bytes that sort like the values they stand for.
//!
//! Every encoding is self-delimiting and prefix-free, so a tuple is the concatenation of its parts and still sorts part by part. That is what
//! lets a table be read from "all of this board" to "this board, from this score on" with one byte range.

use std::cmp::Reverse;
use std::sync::Arc;

use crate::base::{Error, Id, Result, RobloxId, Time, UserKey};

/// Ends a string; sorts below every continuation of it.
const END: u8 = 0x01;
/// Follows a zero byte that belongs to the string.
const ESCAPED_ZERO: u8 = 0xFF;

/// A value that can name a row. `a < b` exactly when `encode(a) < encode(b)` bytewise.
pub trait Key: Sized {
    /// Appends the encoding.
    fn encode(&self, out: &mut Vec<u8>);

    /// Takes one value off the front of `input`.
    ///
    /// # Errors
    /// `store.key_corrupt` when the bytes were not made by [`Key::encode`] of the same type.
    fn decode(input: &mut &[u8]) -> Result<Self>;
}

/// The leading part or parts of a key `K`: what a scan can be narrowed to. `A` and `(A, B)` lead `(A, B, C)`; `K` leads itself.
pub trait Leading<K>: Key {}

impl<K: Key> Leading<K> for K {}
impl<A: Key, B: Key> Leading<(A, B)> for A {}
impl<A: Key, B: Key, C: Key> Leading<(A, B, C)> for A {}
impl<A: Key, B: Key, C: Key> Leading<(A, B, C)> for (A, B) {}
impl<A: Key, B: Key, C: Key, D: Key> Leading<(A, B, C, D)> for A {}
impl<A: Key, B: Key, C: Key, D: Key> Leading<(A, B, C, D)> for (A, B) {}
impl<A: Key, B: Key, C: Key, D: Key> Leading<(A, B, C, D)> for (A, B, C) {}

fn corrupt(what: &str) -> Error {
    Error::broken("store.key_corrupt", format!("a stored key does not decode: {what}"))
}

fn take<const N: usize>(input: &mut &[u8]) -> Result<[u8; N]> {
    let (head, rest) = input.split_first_chunk::<N>().ok_or_else(|| corrupt("it ends early"))?;
    *input = rest;
    Ok(*head)
}

macro_rules! unsigned_keys {
    ($($int:ty),*) => {$(
        impl Key for $int {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn decode(input: &mut &[u8]) -> Result<Self> {
                take(input).map(<$int>::from_be_bytes)
            }
        }
    )*};
}

unsigned_keys!(u8, u32, u64);

/// The key of a table with a single row.
impl Key for () {
    fn encode(&self, _out: &mut Vec<u8>) {}
    fn decode(_input: &mut &[u8]) -> Result<Self> {
        Ok(())
    }
}

/// The sign bit is flipped, so that negative numbers sort first.
impl Key for i64 {
    fn encode(&self, out: &mut Vec<u8>) {
        (self.cast_unsigned() ^ (1 << 63)).encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self> {
        u64::decode(input).map(|raw| (raw ^ (1 << 63)).cast_signed())
    }
}

impl Key for Time {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self> {
        i64::decode(input).map(Time)
    }
}

impl Key for Id {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self> {
        u64::decode(input).map(Id)
    }
}

impl Key for RobloxId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.get().encode(out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self> {
        RobloxId::new(u64::decode(input)?).map_err(|_| corrupt("a Roblox id out of range"))
    }
}

fn encode_text(text: &str, out: &mut Vec<u8>) {
    for &byte in text.as_bytes() {
        out.push(byte);
        if byte == 0 {
            out.push(ESCAPED_ZERO);
        }
    }
    out.extend_from_slice(&[0, END]);
}

fn decode_text(input: &mut &[u8]) -> Result<String> {
    let mut bytes = Vec::new();
    loop {
        let [byte] = take(input)?;
        if byte != 0 {
            bytes.push(byte);
            continue;
        }
        match take(input)? {
            [ESCAPED_ZERO] => bytes.push(0),
            [END] => return String::from_utf8(bytes).map_err(|_| corrupt("text that is not UTF-8")),
            _ => return Err(corrupt("a broken escape in text")),
        }
    }
}

impl Key for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self, out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self> {
        decode_text(input)
    }
}

impl Key for Arc<str> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_text(self, out);
    }
    fn decode(input: &mut &[u8]) -> Result<Self> {
        decode_text(input).map(Arc::from)
    }
}

impl Key for UserKey {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Roblox(id) => (0u8, *id).encode(out),
            Self::External(name) => {
                out.push(1);
                name.encode(out);
            }
        }
    }
    fn decode(input: &mut &[u8]) -> Result<Self> {
        match u8::decode(input)? {
            0 => Key::decode(input).map(Self::Roblox),
            1 => Key::decode(input).map(Self::External),
            _ => Err(corrupt("an unknown kind of user")),
        }
    }
}

/// Sorts the other way round: highest first.
impl<T: Key> Key for Reverse<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        let start = out.len();
        self.0.encode(out);
        out[start..].iter_mut().for_each(|byte| *byte = !*byte);
    }
    fn decode(input: &mut &[u8]) -> Result<Self> {
        let flipped: Vec<u8> = input.iter().map(|byte| !byte).collect();
        let mut rest = flipped.as_slice();
        let value = T::decode(&mut rest)?;
        *input = &input[flipped.len() - rest.len()..];
        Ok(Self(value))
    }
}

macro_rules! tuple_keys {
    ($(($($name:ident),+)),*) => {$(
        impl<$($name: Key),+> Key for ($($name,)+) {
            #[allow(non_snake_case)]
            fn encode(&self, out: &mut Vec<u8>) {
                let ($($name,)+) = self;
                $($name.encode(out);)+
            }
            fn decode(input: &mut &[u8]) -> Result<Self> {
                Ok(($($name::decode(input)?,)+))
            }
        }
    )*};
}

tuple_keys!((A, B), (A, B, C), (A, B, C, D));

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes(key: &impl Key) -> Vec<u8> {
        let mut out = Vec::new();
        key.encode(&mut out);
        out
    }

    fn sorts_and_reads_back<K: Key + Ord + std::fmt::Debug>(a: K, b: K) {
        let (left, right) = (bytes(&a), bytes(&b));
        assert_eq!(a.cmp(&b), left.cmp(&right), "{a:?} against {b:?}");
        let mut input = left.as_slice();
        assert_eq!(K::decode(&mut input).unwrap(), a);
        assert!(input.is_empty());
    }

    fn user() -> impl Strategy<Value = UserKey> {
        prop_oneof![
            (1..=RobloxId::MAX).prop_map(|raw| UserKey::Roblox(RobloxId::new(raw).unwrap())),
            "[a-c\\x00-\\x02]{0,4}".prop_map(|name| UserKey::External(name.into())),
        ]
    }

    proptest! {
        #[test]
        fn keys_sort_like_their_values(
            a in (any::<u8>(), any::<i64>(), "[ab\\x00\\x01\\x{ff}]{0,3}", user()),
            b in (any::<u8>(), any::<i64>(), "[ab\\x00\\x01\\x{ff}]{0,3}", user()),
        ) {
            sorts_and_reads_back(a.1, b.1);
            sorts_and_reads_back(a.2.clone(), b.2.clone());
            sorts_and_reads_back((a.2.clone(), Reverse(a.1)), (b.2.clone(), Reverse(b.1)));
            sorts_and_reads_back((Reverse(a.2.clone()), a.0), (Reverse(b.2.clone()), b.0));
            sorts_and_reads_back((a.0 % 2, a.3.clone(), a.2.clone()), (b.0 % 2, b.3.clone(), b.2.clone()));
            sorts_and_reads_back((a.0 % 2, a.2, Reverse(a.3), a.1), (b.0 % 2, b.2, Reverse(b.3), b.1));
        }

        #[test]
        fn foreign_bytes_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _ = <(UserKey, Reverse<String>, Time)>::decode(&mut raw.as_slice());
        }
    }

    #[test]
    fn a_cut_key_is_an_error() {
        let whole = bytes(&(7u32, String::from("x")));
        assert!((0..whole.len()).all(|end| <(u32, String)>::decode(&mut &whole[..end]).is_err()));
    }
}
