//! What the worker writes. Each of these is one commit, and each first looks whether the run still is where the worker thinks: another
//! process on the same rows, or somebody who cancelled, makes it write nothing.

use super::change::{self, Change};
use super::entry::Reading;
use super::run::{Census, Failure, Phase, Run, Tally};
use super::service::Sync;
use super::tables::{EntryFailure, SYNC_ACTIVE, SYNC_FAILURES, SYNC_JOBS, SYNC_PAGES, SyncPage};
use crate::base::{Id, Result, Time};
use crate::domains::audit::{self, Actor};
use crate::domains::players::{self, PLAYERS};
use crate::store::Tx;

/// Entries taken in with one commit.
pub const PORTION: usize = 32;

/// Entries of one run that are remembered with the reason they could not be taken in; further ones are only counted.
pub const MAX_FAILURES: u64 = 10_000;

/// Pages in a row with nothing on them, after which a list is not believed to end.
const MAX_EMPTY_PAGES: u32 = 1_000;

/// Longest page token that is kept, in bytes.
const MAX_TOKEN: usize = 16 << 10;

/// Longest key that is remembered with its reason, in bytes; the data store's own bound is 50 characters.
const MAX_KEY: usize = 256;

/// Rows of failures removed with one commit.
const SWEEP: usize = 500;

/// What came of reading an entry.
#[derive(Debug, Clone)]
pub enum Found {
    /// It says this about a player, in this revision.
    Entry(Box<Reading>, Option<String>),
    /// It is there no more.
    Gone,
    /// It cannot be taken in, for this reason.
    Bad(String),
}

/// Ids and times of one commit, made before it.
struct Stamp {
    now: Time,
    audits: Vec<Id>,
}

impl Sync {
    /// A page of keys was listed, asked for with `asked`.
    pub(super) async fn keep_page(&self, id: Id, asked: Option<&str>, page: SyncPage) -> Result<()> {
        let (stamp, page) = (&self.stamp(1), &page);
        self.change(id, stamp, |tx, mut run| async move {
            if run.cursor.as_deref() != asked {
                return Ok(None);
            }
            run.touch(stamp.now);
            run.tally.pages += 1;
            run.empty_pages = if page.keys.is_empty() { run.empty_pages + 1 } else { 0 };
            if let Some(failure) = endless(&run, page) {
                run.fail(failure, stamp.now);
            } else if page.keys.is_empty() {
                self.turn(&tx, id, &mut run, page.next.clone(), stamp);
            } else {
                tx.put(&SYNC_PAGES, &id, page);
            }
            Ok(Some(run))
        })
        .await
    }

    /// The next keys that failed were looked up; with none the second reading is over.
    pub(super) async fn keep_failed(&self, id: Id, keys: Vec<String>) -> Result<()> {
        let (stamp, page) = (&self.stamp(1), &SyncPage { keys, next: None });
        self.change(id, stamp, |tx, mut run| async move {
            run.touch(stamp.now);
            match page.keys.last() {
                None => run.end(stamp.now),
                Some(last) => {
                    run.phase = Phase::Retrying(Some(last.clone()));
                    tx.put(&SYNC_PAGES, &id, page);
                }
            }
            Ok(Some(run))
        })
        .await
    }

    /// A portion of `page` was read: players, counts, the keys that are left and the audit rows move together.
    pub(super) async fn keep_portion(&self, id: Id, page: &SyncPage, found: &[(String, Found)]) -> Result<()> {
        let stamp = &self.stamp(found.len() + 1);
        let work = |tx: Tx, mut run: Run| async move {
            if tx.get(&SYNC_PAGES, &id).await?.as_ref() != Some(page) {
                return Ok(None);
            }
            let users: Vec<_> = found.iter().filter_map(|(_, found)| found.user()).collect();
            tx.get_many(&PLAYERS, &users).await?;
            let mut counted = Tally::default();
            for ((key, found), audit) in found.iter().zip(&stamp.audits[1..]) {
                match found {
                    Found::Entry(reading, revision) => {
                        self.take_in(&tx, reading, revision.as_deref(), (&run, *audit, stamp.now), &mut counted).await?;
                    }
                    Found::Gone => counted.deleted += 1,
                    Found::Bad(_) => counted.failed += 1,
                }
                note_failure(&tx, id, &run, key, (found, counted.failed), stamp.now);
            }
            let left = left_of(page, found);
            run.count(&counted, page.next.as_deref(), stamp.now);
            match left.keys.is_empty() {
                false => tx.put(&SYNC_PAGES, &id, &left),
                true if run.phase == Phase::Walking => self.turn(&tx, id, &mut run, left.next, stamp),
                true => tx.delete(&SYNC_PAGES, &id),
            }
            Ok(Some((run, counted)))
        };
        let counted = self.change_with(id, stamp, work).await?;
        self.board().counted(&counted.unwrap_or_default());
        Ok(())
    }

