//! Times of the clock by cron patterns, in any time zone. Zones come with the program: a machine without them is no worse off.
//!
//! Where clocks go forward, a time that is skipped comes once, at the first moment after; where they go back, a time that comes twice
//! counts once, the first time. What runs in every hour (`*` in the second field) goes by real hours instead, with no gap and no pile.

use std::fmt;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::base::{Error, Result, Time};

/// A time zone by its IANA name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone(TimeZone);

impl Zone {
    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// Reads the setting called `setting`.
    ///
    /// # Errors
    /// `config.invalid` for a name that is no zone's.
    pub fn parse(setting: &str, name: &str) -> Result<Self> {
        TimeZone::get(name).map(Self).map_err(|_| {
            Error::invalid("config.invalid", format!("{setting} is \"{name}\": there is no such time zone"))
                .hint("write an IANA name such as Europe/Berlin, America/New_York or UTC")
        })
    }

    pub fn name(&self) -> &str {
        self.0.iana_name().unwrap_or("UTC")
    }

    /// The moment at which clocks there show `shown`: the first of two, or the first moment after a gap.
    fn moment(&self, shown: DateTime) -> Option<Timestamp> {
        let found = self.0.to_ambiguous_timestamp(shown);
        match found.offset() {
            AmbiguousOffset::Gap { after, .. } => {
                let before_the_gap = after.to_timestamp(shown).ok()?;
                self.0.following(before_the_gap).next().map(|change| change.timestamp())
            }
            AmbiguousOffset::Unambiguous { .. } | AmbiguousOffset::Fold { .. } => found.earlier().ok(),
        }
    }
}

/// A cron pattern of five fields (minute, hour, day of the month, month, day of the week) in a time zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule {
    text: String,
    cron: Cron,
    zone: Zone,
}

/// Searches of one [`Schedule::after`] at most: all but the last meet times that have already come, on a clock that was put back.
const SEARCHES: usize = 1_000;

