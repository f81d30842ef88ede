//! The one outermost layer: everything a request meets before the gate and the routes, and everything a response meets after them.
//!
//! In order: request id → client address → CORS preflight → rate limit → body (limit, deadline) → inner endpoint (deadline, panics) →
//! failure as problem+json → headers → metrics → one line in the access log. One layer instead of ten, because each of poem's costs a
//! boxed future and this is the hot path.

pub mod client;
mod context;
mod limit;
pub mod log;
mod record;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::net::IpAddr;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, StreamExt};
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use poem::{Endpoint, IntoResponse, PathPattern, Request, Response};

pub use self::context::Context;
use self::limit::{Allowance, Limiter};
use self::record::{Exchange, Recorder};
use super::config::{Config, Origins, Proxies, ms};
use super::failure::{Asked, Failure};
use super::spec::Contract;
use crate::base::Clock;
use crate::base::clock::Stopwatch;
use crate::base::metrics::Metrics;

static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How much of a body that is too large is read and thrown away, in bytes, so that its sender gets to read the 413.
const MAX_DISCARD: u64 = 8 * 1024 * 1024;

/// How long a browser may remember a preflight, in seconds.
const PREFLIGHT_SECONDS: &str = "600";

/// Response headers a page of another origin may read.
const EXPOSED: &str = "etag, retry-after, ratelimit-limit, ratelimit-remaining, ratelimit-reset, x-request-id, x-grps-job-id, \
    x-grps-next-cursor, x-grps-pages, x-grps-failed, x-grps-unchanged";

/// The outermost endpoint. It always answers: failures of `inner` come out as responses.
pub struct Front<E> {
    inner: E,
    contract: Arc<Contract>,
    clock: Clock,
    origins: Origins,
    proxies: Proxies,
    limiter: Option<Limiter>,
    recorder: Recorder,
    max_body_bytes: usize,
    body_deadline: Duration,
    handler_deadline: Duration,
}

/// What the rest of the layer knows of a request after the routes have consumed it.
struct Caller {
    id: Arc<str>,
    address: IpAddr,
    method: Method,
    uri: Uri,
    origin: Option<HeaderValue>,
}

impl Caller {
    /// Path with query, as sent.
    fn target(&self) -> &str {
        self.uri.path_and_query().map_or("/", |target| target.as_str())
    }
}

type Answer = Result<Response, Failure>;

/// `None`: go on to the routes.
type Admission = Result<Option<Response>, Failure>;

impl<E: Endpoint> Front<E> {
    /// Puts the layer around `inner`, the gate and the routes. `contract` is what bodies are held against.
    pub fn new(inner: E, contract: Arc<Contract>, config: &Config, clock: Clock, metrics: &Metrics) -> Self {
        Self {
            inner,
            contract,
            clock,
            origins: config.allowed_origins.clone(),
            proxies: config.trusted_proxies.clone(),
            limiter: Limiter::new(config.rate_limit_requests, config.rate_limit_window_seconds),
            recorder: Recorder::new(metrics),
            max_body_bytes: config.max_body_bytes,
            body_deadline: ms(config.body_deadline_ms),
            handler_deadline: ms(config.handler_deadline_ms),
        }
    }

    fn caller(&self, request: &Request) -> Caller {
        let headers = request.headers();
        Caller {
            id: request_id(headers),
            address: client::address(request.remote_addr(), headers, &self.proxies),
            method: request.method().clone(),
            // Nothing has stripped a prefix yet: this is the path as sent.
            uri: request.uri().clone(),
            origin: headers.get(header::ORIGIN).cloned(),
        }
    }

    /// What stands before the routes: either it answers itself, or it leaves the request ready for them.
    async fn admit(&self, request: &mut Request, caller: &Caller, allowance: Option<&Allowance>) -> Admission {
        if let Some(error) = allowance.and_then(Allowance::refusal) {
            return Err(error.into());
        }
        if let Some(answer) = self.preflight(request, caller)? {
            return Ok(Some(answer));
        }
        let body = self.body(request).await?;
        let target = caller.target().to_owned();
        let context = Context::new(caller.id.clone(), caller.address, target, body, self.clock.now());
        request.extensions_mut().insert(context.with_contract(self.contract.clone()));
        Ok(None)
    }

    /// Lets the routes answer, within the deadline and whatever they do.
    async fn pass(&self, request: Request, caller: &Caller) -> (Answer, Option<PathPattern>) {
        let call = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        let result: Result<_, Box<dyn Any + Send>> = match tokio::time::timeout(self.handler_deadline, call).await {
            Ok(result) => result,
            Err(_) => return (Err(Failure::handler_late(self.handler_deadline)), None),
        };
        match result {
            Ok(Ok(output)) => {
                let response = output.into_response();
                let pattern = response.data::<PathPattern>().cloned();
                (Ok(response), pattern)
            }
            Ok(Err(err)) => {
                let pattern = err.data::<PathPattern>().cloned();
                let route = pattern.as_ref().and_then(|pattern| self.contract.route(&pattern.0));
                let operation = route.and_then(|route| route.operation(&caller.method));
                (Err(Failure::from_poem(err, Asked { route, operation, target: caller.target() })), pattern)
            }
            Err(panic) => (Err(Failure::panicked(panic.as_ref())), None),
        }
    }

