//! Values as bytes: one version byte, then compact MessagePack.
//!
//! A stored shape that changes gets a new [`Record::VERSION`] and teaches [`Record::lift`] to read the old one; rows are rewritten whenever
//! they are next put, never in one sweep.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::base::{Error, Id, Result, RobloxId, UserKey};

/// Largest encoded value, in bytes.
pub const MAX_VALUE: usize = 1 << 20;

/// Room for a typical row, so that encoding seldom grows its buffer.
const TYPICAL_VALUE: usize = 192;

/// A stored shape.
///
/// Structs are written as arrays in field order. So: append fields only, with `#[serde(default)]`, and never use `skip_serializing_if`,
/// `flatten` or `untagged`; anything else is a new version.
pub trait Record: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// The version that [`Record`]s are written in.
    const VERSION: u8;

    /// Reads a row of an older `version`; `bytes` is its MessagePack without the version byte. See [`unpack`].
    ///
    /// # Errors
    /// `store.version_unknown` for a version this program never wrote, `store.value_corrupt` for bytes that do not decode.
    fn lift(version: u8, bytes: &[u8]) -> Result<Self> {
        let _ = bytes;
        Err(Error::broken(
            "store.version_unknown",
            format!("a stored value has version {version}, this program reads version {}", Self::VERSION),
        ))
    }
}

macro_rules! plain_records {
    ($($plain:ty),*) => {$(
        impl Record for $plain {
            const VERSION: u8 = 1;
        }
    )*};
}

// What index rows hold: nothing, a count, a name, or who the row points to.
plain_records!((), u64, String, Id, RobloxId, UserKey);

/// Reads MessagePack written for a stored shape; for use in [`Record::lift`].
///
/// # Errors
/// `store.value_corrupt` when the bytes are of another shape.
pub fn unpack<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    rmp_serde::from_slice(bytes).map_err(|e| Error::broken("store.value_corrupt", format!("a stored value: {e}")))
}

/// # Errors
/// `store.value_too_large` past [`MAX_VALUE`]; `store.value_unencodable` when serde refuses.
pub(super) fn encode<V: Record>(value: &V) -> Result<Bytes> {
    let mut out = Vec::with_capacity(TYPICAL_VALUE);
    out.push(V::VERSION);
    rmp_serde::encode::write(&mut out, value).map_err(|e| Error::broken("store.value_unencodable", e))?;
    if out.len() > MAX_VALUE {
        let detail = format!("a record of {} bytes is larger than the {MAX_VALUE} bytes one row can hold", out.len());
        return Err(Error::too_large("store.value_too_large", detail).hint("shorten its texts or lists"));
    }
    Ok(Bytes::from(out))
}

/// # Errors
/// `store.value_corrupt`, `store.version_unknown`.
pub(super) fn decode<V: Record>(bytes: &[u8]) -> Result<V> {
    match bytes.split_first() {
        Some((&version, body)) if version == V::VERSION => unpack(body),
        Some((&version, body)) => V::lift(version, body),
        None => Err(Error::broken("store.value_corrupt", "a stored value is empty")),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;
    use crate::base::Kind;

    #[derive(Serialize, Deserialize, Debug, PartialEq)]
    struct Wallet {
        coins: u64,
        note: String,
    }

    impl Record for Wallet {
        const VERSION: u8 = 3;
        fn lift(version: u8, bytes: &[u8]) -> Result<Self> {
            match version {
                1 => unpack(bytes).map(|(coins,): (u64,)| Wallet { coins, note: "lifted".into() }),
                other => Err(Error::broken("store.version_unknown", other)),
            }
        }
    }

    #[test]
    fn an_old_version_decodes_and_lifts() {
        let mut old = vec![1];
        old.extend(rmp_serde::to_vec(&(41u64,)).unwrap());
        assert_eq!(decode::<Wallet>(&old).unwrap(), Wallet { coins: 41, note: "lifted".into() });
        let now = Wallet { coins: 42, note: "new".into() };
        assert_eq!(decode::<Wallet>(&encode(&now).unwrap()).unwrap(), now);
    }

    #[test]
    fn what_we_cannot_read_is_an_error_not_a_panic() {
        let good = encode(&Wallet { coins: u64::MAX, note: "x".repeat(100) }).unwrap();
        for bad in [&[][..], &[3], &[3, 0xC1], &[2, 0x91], &[255], &good[..good.len() - 1]] {
            assert_eq!(decode::<Wallet>(bad).unwrap_err().kind(), Kind::Broken, "{bad:?}");
        }
        assert_eq!(decode::<u64>(&[9, 1]).unwrap_err().code(), "store.version_unknown");
    }

    #[test]
    fn values_keep_below_the_bound() {
        let fat = Wallet { coins: 1, note: "x".repeat(MAX_VALUE) };
        assert_eq!(encode(&fat).unwrap_err().code(), "store.value_too_large");
    }
}
