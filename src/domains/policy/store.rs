//! The policy in force, and how a new one takes its place: whole or not at all.
//!
//! [`PolicyStore::reload_if_changed`] is meant for a worker's tick (every 500 ms keeps F20's two seconds). It compares contents, not
//! times, so an editor that renames a new file into place, or saves twice within one tick of the file system's clock, is noticed. A
//! changed set must read the same on two ticks in a row before it is taken: files that are being copied one after the other are not
//! mistaken for a set. A set with errors changes nothing but [`Status::last_error`].
//!
//! There is no ArcSwap: a read lock around one `Arc` clone is as cheap as decisions need.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::Serialize;

use crate::base::{Clock, Error, Result, Time};

use super::lint::LintReport;
use super::load::{Search, Sources, shipped_sources};
use super::set::Policy;

/// The policy in force. One per program, shared by `Arc`.
pub struct PolicyStore {
    search: Search,
    clock: Clock,
    current: RwLock<Arc<Policy>>,
    watch: Mutex<Watch>,
}

struct Watch {
    /// Where the set came from. Once found it is not looked for elsewhere: while an editor replaces a file, another directory must not
    /// take over.
    dir: Option<PathBuf>,
    /// Digest of the set that was last judged, good or bad.
    judged: Option<[u8; 32]>,
    /// Digest of a changed set seen on the last tick.
    settling: Option<[u8; 32]>,
    status: Status,
}

/// What is known about the policy in force, for health checks and pages.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    pub version: Arc<str>,
    /// When this set was taken, in milliseconds since 1970.
    pub loaded_at: Time,
    /// When the newest of its files was written, in milliseconds since 1970; `None` for the built-in set.
    pub changed_at: Option<Time>,
    /// The files it was read from.
    pub files: Vec<String>,
    /// Whether it is the set inside the program, because no directory holds one.
    pub built_in: bool,
    /// Number of warnings it was taken in spite of.
    pub warnings: usize,
    /// Why the set on disk was refused; `None` while what is on disk is in force.
    pub last_error: Option<Refusal>,
}

/// Why a set was not taken.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// When it was refused, in milliseconds since 1970.
    pub at: Time,
    /// What to tell a person, in one text.
    pub message: String,
    /// All findings, when the files could be read.
    pub report: Option<LintReport>,
}

/// What a tick found.
#[derive(Debug, Clone, PartialEq)]
pub enum Reload {
    /// Nothing new.
    Unchanged,
    /// Something was edited; the next tick takes it if it stays.
    Settling,
    /// Another set is in force.
    Swapped { from: Arc<str>, to: Arc<str> },
    /// The edited set has errors; the one in force stays. Reported once per edit.
    Refused(Refusal),
}

impl PolicyStore {
    /// Loads the set. When no directory holds one and `POLICY_DIR` does not exist, the built-in set is used until one appears. Blocks.
    ///
    /// # Errors
    /// `policy.ranks_missing` when `POLICY_DIR` exists without a set; otherwise the code of the first thing wrong with the files.
    pub fn open(search: Search, clock: Clock) -> Result<Self> {
        let dir = search.find().map(ToOwned::to_owned);
        let sources = match &dir {
            Some(dir) => search.read(dir)?,
            None if search.first().exists() => return Err(search.missing()),
            None => shipped_sources(),
        };
        let policy = Policy::from_sources(&sources).map_err(|report| Error::from(&report).context(report))?;
        let status = status(&policy, &sources, clock.now());
        let judged = dir.as_ref().map(|_| sources.digest());
        let watch = Watch { dir, judged, settling: None, status };
        Ok(Self { search, clock, current: RwLock::new(Arc::new(policy)), watch: Mutex::new(watch) })
    }

    /// The policy in force. Cheap: one shared lock and one counter.
    pub fn current(&self) -> Arc<Policy> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What is in force and since when.
    pub fn status(&self) -> Status {
        self.watch.lock().unwrap_or_else(PoisonError::into_inner).status.clone()
    }

    /// Reads the files and takes them if they changed and settled. Blocks on the disk (a few small files); call it from a blocking
    /// thread. Errors are part of the answer, since the policy in force goes on.
    pub fn reload_if_changed(&self) -> Reload {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(dir) = watch.dir.clone().or_else(|| self.search.find().map(ToOwned::to_owned)) else {
            return Reload::Unchanged;
        };
        let read = self.search.read(&dir);
        let digest = match &read {
            Ok(sources) => sources.digest(),
            Err(error) => digest_of(error),
        };
        if watch.judged == Some(digest) {
            watch.settling = None;
            return Reload::Unchanged;
        }
        if watch.settling.replace(digest) != Some(digest) {
            return Reload::Settling;
        }
        watch.settling = None;
        watch.judged = Some(digest);
        let now = self.clock.now();
        let checked = read.map_err(|error| (error.to_string(), None)).and_then(|sources| {
            let policy = Policy::from_sources(&sources).map_err(|report| (report.to_string(), Some(report)))?;
            Ok((policy, sources))
        });
        match checked {
            Ok((policy, sources)) => {
                watch.status = status(&policy, &sources, now);
                watch.dir = Some(dir);
                self.swap(policy)
            }
            Err((message, report)) => {
                let refusal = Refusal { at: now, message, report };
                watch.status.last_error = Some(refusal.clone());
                Reload::Refused(refusal)
            }
        }
    }

    fn swap(&self, policy: Policy) -> Reload {
        let to = policy.version().clone();
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        let from = std::mem::replace(&mut *current, Arc::new(policy)).version().clone();
        Reload::Swapped { from, to }
    }
}

fn status(policy: &Policy, sources: &Sources, now: Time) -> Status {
    Status {
        version: policy.version().clone(),
        loaded_at: now,
        changed_at: sources.list.iter().filter_map(|source| source.changed_at).max(),
        files: sources.list.iter().map(|source| source.label.clone()).collect(),
        built_in: sources.dir.is_none(),
        warnings: policy.warnings().len(),
        last_error: None,
    }
}

/// So that the same failure to read is reported once.
fn digest_of(error: &Error) -> [u8; 32] {
    let hash = ring::digest::digest(&ring::digest::SHA256, error.to_string().as_bytes());
    let mut out = [0; 32];
    out.copy_from_slice(hash.as_ref());
    out
}

#[cfg(test)]
mod tests;
