//! How runs and differences look in JSON.

use poem_openapi::types::Example;
use poem_openapi::{Enum, Object};

use super::service::{Resolution, Resolved};
use super::tables::{Difference, Run, RunStatus};
use crate::base::{Cursor, Id, Page, RobloxId};
use crate::http::wire::{RobloxIdOut, Timestamp};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum DriftRunState {
    Running,
    Done,
    /// It cannot go on; `reason` says why.
    Failed,
}

/// One search through the group for ranks that were changed by hand.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct DriftRunView {
    pub id: String,
    pub state: DriftRunState,
    pub started_at: Timestamp,
    pub updated_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    /// Who asked for it.
    pub started_by: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// Pages of members read, of 100 each.
    pub pages: u32,
    pub members: u64,
    /// Players compared.
    pub compared: u64,
    /// Players whose rank was taken over from Roblox, since no decision of ours had moved them.
    pub adopted: u64,
    /// Players whose rank differs and waits for a person.
    pub drifted: u64,
    /// Of these, players who are not in the group any more.
    pub left: u64,
    /// Differences that were gone.
    pub cleared: u64,
    /// Of those that differ, players whose rank would have been taken over, had it not been too many for one run: most likely the policy
    /// does not match the group's roles.
    pub withheld: u64,
}

/// The newest runs, at most 50.
#[derive(Debug, Object)]
pub struct DriftRunList {
    /// Newest first.
    pub runs: Vec<DriftRunView>,
}

/// A player whose rank is another on Roblox than the one we hold them to have.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct DriftView {
    pub user_id: RobloxIdOut,
    /// The rank we hold them to have; null for none.
    pub ours: Option<String>,
    /// The rank they hold in the group; null for no rank of the ladder.
    pub live: Option<String>,
    /// The rank the game last reported, where that differs from ours.
    pub reported: Option<String>,
    /// They are not in the group any more.
    pub left: bool,
    pub found_at: Timestamp,
}

/// A page of differences, by user id.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct DriftPage {
    pub drift: Vec<DriftView>,
    /// Pass as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum ResolutionIn {
    /// Roblox's rank is right, and becomes ours.
    Accept,
    /// Ours is right, and is given again on Roblox.
    Restore,
}

/// What is to become of a difference.
#[derive(Debug, Object)]
#[oai(example)]
pub struct ResolutionRequest {
    pub resolution: ResolutionIn,
}

impl Example for ResolutionRequest {
    fn example() -> Self {
        Self { resolution: ResolutionIn::Restore }
    }
}

/// What became of a difference.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct ResolutionView {
    pub user_id: RobloxIdOut,
    /// The rank the player has, or will have once the decision has taken effect.
    pub rank: Option<String>,
    /// The decision that restores it.
    pub decision_id: Option<String>,
}

impl DriftRunView {
    pub fn new((id, run): (Id, Run)) -> Self {
        let Run { counts, .. } = run;
        Self {
            id: id.to_string(),
            state: match run.status {
                RunStatus::Running => DriftRunState::Running,
                RunStatus::Done => DriftRunState::Done,
                RunStatus::Failed => DriftRunState::Failed,
            },
            started_at: Timestamp(run.started_at),
            updated_at: Timestamp(run.updated_at),
            ended_at: run.ended_at.map(Timestamp),
            started_by: run.started_by,
            reason: run.reason,
            pages: run.pages,
            members: counts.members,
            compared: counts.compared,
            adopted: counts.adopted,
            drifted: counts.drifted,
            left: counts.left,
            cleared: counts.cleared,
            withheld: counts.withheld,
        }
    }
}

impl From<(RobloxId, Difference)> for DriftView {
    fn from((user, row): (RobloxId, Difference)) -> Self {
        let Difference { ours, live, reported, left, found_at, run: _ } = row;
        Self { user_id: RobloxIdOut(user), ours, live, reported, left, found_at: Timestamp(found_at) }
    }
}

impl From<Page<(RobloxId, Difference)>> for DriftPage {
    fn from(page: Page<(RobloxId, Difference)>) -> Self {
        let next_cursor = page.next.as_ref().map(Cursor::encode);
        Self { drift: page.items.into_iter().map(Into::into).collect(), next_cursor }
    }
}

impl From<ResolutionIn> for Resolution {
    fn from(wanted: ResolutionIn) -> Self {
        match wanted {
            ResolutionIn::Accept => Self::Accept,
            ResolutionIn::Restore => Self::Restore,
        }
    }
}

impl ResolutionView {
    pub fn new(user: RobloxId, resolved: Resolved) -> Self {
        let decision_id = resolved.decision.map(|id| id.to_string());
        Self { user_id: RobloxIdOut(user), rank: resolved.rank, decision_id }
    }
}
