//! Numbers as people read them.

use std::fmt;

/// `1 point`, `230 points`.
pub(super) fn counted(count: i64, noun: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{plural}")
}

/// A stretch of seconds in its largest fitting unit, rounded up: `45 seconds`, `3 hours`, `2 days`.
pub(super) struct Lasting(pub u64);

impl fmt::Display for Lasting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [(u64, &str); 3] = [(2 * 86_400, "day"), (2 * 3_600, "hour"), (2 * 60, "minute")];
        let found = UNITS.into_iter().find(|(from, _)| self.0 >= *from);
        let (count, unit) = found.map_or((self.0, "second"), |(from, unit)| (self.0.div_ceil(from / 2), unit));
        let plural = if count == 1 { "" } else { "s" };
        write!(f, "{count} {unit}{plural}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_agree_with_their_nouns() {
        assert_eq!(counted(1, "point"), "1 point");
        assert_eq!(counted(0, "point"), "0 points");
        assert_eq!(counted(230, "point"), "230 points");
    }

    #[test]
    fn stretches_use_the_largest_unit_that_says_enough() {
        let said =
            [(1, "1 second"), (90, "90 seconds"), (120, "2 minutes"), (7_100, "119 minutes"), (86_400, "24 hours")];
        for (seconds, text) in said {
            assert_eq!(Lasting(seconds).to_string(), text);
        }
        assert_eq!(Lasting(5 * 86_400).to_string(), "5 days");
        assert_eq!(Lasting(86_400 + 1).to_string(), "25 hours");
    }
}
