//! The worker that reads the channel. A page becomes jobs, rejections and a cursor in the same commits, so a stop at any moment neither
//! loses nor repeats a message; the jobs' idempotency keys are a second net.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::content::Content;
use super::cursor::{Cursor, Extent, Sweep};
use super::pace::{Pace, Step};
use super::page::{Page, Portion};
use super::service::DiscordFeed;
use super::tables::DISCORD_CURSORS;
use crate::base::{Result, Time};
use crate::remote::discord::{Discord, Limits, MAX_MESSAGES, Messages, Snowflake, Start, Trouble};
use crate::workers::{Next, Worker, backoff};

/// Pause of a poller that has stopped; there is nothing it could do then.
const STOPPED: Duration = Duration::from_secs(3600);

/// How long no message comes before the search for latecomers ends and only what follows the newest message is asked for.
const SETTLE: Duration = Duration::from_secs(10);

/// How far back by Discord's clock reading begins in a channel that shows nothing: what is posted while we look must not be missed.
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
    sweep: Sweep,
    /// Messages to ask for. Halved when they are too much for an answer, doubled with each that is not.
    limit: usize,
    /// Ticks in a row that failed for reasons of ours.
    faults: u32,
}

/// What an answer says besides its messages.
struct Told {
    limits: Limits,
    /// When it was asked, by Discord's clock if that is known.
    at: Time,
    /// Discord's clock.
    date: Option<Time>,
}

impl Told {
    fn new(asked: Time, limits: &Limits, date: Option<Time>) -> Self {
        Self { limits: limits.clone(), at: date.unwrap_or(asked), date }
    }
}

impl Poller {
    pub(super) fn new(feed: DiscordFeed, discord: Discord, channel: u64, pace: Pace) -> Self {
        Self {
            feed,
            discord,
            channel,
            pace,
            due: Time(i64::MIN),
            pause: Duration::ZERO,
            stopped: false,
            quiet: None,
            sweep: Sweep::default(),
            limit: MAX_MESSAGES,
            faults: 0,
        }
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
            // For ticks that come early, as after a fault. Otherwise the supervisor sleeps the pause, by a clock that nobody sets, so that a
            // jump of this one shortens nothing.
            return Ok(Next::After(self.due.since(now)));
        }
        self.ask(now).await?;
        Ok(if self.stopped { Next::After(STOPPED) } else { Next::After(self.due.since(self.feed.clock.now())) })
    }

    async fn ask(&mut self, asked: Time) -> Result<()> {
        let cursor = self.feed.store.get(&DISCORD_CURSORS, &self.channel).await?;
        let (start, limit) = match &cursor {
            None => (Start::Newest, 1),
            Some(cursor) => (Start::After(self.from(cursor, asked)), self.limit),
        };
        self.feed.board.asked(asked);
        let answer = self.discord.messages(self.channel, start, limit).await;
        // Discord's time counts from its answer, not from our question.
        let now = self.feed.clock.now();
        match (answer, cursor) {
            (Ok(Messages { messages, limits, at }), None) => {
                let newest = messages.iter().filter_map(|message| Snowflake::read(&message["id"])).max();
                self.begin(now, newest, &Told::new(now, &limits, at)).await
            }
            (Err(Trouble::TooLarge { first: Some(id), limits }), None) => {
                self.begin(now, Some(id), &Told::new(now, &limits, None)).await
            }
            (Ok(Messages { messages, limits, at }), Some(cursor)) => {
                self.limit = (limit * 2).min(MAX_MESSAGES);
                let page = Page::sort(self.channel, self.discord.own_id(), &cursor, &messages, limit);
                if page.last.is_none() && !messages.is_empty() {
                    self.trouble(now, &Trouble::Unreadable);
                    return Ok(());
                }
                self.take(now, cursor, page, &Told::new(asked, &limits, at)).await
            }
            (Err(Trouble::TooLarge { first: Some(id), limits }), Some(cursor)) if limit == 1 => {
                let page = Page::unreadable(&cursor, id);
                self.take(now, cursor, page, &Told::new(asked, &limits, None)).await
            }
            (Err(trouble), _) => {
                self.trouble(now, &trouble);
                Ok(())
            }
        }
    }

    fn from(&self, cursor: &Cursor, now: Time) -> Snowflake {
        let settled = self.quiet.is_some_and(|since| now.since(since) >= SETTLE);
        self.sweep.position().unwrap_or(if settled { cursor.newest() } else { cursor.after() })
    }

    fn trouble(&mut self, now: Time, trouble: &Trouble) {
        let pause = match trouble {
            Trouble::TooLarge { limits, .. } if self.limit > 1 => {
                self.limit /= 2;
                Some(self.pace.smaller(limits))
            }
            _ => match self.pace.trouble(trouble) {
                Step::Wait(pause) => Some(pause),
                Step::Stop => None,
            },
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
    async fn begin(&mut self, now: Time, newest: Option<Snowflake>, told: &Told) -> Result<()> {
        self.next(now, false, told);
        // By Discord's clock, for it makes the ids: by ours, when that is fast, messages to come would pass for old ones.
        let cursor = Cursor::starting_after(newest.unwrap_or(Snowflake::floor(told.at - LOOK_BACK)), now);
        self.feed.commit(None, &cursor, &Portion::default()).await?;
        self.feed.board.change(|status| {
            status.last_message = newest;
            status.warning = newest.is_none().then_some(NOTHING_SHOWN);
        });
        self.well();
        tracing::info!(channel = self.channel, "reading jobs from Discord, beginning with the next message");
        Ok(())
    }

    /// Takes in a page, in bounded commits.
    async fn take(&mut self, now: Time, mut cursor: Cursor, page: Page, told: &Told) -> Result<()> {
        let more = page.is_news();
        self.next(now, more, told);
        self.quiet = if more { None } else { self.quiet.or(Some(now)) };
        self.warn(&page.contents());
        let Some(last) = page.last else {
            self.sweep = Sweep::default();
            self.well();
            return Ok(());
        };
        let extent = Extent { last, full: page.full, at: told.at };
        let shown = self.sweep.shown(&cursor, extent);
        for portion in page.portions() {
            cursor = self.feed.take_in(cursor, portion, shown, now).await?;
        }
        if extent.full {
            let next = cursor.with(&[last], shown, now);
            if next.after() > cursor.after() {
                self.feed.commit(Some(&cursor), &next, &Portion::default()).await?;
                cursor = next;
            }
        }
        self.sweep.next(&cursor, extent);
        self.well();
        Ok(())
    }

    /// Notes whether messages show what they hold.
    fn warn(&self, contents: &[Content]) {
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

    fn next(&mut self, now: Time, more: bool, told: &Told) {
        let pause = self.pace.page(now, more, &told.limits);
        (self.due, self.pause) = (now + pause, pause);
        if self.feed.board.answered(now, &told.limits, told.date, pause) {
            tracing::warn!("reading jobs from Discord: {}", self.feed.status().warnings().unwrap_or_default());
        }
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
                // What was read and not stored is read again.
                self.sweep = Sweep::default();
                let now = self.feed.clock.now();
                self.feed.board.fault(now, error, self.due.max(now + backoff(self.faults)));
            }
            self.faults = if done.is_err() { self.faults.saturating_add(1) } else { 0 };
            done
        })
    }
}
