//! The settings of authentication.

use std::time::Duration;

use super::scope::{Scope, Scopes};
use crate::base::{Error, Result, Secret, Secrets};

/// Whether the schemes that can be replayed still work for the secrets from the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// The seeds' schemes A1, A2 and A3 are accepted.
    #[default]
    Compat,
    /// Only A6 is accepted.
    Strict,
}

/// One of `INBOUND_API_KEYS`.
#[derive(Debug, Clone)]
pub struct InboundKey {
    pub secret: Secret,
    pub scopes: Scopes,
}

/// What an inbound key may do unless it says otherwise: what the seed's game servers do.
pub const INBOUND_SCOPES: Scopes =
    Scopes::of(&[Scope::Ingest, Scope::Evaluate, Scope::Apply, Scope::PlayersRead, Scope::Submit]);

/// What the automation signature may do.
pub const SIGNATURE_SCOPES: Scopes = Scopes::of(&[Scope::SyncRun, Scope::Evaluate]);

/// What the gateway key may do.
pub const GATEWAY_SCOPES: Scopes = Scopes::of(&[Scope::JobsProduce, Scope::JobsConsume, Scope::Submit]);

/// The most inbound keys; each request is compared with all of them, in constant time.
pub const MAX_INBOUND_KEYS: usize = 64;

#[derive(Debug, Clone)]
pub struct Config {
    /// `AUTH_MODE`.
    pub mode: Mode,
    /// `INBOUND_API_KEYS`: `key` or `key:scope+scope`, separated by commas.
    pub inbound: Vec<InboundKey>,
    /// Ingest needs no key: the list is empty and that was allowed (requirement F2).
    pub open_ingest: bool,
    /// `AUTOMATION_SIGNATURE_SECRET`, at most two live values.
    pub automation: Secrets,
    /// `API_KEY`, at most two live values.
    pub gateway_key: Secrets,
    /// `HMAC_SECRET`, at most two live values.
    pub gateway_hmac: Secrets,
    /// The operator's own secret, generated into the data directory; the command line signs with it.
    pub operator: Secret,
    /// Seals the secrets of keys made by `grps keys create`; 64 hex characters, generated into the data directory.
    pub sealing: Secret,
    /// `TIMESTAMP_TOLERANCE`: largest difference between a signature's time and ours.
    pub tolerance: Duration,
}

impl Config {
    /// Reads `INBOUND_API_KEYS`.
    ///
    /// # Errors
    /// `config.invalid` for too many keys, an unknown scope, or a key too short to be one.
    pub fn parse_inbound(text: &str) -> Result<Vec<InboundKey>> {
        let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.len() > MAX_INBOUND_KEYS {
            let detail = format!("INBOUND_API_KEYS holds {} keys; at most {MAX_INBOUND_KEYS} are read", parts.len());
            return Err(Error::invalid("config.invalid", detail));
        }
        parts.into_iter().map(Self::parse_one).collect()
    }

    fn parse_one(part: &str) -> Result<InboundKey> {
        let (key, scopes) = match part.split_once(':') {
            Some((key, scopes)) => (key, Scopes::parse(scopes, '+')?),
            None => (part, INBOUND_SCOPES),
        };
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::invalid(
                "config.invalid",
                "INBOUND_API_KEYS holds a key that cannot travel in a header",
            )
            .hint("use visible ASCII characters only, for example `openssl rand -hex 32`"));
        }
        Ok(InboundKey { secret: Secret::new(key), scopes })
    }
}
