//! Groups: roles, members with several of them, requests to join, and a log of who did what.

mod ranking;
mod roster;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::call::{Call, Plan, Read, id, wrong};
use super::reply::{Outcome, Reply};
use super::world::{World, unknown};
use crate::base::Time;

pub(super) use self::roster::audit_log;

/// Entries of a group's log that are remembered.
const MAX_LOG: usize = 20_000;

pub(super) const GUEST: u8 = 0;
pub(super) const BASE: u8 = 1;
pub(super) const OWNER: u8 = 255;

pub(super) struct Role {
    pub name: String,
    pub rank: u8,
    pub permissions: BTreeSet<String>,
    pub holders: BTreeSet<u64>,
}

pub(super) struct Member {
    pub joined: Time,
    pub updated: Time,
    pub roles: BTreeSet<u64>,
    /// What reads still show, and until when.
    pub stale: Option<(Time, BTreeSet<u64>)>,
}

impl Member {
    /// The roles that a read at `now` shows.
    pub fn shown(&self, now: Time) -> &BTreeSet<u64> {
        self.stale.as_ref().filter(|(until, _)| now < *until).map_or(&self.roles, |(_, roles)| roles)
    }
}

/// Something that somebody did in the group.
#[derive(Debug, Clone, PartialEq)]
pub struct Logged {
    pub at: Time,
    pub actor: u64,
    pub action: String,
    pub description: Value,
}

pub(super) struct Group {
    pub id: u64,
    pub name: String,
    pub owner: Option<u64>,
    pub created: Time,
    pub roles: BTreeMap<u64, Role>,
    pub members: BTreeMap<u64, Member>,
    pub joins: BTreeMap<u64, Time>,
    pub log: BTreeMap<u64, Logged>,
    logged: u64,
}

impl Group {
    /// A group with the roles that none can be without.
    pub fn new(id: u64, name: &str, owner: Option<u64>, now: Time) -> Self {
        let (roles, log) = (BTreeMap::new(), BTreeMap::new());
        let (members, joins) = (BTreeMap::new(), BTreeMap::new());
        let mut group = Self { id, name: name.to_owned(), owner, created: now, roles, members, joins, log, logged: 0 };
        for (name, rank) in [("Guest", GUEST), ("Member", BASE), ("Owner", OWNER)] {
            group.role(group.own_role(rank), name, rank, &[]);
        }
        if let Some(owner) = owner {
            group.hold(owner, &[group.own_role(OWNER)], now);
        }
        group
    }

    /// The id of a role that every group has, by its rank.
    pub fn own_role(&self, rank: u8) -> u64 {
        self.id * 1000 + u64::from(rank)
    }

    /// Makes a role, or changes one.
    pub fn role(&mut self, id: u64, name: &str, rank: u8, permissions: &[&str]) {
        let holders = self.roles.remove(&id).map(|role| role.holders).unwrap_or_default();
        let permissions = permissions.iter().map(|permission| (*permission).to_owned()).collect();
        self.roles.insert(id, Role { name: name.to_owned(), rank, permissions, holders });
    }

    pub fn delete_role(&mut self, id: u64) {
        let Some(role) = self.roles.remove(&id) else { return };
        for user in role.holders {
            self.members.entry(user).and_modify(|member| _ = member.roles.remove(&id));
        }
    }

    /// Makes somebody a member with the base role and exactly these, as far as the group has them.
    pub fn hold(&mut self, user: u64, roles: &[u64], now: Time) {
        let joined = self.leave(user).map_or(now, |member| member.joined);
        let base = self.own_role(BASE);
        let held = roles.iter().copied().chain([base]).filter(|role| self.roles.contains_key(role)).collect();
        let roles = BTreeSet::clone(&held);
        self.members.insert(user, Member { joined, updated: now, roles, stale: None });
        for role in held {
            self.roles.entry(role).and_modify(|role| _ = role.holders.insert(user));
        }
    }

    pub fn leave(&mut self, user: u64) -> Option<Member> {
        let member = self.members.remove(&user)?;
        for role in &member.roles {
            self.roles.entry(*role).and_modify(|role| _ = role.holders.remove(&user));
        }
        Some(member)
    }

    /// The highest of somebody's roles; rank 0 for who is no member.
    pub fn top(&self, user: u64) -> (u64, u8) {
        self.highest(self.members.get(&user).into_iter().flat_map(|member| &member.roles))
    }

    fn highest<'a>(&self, roles: impl Iterator<Item = &'a u64>) -> (u64, u8) {
        let ranked = roles.filter_map(|id| Some((*id, self.roles.get(id)?.rank)));
        ranked.max_by_key(|(_, rank)| *rank).unwrap_or((self.own_role(GUEST), GUEST))
    }

    /// Permissions of all of somebody's roles add up; the owner has every one.
    pub fn may(&self, user: u64, permission: &str) -> bool {
        let mut roles = self.members.get(&user).into_iter().flat_map(|member| &member.roles);
        self.owner == Some(user)
            || roles.any(|id| self.roles.get(id).is_some_and(|role| role.permissions.contains(permission)))
    }

    pub fn note(&mut self, at: Time, actor: u64, action: &str, description: Value) {
        if self.log.len() >= MAX_LOG {
            self.log.pop_first();
        }
        self.logged += 1;
        self.log.insert(self.logged, Logged { at, actor, action: action.to_owned(), description });
    }

    fn json(&self) -> Value {
        let mut out = json!({
            "path": format!("groups/{}", self.id),
            "createTime": self.created.to_string(),
            "updateTime": self.created.to_string(),
            "id": self.id.to_string(),
            "displayName": self.name,
            "description": "",
            "memberCount": self.members.len(),
            "publicEntryAllowed": false,
            "locked": false,
            "verified": false,
        });
        if let Some(owner) = self.owner {
            out["owner"] = format!("users/{owner}").into();
        }
        out
    }
}

impl World {
    pub(super) fn group(&mut self, group: u64) -> Outcome<&mut Group> {
        self.groups.get_mut(&group).ok_or_else(|| Reply::v2(404, "No such group."))
    }
}

/// Everything under `/cloud/v2/groups/{group}`.
pub(super) fn route(call: &Call, method: &str, group: &str, rest: &[&str], verb: &str) -> Read<Plan> {
    if group == "-" && (method, rest) != ("GET", &["memberships"]) {
        return wrong("only memberships are listed for all groups at once");
    }
    let group = if group == "-" { None } else { Some(id(group)?) };
    match (method, group, rest, verb) {
        ("GET", group, ["memberships"], "") => roster::memberships(call, group),
        ("GET", Some(group), [], "") => roster::group(call, group),
        ("GET", Some(group), ["roles"], "") => roster::roles(call, group),
        ("GET", Some(group), ["roles", role], "") => roster::role(call, group, role),
        ("GET", Some(group), ["join-requests"], "") => roster::join_requests(call, group),
        ("POST", Some(group), ["join-requests", user], "accept") => ranking::join(call, group, user, true),
        ("POST", Some(group), ["join-requests", user], "decline") => ranking::join(call, group, user, false),
        ("POST", Some(group), ["memberships", user], "assignRole") => ranking::assign(call, group, user),
        ("POST", Some(group), ["memberships", user], "unassignRole") => ranking::unassign(call, group, user),
        ("PATCH", Some(group), ["memberships", user], "") => ranking::set_role(call, group, user),
        _ => unknown(),
    }
}
