//! Data stores of v1: everything in the query, metadata in headers, and the only way to write on condition of a version.

use serde_json::{Value, json};

use super::super::call::{Call, Need, Plan, Read, Target, Wrong, id, wrong};
use super::super::limits::{Class, Pool};
use super::super::pages::{Page, next};
use super::super::reply::{Outcome, Reply};
use super::super::world::{World, unknown};
use super::{Entry, GLOBAL, Put, Spot, fits, name};

const PAGE: usize = 256;
const DEFAULT_PAGE: usize = 16;
const SCOPE: &str = "universe-datastores.objects";
const ATTRIBUTES: &str = "roblox-entry-attributes";
const USERS: &str = "roblox-entry-userids";

/// Everything under `…/standard-datastores/datastore/entries`.
pub(in super::super) fn route(call: &Call, method: &str, universe: &str, rest: &[&str]) -> Read<Plan> {
    let universe = id(universe)?;
    match (method, rest) {
        ("GET", []) => list(call, universe),
        ("GET", ["entry"]) => read(call, universe),
        ("POST", ["entry"]) => write(call, universe),
        ("DELETE", ["entry"]) => delete(call, universe),
        _ => unknown(),
    }
}

fn spot(call: &Call, universe: u64) -> Read<Spot> {
    let store = name("datastoreName", call.required("datastoreName")?)?;
    let scope = name("scope", call.param("scope").unwrap_or(GLOBAL))?;
    Ok((universe, store, scope, name("entryKey", call.required("entryKey")?)?))
}

fn plan(
    class: Class,
    operation: &'static str,
    universe: u64,
    run: impl FnOnce(&mut World) -> Outcome + Send + 'static,
) -> Plan {
    let plan = Plan::new(class, Pool::Universe(universe), |world, _| run(world));
    plan.needs(SCOPE, operation, Target::Universe(universe))
}

fn list(call: &Call, universe: u64) -> Read<Plan> {
    call.takes(&["datastoreName", "scope", "allScopes", "prefix", "cursor", "limit"])?;
    let page: Page<Spot> = Page::named(call, ("limit", "cursor"), DEFAULT_PAGE, PAGE)?;
    let store = name("datastoreName", call.required("datastoreName")?)?;
    let all = call.flag("allScopes")?;
    let scope = if all { None } else { Some(call.param("scope").unwrap_or(GLOBAL).to_owned()) };
    let prefix = call.param("prefix").unwrap_or_default().to_owned();
    Ok(plan(Class::StoreList, "list", universe, move |world| {
        // Keys come as objects, or as bare text: both are documented.
        let (most, plain, empty) = (world.most, world.by_turns(), world.by_turns());
        let begin = if all { String::new() } else { prefix.clone() };
        let first = (universe, store, scope.clone().unwrap_or_default(), begin);
        let rows = world.entries.after(page.start.clone().unwrap_or(first), scope);
        let rows = rows.take_while(|(spot, _)| all || spot.3.starts_with(&prefix));
        let shown = rows.map(|(spot, _)| {
            let key = if plain { json!(spot.3) } else { json!({"key": spot.3, "scope": spot.2}) };
            (spot.clone(), spot.3.starts_with(&prefix).then_some(key))
        });
        let (keys, cursor) = page.fill(most, shown);
        Reply::ok(&next(json!({"keys": keys}), "nextPageCursor", cursor, empty))
    }))
}

fn read(call: &Call, universe: u64) -> Read<Plan> {
    call.takes(&["datastoreName", "entryKey", "scope"])?;
    let spot = spot(call, universe)?;
    Ok(plan(Class::StoreRead, "read", universe, move |world| {
        // A deleted entry is answered in two ways, depending on whom one believes.
        let empty = world.by_turns();
        match world.entries.any(&spot) {
            Some(entry) if entry.current.deleted && empty => Ok(Reply::new(204, "", "")),
            Some(entry) if !entry.current.deleted => {
                Ok(headers(Reply::new(200, "application/json", &entry.current.text), entry))
            }
            _ => Err(Reply::stores(404, "Entry not found in the datastore.", "EntryNotFound")),
        }
    }))
}

fn headers(reply: Reply, entry: &Entry) -> Reply {
    let current = &entry.current;
    let users = Value::from(current.users.clone()).to_string();
    let reply = reply
        .header("roblox-entry-version", current.id.clone())
        .header("roblox-entry-created-time", entry.created.to_string())
        .header("roblox-entry-version-created-time", current.at.to_string())
        .header(USERS, users);
    match &current.attributes {
        Some(attributes) => reply.header(ATTRIBUTES, attributes.to_string()),
        None => reply,
    }
}

/// The value in the body, with what the headers say of it.
fn put(call: &Call) -> Read<Put> {
    call.json()?;
    let text = std::str::from_utf8(&call.body).map_err(|_| Wrong("the value is not UTF-8".into()))?;
    let header = |name: &str| match call.header(name) {
        "" => Ok(None),
        text => serde_json::from_str::<Value>(text).map(Some).map_err(|_| Wrong(format!("{name} is not JSON"))),
    };
    let attributes = header(ATTRIBUTES)?;
    if attributes.as_ref().is_some_and(|attributes| !attributes.is_object()) {
        return wrong(format!("{ATTRIBUTES} is no object"));
    }
    let users = match header(USERS)? {
        None => Vec::new(),
        Some(users) => serde_json::from_value(users).map_err(|_| Wrong(format!("{USERS} is no list of numbers")))?,
    };
    Ok(Put { text: fits(text.to_owned())?, attributes, users })
}

fn write(call: &Call, universe: u64) -> Read<Plan> {
    call.takes(&["datastoreName", "entryKey", "scope", "matchVersion", "exclusiveCreate"])?;
    let (spot, put) = (spot(call, universe)?, put(call)?);
    let (version, new) = (call.param("matchVersion").map(str::to_owned), call.flag("exclusiveCreate")?);
    if version.is_some() && new {
        return wrong("matchVersion and exclusiveCreate cannot be set at once");
    }
    let (place, target) = (spot.clone(), Target::Universe(universe));
    let plan = Plan::new(Class::StoreWrite, Pool::Universe(universe), move |world, _| {
        let current = world.entries.any(&spot);
        let matches = match (&version, current) {
            (Some(version), Some(entry)) => entry.current.id == *version,
            (Some(_), None) => false,
            (None, _) => !new || world.entries.live(&spot).is_none(),
        };
        if !matches {
            let reply = Reply::stores(412, "The precondition failed.", "VersionMismatch");
            return Err(current.map_or(reply.clone(), |entry| headers(reply, entry)));
        }
        let (now, length) = (world.now(), put.text.len());
        let entry = world.entries.put(spot, put, now);
        Reply::ok(&json!({
            "version": entry.current.id,
            "deleted": false,
            "contentLength": length,
            "createdTime": entry.current.at.to_string(),
            "objectCreatedTime": entry.created.to_string(),
        }))
    });
    // One operation for what is there, another for what is not.
    Ok(plan.demands(move |world| {
        let operation = if world.entries.live(&place).is_some() { "update" } else { "create" };
        Need { scope: SCOPE, operation, target }
    }))
}

fn delete(call: &Call, universe: u64) -> Read<Plan> {
    call.takes(&["datastoreName", "entryKey", "scope"])?;
    let spot = spot(call, universe)?;
    Ok(plan(Class::StoreRemove, "delete", universe, move |world| {
        let now = world.now();
        if world.entries.delete(&spot, now) {
            return Ok(Reply::new(204, "", ""));
        }
        Err(Reply::stores(404, "Entry not found in the datastore.", "EntryNotFound"))
    }))
}
