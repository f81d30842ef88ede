//! What we allow ourselves of Roblox's limits, so that none of its refusals is our doing.
//!
//! Roblox counts calls by kind of operation and by owner of the key, over all of the owner's keys; data stores by experience. One budget
//! belongs to one key, and every client made from it shares it. A call counts from before it is sent until one window after it was
//! *answered*: Roblox saw it somewhere in between, so no stretch of a window's length on Roblox's side can hold more calls than the limit,
//! whatever the delays. What others use up with keys of the same owner shows in the headers of answers, and is heeded. What the process
//! before us used up stands in a [`Ledger`].

mod class;
mod ledger;

use std::collections::{HashMap, VecDeque};
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

pub use self::class::Class;
use self::class::{MINUTE, SECOND};
use self::ledger::{Ledger, Noted, Place};
use super::trouble::asked_wait;
use crate::base::{Clock, Time};
use crate::remote::{Answer, TOTAL_TIMEOUT};

/// How long to wait when all that may be under way is under way.
const IN_FLIGHT: Duration = Duration::from_millis(50);

/// The first pause after a 429 that does not say how long; it doubles with every further one.
pub(super) const FIRST_PAUSE: Duration = SECOND;

/// The longest of those pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(120);

/// The longest pause that is kept because Roblox asked for it: an answer gone wrong must not close a class for a day.
pub const LONGEST_OBEYED: Duration = Duration::from_secs(600);

/// Updates of one user's restriction in one experience within a minute.
const UPDATES_OF_A_USER: usize = 2;

/// Users whose updates are remembered; they are forgotten after a minute anyway.
const MAX_USERS: usize = 10_000;

/// The budget of one key. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Budget {
    clock: Clock,
    state: Arc<Mutex<State>>,
}

struct State {
    windows: HashMap<Class, Window>,
    /// Updates of each user's restriction that are under way or ended within the last minute.
    updates: HashMap<u64, Span>,
    /// None: what we use is forgotten with the process.
    ledger: Option<Ledger>,
}

/// Calls that still count.
#[derive(Default)]
struct Span {
    /// When they ended, oldest first.
    ended: VecDeque<Time>,
    in_flight: usize,
}

struct Window {
    length: Duration,
    most: usize,
    calls: Span,
    closed_until: Time,
    /// The pause that was asked for when it was closed.
    closed_for: Duration,
    refusals: u32,
}

/// How much of a class is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    pub class: Class,
    pub used: usize,
    pub most: usize,
    /// Roblox asked us to wait until then.
    pub closed_until: Option<Time>,
}

/// Leave for one call. It counts as ended when this is dropped.
pub(super) struct Leave {
    budget: Budget,
    class: Class,
    /// Whose restriction is updated, if it is that.
    user: Option<u64>,
    began: Time,
    /// Where it is written down.
    place: Option<Place>,
}

impl Budget {
    /// `percent` (1 to 100) is our share of each limit; the rest is left to others who use keys of the same owner. `clock` must run as
    /// Roblox's does.
    pub fn new(clock: Clock, percent: u32) -> Self {
        let window = |class: &Class| {
            let (most, length) = class.limit();
            let most = (most * percent.clamp(1, 100) / 100).max(1) as usize;
            let window = Window {
                length,
                most,
                calls: Span::default(),
                closed_until: Time::default(),
                closed_for: Duration::ZERO,
                refusals: 0,
            };
            (*class, window)
        };
        let state = State { windows: Class::ALL.iter().map(window).collect(), updates: HashMap::new(), ledger: None };
        Self { clock, state: Arc::new(Mutex::new(state)) }
    }

    /// Writes down in the file `path` what is used from now on, and counts what the process before us wrote there, however it ended.
    ///
    /// # Errors
    /// Those of the file.
    pub fn keep_in(&self, path: &Path) -> io::Result<()> {
        let (ledger, mut calls) = Ledger::open(path)?;
        let now = self.clock.now();
        // A call whose end nobody saw was over by now, and when the longest one would have been.
        let ended = |call: &Noted| call.ended.unwrap_or(call.began + TOTAL_TIMEOUT).min(now);
        calls.sort_by_key(ended);
        let mut state = self.lock();
        let State { windows, updates, .. } = &mut *state;
        for call in calls {
            let at = ended(&call);
            if let Some(window) = windows.get_mut(&call.class).filter(|window| now.since(at) < window.length) {
                window.calls.ended.push_back(at);
            }
            if let Some(user) = call.user.filter(|_| now.since(at) < MINUTE) {
                updates.entry(user).or_default().ended.push_back(at);
            }
        }
        state.ledger = Some(ledger);
        Ok(())
    }

