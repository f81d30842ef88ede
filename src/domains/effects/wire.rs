//! How far a decision has been carried out, as it is shown.

use poem_openapi::Object;

use super::tables::{Effect, Step};

/// How far a decision has been carried out on Roblox.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", rename = "Effect")]
pub struct EffectView {
    /// RFC 3339.
    pub began_at: String,
    /// Null while it is under way.
    pub ended_at: Option<String>,
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
    /// RFC 3339.
    pub at: String,
    /// `readRoles`, `assignRole`, `unassignRole`, `verifyRoles`, `restrict`, `verifyRestriction`, `takeBack` or `trouble`.
    pub step: String,
    /// In words.
    pub text: String,
}

impl From<Effect> for EffectView {
    fn from(effect: Effect) -> Self {
        Self {
            began_at: effect.began_at.to_string(),
            ended_at: effect.ended_at.map(|at| at.to_string()),
            steps: effect.steps.into_iter().map(StepView::from).collect(),
            waiting: effect.waiting,
            hint: effect.hint,
            failures: effect.failures,
        }
    }
}

impl From<Step> for StepView {
    fn from(step: Step) -> Self {
        Self { at: step.at.to_string(), step: step.kind.text().to_owned(), text: step.text }
    }
}
