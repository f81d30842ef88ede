//! Groups, v2: roles, members, join requests, and the audit log of the older service.
//!
//! Since March 2026 a member may hold several roles; role changes are `assignRole` and `unassignRole`. Nothing in Open Cloud removes a
//! member from a group.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{Call, Class, Listed, MAX_PAGES, Roblox, Trouble, last_id, number, text};
use crate::base::Time;

/// Members a page; Roblox's own bound.
pub const MEMBERS_PAGE: usize = 100;

/// The same where the filter leaves one.
const ONE_MEMBER_PAGE: usize = 10;

/// Roles a page; Roblox's own bound.
const ROLES_PAGE: usize = 20;

/// Join requests a page; Roblox's own bound.
const JOIN_REQUESTS_PAGE: usize = 20;

/// Rows of the audit log a page; Roblox's own bound.
const LOG_PAGE: usize = 100;

/// What an answer about one member is not when their roles cannot be read.
pub const ODD_MEMBER: &str = "a member with roles that can be read";

const READ: &str = "group:read";
const WRITE: &str = "group:write";
const LEGACY: &str = "legacy-group:manage";
const SETTING: &str = "ROBLOX_GROUP_ID";

/// A group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupInfo {
    pub id: u64,
    pub name: String,
    /// None for a group without an owner.
    pub owner: Option<u64>,
    pub members: u64,
}

/// A role of a group. Its id is not its rank.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    pub id: u64,
    pub name: String,
    /// 0 (guests) to 255 (the owner).
    pub rank: u8,
    pub members: Option<u64>,
    /// What its holders may do, by Roblox's names; empty when the key may not see it.
    pub permissions: BTreeSet<String>,
}

/// Somebody's place in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    pub user: u64,
    /// Ids of all roles held.
    pub roles: Vec<u64>,
}

/// Somebody who wants to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JoinRequest {
    pub user: u64,
    pub created: Option<Time>,
}

/// One row of the group's own audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct LoggedAction {
    pub at: Option<Time>,
    pub actor: Option<u64>,
    /// `ChangeRank`, `AssignRole`, `RemoveMember` …
    pub action: String,
    pub description: Value,
}

impl Roblox {
    /// # Errors
    /// [`Trouble`].
    pub async fn group(&self, group: u64) -> Result<GroupInfo, Trouble> {
        let id = group.to_string();
        let call = Call::get(Class::Group, vec!["cloud", "v2", "groups", &id]).setting(SETTING);
        let json = self.json(call, "a group").await?;
        Ok(GroupInfo {
            id: number(&json["id"]).unwrap_or(group),
            name: text(&json["displayName"]).unwrap_or_default(),
            owner: last_id(&json["owner"]),
            members: number(&json["memberCount"]).unwrap_or(0),
        })
    }

