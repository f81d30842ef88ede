//! What it takes to carry a decision out on Roblox: the goal it stands for, the next move towards it, and the row that remembers how far it
//! came. Pure but for the tables; `domains::applying` drives it.
//!
//! The rule that makes it safe to stop anywhere: nothing is remembered that can be read. Every move is chosen from the roles the member
//! holds *now*, every move may be made twice, and the row only adds what cannot be read: which roles there were before, whether anything
//! was sent yet, and when.

mod goal;
mod moves;
mod restriction;
mod tables;
mod wire;

pub use goal::{Goal, Kind, Names, Subject, goal};
pub use moves::{Move, next_move};
pub use restriction::{Restrict, Theirs, next_restriction, signature};
pub use tables::{EFFECTS, EFFECTS_OPEN, Effect, MAX_STEPS, Step, StepKind, forget, keep};
pub use wire::{EffectView, StepView};