impl Schedule {
    /// Reads the setting called `setting`; none when it is empty.
    ///
    /// # Errors
    /// `config.<setting>` for what is no pattern, and for one that never comes.
    pub fn parse(setting: &str, text: &str, zone: &Zone) -> Result<Option<Self>> {
        if text.is_empty() {
            return Ok(None);
        }
        let invalid = |why: String| {
            let code = format!("config.{}", setting.to_ascii_lowercase());
            Error::invalid(code, format!("{setting} is \"{text}\": {why}")).hint(format!(
                "write minute, hour, day, month and weekday, in {}: `0 4 * * *` is every day at 04:00; leave it empty for never",
                zone.name()
            ))
        };
        let fields = text.split_whitespace().count();
        if fields != 5 && !text.starts_with('@') {
            return Err(invalid(format!("it has {fields} fields, not five")));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron = parser.parse(text).map_err(|error| invalid(error.to_string()))?;
        let schedule = Self { text: text.to_owned(), cron, zone: zone.clone() };
        let comes = schedule.after(Time(0)).is_some();
        if comes { Ok(Some(schedule)) } else { Err(invalid("that day never comes".into())) }
    }

    /// The first time after `at`; none when there is no more.
    pub fn after(&self, at: Time) -> Option<Time> {
        let at = Timestamp::from_millisecond(at.0).ok()?;
        let start = at.to_zoned(self.zone.0.clone());
        if self.is_hourly() {
            let next = self.cron.find_next_occurrence(&start, false).ok()?;
            return Some(Time(next.timestamp().as_millisecond()));
        }
        let mut shown = start.datetime();
        for _ in 0..SEARCHES {
            shown = self.cron.find_next_occurrence(&shown, false).ok()?;
            let moment = self.zone.moment(shown)?;
            if moment > at {
                return Some(Time(moment.as_millisecond()));
            }
        }
        None
    }

    pub fn zone(&self) -> &Zone {
        &self.zone
    }

    /// Whether it runs in every hour, rather than at hours it names.
    fn is_hourly(&self) -> bool {
        self.text == "@hourly" || self.text.split_whitespace().nth(1) == Some("*")
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time::parse(text).unwrap()
    }

    fn schedule(pattern: &str, zone: &str) -> Schedule {
        Schedule::parse("SYNC_CRON", pattern, &Zone::parse("SCHEDULE_TZ", zone).unwrap()).unwrap().unwrap()
    }

    /// The times of `pattern` from `from` on, as many as there are in `times`.
    fn comes(pattern: &str, zone: &str, from: &str, times: &[&str]) {
        let (schedule, mut last) = (schedule(pattern, zone), at(from));
        for expected in times {
            let next = schedule.after(last).unwrap();
            assert_eq!(next, at(expected), "{pattern} in {zone}: {next}, not {expected}, after {last}");
            last = next;
        }
    }

    #[test]
    fn the_next_time_is_the_first_one_after() {
        for (pattern, from, next) in [
            ("0 4 * * *", "2025-03-01T18:15:44Z", "2025-03-02T04:00:00Z"),
            ("0 4 * * *", "2025-03-02T03:59:59Z", "2025-03-02T04:00:00Z"),
            ("0 4 * * *", "2025-03-02T04:00:00Z", "2025-03-03T04:00:00Z"),
            ("*/15 * * * *", "2025-12-31T23:59:00Z", "2026-01-01T00:00:00Z"),
            ("30 2 * * SUN", "2025-03-01T00:00:00Z", "2025-03-02T02:30:00Z"),
            ("0 0 29 2 *", "2025-03-01T00:00:00Z", "2028-02-29T00:00:00Z"),
            ("@daily", "2025-03-01T18:15:44Z", "2025-03-02T00:00:00Z"),
        ] {
            comes(pattern, "UTC", from, &[next]);
        }
        assert_eq!(Schedule::parse("BACKUP_CRON", "", &Zone::utc()).unwrap(), None);
        let odd = Time(at("2025-03-02T03:59:59Z").0 + 999);
        assert_eq!(schedule("0 4 * * *", "UTC").after(odd), Some(at("2025-03-02T04:00:00Z")), "milliseconds count");
    }

    #[test]
    fn a_zone_says_what_the_pattern_means() {
        comes("0 4 * * *", "Europe/Berlin", "2025-01-10T00:00:00Z", &["2025-01-10T03:00:00Z"]);
        comes("0 4 * * *", "Europe/Berlin", "2025-07-10T00:00:00Z", &["2025-07-10T02:00:00Z"]);
        comes("0 20 * * FRI", "America/New_York", "2025-01-10T12:00:00Z", &["2025-01-11T01:00:00Z"]);
        comes("0 4 * * *", "asia/kolkata", "2025-01-10T00:00:00Z", &["2025-01-10T22:30:00Z"]);
    }

    #[test]
    fn a_time_that_is_skipped_comes_once_at_the_first_moment_after() {
        let berlin = ["2025-03-29T01:30:00Z", "2025-03-30T01:00:00Z", "2025-03-31T00:30:00Z"];
        comes("30 2 * * *", "Europe/Berlin", "2025-03-28T12:00:00Z", &berlin);
        let new_york = ["2025-03-08T07:30:00Z", "2025-03-09T07:00:00Z", "2025-03-10T06:30:00Z"];
        comes("30 2 * * *", "America/New_York", "2025-03-07T12:00:00Z", &new_york);
        let twice_a_day = ["2025-03-30T01:00:00Z", "2025-03-30T12:30:00Z", "2025-03-31T00:30:00Z"];
        comes("30 2,14 * * *", "Europe/Berlin", "2025-03-29T20:00:00Z", &twice_a_day);
        let several_skipped = ["2025-03-30T01:00:00Z", "2025-03-30T01:30:00Z"];
        comes("0,30 2-3 * * *", "Europe/Berlin", "2025-03-29T20:00:00Z", &several_skipped);
    }

    #[test]
    fn a_time_that_comes_twice_counts_once() {
        let berlin = ["2025-10-25T00:30:00Z", "2025-10-26T00:30:00Z", "2025-10-27T01:30:00Z"];
        comes("30 2 * * *", "Europe/Berlin", "2025-10-24T12:00:00Z", &berlin);
        let new_york = ["2025-11-01T05:30:00Z", "2025-11-02T05:30:00Z", "2025-11-03T06:30:00Z"];
        comes("30 1 * * *", "America/New_York", "2025-10-31T12:00:00Z", &new_york);
        let from_the_second_round = ["2025-10-26T02:00:00Z"];
        comes("30 2,3 * * *", "Europe/Berlin", "2025-10-26T01:10:00Z", &["2025-10-26T02:30:00Z"]);
        comes("*/5 2,3 * * *", "Europe/Berlin", "2025-10-26T00:55:00Z", &from_the_second_round);
    }

    #[test]
    fn what_runs_in_every_hour_goes_by_real_hours() {
        let forward = ["2025-03-30T00:30:00Z", "2025-03-30T01:30:00Z"];
        comes("30 * * * *", "Europe/Berlin", "2025-03-30T00:00:00Z", &forward);
        let back = ["2025-10-26T00:30:00Z", "2025-10-26T01:30:00Z", "2025-10-26T02:30:00Z"];
        comes("30 * * * *", "Europe/Berlin", "2025-10-26T00:00:00Z", &back);
        let every_other = ["2025-10-26T00:00:00Z", "2025-10-26T03:00:00Z"];
        comes("0 */2 * * *", "Europe/Berlin", "2025-10-25T22:00:00Z", &every_other);
        comes("@hourly", "Europe/Berlin", "2025-10-26T00:30:00Z", &["2025-10-26T01:00:00Z", "2025-10-26T02:00:00Z"]);
    }

    #[test]
    fn what_is_no_schedule_says_how_to_write_one() {
        for bad in ["daily", "0 4 * *", "61 * * * *", "* * * * * *", "0 0 30 2 *", "0 4 * * * 2026"] {
            let error = Schedule::parse("BACKUP_CRON", bad, &Zone::utc()).unwrap_err();
            assert!(error.code() == "config.backup_cron" && error.to_string().contains("0 4 * * *"), "{bad}: {error}");
        }
        for bad in ["", "Mars/Base", "+25:00", "../../etc/passwd"] {
            let error = Zone::parse("SCHEDULE_TZ", bad).unwrap_err();
            assert!(error.to_string().contains("Europe/Berlin"), "{bad}: {error}");
        }
        assert_eq!(Zone::parse("SCHEDULE_TZ", "europe/berlin").unwrap().name(), "Europe/Berlin");
    }
}
