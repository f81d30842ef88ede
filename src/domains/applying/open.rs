//! Which effects are open, and when each is due: a fold of committed rows, rebuilt at start.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::base::{Cursor, Id, Result, RobloxId, Time};
use crate::domains::effects::EFFECTS_OPEN;
use crate::domains::ranks::OPEN_EFFECTS;
use crate::store::{MAX_PAGE, Store};

/// The open effects.
#[derive(Clone)]
pub struct Open {
    all: Arc<Mutex<BTreeMap<Id, Due>>>,
    pub wake: Arc<Notify>,
}

#[derive(Debug, Clone, Copy)]
struct Due {
    user: RobloxId,
    at: Time,
}

impl Open {
    /// # Errors
    /// Those of reading the store.
    pub async fn new(store: &Store) -> Result<Self> {
        let open = Self { all: Arc::default(), wake: Arc::default() };
        let heard = open.clone();
        store.follow(&OPEN_EFFECTS, move |rows| {
            let mut all = heard.lock();
            for (id, user) in rows {
                // One that is taken back is looked at too: what was begun may have to be undone.
                let at = Time::default();
                match user {
                    Some(user) => drop(all.insert(id, Due { user, at })),
                    None => drop(all.get_mut(&id).map(|due| due.at = at)),
                }
            }
            heard.wake.notify_one();
        });
        for table in [&OPEN_EFFECTS, &EFFECTS_OPEN] {
            let mut cursor: Option<Cursor> = None;
            loop {
                let page = store.scan(table.all().after(cursor.as_ref()), MAX_PAGE).await?;
                let mut all = open.lock();
                for (id, user) in page.items {
                    all.entry(id).or_insert(Due { user, at: Time::default() });
                }
                cursor = page.next;
                if cursor.is_none() {
                    break;
                }
            }
        }
        Ok(open)
    }

    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// At most `most` that are due at `now`: of each member the oldest only.
    pub fn due(&self, now: Time, most: usize) -> Vec<(Id, RobloxId)> {
        let mut seen = BTreeSet::new();
        let all = self.lock();
        // A member's younger effect waits for the older one even when that is not due yet.
        let first = all.iter().filter(|(_, due)| seen.insert(due.user));
        first.filter(|(_, due)| due.at <= now).map(|(id, due)| (*id, due.user)).take(most).collect()
    }

    /// How long until the next one is due; none when nothing is open.
    pub fn next(&self, now: Time) -> Option<Duration> {
        self.lock().values().map(|due| due.at).min().map(|at| at.since(now))
    }

    /// It goes on after `pause`.
    pub fn later(&self, id: Id, now: Time, pause: Duration) {
        if let Some(due) = self.lock().get_mut(&id) {
            due.at = now + pause;
        }
    }

    /// There is nothing left to do.
    pub fn over(&self, id: Id) {
        self.lock().remove(&id);
    }

    /// Everything is due at once: what held all back is gone.
    pub fn hurry(&self) {
        self.lock().values_mut().for_each(|due| due.at = Time::default());
        self.wake.notify_one();
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Id, Due>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_members_effects_come_one_after_the_other() {
        let open = Open { all: Arc::default(), wake: Arc::default() };
        let user = |id| RobloxId::new(id).unwrap();
        for (id, of) in [(1, 7), (2, 7), (3, 8)] {
            open.lock().insert(Id(id), Due { user: user(of), at: Time(0) });
        }
        let ids = |now| open.due(Time(now), 10).into_iter().map(|(id, _)| id.0).collect::<Vec<_>>();
        assert_eq!(ids(0), [1, 3]);
        open.later(Id(1), Time(0), Duration::from_secs(5));
        assert_eq!((ids(0), open.next(Time(0))), (vec![3], Some(Duration::ZERO)));
        open.over(Id(3));
        assert_eq!((ids(4_999), ids(5_000)), (vec![], vec![1]));
        open.over(Id(1));
        assert_eq!(ids(0), [2]);
        assert_eq!(open.due(Time(0), 0), []);
    }
}
