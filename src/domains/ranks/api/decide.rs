//! The endpoints of ingest, decision and simulation.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::try_join_all;
use futures_util::{StreamExt, TryStreamExt};
use poem_openapi::param::Header;
use poem_openapi::types::{Any, Example};
use poem_openapi::{Object, OpenApi};

use super::asker::{Claimant, in_body};
use super::wire::{
    ActionView, DecisionPage, DecisionRequest, DecisionView, Detail, PlayerActivity, PlayerDecision,
    SnapshotIngestResponse, Whom,
};
use crate::base::{Cursor, Error, Result, RobloxId};
use crate::domains::auth::{Caller, Scope};
use crate::domains::players::{PLAYERS, PlayerView};
use crate::domains::policy::{FileKind, Policy};
use crate::domains::ranks::Sender;
use crate::domains::ranks::outcome::Outcome;
use crate::domains::ranks::service::{Ask, Ranks};
use crate::domains::ranks::simulate::{Move, Simulation};
use crate::http::wire::{Flag, RobloxIdIn, RobloxIdOut};
use crate::http::{Area, Context, Json, Rendered};

/// Players decided about at once within one request; they share the store's flushes.
const AT_ONCE: usize = 64;

/// Players simulated in one request.
const SIMULATED: u32 = 1_000;

/// Whose moves to foresee.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
struct SimulationRequest {
    /// Policy files to try, by name without `.json` (`policy.ranks`, `permissions`, …); left out, the policy in force.
    policy: Option<BTreeMap<String, Any<serde_json::Value>>>,
    /// Players a page: 1 to 1,000.
    #[oai(default = "default_simulated", validator(minimum(value = "1"), maximum(value = "1000")))]
    limit: u32,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// This player only, with the decision in full; not together with `cursor`.
    user_id: Option<RobloxIdIn>,
}

impl Example for SimulationRequest {
    fn example() -> Self {
        Self { policy: None, limit: SIMULATED, cursor: None, user_id: None }
    }
}

fn default_simulated() -> u32 {
    SIMULATED
}

/// Someone who would be moved, or punished.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct MoveView {
    user_id: RobloxIdOut,
    username: String,
    action: ActionView,
    from_rank: Option<String>,
    target_rank: Option<String>,
    rank_points: i64,
    reason: String,
}

/// What would happen to one page of players.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct SimulationPage {
    policy_version: String,
    evaluated: u32,
    /// How many of each action, NONE included.
    counts: BTreeMap<String, u32>,
    moves: Vec<MoveView>,
    next_cursor: Option<String>,
    /// With `userId`: the decision, rule by rule. No row has its id.
    #[oai(skip_serializing_if_is_none)]
    decision: Option<DecisionView>,
}

impl From<Move> for MoveView {
    fn from(found: Move) -> Self {
        Self {
            user_id: RobloxIdOut(found.user_id),
            username: found.username,
            action: found.action.into(),
            from_rank: found.from_rank,
            target_rank: found.target_rank,
            rank_points: found.points,
            reason: found.reason,
        }
    }
}

pub struct RanksApi {
    pub ranks: Ranks,
}

