//! How rows lie in sled: files that reach the disk, values wrapped with checks, a census that adds them up, and the current database as its
//! readers see it.

pub mod census;
pub mod database;
pub mod envelope;
pub mod files;
pub mod keyspace;
