//! Deciding what a store goes on with: both copies are read in full, and what they say is held against each other.

use std::path::{Path, PathBuf};

use super::marker::Marker;
use super::place::remove;
use super::rebuild::Rebuild;
use super::recovery::{Opened, Surroundings};
use super::report::Report;
use crate::base::{Error, Kind, Result};
use crate::store::Progress;
use crate::store::engine::disk::checkpoint::{self, Lock};
use crate::store::engine::disk::database::Database;
use crate::store::engine::disk::files::disk_failure;
use crate::store::engine::disk::guarded;
use crate::store::engine::disk::journal::{End, Reader, StoreId};

/// A database that agrees with itself.
pub struct Found {
    pub rebuild: Rebuild,
    pub generation: u32,
    pub replayed: u64,
    pub end: End,
}

/// How far the second copy goes without sled.
pub struct Second {
    /// The last group that checkpoint and journal reach without a gap.
    reached: u64,
    pub problem: Option<String>,
    /// The last group anything in the journal speaks of.
    heard_of: u64,
}

/// What an opening has decided.
pub struct Verdict {
    pub found: Found,
    pub report: Report,
    /// Whether the second copy is to be written anew.
    pub renew: bool,
    /// The database that was in use and is not any more, for a person to look at.
    pub aside: Option<u32>,
}

/// What was known before the copies were read.
#[derive(Clone, Copy)]
struct Known<'a> {
    marker: Option<&'a Marker>,
    identity: Option<StoreId>,
    /// Why sled is not to be used while there is anything else as good.
    distrust: Option<&'a str>,
}

/// What a database can be made of.
enum Source {
    Checkpoint(PathBuf),
    Journal,
    /// sled as it is, distrusted as it may be.
    Sled,
    Backup(PathBuf),
}

impl Found {
    fn heard_of(&self) -> u64 {
        match self.end {
            End::Gap { resumes_at: Some(later), .. } => later.max(self.rebuild.seq),
            _ => self.rebuild.seq,
        }
    }
}

impl Surroundings {
    pub(super) fn choose(&self, marker: Option<&Marker>, distrust: Option<&str>) -> Result<Opened> {
        let verdict = self.judge(marker, distrust)?;
        self.take(verdict)
    }

    fn judge(&self, marker: Option<&Marker>, distrust: Option<&str>) -> Result<Verdict> {
        let identity = marker.and_then(Marker::store_id).or_else(|| self.checkpointed_store());
        let known = Known { marker, identity, distrust };
        let (first, audited) = std::thread::scope(|scope| {
            let audit = scope.spawn(|| identity.map(|store| self.second_copy(store)));
            let first = match distrust {
                Some(why) => Err(unproven(why)),
                None => self.first_copy(known),
            };
            (first, audit.join())
        });
        let second = match (audited, &first) {
            (Ok(Some(second)), _) => second,
            (_, Ok(found)) => self.second_copy(found.rebuild.store),
            _ => Second { reached: 0, problem: Some("it is not known which store this is".into()), heard_of: 0 },
        };
        let noted = marker.map_or(0, |marker| marker.seq);
        let heard_of = second.heard_of.max(second.reached).max(noted);
        let (found, reasons) = match first {
            Ok(found) if found.rebuild.seq >= heard_of.max(found.heard_of()) => (found, None),
            Ok(short) => {
                let heard_of = heard_of.max(short.heard_of());
                let why = format!("sled ends at group {} of {heard_of}", short.rebuild.seq);
                self.other_copies(known, heard_of, Some(short), why)?
            }
            Err(error) if is_no_damage(&error) => return Err(error),
            Err(error) => self.other_copies(known, heard_of, None, inward(&error))?,
        };
        let heard_of = heard_of.max(found.heard_of());
        let lost = (heard_of > found.rebuild.seq).then_some((found.rebuild.seq + 1, heard_of));
        let renew = second.reached < found.rebuild.seq || second.problem.is_some() || lost.is_some();
        let report = Report::new(&found, reasons.as_deref(), lost, renew.then_some(&second), marker);
        let used = self.generations(marker)?.into_iter().next();
        let aside = used.filter(|used| reasons.is_some() && *used != found.generation);
        Ok(Verdict { found, report, renew, aside })
    }

