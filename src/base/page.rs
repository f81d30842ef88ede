//! Pages: bounded lists with an opaque cursor to the next one.

use data_encoding::BASE64URL_NOPAD;

use super::error::{Error, Result};

/// One page of a longer list. `next` is absent on the last page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    pub items: Vec<T>,
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    pub fn map<U>(self, each: impl FnMut(T) -> U) -> Page<U> {
        Page { items: self.items.into_iter().map(each).collect(), next: self.next }
    }
}

/// Where the next page starts. Opaque to callers: unpadded base64url of bytes that only the table that made it can read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor(pub Vec<u8>);

impl Cursor {
    /// Longest cursor we read, in characters.
    pub const MAX_TEXT: usize = 512;

    pub fn encode(&self) -> String {
        BASE64URL_NOPAD.encode(&self.0)
    }

    /// # Errors
    /// `request.invalid` when the text was not made by [`Cursor::encode`].
    pub fn decode(text: &str) -> Result<Self> {
        let bytes = (text.len() <= Self::MAX_TEXT).then(|| BASE64URL_NOPAD.decode(text.as_bytes()).ok()).flatten();
        bytes.map(Cursor).ok_or_else(|| {
            Error::field(
                &["query", "cursor"],
                "cursor_invalid",
                "not a cursor of this list; leave it out to start over",
            )
        })
    }
}
