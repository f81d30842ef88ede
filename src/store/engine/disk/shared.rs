//! What the committer shares with readers, submitters and upkeep.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use super::capture::Ledger;
use super::database::Database;
use super::guarded;
use super::journal::{Journal, StoreId};
use super::keyspace::{Keyspace, reopening};
use super::recovery::{Opened, Report};
use super::space::Space;
use crate::base::clock::Stopwatch;
use crate::base::{Error, Kind, Result};
use crate::store::engine::{Health, Publish, Row};
use crate::store::{MAX_PAGE, changes};

/// A sync that takes longer shows in health checks.
pub const SLOW_SYNC: Duration = Duration::from_secs(2);

/// sled is synced behind everyone's back, and a lot at once: only what takes longer than that is worth a word.
const SLOW_SETTLE: Duration = Duration::from_secs(30);

/// What waits for a sync gives up after this.
const LONGEST_SYNC: Duration = Duration::from_secs(60);

pub struct Shared {
    pub store: StoreId,
    pub keyspace: Keyspace,
    pub publish: OnceLock<Publish>,
    pub closed: AtomicBool,
    pub space: Space,
    /// Everything up to here is durable in sled.
    pub settled: AtomicU64,
    /// Everything up to here is in the checkpoint.
    pub covered: AtomicU64,
    /// Bytes committed since the checkpoint.
    pub uncovered: AtomicU64,
    pub generation: AtomicU32,
    /// How often the store was opened again. What was begun before does not fit what is there after.
    pub openings: AtomicU64,
    /// The last acknowledged group.
    ledger: Mutex<Ledger>,
    /// Whether a sync of sled failed. One that succeeds later does not make up for it: the kernel may have dropped what it could not write,
    /// and shows it all the same for as long as it has it in memory.
    pub unsynced: AtomicBool,
    fault: Mutex<Option<Fault>>,
    /// Since when the journal has been waited for, and sled.
    syncing: Mutex<Option<Stopwatch>>,
    settling: Mutex<Option<Stopwatch>>,
    opening: Mutex<Report>,
}

/// Why nothing is written.
#[derive(Clone)]
pub struct Fault {
    pub error: Error,
    /// Only a restart helps.
    pub for_good: bool,
}

impl Fault {
    pub fn new(error: Error) -> Self {
        Self { error, for_good: false }
    }

    pub fn for_good(error: Error) -> Self {
        Self { error, for_good: true }
    }
}

/// Runs from the start of a sync to its end.
pub struct Syncing<'a>(&'a Mutex<Option<Stopwatch>>);

impl<'a> Syncing<'a> {
    fn begins(watch: &'a Mutex<Option<Stopwatch>>) -> Self {
        *locked(watch) = Some(Stopwatch::start());
        Self(watch)
    }
}

impl Drop for Syncing<'_> {
    fn drop(&mut self) {
        *locked(self.0) = None;
    }
}

impl Shared {
    /// What was opened, and the journal and the ledger for the committer. `covered` is the last group in the checkpoint.
    pub fn new(opened: Opened, covered: u64, space: Space) -> (Self, Journal, Ledger) {
        let Opened { database, generation, store, ledger, journal, report } = opened;
        let shared = Self {
            store,
            keyspace: Keyspace::new(database),
            publish: OnceLock::new(),
            closed: AtomicBool::new(false),
            space,
            settled: AtomicU64::new(ledger.seq),
            covered: AtomicU64::new(covered),
            uncovered: AtomicU64::new(journal.bytes(0)),
            generation: AtomicU32::new(generation),
            openings: AtomicU64::new(0),
            ledger: Mutex::new(ledger.clone()),
            unsynced: AtomicBool::new(false),
            fault: Mutex::new(None),
            syncing: Mutex::new(None),
            settling: Mutex::new(None),
            opening: Mutex::new(report),
        };
        (shared, journal, ledger)
    }

    pub fn ledger(&self) -> Ledger {
        locked(&self.ledger).clone()
    }

    pub fn seq(&self) -> u64 {
        locked(&self.ledger).seq
    }

    pub fn set_ledger(&self, ledger: &Ledger) {
        locked(&self.ledger).clone_from(ledger);
    }

    pub fn opening(&self) -> Report {
        locked(&self.opening).clone()
    }

    pub fn set_opening(&self, report: Report) {
        *locked(&self.opening) = report;
    }

