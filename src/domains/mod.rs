//! The domains: what this program is about, each folder one part of it.

pub mod policy; // 5  the rules people write
pub mod ranks; // 8  deciding by them
