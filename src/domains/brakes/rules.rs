//! When the breaker trips: pure, over its row, the limits and the time.

use super::tables::{Breaker, Count, Limit, MAX_UNTOLD, Trip};
use super::window::{HOUR, MINUTE};
use crate::base::{Id, Time};
use crate::domains::policy::Breaker as Limits;

/// What `percentOfGroupPerHour` comes to at least: a few percent of a small group would be nobody.
pub const LEAST_SHARE: u64 = 10;

/// How many decisions may be queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    pub minute: u64,
    pub hour: u64,
    /// An hour's share of the group.
    pub share: u64,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Counted, in this place.
    Go(Count),
    /// Not counted; this is what stands against it. `fresh`: it does from now on.
    Stop { trip: Trip, fresh: bool },
}

impl Allowance {
    /// What the policy allows a group of `people`.
    pub fn of(limits: &Limits, people: u64) -> Self {
        let share = people.saturating_mul(limits.percent_of_group_per_hour.into()) / 100;
        Self {
            minute: limits.applies_per_minute.into(),
            hour: limits.applies_per_hour.into(),
            share: share.max(LEAST_SHARE),
        }
    }
}

impl Breaker {
    /// The trip that stays until somebody closes it.
    pub fn latched(&self) -> Option<&Trip> {
        self.trip.as_ref().filter(|trip| trip.latched)
    }

    /// Asks for leave to queue one decision, and counts it if so. `id` is for the trip this may lead to.
    pub fn take(&mut self, allowed: &Allowance, id: Id, now: Time) -> Answer {
        if let Some(trip) = self.latched() {
            return Answer::Stop { trip: trip.clone(), fresh: false };
        }
        let (minute, hour) = (self.window.within(MINUTE, now), self.window.within(HOUR, now));
        let limits = [
            (Limit::Hour, hour, allowed.hour),
            (Limit::Share, hour, allowed.share),
            (Limit::Minute, minute, allowed.minute),
        ];
        let Some((limit, count, most)) = limits.into_iter().find(|(_, count, most)| count >= most) else {
            self.trip = None;
            return Answer::Go(self.count(now));
        };
        let known = self.trip.clone().filter(|trip| trip.limit == limit && trip.holds(now));
        match known {
            Some(trip) => Answer::Stop { trip, fresh: false },
            None => {
                let latched = limit != Limit::Minute;
                let trip = Trip { id, at: now, limit, latched, count, most, reason: None };
                self.trip(trip.clone());
                Answer::Stop { trip, fresh: true }
            }
        }
    }

    /// Counts one decision, whatever stands against it.
    pub fn count(&mut self, now: Time) -> Count {
        if self.window.moves(now) {
            self.era += 1;
        }
        self.window.add(now);
        Count { at: now, era: self.era }
    }

    /// Forgets a decision that was counted; whether there was anything to forget. What has tripped stays so.
    pub fn give_back(&mut self, count: Count) -> bool {
        count.era == self.era && self.window.give_back(count.at)
    }

    /// Stops everything.
    pub fn trip(&mut self, trip: Trip) {
        let old = (self.untold.len() + 1).saturating_sub(MAX_UNTOLD);
        self.untold.drain(..old);
        self.untold.push(trip.clone());
        self.trip = Some(trip);
    }

    /// Lets decisions through again and begins to count anew: else the same count would trip it at once.
    pub fn close(&mut self) {
        (self.window, self.trip) = Default::default();
        self.era += 1;
    }
}

impl Trip {
    /// Whether it is still the same one: a full minute is told of once a minute.
    fn holds(&self, now: Time) -> bool {
        self.latched || now.since(self.at).as_secs() < MINUTE as u64
    }

