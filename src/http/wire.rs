//! Wire forms of the base vocabulary: how ids and times look in JSON and in parameters (requirements X3, X4, R14).
//!
//! What comes in and what goes out differ (an id may come as a digit string and always leaves as a number), and a schema can only tell one
//! truth, so there are two types each: `…In` for bodies and parameters, `…Out` for results.

use std::borrow::Cow;

use poem::http::HeaderValue;
use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseFromParameter, ParseResult, ToHeader, ToJSON, Type};
use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::base::{Error, RobloxId, Time, UserKey};

/// Digit strings from 1 to 2^53 − 1, digit by digit: a looser pattern would promise ids that are then turned away.
const DIGITS: &str = "^([1-9][0-9]{0,14}|[1-8][0-9]{15}|900[0-6][0-9]{12}|90070[0-9]{11}|90071[0-8][0-9]{10}|900719[0-8][0-9]{9}\
    |9007199[01][0-9]{8}|90071992[0-4][0-9]{7}|900719925[0-3][0-9]{6}|9007199254[0-6][0-9]{5}\
    |90071992547[0-3][0-9]{4}|9007199254740[0-8][0-9]{2}|90071992547409[0-8][0-9]|900719925474099[01])$";

/// Visible ASCII with at least one character that no number has.
const NAME: &str = "^[!-~]*[!-,./:-~][!-~]*$";

/// A Roblox user id that came in: a number, or the same as a digit string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RobloxIdIn(pub RobloxId);

/// A Roblox user id that goes out: a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct RobloxIdOut(pub RobloxId);

/// Someone on a board who came in: a Roblox id as above, or a name of 1 to 64 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserKeyIn(pub UserKey);

/// Someone on a board who goes out: a number for a Roblox user, else the name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserKeyOut(pub UserKey);

/// A header that says `true` or `false`, in any case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flag(pub bool);

/// A time that goes out: RFC 3339 in UTC with whole seconds. Comes in as any RFC 3339 time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timestamp(pub Time);

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// What poem-openapi asks of a type that is one text or number on the wire: how it is read and shown, and its schema.
macro_rules! wire_type {
    ($name:ident($inner:ty), $label:literal, $read:ident, $show:ident, $schema:expr) => {
        impl Type for $name {
            const IS_REQUIRED: bool = true;

            type RawValueType = $inner;
            type RawElementValueType = $inner;

            fn name() -> Cow<'static, str> {
                $label.into()
            }

            fn schema_ref() -> MetaSchemaRef {
                MetaSchemaRef::Inline(Box::new($schema))
            }

            fn as_raw_value(&self) -> Option<&$inner> {
                Some(&self.0)
            }

            fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a $inner> + 'a> {
                Box::new(std::iter::once(&self.0))
            }
        }

        impl ParseFromParameter for $name {
            fn parse_from_parameter(text: &str) -> ParseResult<Self> {
                $read(text).map(Self).map_err(ParseError::custom)
            }
        }

        impl ParseFromJSON for $name {
            fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
                match value.unwrap_or_default() {
                    Value::String(text) => Self::parse_from_parameter(&text),
                    Value::Number(number) if !number.is_f64() => Self::parse_from_parameter(&number.to_string()),
                    other => Err(ParseError::expected_type(other)),
                }
            }
        }

        impl ToJSON for $name {
            fn to_json(&self) -> Option<Value> {
                Some($show(&self.0))
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

pub(crate) use wire_type;

fn read_id(text: &str) -> Result<RobloxId, String> {
    text.parse().map_err(|err: Error| err.detail().to_owned())
}

fn show_id(id: &RobloxId) -> Value {
    id.get().into()
}

fn read_key(text: &str) -> Result<UserKey, String> {
    text.parse().map_err(|err: Error| err.detail().to_owned())
}

fn show_key(key: &UserKey) -> Value {
    match key {
        UserKey::Roblox(id) => id.get().into(),
        UserKey::External(name) => name.as_ref().into(),
    }
}

fn read_time(text: &str) -> Result<Time, &'static str> {
    Time::parse(text).ok_or("not an RFC 3339 time such as 2025-03-01T18:15:44Z")
}

fn show_time(time: &Time) -> Value {
    time.to_string().into()
}

fn read_flag(text: &str) -> Result<bool, &'static str> {
    let says = |word: &str| text.eq_ignore_ascii_case(word);
    if says("true") || says("false") { Ok(says("true")) } else { Err("expected true or false") }
}

