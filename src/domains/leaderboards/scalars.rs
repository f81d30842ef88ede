//! Two scalars the seeds' clients expect and poem-openapi does not have: a user id that is a number or a name, and a score that prints
//! as `1250`, not `1250.0`.

use std::borrow::Cow;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToJSON, Type};
use serde_json::{Number, Value};

use crate::base::{RobloxId, UserKey};
use crate::domains::standings::Score;

/// Integers of at most this size are exact in a double, and print without a fraction.
const EXACT: f64 = RobloxId::MAX as f64;

/// A user on the wire: an integer for Roblox users, a string for names a game chose. Reads digits in a string as a Roblox user too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserId(pub UserKey);

/// A score on the wire: any finite number.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreValue(pub Score);

/// What a scalar with no inner structure has to say about itself.
macro_rules! scalar {
    ($type:ty, $name:literal, $schema:expr) => {
        impl Type for $type {
            const IS_REQUIRED: bool = true;
            type RawValueType = Self;
            type RawElementValueType = Self;

            fn name() -> Cow<'static, str> {
                $name.into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new($schema))
            }

            fn as_raw_value(&self) -> Option<&Self> {
                Some(self)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
                Box::new(std::iter::once(self))
            }
        }
    };
}

scalar!(UserId, "user_id", {
    let number =
        MetaSchema { minimum: Some(1.0), maximum: Some(EXACT), ..MetaSchema::new_with_format("integer", "int64") };
    let name = MetaSchema { min_length: Some(1), max_length: Some(UserKey::MAX_EXTERNAL), ..MetaSchema::new("string") };
    let inline = |schema| MetaSchemaRef::Inline(Box::new(schema));
    MetaSchema {
        description: Some("A Roblox user id, or a name of visible ASCII characters that a game chose"),
        one_of: vec![inline(number), inline(name)],
        example: Some(12_345_678.into()),
        ..MetaSchema::ANY
    }
});
scalar!(
    ScoreValue,
    "score",
    MetaSchema { example: Some(1250.into()), ..MetaSchema::new_with_format("number", "double") }
);

impl ParseFromJSON for UserId {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let text = match value.unwrap_or_default() {
            Value::Number(number) if number.is_u64() => number.to_string(),
            Value::String(text) => text,
            other => return Err(ParseError::expected_type(other)),
        };
        Self::parse_from_parameter(&text)
    }
}

impl ParseFromParameter for UserId {
    fn parse_from_parameter(text: &str) -> ParseResult<Self> {
        text.parse().map(UserId).map_err(|error: crate::base::Error| ParseError::custom(error.detail()))
    }
}

impl ToJSON for UserId {
    fn to_json(&self) -> Option<Value> {
        Some(match &self.0 {
            UserKey::Roblox(id) => id.get().into(),
            UserKey::External(name) => Value::from(&**name),
        })
    }
}

impl ParseFromJSON for ScoreValue {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let raw = f64::parse_from_json(value).map_err(ParseError::propagate)?;
        Score::new(raw).map(ScoreValue).map_err(|error| ParseError::custom(error.detail()))
    }
}

impl ToJSON for ScoreValue {
    fn to_json(&self) -> Option<Value> {
        let raw = self.0.get();
        let whole = raw.fract() == 0.0 && raw.abs() <= EXACT;
        let number = if whole { Some(Number::from(raw as i64)) } else { Number::from_f64(raw) };
        number.map(Value::Number)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_user_id_is_a_number_or_a_name() {
        for (sent, printed) in [(json!(42), json!(42)), (json!("42"), json!(42)), (json!("guest-7"), json!("guest-7"))]
        {
            assert_eq!(UserId::parse_from_json(Some(sent)).unwrap().to_json(), Some(printed));
        }
        for bad in
            [json!(0), json!(-1), json!(1.5), json!(1u64 << 53), json!(""), json!("a b"), json!(null), json!([1])]
        {
            assert!(UserId::parse_from_json(Some(bad.clone())).is_err(), "{bad}");
        }
    }

    #[test]
    fn whole_scores_print_whole() {
        for text in ["1250", "-3", "0", "0.5", "9007199254740991", "1e300"] {
            let score = ScoreValue::parse_from_json(serde_json::from_str(text).unwrap()).unwrap();
            let printed = score.to_json().unwrap();
            assert_eq!(printed.to_string().contains('.'), text == "0.5", "{text} printed as {printed}");
            assert_eq!(printed.as_f64(), text.parse().ok());
        }
        assert!(ScoreValue::parse_from_json(Some(json!("5"))).is_err());
    }
}
