//! The worker's steps: list a page of keys, read a portion of it, and meanwhile count how much there is. Every step asks Roblox for a bounded
//! piece and commits what came of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;

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
                let page = SyncPage { keys: once_each(listed.items), next: listed.next };
                self.keep_page(id, asked, page).await?;
                self.turns().turn(id).failures = 0;
                Ok(Step::Went)
            }
            Err(Trouble::Refused { status: 400, .. }) if asked.is_some() && run.from.is_none() && !run.anew => {
                tracing::warn!(run = %id, "Roblox no longer takes the page token of a sync; the walk begins anew");
                self.restart(id).await?;
                Ok(Step::Went)
            }
            Err(Trouble::Refused { status: 400, complaint }) if asked.is_some() && asked == run.from.as_deref() => {
                let what = Trouble::Refused { status: 400, complaint }.what();
                let failure = Failure { cursor_refused: true, ..Failure::new(what, None) };
                self.fail(id, failure).await?;
                Ok(Step::Went)
            }
            Err(trouble) => self.trouble(id, run, &trouble, false).await,
        }
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
        self.give_up_on(id, &mut found, &mut troubles);
        let progress = !found.is_empty();
        if progress {
            self.keep_portion(id, page, &found).await?;
        }
        match worst(troubles) {
            None => {
                self.turns().turn(id).failures = 0;
                Ok(Step::Went)
            }
            Some(trouble) => self.trouble(id, run, &trouble, progress).await,
        }
    }

    /// A key that keeps failing while its neighbours are read is its own trouble, not Roblox's: it is left out, with the reason.
    fn give_up_on(&self, id: Id, found: &mut Vec<(String, Found)>, troubles: &mut Vec<(String, Trouble)>) {
        let mut turns = self.turns();
        let turn = turns.turn(id);
        let others_fine = !found.is_empty();
        troubles.retain(|(key, trouble)| {
            let own = match trouble {
                Trouble::Unreadable(_) => true,
                Trouble::Down { .. } | Trouble::Unanswered(_) => others_fine,
                _ => false,
            };
            if !own {
                return true;
            }
            let strikes = turn.strikes.entry(key.clone()).or_default();
            *strikes += 1;
            if *strikes < KEY_TRIES {
                return true;
            }
            turn.strikes.remove(key);
            found.push((key.clone(), Found::Bad(trouble.what())));
            false
        });
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
                let revision = Some(entry.revision).filter(|revision| !revision.is_empty());
                Found::Entry(Box::new(reading), revision.map(|revision| format!("{revision} {key}")))
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