fn show_flag(flag: &bool) -> Value {
    (*flag).into()
}

fn id_number() -> MetaSchema {
    MetaSchema {
        minimum: Some(1.0),
        maximum: Some(RobloxId::MAX as f64),
        ..MetaSchema::new_with_format("integer", "int64")
    }
}

fn either(description: &'static str, pattern: &str) -> MetaSchema {
    let text = MetaSchema { pattern: Some(pattern.into()), max_length: Some(64), ..MetaSchema::new("string") };
    let any_of = [id_number(), text].map(|schema| MetaSchemaRef::Inline(Box::new(schema)));
    MetaSchema {
        description: Some(description),
        any_of: any_of.into(),
        example: Some(12345678.into()),
        ..MetaSchema::ANY
    }
}

wire_type!(
    RobloxIdIn(RobloxId),
    "roblox_id",
    read_id,
    show_id,
    either("a Roblox user id: a whole number from 1 to 9007199254740991, or the same as a digit string", DIGITS)
);
wire_type!(
    RobloxIdOut(RobloxId),
    "roblox_id_number",
    read_id,
    show_id,
    MetaSchema { description: Some("a Roblox user id"), example: Some(12345678.into()), ..id_number() }
);
wire_type!(
    UserKeyIn(UserKey),
    "user_key",
    read_key,
    show_key,
    either(
        "a user id: a Roblox id from 1 to 9007199254740991 (number or digit string), or a name of 1 to 64 visible ASCII characters",
        &format!("({DIGITS})|({NAME})")
    )
);
wire_type!(
    UserKeyOut(UserKey),
    "user_key_value",
    read_key,
    show_key,
    either("a Roblox user id, or the name of a user who is not on Roblox", NAME)
);
wire_type!(Flag(bool), "flag", read_flag, show_flag, MetaSchema::new("boolean"));
wire_type!(
    Timestamp(Time),
    "timestamp",
    read_time,
    show_time,
    MetaSchema { example: Some("2025-03-01T18:15:44Z".into()), ..MetaSchema::new_with_format("string", "date-time") }
);

impl ToHeader for Timestamp {
    fn to_header(&self) -> Option<HeaderValue> {
        HeaderValue::from_str(&self.0.to_string()).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fits<T: Type>(value: &Value) -> bool {
        let mut schema = serde_json::to_value(T::schema_ref()).unwrap();
        schema.as_object_mut().unwrap().remove("example");
        jsonschema::draft4::new(&schema).unwrap().is_valid(value)
    }

    #[test]
    fn roblox_ids_come_as_numbers_or_digits_and_leave_as_numbers() {
        for good in [json!(1), json!("12345678"), json!(9007199254740991u64), json!("9007199254740991")] {
            let id = RobloxIdIn::parse_from_json(Some(good.clone())).unwrap();
            assert!(fits::<RobloxIdIn>(&good), "{good}");
            assert!(RobloxIdOut(id.0).to_json().unwrap().is_u64());
        }
        for bad in [
            json!(0),
            json!(-1),
            json!(1.5),
            json!(9007199254740992u64),
            json!("0"),
            json!("x"),
            json!("1e3"),
            json!(true),
        ] {
            assert!(RobloxIdIn::parse_from_json(Some(bad.clone())).is_err(), "{bad}");
            assert!(!fits::<RobloxIdIn>(&bad), "{bad}");
        }
    }

    #[test]
    fn user_keys_and_their_schema_agree() {
        for good in [json!(7), json!("7"), json!("guest-7"), json!("a b".replace(' ', "_"))] {
            assert!(UserKeyIn::parse_from_json(Some(good.clone())).is_ok() && fits::<UserKeyIn>(&good), "{good}");
        }
        for bad in [json!(0), json!("0"), json!("-5"), json!(""), json!("two words"), json!("é"), json!(null)] {
            assert!(UserKeyIn::parse_from_json(Some(bad.clone())).is_err() && !fits::<UserKeyIn>(&bad), "{bad}");
        }
    }

    #[test]
    fn times_leave_as_utc_seconds() {
        assert_eq!(Timestamp(Time(1_740_852_944_789)).to_json(), Some(json!("2025-03-01T18:15:44Z")));
    }
}
