//! The id of the first message of a page that was cut off.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::Snowflake;

/// Reads as far as `cut` goes.
pub(super) fn first_id(cut: &[u8]) -> Option<Snowflake> {
    let mut id = None;
    // It ends in the middle of things, which is an error, and all that counts is what was met before.
    let _ = serde_json::Deserializer::from_slice(cut).deserialize_seq(Page(&mut id));
    id
}

struct Page<'a>(&'a mut Option<Snowflake>);

impl<'de> Visitor<'de> for Page<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of messages")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut page: A) -> Result<(), A::Error> {
        page.next_element_seed(Message(self.0)).map(drop)
    }
}

struct Message<'a>(&'a mut Option<Snowflake>);

impl<'de> DeserializeSeed<'de> for Message<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, message: D) -> Result<(), D::Error> {
        message.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Message<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a message")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut parts: A) -> Result<(), A::Error> {
        while let Some(name) = parts.next_key::<String>()? {
            if name == "id" {
                *self.0 = Snowflake::read(&parts.next_value::<Value>()?);
            } else {
                parts.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_found_wherever_it_stands_before_the_cut() {
        for (cut, id) in [
            (r#"[{"id":"7","content":"xxx"#, Some(7)),
            (r#"[{"author":{"id":"1"},"mentions":[{"id":"2"}],"id":"7","content":"xxx"#, Some(7)),
            (r#"[{"author":{"id":"1"},"content":"xxx"#, None),
            (r#"[{"id":"7"},{"id":"6","content":"xxx"#, Some(7)),
            ("[", None),
            ("", None),
            ("{}", None),
            ("[[[[", None),
        ] {
            assert_eq!(first_id(cut.as_bytes()), id.map(Snowflake), "{cut}");
        }
    }
}
