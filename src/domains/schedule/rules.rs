//! The pure rules: who leads, and what is due.

use std::time::Duration;

use super::tables::{Lease, State};
use crate::base::Time;
use crate::workers::Schedule;

/// How long a leader leads without renewing.
pub const LEASE: Duration = Duration::from_secs(60);

/// The pause before a plan that could not be started is tried again.
pub const RETRY_AFTER: Duration = Duration::from_secs(300);

/// What is to be done about a plan now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Its times count from now on: it was off, its pattern or zone was another, or the clock was put back.
    Begin,
    Wait,
    /// The oldest of its times that nobody has dealt with.
    Due(Time),
}

/// What a pattern is known by in a plan's row. The times of another pattern, or of another zone, were never missed.
pub fn pattern(schedule: &Schedule) -> String {
    format!("{schedule} in {}", schedule.zone().name())
}

/// What is to be done about a plan that is on.
pub fn turn(state: Option<&State>, schedule: &Schedule, now: Time) -> Turn {
    let goes_on = |state: &&State| state.through <= now && state.pattern.as_ref() == Some(&pattern(schedule));
    let Some(state) = state.filter(goes_on) else { return Turn::Begin };
    match schedule.after(state.through) {
        Some(due) if due <= now && state.retry_at.is_none_or(|at| at <= now || at > now + RETRY_AFTER) => {
            Turn::Due(due)
        }
        _ => Turn::Wait,
    }
}

/// The lease that `holder` may write down; none when it has to leave the lead to another.
pub fn lead(held: Option<&Lease>, holder: &str, now: Time) -> Option<Lease> {
    // One that ends later than any lease can was written before the clock was put back.
    let ended = |lease: &Lease| lease.until <= now || lease.until > now + LEASE;
    let free = held.is_none_or(|lease| lease.holder == holder || ended(lease));
    free.then(|| Lease { holder: holder.to_owned(), until: now + LEASE })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workers::Zone;

    fn at(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    #[test]
    fn what_was_missed_is_due_once_and_a_beginning_misses_nothing() {
        let daily = Schedule::parse("REVIEW_CRON", "0 4 * * *", &Zone::utc()).unwrap().unwrap();
        let known = Some("0 4 * * * in UTC".to_owned());
        let state = |through: &str| State { through: at(through), pattern: known.clone(), ..State::default() };
        let turn = |state: Option<State>, now: &str| turn(state.as_ref(), &daily, at(now));
        assert_eq!(turn(None, "2025-03-05T12:00:00Z"), Turn::Begin);
        assert_eq!(turn(Some(state("2025-03-05T12:00:00Z")), "2025-03-06T03:59:59Z"), Turn::Wait);
        let due = Turn::Due(at("2025-03-06T04:00:00Z"));
        assert_eq!(turn(Some(state("2025-03-05T12:00:00Z")), "2025-03-06T04:00:00Z"), due);
        assert_eq!(turn(Some(state("2025-03-05T12:00:00Z")), "2025-03-09T09:00:00Z"), due, "however often");
        assert_eq!(turn(Some(state("2025-03-09T09:00:00Z")), "2025-03-09T09:00:15Z"), Turn::Wait);
        assert_eq!(turn(Some(state("2026-03-09T09:00:00Z")), "2025-03-09T09:00:15Z"), Turn::Begin, "put back");
        for other in [None, Some("0 3 * * * in UTC"), Some("0 4 * * * in Europe/Berlin")] {
            let state = State { pattern: other.map(ToOwned::to_owned), ..state("2025-03-05T12:00:00Z") };
            assert_eq!(turn(Some(state), "2025-03-09T09:00:00Z"), Turn::Begin, "{other:?}");
        }
        let failed = State { retry_at: Some(at("2025-03-06T04:05:00Z")), ..state("2025-03-05T12:00:00Z") };
        assert_eq!(turn(Some(failed.clone()), "2025-03-06T04:04:59Z"), Turn::Wait);
        assert_eq!(turn(Some(failed), "2025-03-06T04:05:00Z"), due);
    }

    #[test]
    fn one_leads_until_its_lease_is_over() {
        let lease = lead(None, "a", Time(0)).unwrap();
        assert_eq!(lease.until, Time(60_000));
        assert_eq!(lead(Some(&lease), "b", Time(59_999)), None);
        assert_eq!(lead(Some(&lease), "a", Time(30_000)).unwrap().until, Time(90_000));
        assert_eq!(lead(Some(&lease), "b", Time(60_000)).unwrap().holder, "b");
        let ahead = Lease { until: Time(1_000_000), ..lease };
        assert!(lead(Some(&ahead), "b", Time(5_000)).is_some(), "nobody waits for a clock that was put back");
    }
}
