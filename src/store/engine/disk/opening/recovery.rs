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

use std::fs;
use std::path::PathBuf;

use super::marker::{Marker, boot_id};
use super::place::{Place, remove};
use super::rebuild::{Rebuild, how_it_ended};
use crate::base::clock::Stopwatch;
use crate::base::{Clock, Error, Kind, Result};
use crate::store::engine::disk::capture::{Capture, Ledger};
use crate::store::engine::disk::checkpoint::{self, Lock};
use crate::store::engine::disk::database::Database;
use crate::store::engine::disk::files::disk_failure;
use crate::store::engine::disk::guarded;
use crate::store::engine::disk::journal::{End, Journal, Reader, StoreId, last_intact};
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

/// What an opening did.
#[derive(Debug, Clone)]
pub struct Report {
    pub outcome: Outcome,
    /// For a person: what was found and what was done.
    pub text: String,
    /// Groups that were acknowledged and are in no copy: the first of them, and the last that is heard of.
    pub lost: Option<(u64, u64)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Created,
    Opened,
    Replayed,
    /// The checkpoint or the journal was damaged and is written anew.
    Renewed,
    Rebuilt,
    /// Both copies were damaged.
    Restored,
}

/// A database that agrees with itself.
struct Found {
    rebuild: Rebuild,
    generation: u32,
    replayed: u64,
    end: End,
}