    /// As a sentence.
    pub fn text(&self) -> String {
        let Self { count, most, .. } = self;
        let queued = format!("The breaker is open: {count} decisions were queued in the last hour (at most {most})");
        match (self.limit, &self.reason) {
            (Limit::Minute, _) => format!("This minute is full: {count} of at most {most} decisions were queued"),
            (Limit::Hour, _) => queued,
            (Limit::Share, _) => {
                format!("{queued}, which is the largest share of the group that may change in an hour")
            }
            (Limit::Person, Some(reason)) => format!("The breaker was opened by hand: {reason}"),
            (Limit::Person, None) => "The breaker was opened by hand".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn take(breaker: &mut Breaker, second: i64, (minute, hour, share): (u64, u64, u64)) -> Option<(Limit, bool)> {
        match breaker.take(&Allowance { minute, hour, share }, Id(second as u64), Time(second * 1_000)) {
            Answer::Go(_) => None,
            Answer::Stop { trip, fresh } => Some((trip.limit, fresh)),
        }
    }

    #[test]
    fn a_full_minute_passes_and_is_told_of_once() {
        let (mut breaker, few) = (Breaker::default(), (2, 100, 100));
        assert_eq!([0, 1].map(|at| take(&mut breaker, at, few)), [None, None]);
        assert_eq!(
            [1, 2, 59].map(|at| take(&mut breaker, at, few)),
            [Some((Limit::Minute, true)), Some((Limit::Minute, false)), Some((Limit::Minute, false))]
        );
        assert_eq!((breaker.latched(), breaker.untold.len()), (None, 1));
        assert_eq!(take(&mut breaker, 70, few), None);
        assert_eq!(breaker.trip, None);
    }

    #[test]
    fn a_full_hour_stays_until_it_is_closed() {
        for (limits, limit) in [((9, 3, 10), Limit::Hour), ((9, 10, 3), Limit::Share)] {
            let mut breaker = Breaker::default();
            (0..3).for_each(|at| assert_eq!(take(&mut breaker, at, limits), None));
            assert_eq!(take(&mut breaker, 5, limits), Some((limit, true)));
            assert_eq!(take(&mut breaker, 1_000_000, limits), Some((limit, false)), "time alone does not close it");
            breaker.close();
            assert_eq!(take(&mut breaker, 1_000_001, limits), None);
            assert_eq!(breaker.untold.len(), 1, "closed or not, it has to be told");
        }
    }

    #[test]
    fn a_share_of_a_small_group_is_somebody() {
        let limits = Limits { percent_of_group_per_hour: 5, ..Limits::default() };
        let share = |people| Allowance::of(&limits, people).share;
        assert_eq!([0, 200, 219, 220, 100_000].map(share), [10, 10, 10, 11, 5_000]);
        assert!(share(u64::MAX) > 1_000);
    }

    #[test]
    fn what_is_not_told_in_time_stays_bounded() {
        let mut breaker = Breaker::default();
        for at in 0..100 {
            assert!(take(&mut breaker, at * 60, (0, 9, 9)).is_some());
        }
        let ids: Vec<u64> = breaker.untold.iter().map(|trip| trip.id.0).collect();
        assert_eq!(ids, [96 * 60, 97 * 60, 98 * 60, 99 * 60]);
    }

    /// A decision that was counted and not given back: when it was by a clock that nobody sets, and how often the other was set by then.
    struct Kept {
        at: i64,
        sets: i64,
        count: Count,
    }

    proptest! {
        /// Whatever is given back, closed and set back in between: the breaker counts all that was not given back, so in no stretch it lets
        /// more of that through than it may. Where no clock is set, it counts nothing else either.
        #[test]
        fn what_is_not_given_back_keeps_to_the_limit(
            steps in prop::collection::vec((0u8..12, 0i64..400_000, any::<prop::sample::Index>()), 1..250),
            most in 1u64..6,
            hourly in any::<bool>(),
        ) {
            let (span, allowed) = match hourly {
                true => (HOUR, Allowance { minute: 99, hour: most, share: 99 }),
                false => (MINUTE, Allowance { minute: most, hour: 99_999, share: 99_999 }),
            };
            let (mut breaker, mut kept) = (Breaker::default(), Vec::<Kept>::new());
            let (mut now, mut behind, mut sets) = (1_740_852_944_000, 0, 0);
            for (what, pause, which) in steps {
                match what {
                    0..=5 => {
                        now += if what < 3 { pause / 50 } else { pause };
                        if let Answer::Go(count) = breaker.take(&allowed, Id(1), Time(now - behind)) {
                            kept.push(Kept { at: now, sets, count });
                        }
                    }
                    6..=9 if !kept.is_empty() => {
                        let place = which.index(kept.len());
                        let (sum, count) = (breaker.window.within(HOUR, Time(now - behind)), kept[place].count);
                        if breaker.give_back(count) {
                            kept.remove(place);
                        }
                        prop_assert!(breaker.window.within(HOUR, Time(now - behind)) + 1 >= sum);
                    }
                    10 => {
                        breaker.close();
                        kept.clear();
                        sets = 0;
                    }
                    11 => (behind, sets) = (behind + pause, sets + 1),
                    _ => {}
                }
                // A clock that is set moves what was counted by whole buckets, and so up to one of them too far.
                let lately = |span: i64| kept.iter().filter(|one| now - one.at < (span - 10 * (sets - one.sets)) * 1_000).count() as u64;
                let counted = breaker.window.within(span, Time(now - behind));
                prop_assert!(lately(span) <= counted, "{} of {counted}", lately(span));
                prop_assert!(lately(span) <= most);
                prop_assert!(sets > 0 || behind > 0 || counted <= lately(span + 10));
            }
        }
    }

    #[test]
    fn what_was_forgotten_or_moved_is_not_given_back() {
        let mut breaker = Breaker::default();
        let before = breaker.count(Time(1_000_000));
        breaker.close();
        let other = breaker.count(Time(1_000_000));
        assert_eq!(
            [breaker.give_back(before), breaker.give_back(other), breaker.give_back(other)],
            [false, true, false]
        );
        let old = breaker.count(Time(1_000_000));
        let moved = breaker.count(Time(500_000));
        assert_eq!([breaker.give_back(old), breaker.give_back(moved)], [false, true]);
        for at in 0..500 {
            breaker.count(Time(1_000_000 + at * 10_000));
        }
        assert!(!breaker.give_back(Count { at: Time(1_000_000), era: breaker.era }), "its hour is over");
    }
}
