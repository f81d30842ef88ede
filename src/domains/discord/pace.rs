//! When to ask Discord again: pure, all times are handed in. The settings are floors; above them Discord's own word counts: what is left
//! in the bucket is spread over its period, and every 429 is waited out in full.
//!
//! | what happened | the next request |
//! | --- | --- |
//! | a page | after `DISCORD_POLL_SECONDS`; after `BURST_POLL_SECONDS` while messages come in; later where the bucket says so |
//! | 429 | after what Discord asks for and no sooner than [`FIRST_LIMITED`], doubling up to [`LONGEST_LIMITED`] |
//! | 429 of the network in front of it | the same from [`FIRST_BARRED`], doubling up to [`LONGEST`] |
//! | 401 | never: failed sign-ins count towards a ban of the address, and a token does not become right by itself |
//! | 403, 404, other refusals | after [`FIRST_REFUSED`], doubling up to [`LONGEST`]: somebody may grant what is missing |
//! | a page that is too large | after [`SMALLER`], for less |
//! | 5xx, no answer, no JSON | after [`FIRST_DOWN`], doubling up to [`LONGEST_DOWN`] |
//!
//! Pauses double while the same kind of thing goes wrong. What went wrong before says nothing about another kind: a channel that Discord's
//! bad morning had backed away from for an hour would be read an hour late.

use std::time::Duration;

use crate::base::Time;
use crate::remote::discord::{Limited, Limits, Trouble};

/// The shortest pause that can be set: Discord allows a bot 50 requests a second over all it does.
pub const MIN_INTERVAL: Duration = Duration::from_millis(20);

/// How long after the last new message polls are still made in bursts.
pub const BURST_SPAN: Duration = Duration::from_secs(5);

/// Added to every wait that Discord sets, since its clock and ours tick differently.
pub const MARGIN: Duration = Duration::from_millis(50);

/// First pause after a 429 that says nothing or next to nothing.
pub const FIRST_LIMITED: Duration = Duration::from_secs(1);

/// Longest pause of ours after a 429 of Discord's own.
pub const LONGEST_LIMITED: Duration = Duration::from_secs(60);

/// First pause after the network in front of Discord turned us away.
pub const FIRST_BARRED: Duration = Duration::from_secs(60);

/// First pause after a refusal that only a person can change.
pub const FIRST_REFUSED: Duration = Duration::from_secs(300);

/// Pause before a smaller page is asked for: a page that is too large costs both sides something.
pub const SMALLER: Duration = Duration::from_secs(1);

/// First pause after Discord did not answer or not well.
pub const FIRST_DOWN: Duration = Duration::from_secs(1);

/// Longest pause of that kind.
pub const LONGEST_DOWN: Duration = Duration::from_secs(60);

/// Longest pause of ours. What Discord itself asks for may be longer.
pub const LONGEST: Duration = Duration::from_secs(3600);

/// The two settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floors {
    /// `DISCORD_POLL_SECONDS`: at least [`MIN_INTERVAL`].
    pub idle: Duration,
    /// `BURST_POLL_SECONDS`: at least [`MIN_INTERVAL`].
    pub burst: Duration,
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Ask again after this long.
    Wait(Duration),
    /// Do not ask again.
    Stop,
}

/// The pace of one poller.
#[derive(Debug, Clone)]
pub struct Pace {
    floors: Floors,
    last_new: Option<Time>,
    /// What went wrong last; none after a page.
    failing: Option<Ailment>,
    /// How often in a row it was that.
    failures: u32,
}

/// Kinds of trouble that are backed away from alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ailment {
    Limited,
    Barred,
    Refused,
    Down,
}

impl Pace {
    pub fn new(floors: Floors) -> Self {
        Self { floors, last_new: None, failing: None, failures: 0 }
    }

    /// After a page; `more` when there were new messages in it.
    pub fn page(&mut self, now: Time, more: bool, limits: &Limits) -> Duration {
        self.failing = None;
        if more {
            self.last_new = Some(now);
        }
        let burst = self.last_new.is_some_and(|at| at <= now && now.since(at) < BURST_SPAN);
        let floor = if burst { self.floors.burst } else { self.floors.idle };
        floor.max(MIN_INTERVAL).max(bucket(limits, burst))
    }