    /// Behind a page: either there is another, or the run is over.
    fn turn(&self, tx: &Tx, id: Id, run: &mut Run, next: Option<String>, stamp: &Stamp) {
        tx.delete(&SYNC_PAGES, &id);
        if run.turn(next) {
            run.end(stamp.now);
        }
    }

    async fn take_in(
        &self,
        tx: &Tx,
        reading: &Reading,
        revision: Option<&str>,
        (run, audit, now): (&Run, Id, Time),
        counted: &mut Tally,
    ) -> Result<()> {
        let before = tx.get(&PLAYERS, &reading.user()).await?;
        let (change, flags) = change::apply(before.as_ref(), reading, revision, &self.policy(), now);
        let (player, news) = match change {
            Change::Created(player) => (player, &mut counted.created),
            Change::Updated(player) => (player, &mut counted.updated),
            Change::Unchanged(revision) => {
                counted.unchanged += 1;
                if let Some(player) = revision {
                    players::save(tx, before.as_ref(), &player);
                }
                return Ok(());
            }
        };
        *news += 1;
        players::save(tx, before.as_ref(), &player);
        audit::record(tx, audit, &change::told(before.as_ref(), &player, &flags, now, &run.request_id));
        Ok(())
    }

    pub(super) async fn fail(&self, id: Id, failure: Failure) -> Result<()> {
        let (stamp, failure) = (&self.stamp(1), &failure);
        self.change(id, stamp, |_, mut run| async move {
            run.fail(failure.clone(), stamp.now);
            Ok(Some(run))
        })
        .await
    }

    /// Roblox no longer takes the cursor: the walk begins anew, once.
    pub(super) async fn restart(&self, id: Id) -> Result<()> {
        let stamp = &self.stamp(1);
        self.change(id, stamp, |tx, mut run| async move {
            run.restart(stamp.now);
            tx.delete(&SYNC_PAGES, &id);
            Ok(Some(run))
        })
        .await
    }

    /// How far counting has come.
    pub(super) async fn keep_census(&self, id: Id, census: Census) -> Result<()> {
        let (stamp, census) = (&self.stamp(1), &census);
        self.change(id, stamp, |_, mut run| async move {
            run.census = census.clone();
            Ok(Some(run))
        })
        .await
    }

    /// Forgets the oldest run that is over, failures first, a bounded piece at a time.
    pub(super) async fn forget(&self, id: Id) -> Result<()> {
        let page = self.store().scan(SYNC_FAILURES.under(&id), SWEEP).await?;
        let (more, keys) = (page.next.is_some(), page.items.into_iter().map(|(key, _)| key).collect::<Vec<_>>());
        let keys = &keys;
        self.store()
            .transact(|tx| async move {
                let Some(run) = tx.get(&SYNC_JOBS, &id).await?.filter(|run| !run.state.is_live()) else { return Ok(()) };
                keys.iter().for_each(|key| tx.delete(&SYNC_FAILURES, key));
                if !more {
                    free(&tx, id, &run).await?;
                    tx.delete(&SYNC_PAGES, &id);
                    tx.delete(&SYNC_JOBS, &id);
                }
                Ok(())
            })
            .await
    }

    async fn change<F, Fut>(&self, id: Id, stamp: &Stamp, work: F) -> Result<()>
    where
        F: Fn(Tx, Run) -> Fut,
        Fut: Future<Output = Result<Option<Run>>>,
    {
        let work = &work;
        self.change_with(id, stamp, |tx, run| async move { Ok(work(tx, run).await?.map(|run| (run, ()))) }).await?;
        Ok(())
    }

