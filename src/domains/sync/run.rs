//! A run: what it is to walk, how far it is, and how it ends. Pure.

use serde::{Deserialize, Serialize};

use crate::base::Time;
use crate::remote::roblox::MAX_KEYS;

/// How much a run walks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Extent {
    /// To the end.
    All,
    /// As many entries as its lap, then no further (`x-grps-sync: page`).
    Page,
}

/// Where a run stands (requirement G9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum State {
    /// Nobody has begun it.
    Pending,
    Running,
    /// All was read, and all of it was taken in.
    Done,
    /// It stopped, and may be resumed unless its place is lost: [`Run::resumable`].
    Failed,
    /// It is over, and something was left out: entries that could not be taken in, or what it had not come to when it was cancelled.
    Partial,
}

impl State {
    /// Whether the worker has to do with it.
    pub fn is_live(self) -> bool {
        matches!(self, Self::Pending | Self::Running)
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Partial => "partial",
        }
    }
}

/// What a run reads next.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Pages of keys, as Roblox lists them.
    Walking,
    /// The keys that failed, from behind this one on.
    Retrying(Option<String>),
}

/// What came of the entries so far. Every entry counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub pages: u64,
    pub created: u64,
    pub updated: u64,
    pub unchanged: u64,
    /// Listed, and gone when they were read.
    pub deleted: u64,
    pub failed: u64,
}

impl Tally {
    pub fn seen(&self) -> u64 {
        self.created + self.updated + self.unchanged + self.deleted + self.failed
    }

    pub fn plus(&self, other: &Tally) -> Tally {
        self.each(other, u64::saturating_add)
    }

    pub fn minus(&self, other: &Tally) -> Tally {
        self.each(other, u64::saturating_sub)
    }

    fn each(&self, other: &Tally, with: fn(u64, u64) -> u64) -> Tally {
        Tally {
            pages: with(self.pages, other.pages),
            created: with(self.created, other.created),
            updated: with(self.updated, other.updated),
            unchanged: with(self.unchanged, other.unchanged),
            deleted: with(self.deleted, other.deleted),
            failed: with(self.failed, other.failed),
        }
    }
}

/// The part of a run that a caller waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lap {
    /// What was counted before it.
    pub from: Tally,
    /// It is over when so many entries have been seen.
    pub until: u64,
    /// What was counted when it was over; none while it goes on.
    pub closed: Option<Tally>,
    /// What asks for the page behind it; none at the end.
    pub next: Option<String>,
    /// It ended because the run failed.
    pub failed: bool,
}

/// The pass over the list that only counts, for telling how far a run is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Census {
    pub counted: u64,
    /// What asks for the next page to count.
    pub cursor: Option<String>,
    pub state: CensusState,
}

impl Census {
    /// Pages that were counted, about.
    pub fn pages(&self) -> u64 {
        self.counted.div_ceil(MAX_KEYS as u64)
    }
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum CensusState {
    #[default]
    Open,
    Closed,
    /// Nothing is counted: a single page, or a list that did not let us.
    Off,
}

/// Why a run stopped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    pub what: String,
    /// What a person can do about it.
    pub hint: Option<String>,
    /// Roblox does not take the cursor that the caller gave.
    pub cursor_refused: bool,
    /// Roblox no longer knows the place, so that going on there is pointless.
    #[serde(default)]
    pub over: bool,
}

impl Failure {
    pub fn new(what: impl Into<String>, hint: Option<String>) -> Self {
        Self { what: what.into(), hint, cursor_refused: false, over: false }
    }
}

/// What a run is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    pub activity: String,
    pub scope: String,
    pub prefix: Option<String>,
    /// Where to begin; none for the beginning.
    pub from: Option<String>,
    pub extent: Extent,
    /// Entries of the first lap.
    pub limit: u64,
}

/// A run, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    /// What it is for, in the caller's words: one of each is alive at a time.
    pub activity: String,
    pub scope: String,
    pub prefix: Option<String>,
    pub from: Option<String>,
    pub extent: Extent,
    /// What asked for the page under way, or asks for the next one; none at the beginning.
    pub cursor: Option<String>,
    pub state: State,
    pub phase: Phase,
    pub created_at: Time,
    /// Moves with every change.
    pub updated_at: Time,
    pub started_at: Option<Time>,
    pub ended_at: Option<Time>,
    pub tally: Tally,
    pub lap: Lap,
    pub census: Census,
    /// Pages in a row with nothing on them.
    pub empty_pages: u32,
    /// It was begun anew because Roblox no longer took its cursor.
    pub anew: bool,
    /// Why it failed, or what is worth knowing of how it ended.
    pub failure: Option<Failure>,
    pub started_by: String,
    /// The request that began it; what it changes is audited under this id.
    pub request_id: String,
    /// It was begun anew since it was last resumed. Unlike `anew`, which stays: a place may be lost with every pause.
    #[serde(default)]
    pub restarted: bool,
    /// A page token that was met some pages ago: met again, the list goes in a circle.
    #[serde(default)]
    pub mark: Option<String>,
}

