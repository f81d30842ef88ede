//! Saying what an opening found and did.

use super::choice::{Found, Second};
use super::marker::{Marker, boot_id};
use super::rebuild::how_it_ended;

/// What an opening did.
#[derive(Debug, Clone)]
pub struct Report {
    pub outcome: Outcome,
    /// For a person: what was found and what was done.
    pub text: String,
    /// Groups that were acknowledged and are in no copy: the first of them, and the last that is heard of.
    pub lost: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Opened,
    Replayed,
    /// The checkpoint or the journal was damaged and is written anew.
    Renewed,
    Rebuilt,
    /// Both copies were damaged.
    Restored,
}

impl Report {
    pub fn created() -> Self {
        Self { outcome: Outcome::Created, text: "a new store was created".into(), lost: None }
    }

    /// `distrusted` says why sled as it was could not be used, `renewed` what the second copy lacked.
    pub(super) fn new(
        found: &Found,
        distrusted: Option<&str>,
        lost: Option<(u64, u64)>,
        renewed: Option<&Second>,
        marker: Option<&Marker>,
    ) -> Self {
        let seq = found.rebuild.seq;
        let left = match marker {
            None => "its marker was lost",
            Some(marker) if marker.closed => "it was closed in good order",
            Some(marker) if marker.boot != boot_id() => "the machine went down while it was open",
            Some(_) => "the process ended without closing it",
        };
        let state = format!("the store is at group {seq} with {} rows", found.rebuild.census.total().rows);
        let problem = renewed.and_then(|second| second.problem.clone());
        let (outcome, text) = match (lost, distrusted, renewed) {
            (Some((from, to)), ..) => {
                let second = problem.map(|why| format!("checkpoint and journal: {why}"));
                let why: Vec<String> = distrusted.map(str::to_owned).into_iter().chain(second).collect();
                let why = why.join("; ");
                let text = format!(
                    "both copies of the store were damaged; {state}; groups {from} to at least {to} are lost ({why})"
                );
                (Outcome::Restored, text)
            }
            (None, Some(why), _) => {
                (Outcome::Rebuilt, format!("the store repaired itself, nothing was lost: {state} ({why})"))
            }
            (None, None, Some(_)) => {
                let why = problem.or_else(|| how_it_ended(&found.end));
                let why = why.unwrap_or_else(|| "the journal was shorter than sled".into());
                let text = format!("the store's second copy was written anew, nothing was lost: {state} ({why})");
                (Outcome::Renewed, text)
            }
            (None, None, None) if found.replayed > 0 => (
                Outcome::Replayed,
                format!("{} groups were replayed from the journal: {state} ({left})", found.replayed),
            ),
            (None, None, None) => (Outcome::Opened, format!("{state} ({left})")),
        };
        Self { outcome, text, lost }
    }
}
