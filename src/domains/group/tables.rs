//! What is remembered of a group when the program ends.

use serde::{Deserialize, Serialize};

use crate::store::{Record, Table};

/// How many members each group had when it was last read, by the group's id: one row, and one for each group looked after before.
pub static GROUP_SIZES: Table<u64, Counted> = Table::new("group_sizes", *b"gs");

/// The members of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    pub members: u64,
}

impl Record for Counted {
    const VERSION: u8 = 1;
}