impl Run {
    pub fn new(plan: &Plan, now: Time, started_by: &str, request_id: &str) -> Self {
        let Plan { activity, scope, prefix, from, extent, limit } = plan.clone();
        let census_state = if extent == Extent::All { CensusState::Open } else { CensusState::Off };
        Self {
            activity,
            scope,
            prefix,
            cursor: from.clone(),
            census: Census { cursor: from.clone(), state: census_state, counted: 0 },
            from,
            extent,
            state: State::Pending,
            phase: Phase::Walking,
            created_at: now,
            updated_at: now,
            started_at: None,
            ended_at: None,
            tally: Tally::default(),
            lap: Lap { from: Tally::default(), until: limit, closed: None, next: None, failed: false },
            empty_pages: 0,
            anew: false,
            failure: None,
            started_by: started_by.to_owned(),
            request_id: request_id.to_owned(),
            restarted: false,
            mark: None,
        }
    }

    /// The row that makes sure there is one of it.
    pub fn slot(&self) -> (String, String, String) {
        (self.activity.clone(), self.scope.clone(), self.prefix.clone().unwrap_or_default())
    }

    /// Whether `plan` asks for what this failed run was about, so that going on is what the caller wants.
    pub fn resumes(&self, plan: &Plan) -> bool {
        self.resumable() && self.extent == plan.extent && self.from == plan.from
    }

    /// Whether it keeps its place, so that it can go on.
    pub fn resumable(&self) -> bool {
        let lost = |failure: &Failure| failure.cursor_refused || failure.over;
        self.state == State::Failed && !self.failure.as_ref().is_some_and(lost)
    }

    /// Goes on where it stopped, with a lap of `limit` entries.
    pub fn resume(&mut self, limit: u64, now: Time) {
        let until = self.tally.seen().saturating_add(limit);
        self.lap = Lap { from: self.tally, until, closed: None, next: None, failed: false };
        self.revive(now);
    }

    /// Goes on where it stopped, and nobody waits: a single page still ends where it should have.
    pub fn go_on(&mut self, now: Time) {
        let left = self.lap.until.saturating_sub(self.tally.seen());
        self.resume(left, now);
        if self.extent == Extent::All {
            self.close_lap(None);
        }
    }

    /// Reads the keys that failed again; nobody waits for it.
    pub fn retry(&mut self, now: Time) {
        self.phase = Phase::Retrying(None);
        self.close_lap(None);
        self.revive(now);
    }

    fn revive(&mut self, now: Time) {
        (self.state, self.failure, self.ended_at) = (State::Pending, None, None);
        (self.updated_at, self.empty_pages, self.restarted) = (now, 0, false);
    }

    /// The worker does something about it.
    pub fn touch(&mut self, now: Time) {
        self.state = State::Running;
        self.started_at.get_or_insert(now);
        self.updated_at = now;
    }

    /// Entries that may be taken before the lap is over; none when nobody waits.
    pub fn left_of_lap(&self) -> Option<u64> {
        self.lap.closed.is_none().then(|| self.lap.until.saturating_sub(self.tally.seen()).max(1))
    }

    /// Counts entries; `next` asks for the page behind the one they are on.
    pub fn count(&mut self, counted: &Tally, next: Option<&str>, now: Time) {
        self.touch(now);
        self.tally = self.tally.plus(counted);
        if matches!(self.phase, Phase::Retrying(_)) {
            self.tally.failed = self.tally.failed.saturating_sub(counted.seen());
        }
        if self.tally.seen() >= self.lap.until {
            self.close_lap(next);
        }
    }

    /// A page was listed, and `next` asks for the one behind it. The mark moves on at pages 1, 2, 4, 8 …, so that a circle of any length is
    /// noticed before it was walked three times.
    pub fn listed(&mut self, next: Option<&str>) {
        self.tally.pages += 1;
        if self.tally.pages.is_power_of_two() {
            self.mark = next.map(str::to_owned);
        }
    }

    /// A page is read through; `next` asks for the one behind it. Whether the run is over with it.
    #[must_use]
    pub fn turn(&mut self, next: Option<String>) -> bool {
        let full = self.extent == Extent::Page && self.tally.seen() >= self.lap.until;
        let over = next.is_none() || full;
        self.cursor = next;
        over
    }

    pub fn end(&mut self, now: Time) {
        self.touch(now);
        let whole = self.tally.failed == 0;
        self.state = if whole { State::Done } else { State::Partial };
        self.ended_at = Some(now);
        let next = self.cursor.clone();
        self.close_lap(next.as_deref());
    }

    pub fn fail(&mut self, failure: Failure, now: Time) {
        self.touch(now);
        (self.state, self.ended_at) = (State::Failed, Some(now));
        self.failure = Some(failure);
        if self.lap.closed.is_none() {
            self.lap.failed = true;
            let next = self.cursor.clone();
            self.close_lap(next.as_deref());
        }
    }

