//! Ids: [`RobloxId`] for people on Roblox, [`UserKey`] for anyone on a board, [`Id`] for rows we make.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use super::clock::{Clock, Time};
use super::error::{Error, Result};

/// A Roblox user id: 1 to 2^53 − 1, the integers JSON carries without loss (requirement X3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RobloxId(u64);

impl RobloxId {
    pub const MAX: u64 = (1 << 53) - 1;

    /// The player of the seed's example, for examples of ours.
    pub const EXAMPLE: RobloxId = RobloxId(12_345_678);

    /// # Errors
    /// `id.out_of_range` for 0 and for anything past [`RobloxId::MAX`].
    pub fn new(raw: u64) -> Result<Self> {
        if (1..=Self::MAX).contains(&raw) {
            return Ok(Self(raw));
        }
        Err(Error::invalid("id.out_of_range", format!("{raw} is not a Roblox user id: expected 1 to {}", Self::MAX)))
    }

    pub fn get(self) -> u64 {
        self.0
    }
}

impl fmt::Display for RobloxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for RobloxId {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let digits = !text.is_empty() && text.len() <= 16 && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(raw) if digits => Self::new(raw),
            _ => Err(Error::invalid("id.not_a_number", "a Roblox user id is a whole number such as 12345678")),
        }
    }
}

/// Someone on a leaderboard: a Roblox user, or a name a game chose (requirement R14). Roblox users sort first, by number.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum UserKey {
    Roblox(RobloxId),
    External(Arc<str>),
}

impl UserKey {
    /// Longest external name, in bytes.
    pub const MAX_EXTERNAL: usize = 64;
}

/// Digits in the range of a Roblox id are that user; anything else is an external name of 1 to 64 visible ASCII characters.
impl FromStr for UserKey {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Roblox(id));
        }
        let fits = (1..=Self::MAX_EXTERNAL).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        let digits = text.bytes().all(|b| b.is_ascii_digit() || b == b'-');
        if fits && !digits {
            return Ok(Self::External(text.into()));
        }
        Err(Error::invalid(
            "id.invalid",
            "a user id is a Roblox id (1 to 9007199254740991) or a name of 1 to 64 visible ASCII characters",
        ))
    }
}

impl fmt::Display for UserKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Roblox(id) => id.fmt(f),
            Self::External(name) => f.write_str(name),
        }
    }
}

/// An id of a row we made: sorts by creation time, prints as 16 lower-case hex characters.
///
/// Layout: 44 bits of milliseconds (until the year 2527), 20 bits that separate ids of the same millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Id(pub u64);

impl Id {
    const LOW_BITS: u32 = 20;

    /// The smallest id that could have been made at `at`: where a time range starts in a table keyed by id.
    pub fn floor(at: Time) -> Id {
        Id((at.0.max(0) as u64) << Self::LOW_BITS)
    }

    pub fn created_at(self) -> Time {
        Time((self.0 >> Self::LOW_BITS) as i64)
    }

    /// The id in an address.
    ///
    /// # Errors
    /// `code`, as for an id that nothing has.
    pub fn read(text: &str, code: &'static str) -> Result<Self> {
        text.parse().map_err(|error: Error| Error::missing(code, error.detail()))
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Id {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let hex = text.len() == 16 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match u64::from_str_radix(text, 16) {
            Ok(raw) if hex => Ok(Id(raw)),
            _ => Err(Error::invalid("id.not_hex", "an id is 16 lower-case hexadecimal characters")),
        }
    }
}

/// Makes [`Id`]s: strictly rising within the process, even when the clock steps back; the low bits start at random, so that two runs
/// of the program in the same millisecond do not meet.
#[derive(Clone)]
pub struct Ids {
    clock: Clock,
    last: Arc<AtomicU64>,
}

impl Ids {
    pub fn new(clock: Clock) -> Self {
        Self { clock, last: Arc::new(AtomicU64::new(0)) }
    }

    pub fn next(&self) -> Id {
        let fresh = Id::floor(self.clock.now()).0 | fastrand::u64(..1 << (Id::LOW_BITS - 1));
        let rise = |last: u64| Some(fresh.max(last + 1));
        let last = self.last.fetch_update(Ordering::Relaxed, Ordering::Relaxed, rise).unwrap_or_else(|last| last);
        Id(fresh.max(last + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roblox_ids_keep_to_what_json_can_carry() {
        for good in ["1", "12345678", "9007199254740991"] {
            assert_eq!(good.parse::<RobloxId>().unwrap().to_string(), good);
        }
        for bad in ["", "0", "-1", "+1", "1.5", "9007199254740992", "99999999999999999999", "abc", " 1"] {
            assert!(bad.parse::<RobloxId>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn user_keys_take_both_forms_and_no_broken_number() {
        assert_eq!("42".parse::<UserKey>().unwrap(), UserKey::Roblox(RobloxId(42)));
        assert_eq!("guest-7".parse::<UserKey>().unwrap(), UserKey::External("guest-7".into()));
        for bad in ["", "0", "-5", "9007199254740992", "two words", "é"] {
            assert!(bad.parse::<UserKey>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn ids_rise_while_the_clock_stands_still() {
        let clock = Clock::fake(Time(1_740_852_944_789));
        let ids = Ids::new(clock);
        let made: Vec<Id> = (0..1000).map(|_| ids.next()).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(made[0].created_at(), Time(1_740_852_944_789));
        assert_eq!(made[0].to_string().parse::<Id>().unwrap(), made[0]);
    }
}
