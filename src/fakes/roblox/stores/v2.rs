//! Data stores of v2: entries are resources, with their key in the path.

use serde_json::{Map, Value, json};

use super::super::call::{Call, Plan, Read, Target, Wrong, id, id_after, wrong};
use super::super::limits::{Class, Pool};
use super::super::pages::{Page, next};
use super::super::reply::{Outcome, Reply};
use super::super::world::{World, unknown};
use super::{Entry, GLOBAL, Put, Spot, Version, fits, gone, name};

const PAGE: usize = 256;
const SCOPE: &str = "universe-datastores.objects";

/// A store, with the scope as the path had it.
struct Place {
    universe: u64,
    store: String,
    scope: Option<String>,
}

impl Place {
    fn spot(&self, key: &str) -> Read<Spot> {
        if self.scope.as_deref() == Some("-") {
            return wrong("an entry is in one scope, not in all of them");
        }
        let scope = self.scope.clone().unwrap_or_else(|| GLOBAL.to_owned());
        Ok((self.universe, self.store.clone(), scope, name("the key", key)?))
    }

    /// The limit and the scope of everything that is done here.
    fn plan(
        &self,
        class: Class,
        operation: &'static str,
        run: impl FnOnce(&mut World) -> Outcome + Send + 'static,
    ) -> Plan {
        let plan = Plan::new(class, Pool::Universe(self.universe), |world, _| run(world));
        plan.needs(SCOPE, operation, Target::Universe(self.universe))
    }
}

/// Everything under `/cloud/v2/universes/{universe}/data-stores/{store}`.
pub(in super::super) fn route(call: &Call, method: &str, (universe, store): (&str, &str), rest: &[&str]) -> Read<Plan> {
    let (scope, rest) = match rest {
        ["scopes", scope, "entries", rest @ ..] => (Some(name("the scope", scope)?), rest),
        ["entries", rest @ ..] => (None, rest),
        _ => return unknown(),
    };
    let place = Place { universe: id(universe)?, store: name("the store's name", store)?, scope };
    match (method, rest) {
        ("GET", []) => list(call, place),
        ("POST", []) => create(call, &place),
        ("GET", [key]) => read(call, &place, key),
        ("PATCH", [key]) => update(call, &place, key),
        ("DELETE", [key]) => delete(call, &place, key),
        _ => unknown(),
    }
}

fn list(call: &Call, place: Place) -> Read<Plan> {
    call.takes(&["maxPageSize", "pageToken", "filter", "showDeleted"])?;
    let page: Page<Spot> = Page::of(call, PAGE)?;
    let (universe, deleted) = (place.universe, call.flag("showDeleted")?);
    let prefix = match call.param("filter").filter(|filter| !filter.is_empty()) {
        None => String::new(),
        Some(filter) => {
            let quoted = filter.strip_prefix("id.startsWith(").and_then(|rest| rest.strip_suffix(')'));
            let prefix = quoted.and_then(|text| serde_json::from_str(text).ok());
            prefix.ok_or_else(|| Wrong(format!("a filter that cannot be: {filter}")))?
        }
    };
    let plan = Plan::new(Class::StoreList, Pool::Universe(universe), move |world, _| {
        let (most, empty) = (world.most, world.by_turns());
        let scope = match place.scope.as_deref() {
            None => Some(GLOBAL),
            Some("-") => None,
            some => some,
        };
        // With one scope, keys that share a beginning stand together; with all of them, every key is looked at.
        let (begin, key) = scope.map_or(("", ""), |scope| (scope, &prefix));
        let first = (universe, place.store.clone(), begin.to_owned(), key.to_owned());
        let start = page.start.clone().unwrap_or(first);
        let rows = world.entries.after(start, scope.map(str::to_owned));
        let rows = rows.take_while(|(spot, _)| scope.is_none() || spot.3.starts_with(&prefix));
        let shown = rows.map(|(spot, entry)| {
            let fits = spot.3.starts_with(&prefix) && (deleted || !entry.current.deleted);
            let scope = place.scope.as_ref().map(|_| spot.2.as_str());
            (spot.clone(), fits.then(|| json!({"path": path(spot, scope), "id": spot.3})))
        });
        let (entries, token) = page.fill(most, shown);
        Reply::ok(&next(json!({"dataStoreEntries": entries}), "nextPageToken", token, empty))
    });
    Ok(plan.needs(SCOPE, "list", Target::Universe(universe)))
}

