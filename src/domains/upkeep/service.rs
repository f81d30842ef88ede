//! The caretaker: starts the store's long work, one piece at a time, off the runtime's threads, and remembers what health checks ask.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use serde_json::{Value, json};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, spawn_blocking};

use super::config::Config;
use super::folder::{Backup, Folder};
use super::tasks::{Desk, Kind, Outcome, Task};
use crate::base::metrics::Metrics;
use crate::base::{Clock, Error, Id, Ids, Result, Time, panics};
use crate::domains::audit;
use crate::domains::auth::Sender;
use crate::store::{CheckpointInfo, Progress, Restored, Store, Survey, Upkeep, upkeep};

mod gauges;

use gauges::Gauges;

/// What folders start with in which backups are tried out; the process's id follows.
const SCRATCH: &str = "scratch-";

/// A piece of long work to start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Job {
    Check,
    Compact,
    Checkpoint,
    /// A new backup, with a name of its own or one made of the time.
    Backup(Option<String>),
    /// Restores this backup into a scratch folder and compares.
    Verify(String),
}

/// How old the last good backup is, as far as this process has seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Whether backups are made by the clock.
    pub scheduled: bool,
    pub last_good: Option<Time>,
    /// Two scheduled times have passed without a good one.
    pub late: bool,
}

/// Cheap to clone; all clones are one caretaker.
#[derive(Clone)]
pub struct Caretaker(Arc<Inner>);

struct Inner {
    store: Store,
    clock: Clock,
    ids: Ids,
    config: Config,
    folder: Folder,
    desk: Desk,
    /// Held by whoever works on the store. Housekeeping holds it for an instant at a time mostly, without being a task.
    alone: Mutex<()>,
    started: Time,
    last_good: Mutex<Option<Time>>,
    gauges: Gauges,
}

impl Caretaker {
    pub fn new(store: Store, clock: Clock, ids: Ids, config: Config, metrics: &Metrics) -> Self {
        let (started, folder) = (clock.now(), Folder::new(config.folder.clone()));
        Self(Arc::new(Inner {
            store,
            clock,
            ids,
            config,
            folder,
            desk: Desk::default(),
            alone: Mutex::default(),
            started,
            last_good: Mutex::default(),
            gauges: Gauges::new(metrics),
        }))
    }

    /// Starts `job`; the task tells how far it is, the handle is done when the task has ended.
    ///
    /// # Errors
    /// `store.no_upkeep`, `upkeep.busy`; for backups those of their names.
    pub async fn start(&self, job: Job, asker: Sender) -> Result<(Task, JoinHandle<()>)> {
        let upkeep = self.upkeep()?;
        let Inner { clock, ids, desk, .. } = &*self.0;
        let job = self.blocking(move |this| this.admit(job)).await?;
        let task = desk.begin(ids.next(), job.kind(), &asker.actor.id, clock.now())?;
        let (this, id, runtime) = (self.clone(), task.id, Handle::current());
        let work = spawn_blocking(move || {
            let outcome = contained(|| this.run(&upkeep, &job, &this.0.desk.progress(id)));
            if let Ok(outcome) = &outcome {
                runtime.block_on(this.trail(outcome, &asker));
            }
            this.0.desk.end(id, this.0.clock.now(), outcome);
        });
        Ok((task, work))
    }