    /// After a page that was too large, before a smaller one.
    pub fn smaller(&self, limits: &Limits) -> Duration {
        SMALLER.max(self.floors.idle).max(bucket(limits, false))
    }

    /// After anything else.
    pub fn trouble(&mut self, trouble: &Trouble) -> Step {
        let wait = match trouble {
            Trouble::Unauthenticated => return Step::Stop,
            Trouble::Limited { whose, wait } => {
                // Another 429 after one that was waited out: somebody else draws on the same limit, so back away.
                let backoff = match whose {
                    Limited::Network => self.backoff(Ailment::Barred, FIRST_BARRED, LONGEST),
                    _ => self.backoff(Ailment::Limited, FIRST_LIMITED, LONGEST_LIMITED),
                };
                wait.map_or(Duration::ZERO, |wait| wait + MARGIN).max(backoff)
            }
            Trouble::Denied { .. } | Trouble::Missing | Trouble::Refused { .. } => {
                self.backoff(Ailment::Refused, FIRST_REFUSED, LONGEST)
            }
            Trouble::Down { .. } | Trouble::Unanswered(_) | Trouble::TooLarge { .. } | Trouble::Unreadable => {
                self.backoff(Ailment::Down, FIRST_DOWN, LONGEST_DOWN)
            }
        };
        Step::Wait(wait.max(self.floors.idle))
    }

    /// `first`, doubled for every time in a row that it was this.
    fn backoff(&mut self, ailment: Ailment, first: Duration, longest: Duration) -> Duration {
        if self.failing.replace(ailment) != Some(ailment) {
            self.failures = 0;
        }
        let pause = first.saturating_mul(2u32.saturating_pow(self.failures.min(20))).min(longest);
        self.failures = self.failures.saturating_add(1);
        pause
    }
}

