//! How far a channel has been read: pure.
//!
//! Ids rise with time, but Discord promises nothing about when a message shows: of two messages of the same moment the later id may show
//! first. So a cursor is not only the last id. It keeps [`LATE`] behind the newest message and remembers by id what it has taken since;
//! whatever shows up late within that span is still found, and nothing is taken twice.
//!
//! When more messages come within that span than one page holds, reading goes on behind the page, in memory ([`Sweep`]), and comes back to
//! the cursor when it has reached the end.

use serde::{Deserialize, Serialize};

use crate::base::Time;
use crate::remote::discord::{MAX_MESSAGES, Snowflake};
use crate::store::Record;

/// How much later than its successor a message may show, in milliseconds.
pub const LATE: i64 = 2_000;

/// Ids remembered at most; more in [`LATE`] shorten that span.
const MAX_SEEN: usize = 5 * MAX_MESSAGES;

/// Everything up to here has shown at `at`.
fn shown_at(at: Time) -> Snowflake {
    Snowflake::floor(Time(at.0.saturating_sub(LATE)))
}

/// The state of one channel.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Cursor {
    /// Everything up to here is done.
    after: u64,
    /// The newest message that is done, or where reading began.
    newest: u64,
    /// What is done above `after`, rising.
    seen: Vec<u64>,
    /// When this was written.
    pub at: Time,
}

impl Record for Cursor {
    const VERSION: u8 = 1;
}

impl Cursor {
    /// Nothing up to `start` is of interest.
    pub fn starting_after(start: Snowflake, now: Time) -> Self {
        Self { after: start.0, newest: start.0, seen: Vec::new(), at: now }
    }

    /// Where to ask from, so that latecomers are found.
    pub fn after(&self) -> Snowflake {
        Snowflake(self.after)
    }

    pub fn newest(&self) -> Snowflake {
        Snowflake(self.newest)
    }

    pub fn is_done(&self, id: Snowflake) -> bool {
        id.0 <= self.after || self.seen.binary_search(&id.0).is_ok()
    }

    /// The cursor when `ids` (rising, not done) are, too, and nothing up to `shown` is left to show.
    #[must_use]
    pub fn with(&self, ids: &[Snowflake], shown: Snowflake, now: Time) -> Self {
        let Some(last) = ids.last() else { return Self { at: now, ..self.clone() } };
        let mut after = self.after.max(last.0.min(shown.0));
        let mut seen: Vec<u64> = self.seen.iter().copied().chain(ids.iter().map(|id| id.0)).collect();
        seen.sort_unstable();
        seen.dedup();
        if let Some(most) = seen.len().checked_sub(MAX_SEEN + 1) {
            after = after.max(seen[most]);
        }
        seen.retain(|id| *id > after);
        Self { after, newest: self.newest.max(last.0), seen, at: now }
    }
}

/// A page that was read.
#[derive(Debug, Clone, Copy)]
pub struct Extent {
    /// The last message on it.
    pub last: Snowflake,
    /// There may be more behind it.
    pub full: bool,
    /// When it was read, by Discord's clock as far as that is known.
    pub at: Time,
}

/// Pages that are read one behind the other, the first from the cursor.
#[derive(Debug, Clone, Copy, Default)]
pub struct Sweep(Option<Ahead>);

#[derive(Debug, Clone, Copy)]
struct Ahead {
    position: Snowflake,
    /// When the first of the pages was read.
    began: Time,
}

impl Sweep {
    /// Where to ask from; none for the cursor.
    pub fn position(&self) -> Option<Snowflake> {
        self.0.map(|ahead| ahead.position)
    }

    /// Up to where no message is left to show of what was read with `page`. What lies before it was read with earlier pages of the sweep,
    /// at the earliest when that began.
    pub fn shown(&self, cursor: &Cursor, page: Extent) -> Snowflake {
        let by_newest = shown_at(cursor.newest().max(page.last).made_at());
        match self.0 {
            Some(ahead) => shown_at(ahead.began),
            // Catching up; how old a message is depends on clocks, so it counts for no more than it must.
            None if page.full => by_newest.max(shown_at(page.at)),
            None => by_newest,
        }
    }

