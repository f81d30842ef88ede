//! The gate: an endpoint around the router that looks up the access table, proves the caller, and lets in or refuses. What is not in the
//! table does not pass, so an endpoint cannot be forgotten open.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt, pending};
use poem::error::{MethodNotAllowedError, NotFoundError};
use poem::{Endpoint, Request};

use super::caller::{Caller, Strength};
use super::config::{Config, GATEWAY_SCOPES, Mode, OPEN_SCOPES, SIGNATURE_SCOPES};
use super::keys::Keys;
use super::nonce::Nonces;
use super::schemes::{self, Evidence};
use super::scope::{Scope, Scopes};
use super::table::{self, Access};
use super::tickets::{self, Tickets};
use crate::base::clock::Stopwatch;
use crate::base::{Error, Result, Secret, Time};
use crate::http::{Context, Scheme};

/// The key id of the operator's own secret, which may do everything.
pub const OPERATOR: &str = "operator";

/// When a key is looked at again that could not be looked at.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

/// Proves callers. Shared by the gate and by sockets.
pub struct Auth {
    config: Config,
    keys: Keys,
    nonces: Nonces,
    tickets: Tickets,
    started: Time,
    uptime: Stopwatch,
}

impl Auth {
    /// # Errors
    /// `config.invalid` for settings that do not go together.
    pub fn new(config: Config, keys: Keys, started: Time) -> Result<Self> {
        config.check()?;
        let nonces = Nonces::new(config.tolerance);
        Ok(Self { config, keys, nonces, tickets: Tickets::default(), started, uptime: Stopwatch::start() })
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub fn tickets(&self) -> &Tickets {
        &self.tickets
    }

    /// The caller of a request to `access`, or why not. `local` tells whether this machine itself is calling.
    ///
    /// # Errors
    /// `auth.*`: credentials missing, wrong, replayed, of a scheme this endpoint does not take, or without the scope.
    pub async fn admit(&self, access: Access, local: bool, evidence: &Evidence<'_>) -> Result<Caller> {
        match access {
            Access::Open => Ok(Caller::nobody()),
            Access::OpenUnlessWrong => match presented(evidence, &Scheme::ALL) {
                Some(scheme) => self.prove(scheme, evidence).await,
                None => Ok(Caller::nobody()),
            },
            Access::LocalOr(schemes, _) if local && presented(evidence, schemes).is_none() => Ok(Caller::nobody()),
            Access::LocalOr(schemes, scope) | Access::Needs(schemes, scope) => {
                let caller = self.identify(schemes, scope, evidence).await?;
                caller.need(scope)?;
                Ok(caller)
            }
        }
    }

    /// Uses up the ticket that `caller` came with; other credentials stay good. Done last of all, when nothing can be refused any more: a
    /// browser whose socket is refused for another reason can try again with the same ticket.
    ///
    /// # Errors
    /// `auth.ticket_invalid` when somebody else was faster.
    pub fn use_up(&self, caller: &Caller, context: &Context) -> Result<()> {
        match caller.strength {
            Strength::Ticket => {
                let ticket = schemes::in_query(&context.target, "ticket").unwrap_or_default();
                self.tickets.redeem(ticket, context.now)
            }
            _ => Ok(()),
        }
    }

    /// What the credential that `caller` was proven with may do by now; none once its key is revoked.
    async fn standing(&self, caller: &Caller) -> Result<Option<Scopes>> {
        match Keys::makes(&caller.id) {
            true => self.keys.scopes(&caller.id).await,
            false => Ok(Some(caller.scopes)),
        }
    }

    /// Resolves once the key that `caller` was proven with is revoked, or lacks `scope`: for what goes on after its request, as sockets do.
    /// Never for credentials from the environment, which change with a restart only.
    pub fn ended(self: &Arc<Self>, caller: Caller, scope: Scope) -> BoxFuture<'static, ()> {
        if !Keys::makes(&caller.id) {
            return pending().boxed();
        }
        let auth = self.clone();
        async move {
            let mut revocations = auth.keys.revocations();
            loop {
                match auth.standing(&caller).await {
                    Ok(scopes) if scopes.is_none_or(|scopes| !scopes.has(scope)) => return,
                    Ok(_) => drop(revocations.changed().await),
                    // A store in trouble revokes nothing; but whether it was this key has to be found out.
                    Err(_) => drop(tokio::time::timeout(LOOK_AGAIN, revocations.changed()).await),
                }
            }
        }
        .boxed()
    }

