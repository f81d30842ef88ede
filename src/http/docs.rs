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

/// The page both other addresses of it lead to.
const HOME: &str = "/docs";

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

/// Every page and what it shows. The access table lists the same paths, which the program checks when it starts.
static PAGES: [(&str, Content); 10] = [
    ("/", Content::MovedHome),
    ("/docs/", Content::MovedHome),
    (HOME, Content::Html(include_bytes!("docs/index.html"))),
    ("/docs/docs.js", Content::Script(include_bytes!("docs/docs.js"))),
    ("/docs/sign.js", Content::Script(include_bytes!("docs/sign.js"))),
    ("/docs/docs.css", Content::Style(include_bytes!("docs/docs.css"))),
    ("/docs/swagger-ui.js", Content::SwaggerScript),
    ("/docs/swagger-ui.css", Content::SwaggerStyle),
    ("/openapi.json", Content::SpecJson),
    ("/openapi.yaml", Content::SpecYaml),
];

enum Content {
    Html(&'static [u8]),
    Script(&'static [u8]),
    Style(&'static [u8]),
    SwaggerScript,
    SwaggerStyle,
    SpecJson,
    SpecYaml,
    MovedHome,
}

/// The path of every page.
pub fn paths() -> impl Iterator<Item = &'static str> {
    PAGES.iter().map(|(path, _)| *path)
}

/// The whole site: the documentation pages in front of the API.
pub struct Site<E> {
    api: E,
    pages: HashMap<&'static str, Page>,
}

struct Page {
    /// Where it has moved to; then the rest is of no use.
    moved: Option<HeaderValue>,
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
            moved: None,
            pattern: PathPattern(path.into()),
            kind: HeaderValue::from_static(kind),
            cache: HeaderValue::from_static(cache),
            tag: HeaderValue::from_str(&tag).unwrap_or(HeaderValue::from_static("\"\"")),
            body,
        }
    }

    fn answer(&self, request: &Request) -> Response {
        let held = request.headers().get(header::IF_NONE_MATCH);
        let mut response = match &self.moved {
            Some(_) => Response::from(StatusCode::PERMANENT_REDIRECT),
            None if held == Some(&self.tag) => Response::from(StatusCode::NOT_MODIFIED),
            None => Response::from(self.body.clone()),
        };
        response.set_data(self.pattern.clone());
        let headers = response.headers_mut();
        if let Some(to) = &self.moved {
            headers.insert(header::LOCATION, to.clone());
            return response;
        }
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
    const FRESH: &str = "no-cache";
    let (bundle, style) = swagger_ui()?;
    let page = |&(path, ref content): &(&'static str, Content)| {
        let page = match content {
            Content::Html(bytes) => Page::new(path, HTML, FRESH, *bytes),
            Content::Script(bytes) => Page::new(path, JS, FRESH, *bytes),
            Content::Style(bytes) => Page::new(path, CSS, FRESH, *bytes),
            Content::SwaggerScript => Page::new(path, JS, ASSET_CACHE, bundle.clone()),
            Content::SwaggerStyle => Page::new(path, CSS, ASSET_CACHE, style.clone()),
            Content::SpecJson => Page::new(path, "application/json", FRESH, spec.json()),
            Content::SpecYaml => Page::new(path, "application/yaml", FRESH, spec.yaml()),
            Content::MovedHome => {
                Page { moved: Some(HeaderValue::from_static(HOME)), ..Page::new(path, HTML, FRESH, Bytes::new()) }
            }
        };
        (path, page)
    };
    Ok(PAGES.iter().map(page).collect())
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
        for path in paths().filter(|path| !["/", "/docs/"].contains(path)) {
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
    async fn other_addresses_of_the_docs_lead_to_them() {
        let site = Site::new(poem::Route::new(), &spec(), Docs::Open).unwrap();
        for path in ["/", "/docs/"] {
            let response = get(&site, path).await.unwrap();
            assert_eq!(
                (response.status(), response.header("location")),
                (StatusCode::PERMANENT_REDIRECT, Some("/docs"))
            );
        }
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
        for path in paths() {
            assert_eq!(get(&site, path).await.unwrap_err().status(), StatusCode::NOT_FOUND);
        }
    }
}
