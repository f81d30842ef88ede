//! Who may do what, by `permissions.json`: roles, scopes, limits, and the people automation never touches.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use crate::base::RobloxId;

use super::files::{Binding, Limits, PermissionsFile};

/// What is known about a caller; the parts that do not apply stay `None`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Identity<'a> {
    /// Their rank number in the group, 0 to 255.
    pub roblox_rank: Option<u8>,
    pub roblox_user: Option<RobloxId>,
    /// `provider:subject` of a sign-in: `discord:1234`.
    pub oidc_sub: Option<&'a str>,
    /// The environment variable that lists their key: `INBOUND_API_KEYS`.
    pub api_key_env: Option<&'a str>,
}

/// Scopes a caller has. `*` stands for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scopes(BTreeSet<Arc<str>>);

impl Scopes {
    /// Whether these scopes include `scope`.
    pub fn allow(&self, scope: &str) -> bool {
        self.0.contains("*") || self.0.contains(scope)
    }

    /// The scopes, sorted.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(AsRef::as_ref)
    }
}

impl<'a> FromIterator<&'a str> for Scopes {
    fn from_iter<T: IntoIterator<Item = &'a str>>(scopes: T) -> Self {
        Self(scopes.into_iter().map(Arc::from).collect())
    }
}

/// A role given to a caller, and what it lets them do.
#[derive(Debug, Clone, Copy)]
pub struct Grant<'a> {
    pub role: &'a str,
    /// The role's scopes and those the binding adds.
    pub scopes: &'a Scopes,
    /// Limits of the role, when it has any.
    pub limits: Option<&'a Limits>,
}

/// Permissions, checked and indexed.
#[derive(Debug, Clone)]
pub struct Permissions {
    roles: BTreeMap<String, Scopes>,
    bindings: Vec<(Binding, Scopes)>,
    limits: BTreeMap<String, Limits>,
    protected: HashSet<u64>,
}

impl Permissions {
    /// Builds the permissions of a file that lint has found clean.
    pub(super) fn new(file: &PermissionsFile) -> Self {
        let scopes_of = |role: &str| file.roles.get(role).into_iter().flatten();
        let bindings = file.bindings.iter().map(|binding| {
            let scopes = scopes_of(&binding.role).chain(&binding.add).map(String::as_str).collect();
            (binding.clone(), scopes)
        });
        Self {
            roles: file
                .roles
                .iter()
                .map(|(role, list)| (role.clone(), list.iter().map(String::as_str).collect()))
                .collect(),
            bindings: bindings.collect(),
            limits: file.limits.clone(),
            protected: file.protected_user_ids.iter().copied().collect(),
        }
    }

    /// The role of a caller: that of the first binding, from the top of the file, that fits. `None` when none does.
    pub fn grant(&self, who: &Identity<'_>) -> Option<Grant<'_>> {
        let (binding, scopes) = self.bindings.iter().find(|(binding, _)| fits(binding, who))?;
        Some(Grant { role: &binding.role, scopes, limits: self.limits.get(&binding.role) })
    }

    /// The scopes of a role, without what bindings add. `None` for an unknown role.
    pub fn scopes(&self, role: &str) -> Option<&Scopes> {
        self.roles.get(role)
    }

    /// Limits of a role, when it has any.
    pub fn limits(&self, role: &str) -> Option<&Limits> {
        self.limits.get(role)
    }

    /// Whether automation must leave this user alone.
    pub fn protects(&self, user: RobloxId) -> bool {
        self.protected.contains(&user.get())
    }
}

fn fits(binding: &Binding, who: &Identity<'_>) -> bool {
    let by_rank = match (binding.roblox_rank_at_least, who.roblox_rank) {
        (Some(least), Some(rank)) => u32::from(rank) >= least,
        _ => false,
    };
    by_rank
        || who.roblox_user.is_some_and(|user| binding.roblox_user_ids.contains(&user.get()))
        || who.oidc_sub.is_some_and(|sub| binding.oidc_sub.iter().any(|bound| bound == sub))
        || (who.api_key_env.is_some() && who.api_key_env == binding.api_key_env.as_deref())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::policy::{FileKind, Policy};

    const PERMISSIONS: &str = r#"{ "version": 1,
        "roles": { "admin": ["*"], "mod": ["players:read"], "gameserver": ["ingest"] },
        "bindings": [ { "robloxRankAtLeast": 200, "role": "admin" }, { "oidcSub": ["discord:1234"], "role": "mod" },
                      { "robloxUserIds": [7], "role": "admin" },
                      { "apiKeyEnv": "INBOUND_API_KEYS", "role": "gameserver", "add": ["decisions:apply"] } ],
        "limits": { "mod": { "appliesPerHour": 20, "notSelf": true } },
        "protectedUserIds": [99] }"#;

    fn policy() -> Policy {
        let ranks = r#"{ "version": 1, "ranks": [{ "name": "One", "requiredPoints": 1 }] }"#;
        Policy::from_texts(&[(FileKind::Ranks, ranks), (FileKind::Permissions, PERMISSIONS)]).unwrap()
    }

    #[test]
    fn the_first_binding_that_fits_decides() {
        let policy = policy();
        let role = |who: Identity<'_>| policy.permissions().grant(&who).map(|grant| grant.role.to_owned());
        let user = RobloxId::new(7).unwrap();
        assert_eq!(role(Identity::default()), None);
        assert_eq!(role(Identity { roblox_rank: Some(199), ..Identity::default() }), None);
        assert_eq!(role(Identity { roblox_rank: Some(200), ..Identity::default() }).as_deref(), Some("admin"));
        assert_eq!(role(Identity { roblox_user: Some(user), ..Identity::default() }).as_deref(), Some("admin"));
        let both = Identity { roblox_user: Some(user), oidc_sub: Some("discord:1234"), ..Identity::default() };
        assert_eq!(role(both).as_deref(), Some("mod"));
    }

    #[test]
    fn a_key_gets_its_roles_scopes_and_those_its_binding_adds() {
        let policy = policy();
        let who = Identity { api_key_env: Some("INBOUND_API_KEYS"), ..Identity::default() };
        let grant = policy.permissions().grant(&who).unwrap();
        assert!(grant.scopes.allow("ingest") && grant.scopes.allow("decisions:apply"));
        assert!(!grant.scopes.allow("audit:read"));
        assert!(policy.permissions().scopes("admin").unwrap().allow("anything:at:all"));
        assert_eq!(policy.permissions().limits("mod").unwrap().applies_per_hour, Some(20));
        assert!(policy.permissions().protects(RobloxId::new(99).unwrap()));
        assert!(!policy.permissions().protects(RobloxId::new(98).unwrap()));
    }
}
