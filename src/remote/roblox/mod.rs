//! Roblox Open Cloud, with an API key: the calls we use, one file a service. Every call asks the [`Budget`] first and is not sent when
//! that is used up; failures of all kinds end in one [`Trouble`]. Nothing here waits or tries again.
//!
//! Reads are safe to repeat. Writes are either idempotent by themselves (assigning a role that is held does nothing), carry a key that
//! makes them so (restrictions), or a version that must still be current (entries). A write whose answer is lost may have happened: who
//! sent it finds out by reading.

mod budget;
mod entries;
mod groups;
mod keys;
mod legacy;
mod messages;
mod ordered;
mod restrictions;
mod standing;
mod trouble;

use std::time::Duration;

use reqwest::Method;
use reqwest::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use serde_json::Value;

use super::{Answer, BaseUrl, Client, USER_AGENT, credential};
use crate::base::{Clock, Result, Secret};

pub use budget::{Budget, Class, LONGEST_OBEYED, Usage};
pub use entries::{Entry, MAX_KEYS, StoreId};
pub use groups::{GroupInfo, JoinRequest, LoggedAction, MEMBERS_PAGE, Membership, ODD_MEMBER, Role};
pub use keys::{KeyInfo, KeyScope};
pub use legacy::{Replaced, Versioned};
pub use messages::{MAX_MESSAGE, MAX_TOPIC, PUBLISH_SCOPE};
pub use restrictions::{MAX_DISPLAY_REASON, MAX_PRIVATE_REASON, Restriction, Wanted};
pub use standing::Standing;
pub use trouble::{Complaint, Cure, Trouble};

/// Where Open Cloud answers.
pub const API_URL: &str = "https://apis.roblox.com";

/// Pages of one list that are followed when all of it is wanted; groups have at most 255 roles, 20 a page.
pub const MAX_PAGES: usize = 64;

/// Longest page token that is taken, in bytes: it is kept in rows and travels in headers, whose sizes have bounds.
const MAX_TOKEN: usize = 16 << 10;

const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Access to Open Cloud with one key. Cheap to clone; all clones share one budget.
#[derive(Clone)]
pub struct Roblox {
    client: Client,
    key: HeaderValue,
    secret: Secret,
    budget: Budget,
    standing: Standing,
}

/// What Open Cloud is told of us, and what it is asked about.
#[derive(Debug, Clone)]
pub struct Settings {
    /// `ROBLOX_OPEN_CLOUD_API_KEY`.
    pub key: Secret,
    /// `ROBLOX_API_URL`.
    pub api: BaseUrl,
    /// `ROBLOX_BUDGET_PERCENT`: our share of Roblox's limits.
    pub budget_percent: u32,
    /// `ROBLOX_GROUP_ID`.
    pub group: Option<u64>,
    /// `ROBLOX_UNIVERSE_ID`.
    pub universe: Option<u64>,
    /// `ROBLOX_DATASTORE_NAME` and `ROBLOX_DATASTORE_SCOPE`, in the universe.
    pub store: Option<StoreId>,
    /// `ROBLOX_DATASTORE_PREFIX`.
    pub prefix: Option<String>,
    /// How long one call may take.
    pub patience: Duration,
}

/// One page of a list. A page may be short or empty and yet not the last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed<T> {
    pub items: Vec<T>,
    /// What asks for the next page; none on the last.
    pub next: Option<String>,
}

