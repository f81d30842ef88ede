//! The settings of authentication.

use std::time::Duration;

use super::schemes::fingerprint;
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
    /// Its public id, [`fingerprint`] of the secret.
    pub kid: String,
    pub secret: Secret,
    pub scopes: Scopes,
}

/// What an inbound key may do unless it says otherwise: what the seed's game servers do.
pub const INBOUND_SCOPES: Scopes =
    Scopes::of(&[Scope::Ingest, Scope::Evaluate, Scope::Apply, Scope::PlayersRead, Scope::Submit]);

/// What nobody in particular may do where ingest is open: nothing that takes effect on people, nothing that reads them.
pub const OPEN_SCOPES: Scopes = Scopes::of(&[Scope::Ingest, Scope::Evaluate]);

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
    /// `GATEWAY_AUTH=key`: the gateway's key alone is enough, without time and signature (requirement R2).
    pub gateway_key_only: bool,
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
        parts.iter().zip(1..).map(|(part, entry)| Self::parse_one(part, entry)).collect()
    }

    /// Errors name the entry by its number and quote nothing: a key may hold a `:` and then anything quoted is a part of it.
    fn parse_one(part: &str, entry: usize) -> Result<InboundKey> {
        let (key, scopes) = match part.split_once(':') {
            Some((key, scopes)) => (key, Self::parse_scopes(scopes, entry)?),
            None => (part, INBOUND_SCOPES),
        };
        if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(Error::invalid(
                "config.invalid",
                format!("INBOUND_API_KEYS, entry {entry}: the key cannot travel in a header"),
            )
            .hint("use visible ASCII characters only, for example `openssl rand -hex 32`"));
        }
        let secret = Secret::new(key);
        Ok(InboundKey { kid: fingerprint(&secret), secret, scopes })
    }

    fn parse_scopes(text: &str, entry: usize) -> Result<Scopes> {
        let scopes = Scopes::parse(text, '+').ok().filter(|scopes| *scopes != Scopes::default());
        scopes.ok_or_else(|| {
            let known: Vec<&str> = Scope::ALL.iter().map(|scope| scope.text()).collect();
            Error::invalid(
                "config.invalid",
                format!("INBOUND_API_KEYS, entry {entry}: what follows ':' is not a list of scopes joined by +"),
            )
            .hint(format!("the scopes are {} and *; a key itself cannot hold a ':'", known.join(", ")))
        })
    }

    /// Whether the settings go together.
    ///
    /// # Errors
    /// `config.invalid` when strict mode would stand beside an ingest that asks for nothing at all.
    pub fn check(&self) -> Result<()> {
        if self.mode == Mode::Strict && self.open_ingest {
            return Err(Error::invalid(
                "config.invalid",
                "AUTH_MODE is strict and INBOUND_API_KEYS is empty, so anyone could post snapshots without signing",
            )
            .hint("remove the empty INBOUND_API_KEYS to have a key generated, or set AUTH_MODE=compat"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_does_not_parse_is_not_quoted() {
        for bad in ["good-key,half:secret-rest", "good-key,half:ingest+secret-rest", "good-key,half:", "good-key,a:b:c"]
        {
            let error = Config::parse_inbound(bad).unwrap_err();
            assert_eq!(
                error.detail(),
                "INBOUND_API_KEYS, entry 2: what follows ':' is not a list of scopes joined by +"
            );
            let all = format!("{error:?} {}", error.hint_text().unwrap());
            assert!(!all.contains("secret-rest") && !all.contains("half"), "{all}");
        }
        let unsendable = Config::parse_inbound("a,b\u{e9}c").unwrap_err();
        assert!(unsendable.detail().contains("entry 2") && !unsendable.detail().contains('\u{e9}'));
        assert_eq!(Config::parse_inbound("a:ingest+apply,b").unwrap().len(), 2);
    }
}
