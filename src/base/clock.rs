//! The only place that reads a clock. Everything else is handed a [`Clock`], so tests own time.

use std::fmt;
use std::ops::{Add, Sub};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Milliseconds since 1970-01-01T00:00:00Z. Stored as this number, shown as RFC 3339 in UTC with seconds (requirement X4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(pub i64);

impl Time {
    /// Unix seconds, rounded down.
    pub fn seconds(self) -> i64 {
        self.0.div_euclid(1000)
    }

    /// How long ago `earlier` was; zero when it lies in the future.
    pub fn since(self, earlier: Time) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    /// Calendar form, cut to whole seconds. Times outside years 0 to 9999 are clamped.
    pub fn calendar(self) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(self.seconds()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// Reads an RFC 3339 timestamp.
    pub fn parse(text: &str) -> Option<Time> {
        let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
        i64::try_from(at.unix_timestamp_nanos() / 1_000_000).ok().map(Time)
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.calendar().format(&Rfc3339).unwrap_or_default())
    }
}

impl Add<Duration> for Time {
    type Output = Time;
    fn add(self, rhs: Duration) -> Time {
        Time(self.0.saturating_add(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Time {
    type Output = Time;
    fn sub(self, rhs: Duration) -> Time {
        Time(self.0.saturating_sub(i64::try_from(rhs.as_millis()).unwrap_or(i64::MAX)))
    }
}

/// Tells the time: the system's, or a test's.
#[derive(Clone)]
pub struct Clock(Source);

#[derive(Clone)]
enum Source {
    System,
    Fake(Arc<AtomicI64>),
    /// Began at a time and runs so many times as fast as the system's.
    SpedUp {
        from: Time,
        since: Instant,
        factor: u32,
    },
}

impl Clock {
    pub fn system() -> Self {
        Self(Source::System)
    }

    /// A clock that stands still until [`Clock::advance`] moves it.
    pub fn fake(start: Time) -> Self {
        Self(Source::Fake(Arc::new(AtomicI64::new(start.0))))
    }

    #[allow(clippy::disallowed_methods)] // the one place
    pub fn now(&self) -> Time {
        match &self.0 {
            Source::System => {
                let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Time(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Source::Fake(at) => Time(at.load(Ordering::SeqCst)),
            Source::SpedUp { from, since, factor } => *from + since.elapsed() * *factor,
        }
    }

    /// A clock that begins at `start` and runs `factor` times as fast as the system's: what takes hours is seen in minutes.
    #[allow(clippy::disallowed_methods)] // the one place
    pub fn sped_up(start: Time, factor: u32) -> Self {
        Self(Source::SpedUp { from: start, since: Instant::now(), factor: factor.max(1) })
    }

    /// How long `pause` of this clock takes in real time. A fake clock's pauses take as long as they say: it does not move by itself.
    pub fn real(&self, pause: Duration) -> Duration {
        match &self.0 {
            Source::SpedUp { factor, .. } => pause / *factor,
            Source::System | Source::Fake(_) => pause,
        }
    }

    /// Moves a fake clock; the system's clock is not ours to move.
    pub fn advance(&self, by: Duration) {
        if let Source::Fake(at) = &self.0 {
            at.fetch_add(by.as_millis() as i64, Ordering::SeqCst);
        }
    }

    /// Sets a fake clock back, as machines do with theirs.
    pub fn set_back(&self, by: Duration) {
        if let Source::Fake(at) = &self.0 {
            at.fetch_sub(by.as_millis() as i64, Ordering::SeqCst);
        }
    }
}

/// Measures how long something took, for logs and histograms only: decisions use [`Clock`].
#[derive(Debug, Clone, Copy)]
pub struct Stopwatch(Instant);

impl Stopwatch {
    #[allow(clippy::disallowed_methods)] // the one place
    pub fn start() -> Self {
        Self(Instant::now())
    }

    pub fn elapsed(&self) -> Duration {
        self.0.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_print_in_utc_seconds_and_read_back() {
        let at = Time(1_740_852_944_789);
        assert_eq!(at.to_string(), "2025-03-01T18:15:44Z");
        assert_eq!(Time::parse("2025-03-01T18:15:44Z"), Some(Time(1_740_852_944_000)));
        assert_eq!(Time::parse("2025-03-01T20:15:44+02:00"), Some(Time(1_740_852_944_000)));
        assert_eq!(Time::parse("yesterday"), None);
    }

    #[test]
    fn a_sped_up_clock_runs_ahead_of_the_systems() {
        let clock = Clock::sped_up(Time(1_000_000), 1_000);
        std::thread::sleep(clock.real(Duration::from_secs(20)));
        assert!(clock.now() >= Time(1_020_000), "{:?}", clock.now());
        assert_eq!(Clock::system().real(Duration::from_secs(7)), Duration::from_secs(7));
    }

    #[test]
    fn a_fake_clock_moves_only_when_told() {
        let clock = Clock::fake(Time(1000));
        let copy = clock.clone();
        clock.advance(Duration::from_secs(1));
        assert_eq!(copy.now(), Time(2000));
        assert_eq!(copy.now().since(Time(5000)), Duration::ZERO);
    }
}
