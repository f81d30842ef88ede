//! Effects as they are stored.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::restriction::Theirs;
use crate::base::{Id, RobloxId, Time};
use crate::store::{Record, Table, Tx};

/// How far each decision has been carried out, by the decision's id.
pub static EFFECTS: Table<Id, Effect> = Table::new("effects", *b"ef");

/// Exactly the effects that have begun and not ended.
pub static EFFECTS_OPEN: Table<Id, RobloxId> = Table::new("effects_open", *b"eo");

/// Steps that are kept of one effect; of more, the first ones and the newest.
pub const MAX_STEPS: usize = 24;

/// So long a read may still show what was before a change: Roblox promises nothing, and copies of its data follow each other. What contradicts
/// a change for longer is somebody's doing.
const SHOWS_WITHIN: Duration = Duration::from_secs(30);

/// One decision being carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Effect {
    pub user: RobloxId,
    pub began_at: Time,
    pub ended_at: Option<Time>,
    /// Ids of the roles we manage that the member held at first.
    pub former: Option<Vec<u64>>,
    /// Something that changes the group was sent, or is about to be: from then on it has to be brought to an end.
    pub touched: bool,
    /// The role that a punishment gave.
    pub gave: Option<u64>,
    /// When the restriction was first sent: repeated with it, it happens once.
    pub restricted_at: Option<Time>,
    /// The restriction of somebody else that ours replaced.
    pub replaced: Option<Theirs>,
    /// It cannot succeed, for this reason; what was begun is being taken back.
    pub giving_up: Option<String>,
    /// What happened, oldest first.
    pub steps: Vec<Step>,
    /// Failures in a row.
    pub failures: u32,
    /// Why it is not over yet, when that is not ours to say.
    pub waiting: Option<String>,
    /// What somebody can do about that.
    pub hint: Option<String>,
    /// Ids of the roles that were given, or are about to be: ours to take again, whatever the policy says by then.
    #[serde(default)]
    pub sent: Vec<u64>,
    /// The change of a role that Roblox took last.
    #[serde(default)]
    pub moved: Option<Moved>,
    /// Since when the punishment's own restriction holds.
    #[serde(default)]
    pub kept_since: Option<Time>,
    /// The experience that the restriction is of.
    #[serde(default)]
    pub restricted_in: Option<u64>,
}

/// A change of a role that Roblox took.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    pub at: Time,
    pub role: u64,
    /// Given, not taken.
    pub given: bool,
    /// How often it was, in a row.
    pub times: u8,
}

/// One thing that was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    pub at: Time,
    pub kind: StepKind,
    /// In words.
    pub text: String,
}

/// What kinds of steps there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum StepKind {
    /// The member's roles were read.
    ReadRoles,
    AssignRole,
    UnassignRole,
    /// The roles were read again and are as they should be.
    VerifyRoles,
    Restrict,
    VerifyRestriction,
    /// Something was in the way.
    Trouble,
    /// What was begun is taken back.
    TakeBack,
}

impl Moved {
    /// Whether a read with these roles is from after it.
    pub fn shows(&self, held: &[u64]) -> bool {
        held.contains(&self.role) == self.given
    }
}

impl Record for Effect {
    const VERSION: u8 = 1;
}

impl Effect {
    /// Nothing has been done yet.
    pub fn begin(user: RobloxId, now: Time) -> Self {
        Self {
            user,
            began_at: now,
            ended_at: None,
            former: None,
            touched: false,
            gave: None,
            restricted_at: None,
            replaced: None,
            giving_up: None,
            steps: Vec::new(),
            failures: 0,
            waiting: None,
            hint: None,
            sent: Vec::new(),
            moved: None,
            kept_since: None,
            restricted_in: None,
        }
    }

    /// Whether `held` is from before the newest change, which Roblox took less than [`SHOWS_WITHIN`] ago.
    pub fn is_behind(&self, held: &[u64], now: Time) -> bool {
        let recent = |moved: &Moved| moved.at <= now && now.since(moved.at) < SHOWS_WITHIN;
        self.moved.filter(recent).is_some_and(|moved| !moved.shows(held))
    }

    /// Whether a change of the restriction was sent, is about to be, or was found there as its own.
    pub fn restricts(&self) -> bool {
        self.restricted_at.is_some() || self.kept_since.is_some()
    }

    /// Notes a change of a role that Roblox took.
    pub fn note_move(&mut self, at: Time, role: u64, given: bool) {
        let again = self.moved.filter(|moved| (moved.role, moved.given) == (role, given));
        let times = again.map_or(1, |moved| moved.times.saturating_add(1));
        self.moved = Some(Moved { at, role, given, times });
    }

    /// Notes a step. The same again and again is noted once, with the newest time.
    pub fn note(&mut self, at: Time, kind: StepKind, text: impl Into<String>) {
        let text = text.into();
        if let Some(last) = self.steps.last_mut().filter(|last| last.kind == kind && last.text == text) {
            last.at = at;
            return;
        }
        if self.steps.len() >= MAX_STEPS {
            self.steps.remove(MAX_STEPS / 2);
        }
        self.steps.push(Step { at, kind, text });
    }
}

impl StepKind {
    /// The name on the wire.
    pub fn text(self) -> &'static str {
        match self {
            Self::ReadRoles => "readRoles",
            Self::AssignRole => "assignRole",
            Self::UnassignRole => "unassignRole",
            Self::VerifyRoles => "verifyRoles",
            Self::Restrict => "restrict",
            Self::VerifyRestriction => "verifyRestriction",
            Self::Trouble => "trouble",
            Self::TakeBack => "takeBack",
        }
    }
}

/// Writes an effect; `id` is its decision's.
pub fn keep(tx: &Tx, id: Id, effect: &Effect) {
    tx.put(&EFFECTS, &id, effect);
    match effect.ended_at {
        None => tx.put(&EFFECTS_OPEN, &id, &effect.user),
        Some(_) => tx.delete(&EFFECTS_OPEN, &id),
    }
}

/// Removes what is remembered of a decision that goes.
pub fn forget(tx: &Tx, id: Id) {
    tx.delete(&EFFECTS, &id);
    tx.delete(&EFFECTS_OPEN, &id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_bounded_and_repeats_are_noted_once() {
        let mut effect = Effect::begin(RobloxId::EXAMPLE, Time(0));
        effect.note(Time(1), StepKind::Trouble, "Roblox is not well (503)");
        effect.note(Time(9), StepKind::Trouble, "Roblox is not well (503)");
        assert_eq!((effect.steps.len(), effect.steps[0].at), (1, Time(9)));
        for step in 0..100 {
            effect.note(Time(step), StepKind::ReadRoles, step.to_string());
        }
        assert_eq!(effect.steps.len(), MAX_STEPS);
        assert_eq!(effect.steps[0].kind, StepKind::Trouble);
        assert_eq!(effect.steps.last().map(|step| step.text.as_str()), Some("99"));
    }
}
