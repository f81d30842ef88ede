//! Finding decisions: newest first, by what is asked for.

use super::history::{DECIDED, DECISIONS, Decision, OPEN_EFFECTS};
use super::service::Ranks;
use crate::base::{Cursor, Error, Id, Page, Result, RobloxId, Time};
use crate::domains::effects::{EFFECTS, Effect};
use crate::domains::players::Status;
use crate::domains::policy::Action;

/// Decisions looked at for one page at most: a page may hold fewer than asked for, and the next one goes on.
pub const MAX_LOOKED_AT: usize = 5_000;

/// Which decisions are asked for; all that is none matches.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    pub status: Option<Status>,
    pub action: Option<Action>,
    pub user: Option<RobloxId>,
    /// The name of an origin.
    pub origin: Option<&'static str>,
    /// Made at this time or later.
    pub since: Option<Time>,
    /// Made before this time.
    pub until: Option<Time>,
    /// A credential, or the Roblox id somebody claimed to be: whoever asked for the decision, or approved it.
    pub actor: Option<String>,
}

/// A decision with whom it is about.
pub type Found = ((RobloxId, Id), Decision);

impl Filter {
    fn fits(&self, decision: &Decision) -> bool {
        self.status.is_none_or(|status| decision.status == status)
            && self.action.is_none_or(|action| decision.action == action)
            && self.origin.is_none_or(|origin| decision.origin.text() == origin)
            && self.actor.as_ref().is_none_or(|actor| decision.is_of(actor))
    }

    fn ids(&self) -> (Id, Id) {
        (self.since.map_or(Id(0), Id::floor), self.until.map_or(Id(u64::MAX), Id::floor))
    }
}

impl Ranks {
    /// A page of decisions, newest first.
    ///
    /// # Errors
    /// `request.invalid` for a cursor of another list; those of the store.
    pub async fn list(&self, filter: &Filter, after: Option<&Cursor>, limit: usize) -> Result<Page<Found>> {
        let (mut items, mut looked_at, mut after) = (Vec::new(), 0, after.cloned());
        loop {
            // Never more than what is still wanted, so the page ends with the last row looked at.
            let page = self.page(filter, after.as_ref(), limit - items.len()).await?;
            looked_at += page.items.len();
            items.extend(page.items.into_iter().filter(|(_, decision)| filter.fits(decision)));
            after = page.next;
            if after.is_none() || items.len() >= limit || looked_at >= MAX_LOOKED_AT {
                return Ok(Page { items, next: after });
            }
        }
    }

    async fn page(&self, filter: &Filter, after: Option<&Cursor>, limit: usize) -> Result<Page<Found>> {
        let (since, until) = filter.ids();
        if let Some(user) = filter.user {
            let rows = DECISIONS.between(&(user, since), &(user, until));
            return self.store.scan(rows.newest_first().after(after), limit).await;
        }
        let index = if filter.status == Some(Status::Queued) { &OPEN_EFFECTS } else { &DECIDED };
        let page = self.store.scan(index.between(&since, &until).newest_first().after(after), limit).await?;
        let keys: Vec<(RobloxId, Id)> = page.items.iter().map(|(id, user)| (*user, *id)).collect();
        let decisions = self.store.get_many(&DECISIONS, &keys).await?;
        let items = keys.into_iter().zip(decisions).filter_map(|(key, decision)| Some((key, decision?))).collect();
        Ok(Page { items, next: page.next })
    }

    /// How far decisions have been carried out, in the order of `ids`; at most a page of them.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn effects(&self, ids: &[Id]) -> Result<Vec<Option<Effect>>> {
        self.store.get_many(&EFFECTS, ids).await
    }

    /// The decision with this id.
    ///
    /// # Errors
    /// `decisions.missing`; those of the store.
    pub async fn decision(&self, id: Id) -> Result<Found> {
        let missing = || Error::missing("decisions.missing", format!("there is no decision {id}"));
        let user = self.store.get(&DECIDED, &id).await?.ok_or_else(missing)?;
        let decision = self.store.get(&DECISIONS, &(user, id)).await?.ok_or_else(missing)?;
        Ok(((user, id), decision))
    }
}
