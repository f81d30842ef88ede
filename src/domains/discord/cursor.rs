//! How far a channel has been read: pure.
//!
//! Ids rise with time, but Discord promises nothing about when a message shows: of two messages of the same moment the later id may show
//! first. So a cursor is not only the last id. It keeps [`LATE`] behind the newest message and remembers by id what it has taken since;
//! whatever shows up late within that span is still found, and nothing is taken twice.

use serde::{Deserialize, Serialize};

use crate::base::Time;
use crate::remote::discord::{MAX_MESSAGES, Snowflake};
use crate::store::Record;

/// How much later than its successor a message may show, in milliseconds.
pub const LATE: i64 = 2_000;

/// Ids remembered at most; more in [`LATE`] shorten that span.
const MAX_SEEN: usize = 2 * MAX_MESSAGES;

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

    /// The cursor when `ids` (rising, not done) are, too. `whole` when they come from a page that was full: then there is nothing between
    /// them and the cursor that could show late, and going on matters more.
    #[must_use]
    pub fn with(&self, ids: &[Snowflake], whole: bool, now: Time) -> Self {
        let Some(last) = ids.last() else { return Self { at: now, ..self.clone() } };
        let newest = self.newest.max(last.0);
        let late = Snowflake::floor(Time(Snowflake(newest).made_at().0 - LATE)).0;
        let mut after = self.after.max(if whole { last.0 } else { late });
        let mut seen: Vec<u64> = self.seen.iter().copied().chain(ids.iter().map(|id| id.0)).collect();
        seen.sort_unstable();
        seen.dedup();
        if let Some(most) = seen.len().checked_sub(MAX_SEEN + 1) {
            after = after.max(seen[most]);
        }
        seen.retain(|id| *id > after);
        Self { after, newest, seen, at: now }
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

    #[test]
    fn a_latecomer_is_not_done_and_what_was_taken_is() {
        let cursor = Cursor::starting_after(id(0, 0), BASE).with(&[id(5_000, 9)], false, BASE);
        assert!(cursor.is_done(id(5_000, 9)) && !cursor.is_done(id(5_000, 3)) && !cursor.is_done(id(3_500, 0)));
        assert!(cursor.is_done(id(2_999, 0)));
        assert_eq!(cursor.newest(), id(5_000, 9));
        assert_eq!(cursor.after(), id(3_000, 0));
    }

    #[test]
    fn it_never_goes_back_before_its_start() {
        let cursor = Cursor::starting_after(id(1_000, 5), BASE).with(&[id(1_001, 0)], false, BASE);
        assert_eq!(cursor.after(), id(1_000, 5));
        assert!(!cursor.is_done(id(1_000, 6)));
    }

    #[test]
    fn a_full_page_moves_it_to_its_end() {
        let page: Vec<Snowflake> = (0..100).map(|at| id(10, at)).collect();
        let cursor = Cursor::starting_after(id(0, 0), BASE).with(&page, true, BASE);
        assert_eq!((cursor.after(), cursor.seen.len()), (id(10, 99), 0));
    }

    proptest! {
        /// Messages show up to LATE after their successors; polls come at any time. Each message is taken exactly once.
        #[test]
        fn nothing_is_lost_and_nothing_taken_twice(
            messages in prop::collection::vec((0i64..20_000, 0i64..LATE), 0..150),
            polls in prop::collection::vec(1i64..3_000, 1..40),
        ) {
            let all: Vec<(Snowflake, i64)> =
                messages.iter().enumerate().map(|(at, (made, late))| (id(*made, at as u64), made + late)).collect();
            let mut cursor = Cursor::starting_after(id(-1, 0), BASE);
            let mut taken = Vec::new();
            let mut now = 0;
            for pause in polls.into_iter().chain([30_000, 1, 1, 1]) {
                now += pause;
                let mut page: Vec<Snowflake> =
                    all.iter().filter(|(id, shows)| *shows <= now && *id > cursor.after()).map(|(id, _)| *id).collect();
                page.sort();
                page.truncate(100);
                // Full pages go on to their end, which is for catching up; here they stay rare.
                prop_assume!(page.len() < 100 || now > 25_000);
                let full = page.len() == 100;
                page.retain(|id| !cursor.is_done(*id));
                taken.extend(page.iter().copied());
                cursor = cursor.with(&page, full, BASE);
                prop_assert!(cursor.seen.len() <= MAX_SEEN && cursor.seen.is_sorted());
            }
            let distinct: BTreeSet<Snowflake> = taken.iter().copied().collect();
            prop_assert_eq!(distinct.len(), taken.len());
            prop_assert_eq!(distinct.len(), all.len());
        }
    }
}
