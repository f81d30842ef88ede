//! Whether the bot is shown what is in a message: pure.

use serde_json::Value;

use crate::remote::discord::Snowflake;

/// Whether a message shows what it holds. Discord blanks what bots without the Message Content intent may not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Content {
    /// Somebody else's message with something in it: the intent is on.
    Shown,
    /// Somebody else's ordinary message with nothing in it, which nobody can send.
    Blank,
    /// One that tells nothing either way: the bot's own, a join, a pin, a sticker, a bot's answer that is still to come.
    #[default]
    Unclear,
}

/// Types of messages that people write: plain, reply, and the two kinds of commands.
const WRITTEN: [u64; 4] = [0, 19, 20, 23];

/// Flag of a message that a bot has announced and not written yet.
const LOADING: u64 = 1 << 7;

/// What `message` tells of that; `own` is the bot's user id.
pub fn content(message: &Value, own: Option<Snowflake>) -> Content {
    let anything = |name: &str| match &message[name] {
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(_) => true,
        _ => false,
    };
    let author = Snowflake::read(&message["author"]["id"]);
    if author.is_none() || author == own {
        return Content::Unclear;
    }
    if ["content", "embeds", "attachments", "components", "poll"].iter().any(|name| anything(name)) {
        return Content::Shown;
    }
    let loading = message["flags"].as_u64().is_some_and(|flags| flags & LOADING != 0);
    let written = message["type"].as_u64().is_some_and(|kind| WRITTEN.contains(&kind));
    // A sticker or a forwarded message is something, and stands outside what the intent blanks.
    let other =
        ["sticker_items", "stickers", "message_snapshots", "activity", "call"].iter().any(|name| anything(name));
    if written && !loading && !other { Content::Blank } else { Content::Unclear }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_blanked_message_is_told_from_one_that_is_empty_by_nature() {
        let of = |extra: Value| {
            let mut message =
                json!({"id": "1", "type": 0, "author": {"id": "5"}, "content": "", "embeds": [], "attachments": []});
            message.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
            content(&message, Some(Snowflake(99)))
        };
        assert_eq!(of(json!({})), Content::Blank);
        assert_eq!(of(json!({"type": 19})), Content::Blank);
        assert_eq!(of(json!({"content": "hello"})), Content::Shown);
        assert_eq!(of(json!({"embeds": [{}]})), Content::Shown);
        assert_eq!(of(json!({"attachments": [{}]})), Content::Shown);
        assert_eq!(of(json!({"type": 7})), Content::Unclear);
        assert_eq!(of(json!({"type": 20, "flags": 128})), Content::Unclear);
        assert_eq!(of(json!({"type": 20, "flags": 64})), Content::Blank);
        assert_eq!(of(json!({"sticker_items": [{}]})), Content::Unclear);
        assert_eq!(of(json!({"author": {"id": "99"}})), Content::Unclear);
        assert_eq!(of(json!({"author": {"id": "99"}, "content": "mine"})), Content::Unclear);
        assert_eq!(of(json!({"author": null})), Content::Unclear);
    }
}
