//! `/players/{userId}`: the player, their snapshots, and the flag on their points.

use std::sync::Arc;

use poem_openapi::param::{Path, Query};
use poem_openapi::types::Any;
use poem_openapi::{Object, OpenApi};
use serde::Serialize;

use super::model::Player;
use super::service::Players;
use super::tables::Snapshot;
use crate::base::{Cursor, Id};
use crate::domains::auth::{Caller, Sender};
use crate::domains::policy::{Policy, PolicyStore};
use crate::http::wire::{RobloxIdIn, RobloxIdOut, Timestamp};
use crate::http::{Area, Json, Rendered};

/// A player with what surrounds their rank on the ladder.
#[derive(Debug, Object, Serialize)]
#[oai(rename_all = "camelCase")]
#[serde(rename_all = "camelCase")]
pub struct PlayerView {
    pub user_id: RobloxIdOut,
    pub username: String,
    /// Ladder name of the rank held; null for someone without one.
    pub rank: Option<String>,
    pub rank_points: i64,
    /// The next rank up; null at the top.
    pub next_rank: Option<String>,
    pub next_rank_required_points: Option<i64>,
    /// The rank below; null at the bottom.
    pub previous_rank: Option<String>,
    pub previous_rank_required_points: Option<i64>,
    pub warnings: u32,
    /// Whether the rank is privileged: never changed automatically.
    pub privileged: bool,
    /// Whether automation may not decide about this player now.
    pub decisions_blocked: bool,
    /// When the last snapshot came in.
    pub last_synced_at: Timestamp,
}

/// A player in full.
#[derive(Debug, Object, Serialize)]
#[oai(rename_all = "camelCase")]
#[serde(rename_all = "camelCase")]
pub struct PlayerDetail {
    #[oai(flatten)]
    #[serde(flatten)]
    pub player: PlayerView,
    pub display_name: Option<String>,
    pub kos: i64,
    pub wos: i64,
    pub recommendations: u32,
    /// As the game server named it; null when there is none.
    pub punishment_status: Option<String>,
    /// Whether the anti-cheat bounds objected to a gain that nobody has looked at yet: promotions wait for a person.
    pub points_flagged: bool,
}

/// One snapshot as it came in.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct SnapshotView {
    /// 16 lower-case hex characters; sorts by time.
    pub id: String,
    pub received_at: Timestamp,
    /// `x-roblox-experience` of the request.
    pub experience: Option<String>,
    /// The credential that sent it.
    pub key_id: String,
    /// What was decided on it, when it was evaluated.
    pub action: Option<String>,
    /// The policy that decided.
    pub policy_version: Option<String>,
    /// The body as it was sent.
    pub body: Any<serde_json::Value>,
}

/// A page of snapshots, newest first.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
pub struct SnapshotPage {
    pub snapshots: Vec<SnapshotView>,
    /// Pass as `cursor` for the next page; null on the last one.
    pub next_cursor: Option<String>,
}

/// The most snapshots a page may hold.
const MAX_SNAPSHOTS: u32 = 200;

impl PlayerView {
    pub fn of(player: &Player, policy: &Policy) -> Self {
        let context = policy.ladder().context(player.rank.as_deref());
        let block = policy.block(player.user_id, player.rank.as_deref(), player.punishment.as_deref());
        Self {
            user_id: RobloxIdOut(player.user_id),
            username: player.username.clone(),
            rank: player.rank.clone(),
            rank_points: player.points,
            next_rank: context.next_rank.as_deref().map(str::to_owned),
            next_rank_required_points: context.next_rank_required_points,
            previous_rank: context.previous_rank.as_deref().map(str::to_owned),
            previous_rank_required_points: context.previous_rank_required_points,
            warnings: player.warnings,
            privileged: context.privileged,
            decisions_blocked: block.is_some(),
            last_synced_at: Timestamp(player.last_synced_at),
        }
    }
}

impl PlayerDetail {
    fn of(player: Player, policy: &Policy) -> Self {
        Self {
            player: PlayerView::of(&player, policy),
            display_name: player.display_name,
            kos: player.kos,
            wos: player.wos,
            recommendations: player.recommendations,
            punishment_status: player.punishment,
            points_flagged: player.flagged,
        }
    }
}

impl SnapshotView {
    fn of(id: Id, snapshot: Snapshot) -> Self {
        let (action, policy_version) = snapshot.outcome.unzip();
        Self {
            id: id.to_string(),
            received_at: Timestamp(snapshot.received_at),
            experience: snapshot.experience,
            key_id: snapshot.key_id,
            action,
            policy_version,
            body: Any(serde_json::from_str(&snapshot.body).unwrap_or(serde_json::Value::Null)),
        }
    }
}

pub struct PlayersApi {
    pub players: Players,
    pub policy: Arc<PolicyStore>,
}

/// Players
#[OpenApi(tag = "Area::Players")]
impl PlayersApi {
    /// One player
    #[oai(path = "/players/:userId", method = "get", operation_id = "getPlayer")]
    async fn player(
        &self,
        _caller: Caller,
        #[oai(name = "userId")] id: Path<RobloxIdIn>,
    ) -> poem::Result<Rendered<PlayerDetail>> {
        let player = self.players.find(id.0.0).await?;
        Ok(Rendered::serialize(&PlayerDetail::of(player, &self.policy.current())))
    }

    /// Believe a player's points
    ///
    /// Somebody looked at the points the anti-cheat bounds objected to (`pointsFlagged`) and found them right: promotions no longer wait
    /// for a person. Without a flag nothing happens.
    #[oai(path = "/players/:userId/clear-flag", method = "post", operation_id = "clearPlayerFlag")]
    async fn clear_flag(
        &self,
        sender: Sender,
        #[oai(name = "userId")] id: Path<RobloxIdIn>,
    ) -> poem::Result<Rendered<PlayerDetail>> {
        let player = self.players.clear_flag(id.0.0, &sender.actor, &sender.request_id).await?;
        Ok(Rendered::serialize(&PlayerDetail::of(player, &self.policy.current())))
    }

    /// A player's snapshots, newest first
    #[oai(path = "/players/:userId/snapshots", method = "get", operation_id = "getPlayerSnapshots")]
    async fn snapshots(
        &self,
        _caller: Caller,
        #[oai(name = "userId")] id: Path<RobloxIdIn>,
        /// Snapshots a page: 1 to 200.
        #[oai(default = "default_limit", validator(minimum(value = "1"), maximum(value = "200")))]
        limit: Query<u32>,
        /// `nextCursor` of the page before.
        cursor: Query<Option<String>>,
    ) -> poem::Result<Json<SnapshotPage>> {
        let after = cursor.0.as_deref().map(Cursor::decode).transpose()?;
        let limit = limit.0.min(MAX_SNAPSHOTS) as usize;
        let page = self.players.snapshots(id.0.0, after.as_ref(), limit).await?;
        let next_cursor = page.next.as_ref().map(Cursor::encode);
        let snapshots = page.items.into_iter().map(|(id, snapshot)| SnapshotView::of(id, snapshot)).collect();
        Ok(Json(SnapshotPage { snapshots, next_cursor }))
    }
}

fn default_limit() -> u32 {
    50
}
