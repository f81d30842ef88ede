//! What the poller shows of itself, to people and to Prometheus.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use crate::base::metrics::Metrics;
use crate::base::{Error, Failing, Time};
use crate::remote::discord::{Limits, Snowflake, Trouble};

/// How far this machine's clock may be from Discord's before that is worth a word.
pub const MAX_DRIFT: Duration = Duration::from_secs(30);

/// What the poller is at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// `CHANNEL_ID` or `DISCORD_TOKEN` is missing.
    #[default]
    Off,
    /// It has not asked yet.
    Starting,
    Polling,
    /// Something failed; it asks again later.
    Waiting,
    /// It will not ask again until the next start.
    Stopped,
}

/// The poller's state.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Status {
    pub phase: Phase,
    pub last_poll: Option<Time>,
    /// None when it does not ask again.
    pub next_poll: Option<Time>,
    /// The pause before the next request.
    pub interval: Duration,
    /// The newest message that was read.
    pub last_message: Option<Snowflake>,
    /// What Discord said last about the bucket.
    pub limits: Limits,
    /// Why it is not polling as it should, and since when.
    pub failing: Option<(Failing, Time)>,
    /// Something looks wrong with what the bot is shown.
    pub warning: Option<&'static str>,
    /// Milliseconds by which this machine's clock is ahead of Discord's, when that is more than [`MAX_DRIFT`] either way.
    pub drift: Option<i64>,
    /// Since the server's start.
    pub counts: Counts,
}

impl Status {
    /// Everything that looks wrong though reading goes on.
    pub fn warnings(&self) -> Option<String> {
        let drift = self.drift.map(|ahead| {
            let way = if ahead > 0 { "ahead of" } else { "behind" };
            format!(
                "this machine's clock is {} s {way} Discord's: let it be set by the network (NTP)",
                ahead.abs() / 1000
            )
        });
        let all: Vec<String> = self.warning.map(str::to_owned).into_iter().chain(drift).collect();
        (!all.is_empty()).then(|| all.join("; "))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    pub polls: u64,
    pub messages: u64,
    pub jobs: u64,
    pub rejections: u64,
}

/// The state with its metrics. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Board(Arc<Inner>);

struct Inner {
    status: Mutex<Status>,
    interval: Gauge<f64, AtomicU64>,
    state: Gauge,
    polls: Counter,
    messages: Counter,
    jobs: Counter,
    rejections: Counter,
}

impl Board {
    pub fn new(metrics: &Metrics, on: bool) -> Self {
        let counter = |name, help| metrics.register(name, help, Counter::default());
        let phase = if on { Phase::Starting } else { Phase::Off };
        let interval =
            "Pause before the next request to Discord, in seconds: the settings' floors and Discord's limits";
        let state = "The Discord poller: 0 off, 1 starting, 2 polling, 3 waiting after a failure, 4 stopped";
        let board = Self(Arc::new(Inner {
            status: Mutex::default(),
            interval: metrics.register("discord_poll_interval_seconds", interval, Gauge::default()),
            state: metrics.register("discord_poller_state", state, Gauge::default()),
            polls: counter("discord_polls", "Requests to Discord for messages"),
            messages: counter("discord_messages", "Messages read from Discord"),
            jobs: counter("discord_jobs", "Jobs made of Discord embeds"),
            rejections: counter("discord_rejections", "Discord embeds and messages that became no job"),
        }));
        board.change(|status| status.phase = phase);
        board
    }

    pub fn read(&self) -> Status {
        self.lock().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Status)) {
        let mut status = self.lock();
        change(&mut status);
        self.0.state.set(status.phase as i64);
        self.0.interval.set(status.interval.as_secs_f64());
    }

    pub(super) fn asked(&self, now: Time) {
        self.0.polls.inc();
        self.change(|status| {
            status.last_poll = Some(now);
            status.counts.polls += 1;
        });
    }

    /// A page came, with what Discord's clock showed; the next request is due after `pause`. Whether it is news that the clocks differ.
    pub(super) fn answered(&self, now: Time, limits: &Limits, date: Option<Time>, pause: Duration) -> bool {
        let mut news = false;
        self.change(|status| {
            status.limits = limits.clone();
            status.interval = pause;
            status.next_poll = Some(now + pause);
            if let Some(date) = date {
                let ahead = now.0.saturating_sub(date.0);
                let drift = (ahead.unsigned_abs() > MAX_DRIFT.as_millis() as u64).then_some(ahead);
                news = drift.is_some() && status.drift.is_none();
                status.drift = drift;
            }
        });
        news
    }

    /// What a page brought is committed.
    pub(super) fn committed(&self, counts: Counts, newest: Snowflake) {
        self.0.messages.inc_by(counts.messages);
        self.0.jobs.inc_by(counts.jobs);
        self.0.rejections.inc_by(counts.rejections);
        self.change(|status| {
            status.counts.messages += counts.messages;
            status.counts.jobs += counts.jobs;
            status.counts.rejections += counts.rejections;
            status.last_message = Some(newest);
        });
    }

    /// All is well. Whether it was not before.
    pub(super) fn well(&self) -> bool {
        let mut recovered = false;
        self.change(|status| {
            status.phase = Phase::Polling;
            recovered = status.failing.take().is_some();
        });
        recovered
    }

    /// Discord is in the way; `pause` is none when that is the end. Whether this is news.
    pub(super) fn trouble(&self, now: Time, trouble: &Trouble, pause: Option<Duration>) -> bool {
        let phase = if pause.is_some() { Phase::Waiting } else { Phase::Stopped };
        let news = self.failing(now, phase, Failing { what: trouble.what(), hint: trouble.hint().map(str::to_owned) });
        self.change(|status| {
            status.interval = pause.unwrap_or_default();
            status.next_poll = pause.map(|pause| now + pause);
        });
        news
    }

    /// We are in the way ourselves, with a full queue, a full disk, until `next`.
    pub(super) fn fault(&self, now: Time, error: &Error, next: Time) {
        let hint = error.hint_text().map(str::to_owned);
        self.failing(now, Phase::Waiting, Failing { what: error.detail().to_owned(), hint });
        self.change(|status| status.next_poll = Some(next));
    }

    fn failing(&self, now: Time, phase: Phase, failing: Failing) -> bool {
        let mut news = true;
        self.change(|status| {
            let old = status.failing.take();
            news = old.as_ref().is_none_or(|(old, _)| old.what != failing.what);
            status.phase = phase;
            status.failing = Some((failing, old.map_or(now, |(_, since)| since)));
        });
        news
    }

    fn lock(&self) -> MutexGuard<'_, Status> {
        self.0.status.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
