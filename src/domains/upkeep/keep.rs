//! Which backups stay: of each hour, day, week, month or year the newest one, for as many of them as the rule says. Pure.

use std::collections::BTreeSet;
use std::str::FromStr;

use crate::base::{Error, Result, Time};

/// Backups of one kind a rule can ask for, at most.
const MAX_COUNT: u32 = 1000;

/// A span's name, and the number of the span in which a time lies; the second number is the place among the backups, newest first.
type Span = (&'static str, fn(Time, usize) -> i64);

/// The spans a rule can name; `last` makes every backup a span of its own.
const SPANS: [Span; 6] = [
    ("last", |_, place| place as i64),
    ("hourly", |at, _| at.seconds().div_euclid(3600)),
    ("daily", |at, _| days(at)),
    // 1970-01-01 was a Thursday; weeks begin on Mondays.
    ("weekly", |at, _| (days(at) + 3).div_euclid(7)),
    ("monthly", |at, _| i64::from(at.calendar().year()) * 12 + i64::from(u8::from(at.calendar().month()))),
    ("yearly", |at, _| i64::from(at.calendar().year())),
];

fn days(at: Time) -> i64 {
    at.seconds().div_euclid(86_400)
}

/// How many of each span stay, in the order of [`SPANS`]. No rule at all keeps everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep(Option<[u32; SPANS.len()]>);

impl Keep {
    pub const EVERYTHING: Keep = Keep(None);

    /// The backups to delete, of those given by name and time in any order. The newest always stays.
    pub fn doomed<'a>(&self, backups: &'a [(String, Time)]) -> Vec<&'a str> {
        let Some(counts) = self.0 else { return Vec::new() };
        let mut newest_first: Vec<&(String, Time)> = backups.iter().collect();
        newest_first.sort_by_key(|(name, at)| std::cmp::Reverse((*at, name)));
        let mut kept: BTreeSet<usize> = [0].into();
        for ((_, span_of), count) in SPANS.iter().zip(counts) {
            let (mut left, mut last) = (count, None);
            for (place, (_, at)) in newest_first.iter().enumerate() {
                let span = span_of(*at, place);
                if left > 0 && last != Some(span) {
                    kept.insert(place);
                    (left, last) = (left - 1, Some(span));
                }
            }
        }
        let places = newest_first.iter().enumerate();
        places.filter(|(place, _)| !kept.contains(place)).map(|(_, (name, _))| name.as_str()).collect()
    }
}

/// Reads `last=3,daily=7,weekly=4,monthly=6`; an empty text keeps everything.
impl FromStr for Keep {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect();
        if parts.is_empty() {
            return Ok(Self::EVERYTHING);
        }
        let invalid = |part: &str, why: &str| {
            let known = SPANS.map(|(name, _)| name).join(", ");
            Error::invalid("config.backup_keep", format!("BACKUP_KEEP has \"{part}\": {why}")).hint(format!(
                "write it as last=3,daily=7,weekly=4,monthly=6; there are {known}; empty keeps everything"
            ))
        };
        let mut counts = [None; SPANS.len()];
        for part in parts {
            let (name, count) = part.split_once('=').ok_or_else(|| invalid(part, "not name=count"))?;
            let place = SPANS.iter().position(|(known, _)| *known == name.trim());
            let place = place.ok_or_else(|| invalid(part, "not a span"))?;
            let count = count.trim().parse().ok().filter(|count| *count <= MAX_COUNT);
            let count = count.ok_or_else(|| invalid(part, "not a whole number from 0 to 1000"))?;
            if counts[place].replace(count).is_some() {
                return Err(invalid(part, "said twice"));
            }
        }
        Ok(Self(Some(counts.map(Option::unwrap_or_default))))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DAY: i64 = 86_400_000;

    fn rule(text: &str) -> Keep {
        text.parse().unwrap()
    }

    fn named(times: &[i64]) -> Vec<(String, Time)> {
        times.iter().enumerate().map(|(place, at)| (format!("b{place:04}"), Time(*at))).collect()
    }

    fn left(keep: Keep, backups: &[(String, Time)]) -> Vec<(String, Time)> {
        let doomed = keep.doomed(backups);
        backups.iter().filter(|(name, _)| !doomed.contains(&name.as_str())).cloned().collect()
    }

