//! What is read of a group.

use std::collections::BTreeSet;

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::super::call::{Call, Need, Plan, Read, Target, Wrong, id, id_after, wrong};
use super::super::keys;
use super::super::limits::{Class, Pool};
use super::super::pages::{Page, next};
use super::super::reply::{Dialect, Outcome, Reply};
use super::super::world::World;
use super::{GUEST, Group, Logged, Role};
use crate::base::Time;

const ROLES_PAGE: usize = 20;
const MEMBERS_PAGE: usize = 100;
const JOINS_PAGE: usize = 20;
const LOG_PAGES: &[&str] = &["10", "25", "50", "100"];

/// Users that one filter may name.
const MAX_USERS: usize = 50;

/// Permissions that a role can have; the real list grows.
const PERMISSIONS: &[&str] =
    &["viewWallPosts", "createWallPosts", "changeRank", "acceptRequests", "exileMembers", "viewAuditLog", "banMembers"];

pub(super) fn group(call: &Call, group: u64) -> Read<Plan> {
    call.takes(&[])?;
    Ok(Plan::new(Class::Group, Pool::Owner, move |world, _| Reply::ok(&world.group(group)?.json())))
}

/// Whether the key may see what roles are allowed.
fn sees_permissions(call: &Call, group: u64) -> impl Fn(&World) -> bool + Send + 'static {
    let secret = call.header(keys::HEADER).to_owned();
    let need = Need { scope: "group", operation: "read", target: Target::Group(group) };
    move |world| world.keys.get(&secret).is_some_and(|key| key.allows(&need))
}

pub(super) fn roles(call: &Call, group: u64) -> Read<Plan> {
    call.takes(&["maxPageSize", "pageToken"])?;
    let page: Page<(u8, u64)> = Page::of(call, ROLES_PAGE)?;
    let sees = sees_permissions(call, group);
    Ok(Plan::new(Class::Roles, Pool::Owner, move |world, _| {
        let (all, most, empty) = (sees(world), world.most, world.by_turns());
        let group = world.group(group)?;
        let ranked: BTreeSet<(u8, u64)> = group.roles.iter().map(|(id, role)| (role.rank, *id)).collect();
        let rows = ranked.range(page.start.unwrap_or_default()..);
        let (roles, token) = page
            .fill(most, rows.map(|key| (*key, group.roles.get(&key.1).map(|role| shown(group.id, key.1, role, all)))));
        Reply::ok(&next(json!({"groupRoles": roles}), "nextPageToken", token, empty))
    }))
}

pub(super) fn role(call: &Call, group: u64, role: &str) -> Read<Plan> {
    call.takes(&[])?;
    let role = id(role)?;
    let sees = sees_permissions(call, group);
    Ok(Plan::new(Class::Role, Pool::Owner, move |world, _| {
        let all = sees(world);
        match world.group(group)?.roles.get(&role) {
            Some(found) => Reply::ok(&shown(group, role, found, all)),
            None => Err(Reply::v2(404, "No such role.")),
        }
    }))
}

fn shown(group: u64, id: u64, role: &Role, permissions: bool) -> Value {
    let mut out = json!({
        "path": format!("groups/{group}/roles/{id}"),
        "id": id.to_string(),
        "displayName": role.name,
        "rank": role.rank,
        "memberCount": role.holders.len(),
    });
    if permissions || role.rank == GUEST {
        let allowed = PERMISSIONS.iter().map(|name| ((*name).to_owned(), role.permissions.contains(*name).into()));
        out["permissions"] = Value::Object(allowed.collect());
    }
    out
}

/// Whose memberships a filter is about.
enum Whose {
    All,
    Users(BTreeSet<u64>),
    Holders(u64),
}

fn whose(filter: Option<&str>, group: Option<u64>) -> Read<Whose> {
    let Some(filter) = filter.filter(|filter| !filter.is_empty()) else {
        return if group.is_some() { Ok(Whose::All) } else { wrong("all groups at once need a filter by user") };
    };
    if let Some(list) = filter.strip_prefix("user in [").and_then(|rest| rest.strip_suffix(']')) {
        let users: BTreeSet<u64> =
            list.split(',').map(|item| id_after("users/", quoted(item.trim())?)).collect::<Read<_>>()?;
        return if users.len() <= MAX_USERS { Ok(Whose::Users(users)) } else { wrong("more than 50 users") };
    }
    match (filter.split_once(" == "), group) {
        (Some(("user", user)), _) => Ok(Whose::Users([id_after("users/", quoted(user)?)?].into())),
        (Some(("role", role)), Some(group)) => {
            Ok(Whose::Holders(id_after(&format!("groups/{group}/roles/"), quoted(role)?)?))
        }
        _ => wrong(format!("a filter that cannot be: {filter}")),
    }
}

fn quoted(text: &str) -> Read<&str> {
    let inner = |quote| text.strip_prefix(quote)?.strip_suffix(quote);
    inner('\'').or_else(|| inner('"')).ok_or_else(|| Wrong(format!("{text} is not quoted")))
}

