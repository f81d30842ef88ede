//! Encryption of checkpoints: what a person holds ([`Lock`]), and the key of one file made from it ([`Seal`]).

use std::fmt;
use std::num::NonZeroU32;
use std::path::Path;

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::pbkdf2::{self, PBKDF2_HMAC_SHA256};
use ring::rand::{SecureRandom, SystemRandom};

use super::format::{HEADER, LockKind, Locking};
use crate::base::{Error, Result, Secret};

/// Work to try one passphrase: what OWASP asks of PBKDF2-HMAC-SHA256.
const ITERATIONS: u32 = 600_000;

/// More than that is not waited for, whatever a header says.
const MAX_ITERATIONS: u32 = 10_000_000;

/// Length of a chunk's authentication tag.
pub(super) const TAG: usize = 16;

/// What opens an encrypted file.
#[derive(Clone)]
pub enum Lock {
    Passphrase(Secret),
    Key([u8; 32]),
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Passphrase(_) => "Lock::Passphrase(…)",
            Self::Key(_) => "Lock::Key(…)",
        })
    }
}

impl Lock {
    /// Locks a new file: how, for its header, and with what.
    ///
    /// # Errors
    /// `secret.no_randomness`; `checkpoint.passphrase_empty`.
    pub(super) fn close(&self) -> Result<(Locking, Seal)> {
        let mut locking = match self {
            Self::Passphrase(_) => Locking { kind: LockKind::Passphrase, iterations: ITERATIONS, ..Locking::NONE },
            Self::Key(_) => Locking { kind: LockKind::Key, ..Locking::NONE },
        };
        SystemRandom::new()
            .fill(&mut locking.salt)
            .map_err(|_| Error::broken("secret.no_randomness", "the system's random source failed"))?;
        let (seal, check) = self.derive(&locking)?;
        locking.check = check;
        Ok((locking, seal))
    }

    /// The seal of this file alone, and what tells that it is the right one.
    fn derive(&self, locking: &Locking) -> Result<(Seal, [u8; 16])> {
        let mut master = [0; 32];
        match self {
            Self::Key(key) => master = *key,
            Self::Passphrase(secret) => {
                if secret.expose().is_empty() {
                    return Err(Error::invalid("checkpoint.passphrase_empty", "the passphrase is empty"));
                }
                let iterations = NonZeroU32::new(locking.iterations).unwrap_or(NonZeroU32::MIN);
                let text = secret.expose().as_bytes();
                pbkdf2::derive(PBKDF2_HMAC_SHA256, iterations, &locking.salt, text, &mut master);
            }
        }
        let failed = |_| Error::broken("checkpoint.no_key", "deriving a file's key failed");
        let file = Salt::new(HKDF_SHA256, &locking.salt).extract(&master);
        let key = UnboundKey::from(file.expand(&[b"grps checkpoint: chunks"], &CHACHA20_POLY1305).map_err(failed)?);
        let mut check = [0; 32];
        let expanded = file.expand(&[b"grps checkpoint: key check"], HKDF_SHA256).and_then(|okm| okm.fill(&mut check));
        expanded.map_err(failed)?;
        let mut short = [0; 16];
        short.copy_from_slice(&check[..16]);
        Ok((Seal { key: LessSafeKey::new(key), bound: Vec::new() }, short))
    }
}

/// Opens what a file's header says of its lock; none for a file without one, whatever key is at hand.
///
/// # Errors
/// `checkpoint.key_needed`, `checkpoint.wrong_key`; `checkpoint.damaged` for parameters nobody writes.
pub(super) fn open(locking: &Locking, lock: Option<&Lock>, path: &Path) -> Result<Option<Seal>> {
    let name = path.display();
    let how = match locking.kind {
        LockKind::None => return Ok(None),
        LockKind::Passphrase => "a passphrase",
        LockKind::Key => "a key file",
    };
    let Some(lock) = lock else {
        return Err(Error::invalid("checkpoint.key_needed", format!("{name} is encrypted with {how}"))
            .hint(format!("give {how} that opens it")));
    };
    let wrong = |detail: String| Err(Error::invalid("checkpoint.wrong_key", detail));
    match (lock, locking.kind) {
        (Lock::Passphrase(_), LockKind::Passphrase) | (Lock::Key(_), LockKind::Key) => {}
        _ => return wrong(format!("{name} is encrypted with {how}; what was given is of the other kind")),
    }
    if locking.iterations > MAX_ITERATIONS {
        return Err(super::damaged(path, "opening it would take longer than any file of ours"));
    }
    let (seal, check) = lock.derive(locking)?;
    if check == locking.check {
        Ok(Some(seal))
    } else {
        wrong(format!("{name} does not open with {how} that was given"))
    }
}

/// Seals and opens the chunks of one file.
pub(super) struct Seal {
    key: LessSafeKey,
    /// What every chunk is bound to: the header, then the chunk's head.
    bound: Vec<u8>,
}

impl Seal {
    pub fn bind(&mut self, header: &[u8; HEADER]) {
        self.bound = header.to_vec();
    }

    /// Encrypts the chunk's bytes in place.
    pub fn seal(&mut self, place: Place<'_>, bytes: &mut [u8]) -> Option<[u8; TAG]> {
        let aad = Aad::from(bind(&mut self.bound, place.head));
        let tag = self.key.seal_in_place_separate_tag(place.nonce(), aad, bytes).ok()?;
        tag.as_ref().try_into().ok()
    }

    /// Decrypts the chunk's bytes, which end with their tag, in place.
    pub fn open<'a>(&mut self, place: Place<'_>, bytes: &'a mut [u8]) -> Option<&'a [u8]> {
        let aad = Aad::from(bind(&mut self.bound, place.head));
        self.key.open_in_place(place.nonce(), aad, bytes).ok().map(|plain| &*plain)
    }
}

fn bind<'a>(bound: &'a mut Vec<u8>, head: &[u8]) -> &'a [u8] {
    bound.truncate(HEADER);
    bound.extend_from_slice(head);
    bound
}

/// Where a chunk is in its file. A file has a key of its own, so this is unique for it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    pub index: u64,
    pub last: bool,
    pub head: &'a [u8],
}

impl Place<'_> {
    fn nonce(&self) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        nonce[..8].copy_from_slice(&self.index.to_le_bytes());
        nonce[NONCE_LEN - 1] = u8::from(self.last);
        Nonce::assume_unique_for_key(nonce)
    }
}
