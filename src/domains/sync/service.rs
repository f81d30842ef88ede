//! What can be asked of the sync: begin a run or go on with one, wait for it, look at runs, cancel them, read again what failed. Nothing here
//! asks Roblox; it commits what is wanted and wakes the worker.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use super::board::Board;
use super::commit::{free, record};
use super::run::{Extent, Failure, Plan, Run, State};
use super::tables::{EntryFailure, SYNC_ACTIVE, SYNC_FAILURES, SYNC_JOBS, SYNC_PAGES};
use super::worker::{SyncWorker, Turns};
use crate::base::metrics::Metrics;
use crate::base::{Clock, Cursor, Error, Failing, Id, Ids, Page, Result};
use crate::domains::auth::Sender;
use crate::domains::policy::{Policy, PolicyStore};
use crate::remote::Roblox;
use crate::remote::roblox::{Class, Settings, StoreId};
use crate::store::{MAX_PAGE, Store};

/// How long a request waits for its part of a run.
pub const INLINE: Duration = Duration::from_secs(20);

/// Runs that are over and kept.
pub const KEEP_RUNS: usize = 100;

/// Runs alive at the same time.
const MAX_LIVE: usize = 32;

/// What `SYNC_CRON` begins.
const NIGHTLY: &str = "nightly";

/// Entries that a scheduled run reads before anything is counted for its progress.
const NIGHTLY_LIMIT: u64 = 100;

/// The sync. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Sync(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    ids: Ids,
    policy: Arc<PolicyStore>,
    source: Source,
    board: Board,
    turns: Mutex<Turns>,
    /// Told when there is something new to do.
    wake: Arc<Notify>,
    stopping: watch::Sender<bool>,
}

/// Where the entries are.
enum Source {
    On(Box<Access>),
    /// This setting is missing.
    Off(&'static str),
}

/// What the worker reads with.
#[derive(Clone)]
pub(super) struct Access {
    pub roblox: Roblox,
    pub store: StoreId,
    prefix: Option<String>,
}

/// What a caller wants synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    pub activity: String,
    /// Entries that the caller waits for.
    pub limit: u64,
    pub cursor: Option<String>,
    /// None for the one in the settings.
    pub scope: Option<String>,
    /// None for the one in the settings.
    pub prefix: Option<String>,
    pub extent: Extent,
}

