//! Workers: everything that happens without a request. One supervisor runs them; nobody else spawns. A tick takes no input, so it may run
//! twice, and it is never cancelled midway: shutdown waits for it to end.

mod cron;

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;

pub use cron::{Schedule, Zone};

use crate::base::{Clock, Error, Result, Time};

/// Something done again and again.
pub trait Worker: Send + 'static {
    /// A short name for logs and health checks.
    fn name(&self) -> &'static str;

    /// Does one bounded piece of work and says when the next is due.
    fn tick(&mut self) -> BoxFuture<'_, Result<Next>>;

    /// What calls for a tick before the pause is over; none for workers that go by the clock alone. A failed tick's pause is kept.
    fn wake(&self) -> Option<Arc<Notify>> {
        None
    }
}

/// When a worker wants its next tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// At once: there is more of the same.
    Now,
    After(Duration),
}

/// First pause after a failed tick; it doubles with every further failure.
pub const FIRST_BACKOFF: Duration = Duration::from_secs(1);

/// Longest pause after failed ticks.
pub const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// How a worker is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub name: &'static str,
    pub last_success: Option<Time>,
    /// The outward text of the last failure, when the last tick failed.
    pub failing: Option<String>,
}

/// Runs workers until told to stop.
pub struct Supervisor {
    clock: Clock,
    stop: watch::Sender<bool>,
    running: Vec<JoinHandle<()>>,
    board: StatusBoard,
}

/// The statuses of all workers, readable while they run.
#[derive(Clone, Default)]
pub struct StatusBoard(Arc<Mutex<Vec<Status>>>);

impl StatusBoard {
    pub fn read(&self) -> Vec<Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn note(&self, slot: usize, at: Time, outcome: &Result<Next>) {
        let mut board = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(_) => {
                board[slot].last_success = Some(at);
                board[slot].failing = None;
            }
            Err(error) => board[slot].failing = Some(error.detail().to_owned()),
        }
    }
}

impl Supervisor {
    /// A supervisor that shows its workers on `board`.
    pub fn new(clock: Clock, board: StatusBoard) -> Self {
        Self { clock, stop: watch::channel(false).0, running: Vec::new(), board }
    }

    /// Starts `worker` on the runtime.
    pub fn start(&mut self, worker: Box<dyn Worker>) {
        let status = Status { name: worker.name(), last_success: None, failing: None };
        let slot = {
            let mut board = self.board.0.lock().unwrap_or_else(PoisonError::into_inner);
            board.push(status);
            board.len() - 1
        };
        let run = run(worker, slot, self.clock.clone(), self.board.clone(), self.stop.subscribe());
        #[allow(clippy::disallowed_methods)] // the one place, with the accept loop
        self.running.push(tokio::spawn(run));
    }

    /// Lets every worker finish the tick it is in, at most `patience` long in all, then ends them.
    pub async fn stop(self, patience: Duration) {
        let _ = self.stop.send(true);
        let aborts: Vec<_> = self.running.iter().map(JoinHandle::abort_handle).collect();
        if tokio::time::timeout(patience, futures_util::future::join_all(self.running)).await.is_err() {
            tracing::warn!("workers did not finish within {patience:?}; ending them");
            aborts.iter().for_each(|handle| handle.abort());
        }
    }
}

async fn run(
    mut worker: Box<dyn Worker>,
    slot: usize,
    clock: Clock,
    board: StatusBoard,
    mut stop: watch::Receiver<bool>,
) {
    let mut failures = 0u32;
    let wake = worker.wake();
    while !*stop.borrow() {
        let outcome = tick(&mut *worker).await;
        board.note(slot, clock.now(), &outcome);
        let pause = match outcome {
            Ok(Next::Now) => Duration::ZERO,
            Ok(Next::After(pause)) => pause,
            Err(error) => {
                tracing::warn!(worker = worker.name(), error = ?error, failures, "a worker's tick failed; it will be tried again");
                backoff(failures)
            }
        };
        failures = if board_failing(&board, slot) { failures.saturating_add(1) } else { 0 };
        if pause.is_zero() {
            tokio::task::yield_now().await;
            continue;
        }
        let early = wake.as_ref().filter(|_| failures == 0);
        tokio::select! {
            () = tokio::time::sleep(clock.real(pause)) => {}
            _ = stop.changed() => {}
            () = called(early) => {}
        }
    }
}

/// Resolves when the worker is called for; never when nothing can call it.
async fn called(wake: Option<&Arc<Notify>>) {
    match wake {
        Some(wake) => wake.notified().await,
        None => std::future::pending().await,
    }
}