    /// Reads the whole body within its limit and deadline, and puts it back for extractors that read it themselves.
    async fn body(&self, request: &mut Request) -> Result<Bytes, Failure> {
        let body = request.take_body();
        if body.is_empty() {
            return Ok(Bytes::new());
        }
        let declared = request.header(header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        let awaits_go = request.headers().contains_key(header::EXPECT);
        let read = async {
            if declared.is_some_and(|length| length > self.max_body_bytes as u64) {
                if !awaits_go {
                    discard(body, declared.unwrap_or(MAX_DISCARD)).await;
                }
                return Err(Failure::body_too_large(self.max_body_bytes));
            }
            collect(body, declared.unwrap_or(0) as usize, self.max_body_bytes).await
        };
        let bytes = tokio::time::timeout(self.body_deadline, read).await;
        let bytes = bytes.unwrap_or_else(|_| Err(Failure::body_late(self.body_deadline)))?;
        request.set_body(bytes.clone());
        Ok(bytes)
    }

    /// The answer to a browser that asks whether a page of another origin may send a request.
    fn preflight(&self, request: &Request, caller: &Caller) -> Admission {
        let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let Some(origin) = caller.origin.as_ref().filter(|_| asks && caller.method == Method::OPTIONS) else {
            return Ok(None);
        };
        if !self.origins.allows(origin.as_bytes()) {
            return Err(Failure::foreign_origin());
        }
        let mut response = Response::from(poem::http::StatusCode::NO_CONTENT);
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
        if let Some(asked) = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        Ok(Some(response))
    }

    /// Headers every response carries.
    fn dress(&self, headers: &mut HeaderMap, caller: &Caller) {
        if let Ok(id) = HeaderValue::from_str(&caller.id) {
            headers.insert(REQUEST_ID.clone(), id);
        }
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        headers.append(header::VARY, HeaderValue::from_static("origin"));
        if let Some(origin) = caller.origin.as_ref().filter(|origin| self.origins.allows(origin.as_bytes())) {
            // The exact origin, from an exact list: never `*`, so credentials can be allowed (requirement B36).
            headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
            headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
}

impl<E: Endpoint> Endpoint for Front<E> {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let watch = Stopwatch::start();
        let caller = self.caller(&request);
        let allowance = self.limiter.as_ref().map(|limiter| limiter.take(caller.address));
        let (answer, pattern) = match self.admit(&mut request, &caller, allowance.as_ref()).await {
            Ok(None) => self.pass(request, &caller).await,
            Ok(Some(response)) => (Ok(response), None),
            Err(failure) => (Err(failure), None),
        };
        let route = pattern.map(|PathPattern(pattern)| match self.contract.route(&pattern) {
            Some(route) => route.template.clone(),
            None => pattern,
        });
        let (mut response, failure) = match answer {
            Ok(response) => (response, None),
            Err(failure) => (failure.respond(&caller.id), Some(failure)),
        };
        let (status, took) = (response.status(), watch.elapsed());
        self.recorder.record(&Exchange { caller: &caller, route, status, failure: failure.as_ref(), took });
        self.dress(response.headers_mut(), &caller);
        if let Some(allowance) = &allowance {
            allowance.describe(response.headers_mut());
        }
        Ok(response)
    }
}

/// The caller's own id when it is 1 to 128 visible ASCII characters, else a fresh one of 16 hex characters (requirement X2).
fn request_id(headers: &HeaderMap) -> Arc<str> {
    let given = headers.get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    if let Some(id) = given.filter(|id| (1..=128).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())) {
        return id.into();
    }
    let mut text = [0u8; 16];
    data_encoding::HEXLOWER.encode_mut(&fastrand::u64(..).to_be_bytes(), &mut text);
    std::str::from_utf8(&text).unwrap_or_default().into()
}

async fn collect(body: poem::Body, declared: usize, limit: usize) -> Result<Bytes, Failure> {
    let mut chunks = body.into_bytes_stream();
    let mut first: Option<Bytes> = None;
    let mut all = BytesMut::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|cause| Failure::body_cut(&cause))?;
        let so_far = first.as_ref().map_or(all.len(), Bytes::len);
        if so_far + chunk.len() > limit {
            return Err(Failure::body_too_large(limit));
        }
        if so_far == 0 {
            // Most bodies are one chunk, which needs no copy.
            first = Some(chunk);
            continue;
        }
        if let Some(first) = first.take() {
            all.reserve(declared.clamp(so_far + chunk.len(), limit));
            all.extend_from_slice(&first);
        }
        all.extend_from_slice(&chunk);
    }
    Ok(first.unwrap_or_else(|| all.freeze()))
}

/// Reads what is still coming, up to a bound, so that closing the connection does not reset it before the client has read our answer.
async fn discard(body: poem::Body, length: u64) {
    if length > MAX_DISCARD {
        return;
    }
    let mut chunks = body.into_bytes_stream();
    while let Some(Ok(_)) = chunks.next().await {}
}
