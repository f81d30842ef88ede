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
