//! Players whose row at Roblox could not be written, and when each is tried again: one of them must not hold up the others.

use std::collections::HashMap;
use std::time::Duration;

use crate::base::{RobloxId, Time};
use crate::remote::roblox::Trouble;

/// The first pause; it doubles with every further failure.
const FIRST: Duration = Duration::from_secs(30);

/// The longest pause.
const LONGEST: Duration = Duration::from_secs(3600);

/// Players who are remembered; of more, each is tried again at once.
const MAX_PAUSED: usize = 10_000;

/// Calls in a row that Roblox did not answer before all wait.
pub(super) const ROUGH: u32 = 3;

#[derive(Debug, Default)]
pub(super) struct Pauses(HashMap<RobloxId, Paused>);

#[derive(Debug)]
struct Paused {
    from: Time,
    length: Duration,
    failures: u32,
}

impl Pauses {
    /// Whether it is too early for this one.
    pub fn hold(&self, user: RobloxId, now: Time) -> bool {
        // After a clock was set back nobody waits for it to come round again.
        self.0.get(&user).is_some_and(|paused| paused.from <= now && now.since(paused.from) < paused.length)
    }

    /// It failed; how often in a row.
    pub fn failed(&mut self, user: RobloxId, now: Time) -> u32 {
        if self.0.len() >= MAX_PAUSED && !self.0.contains_key(&user) {
            self.0.retain(|_, paused| paused.from <= now && now.since(paused.from) < paused.length);
            if self.0.len() >= MAX_PAUSED {
                return 1;
            }
        }
        let paused = self.0.entry(user).or_insert(Paused { from: now, length: Duration::ZERO, failures: 0 });
        paused.failures = paused.failures.saturating_add(1);
        paused.from = now;
        paused.length = FIRST.saturating_mul(2u32.saturating_pow(paused.failures.min(16) - 1)).min(LONGEST);
        paused.failures
    }

    /// It is over for this one.
    pub fn over(&mut self, user: RobloxId) {
        self.0.remove(&user);
    }
}

/// Whether Roblox itself is not there, which may hold for every call.
pub(super) fn is_rough(trouble: &Trouble) -> bool {
    matches!(trouble, Trouble::Down { .. } | Trouble::Unanswered(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_a_bound_and_end() {
        let (mut pauses, user) = (Pauses::default(), RobloxId::EXAMPLE);
        let holds = |pauses: &Pauses, seconds: i64| pauses.hold(user, Time(seconds * 1000));
        assert!(!holds(&pauses, 0));
        assert_eq!(pauses.failed(user, Time(0)), 1);
        assert!(holds(&pauses, 29) && !holds(&pauses, 30));
        assert_eq!(pauses.failed(user, Time(0)), 2);
        assert!(holds(&pauses, 59) && !holds(&pauses, 60));
        for _ in 0..20 {
            pauses.failed(user, Time(0));
        }
        assert!(holds(&pauses, 3_599) && !holds(&pauses, 3_600));
        assert!(!holds(&pauses, -1), "a clock was set back");
        pauses.over(user);
        assert!(!holds(&pauses, 1));
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut pauses = Pauses::default();
        for id in 1..=MAX_PAUSED as u64 + 5 {
            pauses.failed(RobloxId::new(id).unwrap(), Time(0));
        }
        assert_eq!(pauses.0.len(), MAX_PAUSED);
    }
}
