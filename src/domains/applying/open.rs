//! Which effects are open, and when each is due: a fold of committed rows, rebuilt at start.
//!
//! Of one member only the first is ever due: those whose decision has fallen first (what they began is taken back), then by id. Of all
//! members' first ones, those that wait for another try and those that no try was made of yet share a tick evenly, each in the order in which
//! they became due: neither can keep the other waiting, however many come, and nobody's number puts them before others.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::base::{Cursor, Id, Result, RobloxId, Time};
use crate::domains::effects::EFFECTS_OPEN;
use crate::domains::ranks::OPEN_EFFECTS;
use crate::store::{MAX_PAGE, Store, Table};

/// The longest pause there is. What is due later than that has seen a clock that was set back since, and is due now.
pub const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// When an effect is due that was never tried, or that a commit made due again.
const NEW: Time = Time(0);

/// The open effects. Cheap to clone; all clones are one.
#[derive(Clone, Default)]
pub struct Open {
    shelves: Arc<Mutex<Shelves>>,
    pub wake: Arc<Notify>,
}

/// An effect to be carried out, as it stood when it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticket {
    pub id: Id,
    pub user: RobloxId,
    epoch: u64,
}

#[derive(Default)]
struct Shelves {
    members: HashMap<RobloxId, BTreeMap<Place, Entry>>,
    /// Where each effect stands.
    places: HashMap<Id, (RobloxId, Place)>,
    /// The first effect of each member, by when it is due, then by when it came.
    heads: BTreeMap<(Time, u64), RobloxId>,
    epoch: u64,
}

/// Fallen ones first, then by id.
type Place = (Standing, Id);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Standing {
    Fallen,
    Queued,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    /// [`NEW`] until a try was made.
    at: Time,
    /// Moves with every commit about the effect: what was found out before does not count any more.
    epoch: u64,
}

impl Open {
    /// # Errors
    /// Those of reading the store.
    pub async fn new(store: &Store) -> Result<Self> {
        let open = Self::default();
        let heard = open.clone();
        store.follow(&OPEN_EFFECTS, move |rows| {
            let mut shelves = heard.lock();
            for (id, user) in rows {
                match user {
                    Some(user) => shelves.put(id, user, Standing::Queued),
                    // What was begun may have to be taken back.
                    None => shelves.fall(id),
                }
            }
            heard.wake.notify_one();
        });
        open.read(store, &OPEN_EFFECTS, Standing::Queued).await?;
        open.read(store, &EFFECTS_OPEN, Standing::Fallen).await?;
        Ok(open)
    }

    async fn read(&self, store: &Store, table: &Table<Id, RobloxId>, standing: Standing) -> Result<()> {
        let mut cursor: Option<Cursor> = None;
        loop {
            let page = store.scan(table.all().after(cursor.as_ref()), MAX_PAGE).await?;
            let mut shelves = self.lock();
            for (id, user) in page.items {
                if !shelves.places.contains_key(&id) {
                    shelves.put(id, user, standing);
                }
            }
            cursor = page.next;
            if cursor.is_none() {
                return Ok(());
            }
        }
    }

    pub fn len(&self) -> usize {
        self.lock().places.len()
    }

    /// The effect of the same member that comes before this one; none when it is the first.
    pub fn before(&self, id: Id) -> Option<Id> {
        let shelves = self.lock();
        let (user, _) = shelves.places.get(&id)?;
        shelves.head(*user).map(|head| head.id).filter(|first| *first != id)
    }

    /// At most `most` that are due at `now`, of each member one.
    pub fn due(&self, now: Time, most: usize) -> Vec<Ticket> {
        let shelves = self.lock();
        let far = now + LONGEST_PAUSE;
        let new = shelves.heads.iter().take_while(|((at, _), _)| *at == NEW);
        let again = shelves.heads.range((NEW, u64::MAX)..).take_while(|((at, _), _)| *at <= now);
        let lost = shelves.heads.iter().rev().take_while(|((at, _), _)| *at > far);
        let again = again.chain(lost).take(most - new.clone().take(most / 2).count());
        let left = most - again.clone().count();
        again.chain(new.take(left)).filter_map(|(_, user)| shelves.head(*user)).collect()
    }

    /// How long until the next one is due; none when nothing is open.
    pub fn next(&self, now: Time) -> Option<Duration> {
        let shelves = self.lock();
        let lost = shelves.heads.last_key_value().is_some_and(|((at, _), _)| *at > now + LONGEST_PAUSE);
        let first = shelves.heads.first_key_value().map(|((at, _), _)| at.since(now));
        if lost { Some(Duration::ZERO) } else { first }
    }

    /// It goes on after `pause`, unless a commit has made it due meanwhile.
    pub fn later(&self, ticket: Ticket, now: Time, pause: Duration) {
        self.lock().change(ticket, |entry| entry.at = now + pause.min(LONGEST_PAUSE));
    }

    /// There is nothing left to do, unless a commit has made it due again meanwhile.
    pub fn over(&self, ticket: Ticket) {
        self.lock().remove(ticket);
    }

    fn lock(&self) -> MutexGuard<'_, Shelves> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelves {
    fn put(&mut self, id: Id, user: RobloxId, standing: Standing) {
        self.take(id);
        self.epoch += 1;
        let entry = Entry { at: NEW, epoch: self.epoch };
        self.moving(user, |effects| {
            effects.insert((standing, id), entry);
        });
        self.places.insert(id, (user, (standing, id)));
    }

