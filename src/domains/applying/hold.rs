//! Which kinds of calls are held back, and until when: after what only an owner can cure, and while Roblox is away. When the time is over,
//! one call is let through to find out; the others follow when it succeeded.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::base::{Clock, Failing, Time};
use crate::remote::roblox::{Cure, Trouble};
use crate::workers::backoff;

/// How long what only an owner can cure holds back.
const FOR_OWNER: Duration = Duration::from_secs(60);

/// How long others wait while one finds out whether the hold is over; no longer than that, for then it mostly is.
const TRIAL: Duration = Duration::from_secs(2);

/// Failures in a row from which on Roblox counts as away.
const AWAY: u32 = 3;

/// Kinds of calls that fail and recover together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Area {
    /// Roles and members are read.
    Group,
    /// Members' roles are changed.
    Roles,
    /// Restrictions of the experience are read and changed.
    Experience,
}

const AREAS: usize = 3;

/// Why something is held back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub failing: Failing,
    until: Time,
    /// When one was last let through to find out.
    tried: Option<Time>,
    failures: u32,
    for_owner: bool,
}

/// What is in the way of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Illness {
    pub failing: Failing,
    /// How long Roblox wants us to wait.
    pub wait: Option<Duration>,
    /// Only an owner can cure it.
    for_owner: bool,
    /// Roblox as a whole is not well.
    away: bool,
}

impl Illness {
    pub fn of_owner(what: &str, hint: &str) -> Self {
        let failing = Failing { what: what.to_owned(), hint: Some(hint.to_owned()) };
        Self { failing, wait: None, for_owner: true, away: false }
    }

    /// Something that passes by itself.
    pub fn passing(what: &str) -> Self {
        let failing = Failing { what: what.to_owned(), hint: None };
        Self { failing, wait: None, for_owner: false, away: false }
    }
}

impl From<&Trouble> for Illness {
    fn from(trouble: &Trouble) -> Self {
        Self {
            failing: trouble.into(),
            wait: trouble.wait(),
            for_owner: trouble.cure() == Cure::Owner,
            away: matches!(trouble, Trouble::Down { .. } | Trouble::Unanswered(_)),
        }
    }
}

/// The holds of all areas. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Holds {
    clock: Clock,
    areas: Arc<Mutex<[Option<Held>; AREAS]>>,
}

impl Holds {
    pub fn new(clock: Clock) -> Self {
        Self { clock, areas: Arc::default() }
    }

    /// Leave for a call, or how long to wait for it.
    pub fn enter(&self, area: Area) -> Result<(), Duration> {
        let now = self.clock.now();
        let mut areas = self.lock();
        let Some(held) = &mut areas[area as usize] else { return Ok(()) };
        // A clock that was set back must not hold us for longer than meant.
        if held.until > now && held.until.since(now) <= FOR_OWNER {
            return Err(held.until.since(now));
        }
        // One that never told how it went is given up in the end.
        if held.tried.is_some_and(|tried| tried <= now && now.since(tried) < FOR_OWNER) {
            return Err(TRIAL);
        }
        held.tried = Some(now);
        Ok(())
    }

    /// A call succeeded.
    pub fn well(&self, area: Area) {
        if self.lock()[area as usize].take().is_some_and(|held| held.is_news()) {
            tracing::info!(?area, "decisions are carried out again");
        }
    }

    /// A call was not made, or told nothing of the others: another one may find out.
    pub fn untold(&self, area: Area) {
        if let Some(held) = &mut self.lock()[area as usize] {
            held.tried = None;
        }
    }

