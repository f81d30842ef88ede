//! Opening a store that nobody should be trusted to have left in order.
//!
//! Every start reads both copies in full: sled, row by row against its checks and its census, and the checkpoint with the journal behind it.
//! What happens then:
//!
//! | sled | checkpoint and journal | outcome |
//! | --- | --- | --- |
//! | good, as far as the journal | good | opened |
//! | good, behind the journal | good | the journal's tail is replayed |
//! | good | damaged, or shorter than sled | a new checkpoint is written from sled |
//! | damaged, or it does not open | good | sled is rebuilt beside and takes its place |
//! | damaged | damaged | the newest state that can be proven: what both give together, else a backup; what is missing is said |
//! | damaged | damaged, and no backup | refused, nothing is touched |

use std::path::PathBuf;

use super::choice::{Found, Verdict};
use super::marker::{Marker, boot_id};
use super::place::{Place, remove};
use super::rebuild::Rebuild;
pub use super::report::{Outcome, Report};
use crate::base::clock::Stopwatch;
use crate::base::{Clock, Error, Kind, Result};
use crate::store::engine::disk::capture::{Capture, Ledger};
use crate::store::engine::disk::checkpoint::{self, Lock};
use crate::store::engine::disk::database::Database;
use crate::store::engine::disk::files::disk_failure;
use crate::store::engine::disk::guarded;
use crate::store::engine::disk::journal::{End, Journal, StoreId};
use crate::store::{DataDir, Progress, Settings};

/// Numbers of groups that are left out after those that are lost: more than may have been lost without being heard of.
const LEFT_OUT: u64 = 1 << 20;

/// Everything an opening needs to know.
pub struct Surroundings {
    pub(in crate::store) place: Place,
    pub settings: Settings,
    /// Where backups lie, and what opens them; the last resort.
    pub backups: PathBuf,
    pub lock: Option<Lock>,
    pub clock: Clock,
    pub progress: Progress,
}

/// An open store.
pub struct Opened {
    pub database: Database,
    pub generation: u32,
    pub store: StoreId,
    pub ledger: Ledger,
    pub journal: Journal,
    pub report: Report,
}

impl Surroundings {
    /// Those of the store in `dir`, with backups in its `backups` folder.
    pub fn new(dir: &DataDir, settings: &Settings) -> Self {
        Self {
            place: Place::inside(dir.path()),
            settings: settings.clone(),
            backups: dir.path().join("backups"),
            lock: None,
            clock: Clock::system(),
            progress: Progress::silent(),
        }
    }

    /// Opens the store, or repairs it first. Blocks: about a second per million rows, up to a minute where a million players are rebuilt.
    ///
    /// # Errors
    /// `store.newer` for data of a newer program, `store.beyond_repair`, `store.disk_full`, `store.disk_failed`.
    pub fn open(&self) -> Result<Opened> {
        guarded(|| self.open_anew(None))
    }

    /// As [`Surroundings::open`], but sled is built again from the other copy if that gives as much, since `why` speaks against it.
    ///
    /// # Errors
    /// As [`Surroundings::open`].
    pub fn open_distrusting(&self, why: &str) -> Result<Opened> {
        guarded(|| self.open_anew(Some(why)))
    }

    fn open_anew(&self, distrust: Option<&str>) -> Result<Opened> {
        let watch = Stopwatch::start();
        self.finish_restore()?;
        self.place.create()?;
        self.place.sweep();
        let mut marker = Marker::read(self.place.root());
        refuse_newer(marker.as_ref())?;
        if super::migrate::is_old(&self.place) {
            super::migrate::lift(self, marker.as_ref())?;
            marker = Marker::read(self.place.root());
        }
        let unborn = marker.as_ref().is_some_and(|marker| marker.generation == 0);
        if unborn || marker.is_none() && self.place.is_new()? {
            return self.create();
        }
        let opened = self.choose(marker.as_ref(), distrust)?;
        let Report { outcome, text, .. } = &opened.report;
        let took = watch.elapsed();
        match outcome {
            Outcome::Opened => tracing::debug!(?took, "{text}"),
            Outcome::Created | Outcome::Replayed => tracing::info!(?took, "{text}"),
            Outcome::Renewed | Outcome::Rebuilt => tracing::warn!(?took, "{text}"),
            // Said before anything was changed.
            Outcome::Restored => {}
        }
        Ok(opened)
    }

