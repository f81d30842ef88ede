//! Rendered pages: the JSON bytes of a page and their ETag, kept while the board does not move, so that a popular page costs a lookup.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use data_encoding::BASE64URL_NOPAD;
use moka::sync::Cache;
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaHeader, MetaMediaType, MetaResponse, MetaResponses, Registry};
use poem_openapi::types::{ToJSON, Type};
use ring::digest;

use crate::base::{Error, Result};
use crate::domains::standings::{BoardId, Start};

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
pub struct Rendered {
    body: Bytes,
    etag: HeaderValue,
}

impl Rendered {
    /// Prints `page`. Its ETag is strong: a digest of the bytes themselves.
    ///
    /// # Errors
    /// Never in practice: base64 is a legal header value.
    pub fn new(page: &impl ToJSON) -> Result<Arc<Self>> {
        let body = page.to_json_string();
        let digest = digest::digest(&digest::SHA256, body.as_bytes());
        let etag = format!("\"{}\"", BASE64URL_NOPAD.encode(&digest.as_ref()[..16]));
        let etag = HeaderValue::from_str(&etag).map_err(|error| Error::broken("leaderboard.etag", error))?;
        Ok(Arc::new(Self { body: body.into(), etag }))
    }
}

/// The cache of pages, bounded by bytes. A cheap handle.
#[derive(Clone)]
pub struct Pages {
    cache: Cache<PageKey, Arc<Rendered>>,
}

impl Default for Pages {
    fn default() -> Self {
        let weigh = |_: &PageKey, page: &Arc<Rendered>| u32::try_from(page.body.len()).unwrap_or(u32::MAX);
        Self { cache: Cache::builder().max_capacity(CACHE_BYTES).weigher(weigh).time_to_live(FRESH).build() }
    }
}

impl Pages {
    pub fn get(&self, key: &PageKey) -> Option<Arc<Rendered>> {
        self.cache.get(key)
    }

    pub fn keep(&self, key: PageKey, page: &Arc<Rendered>) {
        self.cache.insert(key, Arc::clone(page));
    }
}

/// Answers with a rendered page, or with 304 when the caller has it already. `T` is the page's type in the contract.
pub struct PageResponse<T> {
    page: Arc<Rendered>,
    known: bool,
    shape: PhantomData<fn() -> T>,
}

impl<T> PageResponse<T> {
    /// `if_none_match` is the request header of that name.
    pub fn new(page: Arc<Rendered>, if_none_match: Option<&str>) -> Self {
        let known = if_none_match.is_some_and(|tags| matches(tags, page.etag.as_bytes()));
        Self { page, known, shape: PhantomData }
    }
}

/// Whether a list of entity tags names `etag`. Weak comparison, as RFC 9110 §13.1.2 wants for this header.
fn matches(tags: &str, etag: &[u8]) -> bool {
    let mut tags = tags.split(',').map(str::trim);
    tags.any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag).as_bytes() == etag)
}

impl<T: Send> IntoResponse for PageResponse<T> {
    fn into_response(self) -> Response {
        let answer =
            Response::builder().header(header::ETAG, &self.page.etag).header(header::CACHE_CONTROL, CACHE_CONTROL);
        if self.known {
            return answer.status(StatusCode::NOT_MODIFIED).finish();
        }
        answer.content_type("application/json").body(self.page.body.clone())
    }
}

impl<T: Type> ApiResponse for PageResponse<T> {
    fn meta() -> MetaResponses {
        let content = MetaMediaType { content_type: "application/json", schema: T::schema_ref() };
        let answer = |description, status, content| MetaResponse {
            description,
            status: Some(status),
            status_range: None,
            content,
            headers: headers(),
        };
        MetaResponses {
            responses: vec![
                answer("The page", 200, vec![content]),
                answer("The page under this `If-None-Match` still holds", 304, Vec::new()),
            ],
        }
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

fn headers() -> Vec<MetaHeader> {
    let header = |name: &str, text: &str| MetaHeader {
        name: name.to_owned(),
        description: Some(text.to_owned()),
        required: true,
        deprecated: false,
        schema: String::schema_ref(),
    };
    vec![
        header("ETag", "Names these exact bytes; send it back as `If-None-Match`"),
        header("Cache-Control", "Keep it, but ask before showing it again"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_not_sent_twice() {
        let page = Rendered::new(&vec![1, 2]).unwrap();
        let etag = page.etag.to_str().unwrap().to_owned();
        let status = |header: Option<&str>| PageResponse::<Vec<i32>>::new(Arc::clone(&page), header).into_response();
        assert_eq!(status(None).status(), 200);
        assert_eq!(status(Some("\"other\"")).status(), 200);
        for tags in [etag.clone(), format!("\"other\", W/{etag}"), "*".to_owned()] {
            let answer = status(Some(&tags));
            assert_eq!(answer.status(), 304, "{tags}");
            assert_eq!(answer.headers()[header::ETAG], *etag);
        }
        assert_ne!(Rendered::new(&vec![1, 3]).unwrap().etag, page.etag);
    }
}
