//! grps: points, ranks, promotions and leaderboards for a Roblox group, as one binary with its database inside.
//!
//! This file is the map. Modules stand in floor order: each may use only what stands above it in this list, that is, what lives on a
//! lower floor. `tests/tidy.rs` enforces it; `ARCHITECTURE.md` explains it.

pub mod base; //    0  vocabulary: errors, time, ids, secrets, pages, metrics
pub mod store; //   2  one keyspace, typed tables, durable transactions
pub mod http; //    3  everything between a socket and a handler
pub mod remote; //  3  outbound HTTP: what we ask of Discord and Roblox
pub mod workers; // 3  everything that happens without a request
pub mod fakes; //   4  vendors in miniature, for tests and the demo
pub mod domains; // 4–11 what grps is about
pub mod config; //  11 all settings, checked before anything starts
pub mod app; //     12 the wiring list
pub mod cli; //     13 one file per command
