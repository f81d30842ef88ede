//! Rules of roles, bindings and limits.

use std::collections::{BTreeMap, HashSet};

use crate::base::RobloxId;

use super::super::files::{
    Binding, MAX_BINDINGS, MAX_PROTECTED, MAX_RANKS, MAX_ROLES, MAX_SCOPES, PermissionsFile, RanksFile,
};
use super::text::{
    Idle, check_idle, check_length, check_name, check_range, did_you_mean, escape, is_env_name, is_scope,
};
use super::{Notes, Problem};

pub(super) fn check(file: &PermissionsFile, ranks: Option<&RanksFile>, notes: &mut Notes<'_>) {
    check_length(("roles", file.roles.len(), MAX_ROLES), "/roles", notes);
    check_length(("limits", file.limits.len(), MAX_ROLES), "/limits", notes);
    check_length(("bindings", file.bindings.len(), MAX_BINDINGS), "/bindings", notes);
    for (role, scopes) in file.roles.iter().take(MAX_ROLES) {
        let here = format!("/roles/{}", escape(role));
        check_name(role, here.clone(), notes);
        check_scopes(scopes, &here, notes);
    }
    for (at, binding) in file.bindings.iter().enumerate().take(MAX_BINDINGS) {
        check_binding(at, binding, file, notes);
    }
    unreachable(&file.bindings, notes);
    check_limits(file, ranks, notes);
    check_users(&file.protected_user_ids, "/protectedUserIds", notes);
    let later =
        "bindings say whose limits count; scopes come from the settings and `grps keys` until people can sign in";
    let parts: [Idle<'_>; 1] = [(!file.bindings.is_empty(), "/bindings", "the scopes that bindings give")];
    check_idle(&parts, later, notes);
}

fn check_scopes(scopes: &[String], pointer: &str, notes: &mut Notes<'_>) {
    check_length(("scopes", scopes.len(), MAX_SCOPES), pointer, notes);
    for (at, scope) in scopes.iter().enumerate().take(MAX_SCOPES).filter(|(_, scope)| !is_scope(scope)) {
        notes.error(Problem {
            code: "policy.scope_invalid",
            pointer: format!("{pointer}/{at}"),
            what: format!("\"{scope}\" is not a scope"),
            why: "a misspelt scope lets nobody in, and nobody notices",
            fix: "write \"*\", or lower-case words joined by colons such as \"decisions:apply\"".into(),
        });
    }
}

fn check_role(role: &str, pointer: String, known: &BTreeMap<String, Vec<String>>, notes: &mut Notes<'_>) {
    if known.contains_key(role) {
        return;
    }
    notes.error(Problem {
        code: "policy.role_unknown",
        pointer,
        what: format!("there is no role \"{role}\""),
        why: "whoever it is meant for would be let in to nothing, or not be limited",
        fix: did_you_mean(
            role,
            known.keys().take(MAX_ROLES).map(String::as_str),
            "add it to roles, or name one of them",
        ),
    });
}

fn check_binding(at: usize, binding: &Binding, file: &PermissionsFile, notes: &mut Notes<'_>) {
    let here = format!("/bindings/{at}");
    let selectors = usize::from(binding.roblox_rank_at_least.is_some())
        + usize::from(!binding.roblox_user_ids.is_empty())
        + usize::from(!binding.oidc_sub.is_empty())
        + usize::from(binding.api_key_env.is_some());
    if selectors != 1 {
        notes.error(Problem {
            code: "policy.binding_selector",
            pointer: here.clone(),
            what: format!("this binding has {selectors} selectors instead of one"),
            why: "it would be unclear who gets the role",
            fix: "give it exactly one of robloxRankAtLeast, robloxUserIds, oidcSub, apiKeyEnv; split it if need be"
                .into(),
        });
    }
    check_role(&binding.role, format!("{here}/role"), &file.roles, notes);
    check_scopes(&binding.add, &format!("{here}/add"), notes);
    check_users(&binding.roblox_user_ids, &format!("{here}/robloxUserIds"), notes);
    check_length(("sign-ins", binding.oidc_sub.len(), MAX_PROTECTED), &format!("{here}/oidcSub"), notes);
    if let Some(least) = binding.roblox_rank_at_least {
        check_range(("robloxRankAtLeast", least.into()), (1, 255), format!("{here}/robloxRankAtLeast"), notes);
    }
    for (index, sub) in binding.oidc_sub.iter().enumerate().take(MAX_PROTECTED) {
        if !sub.split_once(':').is_some_and(|(provider, subject)| !provider.is_empty() && !subject.is_empty()) {
            notes.error(Problem {
                code: "policy.oidc_sub_invalid",
                pointer: format!("{here}/oidcSub/{index}"),
                what: format!("\"{sub}\" does not name a provider"),
                why: "the same subject may be somebody else at another provider",
                fix: "write provider:subject, such as discord:1234".into(),
            });
        }
    }
    check_key_binding(&here, binding, file, notes);
}

fn check_key_binding(here: &str, binding: &Binding, file: &PermissionsFile, notes: &mut Notes<'_>) {
    let Some(env) = &binding.api_key_env else { return };
    if !is_env_name(env) {
        notes.error(Problem {
            code: "policy.env_name_invalid",
            pointer: format!("{here}/apiKeyEnv"),
            what: "apiKeyEnv is not the name of an environment variable".into(),
            why: "no key could ever match it; and if this is a key, it does not belong in a file",
            fix: "write the variable's name, such as INBOUND_API_KEYS".into(),
        });
    }
    let everything = |scopes: &[String]| scopes.iter().any(|scope| scope == "*");
    if everything(&binding.add) || file.roles.get(&binding.role).is_some_and(|scopes| everything(scopes)) {
        notes.warn(Problem {
            code: "policy.key_may_everything",
            pointer: here.to_owned(),
            what: format!("every key of {env} may do everything"),
            why: "game servers hold these keys, and a leaked one would own the group",
            fix: "bind the keys to a role that lists only what they need".into(),
        });
    }
}

fn unreachable(bindings: &[Binding], notes: &mut Notes<'_>) {
    let mut lowest = u32::MAX;
    for (at, binding) in bindings.iter().enumerate().take(MAX_BINDINGS) {
        let Some(least) = binding.roblox_rank_at_least else { continue };
        if least >= lowest {
            notes.warn(Problem {
                code: "policy.binding_unreachable",
                pointer: format!("/bindings/{at}"),
                what: format!("rank {least} and above is already covered by an earlier binding for {lowest} and above"),
                why: "the first binding that fits decides, so this one never does",
                fix: "list higher ranks first".into(),
            });
        }
        lowest = lowest.min(least);
    }
}

fn check_limits(file: &PermissionsFile, ranks: Option<&RanksFile>, notes: &mut Notes<'_>) {
    for (role, limits) in file.limits.iter().take(MAX_ROLES) {
        let here = format!("/limits/{}", escape(role));
        check_role(role, here.clone(), &file.roles, notes);
        if let Some(applies) = limits.applies_per_hour {
            check_range(("appliesPerHour", applies.into()), (1, i64::MAX), format!("{here}/appliesPerHour"), notes);
        }
        let (Some(rank), Some(ranks)) = (&limits.highest_target_rank, ranks) else { continue };
        let mut names = ranks.ranks.iter().flat_map(|entry| std::iter::once(&entry.name).chain(&entry.aliases));
        if names.any(|name| name == rank) {
            continue;
        }
        notes.error(Problem {
            code: "policy.rank_unknown",
            pointer: format!("{here}/highestTargetRank"),
            what: format!("\"{rank}\" is not on the ladder"),
            why: "a limit that names no rank would limit nothing",
            fix: did_you_mean(
                rank,
                ranks.ranks.iter().take(MAX_RANKS).map(|entry| entry.name.as_str()),
                "name a rank of policy.ranks.json",
            ),
        });
    }
}

fn check_users(users: &[u64], pointer: &str, notes: &mut Notes<'_>) {
    check_length(("user ids", users.len(), MAX_PROTECTED), pointer, notes);
    let mut seen = HashSet::new();
    for (at, user) in users.iter().enumerate().take(MAX_PROTECTED) {
        if RobloxId::new(*user).is_err() {
            notes.error(Problem {
                code: "policy.user_id_invalid",
                pointer: format!("{pointer}/{at}"),
                what: format!("{user} is not a Roblox user id"),
                why: "nobody could ever have it",
                fix: format!("write a whole number from 1 to {}", RobloxId::MAX),
            });
        }
        if !seen.insert(user) {
            notes.warn(Problem {
                code: "policy.user_id_twice",
                pointer: format!("{pointer}/{at}"),
                what: format!("user {user} is listed twice"),
                why: "removing one of the two would change nothing, which may surprise",
                fix: "remove one of them".into(),
            });
        }
    }
}
