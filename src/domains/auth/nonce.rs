//! Nonces seen lately: an exact replay of a signed request is recognised for twice the timestamp tolerance.

use std::time::Duration;

use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use ring::digest;

use crate::base::{Error, Result};

/// Nonces remembered at most. At the default tolerance of 60 s that is 4,000 signed requests a second for two minutes; beyond it
/// signed requests are refused rather than let through unremembered.
pub const MAX_NONCES: u64 = 500_000;

/// Longest nonce, in bytes.
pub const MAX_NONCE: usize = 64;

pub struct Nonces {
    seen: Cache<[u8; 16], ()>,
}

impl Nonces {
    pub fn new(tolerance: Duration) -> Self {
        let seen = Cache::builder()
            .max_capacity(MAX_NONCES + MAX_NONCES / 8) // head-room, so that the bound below bites before anything is evicted
            .eviction_policy(EvictionPolicy::lru())
            .time_to_live(tolerance * 2)
            .build();
        Self { seen }
    }

    /// Notes that key `kid` used `nonce`.
    ///
    /// # Errors
    /// `auth.replayed` the second time; `auth.nonces_full` when too many are remembered.
    pub fn claim(&self, kid: &str, nonce: &str) -> Result<()> {
        if self.seen.entry_count() >= MAX_NONCES {
            return Err(Error::busy("auth.nonces_full", "too many signed requests in a short time")
                .retry_after(Duration::from_secs(5)));
        }
        // Only 16 bytes are kept of each, so that the bound is one on memory too.
        let hash = digest::digest(&digest::SHA256, format!("{kid}\0{nonce}").as_bytes());
        let mut short = [0u8; 16];
        short.copy_from_slice(&hash.as_ref()[..16]);
        if self.seen.entry(short).or_insert(()).is_fresh() {
            return Ok(());
        }
        Err(Error::unauthenticated("auth.replayed", "This signed request was already used once")
            .hint("make a new x-grps-nonce and sign again for every request, retries included"))
    }
}
