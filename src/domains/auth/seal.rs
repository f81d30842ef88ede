//! Seals the secrets of stored keys, so that a copy of the database alone (a backup, an export) gives nobody a working key. A6 needs the
//! secret itself to verify, so a hash would not do.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};

use crate::base::{Error, Result, Secret};

/// A sealed secret: AES-256-GCM under the data directory's sealing key, bound to its key id.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Sealed {
    nonce: [u8; NONCE_LEN],
    bytes: Vec<u8>,
}

pub struct Sealer {
    key: LessSafeKey,
}

impl Sealer {
    /// `secret` is 64 hex characters: 32 bytes.
    ///
    /// # Errors
    /// `auth.sealing_key_invalid` when it is not.
    pub fn new(secret: &Secret) -> Result<Self> {
        let bytes = data_encoding::HEXLOWER.decode(secret.expose().as_bytes()).unwrap_or_default();
        let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| {
            Error::invalid(
                "auth.sealing_key_invalid",
                "the sealing key in the data directory's secrets.json is not 64 hex characters",
            )
            .hint("restore secrets.json from a backup; without it the keys made by `grps keys create` cannot be read")
        })?;
        Ok(Self { key: LessSafeKey::new(key) })
    }

    /// # Errors
    /// `secret.no_randomness`.
    pub fn seal(&self, kid: &str, secret: &Secret) -> Result<Sealed> {
        let mut nonce = [0u8; NONCE_LEN];
        let failed = |_| Error::broken("secret.no_randomness", "sealing a key failed");
        SystemRandom::new().fill(&mut nonce).map_err(failed)?;
        let mut bytes = secret.expose().as_bytes().to_vec();
        let unique = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(unique, Aad::from(kid.as_bytes()), &mut bytes).map_err(failed)?;
        Ok(Sealed { nonce, bytes })
    }

    /// # Errors
    /// `auth.seal_broken` when the sealing key or the stored bytes are not the ones it was sealed with.
    pub fn open(&self, kid: &str, sealed: &Sealed) -> Result<Secret> {
        let failed = || Error::broken("auth.seal_broken", format!("the stored secret of key {kid} does not open"));
        let mut bytes = sealed.bytes.clone();
        let nonce = Nonce::assume_unique_for_key(sealed.nonce);
        let plain = self.key.open_in_place(nonce, Aad::from(kid.as_bytes()), &mut bytes).map_err(|_| failed())?;
        String::from_utf8(plain.to_vec()).map(Secret::new).map_err(|_| failed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_opens_only_with_its_key_and_its_id() {
        let sealer = Sealer::new(&Secret::generate().unwrap()).unwrap();
        let sealed = sealer.seal("c1", &Secret::new("hunter2")).unwrap();
        assert_eq!(sealer.open("c1", &sealed).unwrap().expose(), "hunter2");
        assert!(sealer.open("c2", &sealed).is_err());
        let other = Sealer::new(&Secret::generate().unwrap()).unwrap();
        assert!(other.open("c1", &sealed).is_err());
        assert!(Sealer::new(&Secret::new("short")).is_err());
    }
}