    #[test]
    fn a_year_of_daily_backups_thins_out_into_the_past() {
        let start = Time::parse("2025-01-01T04:00:00Z").unwrap().0;
        let daily: Vec<i64> = (0..365).map(|day| start + day * DAY).collect();
        let kept = left(rule("last=3,daily=7,weekly=4,monthly=6"), &named(&daily));
        let dates: Vec<String> = kept.iter().map(|(_, at)| at.to_string()[..10].to_owned()).collect();
        assert_eq!(
            dates,
            [
                "2025-07-31",
                "2025-08-31",
                "2025-09-30",
                "2025-10-31",
                "2025-11-30",
                "2025-12-14",
                "2025-12-21",
                "2025-12-25",
                "2025-12-26",
                "2025-12-27",
                "2025-12-28",
                "2025-12-29",
                "2025-12-30",
                "2025-12-31"
            ]
        );
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for bad in ["7", "daily", "daily=x", "daily=-1", "daily=1001", "fortnightly=2", "daily=1,daily=2"] {
            let error = bad.parse::<Keep>().unwrap_err();
            assert!(error.to_string().contains("BACKUP_KEEP") && error.hint_text().is_some(), "{bad}: {error}");
        }
        assert_eq!(rule(" , "), Keep::EVERYTHING);
        assert!(Keep::EVERYTHING.doomed(&named(&[1, 2, 3])).is_empty());
        assert_eq!(rule("daily=0").doomed(&named(&[1, 2])), ["b0000"], "the newest stays whatever the rule");
    }

    fn rules() -> impl Strategy<Value = Keep> {
        prop::array::uniform6(0u32..12).prop_map(|counts| Keep(Some(counts)))
    }

    fn backups() -> impl Strategy<Value = Vec<(String, Time)>> {
        // Ten years around 1970 and today, several a day at times.
        let times = prop_oneof![-5 * 365 * DAY..5 * 365 * DAY, 1_740_000_000_000i64..1_740_000_000_000 + 40 * DAY];
        prop::collection::vec(times, 1..60).prop_map(|times| named(&times))
    }

    proptest! {
        #[test]
        fn the_newest_stays_and_a_second_look_changes_nothing(keep in rules(), backups in backups()) {
            let kept = left(keep, &backups);
            let newest = backups.iter().map(|(_, at)| at).max();
            prop_assert_eq!(kept.iter().map(|(_, at)| at).max(), newest);
            prop_assert!(keep.doomed(&kept).is_empty());
        }

        #[test]
        fn no_more_stay_than_the_rule_asks_for(keep in rules(), backups in backups()) {
            let asked: u32 = keep.0.unwrap().iter().sum();
            prop_assert!(left(keep, &backups).len() <= asked.max(1) as usize);
        }

        #[test]
        fn a_more_generous_rule_deletes_nothing_more(keep in rules(), span in 0..SPANS.len(), backups in backups()) {
            let mut counts = keep.0.unwrap();
            counts[span] += 1;
            let generous = left(Keep(Some(counts)), &backups);
            prop_assert!(left(keep, &backups).iter().all(|backup| generous.contains(backup)));
        }

        #[test]
        fn every_span_asked_for_keeps_its_newest(keep in rules(), backups in backups()) {
            let kept = left(keep, &backups);
            for ((name, span_of), count) in SPANS.iter().zip(keep.0.unwrap()).skip(1) {
                let spans: BTreeSet<i64> = backups.iter().map(|(_, at)| span_of(*at, 0)).collect();
                for span in spans.into_iter().rev().take(count as usize) {
                    let newest = backups.iter().map(|(_, at)| *at).filter(|at| span_of(*at, 0) == span).max().unwrap();
                    prop_assert!(kept.iter().any(|(_, at)| *at == newest), "{name} lacks {newest}");
                }
            }
        }

        #[test]
        fn the_order_they_are_given_in_does_not_matter(keep in rules(), backups in backups()) {
            let mut turned = backups.clone();
            turned.reverse();
            let sorted = |mut list: Vec<(String, Time)>| { list.sort(); list };
            prop_assert_eq!(sorted(left(keep, &backups)), sorted(left(keep, &turned)));
        }
    }
}
