//! When to ring: pure, all times are handed in. A queue is rung for when something became ready in it since the last look, and again from
//! time to time while something stays ready, since a ring may get lost. Rings are coalesced per queue and budgeted over all.

use std::time::Duration;

use crate::base::Time;
use crate::remote::roblox::Trouble;

/// Shortest time between two rings for one queue. Roblox delivers 120 messages a minute of one topic to a game with a single server.
pub const GAP: Duration = Duration::from_secs(1);

/// Rings a minute over all queues. Roblox takes 5,000 a minute of one owner's keys for everything they do, and delivers 600 a minute to a
/// game with a single server; most of that is the game's own.
pub const BUDGET_PER_MINUTE: u32 = 300;

/// Rings that can be made at once after a quiet time.
pub const BURST: u32 = 30;

/// How soon a queue in which something stays ready is rung for again.
pub const REMINDER: Duration = Duration::from_secs(30);

/// First pause after Roblox did not answer or not well; it doubles.
pub const FIRST_DOWN: Duration = Duration::from_secs(1);

/// Longest pause of that kind.
pub const LONGEST_DOWN: Duration = Duration::from_secs(120);

/// Pause after a refusal that only a person can change.
pub const REFUSED: Duration = Duration::from_secs(300);

/// Longest pause that is kept when Roblox asks for one.
pub const LONGEST: Duration = Duration::from_secs(3600);

/// One ring in thousandths, so that a minute's budget can be counted in milliseconds.
const RING: u64 = 60_000;

/// The bells of all queues; queues are told by their place in the configuration.
#[derive(Debug, Clone)]
pub struct Bells {
    queues: Vec<Bell>,
    /// Rings that may be made now, times [`RING`].
    credit: u64,
    counted: Option<Time>,
    paused_until: Time,
    failures: u32,
}

/// A queue as it is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sight {
    /// Jobs that can be had.
    pub ready: usize,
    /// Differs when something became ready in between: one may come while another goes, and the count stays.
    pub last_arrival: u64,
}

#[derive(Debug, Clone, Default)]
struct Bell {
    last_arrival: u64,
    /// Something came that nobody was told of.
    due: bool,
    rung: Option<Time>,
}

impl Bells {
    pub fn new(queues: usize) -> Self {
        let queues = vec![Bell::default(); queues];
        Self { queues, credit: u64::from(BURST) * RING, counted: None, paused_until: Time(i64::MIN), failures: 0 }
    }

    /// Takes a look at each queue. Gives the queues to ring for now, the longest unrung first. Each
    /// that is rung for is told with [`Bells::rung`].
    pub fn look(&mut self, now: Time, sights: &[Sight]) -> Vec<usize> {
        self.follow_back(now);
        for (bell, sight) in self.queues.iter_mut().zip(sights) {
            let stale = bell.rung.is_none_or(|at| now.since(at) >= REMINDER);
            bell.due = sight.ready > 0 && (bell.due || sight.last_arrival != bell.last_arrival || stale);
            bell.last_arrival = sight.last_arrival;
        }
        self.refill(now);
        if now < self.paused_until {
            return Vec::new();
        }
        let affordable = (self.credit / RING) as usize;
        let mut ring: Vec<usize> = (0..self.queues.len()).filter(|at| self.queues[*at].may_ring(now)).collect();
        ring.sort_by_key(|at| self.queues[*at].rung);
        ring.truncate(affordable);
        ring
    }

    /// Roblox took the ring for `queue`.
    pub fn rung(&mut self, queue: usize, now: Time) {
        self.failures = 0;
        self.spend(queue, now);
        self.queues[queue].due = false;
    }

