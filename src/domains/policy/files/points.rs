//! `policy.points.json`: how many points are believable.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::version_one;

/// Bounds on points and KOs, against cheating and against faults in a game's scripts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PointsFile {
    /// Where an editor finds this schema. The server does not read it.
    #[serde(rename = "$schema", default, skip_serializing)]
    pub schema: Option<String>,
    /// Layout version of this file. Always 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Points no player can leave. Values outside are moved to the nearer bound and flagged (with `reject`: not taken).
    #[serde(default)]
    pub bounds: Bounds,
    /// Points a player may gain per hour, spread evenly; a burst may use up to one hour's worth. Left out: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    pub max_gain_per_hour: Option<i64>,
    /// Points a player may gain between two snapshots. Left out: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 9_007_199_254_740_991_i64))]
    pub max_gain_per_snapshot: Option<i64>,
    /// What happens to a value beyond a limit.
    #[serde(default)]
    pub on_exceed: OnExceed,
    /// KOs a player may score per minute, spread evenly; a burst may use up to one minute's worth. Left out: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub kos_per_minute_max: Option<i64>,
}

impl Default for PointsFile {
    /// The widest believable bounds and no limit on gains.
    fn default() -> Self {
        Self {
            schema: None,
            version: version_one(),
            bounds: Bounds::default(),
            max_gain_per_hour: None,
            max_gain_per_snapshot: None,
            on_exceed: OnExceed::default(),
            kos_per_minute_max: None,
        }
    }
}

/// Points no player can leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Bounds {
    /// Fewest points. May be negative where a group takes points away.
    pub min: i64,
    /// Most points.
    pub max: i64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { min: 0, max: 10_000_000 }
    }
}

/// What happens to a value beyond a limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnExceed {
    /// Kept and flagged: a promotion then waits for a person.
    #[default]
    Flag,
    /// Cut to what the limit allows, and flagged.
    Clamp,
    /// Not taken: the former value stays, and the player is flagged.
    Reject,
}