    async fn identify(&self, accepted: &[Scheme], scope: Scope, evidence: &Evidence<'_>) -> Result<Caller> {
        let Some(scheme) = presented(evidence, accepted) else {
            if self.config.open_ingest && scope == Scope::Ingest {
                return Ok(Caller { id: "open-ingest".into(), scopes: OPEN_SCOPES, strength: Strength::Open });
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
            Scheme::GatewayKey => self.compat_only(schemes::gateway_key(&self.config, evidence)?),
            Scheme::QueryKey => self.compat_only(schemes::query_key(&self.config, evidence)?),
            Scheme::Ticket => {
                let ticket = schemes::in_query(evidence.target, "ticket").unwrap_or_default();
                let caller = self.tickets.holder(ticket, evidence.now)?;
                let scopes = self.standing(&caller).await?.ok_or_else(tickets::invalid)?;
                Ok(Caller { scopes, ..caller })
            }
            Scheme::ApiKey => {
                let given = evidence.headers.get("x-grps-api-key").and_then(|value| value.to_str().ok()).unwrap_or("");
                match self.keys.find_compat(given).await? {
                    Some(caller) => self.compat_only(caller),
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
                "AUTH_MODE is strict: only requests signed with x-grps-signature-v2 are accepted, and tickets for sockets",
            )
            .hint("sign with A6 (`grps sign a6` shows how), or set AUTH_MODE=compat")),
        }
    }

    async fn prove_signed(&self, evidence: &Evidence<'_>) -> Result<Caller> {
        let signed = schemes::read_signed(&self.config, evidence)?;
        let (secrets, scopes) = self.secrets_of(signed.kid).await?;
        let found = secrets.iter().enumerate().find(|(_, secret)| signed.verifies(secret));
        let (slot, secret) = found.ok_or_else(|| signed.refused())?;
        if self.may_be_forgotten(signed.at, self.uptime.elapsed()) {
            return Err(Error::unauthenticated(
                "auth.signed_before_start",
                "This request was signed before the server started",
            )
            .hint("sign it again with the current time"));
        }
        self.nonces.claim(signed.kid, secret, signed.nonce)?;
        self.keys.note_use(signed.kid, slot);
        Ok(Caller { id: signed.kid.to_owned(), scopes, strength: Strength::Signed })
    }

    /// Nonces are kept in memory, so a signature made before we started could be a replay that we no longer remember. Once we have run for
    /// longer than any such signature would pass, none is left; only a clock that was set back makes new ones look old then.
    fn may_be_forgotten(&self, at: i64, uptime: Duration) -> bool {
        at < self.started.seconds() && uptime <= self.config.tolerance * 2
    }

    /// The live secrets behind a key id; none when it is unknown, so that an unknown id and a wrong secret look alike.
    async fn secrets_of(&self, kid: &str) -> Result<(Vec<Secret>, Scopes)> {
        let config = &self.config;
        Ok(match kid {
            OPERATOR => (vec![config.operator.clone()], Scopes::EVERYTHING),
            "automation" => (config.automation.iter().cloned().collect(), SIGNATURE_SCOPES),
            "gateway" => (config.gateway_hmac.iter().cloned().collect(), GATEWAY_SCOPES),
            _ => match config.inbound.iter().find(|key| key.kid == kid) {
                Some(key) => (vec![key.secret.clone()], key.scopes),
                None => self.keys.live_secrets(kid).await?,
            },
        })
    }
}

/// Which scheme's parts a request carries; the strongest wins. `accepted` tells how `X-API-KEY` is meant, and whether queries count.
fn presented(evidence: &Evidence<'_>, accepted: &[Scheme]) -> Option<Scheme> {
    let gateway = if accepted.contains(&Scheme::GatewayKey) { Scheme::GatewayKey } else { Scheme::Gateway };
    let has = |name: &str| evidence.headers.contains_key(name);
    [
        ("x-grps-signature-v2", Scheme::SignedRequest),
        ("x-grps-api-key", Scheme::ApiKey),
        ("x-api-key", gateway),
        ("x-grps-signature", Scheme::Signature),
    ]
    .into_iter()
    .find_map(|(header, scheme)| has(header).then_some(scheme))
    .or_else(|| {
        let queries = [("ticket", Scheme::Ticket), ("api_key", Scheme::QueryKey)];
        let mut shown = queries.into_iter().filter(|(name, _)| schemes::in_query(evidence.target, name).is_some());
        shown.find(|(_, scheme)| accepted.contains(scheme)).map(|(_, scheme)| scheme)
    })
}

fn missing(accepted: &[Scheme]) -> Error {
    if accepted.first() == Some(&Scheme::Signature) {
        return Error::unauthenticated("auth.signature_missing", "Missing signature").hint(
            "send x-grps-signature: hex(HMAC-SHA256(AUTOMATION_SIGNATURE_SECRET, body)); `grps sign a1` shows how",
        );
    }
    let headers: Vec<&str> = accepted
        .iter()
        .map(|scheme| match scheme {
            Scheme::Signature => "x-grps-signature",
            Scheme::ApiKey => "x-grps-api-key",
            Scheme::Gateway => "X-API-KEY with X-TIMESTAMP and X-SIGNATURE",
            Scheme::SignedRequest => "x-grps-signature-v2 with x-grps-timestamp and x-grps-nonce",
            Scheme::GatewayKey => "X-API-KEY",
            Scheme::QueryKey => "?api_key=",
            Scheme::Ticket => "?ticket= from POST /ws/tickets",
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
        if table::wastes(request.method().as_str(), path) {
            return Err(MethodNotAllowedError.into());
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Clock, Ids, Secrets};
    use crate::domains::auth::Sealer;
    use crate::store::Store;

    fn config() -> Config {
        Config {
            mode: Mode::Compat,
            gateway_key_only: false,
            inbound: Vec::new(),
            open_ingest: true,
            automation: Secrets::default(),
            gateway_key: Secrets::default(),
            gateway_hmac: Secrets::default(),
            operator: Secret::new("operator"),
            sealing: Secret::generate().unwrap(),
            tolerance: Duration::from_secs(60),
        }
    }

    fn auth(config: Config) -> Result<Auth> {
        let clock = Clock::fake(Time(100_900));
        let sealer = Sealer::new(&config.sealing).unwrap();
        Auth::new(config, Keys::new(Store::in_memory(), clock.clone(), Ids::new(clock.clone()), sealer), clock.now())
    }

    #[test]
    fn signatures_from_before_the_start_are_refused_while_they_could_be_replays() {
        let auth = auth(config()).unwrap();
        let seconds = Duration::from_secs;
        assert!(auth.may_be_forgotten(99, seconds(0)) && auth.may_be_forgotten(99, seconds(120)));
        assert!(!auth.may_be_forgotten(100, seconds(0)), "the command line signs in the very second of the start");
        assert!(!auth.may_be_forgotten(99, seconds(121)), "a clock that was set back locks nobody out for long");
    }

    #[test]
    fn strict_mode_and_open_ingest_exclude_each_other() {
        let refused = auth(Config { mode: Mode::Strict, ..config() }).err().unwrap();
        assert_eq!(refused.code(), "config.invalid");
        assert!(refused.detail().contains("AUTH_MODE") && refused.detail().contains("INBOUND_API_KEYS"));
        assert!(auth(Config { mode: Mode::Strict, open_ingest: false, ..config() }).is_ok());
    }
}
