//! grps: points, ranks, promotions and leaderboards for a Roblox group, as one binary with its database inside.
//!
//! This file is the map. Modules stand in floor order: each may use only what stands above it in this list, that is, what lives on a
//! lower floor. `tests/tidy.rs` enforces it; `ARCHITECTURE.md` explains it.

pub mod base; // 0  vocabulary: errors, time, ids, secrets, pages, metrics
pub mod store; // 2  tables and transactions on one ordered keyspace, durable when they return

pub mod http; // 3  HTTP: server, front layer, failures, bodies, the published contract

pub mod domains; // 4 to 8  what the program is about
