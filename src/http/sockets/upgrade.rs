//! The handshake of RFC 6455, from the request to the 101 and the connection behind it.

use std::fmt;

use poem::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use poem::{FromRequest, IntoResponse, OnUpgrade, Request, RequestBody, Response, Upgraded};
use poem_openapi::ApiResponse;
use poem_openapi::registry::{MetaResponse, MetaResponses, Registry};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::http::failure::Failure;

/// A request that may become a socket: an argument of handlers.
pub struct Upgrade {
    accept: HeaderValue,
    connection: OnUpgrade,
}

/// The refusal of a request that is no handshake: 426, naming what is missing.
#[derive(Debug, Clone, Copy)]
pub struct NotAnUpgrade(pub &'static str);

impl fmt::Display for NotAnUpgrade {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NotAnUpgrade {}

impl poem::error::ResponseError for NotAnUpgrade {
    fn status(&self) -> StatusCode {
        StatusCode::UPGRADE_REQUIRED
    }

    fn as_response(&self) -> Response {
        Failure::no_upgrade(*self).into_response()
    }
}

impl Upgrade {
    fn of(request: &Request) -> Result<Self, NotAnUpgrade> {
        let headers = request.headers();
        if request.method() != Method::GET || !lists(headers, &header::UPGRADE, "websocket") {
            return Err(NotAnUpgrade("this path speaks WebSocket: the request has no Upgrade: websocket"));
        }
        if !lists(headers, &header::CONNECTION, "upgrade") {
            return Err(NotAnUpgrade(
                "the request says Upgrade but not Connection: Upgrade; a proxy in between may not pass WebSockets on",
            ));
        }
        if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
            return Err(NotAnUpgrade("Sec-WebSocket-Version must be 13"));
        }
        let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
        if data_encoding::BASE64.decode(key).ok().is_none_or(|nonce| nonce.len() != 16) {
            return Err(NotAnUpgrade("Sec-WebSocket-Key must be 16 bytes in base64"));
        }
        let accept = HeaderValue::from_str(&derive_accept_key(key));
        let accept = accept.map_err(|_| NotAnUpgrade("Sec-WebSocket-Key must be 16 bytes in base64"))?;
        let connection = request.take_upgrade();
        let connection = connection.map_err(|_| NotAnUpgrade("this connection cannot be upgraded; use HTTP/1.1"))?;
        Ok(Self { accept, connection })
    }

    /// The 101. Once it is sent, `serve` runs with the connection.
    pub(super) fn switch<S, F>(self, serve: S) -> Switching
    where
        S: FnOnce(Upgraded) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let Self { accept, connection } = self;
        #[allow(clippy::disallowed_methods)] // sockets are this module's tasks; each holds a seat
        tokio::spawn(async move {
            // An error means that the 101 was never sent.
            if let Ok(stream) = connection.await {
                serve(stream).await;
            }
        });
        Switching { accept }
    }
}

impl<'a> FromRequest<'a> for Upgrade {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Self::of(request)?)
    }
}

/// Whether the comma list in header `name` has `token`, in whatever case.
fn lists(headers: &HeaderMap, name: &HeaderName, token: &str) -> bool {
    let lines = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|part| part.trim().eq_ignore_ascii_case(token))
}

/// The answer 101.
pub struct Switching {
    accept: HeaderValue,
}

impl IntoResponse for Switching {
    fn into_response(self) -> Response {
        Response::builder()
            .status(StatusCode::SWITCHING_PROTOCOLS)
            .header(header::CONNECTION, "Upgrade")
            .header(header::UPGRADE, "websocket")
            .header(header::SEC_WEBSOCKET_ACCEPT, self.accept)
            .finish()
    }
}

impl ApiResponse for Switching {
    fn meta() -> MetaResponses {
        let switching = MetaResponse {
            description: "The connection is a WebSocket from here on",
            status: Some(101),
            status_range: None,
            content: Vec::new(),
            headers: Vec::new(),
        };
        MetaResponses { responses: vec![switching] }
    }

    fn register(_: &mut Registry) {}
}
