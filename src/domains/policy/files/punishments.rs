//! `policy.punishments.json`: what warnings lead to, and what a punishment status means.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Action, version_one};

/// Warning thresholds at most.
pub const MAX_THRESHOLDS: usize = 32;
/// Punishment statuses at most.
pub const MAX_STATUSES: usize = 64;
/// Longest automatic suspension: a year, in hours.
pub const MAX_SUSPEND_HOURS: u32 = 8_784;

/// What warnings lead to, and what a punishment status means.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PunishmentsFile {
    /// Where an editor finds this schema. The server does not read it.
    #[serde(rename = "$schema", default, skip_serializing)]
    pub schema: Option<String>,
    /// Layout version of this file. Always 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// What a number of warnings leads to.
    #[serde(default)]
    pub warnings: Warnings,
    /// Status text as game servers send it (lower case; sent in any case) to its meaning. A status that is not listed here is never
    /// punished: automation stops for that player and a person looks.
    #[serde(default)]
    pub statuses: BTreeMap<String, Status>,
    /// What a player banned from an experience is shown. At most 400 characters.
    #[serde(default)]
    #[schemars(length(max = 400))]
    pub display_reason: String,
    /// Whether an experience ban leaves out the accounts Roblox believes to be the same person's.
    #[serde(default)]
    pub exclude_alt_accounts: bool,
    /// Actions that wait for a person even in mode `auto`.
    #[serde(default)]
    pub approval: Approval,
}

impl Default for PunishmentsFile {
    /// No thresholds and no statuses: nobody is punished automatically, and any status stops automation for its player.
    fn default() -> Self {
        Self {
            schema: None,
            version: version_one(),
            warnings: Warnings::default(),
            statuses: BTreeMap::new(),
            display_reason: String::new(),
            exclude_alt_accounts: false,
            approval: Approval::default(),
        }
    }
}

/// What a number of warnings leads to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Warnings {
    /// Days after which one warning lapses: each full stretch since the last new warning takes one off the count. Left out: never.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 3_660))]
    pub decay_days: Option<u32>,
    /// Actions by number of warnings, `at` rising. Each acts once when reached; again after the count fell below it.
    #[schemars(length(max = 32))]
    pub thresholds: Vec<Threshold>,
}

/// An automatic punishment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Penalty {
    Ban,
    Suspend,
    Demote,
}

impl From<Penalty> for Action {
    fn from(penalty: Penalty) -> Action {
        match penalty {
            Penalty::Ban => Action::Ban,
            Penalty::Suspend => Action::Suspend,
            Penalty::Demote => Action::Demote,
        }
    }
}

/// One step of the warning thresholds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Threshold {
    /// Number of warnings it acts at. 1 or more.
    #[schemars(range(min = 1))]
    pub at: u32,
    /// What is done.
    pub action: Penalty,
    /// With SUSPEND, and only there: how many hours. 1 to 8784.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 8_784))]
    pub hours: Option<u32>,
    /// With DEMOTE, and only there: how many ranks down. Default 1, at most `maxStepsPerDecision`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub steps: Option<u32>,
}

/// What a punishment status means.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Status {
    /// SUSPEND or BAN: what automation carries out, once, when a player shows up with this status. Left out: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<Penalty>,
    /// No promotion while the status stands.
    pub blocks_promotion: bool,
    /// Group role the player is moved to meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_role: Option<String>,
    /// Whether the former role comes back when it ends.
    pub restore_rank_after: bool,
    /// Whether the player is also banned from the experience meanwhile.
    pub experience_ban: bool,
}

/// Actions that wait for a person even in mode `auto`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE", deny_unknown_fields, default)]
pub struct Approval {
    pub ban: bool,
    pub suspend: bool,
    pub demote: bool,
    pub promote: bool,
}

impl Approval {
    /// Whether `action` waits for a person.
    pub fn needed(&self, action: Action) -> bool {
        match action {
            Action::Ban => self.ban,
            Action::Suspend => self.suspend,
            Action::Demote => self.demote,
            Action::Promote => self.promote,
            Action::None => false,
        }
    }
}
