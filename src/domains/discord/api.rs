//! `GET /admin/api/discord`: how the poller is doing, and what it could not use.

use poem_openapi::param::Query;
use poem_openapi::{Enum, Object, OpenApi};

use super::service::DiscordFeed;
use super::status::{Phase, Status};
use super::tables::Rejection;
use crate::base::{Failing, Result};
use crate::domains::auth::Caller;
use crate::http::wire::Timestamp;
use crate::http::{Area, Json};

/// What the poller is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum PollerState {
    /// CHANNEL_ID or DISCORD_TOKEN is missing.
    Off,
    Starting,
    Polling,
    /// Something failed; it asks again at `nextPollAt`.
    Waiting,
    /// It does not ask again until the server is started anew.
    Stopped,
}

/// Why the poller is not polling as it should.
#[derive(Debug, Object)]
struct PollerFailure {
    detail: String,
    /// What to do about it.
    hint: Option<String>,
    since: Timestamp,
}

/// What Discord last said about its rate limit.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct RateLimitView {
    bucket: Option<String>,
    limit: Option<u32>,
    remaining: Option<u32>,
    reset_after_seconds: Option<f64>,
}

/// A message or an embed that became no job.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct RejectionView {
    at: Timestamp,
    channel_id: String,
    message_id: Option<String>,
    /// Left out when the whole message is meant.
    embed_index: Option<u32>,
    reason: String,
}

/// The poller and its newest rejections.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct DiscordView {
    state: PollerState,
    channel_id: Option<String>,
    /// Where the jobs go.
    queue: String,
    last_poll_at: Option<Timestamp>,
    next_poll_at: Option<Timestamp>,
    /// The pause before the next request: the floor that is set, or more where Discord wants it.
    interval_seconds: f64,
    last_message_id: Option<String>,
    last_message_at: Option<Timestamp>,
    rate_limit: RateLimitView,
    failing: Option<PollerFailure>,
    /// What looks wrong though reading goes on.
    warning: Option<String>,
    /// Requests since the server's start; so are the next three.
    polls: u64,
    messages: u64,
    jobs: u64,
    rejected: u64,
    /// Newest first; the newest 1,000 are kept.
    rejections: Vec<RejectionView>,
}

pub struct DiscordApi {
    pub feed: DiscordFeed,
}

fn default_rejections() -> u32 {
    100
}

/// Jobs from Discord
#[OpenApi(tag = "Area::Operation")]
impl DiscordApi {
    /// How reading jobs from Discord is going, and what became no job
    #[oai(path = "/admin/api/discord", method = "get", operation_id = "getDiscord")]
    async fn discord(
        &self,
        _caller: Caller,
        /// Rejections to show.
        #[oai(default = "default_rejections", validator(minimum(value = "1"), maximum(value = "1000")))]
        limit: Query<u32>,
    ) -> poem::Result<Json<DiscordView>> {
        Ok(Json(self.view(limit.0 as usize).await?))
    }
}

impl DiscordApi {
    async fn view(&self, limit: usize) -> Result<DiscordView> {
        let status = self.feed.status();
        let warning = status.warnings();
        let Status { phase, last_poll, next_poll, interval, last_message, limits, failing, counts, .. } = status;
        let rejections = self.feed.rejections(limit).await?.into_iter().map(RejectionView::from).collect();
        Ok(DiscordView {
            state: phase.into(),
            channel_id: self.feed.channel().map(|channel| channel.to_string()),
            queue: self.feed.queue().to_string(),
            last_poll_at: last_poll.map(Timestamp),
            next_poll_at: next_poll.map(Timestamp),
            interval_seconds: interval.as_secs_f64(),
            last_message_id: last_message.map(|id| id.0.to_string()),
            last_message_at: last_message.map(|id| Timestamp(id.made_at())),
            rate_limit: RateLimitView {
                bucket: limits.bucket,
                limit: limits.limit,
                remaining: limits.remaining,
                reset_after_seconds: limits.reset_after.map(|wait| wait.as_secs_f64()),
            },
            failing: failing.map(|(Failing { what, hint }, since)| PollerFailure {
                detail: what,
                hint,
                since: Timestamp(since),
            }),
            warning,
            polls: counts.polls,
            messages: counts.messages,
            jobs: counts.jobs,
            rejected: counts.rejections,
            rejections,
        })
    }
}

impl From<Phase> for PollerState {
    fn from(phase: Phase) -> Self {
        match phase {
            Phase::Off => Self::Off,
            Phase::Starting => Self::Starting,
            Phase::Polling => Self::Polling,
            Phase::Waiting => Self::Waiting,
            Phase::Stopped => Self::Stopped,
        }
    }
}

impl From<Rejection> for RejectionView {
    fn from(rejection: Rejection) -> Self {
        Self {
            at: Timestamp(rejection.at),
            channel_id: rejection.channel.to_string(),
            message_id: rejection.message.map(|id| id.to_string()),
            embed_index: rejection.index,
            reason: rejection.reason,
        }
    }
}
