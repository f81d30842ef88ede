//! Adjustments: points given, taken or set by hand or by a list, for many players at once.
//!
//! A request becomes a run: one row of [`ADJUSTMENTS`], and its players in parts of [`PART`] a row. A worker deals with it a portion a
//! commit: players, their audit rows, the jobs that tell the game, the results and how far the run is are written together, so it goes on
//! after a kill where it was and no player is adjusted twice. Runs are carried out one after the other, in the
//! order they came; one that a full queue holds up lets the others pass.
//!
//! A run changes what we hold. The game holds a number too and says it with the next snapshot: a run with a `queue` puts a job there for
//! every player changed, so that game servers make the same change.

mod api;
mod applying;
mod model;
mod service;
mod tables;
mod wire;
mod worker;

pub use api::AdjustmentsApi;
pub use model::{Change, Chunk, PART, Row, RowResult, Run, Status};
pub use service::{Adjustments, MAX_KEPT, MAX_OPEN, MAX_ROWS, Wanted};
pub use tables::{ADJUSTMENT_KEYS, ADJUSTMENT_ROWS, ADJUSTMENTS, ADJUSTMENTS_OPEN, OpenRuns};
pub use worker::AdjustmentsWorker;
