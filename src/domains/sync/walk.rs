//! The worker's steps: list a page of keys, read a portion of it, and meanwhile count how much there is. Every step asks Roblox for a bounded
//! piece and commits what came of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;

use super::change::Revision;
use super::commit::{Found, PORTION};
use super::entry;
use super::run::{Census, CensusState, Failure, Phase, Run};
use super::service::{Access, Sync};
use super::tables::{SYNC_FAILURES, SYNC_PAGES, SyncPage};
use crate::base::{Id, Result};
use crate::remote::Roblox;
use crate::remote::roblox::{Class, Cure, MAX_KEYS, StoreId, Trouble};
use crate::workers::backoff;

/// Entries read at the same time.
const AT_ONCE: usize = 16;

/// How long one call may take while somebody waits: three of them, with their pauses, fit what they wait.
const INLINE_PATIENCE: Duration = Duration::from_secs(5);

/// Steps in a row that may fail while somebody waits for the run.
const INLINE_TRIES: u32 = 3;

/// Steps in a row that may fail in the background: about a quarter of an hour.
const TRIES: u32 = 20;

/// How often one key may fail, where others can be read, before it is left out.
const KEY_TRIES: u32 = 5;

/// Other keys that are read to learn whether Roblox is well, when all that was asked for failed.
const PROBES: usize = 2;

/// Pages counted in one step.
const COUNTED_AT_ONCE: usize = 8;

/// The part of the budget for lists, in percent, that counting leaves alone: walking must not wait for counting.
const WALKS_SHARE: usize = 25;

/// When counting is tried again after it was in nobody's interest.
const CENSUS_PAUSE: Duration = Duration::from_secs(5);

/// What a step came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Went,
    Pause(Duration),
}

/// What reading one key came to.
type Read = (String, Result<Found, Trouble>);

impl Sync {
    /// One step of a run.
    pub(super) async fn step(&self, id: Id, run: &Run) -> Result<Step> {
        let access = self.access()?;
        let waited = run.lap.closed.is_none();
        let roblox = if waited { access.roblox.patient(INLINE_PATIENCE) } else { access.roblox.clone() };
        let access = &access.on(roblox, &run.scope);
        let Some(page) = self.store().get(&SYNC_PAGES, &id).await? else {
            return match &run.phase {
                Phase::Walking => self.next_page(access, id, run).await,
                Phase::Retrying(after) => self.look_up(id, after.as_deref()).await,
            };
        };
        if !waited && run.census.state == CensusState::Open && self.count(access, id, run).await? {
            return Ok(Step::Went);
        }
        self.read(access, id, run, &page).await
    }

    async fn next_page(&self, access: &Access, id: Id, run: &Run) -> Result<Step> {
        let size = run.left_of_lap().map_or(MAX_KEYS, |left| left.min(MAX_KEYS as u64) as usize);
        let asked = run.cursor.as_deref();
        match access.roblox.list_entries(&access.store, run.prefix.as_deref(), asked, size).await {
            Ok(listed) => {
                let page = SyncPage::new(once_each(listed.items), listed.next);
                self.keep_page(id, asked, page).await?;
                self.turns().turn(id).failures = 0;
                Ok(Step::Went)
            }
            Err(trouble @ Trouble::Refused { status: 400, .. }) if asked.is_some() => {
                self.lost(id, run, &trouble).await
            }
            Err(trouble) => self.trouble(id, run, &trouble, false).await,
        }
    }

    /// Roblox does not take the page token that `run` has come to, or was given.
    async fn lost(&self, id: Id, run: &Run, trouble: &Trouble) -> Result<Step> {
        if run.from.is_none() && !run.restarted {
            tracing::warn!(run = %id, "Roblox no longer takes the page token of a sync; the walk begins anew");
            self.restart(id).await?;
            return Ok(Step::Went);
        }
        let failure = if run.cursor == run.from {
            Failure { cursor_refused: true, ..Failure::new(trouble.what(), None) }
        } else {
            // Going on there would fail for ever, and keep others of its kind from beginning.
            let hint = Some("start it again: what was read shows as unchanged".to_owned());
            Failure { over: true, ..Failure::new(trouble.what(), hint) }
        };
        self.fail(id, failure).await?;
        Ok(Step::Went)
    }

    /// The next keys to read a second time.
    async fn look_up(&self, id: Id, after: Option<&str>) -> Result<Step> {
        // Text that ends in a zero is the first behind the same text without it.
        let low = (id, after.map(|after| format!("{after}\0")).unwrap_or_default());
        let failed = self.store().scan(SYNC_FAILURES.between(&low, &Id(id.0 + 1)), MAX_KEYS).await?;
        self.keep_failed(id, failed.items.into_iter().map(|((_, key), _)| key).collect()).await?;
        Ok(Step::Went)
    }