    /// The databases that are there, the one in use first.
    fn generations(&self, marker: Option<&Marker>) -> Result<Vec<u32>> {
        let mut generations = self.place.generations()?;
        if let Some(marker) = marker {
            generations.sort_by_key(|generation| *generation != marker.generation);
        }
        Ok(generations)
    }

    /// sled as it is, brought up to the journal's end; the error says why it cannot be trusted.
    fn first_copy(&self, known: Known<'_>) -> Result<Found> {
        let mut reasons = Vec::new();
        for generation in self.generations(known.marker)? {
            match guarded(|| self.try_database(generation, known.identity)) {
                Ok(found) => return Ok(found),
                Err(error) if is_no_damage(&error) => return Err(error),
                Err(error) => reasons.push(inward(&error)),
            }
        }
        Err(unproven(&if reasons.is_empty() { "there is no database".into() } else { reasons.join("; ") }))
    }

    fn try_database(&self, generation: u32, identity: Option<StoreId>) -> Result<Found> {
        let database = Database::open(&self.place.database(generation), self.settings.page_cache_bytes)?;
        let meta = database.meta()?.ok_or_else(|| unproven("the database does not say what it holds"))?;
        if identity.is_some_and(|identity| identity != meta.store) {
            return Err(unproven("the database belongs to another store"));
        }
        let mut reader = Reader::open(&self.place.journals(), meta.store, meta.seq)?;
        let mut rebuild = Rebuild::resume(database, meta);
        let replayed = rebuild.replay(&mut reader, None, &self.progress)?;
        rebuild.prove(&self.progress)?;
        Ok(Found { rebuild, generation, replayed, end: reader.end() })
    }