    pub fn cancel(&mut self, by: &str, now: Time) {
        (self.state, self.updated_at, self.ended_at) = (State::Partial, now, Some(now));
        self.failure = Some(Failure::new(format!("cancelled by {by}"), None));
        self.close_lap(None);
    }

    /// Begins at the beginning, once until it is resumed, counting anew: what was taken in before shows as unchanged.
    pub fn restart(&mut self, now: Time) {
        self.touch(now);
        (self.anew, self.restarted) = (true, true);
        (self.cursor, self.mark) = (None, None);
        if self.lap.closed.is_none() {
            self.lap.until = self.lap.until.saturating_sub(self.lap.from.seen());
            self.lap.from = Tally::default();
        }
        self.tally = Tally::default();
    }

    fn close_lap(&mut self, next: Option<&str>) {
        if self.lap.closed.is_none() {
            self.lap.closed = Some(self.tally);
            self.lap.next = next.map(str::to_owned);
        }
    }

    /// What the lap brought, or has brought so far.
    pub fn lap_tally(&self) -> Tally {
        self.lap.closed.unwrap_or(self.tally).minus(&self.lap.from)
    }

    /// How many entries there are to walk, once that is known.
    pub fn total(&self) -> Option<u64> {
        match (self.state, self.census.state) {
            (State::Done, _) => Some(self.tally.seen()),
            (_, CensusState::Closed) => Some(self.census.counted.max(self.tally.seen())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(extent: Extent) -> Plan {
        let (activity, scope) = ("nightly".to_owned(), "global".to_owned());
        Plan { activity, scope, prefix: None, from: None, extent, limit: 100 }
    }

    fn run(extent: Extent) -> Run {
        Run::new(&plan(extent), Time(1), "automation", "req")
    }

    fn updated(entries: u64) -> Tally {
        Tally { updated: entries, ..Tally::default() }
    }

    #[test]
    fn a_lap_closes_when_its_entries_are_seen_and_keeps_its_counts() {
        let mut run = run(Extent::All);
        run.count(&updated(60), Some("b"), Time(2));
        assert_eq!((run.left_of_lap(), run.lap.closed), (Some(40), None));
        run.count(&updated(40), Some("b"), Time(3));
        run.count(&updated(32), Some("c"), Time(4));
        assert_eq!((run.lap_tally().updated, run.lap.next.as_deref(), run.left_of_lap()), (100, Some("b"), None));
        assert_eq!((run.tally.seen(), run.state), (132, State::Running));
    }

    #[test]
    fn a_page_ends_with_its_lap_and_a_walk_with_its_list() {
        for (extent, over) in [(Extent::Page, true), (Extent::All, false)] {
            let mut run = run(extent);
            run.count(&updated(100), Some("b"), Time(2));
            assert_eq!(run.turn(Some("b".into())), over, "{extent:?}");
            assert!(run.turn(None));
        }
        let mut short = run(Extent::Page);
        short.count(&updated(99), Some("b"), Time(2));
        assert!(!short.turn(Some("b".into())), "a short page is not the end");
    }

    #[test]
    fn a_failed_run_goes_on_with_a_lap_of_its_own() {
        let mut run = run(Extent::All);
        run.count(&updated(32), Some("b"), Time(2));
        run.fail(Failure::new("down", None), Time(3));
        assert!(run.lap.failed && run.resumes(&plan(Extent::All)) && !run.resumes(&plan(Extent::Page)));
        assert!(!run.resumes(&Plan { from: Some("x".into()), ..plan(Extent::All) }));
        run.resume(100, Time(4));
        assert_eq!((run.state, run.lap.until, run.lap.failed, &run.failure), (State::Pending, 132, false, &None));
        run.count(&updated(100), None, Time(5));
        run.end(Time(6));
        assert_eq!((run.lap_tally().updated, run.tally.updated, run.state), (100, 132, State::Done));
    }

    #[test]
    fn a_failure_in_the_background_leaves_the_lap_alone() {
        let mut run = run(Extent::All);
        run.count(&updated(100), Some("b"), Time(2));
        run.fail(Failure::new("down", None), Time(3));
        assert!(!run.lap.failed && run.lap_tally().updated == 100);
    }

    #[test]
    fn a_retried_entry_counts_once() {
        let mut run = run(Extent::All);
        run.count(&Tally { failed: 2, updated: 8, ..Tally::default() }, None, Time(2));
        run.end(Time(3));
        assert_eq!(run.state, State::Partial);
        run.retry(Time(4));
        run.count(&Tally { failed: 1, created: 1, ..Tally::default() }, None, Time(5));
        run.end(Time(6));
        assert_eq!((run.tally.seen(), run.tally.failed, run.tally.created, run.state), (10, 1, 1, State::Partial));
    }

    #[test]
    fn a_walk_begun_anew_counts_anew() {
        let mut run = run(Extent::All);
        run.count(&updated(32), Some("b"), Time(2));
        run.fail(Failure::new("down", None), Time(3));
        run.resume(50, Time(4));
        run.restart(Time(5));
        assert_eq!((run.tally, run.left_of_lap(), run.anew), (Tally::default(), Some(50), true));
    }
}
