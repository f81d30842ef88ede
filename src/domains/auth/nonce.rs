//! Nonces seen lately: a signed request that comes again is recognised for as long as its timestamp would pass, and longer.
//!
//! Two generations of hashes: the young one takes what comes, and every [`Nonces::window`] it becomes the old one, whose content is
//! forgotten. So a nonce is remembered for one to two windows, in memory alone.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use ring::digest;

use crate::base::clock::Stopwatch;
use crate::base::{Error, Result, Secret};

/// Nonces of all keys remembered at most, in some 40 MB. Beyond it signed requests are refused rather than let through unremembered.
/// At the default tolerance of 60 s that is 4,000 signed requests a second, without end.
pub const MAX_NONCES: usize = 1_000_000;

/// Nonces of one key remembered at most, so that no key can use up everybody's room.
pub const MAX_NONCES_PER_KEY: usize = MAX_NONCES / 2;

/// What a window is longer than twice the tolerance, for timestamps are whole seconds.
const MARGIN: Duration = Duration::from_secs(2);

/// When to come back when there is no room.
const FULL_WAIT: Duration = Duration::from_secs(5);

pub struct Nonces {
    window: Duration,
    /// Not the wall clock, which can be set back.
    watch: Stopwatch,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    young: Generation,
    old: Generation,
    /// When `young` began.
    since: Duration,
}

#[derive(Default)]
struct Generation {
    hashes: HashSet<[u8; 16]>,
    by_key: HashMap<String, usize>,
}

impl Nonces {
    pub fn new(tolerance: Duration) -> Self {
        Self { window: tolerance * 2 + MARGIN, watch: Stopwatch::start(), seen: Mutex::default() }
    }

    /// Notes that `nonce` was used in a signature by `secret`, under the key id `kid`. The same nonce is another one with another secret,
    /// and the same one under another id of the secret: the id is not signed, so a replay may name any. The operator is refused only for
    /// what the operator did.
    ///
    /// # Errors
    /// `auth.replayed` the second time; `auth.nonces_full` when too many are remembered.
    pub fn claim(&self, kid: &str, secret: &Secret, nonce: &str) -> Result<()> {
        self.claim_at(self.watch.elapsed(), kid, hash(secret, nonce))
    }

    fn claim_at(&self, now: Duration, kid: &str, hash: [u8; 16]) -> Result<()> {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.age(now, self.window);
        if seen.young.hashes.contains(&hash) || seen.old.hashes.contains(&hash) {
            return Err(Error::unauthenticated("auth.replayed", "This signed request was already used once")
                .hint("make a new x-grps-nonce and sign again for every request, retries included"));
        }
        if !seen.has_room(kid) {
            return Err(
                Error::busy("auth.nonces_full", "too many signed requests in a short time").retry_after(FULL_WAIT)
            );
        }
        seen.young.hashes.insert(hash);
        match seen.young.by_key.get_mut(kid) {
            Some(count) => *count += 1,
            None => drop(seen.young.by_key.insert(kid.to_owned(), 1)),
        }
        Ok(())
    }
}

impl Seen {
    fn age(&mut self, now: Duration, window: Duration) {
        let age = now.saturating_sub(self.since);
        if age < window {
            return;
        }
        let young = std::mem::take(&mut self.young);
        self.old = if age < window * 2 { young } else { Generation::default() };
        self.since = now;
    }

    fn has_room(&self, kid: &str) -> bool {
        let count = |generation: &Generation| generation.by_key.get(kid).copied().unwrap_or(0);
        let all = self.young.hashes.len() + self.old.hashes.len();
        count(&self.young) + count(&self.old) < MAX_NONCES_PER_KEY && (all < MAX_NONCES || kid == super::gate::OPERATOR)
    }
}

/// Only 16 bytes are kept of each, so that the bound is one on memory too.
fn hash(secret: &Secret, nonce: &str) -> [u8; 16] {
    let mut context = digest::Context::new(&digest::SHA256);
    // No nonce holds a NUL, so no two pairs read alike.
    [nonce.as_bytes(), b"\0", secret.expose().as_bytes()].iter().for_each(|part| context.update(part));
    let mut short = [0u8; 16];
    short.copy_from_slice(&context.finish().as_ref()[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOLERANCE: Duration = Duration::from_secs(60);

    fn numbered(n: usize) -> [u8; 16] {
        (n as u128).to_be_bytes()
    }

    fn code(answer: Result<()>) -> String {
        answer.map_or_else(|error| error.code().to_owned(), |()| "ok".into())
    }

    #[test]
    fn a_nonce_is_one_with_its_secret_whatever_id_it_comes_under() {
        let nonces = Nonces::new(TOLERANCE);
        let (secret, other) = (Secret::new("s"), Secret::new("t"));
        assert_eq!(code(nonces.claim("automation", &secret, "nonce-01")), "ok");
        assert_eq!(code(nonces.claim("k00000001", &secret, "nonce-01")), "auth.replayed");
        assert_eq!(code(nonces.claim("automation", &other, "nonce-01")), "ok", "two clients may count alike");
    }

    #[test]
    fn nonces_are_remembered_for_a_window_and_forgotten_after_two() {
        let nonces = Nonces::new(TOLERANCE);
        let claim = |seconds, n| code(nonces.claim_at(Duration::from_secs(seconds), "k", numbered(n)));
        assert_eq!(
            (claim(121, 1), claim(122, 1), claim(242, 1), claim(243, 2)),
            ("ok".into(), "auth.replayed".into(), "auth.replayed".into(), "ok".into())
        );
        assert_eq!(claim(244, 1), "ok");
        assert_eq!(claim(1000, 1), "ok", "a long pause forgets both generations");
    }

    #[test]
    fn no_key_uses_up_the_room_of_all_and_room_comes_back() {
        let nonces = Nonces::new(TOLERANCE);
        let claim = |seconds, kid, n| code(nonces.claim_at(Duration::from_secs(seconds), kid, numbered(n)));
        for n in 0..MAX_NONCES_PER_KEY {
            assert_eq!(claim(0, "loud", n), "ok");
        }
        assert_eq!(claim(1, "loud", MAX_NONCES), "auth.nonces_full");
        assert_eq!(claim(1, "loud", 7), "auth.replayed", "a replay is one even then");
        for n in MAX_NONCES_PER_KEY..MAX_NONCES {
            assert_eq!(claim(1, "louder", n), "ok");
        }
        assert_eq!(claim(1, "quiet", MAX_NONCES + 1), "auth.nonces_full");
        assert_eq!(claim(1, "operator", MAX_NONCES + 1), "ok", "whoever can end the loud keys still gets in");
        assert_eq!(claim(300, "loud", MAX_NONCES + 2), "ok", "full is not for ever");
    }
}
