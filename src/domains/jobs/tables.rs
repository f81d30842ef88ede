//! What is stored of jobs. A queue is nothing of its own: it is the jobs that name it.

use serde::{Deserialize, Serialize};

use super::job::{Job, QueueName};
use crate::base::{Id, Time};
use crate::store::{Record, Table};

/// Every job that is not forgotten. Ids rise in the order in which jobs are shown to mirrors.
pub static JOBS: Table<Id, Job> = Table::new("jobs", *b"jo");

/// Idempotency keys, by queue.
pub static JOB_KEYS: Table<(QueueName, String), KeyUse> = Table::new("job_keys", *b"jk");

/// When each key may be forgotten, soonest first.
pub static JOB_KEY_ENDS: Table<(Time, QueueName, String), ()> = Table::new("job_key_ends", *b"je");

/// The highest id that was ever forgotten, by queue: who follows the queue and has seen less may have missed something.
pub static JOBS_FORGOTTEN: Table<QueueName, Id> = Table::new("jobs_forgotten", *b"jf");

/// What an idempotency key was used for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyUse {
    pub job: Id,
    /// Until when the key stands for that job.
    pub ends_at: Time,
    /// A hash of what was asked for, so that another job under the same key is refused.
    pub print: u64,
}

impl Record for KeyUse {
    const VERSION: u8 = 1;
}
