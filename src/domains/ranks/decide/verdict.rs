//! What the engine answers.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::domains::policy::{Action, Mode};

use super::subject::{Marks, RankReport};

/// The decision about one player, with everything a caller must store and a moderator wants to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub action: Action,
    /// Where PROMOTE and DEMOTE lead; `None` for the other actions.
    pub target_rank: Option<Arc<str>>,
    /// One sentence: `Eligible for promotion`, `230 points short of Storm Corporal I (750 required)`.
    pub reason: String,
    /// The rules gone through, in order.
    pub explain: Vec<Rule>,
    /// Automation leaves this player alone; a person must look.
    pub decisions_blocked: bool,
    /// Even in mode `auto` a person must agree before this is applied. Never set with NONE.
    pub requires_approval: bool,
    /// The policy's mode: with `propose` nothing is applied without a person.
    pub mode: Mode,
    /// How long a SUSPEND lasts; `None`: until its status is lifted.
    pub suspend_for: Option<Duration>,
    /// For SUSPEND and BAN: the status of the policy that says how it is carried out (group role, experience ban, return of the rank).
    pub status: Option<Arc<str>>,
    /// The reported status a punishment rests on: when that is lifted, so is the punishment.
    pub rests_on: Option<Arc<str>>,
    /// NONE for the time being only (cooling down, a punishment in force): it says nothing against a decision made before.
    pub holds_open: bool,
    /// [`crate::domains::policy::Policy::version`] this was decided by.
    pub policy_version: Arc<str>,
    pub rank_report: RankReport,
    /// To be stored with the player whether or not the decision is applied.
    pub marks: Marks,
    /// To be stored instead of `marks` in the commit that tells of the decision having taken effect.
    pub marks_if_applied: Marks,
}

impl Verdict {
    /// Whether it may be applied without a person: something to do, mode `auto`, no approval needed.
    pub fn applies_itself(&self) -> bool {
        self.action != Action::None && self.waits_because().is_none()
    }

    /// Why it waits for a person, if it does.
    pub fn waits_because(&self) -> Option<&'static str> {
        match self.mode {
            _ if self.action == Action::None => None,
            Mode::Propose => Some("The policy's mode is \"propose\": a person must approve"),
            Mode::Auto => self.requires_approval.then_some("Waits for a person's approval"),
        }
    }
}

/// One rule of an explanation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Rule {
    /// A stable name: `points`, `kos`, `warnings`, `cooldownSeconds` …
    pub rule: Cow<'static, str>,
    /// Whether the player meets it.
    pub passed: bool,
    /// What the player has, where the rule compares numbers.
    pub value: Option<i64>,
    /// What the rule asks for or allows, in the unit of `value`.
    pub limit: Option<i64>,
    /// The rule and its outcome as a sentence.
    pub text: String,
}

impl Rule {
    /// A rule that compares `(value, limit)`.
    pub(super) fn number<N: TryInto<i64>>(rule: &'static str, passed: bool, figures: (N, N), text: String) -> Self {
        let [value, limit] = [figures.0, figures.1].map(|figure| Some(figure.try_into().unwrap_or(i64::MAX)));
        Self { rule: rule.into(), passed, value, limit, text }
    }

    /// A rule that holds or does not.
    pub(super) fn flag(rule: &'static str, passed: bool, text: String) -> Self {
        Self { rule: rule.into(), passed, value: None, limit: None, text }
    }
}

/// What one part of the engine concludes.
pub(super) struct Judgement {
    pub action: Action,
    pub target_rank: Option<Arc<str>>,
    pub reason: String,
    pub decisions_blocked: bool,
    pub requires_approval: bool,
    pub suspend_for: Option<Duration>,
    pub status: Option<Arc<str>>,
    pub acts_on_threshold: Option<u32>,
    pub rests_on: Option<Arc<str>>,
    pub holds_open: bool,
}

impl Judgement {
    pub fn new(action: Action, reason: String) -> Self {
        Self {
            action,
            target_rank: None,
            reason,
            decisions_blocked: false,
            requires_approval: false,
            suspend_for: None,
            status: None,
            acts_on_threshold: None,
            rests_on: None,
            holds_open: false,
        }
    }

    pub fn none(reason: impl Into<String>) -> Self {
        Self::new(Action::None, reason.into())
    }

    /// NONE until something has passed.
    pub fn wait(reason: impl Into<String>) -> Self {
        Self { holds_open: true, ..Self::none(reason) }
    }
}
