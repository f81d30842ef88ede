//! What changes in a group: roles given and taken, and who is let in. The key's owner does it, with that person's rank and permissions.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use super::super::call::{Call, Plan, Read, Target, Wrong, id, id_after, text};
use super::super::limits::{Class, Pool};
use super::super::reply::{Outcome, Reply};
use super::super::world::{Change, World};
use super::roster::{may, membership};
use super::{BASE, GUEST, Group, OWNER};

/// A change of somebody's roles, understood.
struct Ask {
    group: u64,
    user: u64,
    role: u64,
}

impl Ask {
    fn read(call: &Call, group: u64, user: &str, fields: &[&str]) -> Read<Self> {
        call.takes(&[])?;
        let body = call.object(fields)?;
        let role = id_after(&format!("groups/{group}/roles/"), &text(&body, "role", 100)?)?;
        Ok(Self { group, user: member_id(user)?, role })
    }

    fn plan(self, class: Class, run: fn(&Self, &mut World, u64) -> Outcome<()>) -> Plan {
        let target = Target::Group(self.group);
        let plan = Plan::new(class, Pool::Owner, move |world, actor| {
            self.allowed(world.group(self.group)?, actor)?;
            let (single, lag, now) = (world.single_role, world.lag, world.now());
            let shown = world.group(self.group)?.members.get(&self.user).map(|member| member.shown(now).clone());
            run(&self, world, actor)?;
            let group = world.group(self.group)?;
            let answer = membership(group, self.user, single, now + lag)?;
            group.members.entry(self.user).and_modify(|member| member.stale = shown.map(|roles| (now + lag, roles)));
            Reply::ok(&answer)
        });
        plan.needs("group", "write", target)
    }

    /// Whether `actor` may change this role of this member.
    fn allowed(&self, group: &Group, actor: u64) -> Outcome<()> {
        may(group, actor, "changeRank")?;
        let Some(role) = group.roles.get(&self.role) else { return Err(Reply::v2(400, "The role does not exist.")) };
        let own = group.top(actor).1;
        if !group.members.contains_key(&self.user) {
            return Err(Reply::v2(404, "The user is not a member of the group."));
        }
        if self.user == actor {
            return Err(Reply::v2(400, "A requester cannot change their own rank."));
        }
        if role.rank == GUEST || role.rank == OWNER {
            return Err(Reply::v2(400, "Guest or Owner ranks cannot be assigned."));
        }
        if group.owner == Some(self.user) || group.top(self.user).1 >= own || role.rank >= own {
            return Err(Reply::v2(403, "The requester cannot manage this member or role."));
        }
        Ok(())
    }

    /// What the group's log says of it.
    fn description(&self, group: &Group) -> Value {
        let name = group.roles.get(&self.role).map_or("", |role| role.name.as_str());
        let user = format!("Player{}", self.user);
        json!({"TargetId": self.user, "TargetName": user, "RoleSetId": self.role, "RoleSetName": name})
    }
}

/// A user's id, or a membership's, which holds it.
fn member_id(text: &str) -> Read<u64> {
    id(text).or_else(|_| {
        let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok();
        let digits = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        digits.map_or_else(|| Err(Wrong(format!("{text:?} is no membership"))), |digits| id(&digits))
    })
}

pub(super) fn assign(call: &Call, group: u64, user: &str) -> Read<Plan> {
    Ok(Ask::read(call, group, user, &["role"])?.plan(Class::Assign, |ask, world, actor| {
        let now = world.now();
        let group = world.group(ask.group)?;
        let new = group.members.get_mut(&ask.user).is_some_and(|member| member.roles.insert(ask.role));
        if !new {
            return Ok(());
        }
        group.roles.entry(ask.role).and_modify(|role| _ = role.holders.insert(ask.user));
        group.note(now, actor, "AssignRole", ask.description(group));
        world.effect(ask.user, Change::Assigned(ask.role));
        Ok(())
    }))
}

pub(super) fn unassign(call: &Call, group: u64, user: &str) -> Read<Plan> {
    Ok(Ask::read(call, group, user, &["role"])?.plan(Class::Unassign, |ask, world, actor| {
        let now = world.now();
        let group = world.group(ask.group)?;
        if group.roles.get(&ask.role).is_some_and(|role| role.rank == BASE) {
            return Err(Reply::v2(400, "The base role cannot be taken."));
        }
        let had = group.members.get_mut(&ask.user).is_some_and(|member| member.roles.remove(&ask.role));
        if !had {
            return Ok(());
        }
        group.roles.entry(ask.role).and_modify(|role| _ = role.holders.remove(&ask.user));
        group.note(now, actor, "UnassignRole", ask.description(group));
        world.effect(ask.user, Change::Unassigned(ask.role));
        Ok(())
    }))
}

/// The deprecated way: one role in place of all others.
pub(super) fn set_role(call: &Call, group: u64, user: &str) -> Read<Plan> {
    Ok(Ask::read(call, group, user, &["role", "path", "user"])?.plan(Class::SetRole, |ask, world, actor| {
        let now = world.now();
        let group = world.group(ask.group)?;
        let old = group.top(ask.user).0;
        if old == ask.role {
            return Ok(());
        }
        group.hold(ask.user, &[ask.role], now);
        let log = json!({"TargetId": ask.user, "OldRoleSetId": old, "NewRoleSetId": ask.role});
        group.note(now, actor, "ChangeRank", log);
        world.effect(ask.user, Change::Assigned(ask.role));
        Ok(())
    }))
}

pub(super) fn join(call: &Call, group: u64, user: &str, accept: bool) -> Read<Plan> {
    call.takes(&[])?;
    call.object(&[])?;
    let user = member_id(user)?;
    let class = if accept { Class::AcceptJoin } else { Class::DeclineJoin };
    let plan = Plan::new(class, Pool::Owner, move |world, actor| {
        let now = world.now();
        let group = world.group(group)?;
        may(group, actor, "acceptRequests")?;
        if group.joins.remove(&user).is_none() {
            return Err(Reply::v2(404, "No such join request."));
        }
        if accept {
            group.hold(user, &[], now);
        }
        let action = if accept { "AcceptJoinRequest" } else { "DeclineJoinRequest" };
        group.note(now, actor, action, json!({"TargetId": user, "TargetName": format!("Player{user}")}));
        world.effect(user, if accept { Change::Accepted } else { Change::Declined });
        Reply::done()
    });
    Ok(plan.needs("group", "write", Target::Group(group)))
}
