//! The worker that walks: one step of one run a tick. Runs that somebody waits for go first, the others take turns.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Notify;

use super::run::Run;
use super::service::{KEEP_RUNS, Sync};
use super::walk::Step;
use crate::base::{Id, Result, Time};
use crate::workers::{Next, Worker};

/// Longest pause; a start wakes the worker before.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// Shortest pause when the budget is used up, so that what frees itself call by call is read in portions.
const GATHER: Duration = Duration::from_millis(500);

/// How long a run must have been read for its own speed to count.
const MEASURABLE: Duration = Duration::from_secs(60);

/// What the worker remembers of the runs from step to step. Forgotten with the process: a start is a fresh beginning for all of it.
#[derive(Default)]
pub struct Turns {
    turns: HashMap<Id, Turn>,
    served: u64,
}

/// What is remembered of one run.
#[derive(Debug, Clone, Default)]
pub struct Turn {
    /// Not before.
    due: Time,
    /// How far ahead of its setting that was.
    pause: Duration,
    /// When it last had its turn.
    served: u64,
    /// Steps in a row that failed.
    pub failures: u32,
    /// When reading began in this process, and how many entries had been seen by then.
    began: Option<(Time, u64)>,
    /// Counting waits until then.
    pub census_due: Time,
}

impl Turns {
    /// Whose turn it is at `now`, or how long nobody's; none when there are no runs.
    fn pick(&mut self, live: Vec<(Id, Run)>, now: Time) -> Option<Result<(Id, Run), Duration>> {
        self.turns.retain(|id, _| live.iter().any(|(alive, _)| alive == id));
        let mut soonest = LOOK_EVERY;
        let mut first: Option<((bool, u64), (Id, Run))> = None;
        let any = !live.is_empty();
        for (id, run) in live {
            let turn = self.turns.entry(id).or_default();
            // A clock that was set back must not stretch a pause.
            turn.due = turn.due.min(now + turn.pause);
            if turn.due > now {
                soonest = soonest.min(turn.due.since(now));
                continue;
            }
            let rank = (run.lap.closed.is_some(), turn.served);
            if first.as_ref().is_none_or(|(best, _)| rank < *best) {
                first = Some((rank, (id, run)));
            }
        }
        let Some((_, (id, run))) = first else { return any.then_some(Err(soonest)) };
        self.served += 1;
        self.turn(id).served = self.served;
        Some(Ok((id, run)))
    }

    pub fn turn(&mut self, id: Id) -> &mut Turn {
        self.turns.entry(id).or_default()
    }

    /// How long the `left` entries of a run take that has seen some: at the speed that the budget allows (`allowed` a minute), or at the run's
    /// own if that is lower.
    pub fn eta(&self, id: Id, (left, seen): (u64, u64), allowed: u64, now: Time) -> Duration {
        let began = self.turns.get(&id).and_then(|turn| turn.began);
        let own = began.filter(|(at, _)| now.since(*at) >= MEASURABLE).map(|(at, from)| {
            let read = u128::from(seen.saturating_sub(from));
            u64::try_from(read * 60_000 / now.since(at).as_millis().max(1)).unwrap_or(u64::MAX)
        });
        let a_minute = own.map_or(allowed, |own| own.min(allowed)).max(1);
        Duration::from_secs(left.saturating_mul(60).div_ceil(a_minute))
    }
}

impl Turn {
    pub fn pause(&mut self, pause: Duration, now: Time) {
        (self.due, self.pause) = (now + pause, pause);
    }

    pub fn reading(&mut self, now: Time, seen: u64) {
        self.began.get_or_insert((now, seen));
    }
}

/// Reads the data store for as long as the program runs.
pub struct SyncWorker {
    sync: Sync,
}

impl SyncWorker {
    pub(super) fn new(sync: Sync) -> Self {
        Self { sync }
    }

    async fn step(&mut self) -> Result<Next> {
        let now = self.sync.clock().now();
        let picked = self.sync.turns().pick(self.sync.board().live(), now);
        let (id, run) = match picked {
            None => return self.idle().await,
            Some(Err(pause)) => return Ok(Next::After(pause)),
            Some(Ok(picked)) => picked,
        };
        match self.sync.step(id, &run).await? {
            Step::Went => Ok(Next::Now),
            Step::Pause(pause) => {
                let (pause, now) = (pause.max(GATHER), self.sync.clock().now());
                self.sync.turns().turn(id).pause(pause, now);
                Ok(Next::Now)
            }
        }
    }

    /// Nothing is to be read: time to forget old runs.
    async fn idle(&self) -> Result<Next> {
        match self.sync.board().surplus(KEEP_RUNS) {
            None => Ok(Next::After(LOOK_EVERY)),
            Some(id) => {
                self.sync.forget(id).await?;
                Ok(Next::Now)
            }
        }
    }
}

impl Worker for SyncWorker {
    fn name(&self) -> &'static str {
        "sync"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.step())
    }

    fn wake(&self) -> Option<Arc<Notify>> {
        Some(self.sync.wake())
    }
}

#[cfg(test)]
mod tests {
    use super::super::run::{Extent, Plan};
    use super::*;

    fn run(waiting: bool) -> Run {
        let (activity, scope) = ("nightly".to_owned(), "global".to_owned());
        let plan = Plan { activity, scope, prefix: None, from: None, extent: Extent::All, limit: 100 };
        let mut run = Run::new(&plan, Time(0), "a", "r");
        run.lap.closed = (!waiting).then_some(run.tally);
        run
    }

    #[test]
    fn whoever_is_waited_for_goes_first_and_the_others_take_turns() {
        let mut turns = Turns::default();
        let live = |last| vec![(Id(1), run(false)), (Id(2), run(false)), (Id(3), run(last))];
        let mut picked = |last| turns.pick(live(last), Time(5)).unwrap().unwrap().0.0;
        assert_eq!([picked(true), picked(true)], [3, 3]);
        assert_eq!([picked(false), picked(false), picked(false), picked(false)], [1, 2, 3, 1]);
    }

    #[test]
    fn a_pause_is_kept_and_a_clock_set_back_does_not_stretch_it() {
        let mut turns = Turns::default();
        let live = || vec![(Id(1), run(false))];
        turns.turn(Id(1)).pause(Duration::from_secs(9), Time(100_000));
        assert_eq!(turns.pick(live(), Time(101_000)), Some(Err(Duration::from_secs(8))));
        assert_eq!(turns.pick(live(), Time(1_000)), Some(Err(Duration::from_secs(9))));
        assert!(turns.pick(live(), Time(10_000)).unwrap().is_ok());
        assert!(turns.pick(Vec::new(), Time(10_000)).is_none());
    }

    #[test]
    fn the_rest_is_told_by_the_budget_until_others_use_it() {
        let mut turns = Turns::default();
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        assert_eq!(turns.eta(Id(1), (3_000, 0), 300, Time(0)), minutes(10));
        turns.turn(Id(1)).reading(Time(0), 0);
        // A burst at the beginning is no speed to count on.
        assert_eq!(turns.eta(Id(1), (2_700, 300), 300, Time(2_000)), minutes(9));
        assert_eq!(turns.eta(Id(1), (1_500, 1_500), 300, Time(240_000)), minutes(5));
        assert_eq!(turns.eta(Id(1), (1_500, 1_500), 300, Time(600_000)), minutes(10));
    }
}
