//! The rules of a board, pure: what a submission does to somebody's entry, and what a board may be called.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::{Error, Result, Time, UserKey};
use crate::domains::standings::{Order, Place, Score};

/// How a board treats a new score beside the one it has. Fixed when the board is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rule {
    /// Keep the highest.
    #[default]
    Best,
    /// Keep the latest, better or worse: what Redis' `ZADD` does.
    Set,
    /// Add them up.
    Sum,
    /// Keep the lowest, which also ranks first: lap times, deaths.
    Min,
}

impl Rule {
    pub fn order(self) -> Order {
        if self == Self::Min { Order::LowerFirst } else { Order::HigherFirst }
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Set => "set",
            Self::Sum => "sum",
            Self::Min => "min",
        }
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Somebody's standing score and when they reached it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    pub score: Score,
    pub achieved_at: Time,
}

impl Entry {
    /// Where this entry of `user` stands on a board with `rule`.
    pub fn place(&self, rule: Rule, user: UserKey) -> Place {
        Place::for_score(rule.order(), self.score, self.achieved_at, user)
    }
}

/// What a submission did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdict {
    /// The entry that stands now.
    pub entry: Entry,
    /// The score that stood before, if any.
    pub previous: Option<Score>,
    /// Whether `entry` is new and has to be written.
    pub changed: bool,
    /// Whether the entry ranks higher than before by score; a first score always does.
    pub improved: bool,
}

/// Decides what `submitted` at `now` does to `current`. An equal score never replaces the one that was there first.
///
/// # Errors
/// `score.overflow` when a sum leaves the finite numbers.
pub fn judge(rule: Rule, current: Option<Entry>, submitted: Score, now: Time) -> Result<Verdict> {
    let Some(current) = current else {
        let entry = Entry { score: submitted, achieved_at: now };
        return Ok(Verdict { entry, previous: None, changed: true, improved: true });
    };
    let score = match rule {
        Rule::Best if submitted <= current.score => current.score,
        Rule::Min if submitted >= current.score => current.score,
        Rule::Best | Rule::Min | Rule::Set => submitted,
        Rule::Sum => Score::new(current.score.get() + submitted.get()).map_err(|_| overflow())?,
    };
    let changed = score != current.score;
    let improved = if rule == Rule::Min { score < current.score } else { score > current.score };
    let entry = if changed { Entry { score, achieved_at: now } } else { current };
    Ok(Verdict { entry, previous: Some(current.score), changed, improved })
}

fn overflow() -> Error {
    Error::invalid("score.overflow", "adding this score would leave the range of finite numbers")
        .hint("submit a smaller score, or start a new season")
}

/// The name of a board: a season and a mode, each 1 to 64 characters of `A–Z a–z 0–9 . _ -`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BoardName {
    pub season: Arc<str>,
    pub mode: Arc<str>,
}

impl BoardName {
    /// Longest season or mode, in characters.
    pub const MAX_PART: usize = 64;

    /// # Errors
    /// `leaderboard.name_invalid` naming the part that does not fit.
    pub fn new(season: &str, mode: &str) -> Result<Self> {
        for (what, text) in [("season", season), ("mode", mode)] {
            let fits = (1..=Self::MAX_PART).contains(&text.len());
            if !fits || !text.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b)) {
                let rule = format!("a {what} is 1 to {} characters of A-Z, a-z, 0-9, '.', '_' and '-'", Self::MAX_PART);
                return Err(Error::invalid("leaderboard.name_invalid", rule).hint("for example season-1 and ranked"));
            }
        }
        Ok(Self { season: season.into(), mode: mode.into() })
    }

    /// Whether this is the players' board, `all-time/grps`, which follows the players' points (requirement R4).
    pub fn is_players(&self) -> bool {
        (&*self.season, &*self.mode) == ("all-time", "grps")
    }
}

impl fmt::Display for BoardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.season, self.mode)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn score(raw: f64) -> Score {
        Score::new(raw).unwrap()
    }

    /// Submits in turn at times 1, 2, 3, …; answers the standing score, its time and what the last submission did.
    fn play(rule: Rule, scores: &[f64]) -> (f64, i64, Verdict) {
        let mut last = judge(rule, None, score(scores[0]), Time(1)).unwrap();
        for (at, raw) in scores.iter().enumerate().skip(1) {
            last = judge(rule, Some(last.entry), score(*raw), Time(at as i64 + 1)).unwrap();
        }
        (last.entry.score.get(), last.entry.achieved_at.0, last)
    }

    /// A rule, what is submitted in turn, and then: the standing score, its time, whether the last one changed and improved it.
    type Case = (Rule, &'static [f64], f64, i64, bool, bool);

    #[test]
    fn each_rule_keeps_what_it_says() {
        let cases: [Case; 11] = [
            (Rule::Best, &[5.0], 5.0, 1, true, true),
            (Rule::Best, &[5.0, 9.0], 9.0, 2, true, true),
            (Rule::Best, &[9.0, 5.0], 9.0, 1, false, false),
            (Rule::Best, &[9.0, 9.0], 9.0, 1, false, false),
            (Rule::Min, &[9.0, 5.0], 5.0, 2, true, true),
            (Rule::Min, &[5.0, 9.0], 5.0, 1, false, false),
            (Rule::Set, &[9.0, 5.0], 5.0, 2, true, false),
            (Rule::Set, &[5.0, 5.0], 5.0, 1, false, false),
            (Rule::Sum, &[5.0, 2.5], 7.5, 2, true, true),
            (Rule::Sum, &[5.0, -2.0], 3.0, 2, true, false),
            (Rule::Sum, &[5.0, 0.0], 5.0, 1, false, false),
        ];
        for (rule, scores, expected, at, changed, improved) in cases {
            let (standing, since, verdict) = play(rule, scores);
            assert_eq!((standing, since), (expected, at), "{rule} {scores:?}");
            assert_eq!((verdict.changed, verdict.improved), (changed, improved), "{rule} {scores:?}");
            assert_eq!(verdict.previous.is_some(), scores.len() > 1, "{rule} {scores:?}");
        }
    }

    #[test]
    fn a_sum_cannot_leave_the_numbers() {
        let full = Entry { score: score(f64::MAX), achieved_at: Time(1) };
        assert_eq!(judge(Rule::Sum, Some(full), score(f64::MAX), Time(2)).unwrap_err().code(), "score.overflow");
    }

    #[test]
    fn the_two_zeros_are_one_score() {
        let (_, at, verdict) = play(Rule::Set, &[0.0, -0.0]);
        assert_eq!((at, verdict.changed), (1, false));
    }

    #[test]
    fn board_names_are_plain() {
        assert!(BoardName::new("all-time", "grps").unwrap().is_players());
        assert!(!BoardName::new("s1", "grps").unwrap().is_players());
        assert!(BoardName::new("S_1.b", &"m".repeat(64)).is_ok());
        for (season, mode) in [("", "a"), ("a", ""), ("a b", "c"), ("a", "b/c"), ("é", "a"), ("a", &*"m".repeat(65))] {
            assert_eq!(BoardName::new(season, mode).unwrap_err().code(), "leaderboard.name_invalid");
        }
    }
}
