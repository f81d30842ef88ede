//! What goes back: good answers, and failures in the shapes that Roblox's services have.

use poem::http::{HeaderName, HeaderValue, StatusCode};
use poem::{Body, Response};
use serde_json::{Value, json};

use crate::base::Time;

/// An answer, before it is sent.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub status: u16,
    pub kind: &'static str,
    pub headers: Vec<(&'static str, String)>,
    pub body: String,
}

/// What a request comes to.
pub(super) type Outcome<T = Reply> = Result<T, Reply>;

/// Whose shape a failure has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Dialect {
    /// `{"code", "message"}`; the ordered stores of v1 too.
    V2,
    /// `{"error", "message", "errorDetails"}`, as the data stores of v1 have it.
    Stores,
    /// `{"errors": [{"code", "message"}]}`, as the gateway and the older services have it.
    Gateway,
}

impl Reply {
    pub fn new(status: u16, kind: &'static str, body: impl Into<String>) -> Self {
        Self { status, kind, headers: Vec::new(), body: body.into() }
    }

    pub fn json(status: u16, body: &Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    pub fn ok(body: &Value) -> Outcome {
        Ok(Self::json(200, body))
    }

    /// 200 with nothing in it.
    pub fn done() -> Outcome {
        Ok(Self::new(200, "", ""))
    }

    pub fn html(status: u16, text: &str) -> Self {
        Self::new(status, "text/html", format!("<html><body><h1>{status} {text}</h1></body></html>"))
    }

    pub fn v2(status: u16, message: &str) -> Self {
        Self::json(status, &json!({"code": name_of(status), "message": message}))
    }

    /// `detail` is a `datastoreErrorCode`.
    pub fn stores(status: u16, message: &str, detail: &str) -> Self {
        let details = json!([{"errorDetailType": "DatastoreErrorInfo", "datastoreErrorCode": detail}]);
        let error = if detail == "InsufficientScope" { "INSUFFICIENT_SCOPE" } else { name_of(status) };
        Self::json(status, &json!({"error": error, "message": message, "errorDetails": details}))
    }

    pub fn gateway(status: u16, code: u32, message: &str) -> Self {
        Self::json(status, &json!({"errors": [{"code": code, "message": message}]}))
    }

    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    pub fn response(self, at: Time) -> Response {
        let mut response = Response::builder()
            .status(StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR))
            .body(Body::from(self.body));
        let date = ("date", date(at));
        let kind = ("content-type", self.kind.to_owned());
        for (name, value) in [date, kind].into_iter().chain(self.headers).filter(|(_, value)| !value.is_empty()) {
            if let Ok(value) = HeaderValue::from_str(&value) {
                response.headers_mut().insert(HeaderName::from_static(name), value);
            }
        }
        response
    }
}

impl Dialect {
    /// The shape of a service's failures, by its address.
    pub fn at(path: &str) -> Self {
        match path.split('/').nth(1) {
            Some("datastores") => Self::Stores,
            Some("legacy-groups" | "api-keys") => Self::Gateway,
            _ => Self::V2,
        }
    }

    pub fn invalid(self, why: &str) -> Reply {
        match self {
            Self::V2 => Reply::v2(400, why),
            Self::Stores => Reply::stores(400, why, "InvalidEntryKey"),
            Self::Gateway => Reply::gateway(400, 0, why),
        }
    }

    pub fn denied(self, why: &str) -> Reply {
        match self {
            Self::V2 => Reply::v2(403, why),
            Self::Stores => Reply::stores(403, why, "InsufficientScope"),
            Self::Gateway => Reply::gateway(403, 23, "Insufficient permissions to complete the request."),
        }
    }

    pub fn limited(self) -> Reply {
        match self {
            Self::V2 => Reply::v2(429, "Too many requests."),
            Self::Stores => Reply::stores(429, "Too many requests.", "TooManyRequests"),
            Self::Gateway => Reply::gateway(429, 0, "Too many requests"),
        }
    }
}

fn name_of(status: u16) -> &'static str {
    match status {
        400 => "INVALID_ARGUMENT",
        403 => "PERMISSION_DENIED",
        404 => "NOT_FOUND",
        409 => "ABORTED",
        412 => "FAILED_PRECONDITION",
        429 => "RESOURCE_EXHAUSTED",
        499 => "CANCELLED",
        503 => "UNAVAILABLE",
        _ => "INTERNAL",
    }
}

/// As the `date` header has it: `Sat, 21 Nov 2026 16:20:28 GMT`.
fn date(at: Time) -> String {
    let format = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    at.calendar().format(&format).unwrap_or_default()
}