/// The pause that a bucket wants: its rest is spread evenly; in a burst it may be used up at once.
fn bucket(limits: &Limits, burst: bool) -> Duration {
    let Some(reset) = limits.reset_after else { return Duration::ZERO };
    match limits.remaining {
        Some(0) => reset + MARGIN,
        Some(left) if !burst => reset / left,
        _ => Duration::ZERO,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::remote::Unanswered;

    const FLOORS: Floors = Floors { idle: Duration::from_millis(250), burst: Duration::from_millis(50) };

    fn limits(remaining: u32, reset_millis: u64) -> Limits {
        let reset_after = Some(Duration::from_millis(reset_millis));
        Limits { remaining: Some(remaining), reset_after, ..Limits::default() }
    }

    fn limited(whose: Limited, millis: Option<u64>) -> Trouble {
        Trouble::Limited { whose, wait: millis.map(Duration::from_millis) }
    }

    #[test]
    fn the_settings_are_floors_and_messages_make_it_faster_for_a_while() {
        let mut pace = Pace::new(FLOORS);
        assert_eq!(pace.page(Time(0), false, &Limits::default()), FLOORS.idle);
        assert_eq!(pace.page(Time(0), true, &Limits::default()), FLOORS.burst);
        assert_eq!(pace.page(Time(4_999), false, &Limits::default()), FLOORS.burst);
        assert_eq!(pace.page(Time(5_000), false, &Limits::default()), FLOORS.idle);
    }

    #[test]
    fn the_bucket_counts_above_the_floors() {
        let mut pace = Pace::new(FLOORS);
        assert_eq!(pace.page(Time(0), false, &limits(4, 4_000)), Duration::from_secs(1));
        assert_eq!(pace.page(Time(0), false, &limits(0, 4_000)), Duration::from_millis(4_050));
        assert_eq!(pace.page(Time(0), true, &limits(4, 4_000)), FLOORS.burst);
        assert_eq!(pace.page(Time(0), true, &limits(0, 4_000)), Duration::from_millis(4_050));
    }

    #[test]
    fn a_429_is_waited_out_and_repeated_ones_back_away() {
        let mut pace = Pace::new(FLOORS);
        assert_eq!(pace.trouble(&limited(Limited::User, Some(64_570))), Step::Wait(Duration::from_millis(64_620)));
        let mut pace = Pace::new(FLOORS);
        let waits: Vec<Step> = (0..3).map(|_| pace.trouble(&limited(Limited::Global, Some(300)))).collect();
        assert_eq!(waits, [1, 2, 4].map(|seconds| Step::Wait(Duration::from_secs(seconds))));
        pace.page(Time(0), false, &Limits::default());
        assert_eq!(pace.trouble(&limited(Limited::Shared, None)), Step::Wait(FIRST_LIMITED));
        let mut pace = Pace::new(FLOORS);
        let barred: Vec<Step> = (0..8).map(|_| pace.trouble(&limited(Limited::Network, None))).collect();
        assert_eq!((barred[0], barred[7]), (Step::Wait(FIRST_BARRED), Step::Wait(LONGEST)));
    }

    #[test]
    fn a_wrong_token_is_the_end() {
        assert_eq!(Pace::new(FLOORS).trouble(&Trouble::Unauthenticated), Step::Stop);
    }

    #[test]
    fn what_only_people_can_change_is_asked_for_seldom() {
        let mut pace = Pace::new(FLOORS);
        let denied = Trouble::Denied { code: None, said: String::new() };
        let waits: Vec<Step> = (0..6).map(|_| pace.trouble(&denied)).collect();
        assert_eq!(
            (waits[0], waits[1], waits[5]),
            (Step::Wait(FIRST_REFUSED), Step::Wait(FIRST_REFUSED * 2), Step::Wait(LONGEST),)
        );
    }

    #[test]
    fn a_bad_day_of_discords_is_ridden_out() {
        let mut pace = Pace::new(FLOORS);
        let silent = Trouble::Unanswered(Unanswered { what: String::new(), cause: String::new() });
        let waits: Vec<Step> =
            [Trouble::Down { status: 503 }, silent, Trouble::Unreadable].iter().map(|t| pace.trouble(t)).collect();
        assert_eq!(waits, [1, 2, 4].map(|seconds| Step::Wait(Duration::from_secs(seconds))));
        for _ in 0..20 {
            let _ = pace.trouble(&Trouble::Unreadable);
        }
        assert_eq!(pace.trouble(&Trouble::Unreadable), Step::Wait(LONGEST_DOWN));
    }

    #[test]
    fn one_kind_of_trouble_says_nothing_about_another() {
        let mut pace = Pace::new(FLOORS);
        let down = Trouble::Down { status: 503 };
        for _ in 0..12 {
            let _ = pace.trouble(&down);
        }
        assert_eq!(pace.trouble(&limited(Limited::User, Some(300))), Step::Wait(FIRST_LIMITED));
        assert_eq!(pace.trouble(&Trouble::Missing), Step::Wait(FIRST_REFUSED));
        assert_eq!(pace.trouble(&down), Step::Wait(FIRST_DOWN));
        for _ in 0..20 {
            let _ = pace.trouble(&limited(Limited::User, None));
        }
        assert_eq!(pace.trouble(&limited(Limited::User, Some(300))), Step::Wait(LONGEST_LIMITED));
        let asked = Duration::from_secs(600);
        assert_eq!(pace.trouble(&limited(Limited::User, Some(600_000))), Step::Wait(asked + MARGIN));
    }

    proptest! {
        #[test]
        fn it_never_asks_sooner_than_anyone_wants(
            steps in prop::collection::vec((0u8..8, any::<bool>(), prop::option::of(0u32..100), prop::option::of(0u64..100_000_000)), 1..50),
        ) {
            let mut pace = Pace::new(FLOORS);
            for (at, (kind, more, remaining, millis)) in steps.into_iter().enumerate() {
                let wait = millis.map(Duration::from_millis);
                match kind {
                    0..4 => {
                        let limits = Limits { remaining, reset_after: wait, ..Limits::default() };
                        let pause = pace.page(Time(at as i64 * 100), more, &limits);
                        prop_assert!(pause >= FLOORS.burst);
                        prop_assert!(remaining != Some(0) || pause >= wait.unwrap_or_default());
                    }
                    4 => prop_assert!(matches!(pace.trouble(&Trouble::Missing), Step::Wait(pause) if pause >= FIRST_REFUSED)),
                    _ => {
                        let Step::Wait(pause) = pace.trouble(&Trouble::Limited { whose: Limited::User, wait }) else {
                            return Err(TestCaseError::fail("a 429 is no reason to stop"));
                        };
                        prop_assert!(pause >= wait.unwrap_or_default().max(FIRST_LIMITED));
                    }
                }
            }
        }
    }
}
