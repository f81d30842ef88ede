//! Secrets: values that no log, error or debug print can show.

use std::fmt;
use std::sync::LazyLock;

use ring::hmac;
use ring::rand::{SecureRandom, SystemRandom};
use secrecy::{ExposeSecret, SecretString};

use super::error::{Error, Result};

/// One secret value.
#[derive(Clone)]
pub struct Secret(SecretString);

impl Secret {
    pub fn new(text: impl Into<String>) -> Self {
        Self(SecretString::from(text.into()))
    }

    /// 32 random bytes as 64 hex characters.
    ///
    /// # Errors
    /// `secret.no_randomness` when the system has none to give.
    pub fn generate() -> Result<Self> {
        let mut bytes = [0u8; 32];
        SystemRandom::new()
            .fill(&mut bytes)
            .map_err(|_| Error::broken("secret.no_randomness", "the system's random source failed"))?;
        Ok(Self::new(data_encoding::HEXLOWER.encode(&bytes)))
    }

    /// The value itself: only for signing, comparing, and writing to the owner's own file or terminal.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    /// Whether `candidate` is this secret, in time that depends on neither.
    ///
    /// Both sides are hashed under a key that is random per process and the tags compared with ring's constant-time verification, so
    /// lengths do not leak either.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        static KEY: LazyLock<Option<hmac::Key>> =
            LazyLock::new(|| hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok());
        let Some(key) = KEY.as_ref() else { return false };
        let tag = hmac::sign(key, candidate);
        hmac::verify(key, self.expose().as_bytes(), tag.as_ref()).is_ok()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// The live values of one secret: one, or two while it is being rotated (requirement P3). The first is the one we sign with.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// Live values at most.
    pub const MAX: usize = 2;

    /// Reads `value` or `new,old`.
    ///
    /// # Errors
    /// `secret.too_many` for more than two values.
    pub fn parse(text: &str) -> Result<Self> {
        let values: Vec<Secret> =
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(Secret::new).collect();
        if values.len() > Self::MAX {
            return Err(Error::invalid(
                "secret.too_many",
                "at most two values of a secret can be live at a time: new,old",
            ));
        }
        Ok(Self(values))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn first(&self) -> Option<&Secret> {
        self.0.first()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_never_prints_itself() {
        let secret = Secret::new("hunter2hunter2");
        assert!(!format!("{secret:?}").contains("hunter"));
        assert!(!format!("{:?}", Secrets::parse("a,b").unwrap()).contains('a'.to_string().as_str().repeat(2).as_str()));
        assert!(secret.matches(b"hunter2hunter2"));
        assert!(!secret.matches(b"hunter2"));
        assert!(!secret.matches(b""));
    }

    #[test]
    fn two_values_may_live_side_by_side() {
        assert_eq!(Secrets::parse(" new , old ").unwrap().iter().count(), 2);
        assert!(Secrets::parse("a,b,c").is_err());
        assert!(Secrets::parse(" , ").unwrap().is_empty());
    }
}