/// How far the second copy goes without sled.
struct Second {
    /// The last group that checkpoint and journal reach without a gap.
    reached: u64,
    problem: Option<String>,
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
        let watch = Stopwatch::start();
        self.finish_restore()?;
        self.place.create()?;
        self.place.sweep();
        let marker = Marker::read(self.place.root());
        refuse_newer(marker.as_ref())?;
        if super::migrate::is_old(&self.place) {
            super::migrate::lift(self)?;
            return self.open();
        }
        let unborn = marker.as_ref().is_some_and(|marker| marker.generation == 0);
        if unborn || marker.is_none() && self.place.is_new() {
            return self.create();
        }
        let opened = self.choose(marker.as_ref())?;
        let Report { outcome, text, .. } = &opened.report;
        let took = watch.elapsed();
        match outcome {
            Outcome::Opened => tracing::debug!(?took, "{text}"),
            Outcome::Created | Outcome::Replayed => tracing::info!(?took, "{text}"),
            Outcome::Renewed | Outcome::Rebuilt => tracing::warn!(?took, "{text}"),
            Outcome::Restored => tracing::error!(?took, "{text}"),
        }
        Ok(opened)
    }

    /// The marker comes first: with that, what an interrupted creation leaves is told from a store that lost nearly everything.
    fn create(&self) -> Result<Opened> {
        let (store, folder) = (StoreId::random()?, self.place.database(1));
        self.mark(store, 0, 0, false)?;
        remove(&folder).map_err(|e| disk_failure("removing an unfinished database", &e))?;
        let rebuild = Rebuild::new(&folder, store, self.settings.page_cache_bytes)?;
        let found = Found { rebuild, generation: 1, replayed: 0, end: End::Complete };
        self.take(
            found,
            Report { outcome: Outcome::Created, text: "a new store was created".into(), lost: None },
            false,
        )
    }

    fn choose(&self, marker: Option<&Marker>) -> Result<Opened> {
        let identity = marker.and_then(Marker::store_id).or_else(|| self.checkpointed_store());
        let (first, audited) = std::thread::scope(|scope| {
            let audit = scope.spawn(|| identity.map(|store| self.second_copy(store)));
            // Another one than the marker names was not finished.
            let named = marker.map_or_else(|| self.place.generations(), |marker| vec![marker.generation]);
            let first = self.first_copy(named, identity);
            (first, audit.join())
        });
        let second = match (audited, &first) {
            (Ok(Some(second)), _) => second,
            (_, Ok(found)) => self.second_copy(found.rebuild.store),
            _ => Second { reached: 0, problem: Some("it is not known which store this is".into()) },
        };
        let (found, reasons) = match first {
            Ok(found) if found.rebuild.seq >= second.reached => (found, None),
            Ok(stale) => {
                let why = format!("sled ends at group {}, the journal at {}", stale.rebuild.seq, second.reached);
                drop_quietly(stale.rebuild.database);
                self.other_copies(identity, marker, why)?
            }
            Err(why) => self.other_copies(identity, marker, why)?,
        };
        let lost = self.lost(&found, reasons.is_some() || second.problem.is_some(), marker);
        let short = second.reached < found.rebuild.seq;
        let renew = short || second.problem.is_some() || lost.is_some();
        let report = report(&found, reasons, lost, renew.then_some(&second), marker);
        self.take(found, report, renew)
    }

    /// The groups that were acknowledged and are in no copy: those that are heard of, or at least one where it cannot be shown that there
    /// were none.
    fn lost(&self, found: &Found, damaged: bool, marker: Option<&Marker>) -> Option<(u64, u64)> {
        let seq = found.rebuild.seq;
        let noted = marker.map_or(0, |marker| marker.seq);
        let closed_here = marker.is_some_and(|marker| marker.closed && marker.seq == seq);
        let whole = closed_here || matches!(found.end, End::Complete | End::TornTail);
        let heard_of = if damaged || !whole { self.last_known(found.rebuild.store) } else { noted };
        (heard_of > seq || !whole).then_some((seq + 1, heard_of.max(seq + 1)))
    }

    /// The last group that anything of the store speaks of. Reads all of the journal.
    pub(in crate::store::engine::disk) fn last_known(&self, store: StoreId) -> u64 {
        let noted = Marker::read(self.place.root()).map_or(0, |marker| marker.seq);
        let begun = self.place.journal_newest().map_or(0, |first| first.saturating_sub(1));
        let journaled = last_intact(&self.place.journals(), store).unwrap_or(0);
        noted.max(begun).max(journaled).max(self.covered())
    }

    /// sled as it is, brought up to the journal's end; the error says why it cannot be trusted.
    fn first_copy(&self, generations: Vec<u32>, identity: Option<StoreId>) -> Result<Found, String> {
        let mut reasons = Vec::new();
        for generation in generations {
            match guarded(|| self.try_database(generation, identity)) {
                Ok(found) => return Ok(found),
                Err(error) => reasons.push(inward(&error)),
            }
        }
        Err(if reasons.is_empty() { "there is no database".into() } else { reasons.join("; ") })
    }

    fn try_database(&self, generation: u32, identity: Option<StoreId>) -> Result<Found> {
        let database = Database::open(&self.place.database(generation), self.settings.page_cache_bytes)?;
        let Some(meta) = database.meta()? else {
            return Err(Error::broken("store.damaged", "the database does not say what it holds"));
        };
        if identity.is_some_and(|identity| identity != meta.store) {
            return Err(Error::broken("store.damaged", "the database belongs to another store"));
        }
        let mut reader = Reader::open(&self.place.journals(), meta.store, meta.seq)?;
        let mut rebuild = Rebuild::resume(database, meta);
        let replayed = rebuild.replay(&mut reader, None, &self.progress)?;
        rebuild.prove(&self.progress)?;
        Ok(Found { rebuild, generation, replayed, end: reader.end() })
    }

    /// Reads the checkpoint and the journal's first copy to their end.
    fn second_copy(&self, store: StoreId) -> Second {
        let mut second = Second { reached: 0, problem: None };
        if let Some(path) = self.place.checkpoint_files().first() {
            match guarded(|| checkpoint::verify(path, None, &Progress::silent())) {
                Ok(info) if info.head.store == store => second.reached = info.seq,
                Ok(_) => second.problem = Some("the checkpoint belongs to another store".into()),
                Err(error) => second.problem = Some(inward(&error)),
            }
        }
        if second.problem.is_some() {
            return second;
        }
        let walked = guarded(|| {
            let mut reader = Reader::open(&self.place.journals()[..1], store, second.reached)?;
            while let Some(entry) = reader.next()? {
                second.reached = entry.seq;
            }
            Ok(reader.end())
        });
        match walked {
            Ok(End::Gap { missing_from, .. }) => {
                second.problem = Some(format!("the journal is damaged at group {missing_from}"));
            }
            Ok(end @ End::Unproven) => second.problem = how_it_ended(&end),
            Ok(_) => {}
            Err(error) => second.problem = Some(inward(&error)),
        }
        second
    }

    fn checkpointed_store(&self) -> Option<StoreId> {
        self.place.checkpoint_files().iter().find_map(|path| checkpoint::inspect(path).ok()).map(|info| info.head.store)
    }

    /// A new database from whatever is left besides sled.
    fn other_copies(
        &self,
        identity: Option<StoreId>,
        marker: Option<&Marker>,
        why: String,
    ) -> Result<(Found, Option<String>)> {
        tracing::warn!(reason = why, "the database cannot be trusted; building it again from the other copy");
        let mut generation =
            self.place.generations().first().copied().unwrap_or(0).max(marker.map_or(0, |m| m.generation));
        let mut reasons = vec![format!("sled: {why}")];
        let checkpoints = self.place.checkpoint_files();
        let bases = checkpoints.iter().map(|path| (Some(path.clone()), None)).chain([(None, None)]);
        let backups = backups_in(&self.backups).into_iter().map(|path| (Some(path), self.lock.as_ref()));
        let mut best: Option<Found> = None;
        for (base, lock) in bases.chain(backups) {
            // What does not begin behind the best so far ends where that does.
            let begins = base.as_ref().map_or(0, |path| checkpoint::inspect(path).map_or(0, |info| info.seq));
            if best.as_ref().is_some_and(|best| begins <= best.rebuild.seq) {
                continue;
            }
            let name = base.as_ref().map_or("the journal alone".into(), |path| path.display().to_string());
            generation += 1;
            let worse = match guarded(|| self.build(generation, identity, base.as_deref(), lock)) {
                Ok(found) => best.replace(found).map(|worse| (worse.generation, Some(worse.rebuild.database))),
                Err(error) if error.kind() == Kind::Full => return Err(error),
                Err(error) => {
                    reasons.push(format!("{name}: {}", inward(&error)));
                    Some((generation, None))
                }
            };
            if let Some((generation, database)) = worse {
                database.into_iter().for_each(drop_quietly);
                remove(&self.place.database(generation)).map_err(|e| disk_failure("removing a failed attempt", &e))?;
            }
            if best.as_ref().is_some_and(|best| matches!(best.end, End::Complete | End::TornTail)) {
                break;
            }
        }
        // What is there may still be the best there is: a database that is only older than something that was heard of.
        let found = best.map_or_else(|| self.first_copy(self.place.generations(), identity), Ok);
        found.map(|found| (found, Some(reasons.join("; ")))).map_err(|_| {
            Error::new(
                Kind::Broken,
                "store.beyond_repair",
                "the database is damaged, and so is its other copy; there is no backup to go back to",
            )
            .hint("nothing was changed; put a backup into the backups folder and start again, or see `grps store dump`")
            .context(reasons.join("; "))
        })
    }

    fn build(
        &self,
        generation: u32,
        identity: Option<StoreId>,
        base: Option<&std::path::Path>,
        lock: Option<&Lock>,
    ) -> Result<Found> {
        let folder = self.place.database(generation);
        remove(&folder).map_err(|e| disk_failure("removing an unfinished database", &e))?;
        let unknown = || Error::broken("store.damaged", "it is not known which store this is");
        let mut rebuild = Rebuild::new(&folder, identity.unwrap_or_default(), self.settings.page_cache_bytes)?;
        match base {
            Some(path) => rebuild.load(path, lock, &self.progress)?,
            None => drop(identity.ok_or_else(unknown)?),
        }
        if identity.is_some_and(|identity| identity != rebuild.store) {
            return Err(Error::broken("store.damaged", "it belongs to another store"));
        }
        let mut reader = Reader::open(&self.place.journals(), rebuild.store, rebuild.seq)?;
        let replayed = rebuild.replay(&mut reader, None, &self.progress)?;
        if base.is_none() && replayed == 0 {
            return Err(Error::broken("store.damaged", "the journal does not go back to the beginning"));
        }
        rebuild.prove(&self.progress)?;
        Ok(Found { rebuild, generation, replayed, end: reader.end() })
    }

    /// Puts the chosen database into force. Interrupted anywhere, the next opening chooses again, and knows of as much.
    fn take(&self, found: Found, report: Report, renew: bool) -> Result<Opened> {
        let Found { mut rebuild, generation, .. } = found;
        if let Some((_, last)) = report.lost {
            // No number is given out twice, heard of or not, and some are left out: so whoever followed the changes notices.
            rebuild.seq = last + LEFT_OUT;
            self.mark(rebuild.store, generation, last, false)?;
            self.place.put_aside(&self.place.journal(), "journal")?;
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
        for old in self.place.generations().into_iter().filter(|old| *old != generation) {
            self.place.put_aside(&self.place.database(old), "db")?;
        }
        Ok(Opened { database, generation, store, ledger, journal, report })
    }

    /// Writes the second copy anew from the first.
    fn renew(&self, database: &Database, store: StoreId, ledger: &Ledger) -> Result<()> {
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
        for old in self.place.checkpoint_files().into_iter().filter(|old| *old != path) {
            self.place.put_aside(&old, "checkpoint.ckp")?;
        }
        Ok(())
    }

    /// The group up to which the checkpoint goes; 0 without one.
    pub fn covered(&self) -> u64 {
        let newest = self.place.checkpoint_files().into_iter().next();
        newest.and_then(|path| checkpoint::inspect(&path).ok()).map_or(0, |info| info.seq)
    }

    /// # Errors
    /// `store.disk_full`, `store.disk_failed`.
    pub fn mark(&self, store: StoreId, generation: u32, seq: u64, closed: bool) -> Result<()> {
        let format = crate::store::engine::disk::FORMAT;
        Marker { format, store: store.to_string(), generation, boot: boot_id(), closed, seq }.write(self.place.root())
    }
}

