//! Ids that tell their time.

use serde_json::Value;

use crate::base::Time;

/// The first millisecond of Discord's ids, in Unix time.
const EPOCH: i64 = 1_420_070_400_000;

/// Bits of an id below its milliseconds.
const LOW_BITS: u32 = 22;

/// An id of Discord's: sorts by time, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Snowflake(pub u64);

impl Snowflake {
    /// The smallest id that could have been made at `at`.
    pub fn floor(at: Time) -> Self {
        Self((at.0.saturating_sub(EPOCH).max(0) as u64) << LOW_BITS)
    }

    pub fn made_at(self) -> Time {
        Time(EPOCH + (self.0 >> LOW_BITS) as i64)
    }

    /// Reads the text form, and a plain number to be on the safe side.
    pub fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok().map(Self),
            other => other.as_u64().map(Self),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_tell_their_time() {
        let at = Time(1_740_852_944_789);
        assert_eq!(Snowflake::floor(at).made_at(), at);
        assert_eq!(Snowflake::floor(Time(0)), Snowflake(0));
        assert_eq!(Snowflake::read(&Value::from("175928847299117063")), Some(Snowflake(175_928_847_299_117_063)));
        for none in
            [Value::from(""), Value::from("+1"), Value::from("99999999999999999999"), Value::from(-1), Value::Null]
        {
            assert_eq!(Snowflake::read(&none), None, "{none}");
        }
    }
}
