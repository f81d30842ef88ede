//! What is left: messages to live servers, people, and questions about keys.

use serde_json::{Value, json};

use super::call::{Call, Plan, Read, Target, id, text, wrong};
use super::keys;
use super::limits::{Class, Pool};
use super::reply::Reply;
use super::world::keep;
use crate::base::Time;

/// Messages that are remembered.
const MAX_MESSAGES: usize = 20_000;

/// Longest topic, in characters.
const MAX_TOPIC: usize = 80;

/// Longest message, in characters.
const MAX_MESSAGE: usize = 1024;

/// A message that was accepted.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    pub at: Time,
    pub universe: u64,
    pub topic: String,
    /// What it says, when that is JSON; else the text.
    pub message: Value,
    /// False for one that was accepted and lost.
    pub delivered: bool,
}

pub(super) fn publish(call: &Call, universe: &str) -> Read<Plan> {
    call.takes(&[])?;
    let universe = id(universe)?;
    let body = call.object(&["topic", "message"])?;
    let (topic, message) = (text(&body, "topic", MAX_TOPIC)?, text(&body, "message", MAX_MESSAGE)?);
    if topic.is_empty() || message.is_empty() {
        return wrong("a topic or message without text");
    }
    let plan = Plan::new(Class::Publish, Pool::Owner, move |world, _| {
        let count = world.messages.len() as u32;
        let share = |count: u32| count * world.lost_percent / 100;
        let delivered = share(count + 1) == share(count);
        let message = serde_json::from_str(&message).unwrap_or(Value::String(message));
        let at = world.now();
        keep(&mut world.messages, Message { at, universe, topic, message, delivered }, MAX_MESSAGES);
        Reply::done()
    });
    Ok(plan.needs("universe-messaging-service", "publish", Target::Universe(universe)))
}

pub(super) fn user(call: &Call, user: &str) -> Read<Plan> {
    call.takes(&[])?;
    let user = id(user)?;
    Ok(Plan::new(Class::User, Pool::Owner, move |world, _| {
        let Some((name, display)) = world.users.get(&user) else { return Err(Reply::v2(404, "No such user.")) };
        let path = format!("users/{user}");
        Reply::ok(&json!({"path": path, "id": user.to_string(), "name": name, "displayName": display, "about": ""}))
    }))
}

pub(super) fn introspect(call: &Call) -> Read<Plan> {
    call.takes(&[])?;
    let body = call.object(&["apiKey"])?;
    let secret = text(&body, "apiKey", 4096)?;
    let own = call.header(keys::HEADER);
    if !own.is_empty() && own != secret {
        return wrong("asked about another key than the one it was asked with");
    }
    Ok(Plan::new(Class::Introspect, Pool::Owner, move |world, _| match world.keys.get(&secret) {
        Some(key) => Reply::ok(&key.json(world.now())),
        None => Err(Reply::gateway(401, 0, "Invalid API Key")),
    }))
}
