//! How far a decision has been carried out, as it is shown.

use poem_openapi::Object;

use super::tables::{Effect, Step};
use crate::http::wire::Timestamp;

/// How far a decision has been carried out on Roblox.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", rename = "Effect")]
pub struct EffectView {
    /// Null before it begins, where something is in the way.
    pub began_at: Option<Timestamp>,
    /// Null while it is under way.
    pub ended_at: Option<Timestamp>,
    /// What was done, oldest first; of very many, the first and the newest.
    pub steps: Vec<StepView>,
    /// Why it is not over yet; null when nothing is in the way.
    pub waiting: Option<String>,
    /// What somebody can do about that.
    pub hint: Option<String>,
    /// Attempts in a row that failed.
    pub failures: u32,
}

/// One thing that was done.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", rename = "EffectStep")]
pub struct StepView {
    pub at: Timestamp,
    /// `readRoles`, `assignRole`, `unassignRole`, `verifyRoles`, `restrict`, `verifyRestriction`, `takeBack` or `trouble`.
    pub step: String,
    /// In words.
    pub text: String,
}

impl From<Effect> for EffectView {
    fn from(effect: Effect) -> Self {
        Self {
            began_at: Some(Timestamp(effect.began_at)),
            ended_at: effect.ended_at.map(Timestamp),
            steps: effect.steps.into_iter().map(StepView::from).collect(),
            waiting: effect.waiting,
            hint: effect.hint,
            failures: effect.failures,
        }
    }
}

impl EffectView {
    /// Of what has not begun yet.
    pub fn not_begun() -> Self {
        Self { began_at: None, ended_at: None, steps: Vec::new(), waiting: None, hint: None, failures: 0 }
    }
}

impl From<Step> for StepView {
    fn from(step: Step) -> Self {
        Self { at: Timestamp(step.at), step: step.kind.text().to_owned(), text: step.text }
    }
}
