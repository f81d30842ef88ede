//! Ordered data stores: whole numbers by key, listed by size.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::super::call::{Call, Plan, Read, Target, Wrong, id, wrong};
use super::super::limits::{Class, Pool};
use super::super::pages::{Page, next};
use super::super::reply::{Outcome, Reply};
use super::super::world::{World, unknown};
use super::{gone, name};

const PAGE: usize = 100;
const SCOPE: &str = "universe.ordered-data-store.scope.entry";

/// Longest key, in characters.
const MAX_KEY: usize = 63;

#[derive(Default)]
pub(in super::super) struct Board {
    values: BTreeMap<String, i64>,
    order: BTreeSet<(i64, String)>,
}

impl Board {
    pub fn get(&self, key: &str) -> Option<i64> {
        self.values.get(key).copied()
    }

    pub fn put(&mut self, key: &str, value: i64) {
        self.delete(key);
        self.values.insert(key.to_owned(), value);
        self.order.insert((value, key.to_owned()));
    }

    pub fn delete(&mut self, key: &str) -> bool {
        let Some(value) = self.values.remove(key) else { return false };
        self.order.remove(&(value, key.to_owned()))
    }

    /// The highest first.
    pub fn top(&self) -> Vec<(String, i64)> {
        self.order.iter().rev().map(|(value, key)| (key.clone(), *value)).collect()
    }
}

/// Universe, store and scope.
type Place = (u64, String, String);

#[derive(Default)]
pub(in super::super) struct Boards(BTreeMap<Place, Board>);

impl Boards {
    pub fn at(&mut self, universe: u64, store: &str, scope: &str) -> &mut Board {
        self.0.entry((universe, store.to_owned(), scope.to_owned())).or_default()
    }

    fn of(&mut self, place: &Place) -> &mut Board {
        self.at(place.0, &place.1, &place.2)
    }
}

/// Everything under `…/ordered-data-stores/{store}/scopes/{scope}/entries`.
pub(in super::super) fn route(
    call: &Call,
    method: &str,
    (universe, store, scope): (&str, &str, &str),
    rest: &[&str],
) -> Read<Plan> {
    let place = (id(universe)?, name("the store's name", store)?, name("the scope", scope)?);
    match (method, rest) {
        ("GET", []) => list(call, place),
        ("POST", []) => create(call, place),
        ("GET", [key]) => read(call, place, key),
        ("PATCH", [key]) => update(call, place, key),
        ("DELETE", [key]) => delete(call, place, key),
        _ => unknown(),
    }
}

fn plan(
    class: Class,
    operation: &'static str,
    place: Place,
    run: impl FnOnce(&mut World, &Place) -> Outcome + Send + 'static,
) -> Plan {
    let universe = place.0;
    let plan = Plan::new(class, Pool::Universe(universe), move |world, _| run(world, &place));
    plan.needs(SCOPE, operation, Target::Universe(universe))
}

fn key(text: &str) -> Read<String> {
    match text.chars().count() {
        1..=MAX_KEY => Ok(text.to_owned()),
        length => wrong(format!("the key has {length} characters; 1 to {MAX_KEY} are allowed")),
    }
}

/// The number in the body, rounded to a whole one.
fn value(call: &Call) -> Read<i64> {
    match call.object(&["value"])?.get("value") {
        Some(Value::Number(number)) => {
            let rounded = number.as_f64().map(|value| value.round() as i64);
            number.as_i64().or(rounded).ok_or_else(|| Wrong("value is out of range".into()))
        }
        odd => wrong(format!("value is no number: {odd:?}")),
    }
}

