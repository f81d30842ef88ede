//! The section of what is started by the clock.

use super::Reader;
use crate::base::Result;
use crate::domains::schedule::Config;
use crate::workers::{Schedule, Zone};

pub fn schedule(read: &Reader<'_>) -> Result<Config> {
    let zone = Zone::parse("SCHEDULE_TZ", &read.text("SCHEDULE_TZ")?)?;
    let cron = |name: &str| Schedule::parse(name, &read.text(name)?, &zone);
    Ok(Config {
        review: cron("REVIEW_CRON")?,
        review_apply: read.flag("REVIEW_APPLY")?,
        sync: cron("SYNC_CRON")?,
        drift: cron("DRIFT_CRON")?,
        zone: zone.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::tests::build;

    #[test]
    fn patterns_are_off_at_first_and_read_in_their_zone() {
        let config = build(&[]).unwrap().schedule;
        assert!(
            config.review.is_none()
                && config.sync.is_none()
                && config.drift.is_none()
                && config.review_apply
                && config.zone.name() == "UTC"
        );
        let set = [("REVIEW_CRON", "0 4 * * *"), ("SCHEDULE_TZ", "Europe/Berlin"), ("REVIEW_APPLY", "no")];
        let config = build(&set).unwrap().schedule;
        assert_eq!(config.review.unwrap().zone().name(), "Europe/Berlin");
        assert!(!config.review_apply);
        for (name, value, expected) in [
            ("REVIEW_CRON", "daily", "REVIEW_CRON is \"daily\""),
            ("SYNC_CRON", "nightly", "SYNC_CRON is \"nightly\""),
            ("DRIFT_CRON", "* *", "DRIFT_CRON is \"* *\""),
            ("SCHEDULE_TZ", "Berlin", "Europe/Berlin"),
            ("REVIEW_APPLY", "perhaps", "true or false"),
        ] {
            let error = build(&[(name, value)]).unwrap_err();
            assert!(error.to_string().contains(expected), "{name}={value}: {error}");
        }
    }
}
