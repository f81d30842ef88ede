//! Looks at a store and says whether every row is what the counters and the acknowledgements demand.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use grps::base::Result;
use grps::store::{Key, Record, Scan, Store};
use serde::{Deserialize, Serialize};

use super::workload::{
    COUNTS, LOG, LOG_ROWS, OpeningReport, Plan, SHARED, SHARED_EVERY, SLOT_COUNT, SLOTS, open, settings,
};

/// Rows read at once.
const PAGE: usize = 200;
/// Things worth saying about one store.
const NOTES: usize = 6;

/// What was found in one store.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Seen {
    /// Why it did not open.
    pub unopened: Option<String>,
    /// What a panic said that came out of the store.
    pub panicked: Option<String>,
    /// Acknowledged commits that are not there.
    pub lost: u64,
    /// Commits that are there beyond those acknowledged.
    pub ahead: u64,
    /// Rows that hold something else than they must, or must not be there.
    pub wrong: u64,
    /// Rows that must be there.
    pub missing: u64,
    /// Reads that were answered with an error.
    pub errors: u64,
    pub notes: Vec<String>,
    /// The writers' counters.
    pub counts: Vec<u64>,
    /// What the store said of its opening.
    pub report: OpeningReport,
}

impl Seen {
    /// Everything acknowledged is there, nothing else is, nothing stood in the way, and nothing else is said.
    pub fn is_right(&self) -> bool {
        self.is_whole() && self.lost == 0 && self.report.is_complete()
    }

    /// It opened, everything could be read, and it was the state after some commits.
    pub fn is_whole(&self) -> bool {
        self.unopened.is_none() && self.panicked.is_none() && self.errors == 0 && !self.is_torn()
    }

    /// Some commit is there in part, or rows are not what was written.
    pub fn is_torn(&self) -> bool {
        self.wrong + self.missing > 0
    }

    fn note(&mut self, note: String) {
        if self.notes.len() < NOTES {
            self.notes.push(note);
        }
    }

    fn error(&mut self, error: &grps::base::Error) {
        self.errors += 1;
        self.note(format!("{error:?}"));
    }

    /// Compares the rows found with those that must be there.
    fn compare<K: Ord + std::fmt::Debug, V: PartialEq + std::fmt::Debug>(
        &mut self,
        what: &str,
        must: &BTreeMap<K, V>,
        found: &BTreeMap<K, V>,
    ) {
        let short = |value: &V| format!("{value:?}").chars().take(40).collect::<String>();
        for (key, value) in found {
            match must.get(key) {
                Some(right) if right == value => {}
                Some(right) => {
                    self.wrong += 1;
                    self.note(format!("{what} {key:?} is {}, not {}", short(value), short(right)));
                }
                None => {
                    self.wrong += 1;
                    self.note(format!("{what} {key:?} must not be there"));
                }
            }
        }
        for key in must.keys().filter(|key| !found.contains_key(key)) {
            self.missing += 1;
            self.note(format!("{what} {key:?} is missing"));
        }
    }
}

/// Every row of a writer, as it must be once the writer has committed `count` times.
struct Must {
    log: BTreeMap<(u32, u64), u64>,
    slots: BTreeMap<(u32, u32), String>,
}

impl Must {
    fn be(plan: &Plan, writer: u32, count: u64) -> Self {
        let log = (count.saturating_sub(LOG_ROWS - 1).max(1)..=count).map(|n| ((writer, n), plan.logged(writer, n)));
        let mut last: BTreeMap<u32, Option<(u64, usize)>> = BTreeMap::new();
        // From the last commit back until every slot is known.
        for n in (1..=count).rev() {
            for (slot, length) in plan.slot_writes(writer, n).into_iter().rev() {
                last.entry(slot).or_insert(length.map(|length| (n, length)));
            }
            if last.len() == SLOT_COUNT as usize {
                break;
            }
        }
        let text = |(slot, write): (u32, Option<(u64, usize)>)| {
            write.map(|(n, length)| ((writer, slot), plan.text(writer, slot, n, length)))
        };
        Self { log: log.collect(), slots: last.into_iter().filter_map(text).collect() }
    }
}

/// Looks at every row of an open store: by scan, forwards and backwards, and by key. `acked` holds the last acknowledged commit of each writer.
pub async fn look(store: &Store, plan: &Plan, acked: &[u64]) -> Seen {
    let mut seen = Seen::default();
    for writer in 0..plan.writers {
        let acked = acked.get(writer as usize).copied().unwrap_or(0);
        if let Err(error) = look_at(store, plan, writer, acked, &mut seen).await {
            seen.error(&error);
        }
    }
    let shared: u64 = seen.counts.iter().map(|count| count / SHARED_EVERY).sum();
    match store.get(&SHARED, &()).await {
        Ok(found) if found.unwrap_or(0) == shared => {}
        Ok(found) => {
            seen.wrong += 1;
            seen.note(format!("the shared counter is {found:?}, not {shared}"));
        }
        Err(error) => seen.error(&error),
    }
    seen
}

