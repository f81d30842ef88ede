//! Pages: a cap, and tokens that hold only for the list they came from.

use data_encoding::BASE64URL_NOPAD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::call::{Call, Read, Wrong, wrong};

/// Items on a page when nobody says how many.
const DEFAULT_SIZE: usize = 10;

/// Rows looked at for one page, so that a page of what is rare comes short instead of late.
const MAX_LOOKED_AT: usize = 1_000;

/// What page of a list is wanted; `K` is what the list is ordered by.
pub(super) struct Page<K> {
    pub size: usize,
    /// The first that may be on it.
    pub start: Option<K>,
    stamp: String,
}

impl<K: Serialize + DeserializeOwned> Page<K> {
    /// Reads `maxPageSize` and `pageToken`.
    pub fn of(call: &Call, most: usize) -> Read<Self> {
        Self::named(call, ("maxPageSize", "pageToken"), DEFAULT_SIZE, most)
    }

    pub fn named(call: &Call, (size, token): (&str, &str), default: usize, most: usize) -> Read<Self> {
        let size_of = |text: &str| text.parse::<usize>().map_err(|_| Wrong(format!("{size} is {text:?}, no number")));
        // Above the cap, Roblox gives what it has room for.
        let wanted = call.param(size).map(size_of).transpose()?.unwrap_or(default).clamp(1, most);
        let others = call.params.iter().filter(|(name, _)| *name != size && *name != token);
        let stamp = others.fold(call.path.clone(), |stamp, (name, value)| format!("{stamp}&{name}={value}"));
        let start = match call.param(token) {
            None | Some("") => None,
            Some(text) => Some(unseal(text, &stamp)?),
        };
        Ok(Self { size: wanted, start, stamp })
    }

    /// Fills the page from `rows`, which begin at [`Page::start`]; `most` is what a bad day leaves of it.
    pub fn fill<T>(&self, most: Option<usize>, rows: impl Iterator<Item = (K, Option<T>)>) -> (Vec<T>, Option<String>) {
        let size = most.map_or(self.size, |most| most.min(self.size));
        let mut items = Vec::new();
        for (looked_at, (key, row)) in rows.enumerate() {
            if items.len() >= size || looked_at >= MAX_LOOKED_AT {
                return (items, Some(self.seal(&key)));
            }
            items.extend(row);
        }
        (items, None)
    }

    fn seal(&self, key: &K) -> String {
        let text = serde_json::to_string(&(&self.stamp, key)).unwrap_or_default();
        BASE64URL_NOPAD.encode(text.as_bytes())
    }
}

fn unseal<K: DeserializeOwned>(token: &str, stamp: &str) -> Read<K> {
    let Ok(bytes) = BASE64URL_NOPAD.decode(token.as_bytes()) else { return wrong("the page token is none of ours") };
    match serde_json::from_slice::<(String, K)>(&bytes) {
        Ok((own, key)) if own == stamp => Ok(key),
        Ok(_) => wrong("the filter changed between pages"),
        Err(_) => wrong("the page token is none of ours"),
    }
}

/// Adds the token for the next page; the last page has none, or an empty one.
pub(super) fn next(mut body: Value, name: &str, token: Option<String>, empty: bool) -> Value {
    match token {
        Some(token) => body[name] = token.into(),
        None if empty => body[name] = "".into(),
        None => {}
    }
    body
}
