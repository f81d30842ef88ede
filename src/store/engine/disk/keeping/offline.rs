//! What is done to a store that nobody has open: restoring a backup, repairing, and looking into files.

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::base::{Error, Result, Time};
use crate::store::engine::disk::capture::Ledger;
use crate::store::engine::disk::checkpoint::{self, Info, Lock};
use crate::store::engine::disk::database::Database;
use crate::store::engine::disk::envelope::FIRST;
use crate::store::engine::disk::files::disk_failure;
use crate::store::engine::disk::journal::{Reader, StoreId};
use crate::store::engine::disk::marker::{Marker, sync_folder};
use crate::store::engine::disk::place::{Place, remove};
use crate::store::engine::disk::rebuild::Rebuild;
use crate::store::engine::disk::recovery::{Opened, Report, Surroundings};
use crate::store::engine::{Order, Span};
use crate::store::{DataDir, MAX_PAGE, Progress, Settings};

/// Told of every row: the whole key, and the value as it is stored.
pub type EachRow<'a> = &'a mut dyn FnMut(&[u8], &[u8]) -> Result<()>;

/// What a restore did.
#[derive(Debug, Clone)]
pub struct Restored {
    pub info: Info,
    /// The group of the old store's history that was restored.
    pub replayed_to_seq: u64,
    pub rows: u64,
    /// Where the store lies that was there before; none when there was none.
    pub kept: Option<PathBuf>,
}

/// Restores a backup into `scratch` and compares it with what it says of itself; `scratch` is gone afterwards.
///
/// # Errors
/// `checkpoint.*`, `store.damaged`, `store.disk_full`.
pub fn prove(
    path: &Path,
    lock: Option<&Lock>,
    scratch: &Path,
    page_cache_bytes: u64,
    progress: &Progress,
) -> Result<Info> {
    let removing = |e| disk_failure("removing a scratch folder", &e);
    remove(scratch).map_err(removing)?;
    let mut rebuild = Rebuild::new(scratch, StoreId::default(), page_cache_bytes)?;
    let proven = rebuild.load(path, lock, progress).and_then(|()| rebuild.prove(progress));
    let (seq, rows) = (rebuild.seq, rebuild.census.total().rows);
    drop(rebuild);
    remove(scratch).map_err(removing)?;
    proven?;
    Ok(Info { seq, rows, ..checkpoint::inspect(path)? })
}

/// Gives `each` every row of a backup, or of one table of it; it is restored into `scratch` first, which is gone afterwards.
///
/// # Errors
/// `checkpoint.*`, `store.disk_full`; what `each` returns.
pub fn dump_backup(
    path: &Path,
    lock: Option<&Lock>,
    scratch: &Path,
    table: Option<[u8; 2]>,
    each: EachRow<'_>,
) -> Result<()> {
    let removing = |e| disk_failure("removing a scratch folder", &e);
    remove(scratch).map_err(removing)?;
    let mut rebuild = Rebuild::new(scratch, StoreId::default(), Settings::default().page_cache_bytes)?;
    let dumped = rebuild.load(path, lock, &Progress::silent()).and_then(|()| dump_rows(&rebuild.database, table, each));
    drop(rebuild);
    remove(scratch).map_err(removing)?;
    dumped
}

fn dump_rows(database: &Database, table: Option<[u8; 2]>, each: EachRow<'_>) -> Result<()> {
    let low = table.map_or(Bytes::from_static(FIRST), |prefix| Bytes::copy_from_slice(&prefix));
    let mut span = Span { low, high: None, order: Order::Rising };
    loop {
        let page = database.rows(&span, MAX_PAGE)?;
        for (key, value) in &page {
            if table.is_some_and(|prefix| !key.starts_with(&prefix)) {
                return Ok(());
            }
            each(key, value)?;
        }
        let Some((last, _)) = page.last().filter(|_| page.len() == MAX_PAGE) else { return Ok(()) };
        span.low = [&last[..], &[0]].concat().into();
    }
}

impl Surroundings {
    /// Gives `each` every row, or those of one table.
    ///
    /// # Errors
    /// Those of opening; what `each` returns.
    pub fn dump(&self, table: Option<[u8; 2]>, each: EachRow<'_>) -> Result<()> {
        let opened = self.open()?;
        dump_rows(&opened.database, table, each)?;
        self.leave(&opened)
    }

    /// The format that the store's files are in; none when there is no store.
    ///
    /// # Errors
    /// `store.disk_failed`.
    pub fn stored_format(&self) -> Result<Option<u16>> {
        let old = crate::store::engine::disk::migrate::is_old(&self.place).then_some(1);
        let marked = Marker::read(self.place.root()).map(|marker| marker.format);
        let current = (!self.place.is_new()?).then_some(crate::store::engine::disk::FORMAT);
        Ok(marked.or(old).or(current))
    }

