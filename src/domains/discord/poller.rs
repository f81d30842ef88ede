//! The worker that reads the channel. A page becomes jobs, rejections and a cursor in the same commits, so a stop at any moment neither
//! loses nor repeats a message; the jobs' idempotency keys are a second net.

use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::Value;

use super::content::Content;
use super::cursor::Cursor;
use super::embed::{self, Found, Reading, Refused};
use super::pace::{Pace, Step};
use super::service::DiscordFeed;
use super::status::Counts;
use super::tables::{self, DISCORD_CURSORS};
use crate::base::{Error, Kind, Result, Time};
use crate::domains::jobs::{MAX_BATCH, MAX_PAYLOAD, NewJob};
use crate::remote::discord::{Discord, MAX_MESSAGES, Messages, Snowflake, Start, Trouble};
use crate::store::Tx;
use crate::workers::{Next, Worker};

/// Pause of a poller that has stopped; there is nothing it could do then.
const STOPPED: Duration = Duration::from_secs(3600);

/// How long no message comes before the search for latecomers ends and only what follows the newest message is asked for.
const SETTLE: Duration = Duration::from_secs(10);

/// How far back reading begins in a channel that shows nothing: what is posted while we look must not be missed, and clocks differ.
const LOOK_BACK: Duration = Duration::from_secs(60);

/// Shown when messages of others come empty.
pub const NO_INTENT: &str = "messages arrive but their embeds are empty: enable the Message Content Intent in the developer portal \
     (Bot, Privileged Gateway Intents); what came in meanwhile is not read again";

/// Shown when the channel shows nothing at the first look.
pub const NOTHING_SHOWN: &str =
    "the channel shows no message: it is empty, or the bot lacks Read Message History there";

/// Reads one channel for as long as the program runs.
pub struct Poller {
    feed: DiscordFeed,
    discord: Discord,
    channel: u64,
    pace: Pace,
    /// Not before.
    due: Time,
    /// How far ahead of its setting that was.
    pause: Duration,
    stopped: bool,
    /// Since when no new message came.
    quiet: Option<Time>,
}

/// Messages that go into one commit.
#[derive(Default)]
struct Portion {
    /// Rising.
    ids: Vec<Snowflake>,
    found: Vec<Found>,
    refused: Vec<Refused>,
}

impl Portion {
    fn size(&self) -> usize {
        self.found.len() + self.refused.len()
    }

    fn add(&mut self, id: Option<Snowflake>, reading: Reading) {
        self.ids.extend(id);
        self.found.extend(reading.found);
        self.refused.extend(reading.refused);
    }
}

/// A page, sorted out.
struct Page {
    /// Messages that are not done, oldest first; those without an id in front.
    readings: Vec<(Option<Snowflake>, Reading)>,
    /// There may be more behind it.
    full: bool,
    /// The last message on it, done or not.
    last: Option<Snowflake>,
}

impl Poller {
    pub(super) fn new(feed: DiscordFeed, discord: Discord, channel: u64, pace: Pace) -> Self {
        Self { feed, discord, channel, pace, due: Time(i64::MIN), pause: Duration::ZERO, stopped: false, quiet: None }
    }

    async fn poll(&mut self) -> Result<Next> {
        let now = self.feed.clock.now();
        if self.stopped {
            return Ok(Next::After(STOPPED));
        }
        if self.due.since(now) > self.pause {
            // The clock was set back. How much of the pause is left is not known, so all of it is waited again.
            self.due = now + self.pause;
        }
        if now < self.due {
            return Ok(Next::After(self.due.since(now)));
        }
        let cursor = self.feed.store.get(&DISCORD_CURSORS, &self.channel).await?;
        let (start, limit) = match &cursor {
            None => (Start::Newest, 1),
            Some(cursor) => (Start::After(self.from(cursor, now)), MAX_MESSAGES),
        };
        self.feed.board.asked(now);
        let answer = self.discord.messages(self.channel, start, limit).await;
        // Discord's time counts from its answer, not from our question.
        let now = self.feed.clock.now();
        match answer {
            Ok(messages) => match cursor {
                None => self.begin(now, &messages).await?,
                Some(cursor) => self.take(now, cursor, messages).await?,
            },
            Err(trouble) => self.trouble(now, &trouble),
        }
        Ok(if self.stopped { Next::After(STOPPED) } else { Next::After(self.due.since(self.feed.clock.now())) })
    }

