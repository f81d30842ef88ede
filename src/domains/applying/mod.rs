//! Applying: queued decisions become true on Roblox, and what they made there ends when it should.
//!
//! A decision that is queued is a row of `OPEN_EFFECTS`; this domain finds it, reads the member's roles, makes one change at a time, reads
//! again, and ends the decision in one commit with the player's row ([`crate::domains::ranks::Ranks::end`]). It may be stopped anywhere: the
//! next start reads what holds and goes on (`domains::effects`). One member's effects happen one after the other, different members' at
//! the same time, all within the budget of the key.
//!
//! Nothing is tried for ever in silence: what time cures is tried again, later and later; what the owner has to cure (the key, its
//! scopes, the settings) holds back what needs it and shows in `/health/ready`; what nothing cures fails the decision with a reason, after
//! what was begun has been taken back.

mod aims;
mod case;
mod hold;
mod open;
mod punished;
mod releases;
mod service;
mod turn;
mod worker;

pub use hold::Held;
pub use punished::{PUNISHED, Punished};
pub use releases::Releases;
pub use service::{Applying, Parts};
pub use worker::Applier;
