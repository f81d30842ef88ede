//! Standard data stores, v1: writing an entry only while it is at a known version, which v2 does not promise. Attributes and user ids
//! that are not sent again are cleared, so they travel with the entry.

use reqwest::Method;

use super::{Call, Class, Roblox, StoreId, Trouble, addressable};

const READ: &str = "universe-datastores.objects:read";
/// Of entries that are there; one that is not would take `:create`.
const WRITE: &str = "universe-datastores.objects:update";

const ATTRIBUTES: &str = "roblox-entry-attributes";
const USER_IDS: &str = "roblox-entry-userids";

/// An entry with all that a write has to carry on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// JSON, as it is stored.
    pub text: String,
    pub version: String,
    /// A JSON object.
    pub attributes: Option<String>,
    /// A JSON list.
    pub users: Option<String>,
}

/// What became of a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replaced {
    Done,
    /// Somebody else wrote since: nothing happened.
    Moved,
}

impl Roblox {
    /// What stands under `key`, and at which version; none when nothing does.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn versioned_entry(&self, store: &StoreId, key: &str) -> Result<Option<Versioned>, Trouble> {
        addressable(key)?;
        let universe = store.universe.to_string();
        let call = entry(Class::EntryReads, Method::GET, &universe, store, key).scope(READ);
        let answer = match self.ask(call).await {
            Ok(answer) if answer.status == 204 => return Ok(None),
            Ok(answer) => answer,
            Err(Trouble::Missing { .. }) => return Ok(None),
            Err(trouble) => return Err(trouble),
        };
        let held = |name: &str| {
            let mut all = answer.headers.get_all(name).iter();
            match (all.next().map(|value| value.to_str()), all.next()) {
                (None, _) => Ok(None),
                (Some(Ok(text)), None) => Ok(Some(text.to_owned()).filter(|text| !text.is_empty())),
                // Written back without it, the entry would lose it.
                _ => Err(Trouble::Unreadable("an entry with readable headers")),
            }
        };
        let text = String::from_utf8(answer.body.to_vec()).map_err(|_| Trouble::Unreadable("text"))?;
        let version = held("roblox-entry-version")?.ok_or(Trouble::Unreadable("an entry with a version"))?;
        Ok(Some(Versioned { text, version, attributes: held(ATTRIBUTES)?, users: held(USER_IDS)? }))
    }

    /// Writes `text` (JSON) under `key` if it is still as `was`. It makes no entry.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn replace_entry(
        &self,
        store: &StoreId,
        key: &str,
        text: String,
        was: &Versioned,
    ) -> Result<Replaced, Trouble> {
        addressable(key)?;
        let universe = store.universe.to_string();
        let call = entry(Class::EntryWrites, Method::POST, &universe, store, key).scope(WRITE);
        let mut call = call.query("matchVersion", &was.version);
        for (name, value) in [(ATTRIBUTES, &was.attributes), (USER_IDS, &was.users)] {
            call.headers.extend(value.clone().map(|value| (name, value)));
        }
        call.body = Some(text);
        match self.ask(call).await {
            Ok(_) => Ok(Replaced::Done),
            Err(Trouble::Refused { status: 412, .. }) => Ok(Replaced::Moved),
            Err(trouble) => Err(trouble),
        }
    }
}

fn entry<'a>(class: Class, method: Method, universe: &'a str, store: &StoreId, key: &str) -> Call<'a> {
    let path = vec!["datastores", "v1", "universes", universe, "standard-datastores", "datastore", "entries", "entry"];
    Call::new(class, method, path)
        .query("datastoreName", &store.name)
        .query("scope", &store.scope)
        .query("entryKey", key)
}
