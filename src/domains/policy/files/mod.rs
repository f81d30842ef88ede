//! What the policy files say, as they are written: one struct per file, every field documented, unknown keys refused.
//!
//! These structs are the contract: the JSON Schema files in `policy/schema/` are generated from them. They carry no rules that span
//! fields; those are in `lint`. A value in here has only been parsed; the checked set is [`super::Policy`].

mod integrations;
mod joins;
mod permissions;
mod points;
mod punishments;
mod ranks;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use integrations::{
    Analytics, Automation, Experiences, Features, IntegrationsFile, MAX_EVENTS, MAX_WEBHOOKS, Roblox, SecretRef,
    Webhook, WebhookFormat,
};
pub use joins::JoinRequests;
pub use permissions::{Binding, Limits, MAX_BINDINGS, MAX_PROTECTED, MAX_ROLES, MAX_SCOPES, PermissionsFile};
pub use points::{Bounds, OnExceed, PointsFile};
pub use punishments::{
    Approval, MAX_STATUSES, MAX_SUSPEND_HOURS, MAX_THRESHOLDS, Penalty, PunishmentsFile, Status, Threshold, Warnings,
};
pub use ranks::{
    Breaker, Demotion, MAX_ALIASES, MAX_EXPERIENCES, MAX_NAME, MAX_RANKS, MAX_SECONDS, Mode, RankEntry, RanksFile,
    Settings,
};

/// The layout version this build reads, in every policy file.
pub const FILE_VERSION: u32 = 1;

/// Largest number of points, KOs or the like that JSON carries without loss: 2^53 − 1.
pub const MAX_NUMBER: i64 = 9_007_199_254_740_991;

/// What a decision does, most severe first: BAN > SUSPEND > DEMOTE > PROMOTE > NONE. The order of the variants is that precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    Ban,
    Suspend,
    Demote,
    Promote,
    None,
}

impl Action {
    /// The name on the wire: `PROMOTE`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ban => "BAN",
            Self::Suspend => "SUSPEND",
            Self::Demote => "DEMOTE",
            Self::Promote => "PROMOTE",
            Self::None => "NONE",
        }
    }
}

/// The five files of a set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum FileKind {
    Ranks,
    Permissions,
    Punishments,
    Points,
    Integrations,
}

impl FileKind {
    pub const ALL: [FileKind; 5] =
        [Self::Ranks, Self::Permissions, Self::Punishments, Self::Points, Self::Integrations];

    /// The file names it may have, the usual one first.
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Self::Ranks => &["policy.ranks.json"],
            Self::Permissions => &["permissions.json", "policy.permissions.json"],
            Self::Punishments => &["policy.punishments.json"],
            Self::Points => &["policy.points.json"],
            Self::Integrations => &["backend.integrations.json"],
        }
    }

    /// The file called `name`, with or without `.json`.
    pub fn named(name: &str) -> Option<Self> {
        let stem = name.strip_suffix(".json").unwrap_or(name);
        Self::ALL.into_iter().find(|kind| kind.names().iter().any(|known| known.strip_suffix(".json") == Some(stem)))
    }

    /// The usual file name.
    pub fn name(self) -> &'static str {
        self.names()[0]
    }
}

fn version_one() -> u32 {
    FILE_VERSION
}
