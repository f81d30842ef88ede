//! Looking after the store: what is in it and how it is doing, checks, compaction, checkpoints, and backups by the clock. One piece of
//! long work at a time; each is a task that callers watch until it ends.

mod api;
mod config;
mod folder;
mod keep;
mod service;
mod tasks;
mod wire;
mod workers;

pub use api::UpkeepApi;
pub use config::Config;
pub use folder::{Backup, Folder, MAX_NAME};
pub use keep::Keep;
pub use service::{Caretaker, Freshness, Job};
pub use tasks::{Kind, MAX_TASKS, Outcome, State, Task};
pub use wire::BackupView;
pub use workers::{BackupWorker, UpkeepWorker};
