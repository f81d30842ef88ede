//! `/automation/decisions`: finding decisions, and what people say about them.

use futures_util::StreamExt;
use poem_openapi::param::{Path, Query};
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};

use super::asker::{Claimant, decision_id};
use super::shown::{DecisionDetail, DecisionList, Obstacles, OriginView};
use super::wire::{ActionView, StatusView};
use crate::base::{Cursor, Error, Id, Result};
use crate::domains::auth::Caller;
use crate::domains::ranks::Sender;
use crate::domains::ranks::listing::{Filter, Found};
use crate::domains::ranks::person::Say;
use crate::domains::ranks::service::Ranks;
use crate::http::wire::{RobloxIdIn, Timestamp};
use crate::http::{Area, Json};

/// Decisions in one bulk request at most; the schemas say so too.
const MAX_BULK: usize = 100;

/// Decisions of a bulk request that are worked on at once.
const AT_ONCE: usize = 16;

/// Why a decision is rejected.
#[derive(Debug, Object)]
#[oai(example)]
struct Rejection {
    /// Shown to whoever looks at the decision; at most 200 characters.
    #[oai(default, validator(max_length = 200))]
    reason: String,
}

impl Example for Rejection {
    fn example() -> Self {
        Self { reason: "warned by mistake".into() }
    }
}

/// Decisions to approve or reject.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
struct Bulk {
    /// 1 to 100 ids of decisions.
    #[oai(validator(min_items = 1, max_items = 100))]
    ids: Vec<String>,
    /// Why they are rejected; at most 200 characters.
    #[oai(default, validator(max_length = 200))]
    reason: String,
    /// Reject only what is `proposed`: what somebody approved meanwhile stays.
    #[oai(default)]
    only_proposed: bool,
}

impl Example for Bulk {
    fn example() -> Self {
        Self { ids: vec!["19541e5ac1000001".into()], reason: String::new(), only_proposed: false }
    }
}

/// What came of one of many.
#[derive(Debug, Object)]
struct BulkResult {
    id: String,
    /// The decision as it is now; null where nothing could be done.
    decision: Option<DecisionDetail>,
    /// Why nothing could be done.
    error: Option<Refusal>,
}

/// Why nothing could be done.
#[derive(Debug, Object)]
struct Refusal {
    /// A stable dotted name.
    code: String,
    detail: String,
    hint: Option<String>,
}

/// What came of each, in the order they were named.
#[derive(Debug, Object)]
struct BulkResults {
    results: Vec<BulkResult>,
}

pub struct DecisionsApi {
    pub ranks: Ranks,
    pub obstacles: Obstacles,
}

/// Decisions, and what people say about them
#[OpenApi(tag = "Area::Decisions")]
#[allow(clippy::too_many_arguments)] // an argument per parameter of the query is how poem-openapi reads them
impl DecisionsApi {
    /// Decisions, newest first
    ///
    /// Filters narrow each other. Use a cursor with the filters it was given for.
    #[oai(path = "/automation/decisions", method = "get", operation_id = "listDecisions")]
    async fn list(
        &self,
        _caller: Caller,
        status: Query<Option<StatusView>>,
        action: Query<Option<ActionView>>,
        /// Only about this player.
        #[oai(name = "userId")]
        user_id: Query<Option<RobloxIdIn>>,
        origin: Query<Option<OriginView>>,
        /// Made at this time or later: RFC 3339.
        since: Query<Option<Timestamp>>,
        /// Made before this time: RFC 3339.
        until: Query<Option<Timestamp>>,
        /// Only what this credential asked for or approved, or somebody who claimed to be this Roblox user.
        #[oai(validator(min_length = 1, max_length = 64))]
        actor: Query<Option<String>>,
        /// Decisions a page: 1 to 200.
        #[oai(default = "usual_list", validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<u32>,
        /// `nextCursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> poem::Result<Json<DecisionList>> {
        let filter = Filter {
            status: status.0.map(Into::into),
            action: action.0.map(Into::into),
            user: user_id.0.map(|id| id.0),
            origin: origin.0.map(OriginView::text),
            since: since.0.map(|at| at.0),
            until: until.0.map(|at| at.0),
            actor: actor.0,
        };
        let after = cursor.0.as_deref().map(Cursor::decode).transpose()?;
        let page = self.ranks.list(&filter, after.as_ref(), limit.0 as usize).await?;
        let next_cursor = page.next.as_ref().map(Cursor::encode);
        let ids: Vec<Id> = page.items.iter().map(|((_, id), _)| *id).collect();
        let effects = self.ranks.effects(&ids).await?;
        let shown = |(found, effect)| DecisionDetail::of(found, effect, &self.obstacles);
        Ok(Json(DecisionList { decisions: page.items.into_iter().zip(effects).map(shown).collect(), next_cursor }))
    }

    /// One decision with what it rests on
    #[oai(path = "/automation/decisions/:id", method = "get", operation_id = "getDecision")]
    async fn one(&self, _caller: Caller, id: Path<String>) -> poem::Result<Json<DecisionDetail>> {
        Ok(Json(self.shown(self.ranks.decision(in_path(&id)?).await?).await?))
    }

