//! How failures look on the wire: RFC 9457 `application/problem+json`, one shape for everything (requirement X1). This file is the only
//! place that knows status codes; handlers return [`crate::base::Error`], the framework's own errors are translated here.

use std::any::Any;
use std::time::Duration;

use poem::error::{MethodNotAllowedError, NotFoundError, ReadBodyError, ResponseError};
use poem::http::{HeaderValue, StatusCode, header};
use poem::{IntoResponse, Response};
use poem_openapi::error::{
    AuthorizationError, ContentTypeError, ParseParamError, ParsePathError, ParseRequestPayloadError,
};
use serde_json::{Map, Value, json};

use super::sockets::NotAnUpgrade;
use super::spec::contract::{Operation, Param, Route};
use super::spec::words::quoted;
use crate::base::{Error, Field, Kind, panics};

/// Media type of every failure.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// How poem-openapi says that a required parameter is not there.
const ABSENT: &str = "expects an input value";

/// How long a client should wait before trying again when the error itself does not say, in seconds.
const RETRY_AFTER_SECONDS: u64 = 1;

/// An error with the status it is answered with.
#[derive(Debug)]
pub struct Failure {
    status: StatusCode,
    error: Error,
    allow: Option<HeaderValue>,
}

/// What was asked for, as far as the routes know it; makes framework errors speak of names instead of positions.
#[derive(Clone, Copy, Default)]
pub struct Asked<'a> {
    pub route: Option<&'a Route>,
    pub operation: Option<&'a Operation>,
    /// Path with query, for quoting what was found.
    pub target: &'a str,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self { status: status(error.kind()), error, allow: None }
    }
}

impl Failure {
    fn with(status: StatusCode, error: Error) -> Self {
        Self { status, error, allow: None }
    }

    /// 408: the body did not arrive in time.
    pub fn body_late(limit: Duration) -> Self {
        let detail = format!("the request body did not arrive within {} seconds", limit.as_secs_f64());
        Self::with(StatusCode::REQUEST_TIMEOUT, Error::invalid("request.body_timeout", detail))
    }

    /// 400: the connection ended, or its framing broke, before the whole body arrived.
    pub fn body_cut(cause: &std::io::Error) -> Self {
        let error = Error::invalid("request.body_incomplete", "the request body ended before it was complete");
        Self::with(StatusCode::BAD_REQUEST, error.context(cause))
    }

    /// 413, naming the limit (requirement X5).
    pub fn body_too_large(limit: usize) -> Self {
        let detail = format!("the request body is larger than the limit of {limit} bytes");
        Error::too_large("request.too_large", detail)
            .hint("send less at once; the server's owner can raise MAX_BODY_BYTES")
            .into()
    }

    /// 503: the bodies of other requests fill the memory there is for them.
    pub fn bodies_full() -> Self {
        Error::busy("request.busy", "the server holds as many request bodies as it can right now")
            .hint("send the request again after Retry-After")
            .into()
    }

    /// 503: the handler took too long; whether it took effect is unknown.
    pub fn handler_late(limit: Duration) -> Self {
        Error::busy("request.timeout", format!("the server gave up on this after {} seconds", limit.as_secs_f64()))
            .hint("it may have taken effect all the same: read before you try again")
            .context("handler deadline passed")
            .into()
    }

    /// 500: a handler panicked.
    pub fn panicked(cause: &(dyn Any + Send)) -> Self {
        Error::broken("server.panic", format!("panic: {}", panics::message(cause))).into()
    }

    /// 503 to a connection over the cap.
    pub fn no_connection_left() -> Self {
        Error::busy("server.connections", "the server has no connection left; try again shortly").into()
    }

    /// 426: the request is no WebSocket handshake.
    pub fn no_upgrade(why: NotAnUpgrade) -> Self {
        let error = Error::invalid("request.upgrade_required", why.to_string())
            .hint("open it with a WebSocket client, for example `websocat ws://…`; the README shows how");
        Self::with(StatusCode::UPGRADE_REQUIRED, error)
    }

    /// 403 to the preflight or the WebSocket of a page that is not on the list.
    pub fn foreign_origin() -> Self {
        Error::denied("cors.origin_not_allowed", "pages of this origin may not call this server from a browser")
            .hint("the server's owner can add the exact origin to ALLOWED_ORIGINS")
            .into()
    }

