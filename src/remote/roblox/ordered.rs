//! Ordered data stores, v2: what games show as leaderboards. Values are whole numbers.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Call, Class, Listed, Roblox, StoreId, Trouble, addressable, text};

/// Entries a page; Roblox's own bound.
const ORDERED_PAGE: usize = 100;

const READ: &str = "universe.ordered-data-store.scope.entry:read";
const WRITE: &str = "universe.ordered-data-store.scope.entry:write";

impl Roblox {
    /// One page of an ordered store's entries, highest first.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn ordered_top(&self, store: &StoreId, page: Option<&str>) -> Result<Listed<(String, i64)>, Trouble> {
        store.addressable()?;
        let universe = store.universe.to_string();
        let call = Call::get(Class::OrderedLists, path(&universe, store))
            .scope(READ)
            .setting("ROBLOX_UNIVERSE_ID")
            .query("maxPageSize", ORDERED_PAGE)
            .query("orderBy", "value desc")
            .maybe("pageToken", page);
        let read = |row: &Value| {
            let value = row["value"].as_i64().or_else(|| row["value"].as_f64().map(|value| value as i64))?;
            Some((text(&row["id"])?, value))
        };
        self.page(call, "orderedDataStoreEntries", read).await
    }

    /// Sets an entry, whether it is there or not.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn put_ordered(&self, store: &StoreId, id: &str, value: i64) -> Result<(), Trouble> {
        store.addressable()?;
        addressable(id)?;
        let universe = store.universe.to_string();
        let mut path = path(&universe, store);
        path.push(id);
        let call = Call { method: Method::PATCH, ..Call::post(Class::OrderedWrites, path, &json!({ "value": value })) };
        self.ask(call.scope(WRITE).query("allowMissing", true)).await.map(drop)
    }

    /// Removes an entry; it need not be there.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn delete_ordered(&self, store: &StoreId, id: &str) -> Result<(), Trouble> {
        store.addressable()?;
        addressable(id)?;
        let universe = store.universe.to_string();
        let mut path = path(&universe, store);
        path.push(id);
        match self.ask(Call::new(Class::OrderedRemoves, Method::DELETE, path).scope(WRITE)).await {
            Ok(_) | Err(Trouble::Missing { .. }) => Ok(()),
            Err(trouble) => Err(trouble),
        }
    }
}

fn path<'a>(universe: &'a str, store: &'a StoreId) -> Vec<&'a str> {
    vec!["cloud", "v2", "universes", universe, "ordered-data-stores", &store.name, "scopes", &store.scope, "entries"]
}
