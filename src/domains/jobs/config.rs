//! What an owner can set about queues.

/// The bounds of the queues.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `JOB_QUEUE_LENGTH`: jobs that may wait in one queue; more are refused.
    pub queue_length: usize,
    /// `JOB_WAITERS`: polls and sockets that may wait for a job at the same time.
    pub waiters: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { queue_length: 1_000_000, waiters: 10_000 }
    }
}
