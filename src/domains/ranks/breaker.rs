//! The breaker: how many decisions may be queued within a minute and an hour (`settings.breaker` of `policy.ranks.json`). Past that
//! something is wrong, with the game, a key or the policy, and a person looks first.
//!
//! It counts in memory, from zero at every start. The share of the group (`percentOfGroupPerHour`) and a count that outlives a restart
//! come with whatever carries queued decisions out.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::Time;
use crate::domains::policy::Breaker as Limits;

const MINUTE: i64 = 60;
const HOUR: i64 = 3_600;

/// How many decisions were queued in each second of the last hour, oldest first: at most [`HOUR`] of them.
#[derive(Default)]
pub struct Breaker {
    seconds: Mutex<VecDeque<(i64, u64)>>,
}

impl Breaker {
    /// Counts one more at `now`, or says why there may not be one.
    fn take(&self, now: Time, limits: &Limits) -> Result<(), String> {
        let now = now.seconds();
        let mut seconds = self.seconds();
        while seconds.front().is_some_and(|(at, _)| now - at >= HOUR) {
            seconds.pop_front();
        }
        let since =
            |from: i64| seconds.iter().rev().take_while(|(at, _)| now - at < from).map(|(_, count)| count).sum();
        let stretches =
            [("minute", MINUTE, limits.applies_per_minute.into()), ("hour", HOUR, limits.applies_per_hour.into())];
        for (name, length, most) in stretches {
            let count: u64 = since(length);
            if count >= most {
                let text =
                    format!("The breaker is open: {count} decisions were queued in the last {name} (at most {most})");
                return Err(text);
            }
        }
        match seconds.back_mut() {
            // A clock set back counts with the newest second: the queue stays sorted and bounded.
            Some((at, count)) if *at >= now => *count += 1,
            _ => seconds.push_back((now, 1)),
        }
        Ok(())
    }

    /// Takes back one that was counted at `now` and came to nothing.
    fn give_back(&self, now: Time) {
        let mut seconds = self.seconds();
        if let Some((_, count)) = seconds.iter_mut().rev().find(|(at, count)| *at <= now.seconds() && *count > 0) {
            *count -= 1;
        }
    }

    fn seconds(&self) -> MutexGuard<'_, VecDeque<(i64, u64)>> {
        self.seconds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request's claim on the breaker. A transaction may run several times, but queues at most one decision: it is counted once, and
/// taken back unless [`Turn::keep`] says that the commit succeeded.
pub struct Turn<'a> {
    breaker: &'a Breaker,
    at: Time,
    state: AtomicU8,
}

/// Nothing was counted.
const IDLE: u8 = 0;
/// Counted by an earlier run of the transaction, not asked for by this one.
const HELD: u8 = 1;
/// Counted, and this run relies on it.
const USED: u8 = 2;

impl<'a> Turn<'a> {
    pub fn new(breaker: &'a Breaker, at: Time) -> Self {
        Self { breaker, at, state: AtomicU8::new(IDLE) }
    }

    /// A run of the transaction begins: it may come to another conclusion than the one before.
    pub fn begin(&self) {
        let _ = self.state.compare_exchange(USED, HELD, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// Asks for leave to queue one decision.
    ///
    /// # Errors
    /// Why not, as a sentence.
    pub fn take(&self, limits: &Limits) -> Result<(), String> {
        if self.state.load(Ordering::Relaxed) == IDLE {
            self.breaker.take(self.at, limits)?;
        }
        self.state.store(USED, Ordering::Relaxed);
        Ok(())
    }

    /// The commit succeeded: what its last run relied on stays counted.
    pub fn keep(&self) {
        let _ = self.state.compare_exchange(USED, IDLE, Ordering::Relaxed, Ordering::Relaxed);
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if *self.state.get_mut() != IDLE {
            self.breaker.give_back(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(minute: u32, hour: u32) -> Limits {
        Limits { applies_per_minute: minute, applies_per_hour: hour, ..Limits::default() }
    }

    fn queue(breaker: &Breaker, second: i64, limits: &Limits) -> Result<(), String> {
        let turn = Turn::new(breaker, Time(second * 1_000));
        turn.begin();
        turn.take(limits)?;
        turn.keep();
        Ok(())
    }

    #[test]
    fn so_many_a_minute_and_so_many_an_hour() {
        let (breaker, limits) = (Breaker::default(), limits(2, 3));
        assert!(queue(&breaker, 0, &limits).is_ok() && queue(&breaker, 1, &limits).is_ok());
        let refused = queue(&breaker, 59, &limits).unwrap_err();
        assert_eq!(refused, "The breaker is open: 2 decisions were queued in the last minute (at most 2)");
        assert!(queue(&breaker, 60, &limits).is_ok());
        let refused = queue(&breaker, 3_599, &limits).unwrap_err();
        assert_eq!(refused, "The breaker is open: 3 decisions were queued in the last hour (at most 3)");
        assert!(queue(&breaker, 3_600, &limits).is_ok());
    }

    #[test]
    fn what_was_not_committed_is_not_counted() {
        let (breaker, limits) = (Breaker::default(), limits(1, 1));
        let failed = Turn::new(&breaker, Time(0));
        failed.begin();
        failed.take(&limits).unwrap();
        assert!(Turn::new(&breaker, Time(0)).take(&limits).is_err(), "it counts while it may still succeed");
        drop(failed);
        let other = Turn::new(&breaker, Time(0));
        other.take(&limits).unwrap();
        other.begin(); // The rerun concludes that there is nothing to queue.
        other.keep();
        drop(other);
        let rerun = Turn::new(&breaker, Time(0));
        for _ in 0..3 {
            rerun.begin();
            rerun.take(&limits).unwrap();
        }
        rerun.keep();
        drop(rerun);
        assert!(queue(&breaker, 1, &limits).is_err(), "three runs of one transaction count once");
    }

    #[test]
    fn it_remembers_an_hour_whatever_the_limits() {
        let (breaker, limits) = (Breaker::default(), limits(u32::MAX, u32::MAX));
        for second in 0..3 * HOUR {
            queue(&breaker, second, &limits).unwrap();
        }
        queue(&breaker, 5, &limits).unwrap();
        assert!(breaker.seconds().len() <= HOUR as usize);
    }
}
