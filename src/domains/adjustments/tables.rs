//! The stored forms: runs by id, their players in parts, which runs are open, and idempotency keys.

use serde::{Deserialize, Serialize};

use super::model::{Chunk, Run};
use crate::base::Id;
use crate::store::{Record, Table};

/// Every run, by an id that sorts by time.
pub static ADJUSTMENTS: Table<Id, Run> = Table::new("adjustments", *b"aj");

/// The players of a run, by part.
pub static ADJUSTMENT_ROWS: Table<(Id, u32), Chunk> = Table::new("adjustment_rows", *b"ar");

/// One row: the runs that the worker has not ended.
pub static ADJUSTMENTS_OPEN: Table<(), OpenRuns> = Table::new("adjustments_open", *b"ao");

/// The run that an idempotency key stands for, as long as the run is kept.
pub static ADJUSTMENT_KEYS: Table<String, Id> = Table::new("adjustment_keys", *b"ak");

/// The runs that the worker has not ended, in the order it tries them: as they came, and those that are held up last.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenRuns {
    pub ids: Vec<Id>,
}

impl Record for OpenRuns {
    const VERSION: u8 = 1;
}
