//! Who is calling: every scheme ends in one [`Caller`] (requirement R1). What is done for them is told of a [`Sender`].

use poem::{FromRequest, Request, RequestBody};

use super::scope::{Scope, Scopes};
use crate::base::{Error, Result, Time};
use crate::domains::audit::{Actor, Entry};
use crate::http::Context;

/// How a credential was proven, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strength {
    /// Nothing was shown.
    Open,
    /// A secret travelled with the request (A2).
    Key,
    /// A ticket, which is not used up yet: whoever opens what it is for does that, with [`super::Auth::use_up`].
    Ticket,
    /// Something was signed, but the same signature works again (A1, A3).
    Replayable,
    /// This very request was signed, once (A6).
    Signed,
}

/// An authenticated caller, or nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The credential's public name: `automation`, `gateway`, `operator`, or a key id such as `k4f0c2a91`. Never the secret.
    pub id: String,
    pub scopes: Scopes,
    pub strength: Strength,
}

impl Caller {
    pub fn nobody() -> Self {
        Self { id: "anonymous".into(), scopes: Scopes::default(), strength: Strength::Open }
    }

    pub fn may(&self, scope: Scope) -> bool {
        self.scopes.has(scope)
    }

    /// # Errors
    /// `auth.scope_missing` naming the scope and the credential.
    pub fn need(&self, scope: Scope) -> Result<()> {
        if self.may(scope) {
            return Ok(());
        }
        Err(Error::denied(
            "auth.scope_missing",
            format!("the credential \"{}\" may not do this: it lacks {scope}", self.id),
        )
        .hint(format!("use a key with {scope}; `grps keys list` shows the scopes of each key")))
    }

    /// Whether the caller may hand `scopes` to others: nobody gives away what they do not have.
    ///
    /// # Errors
    /// `auth.scope_missing` naming what the caller lacks.
    pub fn may_grant(&self, scopes: Scopes) -> Result<()> {
        if self.scopes.covers(scopes) {
            return Ok(());
        }
        let lacking: Vec<&str> =
            scopes.texts().into_iter().filter(|text| !self.scopes.texts().contains(text)).collect();
        Err(Error::denied(
            "auth.scope_missing",
            format!("the credential \"{}\" may not give a key {}: it lacks that itself", self.id, lacking.join(", ")),
        )
        .hint("leave those scopes out, or use a credential that has them; `grps keys` on the server's machine has all"))
    }
}

/// Handlers take the caller as their first argument; the gate has put it into the request.
impl<'a> FromRequest<'a> for Caller {
    async fn from_request(request: &'a Request, _body: &mut RequestBody) -> poem::Result<Self> {
        Ok(request.extensions().get::<Caller>().cloned().unwrap_or_else(Caller::nobody))
    }
}

/// Who asks for something, and in which request: what audit rows tell.
#[derive(Debug, Clone)]
pub struct Sender {
    pub actor: Actor,
    /// Whoever asks without a request makes one up that says so.
    pub request_id: String,
}

impl Sender {
    /// An audit row of what was done for them.
    pub fn entry(&self, at: Time, action: &str, subject: impl Into<String>) -> Entry {
        Entry::new(at, &self.actor, &self.request_id, action, subject)
    }
}

impl<'a> FromRequest<'a> for Sender {
    async fn from_request(request: &'a Request, body: &mut RequestBody) -> poem::Result<Self> {
        let caller = Caller::from_request(request, body).await?;
        Ok(Self { actor: Actor::of(caller.id), request_id: Context::of(request)?.request_id.to_string() })
    }
}
