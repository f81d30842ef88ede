//! The live group: its roles, how they match the ladder, how many members it has, and whether our key will do.
//!
//! What Roblox says is kept for minutes, so that whoever needs the roles neither asks for each decision nor works with those of yesterday.
//! The match of ladder and roles ([`Mapping`]) is a pure function of policy and roles, and every mismatch has words an owner understands.

mod api;
mod keys;
mod mapping;
mod probe;
mod service;
mod tables;
mod watch;
mod wire;

pub use api::GroupApi;
pub use keys::WARN_BEFORE;
pub use mapping::{Mapping, MappingTrouble, Problem, Roles};
pub use probe::Uses;
pub use service::{Access, Group, ROLES_AGE, not_configured, refused};
pub use tables::{Counted, GROUP_SIZES};
pub use watch::{EVERY, GroupWatch};