    /// Let a decision take effect
    ///
    /// A person looked, so neither the policy's mode nor the breaker's counts stand against it; protected people and the limits of
    /// `permissions.json` do. Refused when the player's rank is not any more the one it was made about.
    #[oai(path = "/automation/decisions/:id/approve", method = "post", operation_id = "approveDecision")]
    async fn approve(
        &self,
        id: Path<String>,
        /// Roblox id of whoever approves; recorded as claimed, and held to their limits.
        #[oai(name = "x-grps-actor")]
        sender: Claimant,
    ) -> poem::Result<Json<DecisionDetail>> {
        Ok(Json(self.say(in_path(&id)?, &Say::Approve, &sender.0).await?))
    }

    /// Keep a decision from taking effect
    ///
    /// The same is not proposed again for 24 hours. One that has taken effect is taken back by `POST /automation/revert`.
    #[oai(path = "/automation/decisions/:id/reject", method = "post", operation_id = "rejectDecision")]
    async fn reject(
        &self,
        id: Path<String>,
        /// Roblox id of whoever rejects; recorded as claimed.
        #[oai(name = "x-grps-actor")]
        sender: Claimant,
        why: Json<Rejection>,
    ) -> poem::Result<Json<DecisionDetail>> {
        let say = Say::Reject { reason: why.0.reason, only_proposed: false };
        Ok(Json(self.say(in_path(&id)?, &say, &sender.0).await?))
    }

    /// Try a failed decision again
    #[oai(path = "/automation/decisions/:id/retry", method = "post", operation_id = "retryDecision")]
    async fn retry(
        &self,
        id: Path<String>,
        /// Roblox id of whoever retries; recorded as claimed, and held to their limits.
        #[oai(name = "x-grps-actor")]
        sender: Claimant,
    ) -> poem::Result<Json<DecisionDetail>> {
        Ok(Json(self.say(in_path(&id)?, &Say::Retry, &sender.0).await?))
    }

    /// Approve many decisions
    ///
    /// Each in a commit of its own: some may be refused while others are done.
    #[oai(path = "/automation/decisions/approve", method = "post", operation_id = "approveDecisions")]
    async fn approve_all(
        &self,
        /// Roblox id of whoever approves; recorded as claimed, and held to their limits.
        #[oai(name = "x-grps-actor")]
        sender: Claimant,
        wanted: Json<Bulk>,
    ) -> poem::Result<Json<BulkResults>> {
        Ok(Json(self.say_all(&wanted.0.ids, &Say::Approve, &sender.0).await?))
    }

    /// Reject many decisions
    ///
    /// Each in a commit of its own: some may be refused while others are done.
    #[oai(path = "/automation/decisions/reject", method = "post", operation_id = "rejectDecisions")]
    async fn reject_all(
        &self,
        /// Roblox id of whoever rejects; recorded as claimed.
        #[oai(name = "x-grps-actor")]
        sender: Claimant,
        wanted: Json<Bulk>,
    ) -> poem::Result<Json<BulkResults>> {
        let Bulk { ids, reason, only_proposed } = wanted.0;
        Ok(Json(self.say_all(&ids, &Say::Reject { reason, only_proposed }, &sender.0).await?))
    }
}

impl DecisionsApi {
    async fn say(&self, id: Id, say: &Say, sender: &Sender) -> Result<DecisionDetail> {
        let (user, decision) = self.ranks.say(id, say, sender).await?;
        self.shown(((user, id), decision)).await
    }

    async fn shown(&self, found: Found) -> Result<DecisionDetail> {
        let ((_, id), _) = &found;
        let effect = self.ranks.effects(&[*id]).await?.pop().flatten();
        Ok(DecisionDetail::of(found, effect, &self.obstacles))
    }

    async fn say_all(&self, ids: &[String], say: &Say, sender: &Sender) -> Result<BulkResults> {
        debug_assert!(ids.len() <= MAX_BULK, "the schema bounds them");
        let read = |(at, id): (usize, &String)| decision_id(id, &["body", "ids", &at.to_string()]);
        let ids = ids.iter().enumerate().map(read).collect::<Result<Vec<Id>>>()?;
        let answers = futures_util::stream::iter(ids).map(|id| async move { (id, self.say(id, say, sender).await) });
        let results = answers.buffered(AT_ONCE).map(|(id, answer)| match answer {
            Ok(decision) => BulkResult { id: id.to_string(), decision: Some(decision), error: None },
            Err(error) => BulkResult { id: id.to_string(), decision: None, error: Some(Refusal::from(&error)) },
        });
        Ok(BulkResults { results: results.collect().await })
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        let hint = error.hint_text().map(str::to_owned);
        Self { code: error.code().to_owned(), detail: error.detail().to_owned(), hint }
    }
}

fn in_path(id: &Path<String>) -> Result<Id> {
    decision_id(&id.0, &["path", "id"])
}

fn usual_list() -> u32 {
    50
}
