//! The stored forms.

use serde::{Deserialize, Serialize};

use crate::base::{Id, RobloxId, Time};
use crate::domains::players::Player;
use crate::store::{Record, Table};

/// Ranks that any run may take over. A wrong policy would have everybody's taken over otherwise.
pub const MAX_ADOPTED: u64 = 50;

/// The share of the players compared so far whose rank a run may take over, where that is more.
const MAX_ADOPTED_PERCENT: u64 = 5;

/// Every run, by an id that sorts by time.
pub static DRIFT_RUNS: Table<Id, Run> = Table::new("drift_runs", *b"du");

/// The run that is under way: at most one.
pub static DRIFT_ACTIVE: Table<(), Id> = Table::new("drift_active", *b"dt");

/// Players we know that a run met among the members, by run and page; kept until the run has ended.
pub static DRIFT_SEEN: Table<(Id, u32), Seen> = Table::new("drift_seen", *b"ds");

/// Ids of players on one page of members.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen(pub Vec<u64>);

/// What differs and waits for a person, by player.
pub static DRIFTS: Table<RobloxId, Difference> = Table::new("drifts", *b"df");

/// One walk over the group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    pub status: RunStatus,
    pub started_at: Time,
    pub updated_at: Time,
    pub ended_at: Option<Time>,
    /// Who asked for it.
    pub started_by: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// What asks Roblox for the next page of members; none on the first.
    pub page: Option<String>,
    /// Pages of members read.
    pub pages: u32,
    /// All members were read: those who left are looked for, and this far that has come.
    pub leavers: Option<u64>,
    /// The walk over the members began anew, since Roblox did not know its page any more.
    pub restarts: u32,
    pub counts: Counts,
}

/// What a run has found so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Members met, players or not.
    pub members: u64,
    /// Players compared.
    pub compared: u64,
    /// Players whose rank was taken over from Roblox.
    pub adopted: u64,
    /// Players whose rank differs; those found before included.
    pub drifted: u64,
    /// Players of these who are not in the group any more.
    pub left: u64,
    /// Differences that were gone.
    pub cleared: u64,
    /// Players of those who differ whose rank would have been taken over, had it not been too many for one run.
    #[serde(default)]
    pub withheld: u64,
}

impl Counts {
    /// Whether this run may take over one more rank.
    pub fn may_adopt(&self) -> bool {
        self.adopted < MAX_ADOPTED.max(self.compared * MAX_ADOPTED_PERCENT / 100)
    }

    /// What still holds when the walk begins anew: what was written is not met again.
    pub fn kept(&self) -> Self {
        Self { adopted: self.adopted, cleared: self.cleared, ..Self::default() }
    }
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunStatus {
    Running,
    Done,
    Failed,
}

/// A player whose rank is another on Roblox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The rank we hold them to have.
    pub ours: Option<String>,
    /// The rank they hold in the group; none for no role of the ladder.
    pub live: Option<String>,
    /// The rank the game last reported, where that differs from ours.
    pub reported: Option<String>,
    /// They are not in the group.
    pub left: bool,
    pub found_at: Time,
    /// The run that found it.
    pub run: Id,
}

impl Difference {
    /// Whether it says the same as `other`, whenever it was found.
    pub fn says(&self, other: &Difference) -> bool {
        (&self.ours, &self.live, &self.reported, self.left) == (&other.ours, &other.live, &other.reported, other.left)
    }

    /// Whether it still speaks of `player`: their rank is the one that was compared, and no decision took effect since.
    pub fn holds(&self, player: &Player) -> bool {
        player.rank == self.ours && player.acted.as_ref().is_none_or(|acted| acted.at <= self.found_at)
    }
}

impl Run {
    /// What a person has to know of it once it has ended: why it failed, or that it would have taken over too many ranks.
    pub fn trouble(&self) -> Option<String> {
        let withheld = self.counts.withheld;
        match self.status {
            RunStatus::Failed => Some(self.reason.clone().unwrap_or_else(|| "the last run failed".to_owned())),
            RunStatus::Done if withheld > 0 => Some(format!(
                "{withheld} more ranks would have been taken over than one run may; they wait in `grps drift list`: check first that \
                 robloxRank, robloxRoleId and the names in policy.ranks.json match the group's roles"
            )),
            _ => None,
        }
    }

    pub fn new(started_by: &str, now: Time) -> Self {
        Self {
            status: RunStatus::Running,
            started_at: now,
            updated_at: now,
            ended_at: None,
            started_by: started_by.to_owned(),
            reason: None,
            page: None,
            pages: 0,
            leavers: None,
            restarts: 0,
            counts: Counts::default(),
        }
    }
}

impl Record for Run {
    const VERSION: u8 = 1;
}

impl Record for Seen {
    const VERSION: u8 = 1;
}

impl Record for Difference {
    const VERSION: u8 = 1;
}
