//! Everything the fake knows, and the way of a request through it: understood, paid for, survived its day, allowed, done, noted.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::call::{Call, Demand, Plan, Read};
use super::days::{Day, Days, Sending};
use super::groups::Group;
use super::keys::{self, Key};
use super::limits::{Class, Limits, Pool};
use super::reply::{Dialect, Outcome, Reply};
use super::restrictions::Restrictions;
use super::stores::{Boards, Entries};
use super::universe::Message;
use super::{groups, restrictions, stores, universe};
use crate::base::{Clock, Time};

/// Requests that are remembered.
pub const MAX_ASKED: usize = 5_000;

/// Complaints that are remembered.
const MAX_WRONG: usize = 100;

/// Changes that are remembered.
const MAX_EFFECTS: usize = 200_000;

/// Bytes of a request's body that are remembered; of a longer one, none.
const MAX_BODY_KEPT: usize = 64 << 10;

/// A request that came, without its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub at: Time,
    pub method: String,
    pub path: String,
    pub query: String,
    /// None when there was none, or more than is kept.
    pub body: Option<String>,
    pub status: u16,
}

/// Something that a request really changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effect {
    pub at: Time,
    pub user: u64,
    pub what: Change,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Assigned(u64),
    Unassigned(u64),
    Accepted,
    Declined,
    Restricted,
    Unrestricted,
}

pub(super) struct World {
    pub clock: Clock,
    pub skew: Duration,
    pub keys: BTreeMap<String, Key>,
    pub users: BTreeMap<u64, (String, String)>,
    pub groups: BTreeMap<u64, Group>,
    pub entries: Entries,
    pub boards: Boards,
    pub restrictions: Restrictions,
    pub messages: VecDeque<Message>,
    /// Of a hundred messages, so many are accepted and never arrive.
    pub lost_percent: u32,
    pub limits: Limits,
    pub days: Days,
    /// Memberships have no `roles`, as before 2026-03-31.
    pub single_role: bool,
    /// For so long reads of memberships do not show what has changed.
    pub lag: Duration,
    pub asked: VecDeque<Asked>,
    pub wrong: VecDeque<String>,
    pub effects: VecDeque<Effect>,
    /// What is documented in two ways is done in both, by turns.
    turn: u64,
    /// The most items on the page that is being made.
    pub most: Option<usize>,
}

impl World {
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            skew: Duration::ZERO,
            keys: BTreeMap::new(),
            users: BTreeMap::new(),
            groups: BTreeMap::new(),
            entries: Entries::default(),
            boards: Boards::default(),
            restrictions: Restrictions::default(),
            messages: VecDeque::new(),
            lost_percent: 0,
            limits: Limits::default(),
            days: Days::default(),
            single_role: false,
            lag: Duration::ZERO,
            asked: VecDeque::new(),
            wrong: VecDeque::new(),
            effects: VecDeque::new(),
            turn: 0,
            most: None,
        }
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }

    /// True every second time.
    pub fn by_turns(&mut self) -> bool {
        self.turn += 1;
        self.turn.is_multiple_of(2)
    }

    pub fn effect(&mut self, user: u64, what: Change) {
        let at = self.now();
        keep(&mut self.effects, Effect { at, user, what }, MAX_EFFECTS);
    }

    /// Answers what could be read as a request, and notes it.
    pub fn serve(&mut self, read: Read<Call>, asked: Asked) -> (Reply, Sending) {
        let (reply, sending) = match read {
            Ok(call) => self.answer(&call),
            Err(wrong) => (self.misunderstood(&asked.method, &asked.path, &wrong.0), Sending::Whole),
        };
        keep(&mut self.asked, Asked { status: reply.status, ..asked }, MAX_ASKED);
        (reply, sending)
    }

    fn misunderstood(&mut self, method: &str, path: &str, why: &str) -> Reply {
        keep(&mut self.wrong, format!("{method} {path}: {why}"), MAX_WRONG);
        Dialect::at(path).invalid(why)
    }

    fn answer(&mut self, call: &Call) -> (Reply, Sending) {
        let plan = match route(call) {
            Ok(plan) => plan,
            Err(wrong) => return (self.misunderstood(&call.method, &call.path, &wrong.0), Sending::Whole),
        };
        let owner = match self.owner(call, &plan) {
            Ok(owner) => owner,
            Err(refusal) => return (refusal, Sending::Whole),
        };
        let now = self.now();
        let pooled = |(class, pool)| (class, if pool == Pool::Owner { Pool::OwnedBy(owner) } else { pool });
        let tolls: Vec<(Class, Pool)> = plan.tolls.iter().copied().map(pooled).collect();
        let standing = match self.limits.take(&tolls, now) {
            Ok(standing) => standing,
            Err(over) => {
                let reply = over.headers(Dialect::at(&call.path).limited());
                let told = self.by_turns();
                return (
                    if told { reply.header("retry-after", over.wait().to_string()) } else { reply },
                    Sending::Whole,
                );
            }
        };
        let day = self.days.take(tolls.iter().map(|(class, _)| *class));
        let reply = match day.as_ref().and_then(Day::refusal) {
            Some(refusal) => refusal,
            None => self.perform(call, plan, owner, day.as_ref()),
        };
        let reply = match standing {
            Some(standing) if reply.status < 400 => standing.headers(reply),
            _ => reply,
        };
        day.map_or((reply.clone(), Sending::Whole), |day| day.spoil(reply))
    }

    fn perform(&mut self, call: &Call, plan: Plan, owner: u64, day: Option<&Day>) -> Reply {
        if let Err(refusal) = self.allowed(call, &plan.needs) {
            return refusal;
        }
        self.most = day.and_then(Day::page);
        let outcome = (plan.run)(self, owner);
        self.most = None;
        outcome.unwrap_or_else(|refusal| refusal)
    }

    /// Whose key it is. Only a question about a key needs none.
    fn owner(&mut self, call: &Call, plan: &Plan) -> Outcome<u64> {
        if plan.tolls.iter().any(|(class, _)| *class == Class::Introspect) {
            return Ok(0);
        }
        let secret = call.header(keys::HEADER);
        if secret.is_empty() {
            self.misunderstood(&call.method, &call.path, "no x-api-key");
        }
        let now = self.now();
        match self.keys.get(secret) {
            Some(key) if key.enabled && !key.expired(now) => Ok(key.owner),
            _ => Err(Reply::gateway(401, 0, "Invalid API Key")),
        }
    }

    fn allowed(&self, call: &Call, needs: &[Demand]) -> Outcome<()> {
        let Some(key) = self.keys.get(call.header(keys::HEADER)) else { return Ok(()) };
        match needs.iter().map(|need| need(self)).find(|need| !key.allows(need)) {
            Some(need) => {
                let why = format!("The key lacks {}:{}.", need.scope, need.operation);
                Err(Dialect::at(&call.path).denied(&why))
            }
            None => Ok(()),
        }
    }
}