    /// A call failed.
    pub fn failed(&self, area: Area, illness: &Illness) {
        let for_owner = illness.for_owner;
        if !for_owner && !illness.away {
            return self.untold(area);
        }
        let now = self.clock.now();
        let mut areas = self.lock();
        let before = areas[area as usize].take();
        let failures = before.as_ref().map_or(0, |held| held.failures).saturating_add(1);
        let pause = if for_owner { FOR_OWNER } else { backoff(failures - 1).min(FOR_OWNER) };
        let held = Held { failing: illness.failing.clone(), until: now + pause, tried: None, failures, for_owner };
        let Failing { what, hint } = &held.failing;
        if held.is_news() && before.is_none_or(|before| !before.is_news() || before.failing.what != *what) {
            let hint = hint.as_deref().unwrap_or("it is tried again and again");
            tracing::warn!(?area, hint, "decisions are not carried out: {what}");
        }
        areas[area as usize] = Some(held);
    }

    /// What somebody should know of.
    pub fn news(&self) -> Option<Held> {
        self.lock().iter().flatten().find(|held| held.is_news()).cloned()
    }

    /// What is in the way of calls of these kinds, a moment's weakness too.
    pub fn in_the_way(&self, areas: &[Area]) -> Option<Held> {
        let now = self.clock.now();
        let held = self.lock();
        let held = areas.iter().filter_map(|area| held[*area as usize].as_ref());
        held.into_iter().find(|held| held.is_news() || held.until > now).cloned()
    }

    fn lock(&self) -> MutexGuard<'_, [Option<Held>; AREAS]> {
        self.areas.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    /// Whether only an owner can cure it: the key, its scopes, the settings.
    pub fn is_for_owner(&self) -> bool {
        self.for_owner
    }

    /// Whether it is more than a moment's weakness.
    fn is_news(&self) -> bool {
        self.for_owner || self.failures >= AWAY
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::Time;
    use crate::remote::roblox::Complaint;

    #[test]
    fn one_call_finds_out_for_all_and_other_areas_go_on() {
        let clock = Clock::fake(Time(1_000_000));
        let holds = Holds::new(clock.clone());
        holds.failed(Area::Roles, &Illness::from(&Trouble::Unauthenticated(Complaint::default())));
        assert_eq!((holds.enter(Area::Roles), holds.enter(Area::Group)), (Err(FOR_OWNER), Ok(())));
        assert!(holds.news().is_some_and(|held| held.failing.hint.is_some()));
        clock.advance(FOR_OWNER);
        assert_eq!((holds.enter(Area::Roles), holds.enter(Area::Roles)), (Ok(()), Err(TRIAL)));
        clock.advance(FOR_OWNER);
        assert_eq!(holds.enter(Area::Roles), Ok(()), "the first never told how it went");
        holds.untold(Area::Roles);
        assert_eq!(holds.enter(Area::Roles), Ok(()), "the second was never made");
        holds.failed(Area::Roles, &Illness::passing("a conflict"));
        assert_eq!((holds.enter(Area::Roles), holds.enter(Area::Roles)), (Ok(()), Err(TRIAL)));
        assert!(holds.in_the_way(&[Area::Group, Area::Roles]).is_some_and(|held| held.is_for_owner()));
        assert_eq!(holds.in_the_way(&[Area::Group, Area::Experience]), None);
        holds.well(Area::Roles);
        assert_eq!((holds.enter(Area::Roles), holds.news()), (Ok(()), None));
    }

    #[test]
    fn a_moments_weakness_is_no_news_and_what_is_no_weakness_holds_nothing() {
        let clock = Clock::fake(Time(1_000_000));
        let holds = Holds::new(clock.clone());
        let down = Illness::from(&Trouble::Down { status: 503, complaint: Complaint::default() });
        holds.failed(Area::Group, &down);
        assert_eq!((holds.enter(Area::Group), holds.news()), (Err(Duration::from_secs(1)), None));
        (0..2).for_each(|_| holds.failed(Area::Group, &down));
        assert!(holds.news().is_some());
        holds.failed(Area::Roles, &Illness::passing("a conflict"));
        assert_eq!(holds.enter(Area::Roles), Ok(()));
        clock.set_back(Duration::from_secs(3_600));
        assert_eq!(holds.enter(Area::Group), Ok(()), "not held for an hour by a clock that was set back");
    }
}