    /// Roblox did not take it; gives the pause for all queues.
    pub fn failed(&mut self, queue: usize, now: Time, trouble: &Trouble) -> Duration {
        // A ring that got no answer may have been heard, and it counts in any case.
        self.spend(queue, now);
        let backoff = FIRST_DOWN.saturating_mul(2u32.saturating_pow(self.failures.min(16))).min(LONGEST_DOWN);
        self.failures = self.failures.saturating_add(1);
        let pause = match trouble {
            Trouble::Unauthenticated(_)
            | Trouble::Denied { .. }
            | Trouble::Missing { .. }
            | Trouble::Refused { .. } => REFUSED,
            Trouble::Paced { wait } => (*wait).min(LONGEST),
            Trouble::Limited { wait, .. } => wait.unwrap_or_default().min(LONGEST).max(backoff),
            Trouble::Down { .. } | Trouble::Unanswered(_) | Trouble::Unreadable(_) => backoff,
        };
        self.paused_until = now + pause;
        pause
    }

    /// When the next look can change anything by time alone; none when only a new job can.
    pub fn next(&self, now: Time) -> Option<Time> {
        let waiting = self.queues.iter().filter(|bell| bell.due);
        let soonest = waiting.map(|bell| bell.rung.map_or(now, |at| at + GAP)).min()?;
        let short = RING.saturating_sub(self.credit).div_ceil(u64::from(BUDGET_PER_MINUTE));
        Some(soonest.max(self.paused_until).max(now + Duration::from_millis(short)))
    }

    /// When the clock was set back, times that lie ahead are moved along.
    fn follow_back(&mut self, now: Time) {
        let Some(back) = self.counted.filter(|at| *at > now).map(|at| at.since(now)) else { return };
        self.paused_until = self.paused_until - back;
        for bell in &mut self.queues {
            bell.rung = bell.rung.map(|at| at - back);
        }
    }

    fn spend(&mut self, queue: usize, now: Time) {
        self.credit = self.credit.saturating_sub(RING);
        self.queues[queue].rung = Some(now);
    }

    fn refill(&mut self, now: Time) {
        let passed = self.counted.map_or(Duration::ZERO, |at| now.since(at)).as_millis() as u64;
        let earned = passed.saturating_mul(u64::from(BUDGET_PER_MINUTE));
        self.credit = self.credit.saturating_add(earned).min(u64::from(BURST) * RING);
        self.counted = Some(now);
    }
}