    fn fall(&mut self, id: Id) {
        if let Some((user, _)) = self.places.get(&id).copied() {
            self.put(id, user, Standing::Fallen);
        }
    }

    fn take(&mut self, id: Id) {
        if let Some((user, place)) = self.places.remove(&id) {
            self.moving(user, |effects| {
                effects.remove(&place);
            });
        }
    }

    fn change(&mut self, ticket: Ticket, change: impl FnOnce(&mut Entry)) {
        let Some((user, place)) = self.places.get(&ticket.id).copied() else { return };
        self.moving(user, |effects| {
            if let Some(entry) = effects.get_mut(&place).filter(|entry| entry.epoch == ticket.epoch) {
                change(entry);
            }
        });
    }

    fn remove(&mut self, ticket: Ticket) {
        if self.head(ticket.user).is_some_and(|head| head == ticket) {
            self.take(ticket.id);
        }
    }

    fn head(&self, user: RobloxId) -> Option<Ticket> {
        let ((_, id), entry) = self.members.get(&user)?.first_key_value()?;
        Some(Ticket { id: *id, user, epoch: entry.epoch })
    }

    /// Changes a member's effects, and keeps what is due in step.
    fn moving(&mut self, user: RobloxId, change: impl FnOnce(&mut BTreeMap<Place, Entry>)) {
        let effects = self.members.entry(user).or_default();
        if let Some(entry) = effects.values().next() {
            self.heads.remove(&(entry.at, entry.epoch));
        }
        change(effects);
        match effects.values().next() {
            Some(entry) => drop(self.heads.insert((entry.at, entry.epoch), user)),
            None => drop(self.members.remove(&user)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: u64) -> RobloxId {
        RobloxId::new(id).unwrap()
    }

    fn ids(open: &Open, now: i64) -> Vec<u64> {
        open.due(Time(now), 10).into_iter().map(|ticket| ticket.id.0).collect()
    }

    #[test]
    fn a_members_effects_come_one_after_the_other() {
        let open = Open::default();
        for (id, of) in [(1, 7), (2, 7), (3, 8)] {
            open.lock().put(Id(id), user(of), Standing::Queued);
        }
        assert_eq!(ids(&open, 0), [1, 3]);
        assert_eq!([1, 2, 3, 4].map(|id| open.before(Id(id))), [None, Some(Id(1)), None, None]);
        let (one, three) = (open.due(Time(0), 10)[0], open.due(Time(0), 10)[1]);
        open.later(one, Time(0), Duration::from_secs(5));
        open.over(three);
        assert_eq!(open.next(Time(0)), Some(Duration::from_secs(5)), "what waits behind another is not due");
        assert_eq!((ids(&open, 4_999), ids(&open, 5_000)), (vec![], vec![1]));
        open.over(one);
        assert_eq!((ids(&open, 0), open.len()), (vec![2], 1));
    }

    #[test]
    fn what_has_fallen_comes_before_what_is_queued() {
        let open = Open::default();
        open.lock().put(Id(1), user(7), Standing::Queued);
        open.lock().put(Id(9), user(7), Standing::Queued);
        open.lock().fall(Id(9));
        assert_eq!(ids(&open, 0), [9]);
        open.lock().fall(Id(5)); // Nobody knows it.
        assert_eq!(open.len(), 2);
    }

    #[test]
    fn a_commit_meanwhile_counts_for_more_than_what_was_found_out() {
        let open = Open::default();
        open.lock().put(Id(1), user(7), Standing::Queued);
        let before = open.due(Time(0), 1)[0];
        open.lock().put(Id(1), user(7), Standing::Queued);
        open.later(before, Time(0), Duration::from_secs(60));
        open.over(before);
        assert_eq!(ids(&open, 0), [1]);
    }

    #[test]
    fn neither_those_who_wait_nor_those_who_come_starve() {
        let open = Open::default();
        let put = |id: u64| open.lock().put(Id(id), user(1_000 - id), Standing::Queued);
        (1..=6).for_each(put);
        assert_eq!(ids(&open, 9), [1, 2, 3, 4, 5, 6], "in the order in which they came");
        open.due(Time(0), 6)
            .into_iter()
            .for_each(|ticket| open.later(ticket, Time(ticket.id.0 as i64), Duration::ZERO));
        (11..=99).for_each(put);
        let some = |most| open.due(Time(9), most).into_iter().map(|ticket| ticket.id.0).collect::<Vec<u64>>();
        assert_eq!((some(4), some(1)), (vec![1, 2, 11, 12], vec![1]));
        assert_eq!((some(14).len(), some(14)[..8].to_vec()), (14, vec![1, 2, 3, 4, 5, 6, 11, 12]));
    }

    #[test]
    fn a_clock_that_was_set_back_keeps_nobody_waiting() {
        let open = Open::default();
        open.lock().put(Id(1), user(7), Standing::Queued);
        let ticket = open.due(Time(10_000_000), 1)[0];
        open.later(ticket, Time(10_000_000), Duration::from_secs(60));
        assert_eq!((ids(&open, 10_000_001).len(), ids(&open, 0)), (0, vec![1]));
        assert_eq!(open.next(Time(0)), Some(Duration::ZERO));
    }
}
