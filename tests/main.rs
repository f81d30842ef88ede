//! The integration tests: one binary. They speak HTTP to the whole program, in memory and with a clock they own, and check every answer
//! against the published API. `GRPS_TEST_CONFLICT_EVERY=3` runs them with every third commit refused once; `GRPS_TEST_ENGINE=sled` runs
//! them on disk.

#![allow(clippy::unwrap_used, clippy::expect_used)] // a test that cannot go on has failed

mod access;
mod adjustments;
mod apply;
mod applying;
mod approvals;
mod backups;
mod bad_input;
mod boards;
mod brakes;
mod cli;
mod contract;
mod corpus;
mod decisions;
mod discord;
mod discord_trouble;
mod docs;
mod doorbell;
mod drift;
mod durability;
mod effects;
mod endings;
mod events;
mod fakes;
mod fakes_roblox;
mod group;
mod harness;
mod health;
mod history;
mod ingest;
mod jobs;
mod joins;
mod keys;
mod ladder_import;
mod limits;
mod mirrors;
mod odd_cloud;
mod open_cloud;
mod openapi;
mod policy_reload;
mod process;
mod queue;
mod revert;
mod revert_trouble;
mod reviews;
mod samples;
mod schedule;
mod schemes;
mod server;
mod sockets;
mod state;
mod survival;
mod sync;
mod tidy;
mod upkeep;
mod worker;
