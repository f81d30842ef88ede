//! API keys: whose they are, how long they hold, and what they are good for.

use serde_json::{Value, json};

use super::call::{Need, Target};
use crate::base::Time;

pub(super) const HEADER: &str = "x-api-key";

/// Everything the fake understands, by scope.
const EVERYTHING: &[(&str, &[&str])] = &[
    ("group", &["read", "write"]),
    ("legacy-group", &["manage"]),
    ("universe-datastores.objects", &["list", "read", "create", "update", "delete"]),
    ("universe-datastores.versions", &["list", "read"]),
    ("universe.ordered-data-store.scope.entry", &["read", "write"]),
    ("universe-messaging-service", &["publish"]),
    ("universe.user-restriction", &["read", "write"]),
];

/// An API key.
#[derive(Debug, Clone)]
pub struct Key {
    pub name: String,
    pub owner: u64,
    pub enabled: bool,
    pub expires: Option<Time>,
    pub scopes: Vec<Scope>,
}

/// `group:read` for some groups, and its like.
#[derive(Debug, Clone)]
pub struct Scope {
    pub name: String,
    pub operations: Vec<String>,
    /// Groups or universes, as the scope has it; none for all.
    pub only: Option<Vec<u64>>,
}

impl Key {
    /// A key that may do everything everywhere.
    pub fn of(owner: u64) -> Self {
        let scope = |(name, operations): &(&str, &[&str])| Scope {
            name: (*name).to_owned(),
            operations: operations.iter().map(|operation| (*operation).to_owned()).collect(),
            only: None,
        };
        let scopes = EVERYTHING.iter().map(scope).collect();
        Self { name: "grps".to_owned(), owner, enabled: true, expires: None, scopes }
    }

    /// The same without an operation such as `group:write`.
    #[must_use]
    pub fn without(mut self, lacking: &str) -> Self {
        for scope in &mut self.scopes {
            scope.operations.retain(|operation| format!("{}:{operation}", scope.name) != lacking);
        }
        self.scopes.retain(|scope| !scope.operations.is_empty());
        self
    }

    /// The same, with its scope good for these groups or universes only.
    #[must_use]
    pub fn only(mut self, scope: &str, targets: &[u64]) -> Self {
        for own in self.scopes.iter_mut().filter(|own| own.name == scope) {
            own.only = Some(targets.to_vec());
        }
        self
    }

    pub(super) fn expired(&self, now: Time) -> bool {
        self.expires.is_some_and(|at| at <= now)
    }

    pub(super) fn allows(&self, need: &Need) -> bool {
        let good_for = |scope: &Scope| match (need.target, &scope.only) {
            (_, None) => true,
            (Target::Group(id) | Target::Universe(id), Some(only)) => only.contains(&id),
        };
        let mut fitting = self.scopes.iter().filter(|scope| scope.name == need.scope);
        fitting.any(|scope| scope.operations.iter().any(|operation| operation == need.operation) && good_for(scope))
    }

    /// As the introspection shows it.
    pub(super) fn json(&self, now: Time) -> Value {
        let scopes: Vec<Value> = self.scopes.iter().map(Scope::json).collect();
        json!({
            "name": self.name,
            "authorizedUserId": self.owner,
            "scopes": scopes,
            "enabled": self.enabled,
            "expired": self.expired(now),
            "expirationTimeUtc": self.expires.map(|at| at.to_string()),
        })
    }
}

impl Scope {
    fn json(&self) -> Value {
        let all = || vec!["*".to_owned()];
        let targets: Vec<String> =
            self.only.as_ref().map_or_else(all, |only| only.iter().map(u64::to_string).collect());
        let mut out = json!({"name": self.name, "operations": self.operations});
        match self.name.as_str() {
            name if name.contains("group") => out["groupIds"] = targets.into(),
            name if name.starts_with("universe-datastores") => {
                let of = |universe: &String| json!({"universeId": universe, "datastoreName": "*"});
                out["universeDatastores"] = targets.iter().map(of).collect();
            }
            _ => out["universeIds"] = targets.into(),
        }
        out
    }
}
