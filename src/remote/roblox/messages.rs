//! Messaging: telling live game servers something.

use serde_json::json;

use super::{Call, Class, Complaint, Roblox, Trouble};

/// Longest name of a messaging topic, in characters; Roblox's own bound.
pub const MAX_TOPIC: usize = 80;

/// Longest message of a topic, in bytes; Roblox's own bound.
pub const MAX_MESSAGE: usize = 1024;

/// What the key has to be allowed for [`Roblox::publish_message`].
pub const PUBLISH_SCOPE: &str = "universe-messaging-service:publish";

impl Roblox {
    /// Publishes `message` (at most [`MAX_MESSAGE`] bytes) to everybody in `universe` who subscribed to `topic`. Success means accepted,
    /// not delivered: messaging is best effort.
    ///
    /// # Errors
    /// [`Trouble`]; `Refused`, without having been sent, for a message that is too long.
    pub async fn publish_message(&self, universe: u64, topic: &str, message: &str) -> Result<(), Trouble> {
        if message.len() > MAX_MESSAGE {
            let message = format!("a message of {} bytes; {MAX_MESSAGE} are allowed", message.len());
            return Err(Trouble::Refused { status: 400, complaint: Complaint { code: None, message } });
        }
        let target = format!("{universe}:publishMessage");
        let body = json!({"topic": topic, "message": message});
        let call = Call::post(Class::Messages, vec!["cloud", "v2", "universes", &target], &body);
        self.ask(call.scope(PUBLISH_SCOPE).setting("ROBLOX_UNIVERSE_ID")).await.map(drop)
    }
}
