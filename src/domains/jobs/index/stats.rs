//! A queue as people see it.

use crate::base::Time;
use crate::domains::jobs::job::QueueName;
use crate::domains::jobs::rules::State;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueStats {
    pub queue: QueueName,
    pub waiting: usize,
    pub ready: usize,
    pub leased: usize,
    pub delivered: usize,
    pub done: usize,
    pub dead: usize,
    pub expired: usize,
    /// Since when the oldest ready job has been ready, about; none when none is.
    pub oldest_ready: Option<Time>,
    /// Rises when a job becomes ready, and means nothing else.
    pub last_arrival: u64,
}

impl QueueStats {
    /// How many jobs are in each state.
    pub fn counts(&self) -> [(State, usize); 7] {
        [
            (State::Waiting, self.waiting),
            (State::Ready, self.ready),
            (State::Leased, self.leased),
            (State::Delivered, self.delivered),
            (State::Done, self.done),
            (State::Dead, self.dead),
            (State::Expired, self.expired),
        ]
    }
}
