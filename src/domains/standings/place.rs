//! A place: where somebody stands on a board, as one value that sorts from first to last.
//!
//! One 32-byte shape serves both kinds of board, so there is one index, one table and one cursor. Its fields are order-preserving
//! encodings of what decides (see the constructors), and can be read back out of it.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::base::{Error, Result, RobloxId, Time, UserKey};

/// A finite score. Negative zero becomes zero, so that equal scores are equal bits.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Score(f64);

impl Score {
    /// # Errors
    /// `score.not_finite` for NaN and the infinities.
    pub fn new(raw: f64) -> Result<Self> {
        if raw.is_finite() {
            return Ok(Self(raw + 0.0));
        }
        Err(Error::invalid("score.not_finite", "a score is a finite number"))
    }

    /// A whole number as a score; past 2^53 it is rounded to the nearest double.
    pub fn whole(raw: i64) -> Self {
        Self(raw as f64)
    }

    pub fn get(self) -> f64 {
        self.0
    }

    /// The bits of an IEEE 754 number, rearranged so that they sort as the numbers do.
    fn ascending(self) -> u64 {
        let bits = self.0.to_bits();
        if bits & SIGN == 0 { bits ^ SIGN } else { !bits }
    }

    fn from_ascending(bits: u64) -> Self {
        Self(f64::from_bits(if bits & SIGN == 0 { !bits } else { bits ^ SIGN }))
    }
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Which score comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    HigherFirst,
    LowerFirst,
}

/// A place on a board. Smaller is better: the first place is the least.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Place {
    pub(super) hi: u64,
    pub(super) lo: u64,
    pub(super) user: UserKey,
}

impl Place {
    /// On the players' board: points descending, then KOs descending, then user id ascending (requirement G11).
    pub fn for_player(points: i64, kos: i64, user: RobloxId) -> Self {
        Self { hi: !ascending(points), lo: !ascending(kos), user: UserKey::Roblox(user) }
    }

    /// On a board of scores: by score in the board's order, then who got there first, then user.
    pub fn for_score(order: Order, score: Score, achieved_at: Time, user: UserKey) -> Self {
        let bits = score.ascending();
        let hi = if order == Order::HigherFirst { !bits } else { bits };
        Self { hi, lo: ascending(achieved_at.0), user }
    }

    pub fn user(&self) -> &UserKey {
        &self.user
    }

    /// What [`Place::for_player`] was given: points and KOs. Meaningless on a board of scores.
    pub fn points_and_kos(&self) -> (i64, i64) {
        (from_ascending(!self.hi), from_ascending(!self.lo))
    }

    /// What [`Place::for_score`] was given, when `order` is the board's. Meaningless on the players' board.
    pub fn score_and_time(&self, order: Order) -> (Score, Time) {
        let bits = if order == Order::HigherFirst { !self.hi } else { self.hi };
        (Score::from_ascending(bits), Time(from_ascending(self.lo)))
    }
}

const SIGN: u64 = 1 << 63;

/// Signed numbers as unsigned ones in the same order.
fn ascending(raw: i64) -> u64 {
    raw as u64 ^ SIGN
}

fn from_ascending(bits: u64) -> i64 {
    (bits ^ SIGN) as i64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn user(raw: u64) -> RobloxId {
        RobloxId::new(raw).unwrap()
    }

    #[test]
    fn a_place_is_small() {
        assert_eq!(size_of::<Place>(), 32);
    }

    #[test]
    fn scores_are_finite_and_have_one_zero() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Score::new(bad).unwrap_err().code(), "score.not_finite");
        }
        assert_eq!(Score::new(-0.0).unwrap().get().to_bits(), 0);
    }

    #[test]
    fn earlier_wins_a_tie_and_then_the_user_decides() {
        let at = |time, name: &str| {
            Place::for_score(Order::HigherFirst, Score::new(5.0).unwrap(), Time(time), name.parse().unwrap())
        };
        assert!(at(1, "zed") < at(2, "amy"));
        assert!(at(1, "amy") < at(1, "zed"));
        assert!(at(1, "9") < at(1, "amy"), "Roblox users sort before names");
    }

    proptest! {
        #[test]
        fn scores_sort_by_the_boards_order(a in -1e300..1e300f64, b in -1e300..1e300f64, tiny in any::<bool>()) {
            let scale = if tiny { f64::MIN_POSITIVE } else { 1.0 };
            let (a, b) = (Score::new(a * scale).unwrap(), Score::new(b * scale).unwrap());
            for order in [Order::HigherFirst, Order::LowerFirst] {
                let place = |score| Place::for_score(order, score, Time(-7), UserKey::Roblox(user(1)));
                let expected = if order == Order::HigherFirst { b.partial_cmp(&a) } else { a.partial_cmp(&b) };
                prop_assert_eq!(Some(place(a).cmp(&place(b))), expected);
                prop_assert_eq!(place(a).score_and_time(order), (a, Time(-7)));
            }
        }

        #[test]
        fn players_sort_by_points_then_kos_then_id(a in any::<(i64, i8, u8)>(), b in any::<(i64, i8, u8)>()) {
            let b = (if b.2 % 2 == 0 { a.0 } else { b.0 }, b.1, b.2);
            let place = |p: (i64, i8, u8)| Place::for_player(p.0, p.1.into(), user(u64::from(p.2) + 1));
            let expected = (b.0, b.1).cmp(&(a.0, a.1)).then(a.2.cmp(&b.2));
            prop_assert_eq!(place(a).cmp(&place(b)), expected);
            prop_assert_eq!(place(a).points_and_kos(), (a.0, i64::from(a.1)));
        }
    }
}