    fn from(&self, cursor: &Cursor, now: Time) -> Snowflake {
        let settled = self.quiet.is_some_and(|since| now.since(since) >= SETTLE);
        if settled { cursor.newest() } else { cursor.after() }
    }

    fn trouble(&mut self, now: Time, trouble: &Trouble) {
        let pause = match self.pace.trouble(trouble) {
            Step::Wait(pause) => Some(pause),
            Step::Stop => None,
        };
        self.stopped = pause.is_none();
        self.pause = pause.unwrap_or_default();
        self.due = now + self.pause;
        if self.feed.board.trouble(now, trouble, pause) {
            let hint = trouble.hint().unwrap_or("it will be tried again");
            let cause = if let Trouble::Unanswered(unanswered) = trouble { unanswered.cause.as_str() } else { "" };
            tracing::warn!(?pause, cause, hint, "reading jobs from Discord: {}", trouble.what());
        }
    }

    /// The first look at a channel: reading begins behind its newest message, so that an old channel's history is not taken for work.
    async fn begin(&mut self, now: Time, messages: &Messages) -> Result<()> {
        self.next(now, false, messages);
        let newest = messages.messages.iter().filter_map(|message| Snowflake::read(&message["id"])).max();
        let cursor = Cursor::starting_after(newest.unwrap_or(Snowflake::floor(now - LOOK_BACK)), now);
        self.commit(None, &cursor, &Portion::default()).await?;
        self.feed.board.change(|status| {
            status.last_message = newest;
            status.warning = newest.is_none().then_some(NOTHING_SHOWN);
        });
        self.well();
        tracing::info!(channel = self.channel, "reading jobs from Discord, beginning with the next message");
        Ok(())
    }

    /// Takes in a page, in bounded commits.
    async fn take(&mut self, now: Time, mut cursor: Cursor, messages: Messages) -> Result<()> {
        let page = self.sort(&cursor, &messages.messages);
        let more = page.readings.iter().any(|(id, _)| id.is_some());
        if page.last.is_none() && !messages.messages.is_empty() {
            self.trouble(now, &Trouble::Unreadable);
            return Ok(());
        }
        self.next(now, more, &messages);
        self.quiet = if more { None } else { self.quiet.or(Some(now)) };
        self.warn(&page);
        // Messages without an id are recorded beside others only: by themselves they would come again with every page.
        let readings = if more { page.readings } else { Vec::new() };
        for portion in portions(readings) {
            cursor = self.store(now, cursor, portion, page.full).await?;
        }
        if page.full && page.last.is_some_and(|last| last > cursor.after()) {
            let next = cursor.with(page.last.as_slice(), true, now);
            self.commit(Some(&cursor), &next, &Portion::default()).await?;
        }
        self.well();
        Ok(())
    }

    /// What of a page is not done yet. Discord lists newest first, and also for `after` the page is what follows it most closely.
    fn sort(&self, cursor: &Cursor, messages: &[Value]) -> Page {
        let mut listed: Vec<(Option<Snowflake>, &Value)> =
            messages.iter().map(|message| (Snowflake::read(&message["id"]), message)).collect();
        listed.sort_by_key(|(id, _)| *id);
        listed.dedup_by(|a, b| a.0.is_some() && a.0 == b.0);
        let last = listed.last().and_then(|(id, _)| *id);
        listed.retain(|(id, _)| id.is_none_or(|id| !cursor.is_done(id)));
        let read = |message| embed::read(self.channel, message, self.discord.own_id(), MAX_PAYLOAD);
        let readings = listed.into_iter().map(|(id, message)| (id, read(message))).collect();
        Page { readings, full: messages.len() >= MAX_MESSAGES, last }
    }

    /// Notes whether messages show what they hold.
    fn warn(&self, page: &Page) {
        let contents: Vec<Content> = page.readings.iter().map(|(_, reading)| reading.content).collect();
        let last = contents.iter().rfind(|content| **content != Content::Unclear);
        let mut news = false;
        self.feed.board.change(|status| match last {
            Some(Content::Blank) => news = status.warning.replace(NO_INTENT) != Some(NO_INTENT),
            Some(_) => status.warning = None,
            None if !contents.is_empty() && status.warning == Some(NOTHING_SHOWN) => status.warning = None,
            None => {}
        });
        if news {
            tracing::warn!("reading jobs from Discord: {NO_INTENT}");
        }
    }