    /// Says that the store was closed in good order.
    fn leave(&self, opened: &Opened) -> Result<()> {
        opened.database.make_durable()?;
        self.mark(opened.store, opened.generation, opened.ledger.seq, true)
    }

    /// Puts the state of a backup in the place of the store: built beside, compared, swapped; what was there is kept. With `until`, the
    /// journal that is still there is replayed on top, up to that time.
    ///
    /// # Errors
    /// `checkpoint.*`; `store.restore_too_early` when the backup is younger than `until`, `store.restore_unreachable` when the journal does
    /// not continue the backup; `store.disk_full`. The store is as it was then.
    pub fn restore(&self, dir: &DataDir, path: &Path, lock: Option<&Lock>, until: Option<Time>) -> Result<Restored> {
        let beside = self.place.beside();
        remove(beside.root()).map_err(|e| disk_failure("removing an unfinished restore", &e))?;
        beside.create()?;
        let mut rebuild = Rebuild::new(&beside.database(1), StoreId::default(), self.settings.page_cache_bytes)?;
        rebuild.load(path, lock, &self.progress)?;
        if let Some(until) = until {
            self.replay_until(&mut rebuild, path, until)?;
        }
        rebuild.prove(&self.progress)?;
        let (seq, rows, store) = (rebuild.seq, rebuild.census.total().rows, rebuild.store);
        // Later than every number that was ever given out, and one is left out: so whoever followed the changes notices.
        rebuild.seq = self.last_known(rebuild.store).max(seq) + 1;
        rebuild.finish()?;
        let next = Surroundings { place: beside.clone(), ..self.like() };
        let ledger = Ledger { seq: rebuild.seq, at: self.clock.now(), census: rebuild.census.clone() };
        next.renew(&rebuild.database, store, &ledger)?;
        drop(rebuild);
        next.mark(store, 1, ledger.seq, true)?;
        let kept = self.swap(dir, &beside)?;
        Ok(Restored { info: Info { seq, rows, ..checkpoint::inspect(path)? }, replayed_to_seq: seq, rows, kept })
    }

    fn replay_until(&self, rebuild: &mut Rebuild, path: &Path, until: Time) -> Result<()> {
        let at = checkpoint::inspect(path)?.at;
        if at > until {
            let detail = format!("the backup was made at {at}, after {until}");
            return Err(
                Error::invalid("store.restore_too_early", detail).hint("choose an older backup: `grps backup list`")
            );
        }
        let mut reader = Reader::open(&self.place.journals(), rebuild.store, rebuild.seq)?;
        let before = rebuild.seq;
        rebuild.replay(&mut reader, Some(until), &self.progress)?;
        let continues = rebuild.seq > before || self.last_known(rebuild.store) <= before || reader.position() > before;
        if continues {
            return Ok(());
        }
        let detail = format!("the journal does not reach back to the backup, which ends at group {before}");
        Err(Error::conflict("store.restore_unreachable", detail)
            .hint("choose a younger backup, or restore this one as it is, without a time"))
    }

    fn swap(&self, dir: &DataDir, beside: &Place) -> Result<Option<PathBuf>> {
        let failed = |e| disk_failure("swapping the restored store in", &e);
        let mut kept = None;
        if self.place.root().exists() {
            let free = (1..).map(|n| dir.path().join(format!("store.before-restore-{n}"))).find(|path| !path.exists());
            let aside = free.unwrap_or_else(|| dir.path().join("store.before-restore"));
            fs::rename(self.place.root(), &aside).map_err(failed)?;
            kept = Some(aside);
        }
        fs::rename(beside.root(), self.place.root()).map_err(failed)?;
        sync_folder(dir.path()).map_err(failed)?;
        Ok(kept)
    }

    /// Ends a restore that was interrupted between its two renames, and clears away one that was interrupted before.
    ///
    /// # Errors
    /// `store.disk_failed`.
    pub(in crate::store::engine::disk) fn finish_restore(&self) -> Result<()> {
        let beside = self.place.beside();
        if self.place.root().exists() {
            return remove(beside.root()).map_err(|e| disk_failure("removing an unfinished restore", &e));
        }
        if !Marker::read(beside.root()).is_some_and(|marker| marker.closed) {
            return Ok(());
        }
        fs::rename(beside.root(), self.place.root()).map_err(|e| disk_failure("swapping the restored store in", &e))
    }

    fn like(&self) -> Surroundings {
        Surroundings {
            place: self.place.clone(),
            settings: self.settings.clone(),
            backups: self.backups.clone(),
            lock: self.lock.clone(),
            clock: self.clock.clone(),
            progress: self.progress.clone(),
        }
    }

    /// Opens the store as a start would, and closes it again; with `force`, sled is built again from the other copy whatever it looks like.
    ///
    /// # Errors
    /// As [`Surroundings::open`].
    pub fn repair(&self, force: bool) -> Result<Report> {
        let opened = if force { self.open_distrusting("a repair was asked for") } else { self.open() }?;
        self.leave(&opened)?;
        Ok(opened.report)
    }
}