    /// Translates whatever the framework or a handler returned.
    pub fn from_poem(err: poem::Error, asked: Asked<'_>) -> Self {
        if let Some(error) = err.downcast_ref::<Error>() {
            return error.clone().into();
        }
        if err.is::<NotFoundError>() {
            let error = Error::missing("request.no_route", "there is nothing at this path");
            return error.hint("/docs lists what there is").into();
        }
        if err.is::<MethodNotAllowedError>() {
            return Self::wrong_method(asked);
        }
        if let Some(err) = err.downcast_ref::<ParseParamError>() {
            return param(asked.operation.and_then(|op| op.named(err.name)), err.name, &err.reason, asked).into();
        }
        if let Some(err) = err.downcast_ref::<ParsePathError>() {
            return param(asked.operation.and_then(|op| op.in_path(err.name)), err.name, &err.reason, asked).into();
        }
        if let Some(err) = err.downcast_ref::<ParseRequestPayloadError>() {
            return Error::field(&["body"], "value_error", err.reason.as_str()).into();
        }
        if let Some(err) = err.downcast_ref::<ContentTypeError>() {
            return Self::wrong_type(err);
        }
        if err.is::<AuthorizationError>() {
            return Error::unauthenticated("auth.missing", "a credential is required").into();
        }
        if let Some(why) = err.downcast_ref::<NotAnUpgrade>() {
            return Self::no_upgrade(*why);
        }
        if let Some(err) = err.downcast_ref::<ReadBodyError>() {
            return Error::broken("request.body_unread", err).into();
        }
        Self::other(&err)
    }

    fn wrong_method(asked: Asked<'_>) -> Self {
        let allow = asked.route.map(|route| route.allow.clone());
        let methods = allow.as_ref().and_then(|value| value.to_str().ok()).unwrap_or("another method");
        let error =
            Error::invalid("request.method_not_allowed", format!("this path does not take this method; use {methods}"));
        Self { allow, ..Self::with(StatusCode::METHOD_NOT_ALLOWED, error) }
    }

    fn wrong_type(err: &ContentTypeError) -> Self {
        let found = match err {
            ContentTypeError::NotSupported { content_type } => content_type.as_str(),
            ContentTypeError::ExpectContentType => "no Content-Type",
        };
        let error = Error::invalid("request.media_type", format!("this takes a JSON body, not {found}"));
        Self::with(StatusCode::UNSUPPORTED_MEDIA_TYPE, error.hint("send Content-Type: application/json"))
    }

    fn other(err: &poem::Error) -> Self {
        match err.status() {
            StatusCode::BAD_REQUEST => Error::invalid("request.invalid", err.to_string()).into(),
            status if status.is_client_error() => {
                Self::with(status, Error::invalid("request.refused", err.to_string()))
            }
            _ => Error::broken("server.error", err).into(),
        }
    }

    pub fn status(&self) -> StatusCode {
        self.status
    }

    pub fn error(&self) -> &Error {
        &self.error
    }

    /// The response, which names the request so that the caller can quote it.
    pub fn respond(&self, request_id: &str) -> Response {
        let mut response = Response::from(self.body(request_id).to_string());
        response.set_status(self.status);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("GRPS realm=\"grps\""));
        }
        if let Some(wait) = self.wait_seconds() {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(wait));
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        if let Some(allow) = &self.allow {
            headers.insert(header::ALLOW, allow.clone());
        }
        response
    }

    /// The response as bytes of HTTP/1.1, for connections that never reach the framework.
    pub fn raw(&self) -> String {
        let body = self.body("").to_string();
        let wait = self.wait_seconds().map(|wait| format!("retry-after: {wait}\r\n")).unwrap_or_default();
        let length = body.len();
        format!(
            "HTTP/1.1 {}\r\ncontent-type: {PROBLEM_JSON}\r\n{wait}connection: close\r\ncontent-length: {length}\r\n\r\n{body}",
            self.status
        )
    }

    fn wait_seconds(&self) -> Option<u64> {
        let tries_again = matches!(self.status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        let waits = tries_again && self.error.kind() != Kind::NotConfigured;
        // Rounded up: a client that comes back a moment early is refused once more.
        let said = self.error.wait().map(|wait| wait.as_millis().div_ceil(1000) as u64);
        waits.then(|| said.unwrap_or(RETRY_AFTER_SECONDS).max(1))
    }

    fn body(&self, request_id: &str) -> Value {
        let error = &self.error;
        let mut body = Map::new();
        body.insert("type".into(), format!("urn:grps:error:{}", error.code()).into());
        body.insert("title".into(), self.status.canonical_reason().unwrap_or("Error").into());
        body.insert("status".into(), self.status.as_u16().into());
        body.insert("detail".into(), error.detail().into());
        body.insert("code".into(), error.code().into());
        body.insert("requestId".into(), request_id.into());
        if let Some(hint) = error.hint_text() {
            body.insert("hint".into(), hint.into());
        }
        if !error.field_list().is_empty() {
            body.insert("errors".into(), error.field_list().iter().map(complaint).collect());
        }
        Value::Object(body)
    }
}

