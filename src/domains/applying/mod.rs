//! Applying: queued decisions become true on Roblox, and what they made there ends when it should.
//!
//! A decision that is queued is a row of `OPEN_EFFECTS`; this domain finds it, reads the member's roles, makes one change at a time, reads
//! again, and ends the decision in one commit with the player's row ([`crate::domains::ranks::Ranks::end`]). It may be stopped anywhere: the
//! next start reads what holds and goes on (`domains::effects`). One member's effects happen one after the other, different members' at
//! the same time, all within the budget of the key.
//!
//! Nothing is tried for ever in silence: what time cures is tried again, later and later; what the owner has to cure (the key, its
//! scopes) holds everything back and shows in `/health/ready`; what nothing cures fails the decision with a reason, after what was begun
//! has been taken back.

mod case;
mod open;
mod service;
mod suspensions;
mod turn;
mod worker;

pub use service::{Applying, Held, Parts};
pub use suspensions::{SUSPENSIONS, Suspension, SuspensionEnds};
pub use worker::Applier;
