//! Standard data stores, v2: listing keys, reading entries. Writing is in `legacy`, since only the older service compares versions.

use serde_json::Value;

use super::{Call, Class, Listed, Roblox, Trouble, addressable, addressed, text};
use crate::base::Time;

/// Keys a page; Roblox's own bound.
pub const MAX_KEYS: usize = 256;

const LIST: &str = "universe-datastores.objects:list";
const READ: &str = "universe-datastores.objects:read";

/// A data store of an experience.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreId {
    pub universe: u64,
    pub name: String,
    /// `global` unless the game says otherwise.
    pub scope: String,
}

/// What stands under a key.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub value: Value,
    /// Changes with every write.
    pub revision: String,
    /// When that write was; none when Roblox does not say.
    pub written_at: Option<Time>,
}

impl StoreId {
    /// As [`addressable`], for stores that stand in a path.
    pub(super) fn addressable(&self) -> Result<(), Trouble> {
        addressed("a data store with a name", &self.name)?;
        addressed("a data store with a scope", &self.scope)
    }
}

impl Roblox {
    /// One page of the keys that begin with `prefix`; 1 to [`MAX_KEYS`] of them, in no promised order. Deleted ones are not listed.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn list_entries(
        &self,
        store: &StoreId,
        prefix: Option<&str>,
        page: Option<&str>,
        size: usize,
    ) -> Result<Listed<String>, Trouble> {
        store.addressable()?;
        let universe = store.universe.to_string();
        let filter = prefix.map(|prefix| format!("id.startsWith({})", quoted(prefix)));
        let call = Call::get(Class::EntryLists, path(&universe, store))
            .scope(LIST)
            .setting("ROBLOX_UNIVERSE_ID and ROBLOX_DATASTORE_NAME")
            .query("maxPageSize", size.clamp(1, MAX_KEYS))
            .maybe("filter", filter.as_deref())
            .maybe("pageToken", page);
        self.page(call, "dataStoreEntries", |row| text(&row["id"])).await
    }

    /// What stands under `key`; none when nothing does, any more.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn entry(&self, store: &StoreId, key: &str) -> Result<Option<Entry>, Trouble> {
        store.addressable()?;
        addressable(key)?;
        let universe = store.universe.to_string();
        // A key with an @ would be read as key and revision.
        let named = if key.contains('@') { format!("{key}@latest") } else { key.to_owned() };
        let mut path = path(&universe, store);
        path.push(&named);
        let answer = match self.ask(Call::get(Class::EntryReads, path).scope(READ)).await {
            Ok(answer) if answer.status == 204 => return Ok(None),
            Ok(answer) => answer,
            Err(Trouble::Missing { .. }) => return Ok(None),
            Err(trouble) => return Err(trouble),
        };
        let mut json = answer.json().filter(Value::is_object).ok_or(Trouble::Unreadable("an entry"))?;
        if json["state"] == "DELETED" {
            return Ok(None);
        }
        Ok(Some(Entry {
            revision: text(&json["revisionId"]).unwrap_or_default(),
            written_at: text(&json["revisionCreateTime"]).as_deref().and_then(Time::parse),
            value: json["value"].take(),
        }))
    }
}

fn path<'a>(universe: &'a str, store: &'a StoreId) -> Vec<&'a str> {
    vec!["cloud", "v2", "universes", universe, "data-stores", &store.name, "scopes", &store.scope, "entries"]
}

/// As a text in a filter expression.
fn quoted(text: &str) -> String {
    Value::from(text).to_string()
}
