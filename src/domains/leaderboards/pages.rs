//! Rendered pages: the JSON bytes of a page and their ETag, kept while the board does not move, so that a popular page costs a lookup.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use moka::sync::Cache;
use poem_openapi::ApiResponse;
use poem_openapi::types::ToJSON;
use ring::digest;

use crate::domains::standings::{BoardId, Start};
use crate::http::Rendered;

/// Bytes of the digest that make an ETag.
const ETAG_BYTES: usize = 16;

/// Bodies held at most, in bytes.
const CACHE_BYTES: u64 = 16 * 1024 * 1024;

/// How long a page is served unchecked while its board stands still: what it takes from elsewhere (display names on a board of scores)
/// may lag by this much.
const FRESH: Duration = Duration::from_secs(2);

/// Browsers and proxies may keep a page but ask every time whether it still holds, which costs us a lookup and no body.
const CACHE_CONTROL: &str = "public, no-cache";

/// Which of the shapes a page is printed in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Shape {
    /// The plain array of `GET /leaderboard`.
    Players,
    /// The object of `GET /leaderboards/{season}/{mode}`.
    Board,
}

/// Everything that decides the bytes of a page, up to [`FRESH`].
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PageKey {
    pub shape: Shape,
    pub board: BoardId,
    pub version: u64,
    pub start: Start,
    pub limit: usize,
}

/// A printed page.
#[derive(Debug)]
pub struct Print {
    body: Bytes,
    etag: String,
}

impl Print {
    /// Prints `page`. Its ETag is strong: a digest of the bytes themselves, so it holds across restarts and evictions.
    pub fn new<T: ToJSON>(page: &T) -> Arc<Self> {
        let body = Rendered::new(page).bytes().clone();
        let digest = digest::digest(&digest::SHA256, &body);
        let etag = format!("\"{}\"", BASE64URL_NOPAD.encode(&digest.as_ref()[..ETAG_BYTES]));
        Arc::new(Self { body, etag })
    }
}

/// The cache of pages, bounded by bytes. A cheap handle.
#[derive(Clone)]
pub struct Pages {
    cache: Cache<PageKey, Arc<Print>>,
}

impl Default for Pages {
    fn default() -> Self {
        let weigh = |_: &PageKey, page: &Arc<Print>| u32::try_from(page.body.len()).unwrap_or(u32::MAX);
        Self { cache: Cache::builder().max_capacity(CACHE_BYTES).weigher(weigh).time_to_live(FRESH).build() }
    }
}

impl Pages {
    pub fn get(&self, key: &PageKey) -> Option<Arc<Print>> {
        self.cache.get(key)
    }

    pub fn keep(&self, key: PageKey, page: &Arc<Print>) {
        self.cache.insert(key, Arc::clone(page));
    }
}

/// A page, or word that the caller has it already.
#[derive(ApiResponse)]
pub enum PageResponse<T: ToJSON> {
    /// The page.
    #[oai(status = 200)]
    Page(Rendered<T>, #[oai(header = "ETag")] String, #[oai(header = "Cache-Control")] String),
    /// The page named in `If-None-Match` still holds.
    #[oai(status = 304)]
    Unchanged(#[oai(header = "ETag")] String, #[oai(header = "Cache-Control")] String),
}

impl<T: ToJSON> PageResponse<T> {
    /// Answers with `page`, which must be a printed `T`. `if_none_match` is the request header of that name.
    pub fn new(page: &Print, if_none_match: Option<&str>) -> Self {
        let etag = page.etag.clone();
        if if_none_match.is_some_and(|tags| matches(tags, &etag)) {
            return Self::Unchanged(etag, CACHE_CONTROL.to_owned());
        }
        Self::Page(Rendered::from_bytes(page.body.clone()), etag, CACHE_CONTROL.to_owned())
    }
}

/// Whether a list of entity tags names `etag`. Weak comparison, as RFC 9110 §13.1.2 wants for this header.
fn matches(tags: &str, etag: &str) -> bool {
    let mut tags = tags.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use poem::IntoResponse;
    use poem::http::header;

    use super::*;

    #[test]
    fn a_page_is_not_sent_twice() {
        let page = Print::new(&vec![1, 2]);
        let answer = |header: Option<&str>| PageResponse::<Vec<i32>>::new(&page, header).into_response();
        assert_eq!(answer(None).status(), 200);
        assert_eq!(answer(Some("\"other\"")).status(), 200);
        for tags in [page.etag.clone(), format!("\"other\", W/{}", page.etag), "*".to_owned()] {
            let answer = answer(Some(&tags));
            assert_eq!(answer.status(), 304, "{tags}");
            assert_eq!(answer.headers()[header::ETAG], *page.etag);
            assert_eq!(answer.headers()[header::CACHE_CONTROL], CACHE_CONTROL);
        }
        assert_ne!(Print::new(&vec![1, 3]).etag, page.etag);
    }
}