    /// One page of the group's roles.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn roles_page(&self, group: u64, page: Option<&str>) -> Result<Listed<Role>, Trouble> {
        let id = group.to_string();
        let call = Call::get(Class::Roles, vec!["cloud", "v2", "groups", &id, "roles"])
            .setting(SETTING)
            .query("maxPageSize", ROLES_PAGE)
            .maybe("pageToken", page);
        self.page(call, "groupRoles", role).await
    }

    /// One page of the group's members.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn memberships(&self, group: u64, page: Option<&str>) -> Result<Listed<Membership>, Trouble> {
        let id = group.to_string();
        let call = Call::get(Class::Memberships, vec!["cloud", "v2", "groups", &id, "memberships"])
            .setting(SETTING)
            .query("maxPageSize", MEMBERS_PAGE)
            .maybe("pageToken", page);
        self.page(call, "groupMemberships", membership).await
    }

    /// One member; none when `user` is not in the group.
    ///
    /// # Errors
    /// [`Trouble`]; `Unreadable` with [`ODD_MEMBER`] for a member whose roles cannot be told.
    pub async fn membership(&self, group: u64, user: u64) -> Result<Option<Membership>, Trouble> {
        let (id, mut page): (_, Option<String>) = (group.to_string(), None);
        for _ in 0..MAX_PAGES {
            let call = Call::get(Class::Memberships, vec!["cloud", "v2", "groups", &id, "memberships"])
                .setting(SETTING)
                .query("maxPageSize", ONE_MEMBER_PAGE)
                .query("filter", format!("user == 'users/{user}'"))
                .maybe("pageToken", page.as_deref());
            let read = |row: &Value| Some((last_id(&row["user"]), membership(row)));
            let listed = self.page(call, "groupMemberships", read).await?;
            // A row that says nothing of whom it is about may be about them.
            let found = listed.items.into_iter().find(|(of, _)| of.is_none_or(|of| of == user));
            if let Some((_, member)) = found {
                return member.map(Some).ok_or(Trouble::Unreadable(ODD_MEMBER));
            }
            page = listed.next;
            if page.is_none() {
                return Ok(None);
            }
        }
        Err(Trouble::Unreadable("a list of members that ends"))
    }

    /// Gives `user` the role; nothing happens when they hold it.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn assign_role(&self, group: u64, user: u64, role: u64) -> Result<(), Trouble> {
        self.change_role(Class::Assign, "assignRole", (group, user, role)).await
    }

    /// Takes the role from `user`; nothing happens when they do not hold it.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn unassign_role(&self, group: u64, user: u64, role: u64) -> Result<(), Trouble> {
        self.change_role(Class::Unassign, "unassignRole", (group, user, role)).await
    }

    async fn change_role(&self, class: Class, verb: &str, (group, user, role): (u64, u64, u64)) -> Result<(), Trouble> {
        let (id, member) = (group.to_string(), format!("{user}:{verb}"));
        let body = json!({"role": format!("groups/{group}/roles/{role}")});
        let call = Call::post(class, vec!["cloud", "v2", "groups", &id, "memberships", &member], &body).scope(WRITE);
        // What the answer says is not looked at: a read tells what holds.
        self.ask(call).await.map(drop)
    }

    /// One page of those who want to join.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn join_requests(&self, group: u64, page: Option<&str>) -> Result<Listed<JoinRequest>, Trouble> {
        let id = group.to_string();
        let call = Call::get(Class::JoinRequests, vec!["cloud", "v2", "groups", &id, "join-requests"])
            .scope(READ)
            .setting(SETTING)
            .query("maxPageSize", JOIN_REQUESTS_PAGE)
            .maybe("pageToken", page);
        let read = |row: &Value| {
            let created = row["createTime"].as_str().and_then(Time::parse);
            Some(JoinRequest { user: last_id(&row["user"])?, created })
        };
        self.page(call, "groupJoinRequests", read).await
    }

    /// Lets `user` in.
    ///
    /// # Errors
    /// [`Trouble`]; `Missing` when there is no such request (any more).
    pub async fn accept_join(&self, group: u64, user: u64) -> Result<(), Trouble> {
        self.answer_join(Class::AcceptJoin, "accept", group, user).await
    }

    /// Turns `user` away.
    ///
    /// # Errors
    /// As [`Roblox::accept_join`].
    pub async fn decline_join(&self, group: u64, user: u64) -> Result<(), Trouble> {
        self.answer_join(Class::DeclineJoin, "decline", group, user).await
    }

    async fn answer_join(&self, class: Class, verb: &str, group: u64, user: u64) -> Result<(), Trouble> {
        let (id, request) = (group.to_string(), format!("{user}:{verb}"));
        let path = vec!["cloud", "v2", "groups", &id, "join-requests", &request];
        // The body has to be there, and an object.
        self.ask(Call::post(class, path, &json!({})).scope(WRITE)).await.map(drop)
    }

    /// One page of the group's audit log, newest first.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn audit_log(&self, group: u64, cursor: Option<&str>) -> Result<Listed<LoggedAction>, Trouble> {
        let id = group.to_string();
        let call = Call::get(Class::AuditLog, vec!["legacy-groups", "v1", "groups", &id, "audit-log"])
            .scope(LEGACY)
            .setting(SETTING)
            .query("limit", LOG_PAGE)
            .query("sortOrder", "Desc")
            .maybe("cursor", cursor);
        let json = self.json(call, "an audit log").await?;
        let rows = json["data"].as_array().ok_or(Trouble::Unreadable("an audit log"))?;
        let items = rows.iter().filter_map(logged).collect();
        Ok(Listed { items, next: text(&json["nextPageCursor"]) })
    }
}

fn role(row: &Value) -> Option<Role> {
    let permissions = row["permissions"].as_object().into_iter().flatten();
    Some(Role {
        id: number(&row["id"]).or_else(|| last_id(&row["path"]))?,
        name: text(&row["displayName"]).unwrap_or_default(),
        rank: number(&row["rank"]).unwrap_or(0).try_into().ok()?,
        members: number(&row["memberCount"]),
        permissions: permissions
            .filter(|(_, held)| held.as_bool() == Some(true))
            .map(|(name, _)| name.clone())
            .collect(),
    })
}

/// `roles` has been there since March 2026; before that, `role` was all there was. Every member holds the base role at least: a row that
/// names none, or one that cannot be read, does not say that roles are missing.
fn membership(row: &Value) -> Option<Membership> {
    let roles = match &row["roles"] {
        Value::Array(roles) if !roles.is_empty() => roles.iter().map(last_id).collect::<Option<Vec<u64>>>()?,
        Value::Array(_) | Value::Null => vec![last_id(&row["role"])?],
        _ => return None,
    };
    Some(Membership { user: last_id(&row["user"])?, roles })
}

fn logged(row: &Value) -> Option<LoggedAction> {
    Some(LoggedAction {
        at: row["created"].as_str().and_then(Time::parse),
        actor: number(&row["actor"]["user"]["userId"]),
        action: text(&row["actionType"])?,
        description: row["description"].clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_are_read_with_all_their_roles_or_the_one_of_old() {
        let row =
            json!({"user": "users/5", "role": "groups/1/roles/9", "roles": ["groups/1/roles/9", "groups/1/roles/2"]});
        assert_eq!(membership(&row), Some(Membership { user: 5, roles: vec![9, 2] }));
        let old = json!({"user": "users/5", "role": "groups/1/roles/9"});
        assert_eq!(membership(&old), Some(Membership { user: 5, roles: vec![9] }));
        assert_eq!(membership(&json!({"role": "groups/1/roles/9"})), None);
        assert_eq!(membership(&json!({"user": "users/5", "role": "groups/1/roles/9", "roles": [9]})), None);
    }

    #[test]
    fn roles_keep_what_they_allow() {
        let row = json!({"path": "groups/1/roles/9", "id": "9", "displayName": "Corporal", "rank": 40, "memberCount": 3,
            "permissions": {"manageMembership": true, "postToWall": false, "somethingNew": "?"}});
        let read = role(&row).unwrap();
        assert_eq!((read.id, read.rank, read.members), (9, 40, Some(3)));
        assert_eq!(read.permissions.into_iter().collect::<Vec<_>>(), ["manageMembership"]);
        assert_eq!(role(&json!({"path": "groups/1/roles/9", "rank": 300})), None);
    }
}
