//! The one outermost layer: everything a request meets before the gate and the routes, and everything a response meets after them.
//!
//! In order: request id → client address → rate limit → CORS preflight → body (limits, deadline) → inner endpoint (deadline, panics) →
//! failure as problem+json → headers → metrics → one line in the access log. One layer instead of ten, because each of poem's costs a
//! boxed future and this is the hot path.

mod body;
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

use futures_util::FutureExt;
use poem::http::uri::Authority;
use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use poem::{Endpoint, IntoResponse, PathPattern, Request, Response};

use self::body::{Bodies, Room};
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

/// What an orchestrator asks again and again, from one address: never limited, so that a busy neighbour does not get the server killed.
const PROBES: [&str; 2] = ["/health/live", "/health/ready"];

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
    own_host: Option<Authority>,
    proxies: Proxies,
    limiter: Option<Limiter>,
    recorder: Recorder,
    bodies: Bodies,
    handler_deadline: Duration,
}

/// What the rest of the layer knows of a request after the routes have consumed it.
struct Caller {
    id: Arc<str>,
    address: IpAddr,
    local: bool,
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

/// What becomes of a request in front of the routes.
enum Admitted<'a> {
    /// It is answered already.
    Answered(Response),
    /// It goes on to the routes; its body's room is held until they have answered.
    Ready(Room<'a>),
}

impl<E: Endpoint> Front<E> {
    /// Puts the layer around `inner`, the gate and the routes. `contract` is what bodies are held against.
    pub fn new(inner: E, contract: Arc<Contract>, config: &Config, clock: Clock, metrics: &Metrics) -> Self {
        Self {
            inner,
            contract,
            clock,
            origins: config.allowed_origins.clone(),
            own_host: config.base_url.parse::<Uri>().ok().and_then(|url| url.authority().cloned()),
            proxies: config.trusted_proxies.clone(),
            limiter: Limiter::new(config.rate_limit_requests, config.rate_limit_window_seconds),
            recorder: Recorder::new(metrics),
            bodies: Bodies::new(config.max_body_bytes, ms(config.body_deadline_ms)),
            handler_deadline: ms(config.handler_deadline_ms),
        }
    }

    fn caller(&self, request: &Request) -> Caller {
        let headers = request.headers();
        Caller {
            id: request_id(headers),
            address: client::address(request.remote_addr(), headers, &self.proxies),
            local: client::is_local(request),
            method: request.method().clone(),
            // Nothing has stripped a prefix yet: this is the path as sent.
            uri: request.uri().clone(),
            origin: headers.get(header::ORIGIN).cloned(),
        }
    }

    /// What stands before the routes: either it answers itself, or it leaves the request ready for them.
    async fn admit(
        &self,
        request: &mut Request,
        caller: &Caller,
        allowance: Option<&Allowance>,
    ) -> Result<Admitted<'_>, Failure> {
        if let Some(error) = allowance.and_then(Allowance::refusal) {
            return Err(error.into());
        }
        if let Some(answer) = self.preflight(request, caller)? {
            return Ok(Admitted::Answered(answer));
        }
        if self.is_foreign_socket(request, caller) {
            return Err(Failure::foreign_origin());
        }
        let (body, room) = self.bodies.read(request).await?;
        request.extensions_mut().insert(Context {
            request_id: caller.id.clone(),
            client: caller.address,
            local: caller.local,
            target: caller.target().to_owned(),
            body,
            now: self.clock.now(),
            contract: self.contract.clone(),
        });
        Ok(Admitted::Ready(room))
    }

    /// Takes one request off the client's allowance; `None` when nothing is counted.
    fn allowance(&self, caller: &Caller) -> Option<Allowance> {
        let probe = matches!(caller.method, Method::GET | Method::HEAD) && PROBES.contains(&caller.uri.path());
        self.limiter.as_ref().filter(|_| !probe).map(|limiter| limiter.take(caller.address))
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

    /// The answer to a browser that asks whether a page of another origin may send a request.
    fn preflight(&self, request: &Request, caller: &Caller) -> Result<Option<Response>, Failure> {
        let asks = request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        let Some(origin) = caller.origin.as_ref().filter(|_| asks && caller.method == Method::OPTIONS) else {
            return Ok(None);
        };
        if !self.origins.allows(origin.as_bytes()) {
            return Err(Failure::foreign_origin());
        }
        let mut response = Response::from(StatusCode::NO_CONTENT);
        let headers = response.headers_mut();
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, PUT"));
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(PREFLIGHT_SECONDS));
        if let Some(asked) = request.headers().get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        Ok(Some(response))
    }

    /// Whether a page of another origin wants a WebSocket. Browsers ask no preflight for those, so this is where it is refused. Programs
    /// name no origin, or (several libraries do) that of the server itself. An origin that equals `Host` proves little by itself: a page
    /// whose name was made to point here has it too (DNS rebinding). So the host must be one no stranger's page can have: an address, this
    /// machine, or the name in `SERVICE_BASE_URL`.
    fn is_foreign_socket(&self, request: &Request, caller: &Caller) -> bool {
        let Some(origin) = caller.origin.as_ref().filter(|_| request.headers().contains_key(header::UPGRADE)) else {
            return false;
        };
        let host = request.headers().get(header::HOST).map_or(&b""[..], HeaderValue::as_bytes);
        let named = origin.to_str().ok().and_then(|origin| origin.split_once("://")).map_or("", |(_, host)| host);
        let own =
            named.as_bytes().eq_ignore_ascii_case(host) && (client::is_beyond_names(named) || self.is_ours(named));
        !own && !self.origins.allows(origin.as_bytes())
    }

    fn is_ours(&self, host: &str) -> bool {
        self.own_host.as_ref().is_some_and(|own| own.as_str().eq_ignore_ascii_case(host))
    }

    /// Headers every response carries.
    fn dress(&self, status: StatusCode, headers: &mut HeaderMap, caller: &Caller) {
        if let Ok(id) = HeaderValue::from_str(&caller.id) {
            headers.insert(REQUEST_ID.clone(), id);
        }
        if status == StatusCode::SWITCHING_PROTOCOLS {
            // Nothing is cached, sniffed or read by a page here.
            return;
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
        let allowance = self.allowance(&caller);
        let (answer, pattern) = match self.admit(&mut request, &caller, allowance.as_ref()).await {
            Ok(Admitted::Ready(_room)) => self.pass(request, &caller).await,
            Ok(Admitted::Answered(response)) => (Ok(response), None),
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
        self.dress(status, response.headers_mut(), &caller);
        if let Some(allowance) = allowance.filter(|_| status != StatusCode::SWITCHING_PROTOCOLS) {
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