pub(super) fn memberships(call: &Call, group: Option<u64>) -> Read<Plan> {
    call.takes(&["maxPageSize", "pageToken", "filter"])?;
    let page: Page<(u64, u64)> = Page::of(call, MEMBERS_PAGE)?;
    let whose = whose(call.param("filter"), group)?;
    Ok(Plan::new(Class::Memberships, Pool::Owner, move |world, _| {
        let (most, empty, single, now) = (world.most, world.by_turns(), world.single_role, world.now());
        let (first, start) = page.start.unwrap_or_default();
        let groups: Vec<&Group> = match group {
            Some(group) => vec![world.group(group)?],
            None => world.groups.range(first..).map(|(_, group)| group).collect(),
        };
        let rows = groups.into_iter().flat_map(|group| {
            let from = if group.id == first { start } else { 0 };
            let users: Box<dyn Iterator<Item = u64>> = match &whose {
                Whose::All => Box::new(group.members.range(from..).map(|(user, _)| *user)),
                Whose::Users(users) => Box::new(users.range(from..).copied()),
                Whose::Holders(role) => {
                    let holders = group.roles.get(role).map(|role| role.holders.range(from..).copied());
                    Box::new(holders.into_iter().flatten())
                }
            };
            users.map(move |user| ((group.id, user), membership(group, user, single, now).ok()))
        });
        let (members, token) = page.fill(most, rows);
        Reply::ok(&next(json!({"groupMemberships": members}), "nextPageToken", token, empty))
    }))
}

pub(super) fn membership(group: &Group, user: u64, single_role: bool, now: Time) -> Outcome<Value> {
    let member = group.members.get(&user).ok_or_else(|| Reply::v2(404, "No such membership."))?;
    let (role, roles) = (|id: &u64| format!("groups/{}/roles/{id}", group.id), member.shown(now));
    let mut out = json!({
        "path": format!("groups/{}/memberships/{}", group.id, BASE64URL_NOPAD.encode(user.to_string().as_bytes())),
        "createTime": member.joined.to_string(),
        "updateTime": member.updated.to_string(),
        "user": format!("users/{user}"),
        "role": role(&group.highest(roles.iter()).0),
    });
    if !single_role {
        out["roles"] = roles.iter().map(role).collect();
    }
    Ok(out)
}

pub(super) fn join_requests(call: &Call, group: u64) -> Read<Plan> {
    call.takes(&["maxPageSize", "pageToken", "filter"])?;
    let page: Page<u64> = Page::of(call, JOINS_PAGE)?;
    let only = match call.param("filter").map(|filter| filter.split_once(" == ")) {
        None => None,
        Some(Some(("user", user))) => Some(id_after("users/", quoted(user)?)?),
        Some(_) => return wrong("join requests are filtered by user == 'users/1'"),
    };
    let plan = Plan::new(Class::Joins, Pool::Owner, move |world, actor| {
        let (most, empty) = (world.most, world.by_turns());
        let group = world.group(group)?;
        may(group, actor, "acceptRequests")?;
        let rows = group.joins.range(only.or(page.start).unwrap_or_default()..only.map_or(u64::MAX, |user| user + 1));
        let shown = rows.map(|(user, at)| {
            let path = format!("groups/{}/join-requests/{user}", group.id);
            (*user, Some(json!({"path": path, "createTime": at.to_string(), "user": format!("users/{user}")})))
        });
        let (requests, token) = page.fill(most, shown);
        Reply::ok(&next(json!({"groupJoinRequests": requests}), "nextPageToken", token, empty))
    });
    Ok(plan.needs("group", "read", Target::Group(group)))
}

pub(super) fn may(group: &Group, actor: u64, permission: &str) -> Outcome<()> {
    if group.may(actor, permission) {
        return Ok(());
    }
    Err(Reply::v2(403, &format!("The key's owner lacks {permission}.")))
}

/// The older service's log.
pub(in super::super) fn audit_log(call: &Call, group: &str) -> Read<Plan> {
    call.takes(&["actionType", "userId", "limit", "cursor", "sortOrder"])?;
    let group = id(group)?;
    if let Some(limit) = call.param("limit").filter(|limit| !LOG_PAGES.contains(limit)) {
        return wrong(format!("limit is {limit}, none of {LOG_PAGES:?}"));
    }
    let newest_first = match call.param("sortOrder") {
        None | Some("Asc") => false,
        Some("Desc") => true,
        Some(odd) => return wrong(format!("sortOrder is {odd}, neither Asc nor Desc")),
    };
    let page: Page<u64> = Page::named(call, ("limit", "cursor"), 10, 100)?;
    let action = call.param("actionType").map(str::to_owned);
    let user = call.param("userId").map(id).transpose()?;
    let plan = Plan::new(Class::AuditLog, Pool::Owner, move |world, actor| {
        let most = world.most;
        let group = world.group(group).map_err(|_| Reply::gateway(400, 1, "Group is invalid or does not exist."))?;
        if !group.may(actor, "viewAuditLog") {
            return Err(Dialect::Gateway.denied(""));
        }
        let rows: Box<dyn Iterator<Item = (&u64, &Logged)>> = match newest_first {
            true => Box::new(group.log.range(..=page.start.unwrap_or(u64::MAX)).rev()),
            false => Box::new(group.log.range(page.start.unwrap_or_default()..)),
        };
        let fits = |logged: &Logged| {
            action.as_ref().is_none_or(|action| logged.action == *action)
                && user.is_none_or(|user| logged.actor == user)
        };
        let shown = rows.map(|(number, logged)| (*number, fits(logged).then(|| line(group, logged))));
        let (data, token) = page.fill(most, shown);
        Reply::ok(&json!({"previousPageCursor": null, "nextPageCursor": token, "data": data}))
    });
    Ok(plan.needs("legacy-group", "manage", Target::Group(group)))
}

fn line(group: &Group, logged: &Logged) -> Value {
    let (id, rank) = group.top(logged.actor);
    let name = group.roles.get(&id).map_or("", |role| role.name.as_str());
    let user =
        json!({"userId": logged.actor, "username": format!("Player{}", logged.actor), "hasVerifiedBadge": false});
    json!({
        "actor": {"user": user, "role": {"id": id, "name": name, "rank": rank}},
        "actionType": logged.action,
        "description": logged.description,
        "created": logged.at.to_string(),
    })
}