    /// Stores a portion; gives the cursor behind it. What the queue does not take as a whole is tried message by message: what is refused
    /// for good becomes a rejection, and a queue with little room is filled as far as it goes.
    async fn store(&self, now: Time, cursor: Cursor, portion: Portion, full: bool) -> Result<Cursor> {
        let next = cursor.with(&portion.ids, full, now);
        match self.commit(Some(&cursor), &next, &portion).await {
            Ok(()) => return Ok(next),
            Err(error) if !is_final(&error) && error.kind() != Kind::Full => return Err(error),
            Err(_) => {}
        }
        let mut cursor = cursor;
        for (index, id) in portion.ids.iter().enumerate() {
            let of = |message: Option<Snowflake>| message == Some(*id) || (index == 0 && message.is_none());
            let mut one = Portion {
                ids: vec![*id],
                found: portion.found.iter().filter(|found| found.message == *id).cloned().collect(),
                refused: portion.refused.iter().filter(|refused| of(refused.message)).cloned().collect(),
            };
            let next = cursor.with(&one.ids, full, now);
            match self.commit(Some(&cursor), &next, &one).await {
                Err(error) if is_final(&error) && !one.found.is_empty() => {
                    tracing::warn!(
                        ?error,
                        message = id.0,
                        "the queue refused jobs from Discord; they are listed as rejections"
                    );
                    let reason = error.detail().to_owned();
                    one.refused.extend(one.found.drain(..).map(|found| Refused {
                        message: Some(found.message),
                        index: Some(found.index),
                        reason: reason.clone(),
                    }));
                    self.commit(Some(&cursor), &next, &one).await?;
                }
                other => other?,
            }
            cursor = next;
        }
        Ok(cursor)
    }

    /// One commit: the jobs, the rejections, and the cursor that says they are done.
    async fn commit(&self, from: Option<&Cursor>, to: &Cursor, portion: &Portion) -> Result<()> {
        let DiscordFeed { store, jobs, queue, board, .. } = &self.feed;
        let wanted = portion.found.iter().map(|found| {
            let mut job = NewJob::new(queue.clone(), found.payload.as_str(), "discord");
            job.key = Some(format!("discord:{}:{}", found.message.0, found.index));
            job
        });
        let prepared = jobs.prepare(wanted.collect())?;
        let (shared, channel) = (&prepared, self.channel);
        let done = store
            .transact(|tx: Tx| async move {
                if tx.get(&DISCORD_CURSORS, &channel).await?.as_ref() != from {
                    return Err(Error::busy("discord.cursor_moved", "somebody else reads the same channel"));
                }
                let enqueued = jobs.add(&tx, shared).await?;
                tables::record(&tx, channel, &portion.refused, to.at).await?;
                tx.put(&DISCORD_CURSORS, &channel, to);
                Ok(enqueued.iter().filter(|enqueued| !enqueued.replayed).count())
            })
            .await;
        prepared.settle();
        let counts = Counts {
            polls: 0,
            messages: portion.ids.len() as u64,
            jobs: done? as u64,
            rejections: portion.refused.len() as u64,
        };
        board.committed(counts, to.newest());
        Ok(())
    }

    fn next(&mut self, now: Time, more: bool, messages: &Messages) {
        let pause = self.pace.page(now, more, &messages.limits);
        (self.due, self.pause) = (now + pause, pause);
        self.feed.board.answered(now, messages.limits.clone(), pause);
    }

    fn well(&self) {
        if self.feed.board.well() {
            tracing::info!("reading jobs from Discord works again");
        }
    }
}

impl Worker for Poller {
    fn name(&self) -> &'static str {
        "discord"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async {
            let done = self.poll().await;
            if let Err(error) = &done {
                self.feed.board.fault(self.feed.clock.now(), error);
            }
            done
        })
    }
}

/// Splits messages, oldest first, so that each commit has at most [`MAX_BATCH`] jobs and rejections.
fn portions(readings: Vec<(Option<Snowflake>, Reading)>) -> Vec<Portion> {
    let mut out: Vec<Portion> = Vec::new();
    for (id, reading) in readings {
        let size = reading.found.len() + reading.refused.len();
        match out.last_mut() {
            // One without an id is recorded together with the next that has one: that moves the cursor.
            Some(last) if last.ids.is_empty() || last.size() + size <= MAX_BATCH => last.add(id, reading),
            _ => {
                let mut portion = Portion::default();
                portion.add(id, reading);
                out.push(portion);
            }
        }
    }
    out
}

/// Whether the same jobs would be refused again and again.
fn is_final(error: &Error) -> bool {
    matches!(error.kind(), Kind::Invalid | Kind::TooLarge)
}