/// One call being put together.
struct Call<'a> {
    class: Class,
    method: Method,
    /// Path segments, encoded where they need it.
    path: Vec<&'a str>,
    query: Vec<(&'static str, String)>,
    headers: Vec<(&'static str, String)>,
    body: Option<String>,
    /// Whose restriction it updates, if it is that: of one user only so many are taken.
    user: Option<u64>,
    /// What the key has to be allowed for it; empty when any key will do.
    scope: &'static str,
    /// The setting to check when Roblox does not know what is asked for.
    setting: &'static str,
}

impl<'a> Call<'a> {
    fn new(class: Class, method: Method, path: Vec<&'a str>) -> Self {
        let (query, headers) = (Vec::new(), Vec::new());
        Self { class, method, path, query, headers, body: None, user: None, scope: "", setting: "" }
    }

    fn get(class: Class, path: Vec<&'a str>) -> Self {
        Self::new(class, Method::GET, path)
    }

    fn post(class: Class, path: Vec<&'a str>, body: &Value) -> Self {
        Self { body: Some(body.to_string()), ..Self::new(class, Method::POST, path) }
    }

    fn scope(mut self, scope: &'static str) -> Self {
        self.scope = scope;
        self
    }

    fn setting(mut self, setting: &'static str) -> Self {
        self.setting = setting;
        self
    }

    fn query(mut self, name: &'static str, value: impl ToString) -> Self {
        self.query.push((name, value.to_string()));
        self
    }

    fn maybe(self, name: &'static str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }
}

impl Roblox {
    /// # Errors
    /// `config.invalid` for a key that cannot be one; `remote.client`.
    pub fn new(settings: &Settings, clock: Clock) -> Result<Self> {
        Ok(Self {
            client: Client::new("Roblox", settings.api.clone(), USER_AGENT, settings.patience)?,
            key: credential("ROBLOX_OPEN_CLOUD_API_KEY", "", &settings.key)?,
            secret: settings.key.clone(),
            budget: Budget::new(clock, settings.budget_percent),
            standing: Standing::default(),
        })
    }

    /// The same, but a call may take only so long.
    pub fn patient(&self, patience: Duration) -> Self {
        Self { client: self.client.patient(patience), ..self.clone() }
    }

    pub fn budget(&self) -> &Budget {
        &self.budget
    }

    /// Whether Roblox takes calls with the key.
    pub fn standing(&self) -> &Standing {
        &self.standing
    }

    /// The clock that calls are counted by.
    pub fn clock(&self) -> &Clock {
        self.budget.clock()
    }

    async fn ask(&self, call: Call<'_>) -> Result<Answer, Trouble> {
        let leave = self.budget.leave(call.class, call.user).map_err(|wait| Trouble::Paced { wait })?;
        let url = self.client.address(&call.path, &call.query);
        let mut request = self.client.request(call.method, url).header(API_KEY, self.key.clone());
        for (name, value) in call.headers {
            request = request.header(name, value);
        }
        if let Some(body) = call.body {
            request = request.header(CONTENT_TYPE, "application/json").body(body);
        }
        let answer = self.client.send(request).await;
        drop(leave);
        let answer = answer.map_err(|failed| Trouble::Unanswered(failed.unanswered("Roblox")))?;
        self.budget.heed(call.class, &answer);
        let read = trouble::read(answer, call.scope, call.setting, &self.secret);
        // A key that is switched off or has expired can be asked about all the same.
        if call.class != Class::Keys || matches!(read, Err(Trouble::Unauthenticated(_))) {
            self.standing.heard(&read);
        }
        read
    }

    async fn json(&self, call: Call<'_>, what: &'static str) -> Result<Value, Trouble> {
        self.ask(call).await?.json().filter(Value::is_object).ok_or(Trouble::Unreadable(what))
    }

    /// One page of a list that stands under `name`. Items that `read` makes nothing of are left out: one odd row must not hide the others.
    async fn page<T>(
        &self,
        call: Call<'_>,
        name: &'static str,
        read: impl Fn(&Value) -> Option<T>,
    ) -> Result<Listed<T>, Trouble> {
        let json = self.json(call, "a list").await?;
        let items = match &json[name] {
            Value::Array(items) => items.iter().filter_map(read).collect(),
            // Empty lists may be left out, as in other encodings of these services.
            Value::Null => Vec::new(),
            _ => return Err(Trouble::Unreadable("a list")),
        };
        let next = text(&json["nextPageToken"]);
        if next.as_ref().is_some_and(|next| next.len() > MAX_TOKEN) {
            return Err(Trouble::Unreadable("a list with a page token of a reasonable length"));
        }
        Ok(Listed { items, next })
    }
}

/// Text that is there and not empty.
fn text(value: &Value) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// A number, as a number or as digits in a text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| value.as_str()?.parse().ok())
}

/// The id at the end of a resource's path: 7 of `groups/1/roles/7`.
fn last_id(path: &Value) -> Option<u64> {
    path.as_str()?.rsplit('/').next()?.parse().ok()
}

/// Whether a key can be asked for in a path: `.` and `..` would be taken for directories on the way, and some control characters are
/// dropped from addresses, so that another key would be asked for.
fn addressable(key: &str) -> Result<(), Trouble> {
    addressed("a key", key)
}

/// As [`addressable`], for `what`.
fn addressed(what: &str, name: &str) -> Result<(), Trouble> {
    if !name.is_empty() && name != "." && name != ".." && !name.chars().any(char::is_control) {
        return Ok(());
    }
    let message = format!("{what} that is empty, \".\" or \"..\" or has control characters cannot be asked for");
    Err(Trouble::Refused { status: 400, complaint: Complaint { code: None, message } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_from_paths() {
        assert_eq!(last_id(&Value::from("groups/1/roles/7")), Some(7));
        assert_eq!(last_id(&Value::from("users/156")), Some(156));
        for none in [Value::Null, Value::from(""), Value::from("users/"), Value::from("users/x"), Value::from(7)] {
            assert_eq!(last_id(&none), None, "{none}");
        }
    }

    #[test]
    fn names_that_would_lead_elsewhere_are_not_asked_for() {
        for bad in ["", ".", "..", ".\n.", "a\tb", "a\r", "\u{0}"] {
            assert!(addressable(bad).is_err(), "{bad:?}");
        }
        assert!(addressable("...").is_ok() && addressable("a/../b").is_ok());
    }
}
