//! The next change of a member's roles. A pure function of what is wanted and what is held; repeated, it leads from anywhere to exactly what
//! is wanted, and it never names a role that is neither wanted nor managed.

use std::collections::BTreeSet;

/// One change of a member's roles, by role id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Move {
    Assign(u64),
    Unassign(u64),
    /// The roles are as they should be.
    Settled,
}

/// What to do next so that of the `managed` roles only `want` is held; none of them when nothing is wanted. What is new comes first, so
/// that nobody is without a role in between.
pub fn next_move(want: Option<u64>, managed: &BTreeSet<u64>, held: &[u64]) -> Move {
    match want.filter(|role| !held.contains(role)) {
        Some(role) => Move::Assign(role),
        None => {
            let surplus = held.iter().copied().find(|role| managed.contains(role) && Some(*role) != want);
            surplus.map_or(Move::Settled, Move::Unassign)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Answers may be lost (the change happened or it did not) and others may change roles of theirs meanwhile: in the end exactly
        /// the wanted one of our roles is held, everybody else's are as they left them, and at no time after the first assignment is the
        /// member without any of ours.
        #[test]
        fn every_way_leads_to_exactly_what_is_wanted(
            want in prop::option::of(1u64..6),
            held in prop::collection::btree_set(1u64..12, 0..6),
            happens in prop::collection::vec(any::<bool>(), 0..20),
        ) {
            let managed: BTreeSet<u64> = (1..6).collect();
            let others: BTreeSet<u64> = held.difference(&managed).copied().collect();
            let mut held: Vec<u64> = held.into_iter().collect();
            let mut chances = happens.into_iter();
            let mut reached = false;
            for _ in 0..60 {
                let happens = chances.next().unwrap_or(true);
                match next_move(want, &managed, &held) {
                    Move::Assign(role) => {
                        prop_assert_eq!(Some(role), want);
                        if happens && !held.contains(&role) {
                            held.push(role);
                        }
                    }
                    Move::Unassign(role) => {
                        prop_assert!(managed.contains(&role) && Some(role) != want);
                        prop_assert!(want.is_none_or(|want| held.contains(&want)), "unassigned before the new one was held");
                        if happens {
                            held.retain(|other| *other != role);
                        }
                    }
                    Move::Settled => {
                        reached = true;
                        break;
                    }
                }
            }
            prop_assert!(reached);
            let ours: Vec<u64> = held.iter().copied().filter(|role| managed.contains(role)).collect();
            prop_assert_eq!(ours, want.into_iter().collect::<Vec<_>>());
            let left: BTreeSet<u64> = held.into_iter().filter(|role| !managed.contains(role)).collect();
            prop_assert_eq!(left, others);
        }
    }

    #[test]
    fn a_wanted_role_that_is_not_managed_is_assigned_and_kept() {
        let managed = BTreeSet::from([2, 3]);
        assert_eq!(next_move(Some(1), &managed, &[2]), Move::Assign(1));
        assert_eq!(next_move(Some(1), &managed, &[2, 1]), Move::Unassign(2));
        assert_eq!(next_move(Some(1), &managed, &[1, 9]), Move::Settled);
    }
}
