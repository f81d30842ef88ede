//! Who was updated within the last hour: an exact count in memory that holds only those (requirement G12).

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use super::place::Place;
use crate::base::Time;

/// How far back "recent" reaches.
pub const RECENT: Duration = Duration::from_secs(3600);

/// Places by the time of their last update. Keyed by place rather than user, so that the order in which a commit's deletion of the old
/// place and its insertion of the new one arrive does not matter.
#[derive(Default)]
pub struct Activity {
    updated: HashMap<Place, Time>,
    order: BTreeSet<(Time, Place)>,
}

impl Activity {
    /// Notes that `place` was updated at `at`; what is older than [`RECENT`] at `now` is forgotten.
    pub fn touch(&mut self, place: Place, at: Time, now: Time) {
        self.forget(&place);
        self.expire(now);
        if at >= now - RECENT {
            self.updated.insert(place.clone(), at);
            self.order.insert((at, place));
        }
    }

    pub fn forget(&mut self, place: &Place) {
        if let Some((place, at)) = self.updated.remove_entry(place) {
            self.order.remove(&(at, place));
        }
    }

    /// How many places were updated at `now` − [`RECENT`] or later.
    pub fn count(&mut self, now: Time) -> usize {
        self.expire(now);
        self.order.len()
    }

    fn expire(&mut self, now: Time) {
        let since = now - RECENT;
        while let Some((_, place)) = self.order.first().filter(|(at, _)| *at < since) {
            self.updated.remove(place);
            self.order.pop_first();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::RobloxId;

    fn place(points: i64, id: u64) -> Place {
        Place::for_player(points, 0, RobloxId::new(id).unwrap())
    }

    #[test]
    fn it_counts_exactly_the_last_hour() {
        let hour = RECENT.as_millis() as i64;
        let mut activity = Activity::default();
        activity.touch(place(1, 1), Time(1000), Time(1000));
        activity.touch(place(1, 2), Time(2000), Time(2000));
        activity.touch(place(1, 1), Time(3000), Time(3000));
        assert_eq!(activity.count(Time(2000 + hour)), 2, "an hour ago to the millisecond still counts");
        assert_eq!(activity.count(Time(2001 + hour)), 1);
        assert_eq!(activity.count(Time(3001 + hour)), 0);
        assert!(activity.updated.is_empty(), "nothing old is kept");
        activity.touch(place(1, 3), Time(0), Time(3001 + hour));
        assert_eq!(activity.count(Time(3001 + hour)), 0, "what was old already is not held at all");
    }

    #[test]
    fn a_move_counts_once_in_either_order() {
        let (old, new) = (place(1, 1), place(2, 1));
        for delete_first in [true, false] {
            let mut activity = Activity::default();
            activity.touch(old.clone(), Time(1), Time(1));
            if delete_first {
                activity.forget(&old);
            }
            activity.touch(new.clone(), Time(2), Time(2));
            if !delete_first {
                activity.forget(&old);
            }
            assert_eq!(activity.count(Time(2)), 1);
        }
    }
}