/// The one page of addresses.
fn route(call: &Call) -> Read<Plan> {
    let parts: Vec<&str> = call.parts.iter().map(String::as_str).collect();
    match (call.method.as_str(), parts.as_slice(), call.verb) {
        ("POST", ["api-keys", "v1", "introspect"], "") => universe::introspect(call),
        ("GET", ["cloud", "v2", "users", user], "") => universe::user(call, user),
        ("POST", ["cloud", "v2", "universes", universe], "publishMessage") => universe::publish(call, universe),
        ("GET", ["legacy-groups", "v1", "groups", group, "audit-log"], "") => groups::audit_log(call, group),
        (method, ["cloud", "v2", "groups", group, rest @ ..], verb) => groups::route(call, method, group, rest, verb),
        (method, ["cloud", "v2", "universes", universe, "user-restrictions", rest @ ..], verb) => {
            restrictions::route(call, method, universe, rest, verb)
        }
        (method, ["cloud", "v2", "universes", universe, "data-stores", store, rest @ ..], "") => {
            stores::v2::route(call, method, (universe, store), rest)
        }
        (
            method,
            ["cloud", "v2", "universes", universe, "ordered-data-stores", store, "scopes", scope, "entries", rest @ ..],
            "",
        ) => stores::ordered::route(call, method, (universe, store, scope), rest),
        (
            method,
            ["datastores", "v1", "universes", universe, "standard-datastores", "datastore", "entries", rest @ ..],
            "",
        ) => stores::v1::route(call, method, universe, rest),
        _ => unknown(),
    }
}

pub(super) fn unknown<T>() -> Read<T> {
    super::call::wrong("there is nothing at this address")
}

/// What is kept of a request. Bodies with a key in them are not.
pub(super) fn note(at: Time, method: &str, path: &str, query: &str, body: &[u8]) -> Asked {
    let kept = !body.is_empty() && body.len() <= MAX_BODY_KEPT && !path.starts_with("/api-keys/");
    let body = kept.then(|| String::from_utf8_lossy(body).into_owned());
    Asked { at, method: method.to_owned(), path: path.to_owned(), query: query.to_owned(), body, status: 0 }
}

/// Appends, and forgets the oldest when there are more than `most`.
pub(super) fn keep<T>(list: &mut VecDeque<T>, item: T, most: usize) {
    if list.len() >= most {
        list.pop_front();
    }
    list.push_back(item);
}
