//! `backend.integrations.json`: where this server talks to, and which features are on. It holds no rules, so it has no part in the
//! policy's version.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::base::Secret;

use super::version_one;

/// Webhooks at most.
pub const MAX_WEBHOOKS: usize = 32;

/// Events of one webhook at most.
pub const MAX_EVENTS: usize = 64;

/// Endpoints, webhooks, feature switches and analytics.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IntegrationsFile {
    /// Where an editor finds this schema. The server does not read it.
    #[serde(rename = "$schema", default, skip_serializing)]
    pub schema: Option<String>,
    /// Layout version of this file. 1, and may be left out.
    #[serde(default = "version_one")]
    #[schemars(range(min = 1, max = 1))]
    pub version: u32,
    /// Where this server is reached from outside.
    #[serde(default)]
    pub automation: Automation,
    /// The group's access to Roblox.
    #[serde(default)]
    pub roblox: Roblox,
    /// Who is told about events. At most 32.
    #[serde(default)]
    #[schemars(length(max = 32))]
    pub webhooks: Vec<Webhook>,
    /// Optional behaviour.
    #[serde(default)]
    pub features: Features,
    /// Read-only analytics.
    #[serde(default)]
    pub analytics: Analytics,
    /// Which experiences may send snapshots.
    #[serde(default)]
    pub experiences: Experiences,
}

impl Default for IntegrationsFile {
    /// Nothing connected, every feature off, every experience welcome.
    fn default() -> Self {
        Self {
            schema: None,
            version: version_one(),
            automation: Automation::default(),
            roblox: Roblox::default(),
            webhooks: Vec::new(),
            features: Features::default(),
            analytics: Analytics::default(),
            experiences: Experiences::default(),
        }
    }
}

/// Where this server is reached from outside.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Automation {
    /// Base URL of this server as the web portal and game servers see it: `https://automation.example.com`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
}

/// The group's access to Roblox.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Roblox {
    /// The Open Cloud key, as a reference: `env:ROBLOX_OPEN_CLOUD_API_KEY`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub api_key: Option<SecretRef>,
}

/// One receiver of events.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// Where events are posted. Whoever knows the URL can post too, so it counts as a secret: `env:AUDIT_DISCORD_URL`.
    pub url: SecretRef,
    /// Shape of the message.
    #[serde(default)]
    pub format: WebhookFormat,
    /// Events it gets: `decision.applied`, or `policy.*` for all of a family, or `*`. Empty: none.
    #[serde(default)]
    pub events: Vec<String>,
}

/// Shape of a webhook message.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WebhookFormat {
    /// The event as plain JSON, signed.
    #[default]
    Json,
    /// A Discord webhook message.
    Discord,
    /// A Slack incoming-webhook message.
    Slack,
}

/// Optional behaviour.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Features {
    /// After a decision, set the rank in the player's entry of the Roblox DataStore. An entry that is not there is not made.
    pub mirror_datastore: bool,
}

/// Read-only analytics.
#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Analytics {
    /// A database URL with read-only rights, as a reference: `env:ANALYTICS_DATABASE_URL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_url: Option<SecretRef>,
}

/// Which experiences may send snapshots.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Experiences {
    /// Accepted values of `x-roblox-experience`. Empty: all.
    pub allow: Vec<String>,
}

impl Experiences {
    /// Whether snapshots of `key` are accepted.
    pub fn accepts(&self, key: Option<&str>) -> bool {
        self.allow.is_empty() || key.is_some_and(|key| self.allow.iter().any(|allowed| allowed == key))
    }
}

/// A secret, by reference (`env:NAME`) or, with a warning, as itself. Printing or serialising it never shows the value.
#[derive(Clone)]
pub enum SecretRef {
    /// The value of this environment variable.
    Env(String),
    /// The value itself.
    Literal(Secret),
}

impl fmt::Debug for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::Literal(_) => f.write_str("(hidden)"),
        }
    }
}

impl Serialize for SecretRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{self:?}"))
    }
}

impl<'de> Deserialize<'de> for SecretRef {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ok(match text.strip_prefix("env:") {
            Some(name) => Self::Env(name.to_owned()),
            None => Self::Literal(Secret::new(text)),
        })
    }
}

impl JsonSchema for SecretRef {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "SecretRef".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "description": "`env:NAME` takes the value from that environment variable. A literal value works, with a warning.",
            "examples": ["env:NAME"]
        })
    }
}