/// A key without `@`, or one with what it is asked at: `key@latest`, `key@<revision>`.
fn read(call: &Call, place: &Place, key: &str) -> Read<Plan> {
    call.takes(&[])?;
    let (key, revision) = match key.rsplit_once('@') {
        Some((key, "latest")) => (key, None),
        Some((key, revision)) => (key, Some(revision.to_owned())),
        None => (key, None),
    };
    let (spot, named) = (place.spot(key)?, place.scope.clone());
    Ok(place.plan(Class::StoreRead, "read", move |world| {
        let entry = world.entries.any(&spot);
        let Some(revision) = revision else {
            let Some(entry) = entry.filter(|entry| !entry.current.deleted) else { return gone() };
            return Reply::ok(&shown(&spot, named.as_deref(), entry, &entry.current));
        };
        let Some(entry) = entry else { return Err(Reply::v2(400, "The revision is not valid.")) };
        let mut versions = entry.earlier.iter().chain([&entry.current]);
        match versions.find(|version| version.id == revision) {
            Some(version) => Reply::ok(&shown(&spot, named.as_deref(), entry, version)),
            None => Err(Reply::v2(400, "The revision is not valid.")),
        }
    }))
}

/// The entry in a body: the value must be there, and what is not there is cleared.
fn put(body: &Map<String, Value>) -> Read<Put> {
    let Some(value) = body.get("value").filter(|value| !value.is_null()) else { return wrong("value is missing") };
    let users = match body.get("users") {
        None => Vec::new(),
        Some(Value::Array(users)) => {
            users.iter().map(|user| id_after("users/", user.as_str().unwrap_or_default())).collect::<Read<_>>()?
        }
        Some(odd) => return wrong(format!("users is no list: {odd}")),
    };
    let attributes = match body.get("attributes") {
        None => None,
        Some(attributes @ Value::Object(_)) => Some(attributes.clone()),
        Some(odd) => return wrong(format!("attributes is no object: {odd}")),
    };
    Ok(Put { text: fits(value.to_string())?, attributes, users })
}

fn create(call: &Call, place: &Place) -> Read<Plan> {
    call.takes(&["id"])?;
    let (spot, named) = (place.spot(call.required("id")?)?, place.scope.clone());
    let put = put(&call.object(&["value", "users", "attributes"])?)?;
    Ok(place.plan(Class::StoreWrite, "create", move |world| {
        if world.entries.live(&spot).is_some() {
            return Err(Reply::v2(400, "The entry exists already."));
        }
        let now = world.now();
        let entry = world.entries.put(spot.clone(), put, now);
        Reply::ok(&shown(&spot, named.as_deref(), entry, &entry.current))
    }))
}

fn update(call: &Call, place: &Place, key: &str) -> Read<Plan> {
    call.takes(&["allowMissing"])?;
    let allow_missing = call.flag("allowMissing")?;
    let (spot, named) = (place.spot(key)?, place.scope.clone());
    let body = call.object(&["value", "users", "attributes", "etag"])?;
    let put = put(&body)?;
    let etag = body.get("etag").and_then(Value::as_str).map(str::to_owned);
    Ok(place.plan(Class::StoreWrite, "update", move |world| {
        let current = world.entries.live(&spot).map(|entry| entry.current.id.clone());
        if current.is_none() && !allow_missing {
            return gone();
        }
        if etag.is_some() && etag != current {
            return Err(Reply::v2(409, "The etag is not that of the entry."));
        }
        let now = world.now();
        let entry = world.entries.put(spot.clone(), put, now);
        Reply::ok(&shown(&spot, named.as_deref(), entry, &entry.current))
    }))
}

fn delete(call: &Call, place: &Place, key: &str) -> Read<Plan> {
    call.takes(&[])?;
    let spot = place.spot(key)?;
    Ok(place.plan(Class::StoreRemove, "delete", move |world| {
        let now = world.now();
        if world.entries.delete(&spot, now) { Reply::done() } else { gone() }
    }))
}

fn path(spot: &Spot, scope: Option<&str>) -> String {
    let (universe, store, _, key) = spot;
    let scope = scope.map(|scope| format!("/scopes/{scope}")).unwrap_or_default();
    format!("universes/{universe}/data-stores/{store}{scope}/entries/{key}")
}

fn shown(spot: &Spot, scope: Option<&str>, entry: &Entry, version: &Version) -> Value {
    let users: Vec<String> = version.users.iter().map(|user| format!("users/{user}")).collect();
    json!({
        "path": path(spot, scope),
        "createTime": entry.created.to_string(),
        "revisionId": version.id,
        "revisionCreateTime": version.at.to_string(),
        "state": if version.deleted { "DELETED" } else { "ACTIVE" },
        "etag": version.id,
        "value": serde_json::from_str::<Value>(&version.text).unwrap_or_default(),
        "id": spot.3,
        "users": users,
        "attributes": version.attributes.clone().unwrap_or_else(|| json!({})),
    })
}