    /// The marker comes first: with that, what an interrupted creation leaves is told from a store that lost nearly everything.
    fn create(&self) -> Result<Opened> {
        let (store, generation) = (StoreId::random()?, 1);
        self.mark(store, 0, 0, false)?;
        let folder = self.place.database(generation);
        remove(&folder).map_err(|e| disk_failure("removing an unfinished database", &e))?;
        let rebuild = Rebuild::new(&folder, store, self.settings.page_cache_bytes)?;
        let found = Found { rebuild, generation, replayed: 0, end: End::Complete };
        self.take(Verdict { found, report: Report::created(), renew: false, aside: None })
    }

    /// Puts the chosen database into force. Interrupted anywhere, the next opening chooses again, and knows of as much.
    pub(super) fn take(&self, verdict: Verdict) -> Result<Opened> {
        let Verdict { found: Found { mut rebuild, generation, .. }, report, renew, aside } = verdict;
        if let Some((_, last)) = report.lost {
            // Told before anything is changed: should this be interrupted, the next opening may find nothing amiss any more.
            tracing::error!("{}", report.text);
            // No number is given out twice, heard of or not, and some are left out: so whoever followed the changes notices.
            rebuild.seq = last + LEFT_OUT;
            self.mark(rebuild.store, generation, last, false)?;
            // There is none to keep if that was interrupted here.
            if self.place.has_journal()? {
                self.place.put_aside(&self.place.journal(), "journal")?;
            }
            self.place.create()?;
        }
        rebuild.finish()?;
        let Rebuild { database, store, seq, census, .. } = rebuild;
        let ledger = Ledger { seq, at: self.clock.now(), census };
        if renew {
            self.renew(&database, store, &ledger)?;
        }
        let journal = Journal::start(&self.place.journals(), store, seq, self.settings.segment_bytes)?;
        self.mark(store, generation, seq, false)?;
        for old in self.place.generations()?.into_iter().filter(|old| *old != generation) {
            let folder = self.place.database(old);
            if aside == Some(old) {
                self.place.put_aside(&folder, "db")?;
            } else {
                remove(&folder).map_err(|e| disk_failure("removing an unfinished database", &e))?;
            }
        }
        Ok(Opened { database, generation, store, ledger, journal, report })
    }

    /// Writes the second copy anew from the first.
    pub(in crate::store::engine::disk) fn renew(
        &self,
        database: &Database,
        store: StoreId,
        ledger: &Ledger,
    ) -> Result<()> {
        let capture = Capture {
            store,
            start: ledger.clone(),
            page: &|span, limit| database.rows(span, limit),
            durable: &|| Ok(ledger.seq),
            journals: &[],
            clock: &self.clock,
        };
        let path = self.place.checkpoint_at(ledger.seq);
        let written = capture.write(&path, None, &self.progress)?;
        checkpoint::verify(&written.info().path, None, &self.progress)?;
        written.publish(&path)?;
        // Of several the newest stays.
        for old in self.place.checkpoint_files()?.into_iter().rev().filter(|old| *old != path) {
            self.place.put_aside(&old, "checkpoint.ckp")?;
        }
        Ok(())
    }

    /// The group up to which the checkpoint goes; 0 without one.
    pub fn covered(&self) -> u64 {
        let newest = self.place.checkpoint_files().unwrap_or_default().into_iter().next();
        newest.and_then(|path| checkpoint::inspect(&path).ok()).map_or(0, |info| info.seq)
    }

    /// # Errors
    /// `store.disk_full`, `store.disk_failed`.
    pub fn mark(&self, store: StoreId, generation: u32, seq: u64, closed: bool) -> Result<()> {
        let format = crate::store::engine::disk::FORMAT;
        Marker { format, store: store.to_string(), generation, boot: boot_id(), closed, seq }.write(self.place.root())
    }
}

fn refuse_newer(marker: Option<&Marker>) -> Result<()> {
    marker.map_or(Ok(()), |marker| refuse_format(marker.format))
}

/// # Errors
/// `store.newer` for a layout this program does not know yet.
pub fn refuse_format(format: u16) -> Result<()> {
    let known = crate::store::engine::disk::FORMAT;
    if format <= known {
        return Ok(());
    }
    let detail = format!("the data was written by a newer grps: its format is {format}, this program knows {known}");
    Err(Error::new(Kind::Conflict, "store.newer", detail)
        .hint("start the newer program again, or restore a backup that this one wrote"))
}
