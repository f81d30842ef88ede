//! Jobs from Discord: a bot reads one channel, and every embed becomes a job (requirements J9, J15, J16, B24).
//!
//! What a message holds ([`embed`]), when to ask next ([`pace`]) and how far a channel is read ([`cursor`]) are pure. The [`poller`] asks,
//! and writes jobs, rejections and the cursor in the same commits. It begins at the newest message there is when it first sees a channel;
//! from then on nothing is skipped, however long the server was off.
//!
//! A message is read once, as it was first shown: embeds that are edited in later, as bots do that answer "is thinking" first, are not
//! seen. What is to become a job is posted whole.
//!
//! Invariants: a message is done exactly when the cursor says so, and then its jobs are in the queue; no message can stop the ones behind
//! it; Discord is never asked sooner than it wants to be; the token is in no log, error or answer.

mod api;
mod commits;
mod content;
mod cursor;
mod embed;
mod pace;
mod page;
mod poller;
mod service;
mod status;
mod tables;

pub use api::DiscordApi;
pub use embed::MAX_EMBEDS;
pub use pace::{Floors, MIN_INTERVAL};
pub use poller::{NO_INTENT, NOTHING_SHOWN, Poller};
pub use service::{Config, DiscordFeed};
pub use status::{Phase, Status};
pub use tables::{DISCORD_CURSORS, DISCORD_REJECTED, DISCORD_REJECTIONS, MAX_REJECTIONS, Rejection};
