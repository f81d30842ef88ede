//! What the key itself may do.

use serde_json::{Value, json};

use super::{Call, Class, Roblox, StoreId, Trouble, number, text};
use crate::base::Time;

/// What Roblox knows of our key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyInfo {
    pub name: String,
    /// Whose rights it has.
    pub owner: Option<u64>,
    pub enabled: bool,
    pub expired: bool,
    pub expires: Option<Time>,
    pub scopes: Vec<KeyScope>,
}

/// One scope of a key, with what it covers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyScope {
    /// `group`, `universe-datastores.objects` …
    pub name: String,
    /// `read`, `write`, `list` …
    pub operations: Vec<String>,
    /// Ids of groups or experiences it is limited to, as text, with the name behind a slash where it is a single data store (`5/Points`);
    /// `*` for all; empty when nothing is said.
    pub targets: Vec<String>,
}

impl KeyInfo {
    /// Whether it may do `scope` (`group:write`) to the group or experience `target`.
    pub fn may(&self, scope: &str, target: u64) -> bool {
        self.covers(scope, &[&target.to_string(), "*"])
    }

    /// As [`KeyInfo::may`], in one data store.
    pub fn may_in(&self, scope: &str, store: &StoreId) -> bool {
        self.covers(scope, &[&store.universe.to_string(), &format!("{}/{}", store.universe, store.name), "*"])
    }

    fn covers(&self, scope: &str, targets: &[&str]) -> bool {
        let Some((name, operation)) = scope.rsplit_once(':') else { return false };
        let covers = |held: &KeyScope| {
            held.name == name
                && held.operations.iter().any(|held| held == operation || held == "*")
                && (held.targets.is_empty() || held.targets.iter().any(|held| targets.contains(&held.as_str())))
        };
        self.scopes.iter().any(covers)
    }
}

impl Roblox {
    /// What the key may do. Asking changes nothing, and tells whether it may be used from this address.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn introspect(&self) -> Result<KeyInfo, Trouble> {
        let body = json!({"apiKey": self.secret.expose()});
        let json = self.json(Call::post(Class::Keys, vec!["api-keys", "v1", "introspect"], &body), "a key").await?;
        Ok(KeyInfo {
            name: text(&json["name"]).unwrap_or_default(),
            owner: number(&json["authorizedUserId"]),
            enabled: json["enabled"].as_bool().unwrap_or(true),
            expired: json["expired"].as_bool().unwrap_or(false),
            expires: json["expirationTimeUtc"].as_str().and_then(Time::parse),
            scopes: json["scopes"].as_array().into_iter().flatten().filter_map(scope).collect(),
        })
    }
}

fn scope(row: &Value) -> Option<KeyScope> {
    let list = |name: &str| row[name].as_array().into_iter().flatten();
    let plain = |value: &Value| text(value).or_else(|| number(value).map(|id| id.to_string()));
    let stores = list("universeDatastores").filter_map(|store| {
        let universe = plain(&store["universeId"])?;
        let one = text(&store["datastoreName"]).filter(|name| name != "*");
        Some(one.map_or(universe.clone(), |name| format!("{universe}/{name}")))
    });
    let targets = ["groupIds", "userIds", "universeIds"].into_iter().flat_map(list).filter_map(plain);
    Some(KeyScope {
        name: text(&row["name"])?,
        operations: list("operations").filter_map(text).collect(),
        targets: targets.chain(stores).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_covers_what_it_names() {
        let rows = json!([
            {"name": "group", "operations": ["read", "write"], "groupIds": ["7"]},
            {"name": "universe-datastores.objects", "operations": ["list"], "universeDatastores": [{"universeId": 5, "datastoreName": "*"}]},
            {"name": "universe-messaging-service", "operations": ["publish"], "universeIds": ["*"]},
        ]);
        let scopes = rows.as_array().unwrap().iter().filter_map(scope).collect();
        let key = KeyInfo { name: "k".into(), owner: None, enabled: true, expired: false, expires: None, scopes };
        assert!(key.may("group:write", 7) && !key.may("group:write", 8));
        assert!(key.may("universe-datastores.objects:list", 5) && !key.may("universe-datastores.objects:read", 5));
        assert!(key.may("universe-messaging-service:publish", 99) && !key.may("nonsense", 7));
    }

    #[test]
    fn a_scope_for_one_data_store_covers_no_other() {
        let rows = json!([{"name": "universe-datastores.objects", "operations": ["read"], "universeDatastores": [
            {"universeId": "5", "datastoreName": "Points"}, {"universeId": "6", "datastoreName": "*"}, {"universeId": "8"}]}]);
        let scopes = rows.as_array().unwrap().iter().filter_map(scope).collect();
        let key = KeyInfo { name: "k".into(), owner: None, enabled: true, expired: false, expires: None, scopes };
        let may = |universe: u64, name: &str| {
            let store = StoreId { universe, name: name.into(), scope: "global".into() };
            key.may_in("universe-datastores.objects:read", &store)
        };
        assert!(may(5, "Points") && !may(5, "Pets") && may(6, "Pets") && may(8, "Pets") && !may(7, "Points"));
        assert!(!key.may("universe-datastores.objects:read", 5), "not in all of them");
    }
}
