//! What the brakes remember, restarts included.

use serde::{Deserialize, Serialize};

use super::window::Window;
use crate::base::{Id, Time};
use crate::store::{Record, Table};

/// The breaker: one row.
pub static BREAKER: Table<(), Breaker> = Table::new("breaker", *b"bk");

/// What somebody whose role limits it has applied within the last hour. The key is `key:<credential>` or `user:<Roblox id>`; only those
/// whom a role with `appliesPerHour` is bound to have a row.
pub static ACTOR_USES: Table<String, Window> = Table::new("actor_uses", *b"bu");

/// Trips nobody was told of yet, at most; of more, the oldest go.
pub const MAX_UNTOLD: usize = 4;

/// The decisions that were queued lately, and what stopped more of them. Stays below 3 KiB: it is written with every decision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Breaker {
    pub window: Window,
    /// What stops decisions now, or stopped some a moment ago.
    pub trip: Option<Trip>,
    /// Trips that no alert was made for yet, oldest first.
    pub untold: Vec<Trip>,
    /// Grows whenever what was counted is forgotten, or moved since the clock was set back: a count of before is not found any more.
    #[serde(default)]
    pub era: u64,
}

/// One decision's place in the window, kept with it until it leaves the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    pub at: Time,
    /// [`Breaker::era`] at that time.
    pub era: u64,
}

/// A limit was reached, or somebody stopped everything.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trip {
    pub id: Id,
    pub at: Time,
    pub limit: Limit,
    /// Stays until an operator closes it.
    pub latched: bool,
    /// How many there were.
    pub count: u64,
    /// How many there may be.
    pub most: u64,
    /// Who stopped everything by hand, and why.
    pub reason: Option<String>,
}

/// Which limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Limit {
    /// `appliesPerMinute`; passes by itself.
    Minute,
    /// `appliesPerHour`.
    Hour,
    /// `percentOfGroupPerHour`.
    Share,
    /// None: a person stopped everything.
    Person,
}

impl Limit {
    /// The name on the wire.
    pub fn text(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Share => "share",
            Self::Person => "person",
        }
    }
}

impl Record for Breaker {
    const VERSION: u8 = 1;
}

impl Record for Window {
    const VERSION: u8 = 1;
}
