//! `/automation/revert`: taking decisions back.

use poem_openapi::types::Example;
use poem_openapi::{Enum, Object, OpenApi};

use super::asker::{Claimant, decision_id, in_body};
use crate::base::{Cursor, Error, Result};
use crate::domains::ranks::revert::{Aspect, MAX_AT_ONCE, Planned, Reverted, Whose, Window};
use crate::domains::ranks::service::Ranks;
use crate::http::wire::{RobloxIdOut, Timestamp};
use crate::http::{Area, Json};

/// What to take back: either `decisionId`, or `since` with what narrows it.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
struct RevertRequest {
    /// This decision.
    decision_id: Option<String>,
    /// All that took effect at this time or later: RFC 3339.
    since: Option<Timestamp>,
    /// Only what took effect before this time; left out, up to now.
    until: Option<Timestamp>,
    /// Only what this credential asked for or approved, or somebody who claimed to be this Roblox user.
    #[oai(validator(min_length = 1, max_length = 64))]
    actor: Option<String>,
    /// Only say what would be done. `false` does it.
    #[oai(default = "yes")]
    dry_run: bool,
    /// Decisions looked at in one call: 1 to 1,000.
    #[oai(default = "most", validator(minimum(value = "1"), maximum(value = "1000")))]
    limit: u32,
    /// `nextCursor` of the call before.
    cursor: Option<String>,
}

const _: () = assert!(MAX_AT_ONCE == 1_000, "the schema says so");

impl Example for RevertRequest {
    fn example() -> Self {
        Self {
            decision_id: Some("19541e5ac1000001".into()),
            since: None,
            until: None,
            actor: None,
            dry_run: true,
            limit: most(),
            cursor: None,
        }
    }
}

/// What changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum AspectView {
    Rank,
    Punishment,
    /// A decision that has not taken effect yet.
    Queued,
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum Done {
    /// What was before comes back, by a decision of its own.
    Restore,
    /// It does not take effect.
    Cancel,
    /// Something else has to end first: ask again.
    Wait,
    /// Nothing.
    Skip,
}

/// Decisions about one player that are taken back together.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct RestorationView {
    user_id: RobloxIdOut,
    aspect: AspectView,
    /// Oldest first.
    decision_ids: Vec<String>,
    /// The rank, or the punishment, they have now.
    from: Option<String>,
    /// What they have afterwards; null for none.
    to: Option<String>,
    outcome: Done,
    /// Why it waits, or why nothing is done.
    reason: Option<String>,
    /// The decision that restores it; null in a preview.
    decision_id: Option<String>,
}

/// What was done, or would be.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct RevertView {
    dry_run: bool,
    restored: u32,
    cancelled: u32,
    waiting: u32,
    skipped: u32,
    items: Vec<RestorationView>,
    /// Pass as `cursor` to go on; null at the end.
    next_cursor: Option<String>,
}

impl RevertRequest {
    fn whose(&self) -> Result<Whose> {
        let narrowed = self.until.is_some() || self.actor.is_some() || self.cursor.is_some();
        match (&self.decision_id, self.since) {
            (Some(id), None) if !narrowed => Ok(Whose::Decision(decision_id(id, &["body", "decisionId"])?)),
            (None, Some(since)) => {
                let until = self.until.map(|until| until.0);
                if until.is_some_and(|until| until <= since.0) {
                    return Err(Error::field(&["body", "until"], "not_after", "until has to be later than since"));
                }
                Ok(Whose::Window(Window { since: since.0, until, actor: self.actor.clone() }))
            }
            _ => Err(Error::field(
                &["body"],
                "one_of",
                "give either decisionId alone, or since with until, actor and cursor as you like",
            )),
        }
    }
}

impl From<Reverted> for RestorationView {
    fn from(Reverted { restoration, decision }: Reverted) -> Self {
        let (outcome, reason) = match restoration.planned {
            Planned::Do(_) => (Done::Restore, None),
            Planned::Cancel => (Done::Cancel, None),
            Planned::Wait(why) => (Done::Wait, Some(why)),
            Planned::Skip(why) => (Done::Skip, Some(why)),
        };
        let aspect = match restoration.aspect {
            Aspect::Rank => AspectView::Rank,
            Aspect::Punishment => AspectView::Punishment,
            Aspect::Queued => AspectView::Queued,
        };
        Self {
            user_id: RobloxIdOut(restoration.user),
            aspect,
            decision_ids: restoration.decisions.iter().map(ToString::to_string).collect(),
            from: restoration.from,
            to: restoration.to,
            outcome,
            reason,
            decision_id: decision.map(|id| id.to_string()),
        }
    }
}

pub struct RevertApi {
    pub ranks: Ranks,
}

/// Taking decisions back
#[OpenApi(tag = "Area::Decisions")]
impl RevertApi {
    /// Take back one decision, or all of a stretch of time
    ///
    /// A preview unless `dryRun` is false. Players get the rank from before the first decision taken back, punishments are lifted, what is
    /// queued is cancelled. What other decisions have changed since is left alone. The breaker does not count it; a revert can be taken
    /// back like any other decision. While anything is `waiting`, the same call again goes on.
    #[oai(path = "/automation/revert", method = "post", operation_id = "revertDecisions")]
    async fn revert(
        &self,
        /// Roblox id of whoever reverts; recorded as claimed.
        #[oai(name = "x-grps-actor")]
        sender: Claimant,
        wanted: Json<RevertRequest>,
    ) -> poem::Result<Json<RevertView>> {
        let wanted = wanted.0;
        let whose = wanted.whose()?;
        let after = wanted.cursor.as_deref().map(Cursor::decode).transpose().map_err(in_body)?;
        let paging = (after.as_ref(), wanted.limit as usize);
        let page = self.ranks.revert(&whose, wanted.dry_run, &sender.0, paging).await.map_err(in_body)?;
        let items: Vec<RestorationView> = page.items.into_iter().map(RestorationView::from).collect();
        let count = |done: Done| items.iter().filter(|item| item.outcome == done).count() as u32;
        Ok(Json(RevertView {
            dry_run: wanted.dry_run,
            restored: count(Done::Restore),
            cancelled: count(Done::Cancel),
            waiting: count(Done::Wait),
            skipped: count(Done::Skip),
            items,
            next_cursor: page.next.as_ref().map(Cursor::encode),
        }))
    }
}

fn yes() -> bool {
    true
}

fn most() -> u32 {
    1_000
}