/// Reads all rows of a writer that has committed `n` times and does nothing meanwhile, and says in one line how that went.
pub async fn verify(store: &Store, plan: &Plan, writer: u32, n: u64) -> String {
    let mut seen = Seen::default();
    match look_at(store, plan, writer, n, &mut seen).await {
        Err(error) => format!("unread {} {error:?}", error.code()),
        Ok(()) if seen.lost + seen.ahead > 0 || seen.is_torn() => format!("misread {writer} {n} {seen:?}"),
        Ok(()) => "verified".to_owned(),
    }
}

async fn look_at(store: &Store, plan: &Plan, writer: u32, acked: u64, seen: &mut Seen) -> Result<()> {
    let count = store.get(&COUNTS, &writer).await?.unwrap_or(0);
    seen.counts.push(count);
    seen.ahead += count.saturating_sub(acked);
    if count < acked {
        seen.lost += acked - count;
        seen.note(format!("writer {writer} is at {count}, {acked} was acknowledged"));
    }
    let must = Must::be(plan, writer, count);
    seen.compare("log", &must.log, &all(store, || LOG.under(&writer)).await?);
    seen.compare("slot", &must.slots, &all(store, || SLOTS.under(&writer)).await?);
    let backwards = all(store, || SLOTS.under(&writer).newest_first()).await?;
    if backwards != must.slots && !seen.is_torn() {
        seen.compare("slot, backwards,", &must.slots, &backwards);
    }
    let keys: Vec<_> = (0..SLOT_COUNT).map(|slot| (writer, slot)).collect();
    let read = store.get_many(&SLOTS, &keys).await?;
    let read: BTreeMap<_, _> = keys.into_iter().zip(read).filter_map(|(key, value)| Some((key, value?))).collect();
    if read != must.slots && !seen.is_torn() {
        seen.compare("slot, read by key,", &must.slots, &read);
    }
    Ok(())
}

/// All rows of a range.
async fn all<K: Key + Ord, V: Record>(store: &Store, range: impl Fn() -> Scan<K, V>) -> Result<BTreeMap<K, V>> {
    let mut rows = BTreeMap::new();
    let mut from = None;
    loop {
        let page = store.scan(range().after(from.as_ref()), PAGE).await?;
        rows.extend(page.items);
        from = page.next;
        if from.is_none() {
            return Ok(rows);
        }
    }
}

/// What becomes of a store after it was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    Close,
    /// Dropped without closing it.
    Drop,
}

/// Opens the store in `data`, looks at all of it, and lets go of it. A panic that comes out of the store is caught and counted.
pub fn open_and_look(data: &Path, plan: &Plan, acked: &[u64], after: After) -> Seen {
    let look = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let store = match open(data, &settings()) {
                Ok(store) => store,
                Err(error) => return Seen { unopened: Some(format!("{error:?}")), ..Seen::default() },
            };
            let mut seen = look(&store, plan, acked).await;
            seen.report = OpeningReport::of(&store);
            if after == After::Close
                && let Err(error) = store.close().await
            {
                seen.error(&error);
            }
            seen
        })
    };
    catch_unwind(AssertUnwindSafe(look)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Seen { panicked: Some(text.unwrap_or_default()), ..Seen::default() }
    })
}

/// Counts over all stores of a campaign.
#[derive(Debug, Default)]
pub struct Tally {
    pub stores: u64,
    pub lost: u64,
    pub half: u64,
    pub unopened: u64,
    pub errors: u64,
    pub panics: u64,
    pub ahead: u64,
    /// How the stores were opened, by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// What was found where, for the message of a campaign that fails.
    pub findings: Vec<String>,
}

impl Tally {
    pub fn add(&mut self, place: &str, seen: &Seen) {
        self.stores += 1;
        self.lost += seen.lost;
        self.half += u64::from(seen.is_torn());
        self.unopened += u64::from(seen.unopened.is_some());
        self.errors += u64::from(seen.errors > 0);
        self.panics += u64::from(seen.panicked.is_some());
        self.ahead += seen.ahead;
        if !seen.report.outcome.is_empty() {
            *self.outcomes.entry(seen.report.outcome.clone()).or_default() += 1;
        }
        if !seen.is_right() {
            self.findings.push(format!("{place}: {seen:?}"));
        }
    }

    /// `0 lost, 0 half batches, 0 failed opens`, and what must be added if anything.
    pub fn counts(&self) -> String {
        let mut out = format!("{} lost, {} half batches, {} failed opens", self.lost, self.half, self.unopened);
        for (count, what) in [(self.errors, "unreadable"), (self.panics, "panics")] {
            if count > 0 {
                out += &format!(", {count} {what}");
            }
        }
        out
    }

    /// `opened 3, replayed 20`.
    pub fn outcomes(&self) -> String {
        let told: Vec<_> =
            self.outcomes.iter().map(|(name, count)| format!("{} {count}", name.to_lowercase())).collect();
        told.join(", ")
    }

    pub fn assert_right(&self) {
        let first: Vec<_> = self.findings.iter().take(5).collect();
        assert!(
            self.findings.is_empty(),
            "{} stores of {} are not right: {first:#?}",
            self.findings.len(),
            self.stores
        );
    }
}
