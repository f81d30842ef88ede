//! `settings.joinRequests` of `policy.ranks.json`: who is let into the group.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How requests to join the group are answered. Whoever is protected is left to a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JoinRequests {
    /// Whether requests are accepted at all.
    pub accept: bool,
    /// Accept only players that a game server has reported before.
    pub known_only: bool,
    /// Points a player needs to be accepted; somebody who is not known has none. Left out: none are needed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_points: Option<i64>,
    /// Whether requests of players who are banned are declined; otherwise they are left to a person.
    pub decline_banned: bool,
}

impl Default for JoinRequests {
    fn default() -> Self {
        Self { accept: false, known_only: true, min_points: None, decline_banned: false }
    }
}

impl JoinRequests {
    /// Whether anything is to be answered.
    pub fn is_on(&self) -> bool {
        self.accept || self.decline_banned
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}
