//! The rate limit per client (requirement J14): a token bucket for each address, in a bounded cache.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::middleware::StateInformationMiddleware;
use governor::state::{InMemoryState, NotKeyed};
use governor::{Quota, RateLimiter};
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use poem::http::{HeaderMap, HeaderValue};

use crate::base::Error;

/// Clients remembered at most. The least recently seen is forgotten first, so a newcomer always has a bucket of its own.
const MAX_CLIENTS: u64 = 100_000;

type Bucket = RateLimiter<NotKeyed, InMemoryState, DefaultClock, StateInformationMiddleware>;

pub struct Limiter {
    quota: Quota,
    requests: u32,
    buckets: Cache<IpAddr, Arc<Bucket>>,
    clock: DefaultClock,
}

/// What is left of one client's bucket after a request.
pub struct Allowance {
    limit: u32,
    remaining: u32,
    /// Until the bucket is full again.
    reset: Duration,
    /// Until the next request may come; set when this one was one too many.
    wait: Option<Duration>,
}

impl Limiter {
    /// `requests` per window; `None` when the limit is off (0 requests).
    pub fn new(requests: u32, window_seconds: u32) -> Option<Self> {
        let burst = NonZeroU32::new(requests)?;
        let window = Duration::from_secs(u64::from(window_seconds.max(1)));
        let quota = Quota::with_period(window / requests)?.allow_burst(burst);
        let buckets = Cache::builder()
            .max_capacity(MAX_CLIENTS)
            .eviction_policy(EvictionPolicy::lru())
            // An untouched bucket is full after one window, and a full bucket is as good as none.
            .time_to_idle(window)
            .build();
        Some(Self { quota, requests, buckets, clock: DefaultClock::default() })
    }

    pub fn take(&self, client: IpAddr) -> Allowance {
        let fresh = || Arc::new(RateLimiter::direct(self.quota).with_middleware());
        let bucket = self.buckets.get_with(group(client), fresh);
        match bucket.check() {
            Ok(state) => self.allowance(state.remaining_burst_capacity(), None),
            Err(until) => self.allowance(0, Some(until.wait_time_from(self.clock.now()))),
        }
    }

    fn allowance(&self, remaining: u32, wait: Option<Duration>) -> Allowance {
        let reset = self.quota.replenish_interval() * (self.requests - remaining.min(self.requests));
        Allowance { limit: self.requests, remaining, reset, wait }
    }
}

/// One household or server gets a whole /64 of IPv6, so that is what counts as one client.
fn group(client: IpAddr) -> IpAddr {
    match client {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

impl Allowance {
    /// The refusal, when this request was one too many.
    pub fn refusal(&self) -> Option<Error> {
        let wait = self.wait?;
        let detail = format!("this client has used up its {} requests for now", self.limit);
        Some(Error::limited("request.rate_limited", detail).hint("wait as long as Retry-After says").retry_after(wait))
    }

    /// The `RateLimit-*` headers of the IETF draft.
    pub fn describe(&self, headers: &mut HeaderMap) {
        let seconds = self.reset.as_millis().div_ceil(1000) as u64;
        headers.insert("ratelimit-limit", HeaderValue::from(self.limit));
        headers.insert("ratelimit-remaining", HeaderValue::from(self.remaining));
        headers.insert("ratelimit-reset", HeaderValue::from(seconds));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_client_has_its_own_bucket() {
        let limiter = Limiter::new(2, 60).unwrap();
        let (a, b) = ("1.2.3.4".parse().unwrap(), "1.2.3.5".parse().unwrap());
        assert_eq!(limiter.take(a).remaining, 1);
        assert!(limiter.take(a).refusal().is_none());
        let third = limiter.take(a);
        let wait = third.refusal().unwrap().wait().unwrap();
        assert!(wait > Duration::from_secs(20) && wait <= Duration::from_secs(30), "one of two in 60 s: {wait:?}");
        assert!(limiter.take(b).refusal().is_none());
    }

    #[test]
    fn an_ipv6_network_is_one_client() {
        let limiter = Limiter::new(1, 60).unwrap();
        assert!(limiter.take("2001:db8::1".parse().unwrap()).refusal().is_none());
        assert!(limiter.take("2001:db8::ffff:2".parse().unwrap()).refusal().is_some());
        assert!(limiter.take("2001:db8:0:1::1".parse().unwrap()).refusal().is_none());
    }

    #[test]
    fn zero_switches_it_off_and_buckets_refill() {
        assert!(Limiter::new(0, 60).is_none());
        let limiter = Limiter::new(50, 1).unwrap();
        let client = "1.2.3.4".parse().unwrap();
        (0..50).for_each(|_| assert!(limiter.take(client).wait.is_none()));
        let wait = limiter.take(client).wait.unwrap();
        std::thread::sleep(wait + Duration::from_millis(5));
        assert!(limiter.take(client).wait.is_none());
    }
}
