//! Players: one row a person, holding what the group knows of them, and every snapshot their game servers sent.
//!
//! Invariants: a player's row, their place on the players' board and the snapshot that changed them move in one commit; a row's
//! `updated_at` moves with every change; the stored rank is ours (requirement R8), the points are what Roblox was last seen to say.

mod api;
mod decided;
mod model;
mod refused;
mod retention;
mod service;
mod tables;

pub use api::{PlayerView, PlayersApi};
pub use decided::{Acted, Decided, Origin, Punishment, Status, StoredMarks};
pub use model::{Observation, Player};
pub use refused::{MAX_REFUSED, REJECTED_FOR, Refused};
pub use retention::{AUDIT_DAYS, RETENTION_PAGE, Retention, RetentionConfig, retention_pause};
pub use service::{Players, save};
pub use tables::{PLAYERS, SNAPSHOTS, Snapshot};