    /// Does what is due on the store, if nobody else works on it; gives what was done, a line each.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn tend(&self) -> Result<Vec<String>> {
        let Ok(upkeep) = self.upkeep() else { return Ok(Vec::new()) };
        if self.0.desk.is_busy() {
            return Ok(Vec::new());
        }
        self.blocking(move |this| this.keep_house(&upkeep)).await
    }

    /// # Errors
    /// `upkeep.task_missing`.
    pub fn task(&self, id: Id) -> Result<Task> {
        self.0.desk.task(id)
    }

    /// The last tasks, newest first.
    pub fn tasks(&self) -> Vec<Task> {
        self.0.desk.list()
    }

    /// What the store holds and how it is doing.
    ///
    /// # Errors
    /// `store.no_upkeep`.
    pub async fn survey(&self) -> Result<Survey> {
        let upkeep = self.upkeep()?;
        self.blocking(move |_| Ok(upkeep.survey())).await
    }

    /// The backups there are, newest first.
    ///
    /// # Errors
    /// `upkeep.folder_unusable`.
    pub async fn backups(&self) -> Result<Vec<Backup>> {
        self.blocking(|this| this.0.folder.list()).await
    }

    pub fn config(&self) -> &Config {
        &self.0.config
    }

    /// When the first backup of this run is due if there has been none: at once when the store holds anything.
    /// Clears away what an interrupted backup or verification left, and looks for the last good backup.
    ///
    /// # Errors
    /// `upkeep.folder_unusable`.
    pub async fn begin(&self) -> Result<Option<Time>> {
        let Ok(upkeep) = self.upkeep() else { return Ok(None) };
        self.blocking(move |this| {
            let Inner { config, folder, started, clock, last_good, .. } = &*this.0;
            for file in folder.tidy()? {
                tracing::info!(file, "removed what an interrupted backup left");
            }
            clear_scratch(&config.scratch);
            let survey = upkeep.survey();
            let found = folder.last_good(&survey.store, clock.now())?.map(|backup| backup.at);
            *last_good.lock().unwrap_or_else(PoisonError::into_inner) = found;
            this.0.gauges.backed_up(found);
            let Some(schedule) = &config.schedule else { return Ok(None) };
            Ok(match found {
                Some(at) => schedule.after(at),
                None if survey.seq == 0 => schedule.after(*started),
                None => Some(clock.now()),
            })
        })
        .await
    }

    /// How old the last good backup is; none for a store in memory.
    pub fn freshness(&self) -> Option<Freshness> {
        let Inner { store, clock, config, started, .. } = &*self.0;
        store.upkeep()?;
        let last_good = self.last_good();
        let twice = config.schedule.as_ref().and_then(|schedule| {
            let since = last_good.unwrap_or(*started);
            schedule.after(schedule.after(since)?)
        });
        let late = twice.is_some_and(|at| at <= clock.now());
        Some(Freshness { scheduled: config.schedule.is_some(), last_good, late })
    }

    /// Takes the store's sizes and state over into the metrics.
    ///
    /// # Errors
    /// `store.no_upkeep`.
    pub async fn measure(&self) -> Result<()> {
        let upkeep = self.upkeep()?;
        self.blocking(move |this| {
            this.0.gauges.measured(&upkeep.survey(), &this.0.store.health());
            Ok(())
        })
        .await
    }

    /// Writes the audit row of a restore that was done before this store was opened.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn note_restored(&self, restored: &Restored, asker: &Sender) -> Result<()> {
        let after = json!({
            "seq": restored.replayed_to_seq, "rows": restored.info.rows, "made": restored.info.head.created.to_string(),
            "kept": restored.kept.as_ref().map(|kept| kept.display().to_string()),
        });
        self.note("store.restored", &format!("backup:{}", name_of(&restored.info.path)), &after, asker).await
    }

    /// Where a backup is tried out by this process, within the data directory `scratch`.
    pub fn scratch(scratch: &Path) -> PathBuf {
        scratch.join(format!("{SCRATCH}{}", std::process::id()))
    }

    fn upkeep(&self) -> Result<Upkeep> {
        self.0.store.upkeep().cloned().ok_or_else(|| {
            Error::conflict(
                "store.no_upkeep",
                "this server keeps its data in memory only: there is nothing to look after",
            )
            .hint("start it with a data directory (`grps serve` makes one); what is in memory ends with the process")
        })
    }

    /// Refuses what could not even begin, so that the caller hears of it at once.
    fn admit(&self, job: Job) -> Result<Job> {
        let Inner { folder, clock, .. } = &*self.0;
        match &job {
            Job::Backup(name) => folder.fresh_name(name.as_deref(), clock.now()).map(drop)?,
            Job::Verify(name) => folder.existing(name).map(drop)?,
            Job::Check | Job::Compact | Job::Checkpoint => {}
        }
        Ok(job)
    }

    fn run(&self, upkeep: &Upkeep, job: &Job, progress: &Progress) -> Result<Outcome> {
        let Inner { config, folder, alone, .. } = &*self.0;
        let _alone = alone.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(match job {
            Job::Check => Outcome::Checked(upkeep.check(progress)?),
            Job::Compact => Outcome::Compacted(upkeep.compact(progress)?),
            Job::Checkpoint => Outcome::Checkpointed(upkeep.checkpoint(progress)?),
            Job::Backup(name) => self.back_up(upkeep, name.as_deref(), progress)?,
            Job::Verify(name) => {
                let (path, scratch) = (folder.existing(name)?, Self::scratch(&config.scratch));
                Outcome::Verified(upkeep::verify_backup(&path, config.lock.as_ref(), &scratch, progress)?)
            }
        })
    }

    fn back_up(&self, upkeep: &Upkeep, name: Option<&str>, progress: &Progress) -> Result<Outcome> {
        let Inner { config, folder, clock, last_good, gauges, .. } = &*self.0;
        folder.probe()?;
        let begun = clock.now();
        let name = folder.fresh_name(name, begun)?;
        let info = upkeep.back_up(folder.path(), &name, config.lock.as_ref(), progress)?;
        *last_good.lock().unwrap_or_else(PoisonError::into_inner) = Some(begun);
        gauges.backed_up(Some(begun));
        // The backup is good whether or not older ones could be deleted.
        let removed = folder.prune(&config.keep, &info.head.store.to_string()).unwrap_or_else(|error| {
            tracing::warn!(?error, "the keep rules could not be applied to the backups");
            Vec::new()
        });
        tracing::info!(
            name,
            rows = info.rows,
            bytes = info.bytes,
            ?removed,
            "made a backup and proved it by restoring it"
        );
        Ok(Outcome::BackedUp(info, removed))
    }

    fn keep_house(&self, upkeep: &Upkeep) -> Result<Vec<String>> {
        let _alone = self.0.alone.lock().unwrap_or_else(PoisonError::into_inner);
        // It becomes a task once it has something to tell; most of the time nothing is due.
        let shown = Arc::new(OnceLock::new());
        let (this, told) = (self.clone(), shown.clone());
        let progress = Progress::new(move |what, done, total| {
            let Inner { desk, ids, clock, .. } = &*this.0;
            let begin = || desk.begin(ids.next(), Kind::Housekeeping, "upkeep", clock.now()).map(|task| task.id).ok();
            if let Some(id) = told.get_or_init(begin) {
                desk.step(*id, what, done, total);
            }
        });
        let done = contained(|| upkeep.tend(&progress));
        if let Some(Some(id)) = shown.get() {
            self.0.desk.end(*id, self.0.clock.now(), done.clone().map(Outcome::Kept));
        }
        done
    }

    /// The audit row of what a task did, where there is one.
    async fn trail(&self, outcome: &Outcome, asker: &Sender) {
        let (action, subject, after) = match outcome {
            Outcome::BackedUp(info, removed) => {
                ("store.backed_up", format!("backup:{}", name_of(&info.path)), backed_up(info, removed))
            }
            Outcome::Compacted(sizes) => {
                let after = json!({ "bytesBefore": sizes.bytes_before, "bytesAfter": sizes.bytes_after });
                ("store.compacted", "store".to_owned(), after)
            }
            Outcome::Checked(_) | Outcome::Checkpointed(_) | Outcome::Verified(_) | Outcome::Kept(_) => return,
        };
        if let Err(error) = self.note(action, &subject, &after, asker).await {
            tracing::warn!(?error, action, subject, "the audit row could not be written");
        }
    }

    async fn note(&self, action: &str, subject: &str, after: &Value, asker: &Sender) -> Result<()> {
        let entry = &asker.entry(self.0.clock.now(), action, subject).after(after);
        let id = self.0.ids.next();
        self.0
            .store
            .transact(|tx| async move {
                audit::record(&tx, id, entry);
                Ok(())
            })
            .await
    }

    fn last_good(&self) -> Option<Time> {
        *self.0.last_good.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Self) -> Result<T> + Send + 'static) -> Result<T> {
        let this = self.clone();
        let done = spawn_blocking(move || work(&this)).await;
        done.unwrap_or_else(|error| Err(Error::broken("upkeep.panicked", error)))
    }
}

