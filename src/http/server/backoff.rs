//! How long to wait when the system cannot give us another connection.

use std::io;
use std::time::Duration;

const FIRST: Duration = Duration::from_millis(20);
const LONGEST: Duration = Duration::from_secs(1);

/// Doubles from 20 ms to 1 s, and starts over after a success.
#[derive(Default)]
pub struct Backoff(Option<Duration>);

impl Backoff {
    pub fn next(&mut self) -> Duration {
        let wait = self.0.map_or(FIRST, |last| (last * 2).min(LONGEST));
        self.0 = Some(wait);
        wait
    }

    pub fn reset(&mut self) {
        self.0 = None;
    }
}

/// Whether the process or the system is out of something, so that trying again at once is in vain.
pub fn is_exhaustion(err: &io::Error) -> bool {
    use rustix::io::Errno;
    let out = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(err).is_some_and(|errno| out.contains(&errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_a_second_and_start_over() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..8).map(|_| backoff.next().as_millis()).collect();
        assert_eq!(waits, [20, 40, 80, 160, 320, 640, 1000, 1000]);
        backoff.reset();
        assert_eq!(backoff.next(), FIRST);
    }

    #[test]
    fn only_exhaustion_is_worth_a_pause() {
        use rustix::io::Errno;
        assert!(is_exhaustion(&Errno::MFILE.into()));
        assert!(is_exhaustion(&Errno::NFILE.into()));
        assert!(!is_exhaustion(&Errno::CONNABORTED.into()));
    }
}
