//! Reading `policy.punishments.json`: which status a text means, how many warnings still count, which threshold is due.

use std::time::Duration;

use crate::base::Time;

use super::files::{Penalty, PunishmentsFile, Status, Threshold, Warnings};

const DAY_MS: u64 = 86_400_000;

/// What a reported punishment status turns out to be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Standing<'a> {
    /// No status, or an empty one.
    Clear,
    /// A status of the policy, under its name there.
    Known(&'a str, &'a Status),
    /// A text the policy does not explain: automation stops and a person looks.
    Unknown(&'a str),
}

impl PunishmentsFile {
    /// What a reported status means. Case and surrounding spaces do not matter; an empty text is no status.
    pub fn standing<'a>(&'a self, reported: Option<&'a str>) -> Standing<'a> {
        let Some(text) = reported.map(str::trim).filter(|text| !text.is_empty()) else { return Standing::Clear };
        let found = self.statuses.get_key_value(text);
        match found.or_else(|| self.statuses.get_key_value(text.to_ascii_lowercase().as_str())) {
            Some((name, status)) => Standing::Known(name, status),
            None => Standing::Unknown(text),
        }
    }

    /// The status a punishment puts a player under: the first by name that carries this action.
    pub fn status_for(&self, penalty: Penalty) -> Option<(&str, &Status)> {
        let mut all = self.statuses.iter();
        all.find(|(_, status)| status.action == Some(penalty)).map(|(name, status)| (name.as_str(), status))
    }
}

impl Warnings {
    /// How many of `warnings` still count at `now`: one lapses for every full `decayDays` since the last new one. Without a known
    /// time of the last warning, all count.
    pub fn counting(&self, warnings: u32, last: Option<Time>, now: Time) -> u32 {
        let (Some(days), Some(last)) = (self.decay_days.filter(|days| *days > 0), last) else { return warnings };
        let stretch = Duration::from_millis(u64::from(days) * DAY_MS);
        let lapsed = now.since(last).as_millis() / stretch.as_millis();
        warnings.saturating_sub(u32::try_from(lapsed).unwrap_or(u32::MAX))
    }

    /// The threshold to act on: of those reached by `warnings` and not yet acted on (`acted` is the highest one that was), the most
    /// severe, and among equals the highest.
    pub fn due(&self, warnings: u32, acted: Option<u32>) -> Option<&Threshold> {
        let fresh =
            self.thresholds.iter().filter(|step| step.at <= warnings && acted.is_none_or(|done| step.at > done));
        fresh.min_by_key(|step| (step.action, std::cmp::Reverse(step.at)))
    }

    /// The highest threshold that `warnings` reach.
    pub fn reached(&self, warnings: u32) -> Option<u32> {
        self.thresholds.iter().rev().map(|step| step.at).find(|at| *at <= warnings)
    }

    /// The lowest threshold above `warnings`.
    pub fn ahead(&self, warnings: u32) -> Option<u32> {
        self.thresholds.iter().map(|step| step.at).find(|at| *at > warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::policy::Policy;

    #[test]
    fn statuses_are_read_in_any_case_and_unknown_ones_are_kept_apart() {
        let policy = Policy::builtin();
        let rules = policy.punishments();
        for clear in [None, Some(""), Some("  ")] {
            assert_eq!(rules.standing(clear), Standing::Clear);
        }
        for known in ["suspended", " Suspended ", "SUSPENDED"] {
            assert!(matches!(rules.standing(Some(known)), Standing::Known("suspended", _)), "{known}");
        }
        assert_eq!(rules.standing(Some("shadowbanned")), Standing::Unknown("shadowbanned"));
        assert_eq!(rules.status_for(Penalty::Ban).map(|(name, _)| name), Some("banned"));
        assert_eq!(rules.status_for(Penalty::Demote), None);
    }

    #[test]
    fn one_warning_lapses_per_stretch() {
        let rules = &Policy::builtin().punishments().warnings.clone();
        let last = Time(0);
        let days = |days: u64| last + Duration::from_secs(days * 86_400);
        assert_eq!(rules.counting(3, None, days(400)), 3);
        assert_eq!(rules.counting(3, Some(last), days(29)), 3);
        assert_eq!(rules.counting(3, Some(last), days(30)), 2);
        assert_eq!(rules.counting(3, Some(last), days(400)), 0);
    }

    #[test]
    fn the_most_severe_threshold_not_yet_acted_on_is_due() {
        let rules = &Policy::builtin().punishments().warnings.clone();
        let due = |warnings, acted| rules.due(warnings, acted).map(|step| (step.at, step.action));
        assert_eq!(due(2, None), None);
        assert_eq!(due(3, None), Some((3, Penalty::Suspend)));
        assert_eq!(due(5, None), Some((3, Penalty::Suspend)), "SUSPEND goes before DEMOTE");
        assert_eq!(due(5, Some(3)), Some((5, Penalty::Demote)));
        assert_eq!(due(9, None), Some((7, Penalty::Ban)));
        assert_eq!(due(9, Some(7)), None);
        assert_eq!((rules.reached(6), rules.ahead(6), rules.ahead(7)), (Some(5), Some(7), None));
    }
}
