//! What the worker writes. Each of these is one commit, and each first looks whether the run still is where the worker thinks: another
//! process on the same rows, or somebody who cancelled, makes it write nothing.

use std::sync::Arc;

use super::change::{self, Change, Revision};
use super::entry::Reading;
use super::run::{Census, Failure, Phase, Run, Tally};
use super::service::Sync;
use super::tables::{EntryFailure, SYNC_ACTIVE, SYNC_FAILURES, SYNC_JOBS, SYNC_PAGES, SyncPage};
use crate::base::{Id, Result, RobloxId, Time};
use crate::domains::audit::{self, Actor};
use crate::domains::players::{self, PLAYERS};
use crate::domains::policy::Policy;
use crate::store::Tx;

/// Entries taken in with one commit.
pub const PORTION: usize = 32;

/// Entries of one run that are remembered with the reason they could not be taken in; further ones are only counted.
pub const MAX_FAILURES: u64 = 10_000;

/// Pages in a row with nothing on them, after which a list is not believed to end.
const MAX_EMPTY_PAGES: u32 = 1_000;

/// Longest keys of a page together, in bytes: a page is a row, and those have a bound.
const MAX_KEYS_LENGTH: usize = 512 << 10;

/// Longest key that is remembered with its reason, in bytes; the data store's own bound is 50 characters.
const MAX_KEY: usize = 256;

/// Rows of failures removed with one commit.
const SWEEP: usize = 500;

/// What came of reading an entry.
#[derive(Debug, Clone)]
pub enum Found {
    /// It says this about a player, in this revision.
    Entry(Box<Reading>, Revision),
    /// It is there no more.
    Gone,
    /// It cannot be taken in, for this reason.
    Bad(String),
}

/// The time of one commit, and the ids of its audit rows, made before it.
struct Stamp {
    now: Time,
    /// How the run ends.
    end: Id,
    /// What becomes of each entry.
    entries: Vec<Id>,
}

/// A live run in the midst of a commit.
struct Hand {
    tx: Tx,
    id: Id,
    run: Run,
    stamp: Arc<Stamp>,
}

impl Hand {
    /// Behind a page: either there is another, or the run is over.
    fn turn(&mut self, next: Option<String>) {
        self.tx.delete(&SYNC_PAGES, &self.id);
        if self.run.turn(next) {
            self.run.end(self.stamp.now);
        }
    }

    /// One entry; counts what came of it.
    async fn take_in(&self, found: &Found, policy: &Policy, audit: Id, counted: &mut Tally) -> Result<()> {
        let (reading, revision) = match found {
            Found::Entry(reading, revision) => (reading, revision),
            Found::Gone => {
                counted.deleted += 1;
                return Ok(());
            }
            Found::Bad(_) => {
                counted.failed += 1;
                return Ok(());
            }
        };
        let (tx, now) = (&self.tx, self.stamp.now);
        let before = tx.get(&PLAYERS, &reading.user()).await?;
        let (change, flags) = change::apply(before.as_ref(), reading, revision, policy, now);
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
        audit::record(tx, audit, &change::told(before.as_ref(), &player, &flags, now, &self.run.request_id));
        Ok(())
    }

    /// Remembers why an entry could not be taken in, while there is room, or forgets that it once could not. `failed` of this commit's entries
    /// have failed so far.
    fn note_failure(&self, key: &str, found: &Found, failed: u64) {
        let place = (self.id, key.to_owned());
        let again = self.run.anew || self.run.phase != Phase::Walking;
        match found {
            Found::Bad(_) if key.len() > MAX_KEY => {}
            Found::Bad(reason) if has_room(&self.run, failed) => {
                let failure = EntryFailure { reason: reason.clone(), at: self.stamp.now };
                self.tx.put(&SYNC_FAILURES, &place, &failure);
            }
            Found::Bad(_) => {}
            _ if again => self.tx.delete(&SYNC_FAILURES, &place),
            _ => {}
        }
    }
}

impl Sync {
    /// A page of keys was listed, asked for with `asked`.
    pub(super) async fn keep_page(&self, id: Id, asked: Option<&str>, page: SyncPage) -> Result<()> {
        let page = &page;
        self.change(id, 0, |mut hand: Hand| async move {
            // A page that is there was listed by somebody else with the same run.
            if hand.run.cursor.as_deref() != asked || hand.tx.get(&SYNC_PAGES, &id).await?.is_some() {
                return Ok(None);
            }
            let (run, now) = (&mut hand.run, hand.stamp.now);
            run.touch(now);
            run.empty_pages = if page.keys.is_empty() { run.empty_pages + 1 } else { 0 };
            if let Some(failure) = endless(run, page) {
                run.fail(failure, now);
                return Ok(Some((hand.run, ())));
            }
            run.listed(page.next.as_deref());
            if page.keys.is_empty() {
                hand.turn(page.next.clone());
            } else {
                hand.tx.put(&SYNC_PAGES, &id, page);
            }
            Ok(Some((hand.run, ())))
        })
        .await?;
        Ok(())
    }

