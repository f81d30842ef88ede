//! Rules of `settings.joinRequests`.

use super::super::files::{JoinRequests, MAX_NUMBER};
use super::text::check_range;
use super::{Notes, Problem};

pub(super) fn check(joins: &JoinRequests, notes: &mut Notes<'_>) {
    let here = |key: &str| format!("/settings/joinRequests/{key}");
    if let Some(points) = joins.min_points {
        check_range(("minPoints", points), (0, MAX_NUMBER), here("minPoints"), notes);
    }
    if joins.accept && !joins.known_only && joins.min_points.is_none_or(|points| points == 0) {
        notes.warn(Problem {
            code: "policy.joins_open",
            pointer: here("knownOnly"),
            what: "everybody who asks is let into the group".into(),
            why: "join requests keep nobody out, and accounts made for the purpose can flood the group",
            fix: "set knownOnly to true or minPoints to a number, or turn join requests off in the group".into(),
        });
    }
    if !joins.accept && joins.min_points.is_some() {
        notes.warn(Problem {
            code: "policy.joins_off",
            pointer: here("minPoints"),
            what: "minPoints is set, but accept is false".into(),
            why: "nobody is accepted, so the number has no effect",
            fix: "set accept to true, or remove minPoints".into(),
        });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::domains::policy::{FileKind, Policy};

    fn codes(rules: Value) -> Vec<&'static str> {
        let settings = json!({ "joinRequests": rules });
        let file =
            json!({"version": 1, "settings": settings, "ranks": [{"name": "A", "requiredPoints": 0}]}).to_string();
        match Policy::from_texts(&[(FileKind::Ranks, &file)]) {
            Ok(policy) => {
                policy.warnings().iter().map(|finding| finding.code).filter(|code| code.contains("joins")).collect()
            }
            Err(report) => report.errors().map(|finding| finding.code).collect(),
        }
    }

    #[test]
    fn rules_that_let_anybody_in_or_nobody_are_told_of() {
        let none: [&str; 0] = [];
        assert_eq!(codes(json!({})), none);
        assert_eq!(codes(json!({"accept": true, "minPoints": 5, "declineBanned": true})), none);
        assert_eq!(codes(json!({"accept": true, "knownOnly": false})), ["policy.joins_open"]);
        assert_eq!(codes(json!({"accept": true, "knownOnly": false, "minPoints": 1})), none);
        assert_eq!(codes(json!({"minPoints": 1})), ["policy.joins_off"]);
        assert!(!codes(json!({"accept": true, "minPoints": -1})).is_empty());
        assert!(!codes(json!({"acept": true})).is_empty());
    }
}
