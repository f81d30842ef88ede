//! Whether a gain of points and KOs is believable, by `policy.points.json`.
//!
//! Gains per hour and KOs per minute are measured as a paced stream, so many small snapshots cannot add up to what one large one may
//! not: [`Pace`] holds, per figure, the instant up to which the player's gains are "paid for" at the allowed rate. A gain moves it
//! ahead; when it runs ahead of the clock by more than the whole window, the gain is beyond the limit. One timestamp is all the state.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::Time;

use super::files::{OnExceed, PointsFile};

const HOUR_MS: i64 = 3_600_000;
const MINUTE_MS: i64 = 60_000;

/// What a snapshot says a player has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Rank points.
    pub points: i64,
    /// Knock-outs.
    pub kos: i64,
}

/// How far ahead of time a player's gains are; kept with the player. `Default` is a player who has gained nothing lately.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pace {
    pub points: Time,
    pub kos: Time,
}

/// Why a tally was not believed as it stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "flag")]
pub enum Flag {
    /// Points outside the bounds.
    OutOfBounds { points: i64, min: i64, max: i64 },
    /// More points in one snapshot than `maxGainPerSnapshot`.
    GainPerSnapshot { gained: i64, limit: i64 },
    /// More points than `maxGainPerHour` allows.
    GainPerHour { gained: i64, limit: i64 },
    /// More KOs than `kosPerMinuteMax` allows.
    KosPerMinute { gained: i64, limit: i64 },
}

impl fmt::Display for Flag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds { points, min, max } => write!(f, "{points} points lie outside {min} to {max}"),
            Self::GainPerSnapshot { gained, limit } => {
                write!(f, "{gained} points gained in one snapshot (at most {limit})")
            }
            Self::GainPerHour { gained, limit } => {
                write!(f, "{gained} points gained on top of this hour's (at most {limit} an hour)")
            }
            Self::KosPerMinute { gained, limit } => {
                write!(f, "{gained} KOs scored on top of this minute's (at most {limit} a minute)")
            }
        }
    }
}

/// What to store of a tally, and what to doubt about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Observation {
    /// The tally to store.
    pub accepted: Tally,
    /// The pace to store beside it.
    pub pace: Pace,
    /// Empty when everything was believable. With any flag, a promotion should wait for a person: set
    /// `Subject::points_flagged` until somebody has looked.
    pub flags: Vec<Flag>,
}

impl PointsFile {
    /// Judges what a snapshot reports (`seen`, at `now`) against what is stored (`before`, with its `pace`).
    ///
    /// Without a stored tally only the bounds are checked: a first snapshot brings a history, not a gain. Losses are always believed.
    ///
    /// * `flag` keeps the reported value, `clamp` keeps as much of the gain as the limits allow, `reject` keeps the stored value.
    /// * Points outside the bounds never enter, whatever `onExceed` says: they are moved to the nearer bound, or rejected.
    pub fn observe(&self, before: Option<Tally>, pace: Pace, seen: Tally, now: Time) -> Observation {
        let mut flags = Vec::new();
        let bounded = seen.points.clamp(self.bounds.min, self.bounds.max);
        if bounded != seen.points {
            let (min, max) = (self.bounds.min, self.bounds.max);
            flags.push(Flag::OutOfBounds { points: seen.points, min, max });
        }
        let Some(before) = before else {
            return Observation { accepted: Tally { points: bounded, kos: seen.kos }, pace, flags };
        };
        let gained = bounded.saturating_sub(before.points).max(0);
        let mut believed = gained;
        if let Some(limit) = self.max_gain_per_snapshot.filter(|limit| gained > *limit) {
            flags.push(Flag::GainPerSnapshot { gained, limit });
            believed = limit;
        }
        if let Some(limit) = self.max_gain_per_hour {
            let room = room(pace.points, now, HOUR_MS, limit);
            if gained > room {
                flags.push(Flag::GainPerHour { gained, limit });
                believed = believed.min(room);
            }
        }
        let points = self.settle(before.points, bounded, believed, !flags.is_empty());

        let scored = seen.kos.saturating_sub(before.kos).max(0);
        let free = self.kos_per_minute_max.map_or(scored, |limit| room(pace.kos, now, MINUTE_MS, limit).min(scored));
        if let Some(limit) = self.kos_per_minute_max.filter(|_| scored > free) {
            flags.push(Flag::KosPerMinute { gained: scored, limit });
        }
        let kos = self.settle(before.kos, seen.kos, free, scored > free);

        let pace = Pace {
            points: spend(pace.points, now, (HOUR_MS, self.max_gain_per_hour), points - before.points),
            kos: spend(pace.kos, now, (MINUTE_MS, self.kos_per_minute_max), kos - before.kos),
        };
        Observation { accepted: Tally { points, kos }, pace, flags }
    }

    fn settle(&self, before: i64, seen: i64, believed: i64, doubted: bool) -> i64 {
        match (doubted, self.on_exceed) {
            (false, _) | (true, OnExceed::Flag) => seen,
            (true, OnExceed::Clamp) => seen.min(before.saturating_add(believed)),
            (true, OnExceed::Reject) => before,
        }
    }
}