/// Snapshots and decisions
#[OpenApi(tag = "Area::Decisions")]
impl RanksApi {
    /// Post a player snapshot
    ///
    /// Stores the snapshot and updates the player; with `x-grps-evaluate: true` it also decides. An answer of 200 means on disk. Where
    /// decisions are carried out on Roblox, an applying request waits up to `APPLY_INLINE_MS` for the outcome.
    #[oai(path = "/roblox/events/player-activity", method = "post", operation_id = "ingestPlayerActivity")]
    #[allow(clippy::too_many_arguments)] // the seed's five headers
    async fn ingest(
        &self,
        caller: Caller,
        context: Context,
        /// The experience's key (training, nexus, …): at most 64 characters.
        #[oai(name = "x-roblox-experience", validator(max_length = 64))]
        experience: Header<Option<String>>,
        /// Roblox id of whoever acted in the game; recorded as claimed.
        #[oai(name = "x-grps-actor")]
        sender: Claimant,
        /// `true` to decide on the snapshot, `false` (the default) not to.
        #[oai(name = "x-grps-evaluate")]
        evaluate: Header<Option<Flag>>,
        /// `true` to let the decision take effect; counts only with `x-grps-evaluate: true`.
        #[oai(name = "x-grps-apply")]
        apply: Header<Option<Flag>>,
        /// `false` to leave out everything but the seed's fields of the decision.
        #[oai(name = "x-grps-explain")]
        explain: Header<Option<Flag>>,
        body: Json<PlayerActivity>,
    ) -> poem::Result<Rendered<SnapshotIngestResponse>> {
        let said = |flag: Header<Option<Flag>>, default| flag.0.map_or(default, |Flag(said)| said);
        let (evaluate, apply) = (said(evaluate, false), said(apply, false));
        let detail = if said(explain, true) { Detail::Explained } else { Detail::Seed };
        let ask = if evaluate { ask(&caller, apply) } else { Ask::Nothing };
        let seen = body.0.observation(experience.0.filter(|key| !key.is_empty()));
        let text = std::str::from_utf8(&context.body).map_err(|error| Error::broken("ingest.not_text", error))?;
        let mut taken = self.ranks.ingest(&seen, text, ask, &sender.0).await?;
        if let Some(outcome) = &mut taken.outcome {
            self.ranks.hear(outcome).await?;
        }
        Ok(Rendered::serialize(&SnapshotIngestResponse {
            player: PlayerView::of(&taken.player, &taken.policy),
            decision: taken.outcome.map(|outcome| DecisionView::of(outcome, detail)),
        }))
    }

    /// Decide about stored players: one, many, or all
    ///
    /// Each player is decided about in a commit of their own. A player who is not stored is a 404 when asked for alone and left out of
    /// `decisions` among many.
    #[oai(path = "/automation/decisions", method = "post", operation_id = "decide")]
    async fn decisions(
        &self,
        caller: Caller,
        /// Roblox id of whoever asks for it; recorded as claimed, and held to their limits.
        #[oai(name = "x-grps-actor")]
        sender: Claimant,
        wanted: Json<DecisionRequest>,
    ) -> poem::Result<Json<DecisionPage>> {
        let wanted = wanted.0;
        let ask = ask(&caller, wanted.apply);
        let (whom, next) = match wanted.whom()? {
            Whom::These(users) => (users, None),
            Whom::Everyone => self.everyone(&wanted).await?,
        };
        let alone = whom.len() == 1 && !wanted.all;
        let mut outcomes: Vec<(RobloxId, Outcome)> = futures_util::stream::iter(whom)
            .map(|user| self.decide(user, ask, &sender.0, alone))
            .buffered(AT_ONCE)
            .try_filter_map(|decision| std::future::ready(Ok(decision)))
            .try_collect()
            .await?;
        // All at once: the page takes no longer than its slowest decision.
        try_join_all(outcomes.iter_mut().map(|(_, outcome)| self.ranks.hear(outcome))).await?;
        let decisions: Vec<PlayerDecision> = outcomes.into_iter().map(PlayerDecision::from).collect();
        Ok(Json(DecisionPage {
            evaluated: decisions.len() as u32,
            decisions,
            next_cursor: next.as_ref().map(Cursor::encode),
        }))
    }

