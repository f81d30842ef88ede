//! A queue told a second time, as plainly as it can be: what the real one has to do is what this one does. It knows nothing of rows, indexes
//! or claims; it looks through all jobs for the first.

use std::collections::BTreeMap;

use grps::base::Id;
use grps::domains::jobs::{Nack, State};

/// Milliseconds.
pub type Ms = i64;

/// One job.
#[derive(Debug, Clone)]
pub struct Told {
    pub priority: i8,
    pub state: Held,
    pub ready_at: Ms,
    pub dies_at: Option<Ms>,
    pub attempt: u32,
    pub max_attempts: u32,
    /// The last token given out, and whether its holder gave the job back with it.
    pub token: Option<(String, bool)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    InQueue,
    Until(Ms),
    Delivered,
    Done,
    Dead,
    Expired,
}

/// All jobs of one queue.
#[derive(Debug, Default)]
pub struct Model {
    pub jobs: BTreeMap<Id, Told>,
}

/// What an answer under a lease comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Good,
    /// It had been said before.
    Again,
    Late,
}

impl Model {
    /// The jobs that a taker of `max` gets at `now`, in their order.
    pub fn first(&self, max: usize, now: Ms) -> Vec<Id> {
        let free = |told: &&Told| {
            told.state == Held::InQueue && told.ready_at <= now && told.dies_at.is_none_or(|end| now < end)
        };
        let mut all: Vec<(i8, Id)> =
            self.jobs.iter().filter(|(_, told)| free(told)).map(|(id, told)| (-told.priority, *id)).collect();
        all.sort();
        all.into_iter().take(max).map(|(_, id)| id).collect()
    }

    /// Whether `token` holds `id` at `now`.
    pub fn holds(&self, id: Id, token: &str, now: Ms) -> bool {
        self.jobs.get(&id).is_some_and(|told| {
            let last = told.token.as_ref().is_some_and(|(last, _)| last == token);
            matches!(told.state, Held::Until(end) if last && now < end)
        })
    }

    pub fn ack(&mut self, id: Id, token: &str, now: Ms) -> Verdict {
        let again = self.jobs[&id].state == Held::Done && self.is_last(id, token);
        if again {
            return Verdict::Again;
        }
        if !self.holds(id, token, now) {
            return Verdict::Late;
        }
        self.told(id).state = Held::Done;
        Verdict::Good
    }

    /// Gives it back, to be had at once, or as dead; one that was not tried keeps its attempt.
    pub fn nack(&mut self, id: Id, token: &str, nack: &Nack, now: Ms) -> Verdict {
        let told = &self.jobs[&id];
        let returned = told.token.as_ref().is_some_and(|(last, returned)| last == token && *returned);
        if returned && !matches!(told.state, Held::Until(_)) {
            return Verdict::Again;
        }
        if !self.holds(id, token, now) {
            return Verdict::Late;
        }
        let told = self.told(id);
        if let Some((_, returned)) = &mut told.token {
            *returned = true;
        }
        if nack.released {
            told.attempt -= 1;
        }
        told.fail(nack.dead);
        Verdict::Good
    }

    pub fn extend(&mut self, id: Id, token: &str, until: Ms, now: Ms) -> Verdict {
        if !self.holds(id, token, now) {
            return Verdict::Late;
        }
        self.told(id).state = Held::Until(until);
        Verdict::Good
    }

    /// What time has done by `now`.
    pub fn lapse(&mut self, now: Ms) {
        for told in self.jobs.values_mut() {
            if matches!(told.state, Held::Until(end) if end <= now) {
                told.fail(false);
            }
            if told.state == Held::InQueue && told.dies_at.is_some_and(|end| end <= now) {
                told.state = Held::Expired;
            }
        }
    }

    /// An operator puts it back. Whether that can be.
    pub fn requeue(&mut self, id: Id) -> bool {
        let told = self.told(id);
        if matches!(told.state, Held::Until(_)) {
            return false;
        }
        (told.state, told.attempt, told.ready_at, told.dies_at) = (Held::InQueue, 0, 0, None);
        true
    }

    /// How many jobs are in `state` at `now`.
    pub fn count(&self, state: State, now: Ms) -> usize {
        let fits = |told: &&Told| match told.state {
            Held::InQueue if now < told.ready_at => state == State::Waiting,
            Held::InQueue => state == State::Ready,
            Held::Until(_) => state == State::Leased,
            Held::Delivered => state == State::Delivered,
            Held::Done => state == State::Done,
            Held::Dead => state == State::Dead,
            Held::Expired => state == State::Expired,
        };
        self.jobs.values().filter(fits).count()
    }

    pub fn told(&mut self, id: Id) -> &mut Told {
        self.jobs.get_mut(&id).unwrap()
    }

    fn is_last(&self, id: Id, token: &str) -> bool {
        self.jobs[&id].token.as_ref().is_some_and(|(last, _)| last == token)
    }
}

impl Told {
    fn fail(&mut self, dead: bool) {
        let over = dead || self.attempt >= self.max_attempts;
        (self.state, self.ready_at) = (if over { Held::Dead } else { Held::InQueue }, 0);
    }
}