/// The finished backups in `folder`, newest first.
fn backups_in(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "ckp")).collect();
    found.sort_unstable_by_key(|path| {
        std::cmp::Reverse(checkpoint::inspect(path).map_or(0, |info| info.head.created.0))
    });
    found
}

fn refuse_newer(marker: Option<&Marker>) -> Result<()> {
    let Some(marker) = marker.filter(|marker| marker.format > crate::store::engine::disk::FORMAT) else {
        return Ok(());
    };
    let detail = format!(
        "the store was written by a newer grps: its format is {}, this program knows {}",
        marker.format,
        crate::store::engine::disk::FORMAT
    );
    Err(Error::new(Kind::Conflict, "store.newer", detail)
        .hint("start the newer program again, or restore a backup that this one wrote"))
}

/// The cause of an error, for the log and for reports that only the owner sees.
fn inward(error: &Error) -> String {
    error.context_text().unwrap_or(error.detail()).to_owned()
}

fn drop_quietly(database: Database) {
    let _ = guarded(|| {
        drop(database);
        Ok(())
    });
}

fn report(
    found: &Found,
    reasons: Option<String>,
    lost: Option<(u64, u64)>,
    renewed: Option<&Second>,
    marker: Option<&Marker>,
) -> Report {
    let seq = found.rebuild.seq;
    let left = match marker {
        None => "its marker was lost",
        Some(marker) if marker.closed => "it was closed in good order",
        Some(marker) if marker.boot != boot_id() => "the machine went down while it was open",
        Some(_) => "the process ended without closing it",
    };
    let rows = found.rebuild.census.total().rows;
    let state = format!("the store is at group {seq} with {rows} rows");
    let lacking = renewed.and_then(|second| second.problem.clone()).map(|why| format!("checkpoint and journal: {why}"));
    let both = || [reasons.clone(), lacking.clone()].into_iter().flatten().collect::<Vec<_>>().join("; ");
    let (outcome, text) = match (lost, &reasons, renewed) {
        (Some((from, to)), ..) => {
            let what = format!(
                "both copies of the store were damaged; {state}; groups {from} to at least {to} are lost ({})",
                both()
            );
            (Outcome::Restored, what)
        }
        (None, Some(why), _) => {
            (Outcome::Rebuilt, format!("the store repaired itself, nothing was lost: {state} ({why})"))
        }
        (None, None, Some(second)) => {
            let why = second.problem.clone().or_else(|| how_it_ended(&found.end));
            let why = why.unwrap_or_else(|| "the journal was shorter than sled".into());
            (Outcome::Renewed, format!("the store's second copy was written anew, nothing was lost: {state} ({why})"))
        }
        (None, None, None) if found.replayed > 0 => {
            (Outcome::Replayed, format!("{} groups were replayed from the journal: {state} ({left})", found.replayed))
        }
        (None, None, None) => (Outcome::Opened, format!("{state} ({left})")),
    };
    Report { outcome, text, lost }
}
