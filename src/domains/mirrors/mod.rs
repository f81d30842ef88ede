//! Mirrors: what the server knows, written back to where games read it. A decision that took effect is written into the player's entry of
//! the data store (`features.mirrorDatastore`, requirement F15), and the best of the players' board into an ordered data store
//! (`ROBLOX_ORDERED_DATASTORE`, requirement P7). Both are off unless asked for.
//!
//! An entry belongs to the game. Only the rank is set in it, everything else stays as it is, and it is written only if nobody wrote since
//! it was read.

mod board;
mod entry;
mod service;

pub use board::{BoardMirror, MIRRORED};
pub use entry::EntryMirror;
pub use service::{Config, MAX_TOP, MIRROR_DUE, Mirrors};
