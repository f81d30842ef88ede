//! The text of a player's entry with the rank in it. Everything else stays to the letter: numbers keep digits that we could not hold.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// What the entry shall be; none when there is nothing to change, or nothing we understand. An entry that is a text holding JSON stays one.
pub(super) fn with_rank(held: &str, rank: Option<&str>) -> Option<String> {
    if let Ok(fields) = serde_json::from_str::<Fields>(held) {
        return fields.with_rank(rank);
    }
    let inner: String = serde_json::from_str(held).ok()?;
    let inner = serde_json::from_str::<Fields>(&inner).ok()?.with_rank(rank)?;
    Some(Value::String(inner).to_string())
}

/// An object's fields in their order, each as it is written.
struct Fields(Vec<(String, Box<RawValue>)>);

impl Fields {
    /// As text, with this rank; none when it has it already.
    fn with_rank(mut self, rank: Option<&str>) -> Option<String> {
        let wanted = serde_json::value::to_raw_value(&rank).ok()?;
        let mut found = false;
        let mut changed = false;
        for (_, value) in self.0.iter_mut().filter(|(name, _)| name == "rank") {
            found = true;
            let held: Option<Value> = serde_json::from_str(value.get()).ok();
            if held != Some(rank.map_or(Value::Null, Value::from)) {
                (*value, changed) = (wanted.clone(), true);
            }
        }
        if !found {
            self.0.push(("rank".to_owned(), wanted));
        }
        if found && !changed { None } else { serde_json::to_string(&self).ok() }
    }
}

impl<'de> Deserialize<'de> for Fields {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Fields;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Fields(fields))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

impl Serialize for Fields {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANK: Option<&str> = Some("Storm Corporal I");

    #[test]
    fn only_the_rank_is_set_and_the_rest_stays_to_the_letter() {
        let held =
            r#"{"pets":[1.50,{"x":null}],"rank":"Old","points":12345678901234567890123,"a":0.30000000000000004}"#;
        assert_eq!(with_rank(held, RANK).unwrap(), held.replace("Old", "Storm Corporal I"));
        let text = Value::from(r#"{"a":1.0}"#).to_string();
        let inner: String = serde_json::from_str(&with_rank(&text, RANK).unwrap()).unwrap();
        assert_eq!(inner, r#"{"a":1.0,"rank":"Storm Corporal I"}"#);
        assert_eq!(with_rank(r#"{"rank":"Storm Corporal I"}"#, RANK), None);
        assert_eq!(with_rank(r#"{"rank":"x"}"#, None).as_deref(), Some(r#"{"rank":null}"#));
        for odd in ["", "[1]", "7", "not json", "\"not json\"", "null", "[{\"rank\":1}]"] {
            assert_eq!(with_rank(odd, RANK), None, "{odd}");
        }
    }
}