/// `entry >= 10 && entry <= 30`, or half of it.
fn bounds(filter: Option<&str>) -> Read<(i64, i64)> {
    let mut bounds = (i64::MIN, i64::MAX);
    for part in filter.filter(|filter| !filter.is_empty()).into_iter().flat_map(|filter| filter.split(" && ")) {
        let number = |text: &str| text.parse().map_err(|_| Wrong(format!("a filter that cannot be: {part}")));
        match part.split_once(' ').and_then(|(entry, rest)| Some((entry, rest.split_once(' ')?))) {
            Some(("entry", (">=", low))) => bounds.0 = number(low)?,
            Some(("entry", ("<=", high))) => bounds.1 = number(high)?,
            _ => return wrong(format!("a filter that cannot be: {part}")),
        }
    }
    if bounds.0 <= bounds.1 { Ok(bounds) } else { wrong("a filter that nothing can pass") }
}

fn list(call: &Call, place: Place) -> Read<Plan> {
    call.takes(&["maxPageSize", "pageToken", "orderBy", "filter"])?;
    let page: Page<(i64, String)> = Page::of(call, PAGE)?;
    let descending = match call.param("orderBy") {
        None | Some("" | "value" | "value asc") => false,
        Some("value desc") => true,
        Some(odd) => return wrong(format!("orderBy cannot be {odd}")),
    };
    let (low, high) = bounds(call.param("filter"))?;
    Ok(plan(Class::OrderedList, "read", place, move |world, place| {
        let (most, empty) = (world.most, world.by_turns());
        let order = &world.boards.of(place).order;
        let rows: Box<dyn Iterator<Item = &(i64, String)>> = if descending {
            // No key is as long as this, so it stands behind every one with the same value.
            let start = page.start.clone().unwrap_or((high, "\u{10ffff}".repeat(MAX_KEY + 1)));
            Box::new(order.range(..=start).rev().take_while(move |(value, _)| *value >= low))
        } else {
            let start = page.start.clone().unwrap_or((low, String::new()));
            Box::new(order.range(start..).take_while(move |(value, _)| *value <= high))
        };
        let shown = rows.map(|(value, key)| ((*value, key.clone()), Some(shown(place, key, *value))));
        let (entries, token) = page.fill(most, shown);
        Reply::ok(&next(json!({"orderedDataStoreEntries": entries}), "nextPageToken", token, empty))
    }))
}

fn shown((universe, store, scope): &Place, key: &str, value: i64) -> Value {
    let path = format!("universes/{universe}/ordered-data-stores/{store}/scopes/{scope}/entries/{key}");
    json!({"path": path, "value": value, "id": key})
}

fn read(call: &Call, place: Place, text: &str) -> Read<Plan> {
    call.takes(&[])?;
    let key = key(text)?;
    Ok(plan(Class::OrderedRead, "read", place, move |world, place| match world.boards.of(place).get(&key) {
        Some(value) => Reply::ok(&shown(place, &key, value)),
        None => gone(),
    }))
}

fn create(call: &Call, place: Place) -> Read<Plan> {
    call.takes(&["id"])?;
    let (key, value) = (key(call.required("id")?)?, value(call)?);
    Ok(plan(Class::OrderedWrite, "write", place, move |world, place| {
        if world.boards.of(place).get(&key).is_some() {
            return Err(Reply::v2(400, "The entry exists already."));
        }
        world.put_ordered(place, &key, value)
    }))
}

fn update(call: &Call, place: Place, text: &str) -> Read<Plan> {
    call.takes(&["allowMissing"])?;
    let (key, value, allow_missing) = (key(text)?, value(call)?, call.flag("allowMissing")?);
    Ok(plan(Class::OrderedWrite, "write", place, move |world, place| {
        if world.boards.of(place).get(&key).is_none() && !allow_missing {
            return gone();
        }
        world.put_ordered(place, &key, value)
    }))
}

fn delete(call: &Call, place: Place, text: &str) -> Read<Plan> {
    call.takes(&[])?;
    let key = key(text)?;
    Ok(plan(Class::OrderedRemove, "write", place, move |world, place| {
        if world.boards.of(place).delete(&key) { Reply::done() } else { gone() }
    }))
}

impl World {
    fn put_ordered(&mut self, place: &Place, key: &str, value: i64) -> Outcome {
        self.boards.of(place).put(key, value);
        Reply::ok(&shown(place, key, value))
    }
}
