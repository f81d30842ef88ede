//! What only a store on disk has, for its keeper: backups, checks, compaction while it is open ([`Upkeep`]), and what is done to one that
//! nobody has open: restoring, repairing, looking into files. All of it blocks and may take long.

use std::path::{Path, PathBuf};

use super::engine::disk::Surroundings;
use super::{DataDir, Progress, Settings};
use crate::base::{Error, Result, Time};

pub use super::engine::disk::FORMAT as SCHEMA;
pub use super::engine::disk::checkpoint::{Info as CheckpointInfo, Lock, inspect};
pub use super::engine::disk::offline::{EachRow, Restored};
pub use super::engine::disk::recovery::{Outcome as OpeningOutcome, Report as Opening};
pub use super::engine::disk::upkeep::{CheckReport, Compaction, Survey, TableSurvey, Upkeep};

/// Restores a backup into the folder `scratch`, compares, and removes `scratch`.
///
/// # Errors
/// `checkpoint.*`, `store.damaged`, `store.disk_full`.
pub fn verify_backup(path: &Path, lock: Option<&Lock>, scratch: &Path, progress: &Progress) -> Result<CheckpointInfo> {
    super::engine::disk::offline::prove(path, lock, scratch, Settings::default().page_cache_bytes, progress)
}

/// Puts the state of a backup in the place of the store: built beside, compared, swapped; what was there is kept. With `until`, the journal
/// that is still there is replayed on top, up to that time.
///
/// # Errors
/// `checkpoint.*`, `store.restore_too_early`, `store.restore_unreachable`, `store.disk_full`. The store is as it was then.
pub fn restore(
    dir: &DataDir,
    path: &Path,
    lock: Option<&Lock>,
    until: Option<Time>,
    progress: &Progress,
) -> Result<Restored> {
    offline(dir, progress).restore(dir, path, lock, until)
}

/// Opens the store as a start would, builds sled again from the other copy, and closes it. Says what was found and done.
///
/// # Errors
/// Those of opening.
pub fn repair(dir: &DataDir, settings: &Settings, progress: &Progress) -> Result<Opening> {
    Surroundings { settings: settings.clone(), ..offline(dir, progress) }.repair(true)
}

/// Gives `each` every row of a closed store, or of one table of it.
///
/// # Errors
/// Those of opening; what `each` returns.
pub fn dump(dir: &DataDir, table: Option<[u8; 2]>, each: EachRow<'_>) -> Result<()> {
    offline(dir, &Progress::silent()).dump(table, each)
}

/// Gives `each` every row of a backup, or of one table of it.
///
/// # Errors
/// `checkpoint.*`, `store.disk_full`: it is restored into a scratch folder first; what `each` returns.
pub fn dump_backup(path: &Path, lock: Option<&Lock>, table: Option<[u8; 2]>, each: EachRow<'_>) -> Result<()> {
    let scratch = scratch_for(path)?;
    super::engine::disk::offline::dump_backup(path, lock, &scratch, table, each)
}

/// The format of the stored data, read without opening the store; none when there is no store yet.
///
/// # Errors
/// `store.disk_failed`.
pub fn stored_schema(dir: &DataDir) -> Result<Option<u16>> {
    offline(dir, &Progress::silent()).stored_format()
}

fn offline(dir: &DataDir, progress: &Progress) -> Surroundings {
    Surroundings { progress: progress.clone(), ..Surroundings::new(dir, &Settings::default()) }
}

fn scratch_for(path: &Path) -> Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| Error::missing("checkpoint.missing", "that is no file"))?;
    Ok(path.with_file_name(format!(".{}.scratch", name.to_string_lossy())))
}