    /// Leave for one call of `class`, or how long to wait for it. `user` is whose restriction it updates, if it is that.
    pub(super) fn leave(&self, class: Class, user: Option<u64>) -> Result<Leave, Duration> {
        let now = self.clock.now();
        let mut state = self.lock();
        let State { windows, updates, ledger } = &mut *state;
        if let Some(user) = user {
            updates.retain(|_, of| of.used(now, MINUTE) > 0);
            if updates.len() >= MAX_USERS && !updates.contains_key(&user) {
                return Err(MINUTE);
            }
            updates.entry(user).or_default().room(now, UPDATES_OF_A_USER, MINUTE)?;
        }
        if let Some(window) = windows.get_mut(&class) {
            window.room(now)?;
            window.calls.in_flight += 1;
        }
        if let Some(user) = user {
            updates.entry(user).or_default().in_flight += 1;
        }
        // Written down before it is used.
        let place = ledger.as_mut().map(|ledger| ledger.begin(class, user, now));
        Ok(Leave { budget: self.clone(), class, user, began: now, place })
    }

    /// Hears what an answer says of the limit.
    pub(super) fn heed(&self, class: Class, answer: &Answer) {
        let now = self.clock.now();
        let mut state = self.lock();
        let Some(window) = state.windows.get_mut(&class) else { return };
        let reset = answer.seconds("x-ratelimit-reset");
        if answer.status == 429 {
            // Those that were under way together were refused together: that counts once.
            if window.closed(now).is_none() {
                window.refusals = window.refusals.saturating_add(1);
            }
            let doubled = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(window.refusals.clamp(1, 16) - 1));
            window.close(now, asked_wait(answer).unwrap_or(doubled.min(LONGEST_PAUSE)));
            return;
        }
        window.refusals = 0;
        // Somebody else has used up what we thought was left: theirs and ours together are what counts.
        if first_number(answer.header("x-ratelimit-remaining")) == Some(0) && window.used(now) < window.most {
            window.close(now, reset.unwrap_or(window.length).min(window.length));
        }
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    /// The classes that were used within their window, or are closed.
    pub fn usage(&self) -> Vec<Usage> {
        let now = self.clock.now();
        let mut state = self.lock();
        let of = |class: &Class| {
            let window = state.windows.get_mut(class)?;
            let closed_until = window.closed(now).map(|pause| now + pause);
            let usage = Usage { class: *class, used: window.used(now), most: window.most, closed_until };
            (usage.used > 0 || closed_until.is_some()).then_some(usage)
        };
        Class::ALL.iter().filter_map(of).collect()
    }

    /// How many calls of `class` a minute we allow ourselves.
    pub fn per_minute(&self, class: Class) -> u64 {
        let state = self.lock();
        let of = |window: &Window| window.most as u64 * 60_000 / window.length.as_millis().max(1) as u64;
        state.windows.get(&class).map_or(0, of)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Window {
    /// Whether there is room for one more, or how long not.
    fn room(&mut self, now: Time) -> Result<(), Duration> {
        match self.closed(now) {
            Some(pause) => Err(pause),
            None => self.calls.room(now, self.most, self.length),
        }
    }

    fn used(&mut self, now: Time) -> usize {
        self.calls.used(now, self.length)
    }

    /// How long it is still closed, if it is. After a clock was set back, no longer than was asked for.
    fn closed(&mut self, now: Time) -> Option<Duration> {
        self.closed_until = self.closed_until.min(now + self.closed_for);
        Some(self.closed_until.since(now)).filter(|pause| !pause.is_zero())
    }

    /// Closes it for `pause`, unless it is closed for longer already.
    fn close(&mut self, now: Time, pause: Duration) {
        if self.closed(now).is_none_or(|rest| rest < pause) {
            (self.closed_until, self.closed_for) = (now + pause, pause);
        }
    }
}

impl Span {
    /// Forgets what ended longer than `length` ago, and counts the rest. After a clock was set back, what ended "later" counts as having
    /// ended now.
    fn used(&mut self, now: Time, length: Duration) -> usize {
        self.ended.iter_mut().rev().take_while(|at| **at > now).for_each(|at| *at = now);
        while self.ended.front().is_some_and(|at| now.since(*at) >= length) {
            self.ended.pop_front();
        }
        self.ended.len() + self.in_flight
    }

    /// Whether there are fewer than `most`, or how long to wait for that.
    fn room(&mut self, now: Time, most: usize, length: Duration) -> Result<(), Duration> {
        if self.used(now, length) < most {
            return Ok(());
        }
        let oldest = self.ended.front().map(|at| length.saturating_sub(now.since(*at)));
        Err(oldest.unwrap_or(IN_FLIGHT))
    }

    /// Answers come in another order than calls, but they end in the order of the clock.
    fn end(&mut self, now: Time) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.ended.push_back(self.ended.back().map_or(now, |last| now.max(*last)));
    }
}

impl Drop for Leave {
    fn drop(&mut self) {
        let now = self.budget.clock.now();
        let mut state = self.budget.lock();
        if let Some(window) = state.windows.get_mut(&self.class) {
            window.calls.end(now);
        }
        if let Some(of) = self.user.and_then(|user| state.updates.get_mut(&user)) {
            of.end(now);
        }
        if let Some((ledger, place)) = state.ledger.as_mut().zip(self.place) {
            ledger.write(place, Noted { class: self.class, user: self.user, began: self.began, ended: Some(now) });
        }
    }
}

/// The first of a list of numbers such as `1000, 1000;w=60`.
fn first_number(header: Option<&str>) -> Option<u64> {
    header?.split([',', ';']).next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
