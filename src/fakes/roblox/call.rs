//! A request as it came, and strict ways to read it: what the vendor would overlook or answer with a riddle is told in words here.

use std::collections::BTreeMap;

use bytes::Bytes;
use poem::http::HeaderMap;
use reqwest::Url;
use serde_json::{Map, Value};

use super::limits::{Class, Pool};
use super::reply::Outcome;
use super::world::World;

/// Why Roblox would not have understood a request.
pub(super) struct Wrong(pub String);

pub(super) type Read<T> = Result<T, Wrong>;

pub(super) fn wrong<T>(why: impl Into<String>) -> Read<T> {
    Err(Wrong(why.into()))
}

/// What a request is about, for keys that are good for some groups or universes only.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Target {
    Group(u64),
    Universe(u64),
}

/// What a key has to be allowed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need {
    pub scope: &'static str,
    pub operation: &'static str,
    pub target: Target,
}

/// What it needs may depend on what is there.
pub(super) type Demand = Box<dyn Fn(&World) -> Need + Send>;

/// Does it, and is told who owns the key.
pub(super) type Run = Box<dyn FnOnce(&mut World, u64) -> Outcome + Send>;

/// A request that was understood: what it counts against, what it needs, and what it does.
pub(super) struct Plan {
    pub tolls: Vec<(Class, Pool)>,
    pub needs: Vec<Demand>,
    pub run: Run,
}

impl Plan {
    /// `run` gets the world and the id of the key's owner.
    pub fn new(class: Class, pool: Pool, run: impl FnOnce(&mut World, u64) -> Outcome + Send + 'static) -> Self {
        Self { tolls: vec![(class, pool)], needs: Vec::new(), run: Box::new(run) }
    }

    pub fn toll(mut self, class: Class, pool: Pool) -> Self {
        self.tolls.push((class, pool));
        self
    }

    pub fn needs(self, scope: &'static str, operation: &'static str, target: Target) -> Self {
        self.demands(move |_| Need { scope, operation, target })
    }

    pub fn demands(mut self, need: impl Fn(&World) -> Need + Send + 'static) -> Self {
        self.needs.push(Box::new(need));
        self
    }
}

/// One request.
pub(super) struct Call {
    pub method: String,
    pub path: String,
    /// The path's parts, decoded; without the verb.
    pub parts: Vec<String>,
    /// `assignRole` of `…/memberships/1:assignRole`; empty when there is none.
    pub verb: &'static str,
    pub params: BTreeMap<String, String>,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// What may follow a colon. Keys of data stores may hold colons too, so nothing else is cut off.
const VERBS: &[&str] = &["assignRole", "unassignRole", "accept", "decline", "publishMessage", "listLogs"];

impl Call {
    pub fn read(method: &str, path: &str, query: &str, headers: HeaderMap, body: Bytes) -> Read<Self> {
        let mut raw = path.strip_prefix('/').unwrap_or(path);
        let last = raw.rsplit('/').next().unwrap_or_default();
        let verb = match last.rsplit_once(':') {
            Some((_, after)) if !raw.contains("/entries/") => match VERBS.iter().find(|verb| **verb == after) {
                Some(verb) => *verb,
                None => return wrong(format!("nothing is called :{after}")),
            },
            _ => "",
        };
        raw = &raw[..raw.len() - verb.len() - usize::from(!verb.is_empty())];
        let parts = raw.split('/').map(decode).collect::<Read<Vec<_>>>()?;
        if let Some(part) = parts.iter().find(|part| part.is_empty() || *part == "." || *part == "..") {
            return wrong(format!("a part of the path is {part:?}"));
        }
        let call = Self {
            method: method.to_owned(),
            path: path.to_owned(),
            parts,
            verb,
            params: params(query)?,
            headers,
            body,
        };
        call.framed()?;
        Ok(call)
    }

