//! What the engine needs to know about a player.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{RobloxId, Time};
use crate::domains::policy::{Action, Ladder, Penalty};

/// How long after an applied decision what a snapshot says of the rank is taken for what was before it (requirement R8).
pub const STALE_RANK: Duration = Duration::from_secs(600);

/// The facts about one player. Everything but the user may be left at its default.
#[derive(Debug, Clone)]
pub struct Subject<'a> {
    pub user: RobloxId,
    /// The rank this server holds for them: name or alias. `None`: no rank yet.
    pub rank: Option<&'a str>,
    /// The rank the latest snapshot carried, if any.
    pub reported_rank: Option<&'a str>,
    /// When it was told; none for now.
    pub reported_at: Option<Time>,
    /// Rank points.
    pub points: i64,
    /// Whether the points were flagged by [`crate::domains::policy::PointsFile::observe`] and nobody has looked yet. A promotion then
    /// waits for approval. Keep it set until a person clears it: a cheater would only have to wait for the next snapshot.
    pub points_flagged: bool,
    /// Knock-outs.
    pub kos: i64,
    /// Wipe-outs. No rule uses them; explanations show them.
    pub wos: i64,
    /// Warnings as reported.
    pub warnings: u32,
    /// When the number of warnings last rose; from then on they lapse. `None`: unknown, none lapses.
    pub last_warning_at: Option<Time>,
    pub recommendations: u32,
    /// The punishment status as reported.
    pub punishment_status: Option<&'a str>,
    /// The punishment this server carried out and has not ended. The caller removes it when it ends or the status is lifted.
    pub in_force: Option<InForce>,
    /// Since when the stored rank has been held. `None`: unknown, which fails `minTimeInPreviousRankHours`.
    pub rank_since: Option<Time>,
    /// The last applied (or queued) decision.
    pub last_decision: Option<LastDecision<'a>>,
    /// Experience key of the snapshot (`x-roblox-experience`).
    pub experience: Option<&'a str>,
    /// What the engine remembers about this player.
    pub marks: Marks,
}

impl Subject<'_> {
    /// A player without rank, points or history.
    pub fn new(user: RobloxId) -> Self {
        Self {
            user,
            rank: None,
            reported_rank: None,
            reported_at: None,
            points: 0,
            points_flagged: false,
            kos: 0,
            wos: 0,
            warnings: 0,
            last_warning_at: None,
            recommendations: 0,
            punishment_status: None,
            in_force: None,
            rank_since: None,
            last_decision: None,
            experience: None,
            marks: Marks::default(),
        }
    }

    /// How the rank of the latest snapshot relates to the stored one (requirement R8): the server is authoritative for ranks, so the
    /// stored one decides in any case. Names and aliases of the same rank agree.
    pub fn rank_report(&self, ladder: &Ladder, now: Time) -> RankReport {
        let (Some(reported), Some(stored)) = (self.reported_rank, self.rank) else { return RankReport::Agrees };
        let same_rank = || ladder.find(reported).is_some_and(|place| ladder.find(stored) == Some(place));
        if reported == stored || same_rank() {
            return RankReport::Agrees;
        }
        // However long ago that is by now: a report from before our decision says nothing of what came after it.
        let reported_at = self.reported_at.unwrap_or(now);
        match &self.last_decision {
            Some(last) if reported_at.since(last.at) < STALE_RANK => RankReport::Stale,
            _ => RankReport::Drift,
        }
    }
}

/// A punishment in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    pub penalty: Penalty,
    /// When it ends; `None`: when a person or the lifted status ends it.
    pub until: Option<Time>,
}

impl InForce {
    /// Whether it still holds at `now`.
    pub fn holds(&self, now: Time) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// The last applied (or queued) decision about a player.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastDecision<'a> {
    pub at: Time,
    pub action: Action,
    /// The rank it led to.
    pub target: Option<&'a str>,
}

/// How the reported rank relates to the stored one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RankReport {
    /// The same, or only one of them is known.
    Agrees,
    /// Different, but told before our own decision or within ten minutes of it: the game has not caught up. Ignored.
    Stale,
    /// Different for no reason of ours: somebody changed it elsewhere. Moves on the ladder wait for a person.
    Drift,
}

/// What the engine remembers about a player from one evaluation to the next; stored with the player, not interpreted elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marks {
    /// Since when the points have been below what keeps the rank.
    pub points_below_since: Option<Time>,
    /// The highest warning threshold that was acted on. Falls with the warnings, so a threshold reached anew acts anew.
    pub acted_warning_threshold: Option<u32>,
    /// The punishment status (by its name in the policy) that was carried out. Cleared when the status changes or ends.
    pub acted_status: Option<Arc<str>>,
}