impl Job {
    fn kind(&self) -> Kind {
        match self {
            Self::Check => Kind::Check,
            Self::Compact => Kind::Compact,
            Self::Checkpoint => Kind::Checkpoint,
            Self::Backup(_) => Kind::Backup,
            Self::Verify(_) => Kind::Verify,
        }
    }
}

/// A panic in the work is a failure like any other, so that its task ends.
fn contained<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    panics::contained(work).unwrap_or_else(|panic| Err(Error::broken("upkeep.panicked", panic)))
}

fn backed_up(info: &CheckpointInfo, removed: &[String]) -> Value {
    // A row has its bounds: of a long list the names do not matter.
    let removed: Vec<&String> = removed.iter().take(20).collect();
    json!({ "seq": info.seq, "rows": info.rows, "bytes": info.bytes, "encrypted": info.encrypted, "removed": removed })
}

/// A backup's name, from its file.
pub(super) fn name_of(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

/// Removes folders in which processes that are gone tried out a backup. Left-overs cost space, not correctness.
fn clear_scratch(dir: &Path) {
    let alive = |pid: i32| {
        pid as u32 != std::process::id()
            && rustix::process::Pid::from_raw(pid).is_some_and(|pid| rustix::process::test_kill_process(pid).is_ok())
    };
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(SCRATCH)?.parse().ok());
        if pid.is_some_and(|pid| !alive(pid))
            && let Err(error) = std::fs::remove_dir_all(entry.path())
        {
            tracing::warn!(%error, folder = %entry.path().display(), "a folder left by a verification could not be removed");
        }
    }
}
