//! Reads JSON the strict way: valid UTF-8, at most 32 levels deep, no key twice (requirement X6). serde_json alone would keep the last of
//! two equal keys, which lets two readers of one signed body see different requests.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::base::{Error, Result};

/// Deepest nesting read.
pub const MAX_DEPTH: usize = 32;

/// Parses a request body.
///
/// # Errors
/// `request.json_invalid` with what is wrong and where.
pub fn parse(body: &[u8]) -> Result<Value> {
    if body.is_empty() {
        return Err(refused("the body is empty, expected JSON".into()));
    }
    let text = std::str::from_utf8(body)
        .map_err(|err| refused(format!("the body is not UTF-8: invalid byte at position {}", err.valid_up_to())))?;
    read(text, Level { left: MAX_DEPTH, twice: Twice::Refuse })
        .map_err(|err| refused(format!("the body is not valid JSON: {err}")))
}

/// Parses a document of our own in which equal keys stand for parts of one object (two API areas that share a path).
///
/// # Errors
/// `spec.invalid` when it is not JSON.
pub fn merge(text: &str) -> Result<Value> {
    read(text, Level { left: usize::MAX, twice: Twice::Merge }).map_err(|err| Error::broken("spec.invalid", err))
}

fn refused(detail: String) -> Error {
    Error::invalid("request.json_invalid", detail)
}

fn read(text: &str, level: Level) -> serde_json::Result<Value> {
    let mut reader = serde_json::Deserializer::from_str(text);
    let value = level.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

#[derive(Clone, Copy)]
enum Twice {
    Refuse,
    Merge,
}

/// One level of nesting: how many more may open below it.
#[derive(Clone, Copy)]
struct Level {
    left: usize,
    twice: Twice,
}

impl Level {
    fn below<E: serde::de::Error>(self) -> Result<Self, E> {
        let left =
            self.left.checked_sub(1).ok_or_else(|| E::custom(format!("nested deeper than {MAX_DEPTH} levels")))?;
        Ok(Self { left, ..self })
    }
}

impl<'de> DeserializeSeed<'de> for Level {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Level {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a finite number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let below = self.below()?;
        let mut map = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if map.contains_key(&key) && matches!(self.twice, Twice::Refuse) {
                let shown = crate::http::spec::words::quoted(&key);
                return Err(A::Error::custom(format!("the key {shown} stands twice in one object")));
            }
            let value = entries.next_value_seed(below)?;
            place(&mut map, key, value);
        }
        Ok(Value::Object(map))
    }
}

fn place(map: &mut Map<String, Value>, key: String, value: Value) {
    match (map.get_mut(&key), value) {
        (Some(Value::Object(held)), Value::Object(more)) => {
            more.into_iter().for_each(|(key, value)| place(held, key, value))
        }
        (_, value) => {
            map.insert(key, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refusal(body: &[u8]) -> String {
        let error = parse(body).unwrap_err();
        assert_eq!(error.code(), "request.json_invalid");
        error.detail().to_owned()
    }

    #[test]
    fn plain_json_reads_as_serde_json_reads_it() {
        let text = r#"{"a":[1,-2,2.5,true,null,"x\u00e9"],"b":{"c":18446744073709551615}}"#;
        assert_eq!(parse(text.as_bytes()).unwrap(), serde_json::from_str::<Value>(text).unwrap());
    }

    #[test]
    fn what_readers_could_disagree_on_is_refused() {
        assert!(refusal(br#"{"a":1,"b":{"c":1,"c":2}}"#).contains(r#"the key "c" stands twice"#));
        assert!(refusal(br#"{"a":1,"\u0061":2}"#).contains("twice"));
        assert!(refusal(b"{\"a\":\"\xff\"}").contains("not UTF-8: invalid byte at position 6"));
        assert!(refusal(b"").contains("empty"));
        for bad in ["NaN", "Infinity", "-Infinity", "1e999", "{} {}", "[1,]", "{'a':1}", "{\"a\"", "01"] {
            assert!(refusal(bad.as_bytes()).contains("line 1 column"), "{bad}");
        }
    }

    #[test]
    fn depth_ends_at_32() {
        let nested = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
        assert!(parse(nested(MAX_DEPTH).as_bytes()).is_ok());
        assert!(refusal(nested(MAX_DEPTH + 1).as_bytes()).contains("deeper than 32"));
        assert!(refusal(nested(100).as_bytes()).contains("deeper than 32"));
        assert!(refusal(nested(200_000).as_bytes()).contains("deeper than 32"));
    }

    #[test]
    fn our_own_documents_merge_equal_keys() {
        let merged = merge(r#"{"/p":{"get":{"x":1}},"/p":{"post":{}},"/q":1}"#).unwrap();
        assert_eq!(merged, json!({"/p":{"get":{"x":1},"post":{}},"/q":1}));
    }
}
