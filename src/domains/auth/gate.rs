//! The gate: an endpoint around the router that looks up the access table, proves the caller, and lets in or refuses. What is not in the
//! table does not pass, so an endpoint cannot be forgotten open.

use std::sync::Arc;

use poem::error::NotFoundError;
use poem::{Endpoint, Request};

use super::caller::{Caller, Strength};
use super::config::{Config, GATEWAY_SCOPES, INBOUND_SCOPES, Mode, SIGNATURE_SCOPES};
use super::keys::Keys;
use super::nonce::Nonces;
use super::schemes::{self, Evidence};
use super::scope::{Scope, Scopes};
use super::table::{self, Access};
use crate::base::{Error, Result, Secret, Time};
use crate::http::{Context, Scheme};

/// Proves callers. Shared by the gate and, later, by sockets.
pub struct Auth {
    config: Config,
    keys: Keys,
    nonces: Nonces,
    started: Time,
}

impl Auth {
    pub fn new(config: Config, keys: Keys, started: Time) -> Self {
        let nonces = Nonces::new(config.tolerance);
        Self { config, keys, nonces, started }
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The caller of a request to `access`, or why not. `local` tells whether this machine itself is calling.
    ///
    /// # Errors
    /// `auth.*`: credentials missing, wrong, replayed, of a scheme this endpoint does not take, or without the scope.
    pub async fn admit(&self, access: Access, local: bool, evidence: &Evidence<'_>) -> Result<Caller> {
        match access {
            Access::Open => Ok(Caller::nobody()),
            Access::OpenUnlessWrong => match presented(evidence) {
                Some(scheme) => self.prove(scheme, evidence).await,
                None => Ok(Caller::nobody()),
            },
            Access::LocalOr(_, _) if local && presented(evidence).is_none() => Ok(Caller::nobody()),
            Access::LocalOr(schemes, scope) | Access::Needs(schemes, scope) => {
                let caller = self.identify(schemes, scope, evidence).await?;
                caller.need(scope)?;
                Ok(caller)
            }
        }
    }

    async fn identify(&self, accepted: &[Scheme], scope: Scope, evidence: &Evidence<'_>) -> Result<Caller> {
        let Some(scheme) = presented(evidence) else {
            if self.config.open_ingest && scope == Scope::Ingest {
                return Ok(Caller { id: "open-ingest".into(), scopes: INBOUND_SCOPES, strength: Strength::Open });
            }
            return Err(missing(accepted));
        };
        if !accepted.contains(&scheme) {
            let names: Vec<&str> = accepted.iter().map(|scheme| scheme.short()).collect();
            return Err(Error::unauthenticated(
                "auth.scheme_not_accepted",
                format!("this endpoint takes {}, not {}", names.join(", "), scheme.short()),
            )
            .hint("the table of endpoints and schemes is in the README"));
        }
        self.prove(scheme, evidence).await
    }

    async fn prove(&self, scheme: Scheme, evidence: &Evidence<'_>) -> Result<Caller> {
        match scheme {
            Scheme::Signature => self.compat_only(schemes::signature(&self.config, evidence)?),
            Scheme::Gateway => self.compat_only(schemes::gateway(&self.config, evidence)?),
            Scheme::ApiKey => {
                let given = evidence.headers.get("x-grps-api-key").and_then(|value| value.to_str().ok()).unwrap_or("");
                match self.keys.find_compat(given).await? {
                    Some(caller) => Ok(caller),
                    None => self.compat_only(schemes::inbound_key(&self.config, given)?),
                }
            }
            Scheme::SignedRequest => self.prove_signed(evidence).await,
        }
    }

    fn compat_only(&self, caller: Caller) -> Result<Caller> {
        match self.config.mode {
            Mode::Compat => Ok(caller),
            Mode::Strict => Err(Error::unauthenticated(
                "auth.strict",
                "AUTH_MODE is strict: only requests signed with x-grps-signature-v2 are accepted",
            )
            .hint("sign with A6 (`grps sign a6` shows how), or set AUTH_MODE=compat")),
        }
    }

    async fn prove_signed(&self, evidence: &Evidence<'_>) -> Result<Caller> {
        let signed = schemes::read_signed(&self.config, evidence)?;
        let (secrets, scopes) = self.secrets_of(signed.kid).await?;
        let slot = secrets.iter().position(|secret| signed.verifies(secret)).ok_or_else(|| signed.refused())?;
        // Nonces are kept in memory, so a signature made before we started could be a replay that we no longer remember.
        let made = evidence.headers.get("x-grps-timestamp").and_then(|at| at.to_str().ok()?.parse::<i64>().ok());
        if made.is_some_and(|seconds| seconds < self.started.seconds()) {
            return Err(Error::unauthenticated(
                "auth.signed_before_start",
                "This request was signed before the server started",
            )
            .hint("sign it again with the current time"));
        }
        self.nonces.claim(signed.kid, signed.nonce)?;
        self.keys.note_use(signed.kid, slot);
        Ok(Caller { id: signed.kid.to_owned(), scopes, strength: Strength::Signed })
    }

    /// The live secrets behind a key id; none when it is unknown, so that an unknown id and a wrong secret look alike.
    async fn secrets_of(&self, kid: &str) -> Result<(Vec<Secret>, Scopes)> {
        let config = &self.config;
        Ok(match kid {
            "operator" => (vec![config.operator.clone()], Scopes::EVERYTHING),
            "automation" => (config.automation.iter().cloned().collect(), SIGNATURE_SCOPES),
            "gateway" => (config.gateway_hmac.iter().cloned().collect(), GATEWAY_SCOPES),
            _ => match config.inbound.iter().find(|key| schemes::fingerprint(&key.secret) == kid) {
                Some(key) => (vec![key.secret.clone()], key.scopes),
                None => self.keys.live_secrets(kid).await?,
            },
        })
    }
}

/// Which scheme's headers a request carries; the strongest wins.
fn presented(evidence: &Evidence<'_>) -> Option<Scheme> {
    let has = |name: &str| evidence.headers.contains_key(name);
    [
        ("x-grps-signature-v2", Scheme::SignedRequest),
        ("x-grps-api-key", Scheme::ApiKey),
        ("x-api-key", Scheme::Gateway),
        ("x-grps-signature", Scheme::Signature),
    ]
    .into_iter()
    .find_map(|(header, scheme)| has(header).then_some(scheme))
}

fn missing(accepted: &[Scheme]) -> Error {
    if accepted.first() == Some(&Scheme::Signature) {
        return Error::unauthenticated("auth.signature_missing", "Missing signature");
    }
    let headers: Vec<&str> = accepted
        .iter()
        .map(|scheme| match scheme {
            Scheme::Signature => "x-grps-signature",
            Scheme::ApiKey => "x-grps-api-key",
            Scheme::Gateway => "X-API-KEY with X-TIMESTAMP and X-SIGNATURE",
            Scheme::SignedRequest => "x-grps-signature-v2 with x-grps-timestamp and x-grps-nonce",
        })
        .collect();
    Error::unauthenticated("auth.credentials_missing", "Missing credentials")
        .hint(format!("send {}; /docs fills them in for you", headers.join(", or ")))
}

/// Wraps `inner` with the gate.
pub fn gate<E: Endpoint>(auth: Arc<Auth>, inner: E) -> Gate<E> {
    Gate { auth, inner }
}

pub struct Gate<E> {
    auth: Arc<Auth>,
    inner: E,
}

impl<E: Endpoint> Endpoint for Gate<E> {
    type Output = E::Output;

    async fn call(&self, mut request: Request) -> poem::Result<Self::Output> {
        let path = request.uri().path();
        let Some(rule) = table::find(request.method().as_str(), path) else {
            // A listed path with another method goes to the router only to be refused with the methods it takes: the router has no
            // operation that the table has not, which `App::endpoint` checks.
            return if table::lists(path) { self.inner.call(request).await } else { Err(NotFoundError.into()) };
        };
        let context = Context::of(&request)?;
        let evidence = Evidence {
            method: request.method().as_str(),
            target: &context.target,
            headers: request.headers(),
            body: &context.body,
            now: context.now,
        };
        let caller = self.auth.admit(rule.access, context.local, &evidence).await?;
        request.extensions_mut().insert(caller);
        self.inner.call(request).await
    }
}
