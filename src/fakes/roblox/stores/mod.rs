//! What the two generations of data stores share: one set of entries, with versions, and boards of ordered values.

pub(super) mod ordered;
pub(super) mod v1;
pub(super) mod v2;

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;

use super::call::{Read, wrong};
use super::reply::{Outcome, Reply};
use super::world::keep;
use crate::base::Time;

pub(super) use self::ordered::Boards;

/// Longest name of a store, scope or key, in characters.
const MAX_NAME: usize = 50;

/// Longest value, in bytes.
const MAX_VALUE: usize = 4_194_304;

/// Earlier versions of an entry that are kept.
const MAX_VERSIONS: usize = 16;

/// Where entries are when nobody names a scope.
pub(super) const GLOBAL: &str = "global";

/// Where an entry is: universe, store, scope and key.
pub(super) type Spot = (u64, String, String, String);

/// One version of an entry.
#[derive(Debug, Clone, PartialEq)]
pub struct Version {
    pub id: String,
    pub at: Time,
    pub deleted: bool,
    /// The value as it was sent.
    pub text: String,
    pub attributes: Option<Value>,
    pub users: Vec<u64>,
}

/// An entry, perhaps deleted.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub created: Time,
    pub current: Version,
    /// Oldest first, without the current one.
    pub earlier: VecDeque<Version>,
    number: u64,
}

/// What is written into an entry.
pub(super) struct Put {
    pub text: String,
    pub attributes: Option<Value>,
    pub users: Vec<u64>,
}

#[derive(Default)]
pub(super) struct Entries(BTreeMap<Spot, Entry>);

impl Entries {
    /// The entry, deleted or not.
    pub fn any(&self, spot: &Spot) -> Option<&Entry> {
        self.0.get(spot)
    }

    /// The entry, when it is not deleted.
    pub fn live(&self, spot: &Spot) -> Option<&Entry> {
        self.any(spot).filter(|entry| !entry.current.deleted)
    }

    pub fn put(&mut self, spot: Spot, put: Put, now: Time) -> &Entry {
        self.write(spot, put, false, now)
    }

    /// Leaves a tombstone; false when there is nothing to delete.
    pub fn delete(&mut self, spot: &Spot, now: Time) -> bool {
        let Some(entry) = self.live(spot) else { return false };
        let current = entry.current.clone();
        let put = Put { text: current.text, attributes: current.attributes, users: current.users };
        self.write(spot.clone(), put, true, now);
        true
    }

    /// Entries of a store from a place on: of one scope, or of every scope.
    pub fn after(&self, start: Spot, scope: Option<String>) -> impl Iterator<Item = (&Spot, &Entry)> {
        let (universe, store) = (start.0, start.1.clone());
        self.0.range(start..).take_while(move |((own, name, own_scope, _), _)| {
            *own == universe && *name == store && scope.as_ref().is_none_or(|scope| own_scope == scope)
        })
    }

    fn write(&mut self, spot: Spot, put: Put, deleted: bool, now: Time) -> &Entry {
        let Put { text, attributes, users } = put;
        let made = |number: u64, created: Time| {
            let id = format!("{:016X}.{number:010X}.{:016X}.01", created.0, now.0);
            Version { id, at: now, deleted, text, attributes, users }
        };
        let number = self.0.get(&spot).map_or(0, |entry| entry.number) + 1;
        let created = self.0.get(&spot).map_or(now, |entry| entry.created);
        let current = made(number, created);
        let new = || Entry { created, current: current.clone(), earlier: VecDeque::new(), number: 0 };
        let entry = self.0.entry(spot).or_insert_with(new);
        if entry.number > 0 {
            let old = std::mem::replace(&mut entry.current, current);
            keep(&mut entry.earlier, old, MAX_VERSIONS);
        }
        entry.number = number;
        entry
    }
}

/// A name of a store, a scope or a key.
fn name(what: &str, text: &str) -> Read<String> {
    match text.chars().count() {
        1..=MAX_NAME => Ok(text.to_owned()),
        length => wrong(format!("{what} has {length} characters; 1 to {MAX_NAME} are allowed")),
    }
}

/// A value that is not too long.
fn fits(text: String) -> Read<String> {
    if text.len() <= MAX_VALUE { Ok(text) } else { wrong("the value is longer than 4,194,304 characters") }
}

fn gone<T>() -> Outcome<T> {
    Err(Reply::v2(404, "The entry does not exist."))
}
