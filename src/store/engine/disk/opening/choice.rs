//! Deciding what a store goes on with: both copies are read in full, and what they say is held against each other.

use std::path::{Path, PathBuf};

use super::marker::{Marker, boot_id};
use super::place::remove;
use super::rebuild::{Rebuild, how_it_ended};
use super::recovery::{Opened, Surroundings};
use super::report::Report;
use crate::base::{Error, Kind, Result};
use crate::store::Progress;
use crate::store::engine::disk::checkpoint::{self, Lock};
use crate::store::engine::disk::database::Database;
use crate::store::engine::disk::files::disk_failure;
use crate::store::engine::disk::guarded;
use crate::store::engine::disk::journal::{End, Reader, StoreId, last_intact};

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
    /// The databases that were not looked at yet, distrusted as they may be.
    Sled(Vec<u32>),
    Backup(PathBuf),
}

impl Found {
    /// Whether it goes to where the journal was left in order.
    fn ends_well(&self) -> bool {
        matches!(self.end, End::Complete | End::TornTail | End::TornEverywhere)
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
                None => self.in_use(marker).and_then(|used| self.first_copy(&used, identity)),
            };
            (first, audit.join())
        });
        let second = match (audited, &first) {
            (Ok(Some(second)), _) => second,
            (_, Ok(found)) => self.second_copy(found.rebuild.store),
            _ => Second { reached: 0, problem: Some("it is not known which store this is".into()) },
        };
        let troubled = second.problem.is_some();
        let (found, reasons) = match first {
            Ok(found) if found.rebuild.seq >= second.reached && self.lost(&found, troubled, marker).is_none() => {
                (found, None)
            }
            Ok(short) => {
                let why = format!("sled ends at group {}, and there were more", short.rebuild.seq);
                self.other_copies(known, Some(short), why)?
            }
            Err(error) if is_no_damage(&error) => return Err(error),
            Err(error) => self.other_copies(known, None, inward(&error))?,
        };
        let lost = self.lost(&found, reasons.is_some() || troubled, marker);
        let renew = second.reached < found.rebuild.seq || troubled || lost.is_some();
        let report = Report::new(&found, reasons.as_deref(), lost, renew.then_some(&second), marker);
        let used = self.in_use(marker)?.into_iter().next();
        let aside = used.filter(|used| reasons.is_some() && *used != found.generation);
        Ok(Verdict { found, report, renew, aside })
    }

    /// The groups that were acknowledged and are in no copy: those that are heard of, or at least one where it cannot be shown that there
    /// were none.
    fn lost(&self, found: &Found, damaged: bool, marker: Option<&Marker>) -> Option<(u64, u64)> {
        let seq = found.rebuild.seq;
        let noted = marker.map_or(0, |marker| marker.seq);
        let closed_here = marker.is_some_and(|marker| marker.closed && marker.seq == seq);
        let cut_off = marker.is_some_and(|marker| marker.boot.is_empty() || marker.boot != boot_id());
        let whole = closed_here || found.ends_well() && (cut_off || found.end != End::TornEverywhere);
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

    /// Whether nothing shows that there ever was a group.
    fn is_unheard_of(&self, store: StoreId) -> Result<bool> {
        Ok(self.last_known(store) == 0 && self.place.checkpoint_files()?.is_empty())
    }

    /// The database that the marker names; another one was not finished. Without a marker, all that are there, newest first.
    fn in_use(&self, marker: Option<&Marker>) -> Result<Vec<u32>> {
        marker.map_or_else(|| self.place.generations(), |marker| Ok(vec![marker.generation]))
    }

    /// sled as it is, brought up to the journal's end; the error says why it cannot be trusted.
    fn first_copy(&self, generations: &[u32], identity: Option<StoreId>) -> Result<Found> {
        let mut reasons = Vec::new();
        for generation in generations {
            match guarded(|| self.try_database(*generation, identity)) {
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
        // In this order: writing into a damaged sled may never end, and take all memory with it.
        rebuild.prove(&self.progress)?;
        let replayed = rebuild.replay(&mut reader, None, &self.progress)?;
        rebuild.agree()?;
        Ok(Found { rebuild, generation, replayed, end: reader.end() })
    }

    /// Reads the checkpoint and the journal's first copy to their end.
    fn second_copy(&self, store: StoreId) -> Second {
        let mut second = Second { reached: 0, problem: None };
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

    pub(in crate::store::engine::disk) fn checkpointed_store(&self) -> Option<StoreId> {
        let files = self.place.checkpoint_files().unwrap_or_default();
        files.iter().find_map(|path| checkpoint::inspect(path).ok()).map(|info| info.head.store)
    }

    /// A database from whatever is left besides sled, or `best` if nothing comes further: the first that goes to where the journal was left
    /// in order, else the one that comes closest.
    fn other_copies(&self, known: Known<'_>, mut best: Option<Found>, why: String) -> Result<(Found, Option<String>)> {
        tracing::warn!(reason = why, "the database cannot be trusted; building it again from the other copy");
        let mut reasons = vec![format!("sled: {why}")];
        let noted = known.marker.map_or(0, |marker| marker.seq);
        let were = self.place.generations()?;
        for source in self.sources(known)? {
            // What does not begin behind the best so far ends where that does.
            if best.as_ref().is_some_and(|best| source.begins() <= best.rebuild.seq) {
                continue;
            }
            let generation = self.place.next_generation(known.marker.map_or(0, |marker| marker.generation))?;
            let unused = match guarded(|| self.candidate(&source, generation, known)) {
                Ok(found) => {
                    let further = best.as_ref().is_none_or(|best| best.rebuild.seq < found.rebuild.seq);
                    let other = if further { best.replace(found) } else { Some(found) };
                    other.map(|other| {
                        drop_quietly(other.rebuild.database);
                        other.generation
                    })
                }
                Err(error) if is_no_damage(&error) => return self.discard(generation).and(Err(error)),
                Err(error) => {
                    reasons.push(format!("{}: {}", source.name(), inward(&error)));
                    Some(generation)
                }
            };
            // What was there before stays until something else is in force.
            if let Some(built) = unused.filter(|unused| !were.contains(unused)) {
                self.discard(built)?;
            }
            if best.as_ref().is_some_and(|best| best.ends_well() && best.rebuild.seq >= noted) {
                break;
            }
        }
        let reasons = reasons.join("; ");
        let Some(best) = best else { return Err(beyond_repair(reasons)) };
        Ok((best, Some(reasons)))
    }

    fn discard(&self, generation: u32) -> Result<()> {
        remove(&self.place.database(generation)).map_err(|e| disk_failure("removing a failed attempt", &e))
    }

    fn sources(&self, known: Known<'_>) -> Result<Vec<Source>> {
        let checkpoints = self.place.checkpoint_files()?.into_iter().map(Source::Checkpoint);
        let mut untried = self.place.generations()?;
        if known.distrust.is_none() {
            let tried = self.in_use(known.marker)?;
            untried.retain(|generation| !tried.contains(generation));
        }
        let backups = backups_in(&self.backups).into_iter().map(Source::Backup);
        Ok(checkpoints.chain([Source::Journal, Source::Sled(untried)]).chain(backups).collect())
    }

    fn candidate(&self, source: &Source, generation: u32, known: Known<'_>) -> Result<Found> {
        match source {
            Source::Checkpoint(path) => self.build(generation, known.identity, Some(path), None),
            Source::Journal => self.build(generation, known.identity, None, None),
            Source::Sled(generations) => self.first_copy(generations, known.identity),
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
        // Where it does, and nothing speaks of a group, nothing was ever committed.
        let begun = replayed > 0 || reader.end() == End::Complete && self.is_unheard_of(rebuild.store)?;
        if base.is_none() && !begun {
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
            Self::Sled(_) => "sled all the same".into(),
        }
    }

    /// The group from which the journal would have to lead on; the greatest number where that cannot be told beforehand.
    fn begins(&self) -> u64 {
        match self {
            Self::Checkpoint(path) | Self::Backup(path) => match checkpoint::inspect(path) {
                Ok(info) if !info.encrypted => info.seq,
                _ => u64::MAX,
            },
            Self::Journal => 0,
            Self::Sled(_) => u64::MAX,
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
        .hint("nothing was changed; put a backup into the backups folder and start again")
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