impl Bell {
    fn may_ring(&self, now: Time) -> bool {
        self.due && self.rung.is_none_or(|at| now.since(at) >= GAP)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::remote::roblox::Complaint;

    /// Looks and has every ring taken. What is ready is as many jobs as ever came.
    fn ring(bells: &mut Bells, millis: i64, ready: &[usize]) -> Vec<usize> {
        let sights: Vec<Sight> = ready.iter().map(|ready| sight(*ready, *ready as u64)).collect();
        ring_at(bells, millis, &sights)
    }

    fn sight(ready: usize, last_arrival: u64) -> Sight {
        Sight { ready, last_arrival }
    }

    fn ring_at(bells: &mut Bells, millis: i64, sights: &[Sight]) -> Vec<usize> {
        let queues = bells.look(Time(millis), sights);
        queues.iter().for_each(|queue| bells.rung(*queue, Time(millis)));
        queues
    }

    #[test]
    fn it_rings_for_more_and_only_once_a_second() {
        let mut bells = Bells::new(1);
        assert_eq!(ring(&mut bells, 0, &[0]), [0; 0]);
        assert_eq!(ring(&mut bells, 10, &[1]), [0]);
        assert_eq!(ring(&mut bells, 20, &[1]), [0; 0]);
        assert_eq!(ring(&mut bells, 30, &[5]), [0; 0]);
        assert_eq!(bells.next(Time(30)), Some(Time(1_010)));
        assert_eq!(ring(&mut bells, 1_010, &[5]), [0]);
        assert_eq!(bells.next(Time(1_010)), None);
        assert_eq!(ring_at(&mut bells, 5_000, &[sight(3, 5)]), [0; 0]);
    }

    #[test]
    fn it_rings_for_another_job_though_the_count_is_the_same() {
        let mut bells = Bells::new(1);
        assert_eq!(ring_at(&mut bells, 0, &[sight(1, 1)]), [0]);
        assert_eq!(ring_at(&mut bells, 2_000, &[sight(1, 1)]), [0; 0]);
        assert_eq!(ring_at(&mut bells, 4_000, &[sight(1, 2)]), [0]);
    }

    #[test]
    fn what_is_taken_meanwhile_is_not_rung_for() {
        let mut bells = Bells::new(1);
        ring(&mut bells, 0, &[1]);
        assert_eq!(ring(&mut bells, 100, &[2]), [0; 0]);
        assert_eq!(ring_at(&mut bells, 1_000, &[sight(0, 2)]), [0; 0]);
    }

    #[test]
    fn what_stays_is_rung_for_again() {
        let mut bells = Bells::new(1);
        ring(&mut bells, 0, &[4]);
        assert_eq!(ring(&mut bells, 29_999, &[4]), [0; 0]);
        assert_eq!(ring(&mut bells, 30_000, &[4]), [0]);
    }

    #[test]
    fn trouble_pauses_all_and_nothing_is_forgotten() {
        let limited =
            |seconds| Trouble::Limited { wait: Some(Duration::from_secs(seconds)), complaint: Complaint::default() };
        let mut bells = Bells::new(2);
        assert_eq!(bells.look(Time(0), &[sight(1, 1), sight(0, 0)]), [0]);
        assert_eq!(bells.failed(0, Time(0), &limited(7)), Duration::from_secs(7));
        assert_eq!(ring(&mut bells, 6_999, &[1, 1]), [0; 0]);
        assert_eq!(bells.next(Time(6_999)), Some(Time(7_000)));
        assert_eq!(ring(&mut bells, 7_000, &[1, 1]), [1, 0]);
        let denied = Trouble::Denied { scope: "x", complaint: Complaint::default() };
        assert_eq!(bells.failed(0, Time(7_000), &denied), REFUSED);
        let down = Trouble::Down { status: 503, complaint: Complaint::default() };
        let pauses: Vec<u64> = (0..9).map(|_| bells.failed(0, Time(0), &down).as_secs()).collect();
        assert_eq!(pauses, [2, 4, 8, 16, 32, 64, 120, 120, 120]);
    }

    #[test]
    fn a_clock_that_is_set_back_silences_nothing() {
        let mut bells = Bells::new(1);
        assert_eq!(ring(&mut bells, 86_400_000, &[1]), [0]);
        assert_eq!(ring(&mut bells, 0, &[2]), [0; 0]);
        assert_eq!(ring(&mut bells, 1_000, &[2]), [0]);
        let down = Trouble::Down { status: 503, complaint: Complaint::default() };
        assert_eq!(bells.failed(0, Time(2_000), &down), FIRST_DOWN);
        assert_eq!(ring(&mut bells, 2_500, &[3]), [0; 0]);
        assert_eq!(ring(&mut bells, 500, &[3]), [0; 0]);
        assert_eq!(ring(&mut bells, 1_500, &[3]), [0]);
    }

    proptest! {
        #[test]
        fn the_budget_and_the_gap_are_kept(steps in prop::collection::vec((1i64..700, prop::collection::vec(0usize..4, 20)), 1..400)) {
            let mut bells = Bells::new(20);
            let (mut now, mut rings) = (0, Vec::new());
            for (pause, ready) in steps {
                now += pause;
                rings.extend(ring(&mut bells, now, &ready).into_iter().map(|queue| (now, queue)));
            }
            for (at, (when, queue)) in rings.iter().enumerate() {
                let minute = rings[at..].iter().take_while(|(later, _)| later - when < 60_000).count();
                prop_assert!(minute <= (BUDGET_PER_MINUTE + BURST) as usize);
                let again = rings[at + 1..].iter().find(|(_, other)| other == queue);
                prop_assert!(again.is_none_or(|(later, _)| later - when >= 1_000));
            }
        }
    }
}