    /// `page` is done, and `cursor` says so.
    pub fn next(&mut self, cursor: &Cursor, page: Extent) {
        let began = self.0.map_or(page.at, |ahead| ahead.began);
        let onwards = page.full && page.last > self.position().unwrap_or_default().max(cursor.after());
        self.0 = onwards.then_some(Ahead { position: page.last, began });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    const BASE: Time = Time(1_740_852_944_000);

    fn id(millis: i64, low: u64) -> Snowflake {
        Snowflake(Snowflake::floor(Time(BASE.0 + millis)).0 + low)
    }

    fn late(millis: i64) -> Snowflake {
        shown_at(Time(BASE.0 + millis))
    }

    #[test]
    fn a_latecomer_is_not_done_and_what_was_taken_is() {
        let cursor = Cursor::starting_after(id(0, 0), BASE).with(&[id(5_000, 9)], late(5_000), BASE);
        assert!(cursor.is_done(id(5_000, 9)) && !cursor.is_done(id(5_000, 3)) && !cursor.is_done(id(3_500, 0)));
        assert!(cursor.is_done(id(2_999, 0)));
        assert_eq!(cursor.newest(), id(5_000, 9));
        assert_eq!(cursor.after(), id(3_000, 0));
    }

    #[test]
    fn it_never_goes_back_before_its_start() {
        let cursor = Cursor::starting_after(id(1_000, 5), BASE).with(&[id(1_001, 0)], late(1_001), BASE);
        assert_eq!(cursor.after(), id(1_000, 5));
        assert!(!cursor.is_done(id(1_000, 6)));
    }

    #[test]
    fn a_full_page_of_long_ago_moves_it_to_its_end_and_one_of_now_does_not() {
        let page: Vec<Snowflake> = (0..100).map(|at| id(10, at)).collect();
        let start = Cursor::starting_after(id(0, 0), BASE);
        let extent = |millis| Extent { last: page[99], full: true, at: Time(BASE.0 + millis) };
        let mut sweep = Sweep::default();
        let cursor = start.with(&page, sweep.shown(&start, extent(60_000)), BASE);
        assert_eq!((cursor.after(), cursor.seen.len()), (id(10, 99), 0));
        sweep.next(&cursor, extent(60_000));
        assert_eq!(sweep.position(), None);
        let cursor = start.with(&page, sweep.shown(&start, extent(20)), BASE);
        assert_eq!((cursor.after(), cursor.seen.len()), (id(0, 0), 100));
        sweep.next(&cursor, extent(20));
        assert_eq!(sweep.position(), Some(id(10, 99)));
        sweep.next(&cursor, Extent { full: false, ..extent(30) });
        assert_eq!(sweep.position(), None);
    }

    proptest! {
        /// Messages show up to LATE after their successors; polls come at any time and pages are small, so that many are full. What is in
        /// memory is lost now and then. Each message is taken exactly once.
        #[test]
        fn nothing_is_lost_and_nothing_taken_twice(
            messages in prop::collection::vec((0i64..20_000, 0i64..LATE), 0..150),
            polls in prop::collection::vec((1i64..3_000, 0u8..10), 1..60),
            limit in 1usize..40,
        ) {
            let all: Vec<(Snowflake, i64)> =
                messages.iter().enumerate().map(|(at, (made, late))| (id(*made, at as u64), made + late)).collect();
            let (mut cursor, mut sweep) = (Cursor::starting_after(id(-1, 0), BASE), Sweep::default());
            let mut taken = Vec::new();
            let mut now = 0;
            for (pause, luck) in polls.into_iter().chain([(30_000, 1)]).chain(vec![(1, 1); 400]) {
                now += pause;
                if luck == 0 {
                    sweep = Sweep::default();
                }
                let from = sweep.position().unwrap_or(cursor.after());
                let mut page: Vec<Snowflake> =
                    all.iter().filter(|(id, shows)| *shows <= now && *id > from).map(|(id, _)| *id).collect();
                page.sort();
                page.truncate(limit);
                let Some(last) = page.last().copied() else {
                    sweep = Sweep::default();
                    continue;
                };
                let extent = Extent { last, full: page.len() == limit, at: Time(BASE.0 + now) };
                page.retain(|id| !cursor.is_done(*id));
                taken.extend(page.iter().copied());
                let shown = sweep.shown(&cursor, extent);
                cursor = cursor.with(&page, shown, BASE).with(&[last], shown, BASE);
                sweep.next(&cursor, extent);
                prop_assert!(cursor.seen.len() <= MAX_SEEN && cursor.seen.is_sorted());
            }
            let distinct: BTreeSet<Snowflake> = taken.iter().copied().collect();
            prop_assert_eq!(distinct.len(), taken.len());
            prop_assert_eq!(distinct.len(), all.len());
        }
    }
}
