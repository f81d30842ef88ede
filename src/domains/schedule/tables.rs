//! The stored forms: how far each plan is, and who leads.

use serde::{Deserialize, Serialize};

use crate::base::Time;
use crate::store::{Record, Table};

/// One row a plan, by its name.
pub static SCHEDULES: Table<String, State> = Table::new("schedules", *b"sd");

/// Who may do what only one process does, by the name of that.
pub static LEASES: Table<String, Lease> = Table::new("leases", *b"le");

/// How far a plan is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Times up to here are dealt with.
    pub through: Time,
    /// The time of its pattern that it was last started for.
    pub last_due: Option<Time>,
    pub last_started: Option<Time>,
    pub last_outcome: Option<Outcome>,
    /// It is due and could not be started: not before this.
    pub retry_at: Option<Time>,
    /// The pattern and zone that `through` counts for; none for a plan that is off.
    #[serde(default)]
    pub pattern: Option<String>,
}

/// How starting it went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    pub started: bool,
    /// What was started, or why nothing was.
    pub text: String,
}

/// A right that ends unless it is renewed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// A random name that a process gives itself when it starts.
    pub holder: String,
    pub until: Time,
}

impl Record for State {
    const VERSION: u8 = 1;
}

impl Record for Lease {
    const VERSION: u8 = 1;
}
