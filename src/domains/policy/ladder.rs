//! The rank ladder, checked and indexed: finding a rank by name costs one hash, its neighbours nothing.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::files::RanksFile;

/// One rank of a checked ladder. Points are whole points; the rules are those of `policy.ranks.json` with defaults filled in.
#[derive(Debug, Clone, PartialEq)]
pub struct Rank {
    pub name: Arc<str>,
    /// Points shown as the requirement.
    pub required_points: i64,
    /// Points at which automation promotes into this rank.
    pub promote_at: i64,
    /// Points under which a holder is demoted; never above `promote_at`.
    pub demote_below: i64,
    /// KOs a promotion into this rank asks for; 0 asks for none.
    pub min_kos: i64,
    /// How long the rank below must have been held; zero asks for nothing.
    pub min_time_in_previous: Duration,
    /// Recommendations a promotion into this rank asks for; 0 asks for none.
    pub min_recommendations: u32,
    pub requires_approval: bool,
    /// Automation neither grants this rank nor touches its holders.
    pub privileged: bool,
    /// Experience keys that may promote into this rank; empty means all.
    pub experiences: Vec<String>,
    pub roblox_role_id: Option<u64>,
    /// 1 to 254.
    pub roblox_rank: Option<u8>,
}

/// The ladder, lowest rank first. Never empty.
#[derive(Debug, Clone)]
pub struct Ladder {
    ranks: Vec<Rank>,
    /// Names and aliases, as game servers send them.
    index: HashMap<Box<str>, usize>,
}

/// What stands around a rank: the fields the `player` object shows beside the rank itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RankContext {
    /// The rank above; for no rank, or one that is not on the ladder, the first rank. `None` at the top.
    pub next_rank: Option<Arc<str>>,
    pub next_rank_required_points: Option<i64>,
    /// The rank below. `None` at the bottom, and without a rank.
    pub previous_rank: Option<Arc<str>>,
    pub previous_rank_required_points: Option<i64>,
    /// Whether the rank itself is privileged.
    pub privileged: bool,
}

impl Ladder {
    /// Builds the ladder of a file that lint has found clean.
    pub(super) fn new(file: &RanksFile) -> Self {
        let mut index = HashMap::with_capacity(file.ranks.len());
        for (at, entry) in file.ranks.iter().enumerate() {
            for name in std::iter::once(&entry.name).chain(&entry.aliases) {
                index.insert(name.as_str().into(), at);
            }
        }
        let ranks = file.ranks.iter().map(|entry| Rank {
            name: entry.name.as_str().into(),
            required_points: entry.required_points,
            promote_at: entry.promotes_at(),
            demote_below: entry.demotes_below(),
            min_kos: entry.min_kos.unwrap_or(file.settings.min_kos),
            min_time_in_previous: Duration::from_secs(
                u64::from(entry.min_time_in_previous_rank_hours.unwrap_or(0)) * 3600,
            ),
            min_recommendations: entry.min_recommendations.unwrap_or(0),
            requires_approval: entry.requires_approval,
            privileged: entry.privileged,
            experiences: entry.experiences.clone(),
            roblox_role_id: entry.roblox_role_id,
            roblox_rank: entry.roblox_rank.and_then(|rank| u8::try_from(rank).ok()),
        });
        Self { ranks: ranks.collect(), index }
    }

    /// Where the rank of this name or alias stands, 0 being the lowest. Names are compared exactly.
    pub fn find(&self, name: &str) -> Option<usize> {
        self.index.get(name).copied()
    }

    /// The rank of this name or alias.
    pub fn rank(&self, name: &str) -> Option<&Rank> {
        self.get(self.find(name)?)
    }

    /// The rank at a place, 0 being the lowest.
    pub fn get(&self, place: usize) -> Option<&Rank> {
        self.ranks.get(place)
    }

    /// All ranks, lowest first.
    pub fn ranks(&self) -> &[Rank] {
        &self.ranks
    }

    /// Every name and alias with its rank's place, in no order.
    pub fn names(&self) -> impl Iterator<Item = (&str, usize)> {
        self.index.iter().map(|(name, place)| (&**name, *place))
    }

    /// The neighbours of `rank`.
    pub fn context(&self, rank: Option<&str>) -> RankContext {
        let place = rank.and_then(|name| self.find(name));
        let next = self.get(place.map_or(0, |at| at + 1));
        let previous = place.and_then(|at| at.checked_sub(1)).and_then(|at| self.get(at));
        RankContext {
            next_rank: next.map(|rank| rank.name.clone()),
            next_rank_required_points: next.map(|rank| rank.required_points),
            previous_rank: previous.map(|rank| rank.name.clone()),
            previous_rank_required_points: previous.map(|rank| rank.required_points),
            privileged: place.and_then(|at| self.get(at)).is_some_and(|rank| rank.privileged),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::domains::policy::Policy;

    #[test]
    fn the_neighbours_of_a_rank_are_those_of_the_seed_example() {
        let policy = Policy::builtin();
        let middle = policy.ladder().context(Some("Volt Specialist II"));
        assert_eq!(middle.next_rank.as_deref(), Some("Storm Corporal I"));
        assert_eq!(middle.next_rank_required_points, Some(750));
        assert_eq!(middle.previous_rank.as_deref(), Some("Shock Trooper II"));
        assert_eq!(middle.previous_rank_required_points, Some(150));
        assert!(!middle.privileged);
    }

    #[test]
    fn the_ends_of_the_ladder_have_one_neighbour() {
        let policy = Policy::builtin();
        let top = policy.ladder().context(Some("Stormmarshal"));
        assert_eq!((top.next_rank, top.next_rank_required_points, top.privileged), (None, None, true));
        let bottom = policy.ladder().context(Some("Shock Trooper II"));
        assert_eq!((bottom.previous_rank, bottom.previous_rank_required_points), (None, None));
        assert_eq!(bottom.next_rank.as_deref(), Some("Volt Specialist II"));
    }

    #[test]
    fn without_a_known_rank_the_first_one_is_next() {
        let policy = Policy::builtin();
        for rank in [None, Some("Guest")] {
            let context = policy.ladder().context(rank);
            assert_eq!(context.next_rank.as_deref(), Some("Shock Trooper II"));
            assert_eq!(context.previous_rank, None);
            assert!(!context.privileged);
        }
    }
}
