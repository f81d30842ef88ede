//! `/admin/api/roblox`: what the server knows of Roblox, the live roles, and the doctor.

use poem_openapi::OpenApi;

use super::probe::{Uses, examine};
use super::service::{Access, Group, KEY_AGE, ROLES_AGE, not_configured, refused};
use super::wire::{GroupView, ProbeReport, RobloxKeyView, RobloxView, RoleView, RolesView, matches};
use crate::base::{Failing, Result};
use crate::domains::auth::Caller;
use crate::http::{Area, Json};

pub struct GroupApi {
    pub group: Group,
    pub uses: Uses,
}

/// Roblox
#[OpenApi(tag = "Area::Operation")]
impl GroupApi {
    /// What the server knows of the group, its key, and how much of Roblox's limits is used
    #[oai(path = "/admin/api/roblox", method = "get", operation_id = "getRoblox")]
    async fn roblox(&self, _caller: Caller) -> poem::Result<Json<RobloxView>> {
        let access = self.access()?;
        let roles = self.group.roles(ROLES_AGE).await;
        let key = self.group.key(KEY_AGE).await;
        let trouble = roles.as_ref().err().or(key.as_ref().err());
        let failing = self.group.failing().or(trouble.map(Failing::from));
        let roles = roles.ok();
        let owner_rank = roles.as_ref().and_then(|roles| roles.key_owner_rank);
        Ok(Json(RobloxView {
            group_id: access.group,
            universe_id: access.universe,
            datastore: self.uses.store.as_ref().map(|store| store.name.clone()),
            group: roles.as_deref().map(GroupView::from),
            key: key.ok().map(|key| RobloxKeyView::new(&key, owner_rank)),
            ladder: roles.as_ref().map(|roles| matches(&roles.map(&self.group.policy()))),
            budget: access.roblox.budget().usage().into_iter().map(Into::into).collect(),
            failing: failing.map(Into::into),
        }))
    }

    /// The live group's roles
    #[oai(path = "/admin/api/roblox/roles", method = "get", operation_id = "listRoles")]
    async fn roles(&self, _caller: Caller) -> poem::Result<Json<RolesView>> {
        self.access()?;
        // Whoever imports a ladder has just changed the roles.
        self.group.forget();
        let roles = self.group.roles(ROLES_AGE).await.map_err(|trouble| refused(&trouble))?;
        let mapping = roles.map(&self.group.policy());
        Ok(Json(RolesView {
            group: (&*roles).into(),
            key_owner_rank: roles.key_owner_rank,
            roles: roles.list.iter().map(|role| RoleView::new(role, &mapping)).collect(),
        }))
    }

    /// Check the key, its scopes and every call that the features need
    ///
    /// Nothing is changed on Roblox: what could not be tried without a change is read off the key's scopes.
    #[oai(path = "/admin/api/roblox/probe", method = "post", operation_id = "probeRoblox")]
    async fn probe(&self, _caller: Caller) -> poem::Result<Json<ProbeReport>> {
        let access = self.access()?;
        Ok(Json(examine(&self.group, &access, &self.uses).await.into()))
    }

    fn access(&self) -> Result<Access> {
        self.group.access().ok_or_else(not_configured)
    }
}
