//! One board's places in order, in memory: rank and page-by-offset in O(log n). Pure: no store, no clock, no locks.

use indexset::BTreeSet;

use super::place::Place;

/// Places per tree node. Larger nodes make rank quicker on big boards; each board holds at least one node (8 KiB at 256).
const NODE_PLACES: usize = 256;

/// A run of consecutive places of one board, and the state of the board it was read from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slice {
    /// Moves on every change of the board; see [`Ranking::version`].
    pub version: u64,
    /// How many places the whole board has.
    pub total: usize,
    /// How many places come before the first of `places`.
    pub offset: usize,
    pub places: Vec<Place>,
}

impl Slice {
    /// Each place with its 1-based rank.
    pub fn ranked(&self) -> impl Iterator<Item = (usize, &Place)> {
        self.places.iter().enumerate().map(|(at, place)| (self.offset + at + 1, place))
    }

    /// Whether the board goes on after this slice.
    pub fn has_more(&self) -> bool {
        self.offset + self.places.len() < self.total
    }
}

/// Where a slice starts.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Start {
    /// After so many places.
    Offset(usize),
    /// With the first place after this one, which need not be on the board any more.
    After(Place),
    /// So many places before this one, or at the top of the board.
    Before(Place, usize),
}

/// The ordered places of one board.
pub struct Ranking {
    places: BTreeSet<Place>,
    version: u64,
}

impl Default for Ranking {
    fn default() -> Self {
        // A random start: a version seen before a restart is not taken for one after it.
        Self { places: BTreeSet::with_maximum_node_size(NODE_PLACES), version: fastrand::u64(..) }
    }
}

impl Ranking {
    /// Adds a place. The version moves even when it was there already, since what is shown beside it may have changed.
    pub fn insert(&mut self, place: Place) {
        self.places.insert(place);
        self.version = self.version.wrapping_add(1);
    }

    pub fn remove(&mut self, place: &Place) {
        if self.places.remove(place) {
            self.version = self.version.wrapping_add(1);
        }
    }

    /// A number that differs whenever the board does. It starts anywhere and wraps.
    pub fn version(&self) -> u64 {
        self.version
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// 1-based: one more than the number of places before `place`, whether or not `place` is on the board.
    pub fn rank(&self, place: &Place) -> usize {
        self.places.rank(place) + 1
    }

    /// At most `limit` places from `start` on; none when it starts past the end.
    pub fn slice(&self, start: &Start, limit: usize) -> Slice {
        let offset = match start {
            Start::Offset(offset) => *offset,
            Start::After(place) => self.places.rank(place) + usize::from(self.places.contains(place)),
            Start::Before(place, count) => self.places.rank(place).saturating_sub(*count),
        };
        let total = self.len();
        let end = offset.saturating_add(limit).min(total);
        let places = if offset < end { self.places.range_idx(offset..end).cloned().collect() } else { Vec::new() };
        Slice { version: self.version, total, offset, places }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet as Model;

    use proptest::prelude::*;

    use super::*;
    use crate::base::RobloxId;

    /// A small domain, so that ties, re-inserts and removals of what is there happen often.
    fn place() -> impl Strategy<Value = Place> {
        (0..6i64, 0..4i64, 1..40u64)
            .prop_map(|(points, kos, id)| Place::for_player(points, kos, RobloxId::new(id).unwrap()))
    }

    fn check(ranking: &Ranking, model: &Model<Place>, probe: &Place, limit: usize) {
        let sorted: Vec<&Place> = model.iter().collect();
        let before = sorted.iter().filter(|p| **p < probe).count();
        assert_eq!(ranking.len(), sorted.len());
        assert_eq!(ranking.rank(probe), before + 1);
        let after = before + usize::from(model.contains(probe));
        let starts = [
            (Start::Offset(before), before),
            (Start::After(probe.clone()), after),
            (Start::Before(probe.clone(), 3), before.saturating_sub(3)),
            (Start::Offset(usize::MAX), usize::MAX),
        ];
        for (start, offset) in starts {
            let slice = ranking.slice(&start, limit);
            let expected: Vec<Place> = sorted.iter().skip(offset).take(limit).map(|p| (*p).clone()).collect();
            assert_eq!((slice.offset, slice.total), (offset, sorted.len()));
            assert_eq!(slice.has_more(), offset.saturating_add(limit) < sorted.len());
            assert_eq!(slice.places, expected, "{start:?}");
        }
    }

    proptest! {
        #[test]
        fn it_agrees_with_brute_force(
            steps in prop::collection::vec((any::<bool>(), place()), 0..400),
            probe in place(),
            limit in 1..12usize,
        ) {
            // Small nodes, so that a few hundred places make many of them split and vanish.
            let mut ranking = Ranking { places: BTreeSet::with_maximum_node_size(4), version: 7 };
            let mut model = Model::new();
            for (add, place) in steps {
                let seen = ranking.version();
                let changes = add || model.contains(&place);
                if add {
                    ranking.insert(place.clone());
                    model.insert(place);
                } else {
                    ranking.remove(&place);
                    model.remove(&place);
                }
                prop_assert_eq!(ranking.version() != seen, changes);
                check(&ranking, &model, &probe, limit);
            }
            let all: Vec<Place> = model.into_iter().collect();
            prop_assert_eq!(ranking.slice(&Start::Offset(0), usize::MAX).places, all);
        }
    }

    #[test]
    fn an_empty_board_has_an_empty_slice() {
        let ranking = Ranking::default();
        let slice = ranking.slice(&Start::Offset(0), 10);
        assert!(ranking.is_empty() && slice.places.is_empty() && !slice.has_more());
    }
}
