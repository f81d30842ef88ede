//! `policy.ranks.json`: the ladder and how automation climbs it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::JoinRequests;

/// Ranks on a ladder at most: Roblox groups know rank numbers 0 to 255.
pub const MAX_RANKS: usize = 255;
/// Aliases of one rank at most.
pub const MAX_ALIASES: usize = 16;
/// Experiences in one rank's allow-list at most.
pub const MAX_EXPERIENCES: usize = 64;
/// Longest name of a rank, alias, role, status or experience, in characters.
pub const MAX_NAME: usize = 64;
/// Longest cooldown and grace time: a year, in seconds.
pub const MAX_SECONDS: u64 = 366 * 86_400;

/// The rank ladder of the group and the settings of its automation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RanksFile {
    /// Where an editor finds this schema. The server does not read it.
    #[serde(rename = "$schema", default, skip_serializing)]
    pub schema: Option<String>,
    /// Layout version of this file. Always 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// How automation behaves on the whole ladder.
    #[serde(default)]
    pub settings: Settings,
    /// The ladder, lowest rank first: 1 to 255 ranks.
    #[schemars(length(min = 1, max = 255))]
    pub ranks: Vec<RankEntry>,
}

/// How automation behaves on the whole ladder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Settings {
    /// `auto`: decisions may be applied when the caller asks for it. `propose`: every decision waits for a person.
    pub mode: Mode,
    /// Ranks one decision may move a player up or down. 1 to 255.
    #[schemars(range(min = 1, max = 255))]
    pub max_steps_per_decision: u32,
    /// Seconds that must pass after an applied decision before the next promotion or demotion. 0 switches it off; at most a year.
    #[schemars(range(min = 0, max = 31_622_400))]
    pub cooldown_seconds: u64,
    /// KOs every promotion asks for. A rank's own `minKos` replaces it. 0 or more.
    #[schemars(range(min = 0))]
    pub min_kos: i64,
    /// Warnings a player may have and still be promoted. Left out: warnings do not hinder promotion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_warnings_for_promotion: Option<u32>,
    /// Demotion for lack of points.
    pub demotion: Demotion,
    /// Stops automation when it applies more than a group would expect.
    pub breaker: Breaker,
    /// How requests to join the group are answered.
    #[serde(skip_serializing_if = "JoinRequests::is_default")]
    pub join_requests: JoinRequests,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Auto,
            max_steps_per_decision: 1,
            cooldown_seconds: 0,
            min_kos: 0,
            max_warnings_for_promotion: None,
            demotion: Demotion::default(),
            breaker: Breaker::default(),
            join_requests: JoinRequests::default(),
        }
    }
}

/// Whether decisions may be applied without a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Applied when the caller asks for it and may.
    Auto,
    /// Always proposed; a person applies.
    Propose,
}

/// Demotion for lack of points.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Demotion {
    /// Whether holders whose points fell below `demoteBelow` are demoted at all.
    pub enabled: bool,
    /// Seconds the points must have stayed below before the demotion is due. At most a year.
    #[schemars(range(min = 0, max = 31_622_400))]
    pub grace_seconds: u64,
}

impl Default for Demotion {
    fn default() -> Self {
        Self { enabled: false, grace_seconds: 86_400 }
    }
}

/// Limits on applied decisions of the whole group; beyond them automation stops and asks for a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Breaker {
    /// Decisions queued to be applied per minute; more stay proposed until the next snapshot or a review asks for them again, or somebody
    /// approves them. 1 or more.
    #[schemars(range(min = 1))]
    pub applies_per_minute: u32,
    /// Applied decisions per hour; then all stop until an operator closes the breaker. 1 or more.
    #[schemars(range(min = 1))]
    pub applies_per_hour: u32,
    /// Share of the group's players moved per hour, in percent. 1 to 100. Of the
    /// members of the group, or of the players stored until those are counted; never less than 10 of them.
    #[schemars(range(min = 1, max = 100))]
    pub percent_of_group_per_hour: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { applies_per_minute: 30, applies_per_hour: 300, percent_of_group_per_hour: 5 }
    }
}

/// One rank of the ladder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RankEntry {
    /// The rank's name, exactly as game servers send it. 1 to 64 characters, unique among names and aliases.
    #[schemars(length(min = 1, max = 64))]
    pub name: String,
    /// Points shown as this rank's requirement. Rises strictly from rank to rank.
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub required_points: i64,
    /// Points at which automation promotes into this rank. Default: `requiredPoints`. Rises strictly from rank to rank.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub promote_at: Option<i64>,
    /// Points under which a holder of this rank is demoted. Default: the smaller of `promoteAt` and `requiredPoints`; never above
    /// `promoteAt`, or players would be promoted and demoted in turn.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9_007_199_254_740_991_i64))]
    pub demote_below: Option<i64>,
    /// KOs a promotion into this rank asks for. Default: `settings.minKos`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0))]
    pub min_kos: Option<i64>,
    /// Hours a player must have held the rank below before a promotion into this one. At most a year.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 8_784))]
    pub min_time_in_previous_rank_hours: Option<u32>,
    /// Recommendations a promotion into this rank asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_recommendations: Option<u32>,
    /// A promotion into this rank waits for a person even in mode `auto`.
    #[serde(default)]
    pub requires_approval: bool,
    /// Automation neither grants this rank nor touches its holders.
    #[serde(default)]
    pub privileged: bool,
    /// Experience keys (`x-roblox-experience`) whose snapshots may promote into this rank. Empty: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub experiences: Vec<String>,
    /// Other names the same rank goes by, such as an old one. At most 16.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub aliases: Vec<String>,
    /// Id of the group role on Roblox, when it should not be found by `robloxRank`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    pub roblox_role_id: Option<u64>,
    /// Rank number of the group role on Roblox: 1 to 254 (0 is guests, 255 the owner). Unique.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 254))]
    pub roblox_rank: Option<u32>,
}

impl RankEntry {
    /// Points at which automation promotes into this rank.
    pub fn promotes_at(&self) -> i64 {
        self.promote_at.unwrap_or(self.required_points)
    }

    /// Points under which a holder is demoted.
    pub fn demotes_below(&self) -> i64 {
        self.demote_below.unwrap_or_else(|| self.promotes_at().min(self.required_points))
    }
}