fn status(kind: Kind) -> StatusCode {
    match kind {
        Kind::Missing => StatusCode::NOT_FOUND,
        Kind::Invalid => StatusCode::UNPROCESSABLE_ENTITY,
        Kind::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        Kind::Conflict => StatusCode::CONFLICT,
        Kind::Denied => StatusCode::FORBIDDEN,
        Kind::Unauthenticated => StatusCode::UNAUTHORIZED,
        Kind::Busy | Kind::NotConfigured => StatusCode::SERVICE_UNAVAILABLE,
        Kind::Limited => StatusCode::TOO_MANY_REQUESTS,
        Kind::Remote => StatusCode::BAD_GATEWAY,
        Kind::Full => StatusCode::INSUFFICIENT_STORAGE,
        Kind::Broken => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// One entry of `errors`: FastAPI's `loc`, `msg` and `type`, and for body fields the JSON pointer.
fn complaint(field: &Field) -> Value {
    let mut entry = json!({ "loc": field.loc, "msg": field.msg, "type": field.kind });
    if let [first, rest @ ..] = field.loc.as_slice()
        && first == "body"
    {
        let pointer: String =
            rest.iter().map(|part| format!("/{}", part.replace('~', "~0").replace('/', "~1"))).collect();
        entry["pointer"] = pointer.into();
    }
    entry
}

/// A parameter that did not parse, told in the terms of the published contract.
fn param(known: Option<&Param>, name: &str, reason: &str, asked: Asked<'_>) -> Error {
    let Some(known) = known else { return Error::field(&["query", name], "value_error", reason) };
    let loc = [known.place.as_str(), known.name.as_str()];
    if reason.contains(ABSENT) {
        return Error::field(&loc, "missing", format!("is required: {}", known.expected));
    }
    // Headers may carry secrets, so what was found there is not repeated.
    let found = asked.route.and_then(|route| known.found(asked.target, route));
    let found = found.map(|text| format!(", found {}", quoted(&text))).unwrap_or_default();
    Error::field(&loc, "value_error", format!("expected {}{found}", known.expected))
}

/// For handlers that return `poem::Result`; behind [`super::Front`] the request id is added to the same body.
impl ResponseError for Error {
    fn status(&self) -> StatusCode {
        status(self.kind())
    }

    fn as_response(&self) -> Response {
        Failure::from(self.clone()).respond("")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.respond("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn wire(failure: Failure) -> (Response, Value) {
        let mut response = failure.respond("abc");
        let body = response.take_body().into_json::<Value>().await.unwrap();
        (response, body)
    }

    #[tokio::test]
    async fn every_kind_has_its_status_and_one_shape() {
        let kinds = [
            (Kind::Missing, 404),
            (Kind::Invalid, 422),
            (Kind::TooLarge, 413),
            (Kind::Conflict, 409),
            (Kind::Denied, 403),
            (Kind::Unauthenticated, 401),
            (Kind::Busy, 503),
            (Kind::Limited, 429),
            (Kind::NotConfigured, 503),
            (Kind::Remote, 502),
            (Kind::Full, 507),
            (Kind::Broken, 500),
        ];
        for (kind, expected) in kinds {
            let (response, body) = wire(Error::new(kind, "some.code", "what happened").hint("do this").into()).await;
            assert_eq!(response.status().as_u16(), expected);
            assert_eq!(response.content_type(), Some(PROBLEM_JSON));
            assert_eq!(body["status"], expected);
            assert_eq!(body["code"], "some.code");
            assert_eq!(body["detail"], "what happened");
            assert_eq!(body["requestId"], "abc");
            assert_eq!(body["hint"], "do this");
            assert_eq!(response.header("www-authenticate").is_some(), expected == 401);
        }
    }

    #[tokio::test]
    async fn waits_are_rounded_up_and_context_stays_inside() {
        let error =
            Error::limited("rate.limited", "slow down").retry_after(Duration::from_millis(1200)).context("hidden");
        let (response, body) = wire(error.into()).await;
        assert_eq!(response.header("retry-after"), Some("2"));
        assert!(!body.to_string().contains("hidden"));
        let (off, _) = wire(Error::not_configured("export.off", "set DATABASE_URL").into()).await;
        assert_eq!(off.header("retry-after"), None);
    }

    #[tokio::test]
    async fn field_complaints_carry_loc_and_pointer() {
        let (_, body) = wire(Error::field(&["body", "a/b", "0"], "int_type", "expected an integer").into()).await;
        assert_eq!(body["errors"][0]["loc"], json!(["body", "a/b", "0"]));
        assert_eq!(body["errors"][0]["pointer"], "/a~1b/0");
        let (_, body) = wire(Error::field(&["query", "limit"], "int_type", "expected an integer").into()).await;
        assert_eq!(body["errors"][0].get("pointer"), None);
    }
}
