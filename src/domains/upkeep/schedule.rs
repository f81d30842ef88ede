//! When backups are due: a cron pattern, read in UTC.

use std::cmp::Ordering;
use std::time::Duration;

use croner::errors::CronError;
use croner::parser::{CronParser, Seconds, Year};
use croner::{CivilDateTime, Cron, CronDateTime, Resolution, Weekday};
use time::{Date, Month, PrimitiveDateTime, Time as TimeOfDay};

use crate::base::{Error, Result, Time};

/// A cron pattern of five fields: minute, hour, day of the month, month, day of the week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Schedule(Cron);

impl Schedule {
    /// Reads `BACKUP_CRON`; none when it is empty.
    ///
    /// # Errors
    /// `config.backup_cron` for what is no pattern, and for one that never comes.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        if text.is_empty() {
            return Ok(None);
        }
        let invalid = |why: String| {
            Error::invalid("config.backup_cron", format!("BACKUP_CRON is \"{text}\": {why}"))
                .hint("write minute, hour, day, month and weekday, in UTC: `0 4 * * *` is every day at 04:00; leave it empty for no backups")
        };
        let fields = text.split_whitespace().count();
        if fields != 5 && !text.starts_with('@') {
            return Err(invalid(format!("it has {fields} fields, not five")));
        }
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let schedule = Self(parser.parse(text).map_err(|error| invalid(error.to_string()))?);
        let comes = schedule.after(Time(0)).is_some();
        if comes { Ok(Some(schedule)) } else { Err(invalid("that day never comes".into())) }
    }

    /// The first time after `at`; none when there is no more.
    pub fn after(&self, at: Time) -> Option<Time> {
        self.0.find_next_occurrence(&Moment(at), false).ok().map(|moment| moment.0)
    }
}

/// A time as croner walks it: UTC has no gaps and no repeats.
#[derive(Clone, Copy)]
struct Moment(Time);

impl CronDateTime for Moment {
    fn to_civil(&self) -> CivilDateTime {
        let at = self.0.calendar();
        let (hour, minute, second) = at.to_hms();
        CivilDateTime::new(
            croner::CivilDate::from_parts_unchecked(at.year(), u8::from(at.month()).into(), at.day().into()),
            croner::CivilTime::from_parts_unchecked(hour.into(), minute.into(), second.into()),
        )
    }

    fn civil_weekday(&self) -> Weekday {
        Weekday::from_days_from_sunday(self.0.calendar().weekday().number_days_from_sunday().into())
    }

    fn resolve_civil(&self, civil: CivilDateTime) -> std::result::Result<Resolution<Self>, CronError> {
        let month = Month::try_from(civil.month() as u8).map_err(|_| CronError::InvalidDate)?;
        let date = Date::from_calendar_date(civil.year(), month, civil.day() as u8);
        let time = TimeOfDay::from_hms(civil.hour() as u8, civil.minute() as u8, civil.second() as u8);
        let at = PrimitiveDateTime::new(
            date.map_err(|_| CronError::InvalidDate)?,
            time.map_err(|_| CronError::InvalidTime)?,
        );
        Ok(Resolution::Single(Self(Time(at.assume_utc().unix_timestamp() * 1000))))
    }

    fn checked_add_seconds(&self, seconds: i64) -> Option<Self> {
        let by = Duration::from_secs(seconds.unsigned_abs());
        Some(Self(if seconds < 0 { self.0 - by } else { self.0 + by }))
    }

    fn cmp_instant(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Time {
        Time::parse(text).unwrap()
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
            let schedule = Schedule::parse(pattern).unwrap().unwrap();
            assert_eq!(schedule.after(at(from)), Some(at(next)), "{pattern} after {from}");
        }
        assert_eq!(Schedule::parse("").unwrap(), None);
    }

    #[test]
    fn what_is_no_schedule_says_how_to_write_one() {
        for bad in ["daily", "0 4 * *", "61 * * * *", "* * * * * *", "0 0 30 2 *", "0 4 * * * 2026"] {
            let error = Schedule::parse(bad).unwrap_err();
            assert!(error.code() == "config.backup_cron" && error.to_string().contains("0 4 * * *"), "{bad}: {error}");
        }
    }
}