    pub fn fault(&self) -> Option<Error> {
        locked(&self.fault).as_ref().map(|fault| fault.error.clone())
    }

    /// Whether opening the store again may help.
    pub fn can_recover(&self) -> bool {
        locked(&self.fault).as_ref().is_some_and(|fault| !fault.for_good) && self.space.shortage().is_none()
    }

    /// The first fault is the one that is told.
    pub fn fail(&self, fault: Fault) {
        let mut current = locked(&self.fault);
        if fault.for_good || current.is_none() {
            tracing::error!(error = ?fault.error, "the store takes no more writes until it has been opened again");
            *current = Some(fault);
        }
    }

    pub fn recover(&self) {
        *locked(&self.fault) = None;
        tracing::warn!("the store was opened again and takes writes");
    }

    /// Looks at what a read failed with: damage makes the store repair itself.
    pub fn suspect<T>(&self, outcome: Result<T>) -> Result<T> {
        outcome.inspect_err(|error| {
            if matches!(error.code(), "store.damaged" | "store.broken" | "store.panicked" | "store.disk_failed") {
                self.fail(Fault::new(error.clone()));
            }
        })
    }

    /// What a read came to. Reading needs no room: where it fails for want of some, sled met a full disk before and answers nothing until it
    /// is opened again.
    pub fn answer<T>(&self, outcome: Result<T>) -> Result<T> {
        self.suspect(outcome).map_err(|error| {
            if error.kind() != Kind::Full {
                return error;
            }
            self.fail(Fault::new(error));
            reopening()
        })
    }

    pub fn publish(&self, writes: &[Row]) {
        let Some(publish) = self.publish.get().filter(|_| !writes.is_empty()) else { return };
        if let Err(panic) = guarded(|| {
            publish(writes);
            Ok(())
        }) {
            tracing::error!(error = ?panic, "telling followers of a commit failed");
        }
    }

    /// Waits until everything that readers may have seen by now is durable, and says how far that is.
    ///
    /// # Errors
    /// The fault that keeps it from becoming durable; `store.stalled`.
    pub fn durable(&self) -> Result<u64> {
        let (shown, watch) = (self.keyspace.shown(), Stopwatch::start());
        while self.seq() < shown {
            if let Some(fault) = self.fault() {
                return Err(fault);
            }
            if watch.elapsed() > LONGEST_SYNC {
                return Err(Error::busy("store.stalled", "the disk does not answer"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(self.seq())
    }

    /// How far the slowest of those who follow the changes has come; none when nobody does.
    ///
    /// # Errors
    /// Faults of the database, which say nothing about followers.
    pub fn slowest_follower(&self) -> Result<Option<u64>> {
        Ok(changes::slowest(&self.keyspace.page(&changes::cursors(), MAX_PAGE)?))
    }

    pub fn sync_begins(&self) -> Syncing<'_> {
        Syncing::begins(&self.syncing)
    }

    /// Makes sled durable up to what was acknowledged before the call.
    ///
    /// # Errors
    /// Faults of the disk.
    pub fn settle(&self) -> Result<()> {
        let seq = self.seq();
        if seq > self.settled.load(Ordering::SeqCst) {
            let _watch = Syncing::begins(&self.settling);
            let synced = self.keyspace.with(Database::make_durable);
            if synced.as_ref().is_err_and(|error| error.code() == "store.disk_failed") {
                self.unsynced.store(true, Ordering::SeqCst);
            }
            synced?;
            self.settled.fetch_max(seq, Ordering::SeqCst);
        }
        Ok(())
    }

    pub fn health(&self) -> Health {
        if let Some(fault) = self.fault() {
            return Health::Failed(fault);
        }
        if self.closed.load(Ordering::SeqCst) {
            return Health::Closed;
        }
        let slow = |watch: &Mutex<Option<Stopwatch>>, most| {
            locked(watch).as_ref().map(Stopwatch::elapsed).filter(|since| *since >= most)
        };
        let stalled = slow(&self.syncing, SLOW_SYNC).or_else(|| slow(&self.settling, SLOW_SETTLE));
        match (stalled, self.space.shortage()) {
            (Some(since), _) => Health::Stalled(since),
            (None, Some(shortage)) => Health::Full { free: shortage.free, needed: shortage.reserve },
            (None, None) => Health::Ready,
        }
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
