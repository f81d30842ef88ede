//! The pages for people and tools: Swagger UI at `/docs` with a signing helper, and the document itself. Everything comes from this
//! binary; the page's policy forbids the browser to load or call anything else.

use std::collections::HashMap;

use bytes::Bytes;
use poem::http::{HeaderValue, Method, StatusCode, header};
use poem::{Endpoint, IntoResponse, PathPattern, Request, Response};
use poem_openapi::OpenApiService;
use ring::digest;

use super::spec::Spec;
use crate::base::{Error, Result};

/// Swagger UI writes styles into elements, so those are allowed inline; scripts are not.
const POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
    connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A browser keeps assets this long before asking again; they change only with the binary.
const ASSET_CACHE: &str = "public, max-age=3600";

/// Whether the pages are served at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Docs {
    #[default]
    Open,
    /// `/docs` and `/openapi.*` answer 404 like any unknown path.
    Closed,
}

/// The whole site: the documentation pages in front of the API.
pub struct Site<E> {
    api: E,
    pages: HashMap<&'static str, Page>,
}

struct Page {
    pattern: PathPattern,
    kind: HeaderValue,
    cache: HeaderValue,
    tag: HeaderValue,
    body: Bytes,
}

impl<E: Endpoint> Site<E> {
    /// Puts the pages in front of `api`.
    ///
    /// # Errors
    /// `docs.assets_missing` when poem-openapi no longer carries Swagger UI in the shape we take it from; a test would have failed first.
    pub fn new(api: E, spec: &Spec, docs: Docs) -> Result<Self> {
        let pages = match docs {
            Docs::Open => pages(spec)?,
            Docs::Closed => HashMap::new(),
        };
        Ok(Self { api, pages })
    }
}

impl<E: Endpoint> Endpoint for Site<E> {
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        let reads = matches!(*request.method(), Method::GET | Method::HEAD);
        match self.pages.get(request.uri().path()).filter(|_| reads) {
            Some(page) => Ok(page.answer(&request)),
            None => self.api.call(request).await.map(IntoResponse::into_response),
        }
    }
}

impl Page {
    fn new(path: &'static str, kind: &'static str, cache: &'static str, body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let hash = digest::digest(&digest::SHA256, &body);
        let tag = format!("\"{}\"", data_encoding::HEXLOWER.encode(&hash.as_ref()[..8]));
        Self {
            pattern: PathPattern(path.into()),
            kind: HeaderValue::from_static(kind),
            cache: HeaderValue::from_static(cache),
            tag: HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\"")),
            body,
        }
    }

    fn answer(&self, request: &Request) -> Response {
        let held = request.headers().get(header::IF_NONE_MATCH);
        let mut response = match held == Some(&self.tag) {
            true => Response::from(StatusCode::NOT_MODIFIED),
            false => Response::from(self.body.clone()),
        };
        response.set_data(self.pattern.clone());
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, self.kind.clone());
        headers.insert(header::CACHE_CONTROL, self.cache.clone());
        headers.insert(header::ETAG, self.tag.clone());
        headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        response
    }
}

fn pages(spec: &Spec) -> Result<HashMap<&'static str, Page>> {
    const HTML: &str = "text/html; charset=utf-8";
    const JS: &str = "text/javascript; charset=utf-8";
    const CSS: &str = "text/css; charset=utf-8";
    let (bundle, style) = swagger_ui()?;
    let mut pages = HashMap::new();
    let mut add = |path, kind, cache, body: Bytes| pages.insert(path, Page::new(path, kind, cache, body));
    let index = Bytes::from_static(include_bytes!("docs/index.html"));
    add("/docs", HTML, "no-cache", index.clone());
    add("/docs/", HTML, "no-cache", index);
    add("/docs/docs.js", JS, "no-cache", Bytes::from_static(include_bytes!("docs/docs.js")));
    add("/docs/sign.js", JS, "no-cache", Bytes::from_static(include_bytes!("docs/sign.js")));
    add("/docs/docs.css", CSS, "no-cache", Bytes::from_static(include_bytes!("docs/docs.css")));
    add("/docs/swagger-ui.js", JS, ASSET_CACHE, bundle);
    add("/docs/swagger-ui.css", CSS, ASSET_CACHE, style);
    add("/openapi.json", "application/json", "no-cache", spec.json().into());
    add("/openapi.yaml", "application/yaml", "no-cache", spec.yaml().into());
    Ok(pages)
}

/// Swagger UI's script and style, cut out of the one page poem-openapi offers them in.
fn swagger_ui() -> Result<(Bytes, Bytes)> {
    let page = OpenApiService::new((), "", "").swagger_ui_html();
    let between = |start: &str, end: &str| {
        let from = page.find(start)? + start.len();
        let length = page[from..].find(end)?;
        Some(Bytes::copy_from_slice(&page.as_bytes()[from..from + length]))
    };
    let missing = || Error::broken("docs.assets_missing", "poem-openapi's Swagger UI page has changed its shape");
    let style = between("<style charset=\"UTF-8\">", "</style>").ok_or_else(missing)?;
    let script = between("<script charset=\"UTF-8\">", "</script>\n</head>").ok_or_else(missing)?;
    Ok((script, style))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> Spec {
        Spec::polish(&OpenApiService::new((), "t", "1").spec(), |_, _| Default::default()).unwrap()
    }

    async fn get(site: &Site<poem::Route>, path: &str) -> poem::Result<Response> {
        site.call(Request::builder().uri(path.parse().unwrap()).finish()).await
    }

    #[tokio::test]
    async fn pages_come_from_the_binary_and_name_no_other_place() {
        let site = Site::new(poem::Route::new(), &spec(), Docs::Open).unwrap();
        for path in site.pages.keys() {
            let mut response = get(&site, path).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK, "{path}");
            assert!(response.header("content-security-policy").unwrap().contains("default-src 'self'"));
            let body = response.take_body().into_bytes().await.unwrap();
            assert!(!body.is_empty());
            if !path.contains("swagger") {
                let text = String::from_utf8(body.to_vec()).unwrap().replace("http://www.w3.org/2000/svg", "");
                assert!(!text.contains("http://") && !text.contains("https://"), "{path} names another place");
            }
        }
        let bundle = &site.pages["/docs/swagger-ui.js"].body;
        assert!(bundle.len() > 1_000_000, "the whole bundle, not a cut one");
        assert!(site.pages["/docs/swagger-ui.css"].body.starts_with(b".swagger-ui"));
    }

    #[tokio::test]
    async fn an_unchanged_page_is_not_sent_again() {
        let site = Site::new(poem::Route::new(), &spec(), Docs::Open).unwrap();
        let tag = get(&site, "/docs").await.unwrap().header("etag").unwrap().to_owned();
        let again = Request::builder().uri("/docs".parse().unwrap()).header("if-none-match", tag).finish();
        assert_eq!(site.call(again).await.unwrap().status(), StatusCode::NOT_MODIFIED);
    }

    #[tokio::test]
    async fn closed_docs_are_unknown_paths() {
        let site = Site::new(poem::Route::new(), &spec(), Docs::Closed).unwrap();
        for path in ["/docs", "/openapi.json", "/openapi.yaml"] {
            assert_eq!(get(&site, path).await.unwrap_err().status(), StatusCode::NOT_FOUND);
        }
    }
}