    /// The next keys that failed were looked up; with none the second reading is over.
    pub(super) async fn keep_failed(&self, id: Id, keys: Vec<String>) -> Result<()> {
        let page = &SyncPage::new(keys, None);
        self.change(id, 0, |mut hand: Hand| async move {
            hand.run.touch(hand.stamp.now);
            match page.keys.last() {
                None => hand.run.end(hand.stamp.now),
                Some(last) => {
                    hand.run.phase = Phase::Retrying(Some(last.clone()));
                    hand.tx.put(&SYNC_PAGES, &id, page);
                }
            }
            Ok(Some((hand.run, ())))
        })
        .await?;
        Ok(())
    }

    /// Some keys of `page` could not be read; it is noted on `struck`, which is the same page otherwise.
    pub(super) async fn keep_strikes(&self, id: Id, page: &SyncPage, struck: &SyncPage) -> Result<()> {
        self.change(id, 0, |mut hand: Hand| async move {
            if hand.tx.get(&SYNC_PAGES, &id).await?.as_ref() != Some(page) {
                return Ok(None);
            }
            hand.run.touch(hand.stamp.now);
            hand.tx.put(&SYNC_PAGES, &id, struck);
            Ok(Some((hand.run, ())))
        })
        .await?;
        Ok(())
    }

    /// A portion of `page` was read: players, counts, the keys that are left and the audit rows move together.
    pub(super) async fn keep_portion(&self, id: Id, page: &SyncPage, found: &[(String, Found)]) -> Result<()> {
        let policy = &self.policy();
        let work = |mut hand: Hand| async move {
            if hand.tx.get(&SYNC_PAGES, &id).await?.as_ref() != Some(page) {
                return Ok(None);
            }
            let users: Vec<RobloxId> = found.iter().filter_map(|(_, found)| found.user()).collect();
            hand.tx.get_many(&PLAYERS, &users).await?;
            let mut counted = Tally::default();
            for ((key, found), audit) in found.iter().zip(&hand.stamp.entries) {
                hand.take_in(found, policy, *audit, &mut counted).await?;
                hand.note_failure(key, found, counted.failed);
            }
            let left = left_of(page, found);
            hand.run.count(&counted, page.next.as_deref(), hand.stamp.now);
            match left.keys.is_empty() {
                false => hand.tx.put(&SYNC_PAGES, &id, &left),
                true if hand.run.phase == Phase::Walking => hand.turn(left.next),
                true => hand.tx.delete(&SYNC_PAGES, &id),
            }
            Ok(Some((hand.run, counted)))
        };
        let counted = self.change(id, found.len(), work).await?;
        self.board().counted(&counted.unwrap_or_default());
        Ok(())
    }

    pub(super) async fn fail(&self, id: Id, failure: Failure) -> Result<()> {
        let failure = &failure;
        self.change(id, 0, |mut hand: Hand| async move {
            hand.run.fail(failure.clone(), hand.stamp.now);
            Ok(Some((hand.run, ())))
        })
        .await?;
        Ok(())
    }

    /// Roblox no longer takes the cursor: the walk begins anew.
    pub(super) async fn restart(&self, id: Id) -> Result<()> {
        self.change(id, 0, |mut hand: Hand| async move {
            hand.run.restart(hand.stamp.now);
            hand.tx.delete(&SYNC_PAGES, &id);
            Ok(Some((hand.run, ())))
        })
        .await?;
        Ok(())
    }

    /// How far counting has come.
    pub(super) async fn keep_census(&self, id: Id, census: Census) -> Result<()> {
        let census = &census;
        self.change(id, 0, |mut hand: Hand| async move {
            hand.run.census = census.clone();
            Ok(Some((hand.run, ())))
        })
        .await?;
        Ok(())
    }

