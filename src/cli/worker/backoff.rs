//! Pauses between attempts: doubling, and drawn by chance from nothing up to that ("full jitter", M. Brooker, Exponential Backoff And Jitter,
//! 2015), so that workers which lost their server together do not come back together.

use std::time::Duration;

/// Longest pause a server can ask for with `Retry-After`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(300);

/// The pauses of one thing that is tried again and again.
#[derive(Debug, Clone)]
pub struct Backoff {
    pub initial: Duration,
    pub longest: Duration,
    /// Failures since it last worked.
    pub failures: u32,
}

impl Backoff {
    pub fn new(initial: Duration, longest: Duration) -> Self {
        Self { initial, longest, failures: 0 }
    }

    /// It worked: the next failure is the first again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// The pause after one more failure; not shorter than what the server asked for.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        let full = self.ceiling();
        self.failures = self.failures.saturating_add(1);
        full.mul_f64(fastrand::f64()).max(asked.unwrap_or_default().min(MAX_RETRY_AFTER))
    }

    fn ceiling(&self) -> Duration {
        self.initial.saturating_mul(2u32.saturating_pow(self.failures.min(20))).min(self.longest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_bound_and_heed_the_server() {
        let mut backoff = Backoff::new(Duration::from_millis(250), Duration::from_secs(10));
        for ceiling in [250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000] {
            assert_eq!(backoff.ceiling(), Duration::from_millis(ceiling));
            assert!(backoff.next(None) <= Duration::from_millis(ceiling));
        }
        assert!(backoff.next(Some(Duration::from_secs(60))) >= Duration::from_secs(60));
        assert_eq!(backoff.next(Some(Duration::from_secs(1 << 30))), MAX_RETRY_AFTER);
        backoff.reset();
        assert_eq!(backoff.ceiling(), Duration::from_millis(250));
    }
}