    /// Reads the checkpoint and the journal's first copy to their end.
    fn second_copy(&self, store: StoreId) -> Second {
        let mut second = Second { reached: 0, problem: None, heard_of: 0 };
        let checkpointed = self.place.checkpoint_files().and_then(|files| {
            files.first().map(|path| guarded(|| checkpoint::verify(path, None, &Progress::silent()))).transpose()
        });
        match checkpointed {
            Ok(None) => {}
            Ok(Some(info)) if info.head.store == store => second.reached = info.seq,
            Ok(Some(_)) => second.problem = Some("the checkpoint belongs to another store".into()),
            Err(error) => second.problem = Some(inward(&error)),
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
        second.heard_of = second.reached;
        match walked {
            Ok(End::Gap { missing_from, resumes_at }) => {
                second.heard_of = resumes_at.unwrap_or(second.reached).max(second.reached);
                second.problem = Some(format!("the journal is damaged at group {missing_from}"));
            }
            Ok(_) => {}
            Err(error) => second.problem = Some(inward(&error)),
        }
        second
    }

    pub(in crate::store::engine::disk) fn checkpointed_store(&self) -> Option<StoreId> {
        let files = self.place.checkpoint_files().unwrap_or_default();
        files.iter().find_map(|path| checkpoint::inspect(path).ok()).map(|info| info.head.store)
    }

    /// A database from whatever is left besides sled, or `best` if nothing comes as far: the first that reaches the last group that was
    /// heard of, else the one that comes closest.
    fn other_copies(
        &self,
        known: Known<'_>,
        heard_of: u64,
        mut best: Option<Found>,
        why: String,
    ) -> Result<(Found, Option<String>)> {
        tracing::warn!(reason = why, "the database cannot be trusted; building it again from the other copy");
        let mut reasons = vec![format!("sled: {why}")];
        for source in self.sources(known)? {
            let generation = self.place.next_generation(known.marker.map_or(0, |marker| marker.generation))?;
            let candidate = guarded(|| self.candidate(&source, generation, known));
            if candidate.is_err() {
                remove(&self.place.database(generation)).map_err(|e| disk_failure("removing a failed attempt", &e))?;
            }
            match candidate {
                Ok(found) => {
                    let complete = found.rebuild.seq >= heard_of.max(found.heard_of());
                    let (kept, other) = match best.take() {
                        Some(best) if best.rebuild.seq >= found.rebuild.seq => (best, Some(found)),
                        other => (found, other),
                    };
                    best = Some(kept);
                    other.into_iter().for_each(|other| drop_quietly(other.rebuild.database));
                    if complete {
                        break;
                    }
                }
                Err(error) if is_no_damage(&error) => return Err(error),
                Err(error) => reasons.push(format!("{}: {}", source.name(), inward(&error))),
            }
        }
        let reasons = reasons.join("; ");
        let Some(best) = best else { return Err(beyond_repair(reasons)) };
        Ok((best, Some(reasons)))
    }

    fn sources(&self, known: Known<'_>) -> Result<Vec<Source>> {
        let checkpoints = self.place.checkpoint_files()?.into_iter().map(Source::Checkpoint);
        let sled = known.distrust.map(|_| Source::Sled);
        let backups = backups_in(&self.backups).into_iter().map(Source::Backup);
        Ok(checkpoints.chain([Source::Journal]).chain(sled).chain(backups).collect())
    }

    fn candidate(&self, source: &Source, generation: u32, known: Known<'_>) -> Result<Found> {
        match source {
            Source::Checkpoint(path) => self.build(generation, known.identity, Some(path), None),
            Source::Journal => self.build(generation, known.identity, None, None),
            Source::Sled => self.first_copy(known),
            Source::Backup(path) => self.build(generation, known.identity, Some(path), self.lock.as_ref()),
        }
    }

    fn build(
        &self,
        generation: u32,
        identity: Option<StoreId>,
        base: Option<&Path>,
        lock: Option<&Lock>,
    ) -> Result<Found> {
        let folder = self.place.database(generation);
        let unknown = || unproven("it is not known which store this is");
        let mut rebuild = Rebuild::new(&folder, identity.unwrap_or_default(), self.settings.page_cache_bytes)?;
        match base {
            Some(path) => rebuild.load(path, lock, &self.progress)?,
            None => drop(identity.ok_or_else(unknown)?),
        }
        if identity.is_some_and(|identity| identity != rebuild.store) {
            return Err(unproven("it belongs to another store"));
        }
        let mut reader = Reader::open(&self.place.journals(), rebuild.store, rebuild.seq)?;
        let replayed = rebuild.replay(&mut reader, None, &self.progress)?;
        if base.is_none() && replayed == 0 {
            return Err(unproven("the journal does not go back to the beginning"));
        }
        rebuild.prove(&self.progress)?;
        Ok(Found { rebuild, generation, replayed, end: reader.end() })
    }
}

impl Source {
    fn name(&self) -> String {
        match self {
            Self::Checkpoint(path) | Self::Backup(path) => path.display().to_string(),
            Self::Journal => "the journal alone".into(),
            Self::Sled => "sled all the same".into(),
        }
    }
}

/// The finished backups in `folder`, newest first.
fn backups_in(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut found: Vec<PathBuf> = entries.filter(|path| path.extension().is_some_and(|end| end == "ckp")).collect();
    found.sort_by_cached_key(|path| std::cmp::Reverse(checkpoint::inspect(path).map_or(0, |info| info.head.created.0)));
    found
}

/// What is in the way would be in the way of a repair, too, and nothing is known to be damaged.
fn is_no_damage(error: &Error) -> bool {
    matches!(error.code(), "store.disk_full" | "store.no_access" | "store.newer")
}

fn unproven(why: &str) -> Error {
    Error::broken("store.damaged", why)
}

fn beyond_repair(reasons: String) -> Error {
    let detail = "the database is damaged, and so is its other copy; there is no backup to go back to";
    Error::new(Kind::Broken, "store.beyond_repair", detail)
        .hint("nothing was changed; put a backup into the backups folder and start again, or see `grps store dump`")
        .context(reasons)
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