    /// Forgets the oldest run that is over, failures first, a bounded piece at a time.
    pub(super) async fn forget(&self, id: Id) -> Result<()> {
        let page = self.store().scan(SYNC_FAILURES.under(&id), SWEEP).await?;
        let (more, keys) = (page.next.is_some(), page.items.into_iter().map(|(key, _)| key).collect::<Vec<_>>());
        let keys = &keys;
        self.store()
            .transact(|tx| async move {
                let Some(run) = tx.get(&SYNC_JOBS, &id).await?.filter(|run| !run.state.is_live()) else {
                    return Ok(());
                };
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

    /// Changes a live run, and `entries` entries with it, in one commit; how it ended is audited and frees its slot. None when it is not live
    /// any more, or `work` says so.
    async fn change<T, F, Fut>(&self, id: Id, entries: usize, work: F) -> Result<Option<T>>
    where
        F: Fn(Hand) -> Fut,
        Fut: Future<Output = Result<Option<(Run, T)>>>,
    {
        let ids = || self.ids().next();
        let entries = (0..entries).map(|_| ids()).collect();
        let stamp = Arc::new(Stamp { now: self.clock().now(), end: ids(), entries });
        let (work, stamp) = (&work, &stamp);
        self.store()
            .transact(|tx| async move {
                let known = tx.get(&SYNC_JOBS, &id).await?;
                let Some(run) = known.filter(|run| run.state.is_live()) else { return Ok(None) };
                let Some((run, out)) = work(Hand { tx: tx.clone(), id, run, stamp: stamp.clone() }).await? else {
                    return Ok(None);
                };
                tx.put(&SYNC_JOBS, &id, &run);
                if !run.state.is_live() {
                    settle(&tx, id, &run, stamp.end).await?;
                }
                Ok(Some(out))
            })
            .await
    }
}

impl Found {
    fn user(&self) -> Option<RobloxId> {
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
    let actor = Actor::of(run.started_by.clone());
    let entry = audit::Entry::new(run.updated_at, &actor, &run.request_id, action, format!("sync:{id}"));
    audit::record(tx, audit, &entry.after(after));
}

/// Whether one more reason is kept. Read a second time, a key has its row already; a walk begun anew is a walk, and counts from nothing.
fn has_room(run: &Run, failed: u64) -> bool {
    run.phase != Phase::Walking || run.tally.failed + failed <= MAX_FAILURES
}

/// Whether going on with `page` could go on for ever, or it cannot be kept.
fn endless(run: &Run, page: &SyncPage) -> Option<Failure> {
    let what = match &page.next {
        Some(next) if Some(next) == run.cursor.as_ref() && !page.keys.is_empty() => {
            "Roblox's list names the same page as the next one".to_owned()
        }
        Some(next) if Some(next) == run.mark.as_ref() && Some(next) != run.cursor.as_ref() => {
            "Roblox's list goes in a circle: it names a page as the next one that was read before".to_owned()
        }
        Some(_) if run.empty_pages > MAX_EMPTY_PAGES => {
            format!("Roblox's list has {MAX_EMPTY_PAGES} empty pages in a row and does not end")
        }
        _ if length(page) > MAX_KEYS_LENGTH => {
            format!(
                "the keys on a page of Roblox's list have {} bytes; at most {MAX_KEYS_LENGTH} are kept",
                length(page)
            )
        }
        _ => return None,
    };
    // Going on there would fail for ever.
    Some(Failure { over: true, ..Failure::new(what, Some("start it again later".into())) })
}

/// Bytes of the keys on a page.
fn length(page: &SyncPage) -> usize {
    page.keys.iter().map(String::len).sum()
}

fn left_of(page: &SyncPage, found: &[(String, Found)]) -> SyncPage {
    let keys: Vec<String> =
        page.keys.iter().filter(|key| !found.iter().any(|(done, _)| done == *key)).cloned().collect();
    let strikes = page.strikes.iter().filter(|(key, _)| keys.contains(key));
    SyncPage { strikes: strikes.map(|(key, count)| (key.clone(), *count)).collect(), keys, next: page.next.clone() }
}

#[cfg(test)]
mod tests {
    use super::super::run::{Extent, Plan};
    use super::*;

    #[test]
    fn a_page_too_large_to_be_kept_ends_the_walk_and_not_the_worker() {
        let (activity, scope) = ("nightly".to_owned(), "global".to_owned());
        let plan = Plan { activity, scope, prefix: None, from: None, extent: Extent::All, limit: 100 };
        let run = Run::new(&plan, Time(1), "automation", "req");
        let page = |keys: usize, length: usize| SyncPage::new(vec!["k".repeat(length); keys], Some("next".into()));
        assert_eq!(endless(&run, &page(256, 50 * 4)), None);
        assert!(endless(&run, &page(256, 5_000)).is_some());
        assert!(endless(&run, &page(1, 2 << 20)).is_some());
    }

    #[test]
    fn reasons_are_bounded_in_a_walk_begun_anew_too() {
        let (activity, scope) = ("nightly".to_owned(), "global".to_owned());
        let plan = Plan { activity, scope, prefix: None, from: None, extent: Extent::All, limit: 100 };
        let mut run = Run::new(&plan, Time(1), "automation", "req");
        run.restart(Time(2));
        run.tally.failed = MAX_FAILURES;
        assert!(!has_room(&run, 1));
        run.tally.failed -= 1;
        assert!(has_room(&run, 1));
        run.tally.failed += 1;
        run.retry(Time(3));
        assert!(has_room(&run, 1), "it has its row already");
    }
}