    /// Who would move, over all stored players; nothing is written
    ///
    /// With `userId`, one player, with the decision rule by rule; 404 when they are not stored.
    #[oai(path = "/automation/simulate", method = "post", operation_id = "simulate")]
    async fn simulate(&self, _caller: Caller, wanted: Json<SimulationRequest>) -> poem::Result<Json<SimulationPage>> {
        let wanted = wanted.0;
        let policy = match wanted.policy {
            None => self.ranks.policy.current(),
            Some(files) => Arc::new(tried(files).await?),
        };
        if let Some(RobloxIdIn(user)) = wanted.user_id {
            return Ok(self.simulate_one(&policy, user, wanted.cursor.is_some()).await?);
        }
        let after = cursor(wanted.cursor.as_deref())?;
        let found = self.ranks.simulate(&policy, after.as_ref(), wanted.limit as usize).await.map_err(in_body)?;
        Ok(Json(SimulationPage::of(found, &policy, None)))
    }
}

impl SimulationPage {
    fn of(found: Simulation, policy: &Policy, decision: Option<Outcome>) -> Self {
        Self {
            policy_version: policy.version().to_string(),
            evaluated: found.evaluated as u32,
            counts: found.counts.into_iter().map(|(action, count)| (action.to_owned(), count as u32)).collect(),
            moves: found.moves.into_iter().map(MoveView::from).collect(),
            next_cursor: found.next.as_ref().map(Cursor::encode),
            decision: decision.map(|outcome| DecisionView::of(outcome, Detail::Explained)),
        }
    }
}

impl RanksApi {
    async fn simulate_one(&self, policy: &Policy, user: RobloxId, paged: bool) -> Result<Json<SimulationPage>> {
        if paged {
            return Err(Error::field(&["body", "cursor"], "exclusive", "send either userId or cursor, not both"));
        }
        let (found, outcome) = self.ranks.simulate_one(policy, user).await?;
        Ok(Json(SimulationPage::of(found, policy, Some(outcome))))
    }

    async fn everyone(&self, wanted: &DecisionRequest) -> Result<(Vec<RobloxId>, Option<Cursor>)> {
        let after = cursor(wanted.cursor.as_deref())?;
        let page =
            self.ranks.store.scan(PLAYERS.all().after(after.as_ref()), wanted.limit as usize).await.map_err(in_body)?;
        Ok((page.items.into_iter().map(|(user, _)| user).collect(), page.next))
    }

    async fn decide(
        &self,
        user: RobloxId,
        ask: Ask,
        sender: &Sender,
        alone: bool,
    ) -> Result<Option<(RobloxId, Outcome)>> {
        match self.ranks.review(user, ask, sender).await {
            Ok(outcome) => Ok(Some((user, outcome))),
            Err(error) if error.code() == "players.missing" && !alone => Ok(None),
            Err(error) => Err(error),
        }
    }
}

fn ask(caller: &Caller, apply: bool) -> Ask {
    match (apply, caller.may(Scope::Apply)) {
        (false, _) => Ask::Evaluate,
        (true, true) => Ask::Apply,
        (true, false) => Ask::ApplyDenied,
    }
}

fn cursor(text: Option<&str>) -> Result<Option<Cursor>> {
    text.map(Cursor::decode).transpose().map_err(in_body)
}

/// A policy sent to be tried, checked like one on disk; off the runtime's threads, since a large one takes its time.
async fn tried(files: BTreeMap<String, Any<serde_json::Value>>) -> Result<Policy> {
    let mut parts = Vec::new();
    for (name, Any(value)) in files {
        let kind = FileKind::named(&name).ok_or_else(|| {
            Error::field(&["body", "policy", &name], "enum", "not a policy file; see GET /docs for the names")
        })?;
        parts.push((kind, value));
    }
    let check = move || {
        let texts: Vec<(FileKind, String)> = parts.into_iter().map(|(kind, value)| (kind, value.to_string())).collect();
        let borrowed: Vec<(FileKind, &str)> = texts.iter().map(|(kind, text)| (*kind, text.as_str())).collect();
        Policy::from_texts(&borrowed).map_err(|report| Error::from(&report))
    };
    tokio::task::spawn_blocking(check).await.map_err(|error| Error::broken("policy.check_failed", error))?
}
