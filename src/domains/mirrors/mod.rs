//! Mirrors: what the server knows, written back to where games read it. A decision that took effect is written into the player's entry of
//! the data store (`features.mirrorDatastore`, requirement F15), and the best of the players' board into an ordered data store
//! (`ROBLOX_ORDERED_DATASTORE`, requirement P7). Both are off unless asked for.
//!
//! An entry belongs to the game. Only the rank is set in it, everything else stays to the letter, and it is written only if nobody wrote
//! since it was read. An entry that is not there, or that is no object, is left alone: making it is up to the game. A board's rows are ours
//! as far as we wrote them; what others wrote to the same store is left alone too.

mod board;
mod entry;
mod pauses;
mod service;
mod text;

pub use board::{BoardMirror, MIRRORED, Mirrored};
pub use entry::EntryMirror;
pub use service::{Config, MAX_TOP, MIRROR_DUE, Mirrors};
