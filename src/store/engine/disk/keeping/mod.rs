//! Keeping a store in shape: checkpoints and backups, checks and compaction while it is open, restoring and repairing while it is not.

pub mod capture;
pub mod offline;
pub mod upkeep;
