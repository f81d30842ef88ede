//! What the front layer knows of a request, for the gate and the handlers.

use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use poem::{FromRequest, Request, RequestBody};

use crate::base::{Error, Result, Time};
use crate::http::spec::Contract;

/// A request's surroundings: an extension of every request behind [`super::Front`], and an argument of handlers.
#[derive(Clone)]
pub struct Context {
    /// Echoed as `x-request-id`; goes into log lines, audit rows and jobs.
    pub request_id: Arc<str>,
    /// Who is calling, past trusted proxies.
    pub client: IpAddr,
    /// Whether this machine itself is calling, past no proxy at all.
    pub local: bool,
    /// Path with query, exactly as sent: what signatures cover.
    pub target: String,
    /// The body, exactly as sent: what signatures cover.
    pub body: Bytes,
    /// When the request came in.
    pub now: Time,
    pub(super) contract: Arc<Contract>,
}

impl Context {
    /// The published contract this request is held against.
    pub fn contract(&self) -> &Contract {
        &self.contract
    }

    /// The context of `request`.
    ///
    /// # Errors
    /// `http.no_front` when the request did not come through [`super::Front`]: a fault in the wiring.
    pub fn of(request: &Request) -> Result<&Self> {
        request.extensions().get().ok_or_else(|| Error::broken("http.no_front", "the request has no Context extension"))
    }
}

impl<'a> FromRequest<'a> for &'a Context {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Context::of(request)?)
    }
}

impl<'a> FromRequest<'a> for Context {
    async fn from_request(request: &'a Request, _: &mut RequestBody) -> poem::Result<Self> {
        Ok(Context::of(request)?.clone())
    }
}
