//! How the group, the key and the doctor's report look in JSON.

use poem_openapi::{Enum, Object};

use super::mapping::{Mapping, Roles};
use super::probe::{Line, Verdict};
use crate::base::Failing;
use crate::http::wire::Timestamp;
use crate::remote::roblox::{KeyInfo, Role, Usage};

/// The group as Roblox describes it.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct GroupView {
    pub id: u64,
    pub name: String,
    /// None for a group without an owner.
    pub owner_id: Option<u64>,
    pub members: u64,
    pub fetched_at: Timestamp,
}

/// One scope of the key.
#[derive(Debug, Object)]
pub struct KeyScopeView {
    /// `group`, `universe-datastores.objects` …
    pub name: String,
    pub operations: Vec<String>,
    /// Ids of the groups or experiences it covers, with a slash and the name where it is a single data store; `*` for all.
    pub targets: Vec<String>,
}

/// The Open Cloud key. The key itself is never shown.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct RobloxKeyView {
    pub name: String,
    /// Whose rights it has.
    pub owner_id: Option<u64>,
    /// The highest rank its owner holds in the group; 0 for somebody who is not in it.
    pub owner_rank: Option<u8>,
    pub enabled: bool,
    pub expired: bool,
    pub expires_at: Option<Timestamp>,
    pub scopes: Vec<KeyScopeView>,
}

/// How much of one of Roblox's limits is used.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct BudgetView {
    /// The kind of call.
    pub class: String,
    /// Calls within the last minute or second.
    pub used: u64,
    /// Calls we allow ourselves in that time.
    pub most: u64,
    /// Roblox asked us to wait until then.
    pub closed_until: Option<Timestamp>,
}

/// A rank of the ladder or a punishment's role, and the live role it stands for.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct MatchView {
    pub name: String,
    pub role_id: Option<u64>,
    /// Why it cannot be given, and what to do about it.
    pub problem: Option<String>,
    pub fix: Option<String>,
}

/// Why the group cannot be used as it should.
#[derive(Debug, Object)]
pub struct GroupFailure {
    pub detail: String,
    pub hint: Option<String>,
}

/// What the server knows of Roblox.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct RobloxView {
    pub group_id: u64,
    pub universe_id: Option<u64>,
    pub datastore: Option<String>,
    /// Null while it cannot be read; so are key and ladder.
    pub group: Option<GroupView>,
    pub key: Option<RobloxKeyView>,
    pub ladder: Option<Vec<MatchView>>,
    /// Kinds of calls that were made lately.
    pub budget: Vec<BudgetView>,
    pub failing: Option<GroupFailure>,
}

/// A role of the live group.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct RoleView {
    pub id: u64,
    pub name: String,
    /// 0 (guests) to 255 (the owner).
    pub rank: u8,
    pub members: Option<u64>,
    /// What its holders may do, by Roblox's names; empty when the key may not see it.
    pub permissions: Vec<String>,
    /// The rank of the ladder it stands for.
    pub ladder_rank: Option<String>,
}

/// The live group's roles, lowest first.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct RolesView {
    pub group: GroupView,
    /// The highest rank the key's owner holds in the group.
    pub key_owner_rank: Option<u8>,
    pub roles: Vec<RoleView>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
pub enum CheckState {
    Pass,
    Fail,
    /// Not needed here, or not to be found out.
    Off,
}

/// One check of the doctor.
#[derive(Debug, Object)]
pub struct ProbeLine {
    pub check: String,
    pub state: CheckState,
    pub detail: String,
    /// What to click or set.
    pub fix: Option<String>,
}

/// The doctor's report on Roblox.
#[derive(Debug, Object)]
pub struct ProbeReport {
    /// Whether nothing failed.
    pub ok: bool,
    pub checks: Vec<ProbeLine>,
}

impl From<&Roles> for GroupView {
    fn from(roles: &Roles) -> Self {
        Self {
            id: roles.group.id,
            name: roles.group.name.clone(),
            owner_id: roles.group.owner,
            members: roles.group.members,
            fetched_at: Timestamp(roles.fetched_at),
        }
    }
}

impl RobloxKeyView {
    pub fn new(key: &KeyInfo, owner_rank: Option<u8>) -> Self {
        let scopes = key.scopes.iter().map(|scope| KeyScopeView {
            name: scope.name.clone(),
            operations: scope.operations.clone(),
            targets: scope.targets.clone(),
        });
        Self {
            name: key.name.clone(),
            owner_id: key.owner,
            owner_rank,
            enabled: key.enabled,
            expired: key.expired,
            expires_at: key.expires.map(Timestamp),
            scopes: scopes.collect(),
        }
    }
}

impl From<Usage> for BudgetView {
    fn from(usage: Usage) -> Self {
        Self {
            class: usage.class.text().to_owned(),
            used: usage.used as u64,
            most: usage.most as u64,
            closed_until: usage.closed_until.map(Timestamp),
        }
    }
}

impl From<Failing> for GroupFailure {
    fn from(failing: Failing) -> Self {
        Self { detail: failing.what, hint: failing.hint }
    }
}

/// Ladder first, then punishment roles that do not match.
pub fn matches(mapping: &Mapping) -> Vec<MatchView> {
    let mut problems = mapping.problems();
    let view = |name: &str, role_id, problem: Option<super::mapping::Problem>| MatchView {
        name: name.to_owned(),
        role_id,
        fix: problem.as_ref().map(|problem| problem.trouble.fix().to_owned()),
        problem: problem.map(|problem| problem.trouble.to_string()),
    };
    let mut out = Vec::new();
    for (name, role) in mapping.ranks() {
        let at = problems.iter().position(|problem| problem.name == name);
        out.push(view(name, role, at.map(|at| problems.remove(at))));
    }
    out.extend(problems.into_iter().map(|problem| view(&problem.name.clone(), None, Some(problem))));
    out
}

impl RoleView {
    pub fn new(role: &Role, mapping: &Mapping) -> Self {
        Self {
            id: role.id,
            name: role.name.clone(),
            rank: role.rank,
            members: role.members,
            permissions: role.permissions.iter().cloned().collect(),
            ladder_rank: mapping.rank_of(role.id).map(str::to_owned),
        }
    }
}

impl From<Vec<Line>> for ProbeReport {
    fn from(lines: Vec<Line>) -> Self {
        let state = |verdict| match verdict {
            Verdict::Pass => CheckState::Pass,
            Verdict::Fail => CheckState::Fail,
            Verdict::Off => CheckState::Off,
        };
        let checks: Vec<ProbeLine> = lines
            .into_iter()
            .map(|line| ProbeLine {
                check: line.check.to_owned(),
                state: state(line.verdict),
                detail: line.detail,
                fix: line.fix,
            })
            .collect();
        Self { ok: checks.iter().all(|check| check.state != CheckState::Fail), checks }
    }
}