/// One tick; a panic in it is a failure like any other, so that the worker shows as failing and tries again.
async fn tick(worker: &mut dyn Worker) -> Result<Next> {
    // The call itself may panic too, before there is a future.
    let ticked = AssertUnwindSafe(async { worker.tick().await }).catch_unwind().await;
    ticked.unwrap_or_else(|panic| Err(Error::broken("worker.panicked", text(panic.as_ref()))))
}

fn text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without a message")
}

fn board_failing(board: &StatusBoard, slot: usize) -> bool {
    board.read()[slot].failing.is_some()
}

/// The pause after a failed tick with `failures` failed ones in a row before it.
pub fn backoff(failures: u32) -> Duration {
    FIRST_BACKOFF.saturating_mul(2u32.saturating_pow(failures.min(16))).min(LONGEST_BACKOFF)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Flaky(Arc<Mutex<u32>>);

    impl Worker for Flaky {
        fn name(&self) -> &'static str {
            "flaky"
        }
        fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
            Box::pin(async {
                let mut ticks = self.0.lock().unwrap();
                *ticks += 1;
                match *ticks {
                    1 => Err(Error::busy("test.busy", "not yet")),
                    _ => Ok(Next::After(Duration::from_secs(3600))),
                }
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_failed_tick_is_tried_again_and_shows() {
        let ticks = Arc::new(Mutex::new(0));
        let board = StatusBoard::default();
        let mut supervisor = Supervisor::new(Clock::fake(Time(5)), board.clone());
        supervisor.start(Box::new(Flaky(ticks.clone())));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(board.read()[0].failing.as_deref(), Some("not yet"));
        tokio::time::sleep(FIRST_BACKOFF).await;
        assert_eq!(board.read()[0], Status { name: "flaky", last_success: Some(Time(5)), failing: None });
        supervisor.stop(Duration::from_secs(1)).await;
        assert_eq!(*ticks.lock().unwrap(), 2);
    }

    struct Panicky(Arc<Mutex<u32>>);

    impl Worker for Panicky {
        fn name(&self) -> &'static str {
            "panicky"
        }
        fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
            let ticks = {
                let mut ticks = self.0.lock().unwrap();
                *ticks += 1;
                *ticks
            };
            assert!(ticks != 1, "before the future");
            Box::pin(async move {
                assert!(ticks != 2, "within the future");
                Ok(Next::After(Duration::from_secs(3600)))
            })
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_a_failed_tick() {
        let ticks = Arc::new(Mutex::new(0));
        let board = StatusBoard::default();
        let mut supervisor = Supervisor::new(Clock::fake(Time(5)), board.clone());
        supervisor.start(Box::new(Panicky(ticks.clone())));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert!(board.read()[0].failing.is_some());
        tokio::time::sleep(backoff(0)).await;
        assert!(board.read()[0].failing.is_some());
        tokio::time::sleep(backoff(1)).await;
        assert_eq!(board.read()[0], Status { name: "panicky", last_success: Some(Time(5)), failing: None });
        supervisor.stop(Duration::from_secs(1)).await;
        assert_eq!(*ticks.lock().unwrap(), 3);
    }

    struct Called(Arc<Notify>, Arc<Mutex<u32>>);

    impl Worker for Called {
        fn name(&self) -> &'static str {
            "called"
        }
        fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
            Box::pin(async {
                *self.1.lock().unwrap() += 1;
                Ok(Next::After(Duration::from_secs(3600)))
            })
        }
        fn wake(&self) -> Option<Arc<Notify>> {
            Some(self.0.clone())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_is_called_ticks_before_its_pause_is_over() {
        let (wake, ticks) = (Arc::new(Notify::new()), Arc::new(Mutex::new(0)));
        let mut supervisor = Supervisor::new(Clock::fake(Time(5)), StatusBoard::default());
        supervisor.start(Box::new(Called(wake.clone(), ticks.clone())));
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(*ticks.lock().unwrap(), 1);
        wake.notify_one();
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(*ticks.lock().unwrap(), 2);
        supervisor.stop(Duration::from_secs(1)).await;
    }

    #[test]
    fn backoff_doubles_up_to_its_bound() {
        assert_eq!(backoff(0), Duration::from_secs(1));
        assert_eq!(backoff(3), Duration::from_secs(8));
        assert_eq!(backoff(40), LONGEST_BACKOFF);
    }
}