    async fn read(&self, access: &Access, id: Id, run: &Run, page: &SyncPage) -> Result<Step> {
        let most = run.left_of_lap().map_or(PORTION, |left| left.min(PORTION as u64) as usize);
        self.turns().turn(id).reading(self.clock().now(), run.tally.seen());
        let reads = read_some(&access.roblox, &access.store, &page.keys[..most.min(page.keys.len())]).await;
        let (mut found, mut troubles) = (Vec::new(), Vec::new());
        for (key, outcome) in reads {
            match outcome {
                Ok(entry) => found.push((key, entry)),
                Err(trouble) => troubles.push((key, trouble)),
            }
        }
        let others_fine =
            match found.is_empty() && !troubles.is_empty() && troubles.iter().all(|(_, trouble)| own(trouble)) {
                false => !found.is_empty(),
                true => match self.others_fine(access, id, run, &troubles).await? {
                    Ok(fine) => fine,
                    Err(trouble) => return self.trouble(id, run, &trouble, false).await,
                },
            };
        let alone = found.is_empty();
        let mut struck = page.clone();
        if others_fine {
            give_up_on(&mut struck, &mut found, &mut troubles);
        }
        if struck != *page {
            self.keep_strikes(id, page, &struck).await?;
        }
        let progress = !found.is_empty();
        if progress {
            self.keep_portion(id, &struck, &found).await?;
        }
        let strikes = troubles.iter().filter_map(|(key, _)| struck.strikes.get(key)).max().copied();
        match (worst(troubles), strikes) {
            (None, _) => {
                self.turns().turn(id).failures = 0;
                Ok(Step::Went)
            }
            // Roblox is well, so this is no failure of the run's: these keys are asked for again, and then left out.
            (Some(_), Some(strikes)) if alone && others_fine => Ok(Step::Pause(backoff(strikes.saturating_sub(1)))),
            (Some(trouble), _) => self.trouble(id, run, &trouble, progress).await,
        }
    }

    /// Whether keys other than these can be read. Where there are none, it is enough that a single key is in trouble and the data store can be
    /// listed. Keys that were left out before prove nothing.
    async fn others_fine(
        &self,
        access: &Access,
        id: Id,
        run: &Run,
        troubled: &[(String, Trouble)],
    ) -> Result<Result<bool, Trouble>> {
        let listed = match access.roblox.list_entries(&access.store, run.prefix.as_deref(), None, MAX_KEYS).await {
            Ok(listed) => listed,
            Err(trouble @ (Trouble::Paced { .. } | Trouble::Limited { .. })) => return Ok(Err(trouble)),
            Err(_) => return Ok(Ok(false)),
        };
        let mut probed = 0;
        for key in listed.items.into_iter().filter(|key| troubled.iter().all(|(own, _)| own != key)) {
            let place = (id, key);
            if self.store().get(&SYNC_FAILURES, &place).await?.is_some() {
                continue;
            }
            match read_one(&access.roblox, &access.store, &place.1).await {
                Ok(_) => return Ok(Ok(true)),
                Err(trouble) if !own(&trouble) => return Ok(Err(trouble)),
                Err(_) => probed += 1,
            }
            if probed == PROBES {
                return Ok(Ok(false));
            }
        }
        Ok(Ok(probed == 0 && troubled.len() == 1))
    }

    /// Waits out what time cures, for so long; stops the run at what it does not cure.
    async fn trouble(&self, id: Id, run: &Run, trouble: &Trouble, progress: bool) -> Result<Step> {
        if let Trouble::Paced { .. } | Trouble::Limited { .. } = trouble {
            return Ok(Step::Pause(trouble.wait().unwrap_or_else(|| backoff(0))));
        }
        let hint = trouble.hint().map(std::borrow::Cow::into_owned);
        if trouble.cure() == Cure::Time {
            let failures = {
                let mut turns = self.turns();
                let turn = turns.turn(id);
                turn.failures = if progress { 1 } else { turn.failures + 1 };
                turn.failures
            };
            let tries = if run.lap.closed.is_none() { INLINE_TRIES } else { TRIES };
            if failures < tries {
                let cause = if let Trouble::Unanswered(unanswered) = trouble { unanswered.cause.as_str() } else { "" };
                tracing::warn!(run = %id, failures, cause, "reading the data store: {}; it will be tried again", trouble.what());
                return Ok(Step::Pause(backoff(failures - 1)));
            }
        }
        tracing::warn!(run = %id, hint, "a sync stopped: {}", trouble.what());
        self.fail(id, Failure::new(trouble.what(), hint)).await?;
        Ok(Step::Went)
    }