/// How much more may be gained at `now`: the part of the window that is not yet spoken for, at `limit` per window.
fn room(ahead: Time, now: Time, window_ms: i64, limit: i64) -> i64 {
    let left = window_ms - ahead.0.saturating_sub(now.0).clamp(0, window_ms);
    i64::try_from(i128::from(left) * i128::from(limit) / i128::from(window_ms)).unwrap_or(i64::MAX)
}

/// Where the pace stands after a gain; rounded up, so that rounding never gives room away. At most one window ahead of `now`, so a
/// kept but flagged jump does not flag everything after it for days.
fn spend(ahead: Time, now: Time, (window_ms, limit): (i64, Option<i64>), gained: i64) -> Time {
    let Some(limit) = limit.filter(|_| gained > 0) else { return ahead };
    let cost = (i128::from(gained) * i128::from(window_ms) + i128::from(limit) - 1) / i128::from(limit);
    let cost = i64::try_from(cost).unwrap_or(i64::MAX);
    Time(ahead.0.max(now.0).saturating_add(cost).min(now.0.saturating_add(window_ms)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domains::policy::files::Bounds;

    const NOW: Time = Time(1_740_852_944_000);

    fn rules(on_exceed: OnExceed) -> PointsFile {
        PointsFile {
            bounds: Bounds { min: 0, max: 10_000 },
            max_gain_per_hour: Some(2000),
            max_gain_per_snapshot: Some(500),
            kos_per_minute_max: Some(60),
            on_exceed,
            ..PointsFile::default()
        }
    }

    fn tally(points: i64, kos: i64) -> Tally {
        Tally { points, kos }
    }

    #[test]
    fn a_first_snapshot_may_bring_any_history_within_bounds() {
        let seen = rules(OnExceed::Reject).observe(None, Pace::default(), tally(8200, 1200), NOW);
        assert_eq!((seen.accepted, seen.flags.len()), (tally(8200, 1200), 0));
    }

    #[test]
    fn a_jump_is_flagged_clamped_or_rejected() {
        let jump = |mode| rules(mode).observe(Some(tally(100, 0)), Pace::default(), tally(1000, 0), NOW);
        assert_eq!(jump(OnExceed::Flag).accepted.points, 1000);
        assert_eq!(jump(OnExceed::Clamp).accepted.points, 600);
        assert_eq!(jump(OnExceed::Reject).accepted.points, 100);
        for mode in [OnExceed::Flag, OnExceed::Clamp, OnExceed::Reject] {
            assert_eq!(jump(mode).flags, [Flag::GainPerSnapshot { gained: 900, limit: 500 }]);
        }
    }

    #[test]
    fn bounds_hold_even_when_only_flagging() {
        for (seen, stored) in [(20_000, 10_000), (-5, 0)] {
            let out = rules(OnExceed::Flag).observe(None, Pace::default(), tally(seen, 0), NOW);
            assert_eq!(out.accepted.points, stored);
            assert!(matches!(out.flags[..], [Flag::OutOfBounds { .. }]), "{seen}");
        }
    }

    #[test]
    fn many_small_snapshots_cannot_add_up_to_more_than_an_hours_worth() {
        let rules = rules(OnExceed::Clamp);
        let (mut stored, mut pace) = (tally(0, 0), Pace::default());
        for second in 0..600 {
            let at = NOW + Duration::from_secs(second);
            let out = rules.observe(Some(stored), pace, tally(stored.points + 100, 0), at);
            (stored, pace) = (out.accepted, out.pace);
        }
        let allowed = 2000 + 2000 / 6; // a full burst, and ten minutes of the steady rate
        assert!((allowed - 2..=allowed).contains(&stored.points), "{} of {allowed}", stored.points);
    }

    #[test]
    fn a_steady_player_is_never_flagged() {
        let rules = rules(OnExceed::Flag);
        let (mut stored, mut pace) = (tally(0, 0), Pace::default());
        for minute in 0..300 {
            let at = NOW + Duration::from_secs(60 * minute);
            let out = rules.observe(Some(stored), pace, tally(stored.points + 33, stored.kos + 60), at);
            assert_eq!(out.flags, [], "minute {minute}");
            (stored, pace) = (out.accepted, out.pace);
        }
    }

    #[test]
    fn kos_have_their_own_limit_and_losses_are_believed() {
        let rules = rules(OnExceed::Clamp);
        let out = rules.observe(Some(tally(500, 10)), Pace::default(), tally(200, 200), NOW);
        assert_eq!(out.accepted, tally(200, 70));
        assert_eq!(out.flags, [Flag::KosPerMinute { gained: 190, limit: 60 }]);
    }

    #[test]
    fn a_kept_jump_is_forgotten_after_an_hour() {
        let rules = rules(OnExceed::Flag);
        let jump = rules.observe(Some(tally(0, 0)), Pace::default(), tally(9000, 0), NOW);
        let soon = rules.observe(Some(jump.accepted), jump.pace, tally(9010, 0), NOW + Duration::from_secs(1));
        assert!(!soon.flags.is_empty());
        let later = rules.observe(Some(jump.accepted), jump.pace, tally(9010, 0), NOW + Duration::from_secs(3600));
        assert_eq!(later.flags, []);
    }
}
