//! What the doorbell is told, and what it shows of itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

use super::worker::{Ear, Ringer};
use crate::base::metrics::Metrics;
use crate::base::{Clock, Error, Failing, Result};
use crate::domains::jobs::{JOBS, Jobs, QueueName};
use crate::remote::Roblox;
use crate::remote::roblox::{MAX_TOPIC, Trouble};
use crate::store::Store;

/// Queues that can have a doorbell: with more, the budget would ring for each too seldom to help.
pub const MAX_QUEUES: usize = 20;

/// How long a ring may take. One that takes longer would not be quicker than the next poll.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What turns the doorbell on.
#[derive(Debug, Clone)]
pub struct Config {
    /// `ROBLOX_UNIVERSE_ID`.
    pub universe: u64,
    /// `DOORBELL_QUEUES`.
    pub queues: Vec<QueueName>,
    /// `DOORBELL_TOPIC`: what topics begin with.
    pub topic: String,
    /// How long a ring may take.
    pub patience: Duration,
}

impl Config {
    /// Reads `DOORBELL_QUEUES`, with the topics they make behind `topic`.
    ///
    /// # Errors
    /// `config.invalid` for what is no queue's name, for too many, and for topics that are too long.
    pub fn queues(list: &str, topic: &str) -> Result<Vec<QueueName>> {
        let invalid = |detail: String| Error::invalid("config.invalid", detail);
        let mut queues: Vec<QueueName> = Vec::new();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let queue = name.parse().map_err(|error: Error| invalid(format!("DOORBELL_QUEUES: {}", error.detail())))?;
            if !queues.contains(&queue) {
                queues.push(queue);
            }
        }
        if queues.is_empty() && !list.is_empty() {
            return Err(invalid("DOORBELL_QUEUES names no queue".into()).hint("write default, or leave it empty"));
        }
        if queues.len() > MAX_QUEUES {
            return Err(invalid(format!(
                "DOORBELL_QUEUES names {} queues; at most {MAX_QUEUES} can ring",
                queues.len()
            )));
        }
        if !topic.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) || topic.is_empty() {
            return Err(invalid("DOORBELL_TOPIC may hold A-Z, a-z, 0-9 and . _ - only".into()));
        }
        match queues.iter().map(|queue| topic_of(topic, queue)).find(|topic| topic.len() > MAX_TOPIC) {
            Some(long) => {
                let detail = format!("the topic {long} has {} characters; Roblox allows {MAX_TOPIC}", long.len());
                Err(invalid(detail).hint("shorten DOORBELL_TOPIC or the queue's name"))
            }
            None => Ok(queues),
        }
    }
}

/// The topic that servers subscribe to.
fn topic_of(topic: &str, queue: &QueueName) -> String {
    format!("{topic}-{queue}")
}

/// Whom to ring for, and how.
#[derive(Clone)]
pub(super) struct Target {
    pub roblox: Roblox,
    pub universe: u64,
    pub queues: Vec<QueueName>,
    /// Of each queue.
    pub topics: Vec<String>,
}

/// The doorbell. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Doorbell {
    pub(super) jobs: Jobs,
    pub(super) clock: Clock,
    pub(super) ear: Ear,
    pub(super) meters: Meters,
    target: Option<Target>,
    failing: Arc<Mutex<Option<Failing>>>,
}

#[derive(Clone)]
pub(super) struct Meters {
    pub rings: Counter,
    pub failures: Counter,
    pub silent: Gauge,
}

impl Doorbell {
    /// The doorbell is off without `config` and without access to Roblox.
    pub fn new(
        store: &Store,
        clock: Clock,
        jobs: Jobs,
        (config, roblox): (Option<&Config>, Option<&Roblox>),
        metrics: &Metrics,
    ) -> Self {
        let target = config.zip(roblox).map(|(config, roblox)| Target {
            roblox: roblox.patient(config.patience),
            universe: config.universe,
            queues: config.queues.clone(),
            topics: config.queues.iter().map(|queue| topic_of(&config.topic, queue)).collect(),
        });
        let ear = Ear::default();
        if target.is_some() {
            let ear = ear.clone();
            store.follow(&JOBS, move |_| ear.heard());
        }
        let counter = |name, help| metrics.register(name, help, Counter::default());
        let silent = "1 while rings for game servers fail";
        let meters = Meters {
            rings: counter("doorbell_rings", "Rings for game servers that Roblox took"),
            failures: counter("doorbell_failures", "Rings for game servers that Roblox did not take"),
            silent: metrics.register("doorbell_failing", silent, Gauge::default()),
        };
        Self { jobs, clock, ear, meters, target, failing: Arc::default() }
    }

    /// The worker that rings; none when the doorbell is off.
    pub fn ringer(&self) -> Option<Ringer> {
        Some(Ringer::new(self.clone(), self.target.clone()?))
    }

    pub fn is_on(&self) -> bool {
        self.target.is_some()
    }

    /// Why the last ring failed; none when it did not.
    pub fn failing(&self) -> Option<Failing> {
        self.lock().clone()
    }

    /// Notes a failure; whether it is news.
    pub(super) fn trouble(&self, trouble: &Trouble) -> bool {
        self.meters.silent.set(1);
        let failing = Failing::from(trouble);
        self.lock().replace(failing.clone()) != Some(failing)
    }

    /// Notes a success; whether that is news.
    pub(super) fn well(&self) -> bool {
        self.meters.silent.set(0);
        self.lock().take().is_some()
    }

    fn lock(&self) -> MutexGuard<'_, Option<Failing>> {
        self.failing.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(list: &str, topic: &str) -> std::result::Result<usize, String> {
        Config::queues(list, topic).map(|queues| queues.len()).map_err(|error| error.detail().to_owned())
    }

    #[test]
    fn topics_fit_what_roblox_takes() {
        assert_eq!(names("", "grps-jobs"), Ok(0));
        assert_eq!(names(" default , vip,default", "grps-jobs"), Ok(2));
        assert!(names(" , ", "grps-jobs").unwrap_err().contains("names no queue"));
        assert!(names("no spaces", "grps-jobs").unwrap_err().contains("DOORBELL_QUEUES"));
        assert!(names("default", "jobs for all").unwrap_err().contains("DOORBELL_TOPIC"));
        let long = "q".repeat(64);
        assert!(names(&long, &"t".repeat(15)).is_ok());
        assert!(names(&long, &"t".repeat(16)).unwrap_err().contains("81 characters"));
        let many: Vec<String> = (0..=MAX_QUEUES).map(|at| format!("q{at}")).collect();
        assert!(names(&many.join(","), "t").unwrap_err().contains("at most 20"));
    }
}