    /// Counts a few pages of keys, when that takes nothing from walking. Whether it did.
    async fn count(&self, access: &Access, id: Id, run: &Run) -> Result<bool> {
        let now = self.clock().now();
        if self.turns().turn(id).census_due > now {
            return Ok(false);
        }
        let mut census = run.census.clone();
        for _ in 0..COUNTED_AT_ONCE {
            if census.state != CensusState::Open || !lists_to_spare(&access.roblox) {
                break;
            }
            let asked = census.cursor.as_deref();
            match access.roblox.list_entries(&access.store, run.prefix.as_deref(), asked, MAX_KEYS).await {
                Ok(listed) => {
                    let end = listed.next.is_none() || listed.next == census.cursor;
                    census = Census {
                        counted: census.counted + once_each(listed.items).len() as u64,
                        state: if end { CensusState::Closed } else { CensusState::Open },
                        cursor: listed.next,
                    };
                }
                Err(trouble) if trouble.cure() == Cure::Time => break,
                // Walking meets the same, if it is one that matters.
                Err(_) => census.state = CensusState::Off,
            }
        }
        if census == run.census {
            self.turns().turn(id).census_due = now + CENSUS_PAUSE;
            return Ok(false);
        }
        self.keep_census(id, census).await?;
        Ok(true)
    }
}

/// Whether it may be one key's trouble, and neither the owner's nor a limit's.
fn own(trouble: &Trouble) -> bool {
    trouble.cure() == Cure::Time && !matches!(trouble, Trouble::Paced { .. } | Trouble::Limited { .. })
}

/// A key that keeps failing while others can be read is its own trouble, not Roblox's: it is left out, with the reason. How often it failed is
/// kept with the page, so that neither a restart nor a pause makes it begin at nothing.
fn give_up_on(page: &mut SyncPage, found: &mut Vec<(String, Found)>, troubles: &mut Vec<(String, Trouble)>) {
    troubles.retain(|(key, trouble)| {
        if !own(trouble) {
            return true;
        }
        let strikes = page.strikes.entry(key.clone()).or_default();
        *strikes += 1;
        if *strikes < KEY_TRIES {
            return true;
        }
        found.push((key.clone(), Found::Bad(trouble.what())));
        false
    });
}

/// Reads `keys` together, until one meets something that stops them all. Given in their order; what was not asked for any more is left out.
async fn read_some(roblox: &Roblox, store: &StoreId, keys: &[String]) -> Vec<Read> {
    let stop = &AtomicBool::new(false);
    let reads = keys.iter().cloned().map(|key| async move {
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        let outcome = read_one(roblox, store, &key).await;
        if outcome.is_err() {
            stop.store(true, Ordering::Relaxed);
        }
        Some((key, outcome))
    });
    futures_util::stream::iter(reads).buffered(AT_ONCE).filter_map(std::future::ready).collect().await
}

async fn read_one(roblox: &Roblox, store: &StoreId, key: &str) -> Result<Found, Trouble> {
    match roblox.entry(store, key).await {
        Ok(None) => Ok(Found::Gone),
        Ok(Some(entry)) => Ok(match entry::read(key, &entry.value) {
            // Revisions are told apart within a key only.
            Ok(reading) => {
                let id = Some(entry.revision).filter(|revision| !revision.is_empty());
                let id = id.map(|revision| format!("{revision} {key}"));
                Found::Entry(Box::new(reading), Revision { id, written_at: entry.written_at })
            }
            Err(reason) => Found::Bad(reason),
        }),
        Err(trouble) if trouble.cure() == Cure::Nothing => Ok(Found::Bad(trouble.what())),
        Err(trouble) => Err(trouble),
    }
}

/// The trouble that decides: what only the owner can end, then what Roblox is in, then our own budget.
fn worst(troubles: Vec<(String, Trouble)>) -> Option<Trouble> {
    let rank = |trouble: &Trouble| match (trouble.cure(), trouble) {
        (Cure::Owner | Cure::Nothing, _) => 0,
        (Cure::Time, Trouble::Limited { .. }) => 1,
        (Cure::Time, Trouble::Paced { .. }) => 3,
        (Cure::Time, _) => 2,
    };
    troubles.into_iter().map(|(_, trouble)| trouble).min_by_key(rank)
}

fn lists_to_spare(roblox: &Roblox) -> bool {
    let usage = roblox.budget().usage();
    let lists = usage.iter().find(|usage| usage.class == Class::EntryLists);
    lists.is_none_or(|lists| lists.closed_until.is_none() && lists.used * 100 < lists.most * (100 - WALKS_SHARE))
}

/// Without repetitions, in their order.
fn once_each(keys: Vec<String>) -> Vec<String> {
    let mut met = BTreeSet::new();
    keys.into_iter().filter(|key| met.insert(key.clone())).collect()
}
