//! A decision for people: what `grps policy explain` prints and serialises.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::base::{RobloxId, Time};
use crate::domains::policy::{Action, Policy, RankContext};

use super::{Rule, Subject, decide};

/// A decision with the player it is about and the rules it rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    pub user_id: RobloxId,
    pub rank: Option<String>,
    pub rank_points: i64,
    pub kos: i64,
    pub wos: i64,
    #[serde(flatten)]
    pub context: RankContext,
    pub action: Action,
    pub target_rank: Option<Arc<str>>,
    pub reason: String,
    pub decisions_blocked: bool,
    pub requires_approval: bool,
    pub policy_version: Arc<str>,
    pub explain: Vec<Rule>,
}

/// Decides about a player and puts the outcome beside the facts.
pub fn explain(policy: &Policy, subject: &Subject<'_>, now: Time) -> Explanation {
    let verdict = decide(policy, subject, now);
    Explanation {
        user_id: subject.user,
        rank: subject.rank.map(str::to_owned),
        rank_points: subject.points,
        kos: subject.kos,
        wos: subject.wos,
        context: policy.ladder().context(subject.rank),
        action: verdict.action,
        target_rank: verdict.target_rank,
        reason: verdict.reason,
        decisions_blocked: verdict.decisions_blocked,
        requires_approval: verdict.requires_approval,
        policy_version: verdict.policy_version,
        explain: verdict.explain,
    }
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rank = self.rank.as_deref().unwrap_or("no rank");
        writeln!(
            f,
            "player {}: {rank}, {} points, {} KOs, {} WOs",
            self.user_id, self.rank_points, self.kos, self.wos
        )?;
        write!(f, "{}", self.action.as_str())?;
        if let Some(target) = &self.target_rank {
            write!(f, " to {target}")?;
        }
        write!(f, ": {}", self.reason)?;
        if self.requires_approval {
            f.write_str(" (waits for a person)")?;
        }
        for rule in &self.explain {
            write!(f, "\n  [{}] {:<16} {}", if rule.passed { "ok" } else { "--" }, rule.rule, rule.text)?;
        }
        write!(f, "\npolicy {}", self.policy_version)
    }
}
