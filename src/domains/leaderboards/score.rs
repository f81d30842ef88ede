//! A score on the wire: any finite number, printed as `1250` rather than `1250.0` when it is whole.

use std::borrow::Cow;

use poem_openapi::registry::{MetaSchema, MetaSchemaRef};
use poem_openapi::types::{ParseError, ParseFromJSON, ParseResult, ToJSON, Type};
use serde_json::{Number, Value};

use crate::base::RobloxId;
use crate::domains::standings::Score;

/// Integers of at most this size are exact in a double, and print without a fraction.
const EXACT: f64 = RobloxId::MAX as f64;

/// A [`Score`] that comes in or goes out.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ScoreValue(pub Score);

impl Type for ScoreValue {
    const IS_REQUIRED: bool = true;
    type RawValueType = Score;
    type RawElementValueType = Score;

    fn name() -> Cow<'static, str> {
        "score".into()
    }

    fn schema_ref() -> MetaSchemaRef {
        let number = MetaSchema::new_with_format("number", "double");
        MetaSchemaRef::Inline(Box::new(MetaSchema { example: Some(1250.into()), ..number }))
    }

    fn as_raw_value(&self) -> Option<&Score> {
        Some(&self.0)
    }

    fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Score> + 'a> {
        Box::new(std::iter::once(&self.0))
    }
}

impl ParseFromJSON for ScoreValue {
    fn parse_from_json(value: Option<Value>) -> ParseResult<Self> {
        let raw = f64::parse_from_json(value).map_err(ParseError::propagate)?;
        Score::new(raw).map(Self).map_err(|error| ParseError::custom(error.detail()))
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
