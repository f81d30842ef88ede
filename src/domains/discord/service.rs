//! The feed: what the poller works with, and what can be asked about it.

use std::time::Duration;

use super::pace::{Floors, Pace};
use super::poller::Poller;
use super::status::{Board, Status};
use super::tables::{self, Rejection};
use crate::base::metrics::Metrics;
use crate::base::{Clock, Result, Secret};
use crate::domains::jobs::{Jobs, QueueName};
use crate::remote::{BaseUrl, Discord};
use crate::store::Store;

/// What turns the poller on (requirement J9).
#[derive(Debug, Clone)]
pub struct Config {
    /// `CHANNEL_ID`.
    pub channel: u64,
    /// `DISCORD_TOKEN`: a bot's.
    pub token: Secret,
    /// `DISCORD_POLL_SECONDS` and `BURST_POLL_SECONDS`.
    pub floors: Floors,
    /// `DISCORD_QUEUE`: where the jobs go.
    pub queue: QueueName,
    /// `DISCORD_API_URL`.
    pub api: BaseUrl,
    /// A web address of the operator's for Discord to find out who asks; the project's when there is none.
    pub contact: Option<String>,
    /// How long a request may take.
    pub patience: Duration,
}

/// Jobs from Discord. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct DiscordFeed {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) jobs: Jobs,
    pub(super) queue: QueueName,
    pub(super) board: Board,
    source: Option<Source>,
}

#[derive(Clone)]
struct Source {
    discord: Discord,
    channel: u64,
    floors: Floors,
}

impl DiscordFeed {
    /// # Errors
    /// `config.invalid` for a token that cannot be one; `remote.client`.
    pub fn new(store: Store, clock: Clock, jobs: Jobs, config: Option<&Config>, metrics: &Metrics) -> Result<Self> {
        let source = config.map(|config| -> Result<Source> {
            let discord = Discord::new(config.api.clone(), &config.token, config.contact.as_deref(), config.patience)?;
            Ok(Source { discord, channel: config.channel, floors: config.floors })
        });
        let source = source.transpose()?;
        let queue = config.map_or_else(QueueName::default, |config| config.queue.clone());
        Ok(Self { store, clock, jobs, queue, board: Board::new(metrics, source.is_some()), source })
    }

    /// A poller that begins where the last commit left off; none when the feed is off.
    pub fn poller(&self) -> Option<Poller> {
        let Source { discord, channel, floors } = self.source.clone()?;
        Some(Poller::new(self.clone(), discord, channel, Pace::new(floors)))
    }

    /// The channel that is read; none when the feed is off.
    pub fn channel(&self) -> Option<u64> {
        self.source.as_ref().map(|source| source.channel)
    }

    pub fn queue(&self) -> &QueueName {
        &self.queue
    }

    pub fn status(&self) -> Status {
        self.board.read()
    }

    /// The newest `limit` rejections, newest first.
    ///
    /// # Errors
    /// Those of reading the store.
    pub async fn rejections(&self, limit: usize) -> Result<Vec<Rejection>> {
        tables::rejections(&self.store, limit).await
    }
}
