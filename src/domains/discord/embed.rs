//! What is in a message: pure. Every embed becomes one job or one rejection that says why; nothing stops at either (requirement J16).
//!
//! A job's payload has the same names always, with null for what the embed has not:
//! `{source, channelId, messageId, embedIndex, fields, title, description, url, timestamp}`. `fields` maps names to values in the embed's
//! order. Discord allows a name twice, an object does not: the second `Item` is called `Item (2)`, so that no value is lost.

use serde_json::{Map, Value, json};

use super::content::{self, Content};
use crate::remote::discord::Snowflake;

/// What `source` says.
pub const SOURCE: &str = "discord";

/// Embeds of one message that are looked at; Discord allows 10.
pub const MAX_EMBEDS: usize = 25;

/// A job to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    pub message: Snowflake,
    /// 0-based.
    pub index: u32,
    /// A JSON object.
    pub payload: String,
}

/// Something that was no job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// None when the message has no id that could be read.
    pub message: Option<Snowflake>,
    /// None when the whole message is meant.
    pub index: Option<u32>,
    pub reason: String,
}

/// What one message gave.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reading {
    pub found: Vec<Found>,
    pub refused: Vec<Refused>,
    pub content: Content,
}

/// Reads one message of `channel`; `max_payload` is the largest job in bytes, `own` the bot's user id.
pub fn read(channel: u64, message: &Value, own: Option<Snowflake>, max_payload: usize) -> Reading {
    let Some(id) = Snowflake::read(&message["id"]) else {
        let refused = Refused { message: None, index: None, reason: "the message has no id".into() };
        return Reading { refused: vec![refused], ..Reading::default() };
    };
    let mut reading = Reading { content: content::content(message, own), ..Reading::default() };
    let embeds: &[Value] = match &message["embeds"] {
        Value::Null => &[],
        Value::Array(embeds) => embeds,
        other => {
            let reason = format!("embeds is {}, not a list", kind(other));
            reading.refused.push(Refused { message: Some(id), index: None, reason });
            &[]
        }
    };
    for (index, embed) in (0u32..).zip(embeds.iter().take(MAX_EMBEDS)) {
        let payload = job(channel, id, index, embed).and_then(|payload| {
            let size = payload.len();
            if size > max_payload {
                Err(format!("the job would have {size} bytes, more than {max_payload}"))
            } else {
                Ok(payload)
            }
        });
        match payload {
            Ok(payload) => reading.found.push(Found { message: id, index, payload }),
            Err(reason) => reading.refused.push(Refused { message: Some(id), index: Some(index), reason }),
        }
    }
    if embeds.len() > MAX_EMBEDS {
        let reason =
            format!("the message has {} embeds; those after the first {MAX_EMBEDS} are left out", embeds.len());
        reading.refused.push(Refused { message: Some(id), index: None, reason });
    }
    reading
}

fn job(channel: u64, message: Snowflake, index: u32, embed: &Value) -> Result<String, String> {
    let Value::Object(embed) = embed else { return Err(format!("the embed is {}, not an object", kind(embed))) };
    let text = |name: &str| match embed.get(name) {
        None | Some(Value::Null) => Ok(Value::Null),
        Some(Value::String(text)) => Ok(Value::from(text.as_str())),
        Some(other) => Err(format!("{name} is {}, not text", kind(other))),
    };
    let payload = json!({
        "source": SOURCE,
        "channelId": channel.to_string(),
        "messageId": message.0.to_string(),
        "embedIndex": index,
        "fields": fields(embed.get("fields"))?,
        "title": text("title")?,
        "description": text("description")?,
        "url": text("url")?,
        "timestamp": text("timestamp")?,
    });
    Ok(payload.to_string())
}

fn fields(listed: Option<&Value>) -> Result<Map<String, Value>, String> {
    let listed: &[Value] = match listed {
        None | Some(Value::Null) => &[],
        Some(Value::Array(fields)) => fields,
        Some(other) => return Err(format!("fields is {}, not a list", kind(other))),
    };
    let mut out = Map::new();
    for (at, field) in listed.iter().enumerate() {
        let part = |name: &str| match &field[name] {
            Value::String(text) => Ok(text.as_str()),
            other => Err(format!("fields[{at}].{name} is {}, not text", kind(other))),
        };
        let (name, value) = (part("name")?, part("value")?);
        out.insert(free(&out, name), Value::from(value));
    }
    Ok(out)
}

/// `name`, or the first of `name (2)`, `name (3)` … that is not taken.
fn free(taken: &Map<String, Value>, name: &str) -> String {
    let numbered = (2..).map(|number| format!("{name} ({number})"));
    let mut candidates = std::iter::once(name.to_owned()).chain(numbered);
    candidates.find(|candidate| !taken.contains_key(candidate)).unwrap_or_default()
}