    /// A body comes with its type, and only where there is one to expect.
    fn framed(&self) -> Read<()> {
        let kind = self.header("content-type").split(';').next().unwrap_or_default();
        match (self.method.as_str(), self.body.is_empty()) {
            ("GET" | "DELETE", true) => Ok(()),
            ("GET" | "DELETE", false) => wrong("a body where there can be none"),
            (_, true) => wrong("no body"),
            (_, false) if kind != "application/json" => wrong(format!("content-type is {kind:?}")),
            _ => Ok(()),
        }
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }

    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.get(name).map(String::as_str)
    }

    /// Fails on any query parameter that is not one of `names`.
    pub fn takes(&self, names: &[&str]) -> Read<()> {
        match self.params.keys().find(|name| !names.contains(&name.as_str())) {
            Some(name) => wrong(format!("there is no query parameter {name}")),
            None => Ok(()),
        }
    }

    pub fn required(&self, name: &str) -> Read<&str> {
        self.param(name).map_or_else(|| wrong(format!("{name} is missing")), Ok)
    }

    pub fn flag(&self, name: &str) -> Read<bool> {
        match self.param(name) {
            None | Some("false") => Ok(false),
            Some("true") => Ok(true),
            Some(odd) => wrong(format!("{name} is {odd:?}, neither true nor false")),
        }
    }

    pub fn json(&self) -> Read<Value> {
        serde_json::from_slice(&self.body).map_err(|error| Wrong(format!("the body is not JSON: {error}")))
    }

    /// The body, an object with no fields but these.
    pub fn object(&self, fields: &[&str]) -> Read<Map<String, Value>> {
        object(self.json()?, fields)
    }
}

pub(super) fn object(value: Value, fields: &[&str]) -> Read<Map<String, Value>> {
    let Value::Object(map) = value else { return wrong(format!("not a JSON object: {value}")) };
    match map.keys().find(|field| !fields.contains(&field.as_str())) {
        Some(field) => wrong(format!("there is no field {field}")),
        None => Ok(map),
    }
}

/// Text of at most so many characters.
pub(super) fn text(map: &Map<String, Value>, field: &str, most: usize) -> Read<String> {
    match map.get(field).and_then(Value::as_str) {
        Some(text) if text.chars().count() <= most => Ok(text.to_owned()),
        Some(_) => wrong(format!("{field} is longer than {most} characters")),
        None => wrong(format!("{field} is no text")),
    }
}

pub(super) fn id(text: &str) -> Read<u64> {
    match text.parse() {
        Ok(id) if id > 0 && text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(id),
        _ => wrong(format!("{text:?} is no id")),
    }
}

/// The id in `users/156` and its like.
pub(super) fn id_after(prefix: &str, text: &str) -> Read<u64> {
    match text.strip_prefix(prefix) {
        Some(rest) => id(rest),
        None => wrong(format!("{text:?} does not begin with {prefix}")),
    }
}

fn params(query: &str) -> Read<BTreeMap<String, String>> {
    let url = Url::parse(&format!("http://x/?{query}")).map_err(|_| Wrong("the query cannot be read".into()))?;
    let mut out = BTreeMap::new();
    for (name, value) in url.query_pairs() {
        if out.insert(name.to_string(), value.to_string()).is_some() {
            return wrong(format!("{name} is there twice"));
        }
    }
    Ok(out)
}

/// Undoes percent-encoding.
fn decode(part: &str) -> Read<String> {
    let mut out = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'%' {
            out.push(*first);
            continue;
        }
        let digits = tail.get(..2).and_then(|digits| std::str::from_utf8(digits).ok());
        let Some(byte) = digits.and_then(|digits| u8::from_str_radix(digits, 16).ok()) else {
            return wrong(format!("{part:?} is not percent-encoded"));
        };
        out.push(byte);
        rest = &tail[2..];
    }
    String::from_utf8(out).map_err(|_| Wrong(format!("{part:?} is not UTF-8")))
}
