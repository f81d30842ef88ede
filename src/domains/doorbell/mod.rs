//! The doorbell: tells live game servers that there is work, by Open Cloud's messaging, since no server can be reached otherwise.
//!
//! It is a hint. Messaging is best effort, so a server that hears a ring polls, and one that hears none polls as well, only later: the
//! poll is the truth. A ring names the queue and how much is ready; it never carries a job. [`bell`] decides when to ring, the worker does;
//! putting a job in never waits for either.

mod bell;
mod service;
mod worker;

pub use bell::{BUDGET_PER_MINUTE, BURST, GAP, REFUSED, REMINDER};
pub use service::{Config, Doorbell, MAX_QUEUES, PATIENCE};
pub use worker::Ringer;
