//! What all parts of a worker share: the server it works for, what it does with a job, how far its own end is, and what it has done.

use std::io::IsTerminal;
use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;
use tokio::sync::watch;

use super::backoff::Backoff;
use super::exec::Recipe;
use super::gateway::{Answer, Envelope, Failure, Gateway, Wish};
use super::socket::Link;
use crate::base::Result;
use crate::base::clock::Stopwatch;

/// How far a worker's end is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    Working,
    /// No more jobs are taken; those at hand are finished.
    Finishing,
    /// Those at hand are ended and given back.
    Leaving,
}

/// How the server hears about a job.
#[derive(Clone)]
pub enum Way {
    Http,
    /// Through the socket it came by, as long as that lasts.
    Socket(Arc<Link>),
}

/// See the module.
pub struct Shop {
    setup: Setup,
    pub tally: Tally,
    /// Standard output is a terminal, which obeys what it is shown.
    pub terminal: bool,
    stage: watch::Sender<Stage>,
    outage: Mutex<Option<Stopwatch>>,
    /// Lines are written whole.
    printer: tokio::sync::Mutex<tokio::io::Stdout>,
}

/// What became of the jobs that were taken.
#[derive(Debug, Default)]
pub struct Tally {
    pub acked: AtomicU64,
    pub nacked: AtomicU64,
    pub dead: AtomicU64,
    /// Their lease ended first, or the server did not hear how they went.
    pub lost: AtomicU64,
}

/// What a shop is set up with.
pub struct Setup {
    pub gateway: Gateway,
    pub wish: Wish,
    /// The command; none to print jobs.
    pub recipe: Option<Recipe>,
    pub concurrency: usize,
    /// Ends when nothing is left to take.
    pub once: bool,
    /// One JSON object a line on standard output, whatever is done.
    pub json: bool,
    /// As it is before anything failed.
    pub backoff: Backoff,
    pub retries: u32,
}

impl Deref for Shop {
    type Target = Setup;

    fn deref(&self) -> &Setup {
        &self.setup
    }
}

impl Shop {
    pub fn new(setup: Setup) -> Self {
        Self {
            setup,
            tally: Tally::default(),
            terminal: std::io::stdout().is_terminal(),
            stage: watch::channel(Stage::Working).0,
            outage: Mutex::default(),
            printer: tokio::sync::Mutex::new(tokio::io::stdout()),
        }
    }

    pub fn stage(&self) -> Stage {
        *self.stage.borrow()
    }

    /// Moves on to `stage`, or stays where it is if that is further.
    pub fn advance(&self, stage: Stage) {
        self.stage.send_if_modified(|now| {
            let moved = *now < stage;
            *now = (*now).max(stage);
            moved
        });
    }

    /// Resolves when `stage` is reached.
    pub async fn reached(&self, stage: Stage) {
        let mut stages = self.stage.subscribe();
        if stages.wait_for(|now| *now >= stage).await.is_err() {
            // The sender is ours and lives as long as we do.
            std::future::pending::<()>().await;
        }
    }

    /// Tells the server about a job, once.
    ///
    /// # Errors
    /// Those of [`Gateway::answer`].
    pub async fn answer(&self, way: &Way, job: &Envelope, answer: &Answer) -> Result<(), Failure> {
        if let Way::Socket(link) = way {
            match link.ask(job, answer).await {
                // A lease outlives the socket it came by.
                Err(Failure::Passing(_)) => {}
                settled => return settled,
            }
        }
        self.gateway.answer(job, answer).await
    }

    /// Says once that the server is away, however many ask it.
    pub fn away(&self, failure: &Failure) {
        let mut outage = self.outage.lock().unwrap_or_else(PoisonError::into_inner);
        if outage.is_none() {
            let error = failure.error();
            let cause = error.context_text().map(|cause| format!(" ({cause})")).unwrap_or_default();
            let hint = error.hint_text().map(|hint| format!("; fix: {hint}")).unwrap_or_default();
            tracing::warn!(code = error.code(), "{}{cause}; trying again{hint}", error.detail());
            *outage = Some(Stopwatch::start());
        }
    }

    /// Says once that it is back.
    pub fn back(&self) {
        if let Some(since) = self.outage.lock().unwrap_or_else(PoisonError::into_inner).take() {
            tracing::info!("the server answers again, after {:.1} s", since.elapsed().as_secs_f64());
        }
    }

    /// Writes one line to standard output.
    ///
    /// # Errors
    /// When nobody reads it any more.
    pub async fn print(&self, line: &str) -> std::io::Result<()> {
        let mut printer = self.printer.lock().await;
        printer.write_all(format!("{line}\n").as_bytes()).await?;
        printer.flush().await
    }
}

impl Tally {
    pub fn count(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub fn values(&self) -> Value {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        json!({ "acked": read(&self.acked), "nacked": read(&self.nacked), "dead": read(&self.dead), "lost": read(&self.lost) })
    }
}
