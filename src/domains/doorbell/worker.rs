//! The worker that rings. A commit that touches jobs calls it, once, while it listens; between rings it goes by the clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::Notify;

use super::bell::{Bells, Sight};
use super::service::{Doorbell, Target};
use crate::base::{Result, Time};
use crate::domains::jobs::{QueueName, QueueStats};
use crate::workers::{Next, Worker};

/// Longest pause between looks: delayed jobs become ready without a commit.
const LOOK: Duration = Duration::from_secs(5);

/// Lets commits call the worker, but each time it listens only once, so that a busy queue does not make a busy worker.
#[derive(Clone, Default)]
pub(super) struct Ear {
    listening: Arc<AtomicBool>,
    wake: Arc<Notify>,
}

impl Ear {
    /// A commit touched jobs. Quick, and waits for nothing.
    pub fn heard(&self) {
        if self.listening.swap(false, Ordering::AcqRel) {
            self.wake.notify_one();
        }
    }
}

/// Rings for the queues of the configuration.
pub struct Ringer {
    doorbell: Doorbell,
    target: Target,
    bells: Bells,
}

impl Ringer {
    pub(super) fn new(doorbell: Doorbell, target: Target) -> Self {
        let bells = Bells::new(target.queues.len());
        Self { doorbell, target, bells }
    }

    async fn ring(&mut self) -> Result<Next> {
        let clock = self.doorbell.clock.clone();
        // Before the look: what comes after it calls again.
        self.doorbell.ear.listening.store(true, Ordering::Release);
        let sights = self.sights();
        for queue in self.bells.look(clock.now(), &sights) {
            let topic = &self.target.topics[queue];
            let message =
                json!({"queue": self.target.queues[queue].as_str(), "ready": sights[queue].ready}).to_string();
            let outcome = self.target.roblox.publish_message(self.target.universe, topic, &message).await;
            let now = clock.now();
            match outcome {
                Ok(()) => {
                    self.bells.rung(queue, now);
                    self.doorbell.meters.rings.inc();
                    if self.doorbell.well() {
                        tracing::info!("the doorbell rings again");
                    }
                }
                Err(trouble) => {
                    let pause = self.bells.failed(queue, now, &trouble);
                    self.doorbell.meters.failures.inc();
                    if self.doorbell.trouble(&trouble) {
                        let hint = trouble.hint();
                        let hint =
                            hint.as_deref().unwrap_or("it will be tried again; game servers find jobs by polling");
                        tracing::warn!(?pause, hint, "the doorbell of game servers: {}", trouble.what());
                    }
                    break;
                }
            }
        }
        Ok(Next::After(self.pause(clock.now())))
    }

    /// How long to wait, and whether to listen meanwhile.
    fn pause(&self, now: Time) -> Duration {
        match self.bells.next(now) {
            None => LOOK,
            Some(at) => {
                // There is something to ring for and it has to wait: hearing of more would change nothing.
                self.doorbell.ear.listening.store(false, Ordering::Release);
                at.since(now).clamp(Duration::from_millis(1), LOOK)
            }
        }
    }

    fn sights(&self) -> Vec<Sight> {
        let stats: Vec<QueueStats> = self.doorbell.jobs.stats();
        let of = |name: &QueueName| {
            let stats = stats.iter().find(|stats| stats.queue == *name);
            stats.map_or(Sight::default(), |stats| Sight { ready: stats.ready, last_arrival: stats.last_arrival })
        };
        self.target.queues.iter().map(of).collect()
    }
}

impl Worker for Ringer {
    fn name(&self) -> &'static str {
        "doorbell"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(self.ring())
    }

    fn wake(&self) -> Option<Arc<Notify>> {
        Some(self.doorbell.ear.wake.clone())
    }
}
