//! `permissions.json`: which role may do what, and who has which role.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::version_one;

/// Roles at most.
pub const MAX_ROLES: usize = 64;
/// Scopes of one role, or added by one binding, at most.
pub const MAX_SCOPES: usize = 64;
/// Bindings at most.
pub const MAX_BINDINGS: usize = 256;
/// Protected users, and user ids of one binding, at most.
pub const MAX_PROTECTED: usize = 10_000;

/// Roles, who holds them, and people automation never touches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PermissionsFile {
    /// Where an editor finds this schema. The server does not read it.
    #[serde(rename = "$schema", default, skip_serializing)]
    pub schema: Option<String>,
    /// Layout version of this file. Always 1.
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Role name to scopes. A scope is `*` (everything) or words joined by colons: `decisions:apply`.
    #[serde(default)]
    pub roles: BTreeMap<String, Vec<String>>,
    /// Who has which role. Read from the top; the first that fits a caller decides.
    #[serde(default)]
    pub bindings: Vec<Binding>,
    /// Role name to limits on what its holders may do to others.
    #[serde(default)]
    pub limits: BTreeMap<String, Limits>,
    /// Roblox user ids automation never promotes, demotes, suspends or bans.
    #[serde(default)]
    #[schemars(length(max = 10_000))]
    pub protected_user_ids: Vec<u64>,
}

impl Default for PermissionsFile {
    /// No roles and nobody bound: whoever is not let in by an environment setting is not let in.
    fn default() -> Self {
        Self {
            schema: None,
            version: version_one(),
            roles: BTreeMap::new(),
            bindings: Vec::new(),
            limits: BTreeMap::new(),
            protected_user_ids: Vec::new(),
        }
    }
}

/// Gives a role to whoever fits its one selector: exactly one of `robloxRankAtLeast`, `robloxUserIds`, `oidcSub`, `apiKeyEnv`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Binding {
    /// Members of the group with this rank number or a higher one. 1 to 255.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 255))]
    pub roblox_rank_at_least: Option<u32>,
    /// These Roblox users.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roblox_user_ids: Vec<u64>,
    /// These sign-ins, as `provider:subject`: `discord:1234`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub oidc_sub: Vec<String>,
    /// Keys listed in this environment variable: `INBOUND_API_KEYS`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_key_env: Option<String>,
    /// The role they get; one of `roles`.
    pub role: String,
    /// Scopes on top of the role's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub add: Vec<String>,
}

/// Limits on what holders of a role may do to others.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Decisions one person may apply per hour. Left out: no limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub applies_per_hour: Option<u32>,
    /// Only on people whose rank is below the caller's own.
    pub must_outrank_target: bool,
    /// Never on oneself.
    pub not_self: bool,
    /// The highest rank they may put someone into; a rank of the ladder. Left out: any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub highest_target_rank: Option<String>,
}