    /// Changes a live run in one commit; how it ended is audited and frees its slot. None when it is not live any more, or `work` says so.
    async fn change_with<T, F, Fut>(&self, id: Id, stamp: &Stamp, work: F) -> Result<Option<T>>
    where
        F: Fn(Tx, Run) -> Fut,
        Fut: Future<Output = Result<Option<(Run, T)>>>,
    {
        let work = &work;
        self.store()
            .transact(|tx| async move {
                let Some(before) = tx.get(&SYNC_JOBS, &id).await?.filter(|run| run.state.is_live()) else {
                    return Ok(None);
                };
                let Some((run, out)) = work(tx.clone(), before.clone()).await? else { return Ok(None) };
                tx.put(&SYNC_JOBS, &id, &run);
                if !run.state.is_live() {
                    settle(&tx, id, &run, stamp.audits[0]).await?;
                }
                Ok(Some(out))
            })
            .await
    }

    fn stamp(&self, audits: usize) -> Stamp {
        Stamp { now: self.clock().now(), audits: (0..audits).map(|_| self.ids().next()).collect() }
    }
}

impl Found {
    fn user(&self) -> Option<crate::base::RobloxId> {
        match self {
            Self::Entry(reading, _) => Some(reading.user()),
            Self::Gone | Self::Bad(_) => None,
        }
    }
}

/// A run has ended: that is audited, and unless it may be resumed another may begin.
async fn settle(tx: &Tx, id: Id, run: &Run, audit: Id) -> Result<()> {
    if run.resumable() {
        record(tx, id, run, audit, "sync.failed");
        return Ok(());
    }
    free(tx, id, run).await?;
    record(tx, id, run, audit, "sync.ended");
    Ok(())
}

/// Lets another run of the same kind begin.
pub(super) async fn free(tx: &Tx, id: Id, run: &Run) -> Result<()> {
    let slot = run.slot();
    if tx.get(&SYNC_ACTIVE, &slot).await? == Some(id) {
        tx.delete(&SYNC_ACTIVE, &slot);
    }
    Ok(())
}

/// The audit row of something that happened to a run.
pub(super) fn record(tx: &Tx, id: Id, run: &Run, audit: Id, action: &str) {
    let tally = run.tally;
    let after = serde_json::json!({
        "activity": run.activity,
        "status": run.state.text(),
        "created": tally.created,
        "updated": tally.updated,
        "unchanged": tally.unchanged,
        "deleted": tally.deleted,
        "failed": tally.failed,
        "reason": run.failure.as_ref().map(|failure| &failure.what),
    });
    let entry = audit::Entry {
        at: run.updated_at,
        actor: Actor::of(run.started_by.clone()),
        action: action.to_owned(),
        subject: format!("sync:{id}"),
        before: None,
        after: Some(after.to_string()),
        request_id: run.request_id.clone(),
    };
    audit::record(tx, audit, &entry);
}

/// Whether going on with `page` could go on for ever.
fn endless(run: &Run, page: &SyncPage) -> Option<Failure> {
    let what = match &page.next {
        Some(next) if Some(next) == run.cursor.as_ref() && !page.keys.is_empty() => "Roblox's list names the same page as the next one".to_owned(),
        Some(next) if next.len() > MAX_TOKEN => {
            format!("Roblox's page token has {} bytes; at most {MAX_TOKEN} are kept", next.len())
        }
        Some(_) if run.empty_pages > MAX_EMPTY_PAGES => {
            format!("Roblox's list has {MAX_EMPTY_PAGES} empty pages in a row and does not end")
        }
        _ => return None,
    };
    Some(Failure::new(what, Some("start it again later; what was read is kept".into())))
}

fn left_of(page: &SyncPage, found: &[(String, Found)]) -> SyncPage {
    let keys = page.keys.iter().filter(|key| !found.iter().any(|(done, _)| done == *key)).cloned().collect();
    SyncPage { keys, next: page.next.clone() }
}

/// Remembers why an entry could not be taken in, while there is room, or forgets that it once could not.
fn note_failure(tx: &Tx, id: Id, run: &Run, key: &str, (found, failed): (&Found, u64), now: Time) {
    let place = (id, key.to_owned());
    let again = run.anew || run.phase != Phase::Walking;
    match found {
        Found::Bad(_) if key.len() > MAX_KEY => {}
        Found::Bad(reason) if again || run.tally.failed + failed <= MAX_FAILURES => {
            tx.put(&SYNC_FAILURES, &place, &EntryFailure { reason: reason.clone(), at: now });
        }
        Found::Bad(_) => {}
        _ if again => tx.delete(&SYNC_FAILURES, &place),
        _ => {}
    }
}