/// What a value is, for a person.
fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "missing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 64 << 10;

    fn read_one(message: &Value) -> Reading {
        read(7, message, Some(Snowflake(99)), LIMIT)
    }

    fn payload(message: &Value) -> String {
        let mut reading = read_one(message);
        assert_eq!(reading.refused, []);
        reading.found.remove(0).payload
    }

    #[test]
    fn an_embed_becomes_a_job_with_its_fields_in_order() {
        let message = json!({"id": "12", "embeds": [{
            "type": "rich", "title": "Order", "description": "two things", "url": "https://example.com/1",
            "timestamp": "2025-03-01T18:15:44+00:00", "color": 3,
            "fields": [{"name": "zeta", "value": "1", "inline": true}, {"name": "alpha", "value": "2"}],
        }]});
        assert_eq!(
            payload(&message),
            r#"{"source":"discord","channelId":"7","messageId":"12","embedIndex":0,"fields":{"zeta":"1","alpha":"2"},"title":"Order","description":"two things","url":"https://example.com/1","timestamp":"2025-03-01T18:15:44+00:00"}"#
        );
    }

    #[test]
    fn an_embed_with_nothing_is_a_job_of_the_same_shape() {
        assert_eq!(
            payload(&json!({"id": "12", "embeds": [{"title": null}]})),
            r#"{"source":"discord","channelId":"7","messageId":"12","embedIndex":0,"fields":{},"title":null,"description":null,"url":null,"timestamp":null}"#
        );
        assert_eq!(read_one(&json!({"id": "12"})), Reading::default());
    }

    #[test]
    fn a_name_that_comes_twice_loses_no_value() {
        let field = |name: &str, value: &str| json!({"name": name, "value": value});
        let fields =
            [field("a", "1"), field("a", "2"), field("a (2)", "3"), field("a", "4"), field("", "5"), field("", "6")];
        let payload = payload(&json!({"id": "1", "embeds": [{"fields": fields}]}));
        let expected = r#""fields":{"a":"1","a (2)":"2","a (2) (2)":"3","a (3)":"4","":"5"," (2)":"6"}"#;
        assert!(payload.contains(expected), "{payload}");
    }

    #[test]
    fn a_bad_embed_is_a_rejection_and_its_neighbours_are_jobs() {
        let message = json!({"id": "12", "embeds": [
            {"title": "good"}, "text", {"title": 5}, {"fields": {}}, {"fields": [{"name": "a"}]}, {"fields": ["x"]},
            {"description": "x".repeat(LIMIT)}, {"title": "good, too"},
        ]});
        let reading = read_one(&message);
        assert_eq!(reading.found.iter().map(|found| found.index).collect::<Vec<_>>(), [0, 7]);
        let reasons: Vec<(u32, &str)> =
            reading.refused.iter().map(|refused| (refused.index.unwrap(), refused.reason.as_str())).collect();
        assert_eq!(
            reasons[..5],
            [
                (1, "the embed is text, not an object"),
                (2, "title is a number, not text"),
                (3, "fields is an object, not a list"),
                (4, "fields[0].value is missing, not text"),
                (5, "fields[0].name is missing, not text"),
            ]
        );
        assert!(reasons[5].1.contains("more than 65536"), "{reasons:?}");
    }

    #[test]
    fn a_bad_message_is_one_rejection() {
        let reason = |message: Value| read_one(&message).refused[0].clone();
        assert_eq!(reason(json!({"embeds": [{}]})).reason, "the message has no id");
        assert_eq!(reason(json!({"id": "x"})).message, None);
        assert_eq!(reason(json!(null)).reason, "the message has no id");
        assert_eq!(reason(json!({"id": "3", "embeds": 5})).reason, "embeds is a number, not a list");
        let many = json!({"id": "3", "embeds": vec![json!({}); MAX_EMBEDS + 1]});
        assert_eq!((read_one(&many).found.len(), read_one(&many).refused.len()), (MAX_EMBEDS, 1));
    }

    /// Any JSON at all, with the names that are looked at strewn in.
    fn anything() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            "[0-9]{1,20}".prop_map(Value::from),
        ];
        let name = prop_oneof![
            Just("id"),
            Just("embeds"),
            Just("fields"),
            Just("name"),
            Just("value"),
            Just("title"),
            Just("description"),
            Just("url"),
            Just("timestamp"),
            Just("author"),
            Just("content"),
            Just("type"),
            Just("x"),
        ];
        leaf.prop_recursive(6, 64, 8, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((name.clone(), inner), 0..6)
                    .prop_map(|pairs| pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()),
            ]
        })
    }

    proptest! {
        #[test]
        fn no_json_upsets_it(message in anything(), embeds in prop::collection::vec(anything(), 0..4)) {
            let _ = read_one(&message);
            let reading = read_one(&json!({"id": "1", "embeds": embeds}));
            prop_assert_eq!(reading.found.len() + reading.refused.len(), embeds.len());
            for found in &reading.found {
                let payload: Value = serde_json::from_str(&found.payload).unwrap();
                prop_assert_eq!(payload.as_object().unwrap().len(), 9);
                prop_assert!(payload["fields"].is_object());
            }
        }

        #[test]
        fn no_field_is_lost(names in prop::collection::vec("[ab]( \\([2-4]\\))?", 0..25)) {
            let fields: Vec<Value> =
                names.iter().enumerate().map(|(at, name)| json!({"name": name, "value": at.to_string()})).collect();
            let reading = read_one(&json!({"id": "1", "embeds": [{"fields": fields}]}));
            let payload: Value = serde_json::from_str(&reading.found[0].payload).unwrap();
            let values: Vec<&str> = payload["fields"].as_object().unwrap().values().filter_map(Value::as_str).collect();
            let expected: Vec<String> = (0..names.len()).map(|at| at.to_string()).collect();
            prop_assert_eq!(values, expected);
        }
    }
}
