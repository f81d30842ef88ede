//! How often something happened within the last hour, counted in buckets of ten seconds: small enough to be written with every count.

use serde::{Deserialize, Serialize};

use crate::base::Time;

pub const MINUTE: i64 = 60;
pub const HOUR: i64 = 3_600;

/// Seconds in a bucket.
const BUCKET: i64 = 10;

/// Buckets that an hour touches, the one it ends in included.
const BUCKETS: usize = (HOUR / BUCKET) as usize + 1;

/// Counts of the last hour. A stretch of time begins in the middle of a bucket, and then counts all of it: so a limit holds in every
/// stretch, and room is found again up to ten seconds later than by the clock.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// The number of the first bucket.
    first: i64,
    /// From the first bucket to the newest.
    counts: Vec<u32>,
}

impl Window {
    /// How many there were within the last `seconds`, an hour at most.
    pub fn within(&self, seconds: i64, now: Time) -> u64 {
        let counted = (now.seconds() - seconds).div_euclid(BUCKET) - self.since(now);
        self.counts.iter().skip(counted.max(0) as usize).map(|count| u64::from(*count)).sum()
    }

    /// Counts one more.
    pub fn add(&mut self, now: Time) {
        let bucket = now.seconds().div_euclid(BUCKET);
        self.first = self.since(now);
        let passed = (bucket - self.first).max(0) as usize;
        if passed >= self.counts.len() + BUCKETS {
            self.counts.clear();
        }
        if self.counts.is_empty() {
            self.first = bucket;
        }
        let at = (bucket - self.first).max(0) as usize;
        if at >= self.counts.len() {
            self.counts.resize(at + 1, 0);
        }
        self.counts[at] = self.counts[at].saturating_add(1);
        let old = self.counts.len().saturating_sub(BUCKETS);
        self.counts.drain(..old);
        self.first += old as i64;
    }

    /// Takes back one that was counted at `at`; whether there was one. Only for counts that were not moved since ([`Window::moves`]).
    pub fn give_back(&mut self, at: Time) -> bool {
        let place = usize::try_from(at.seconds().div_euclid(BUCKET) - self.first).ok();
        match place.and_then(|place| self.counts.get_mut(place)).filter(|count| **count > 0) {
            Some(count) => {
                *count -= 1;
                true
            }
            None => false,
        }
    }

    /// Whether counting at `now` moves what was counted before: the clock was set back.
    pub fn moves(&self, now: Time) -> bool {
        self.since(now) != self.first
    }

    /// The number of the first bucket; when the clock was set back, the counts move back with it, or they would stand for as long.
    fn since(&self, now: Time) -> i64 {
        let newest = self.first + self.counts.len() as i64 - 1;
        let ahead = (newest - now.seconds().div_euclid(BUCKET)).max(0);
        self.first - if self.counts.is_empty() { 0 } else { ahead }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Time {
        Time(seconds * 1_000)
    }

    #[test]
    fn an_hour_is_remembered_and_no_more() {
        let mut window = Window::default();
        for second in 0..3 * HOUR {
            window.add(at(second));
            assert!(window.counts.len() <= BUCKETS);
        }
        let now = at(3 * HOUR - 1);
        assert!((60..=70).contains(&window.within(MINUTE, now)) && (3_600..=3_610).contains(&window.within(HOUR, now)));
        assert_eq!(window.within(HOUR, at(4 * HOUR + 10)), 0);
        window.add(at(i64::MAX / 2_000));
        assert_eq!(window.counts, [1]);
    }

    #[test]
    fn the_fullest_hour_fits_a_row() {
        let mut window = Window::default();
        (0..BUCKETS as i64).for_each(|bucket| window.add(at(1_800_000_000 + bucket * BUCKET)));
        window.counts.iter_mut().for_each(|count| *count = u32::MAX);
        assert!(rmp_serde::to_vec(&window).unwrap().len() < 2_048);
    }

    #[test]
    fn a_clock_that_is_set_back_locks_nobody_out() {
        let mut window = Window::default();
        (0..5).for_each(|_| window.add(at(1_000_000)));
        assert_eq!(window.within(MINUTE, at(10)), 5);
        window.add(at(15));
        assert_eq!(window.within(MINUTE, at(20)), 6);
        assert_eq!(window.within(MINUTE, at(90)), 0);
        assert_eq!(window.within(HOUR, at(90)), 6);
    }

    proptest! {
        #[test]
        fn a_limit_holds_in_every_stretch_and_is_not_kept_longer(
            pauses in prop::collection::vec(0i64..40_000, 1..300), most in 1u64..8, span in prop::sample::select(vec![MINUTE, HOUR])
        ) {
            let (mut window, mut now, mut taken) = (Window::default(), Time(1_740_852_944_000), Vec::new());
            for pause in pauses {
                now = Time(now.0 + pause);
                let lately = |length: i64| taken.iter().filter(|at: &&Time| now.0 - at.0 < length * 1_000).count() as u64;
                let counted = window.within(span, now);
                prop_assert!(lately(span) <= counted && counted <= lately(span + BUCKET));
                if counted < most {
                    window.add(now);
                    taken.push(now);
                }
            }
            for (place, from) in taken.iter().enumerate() {
                let stretch = taken[place..].iter().take_while(|at| at.0 - from.0 < span * 1_000).count();
                prop_assert!(stretch as u64 <= most);
            }
        }
    }
}