impl Sync {
    /// Knows the runs that are stored, and hears of every change to them.
    ///
    /// # Errors
    /// Those of reading the runs.
    pub async fn open(
        store: &Store,
        (clock, ids): (Clock, Ids),
        policy: Arc<PolicyStore>,
        access: (Option<&Settings>, Option<&Roblox>),
        metrics: &Metrics,
    ) -> Result<Self> {
        let board = Board::new(metrics);
        let follower = board.clone();
        store.follow(&SYNC_JOBS, move |rows| follower.apply(rows));
        let mut after = None;
        loop {
            let page = store.scan(SYNC_JOBS.all().after(after.as_ref()), MAX_PAGE).await?;
            board.apply(page.items.into_iter().map(|(id, run)| (id, Some(run))).collect());
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        let source = Source::of(access);
        Ok(Self(Arc::new(Inner {
            store: store.clone(),
            clock,
            ids,
            policy,
            source,
            board,
            turns: Mutex::default(),
            wake: Arc::default(),
            stopping: watch::channel(false).0,
        })))
    }

    /// The worker; none when the sync is off.
    pub fn worker(&self) -> Option<SyncWorker> {
        self.access().ok().map(|_| SyncWorker::new(self.clone()))
    }

    /// Whether its settings are there.
    pub fn is_on(&self) -> bool {
        self.access().is_ok()
    }

    /// Begins a run; or gives the one that is alive; or goes on with the one that failed, where it stopped.
    ///
    /// # Errors
    /// `sync.not_configured`, `sync.too_many`; those of the store.
    pub async fn start(&self, ask: Ask, sender: &Sender) -> Result<Id> {
        let access = self.access()?;
        let plan = &ask.plan(access);
        let (now, fresh, audit) = (self.clock().now(), self.ids().next(), self.ids().next());
        let full = self.board().live().len() >= MAX_LIVE;
        let id = self
            .store()
            .transact(|tx| async move {
                let mut run = Run::new(plan, now, &sender.actor.id, &sender.request_id);
                let slot = run.slot();
                if let Some(id) = tx.get(&SYNC_ACTIVE, &slot).await?
                    && let Some(known) = tx.get(&SYNC_JOBS, &id).await?
                {
                    if known.state.is_live() {
                        return Ok(id);
                    }
                    if known.resumes(plan) {
                        run = known;
                        run.resume(plan.limit, now);
                        tx.put(&SYNC_JOBS, &id, &run);
                        record(&tx, id, &done_by(sender, &run), audit, "sync.resumed");
                        return Ok(id);
                    }
                }
                if full {
                    return Err(Error::busy("sync.too_many", format!("{MAX_LIVE} runs are under way"))
                        .hint("wait for one to end, or cancel one: `grps sync status` lists them"));
                }
                run.updated_at = now;
                tx.put(&SYNC_JOBS, &fresh, &run);
                tx.put(&SYNC_ACTIVE, &slot, &fresh);
                record(&tx, fresh, &run, audit, "sync.started");
                Ok(fresh)
            })
            .await?;
        self.0.wake.notify_one();
        Ok(id)
    }

    /// What `SYNC_CRON` does: begins the nightly run, or gives the one that is alive, or goes on with the one that failed.
    ///
    /// # Errors
    /// As [`Sync::start`].
    pub async fn nightly(&self, sender: &Sender) -> Result<Id> {
        let (cursor, scope, prefix) = (None, None, None);
        let ask = Ask { activity: NIGHTLY.into(), limit: NIGHTLY_LIMIT, cursor, scope, prefix, extent: Extent::All };
        self.start(ask, sender).await
    }

    /// Waits until the lap of a run is over, but not for ever, and not while the server stops.
    ///
    /// # Errors
    /// `sync.missing`.
    pub async fn wait(&self, id: Id) -> Result<Run> {
        let news = self.board().news();
        let mut stopping = self.0.stopping.subscribe();
        let mut over = pin!(tokio::time::sleep(self.clock().real(INLINE)));
        loop {
            // Listening before looking: what is committed in between is heard.
            let mut told = pin!(news.notified());
            told.as_mut().enable();
            let run = self.find(id)?;
            if run.lap.closed.is_some() || !run.state.is_live() || *stopping.borrow_and_update() {
                return Ok(run);
            }
            tokio::select! {
                () = &mut told => {}
                () = &mut over => return Ok(run),
                _ = stopping.changed() => return Ok(run),
            }
        }
    }

    /// # Errors
    /// `sync.missing`.
    pub fn find(&self, id: Id) -> Result<Run> {
        self.board().find(id).ok_or_else(|| missing(id))
    }

    /// At most `limit` runs, newest first, and what asks for the next ones.
    pub fn list(&self, below: Option<Id>, limit: usize) -> (Vec<(Id, Run)>, Option<Id>) {
        let mut runs = self.board().page(below.unwrap_or(Id(u64::MAX)), limit + 1);
        let more = runs.len() > limit;
        runs.truncate(limit);
        let next = runs.last().filter(|_| more).map(|(id, _)| *id);
        (runs, next)
    }

    /// Entries of a run that could not be taken in, by key.
    ///
    /// # Errors
    /// `sync.missing`; `request.invalid` for a cursor of another list; those of the store.
    pub async fn failures(&self, id: Id, after: Option<&Cursor>, limit: usize) -> Result<Page<(String, EntryFailure)>> {
        self.find(id)?;
        let page = self.store().scan(SYNC_FAILURES.under(&id).after(after), limit).await?;
        Ok(page.map(|((_, key), failure)| (key, failure)))
    }

    /// Reads again what failed: the rest of a run that stopped, or the entries that could not be taken in.
    ///
    /// # Errors
    /// `sync.not_configured`, `sync.missing`; `sync.running` while it or another of its kind is alive; `sync.nothing_failed`.
    pub async fn retry(&self, id: Id, sender: &Sender) -> Result<Run> {
        self.access()?;
        let (now, audit) = (self.clock().now(), self.ids().next());
        let run = self
            .store()
            .transact(|tx| async move {
                let mut run = tx.get(&SYNC_JOBS, &id).await?.ok_or_else(|| missing(id))?;
                let slot = run.slot();
                let rival = tx.get(&SYNC_ACTIVE, &slot).await?.filter(|holder| *holder != id);
                if run.state.is_live() || rival.is_some() {
                    let busy = rival.unwrap_or(id);
                    return Err(Error::conflict("sync.running", format!("run {busy} of the same kind is under way"))
                        .hint("wait for its end, or cancel it"));
                }
                if run.resumable() {
                    run.go_on(now);
                } else if run.tally.failed > 0 && run.state != State::Failed {
                    run.retry(now);
                } else {
                    return Err(Error::conflict(
                        "sync.nothing_failed",
                        format!("nothing of run {id} can be read again"),
                    )
                    .hint("start a new run: what has not changed since shows as unchanged"));
                }
                tx.put(&SYNC_JOBS, &id, &run);
                tx.put(&SYNC_ACTIVE, &slot, &id);
                record(&tx, id, &done_by(sender, &run), audit, "sync.retried");
                Ok(run)
            })
            .await?;
        self.0.wake.notify_one();
        Ok(run)
    }

    /// Ends a run; what it has taken in stays. One that is over already is given as it is.
    ///
    /// # Errors
    /// `sync.missing`.
    pub async fn cancel(&self, id: Id, sender: &Sender) -> Result<Run> {
        let (now, audit) = (self.clock().now(), self.ids().next());
        self.store()
            .transact(|tx| async move {
                let mut run = tx.get(&SYNC_JOBS, &id).await?.ok_or_else(|| missing(id))?;
                if run.state.is_live() || run.resumable() {
                    run.cancel(&sender.actor.id, now);
                    tx.put(&SYNC_JOBS, &id, &run);
                    tx.delete(&SYNC_PAGES, &id);
                    free(&tx, id, &run).await?;
                    record(&tx, id, &done_by(sender, &run), audit, "sync.cancelled");
                }
                Ok(run)
            })
            .await
    }

    /// How long the rest of a run takes, as far as that can be told.
    pub fn eta(&self, id: Id, run: &Run) -> Option<Duration> {
        let total = run.total().filter(|_| run.state.is_live())?;
        let seen = run.tally.seen();
        let allowed = self.access().ok()?.roblox.budget().per_minute(Class::EntryReads);
        Some(self.turns().eta(id, (total.saturating_sub(seen), seen), allowed, self.clock().now()))
    }

    /// Why the newest run failed, if it did.
    pub fn failing(&self) -> Option<String> {
        let (id, run) = self.board().failing()?;
        let Failure { what, hint, .. } = run.failure?;
        Some(format!("run {id} ({}) stopped: {}; what it read is kept", run.activity, Failing { what, hint }))
    }

    /// The server stops: whoever waits is answered.
    pub fn stop(&self) {
        self.0.stopping.send_replace(true);
    }

    pub(super) fn access(&self) -> Result<&Access> {
        match &self.0.source {
            Source::On(access) => Ok(access),
            Source::Off(setting) => Err(Error::not_configured(
                "sync.not_configured",
                format!("{setting} is not set, so there is no data store to read"),
            )
            .hint("set ROBLOX_OPEN_CLOUD_API_KEY, ROBLOX_UNIVERSE_ID and ROBLOX_DATASTORE_NAME, and start again")),
        }
    }

    pub(super) fn store(&self) -> &Store {
        &self.0.store
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(super) fn ids(&self) -> &Ids {
        &self.0.ids
    }

    pub(super) fn board(&self) -> &Board {
        &self.0.board
    }

    pub(super) fn policy(&self) -> Arc<Policy> {
        self.0.policy.current()
    }

    pub(super) fn wake(&self) -> Arc<Notify> {
        self.0.wake.clone()
    }

    pub(super) fn turns(&self) -> MutexGuard<'_, Turns> {
        self.0.turns.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Access {
    /// The same, by way of `roblox`, in this scope.
    pub fn on(&self, roblox: Roblox, scope: &str) -> Self {
        let store = StoreId { scope: scope.to_owned(), ..self.store.clone() };
        Self { roblox, store, prefix: self.prefix.clone() }
    }
}

impl Source {
    fn of((settings, roblox): (Option<&Settings>, Option<&Roblox>)) -> Self {
        let (Some(settings), Some(roblox)) = (settings, roblox) else {
            return Self::Off("ROBLOX_OPEN_CLOUD_API_KEY");
        };
        match (&settings.store, settings.universe) {
            (Some(store), _) => Self::On(Box::new(Access {
                roblox: roblox.clone(),
                store: store.clone(),
                prefix: settings.prefix.clone(),
            })),
            (None, None) => Self::Off("ROBLOX_UNIVERSE_ID"),
            (None, Some(_)) => Self::Off("ROBLOX_DATASTORE_NAME"),
        }
    }
}

/// `run` as this one's doing, for the audit trail.
fn done_by(sender: &Sender, run: &Run) -> Run {
    Run { started_by: sender.actor.id.clone(), request_id: sender.request_id.clone(), ..run.clone() }
}

impl Ask {
    fn plan(self, access: &Access) -> Plan {
        let Self { activity, limit, cursor, scope, prefix, extent } = self;
        Plan {
            activity,
            scope: scope.unwrap_or_else(|| access.store.scope.clone()),
            prefix: prefix.or_else(|| access.prefix.clone()).filter(|prefix| !prefix.is_empty()),
            from: cursor,
            extent,
            limit,
        }
    }
}

fn missing(id: Id) -> Error {
    Error::missing("sync.missing", format!("there is no sync run {id}"))
        .hint(format!("the last {KEEP_RUNS} runs are kept; `grps sync status` lists them"))
}
