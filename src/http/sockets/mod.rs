//! WebSockets as the rest of the program sees them: a bounded number of [`Seat`]s, and a [`Socket`] that sends text and receives text.
//!
//! The handshake is ours, and so is the writing of messages: poem's socket keeps a write buffer per connection that grows to the largest
//! message and never shrinks, which ten thousand consumers of large jobs would turn into a gigabyte. Here a message is written from where
//! it already is, so all consumers of a job share one copy of it; reading, control frames and the closing handshake are tungstenite's.
//!
//! An upgraded connection leaves hyper and the server's own count, so it is counted here, and [`Sockets::drain`] ends it politely.

mod end;
mod socket;
#[cfg(test)]
mod tests;
mod upgrade;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, pending};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub use self::end::End;
pub use self::socket::{Incoming, MAX_MESSAGE, Socket};
pub use self::upgrade::{NotAnUpgrade, Switching, Upgrade};
use super::config::{Config, ms};
use crate::base::clock::Stopwatch;
use crate::base::metrics::Metrics;
use crate::base::{Error, Result};

/// How long sockets may take to say goodbye at shutdown; the rest are cut.
pub const DRAIN_DEADLINE: Duration = Duration::from_secs(3);

/// When a client that found no seat may try again.
const FULL_WAIT: Duration = Duration::from_secs(5);

/// What part of all seats one caller may have, so that one key that leaks or loops leaves room for the others.
const CALLER_SHARE: usize = 4;

/// As many seats a caller may have in any case, where there are few.
const CALLER_LEAST: usize = 64;

/// How long a peer may be quiet or slow.
#[derive(Debug, Clone, Copy)]
struct Patience {
    /// Quiet for so long, it is sent a ping.
    ping: Duration,
    /// How long it may take to answer that.
    pong: Duration,
    /// How long it may take to take one message.
    write: Duration,
}

/// Where the sockets are in their life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// Each is told to come back later.
    Closing,
    /// Whatever is left goes.
    Cut,
}

/// All sockets of the program. A cheap handle.
#[derive(Clone)]
pub struct Sockets(Arc<Inner>);

struct Inner {
    patience: Patience,
    max: usize,
    seats: Arc<Semaphore>,
    /// Seats by caller; whoever has none is not listed.
    callers: Mutex<HashMap<String, usize>>,
    stage: watch::Sender<Stage>,
    open: Family<ByMode, Gauge>,
    ended: Family<ByReason, Counter>,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByMode {
    mode: &'static str,
}

#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ByReason {
    reason: &'static str,
}

/// Who a socket is for: its label in the metrics, and what its log lines name.
#[derive(Debug, Clone)]
pub struct Visitor {
    /// One of a few fixed words: it is a metric's label.
    pub mode: &'static str,
    /// The credential's public id.
    pub caller: String,
    pub request_id: Arc<str>,
}

/// The right to one open socket; dropping it gives it back.
pub struct Seat {
    visitor: Visitor,
    since: Stopwatch,
    sockets: Sockets,
    until: BoxFuture<'static, End>,
    _permit: OwnedSemaphorePermit,
}

impl Seat {
    /// Ends the socket when `end` resolves, before anything else is sent or read.
    pub fn until(mut self, end: BoxFuture<'static, End>) -> Self {
        self.until = end;
        self
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.sockets.gauge(self.visitor.mode).dec();
        self.sockets.leave(&self.visitor.caller);
    }
}

impl Sockets {
    pub fn new(config: &Config, metrics: &Metrics) -> Self {
        let max = config.max_sockets.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
        Self(Arc::new(Inner {
            patience: Patience {
                ping: ms(config.socket_ping_ms),
                pong: ms(config.socket_pong_ms),
                write: ms(config.socket_write_deadline_ms),
            },
            max,
            seats: Arc::new(Semaphore::new(max)),
            callers: Mutex::default(),
            stage: watch::channel(Stage::Open).0,
            open: metrics.register("sockets_open", "Open WebSockets", Family::default()),
            ended: metrics.register("sockets_ended", "WebSockets that ended, by reason", Family::default()),
        }))
    }

    /// Takes a seat, before the upgrade is answered.
    ///
    /// # Errors
    /// `sockets.full` past `MAX_SOCKETS`, `sockets.caller_full` past one caller's part of them, `sockets.stopping` once the server shuts
    /// down: all worth another try.
    pub fn seat(&self, visitor: Visitor) -> Result<Seat> {
        if *self.0.stage.borrow() != Stage::Open {
            return Err(Error::busy("sockets.stopping", "the server restarts; reconnect").retry_after(FULL_WAIT));
        }
        let permit = self.0.seats.clone().try_acquire_owned().map_err(|_| {
            let detail = format!("the server holds {} WebSockets, as many as it may", self.0.max);
            Error::busy("sockets.full", detail)
                .hint("reconnect after Retry-After; the server's owner can raise MAX_SOCKETS")
                .retry_after(FULL_WAIT)
        })?;
        self.enter(&visitor.caller)?;
        self.gauge(visitor.mode).inc();
        Ok(Seat {
            visitor,
            since: Stopwatch::start(),
            sockets: self.clone(),
            until: pending().boxed(),
            _permit: permit,
        })
    }

    fn enter(&self, caller: &str) -> Result<()> {
        let most = (self.0.max / CALLER_SHARE).max(CALLER_LEAST);
        let mut callers = self.callers();
        let seats = callers.entry(caller.to_owned()).or_default();
        if *seats >= most {
            let detail = format!("the credential \"{caller}\" has {seats} WebSockets open, as many as one may");
            return Err(Error::limited("sockets.caller_full", detail)
                .hint("close some, or use another key for the rest; one key gets a quarter of MAX_SOCKETS")
                .retry_after(FULL_WAIT));
        }
        *seats += 1;
        Ok(())
    }

    fn leave(&self, caller: &str) {
        let mut callers = self.callers();
        if let Some(seats) = callers.get_mut(caller) {
            *seats -= 1;
            if *seats == 0 {
                callers.remove(caller);
            }
        }
    }

    fn callers(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.0.callers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer that turns `upgrade` into a socket. `work` then has it until it gives back why it ended; the closing is done here.
    pub fn accept<W>(&self, mut seat: Seat, upgrade: Upgrade, work: W) -> Switching
    where
        W: for<'a> FnOnce(&'a mut Socket) -> BoxFuture<'a, End> + Send + 'static,
    {
        let sockets = self.clone();
        upgrade.switch(move |stream| async move {
            let mut stage = sockets.0.stage.subscribe();
            let until = std::mem::replace(&mut seat.until, pending().boxed());
            let mut socket = Socket::open(stream, sockets.0.patience, stage.clone(), until).await;
            let end = tokio::select! {
                biased;
                end = work(&mut socket) => end,
                _ = stage.wait_for(|stage| *stage == Stage::Cut) => return sockets.note(&seat, &End::Stopping),
            };
            sockets.note(&seat, &end);
            tokio::select! {
                biased;
                () = socket.close(&end) => {}
                _ = stage.wait_for(|stage| *stage == Stage::Cut) => {}
            }
        })
    }

    /// Tells every socket to close, and refuses new ones. Returns at once.
    pub fn close(&self) {
        self.0.stage.send_if_modified(|stage| {
            let opens = *stage == Stage::Open;
            if opens {
                *stage = Stage::Closing;
            }
            opens
        });
    }

    /// Closes every socket with 1012 and waits for them, at most [`DRAIN_DEADLINE`]; gives how many had to be cut.
    pub async fn drain(&self) -> usize {
        self.close();
        let all = u32::try_from(self.0.max).unwrap_or(u32::MAX);
        if tokio::time::timeout(DRAIN_DEADLINE, self.0.seats.acquire_many(all)).await.is_ok() {
            return 0;
        }
        let left = self.open();
        self.0.stage.send_replace(Stage::Cut);
        tracing::warn!(sockets = left, "cut WebSockets that did not say goodbye in time");
        left
    }

    /// Sockets that are open or about to be.
    pub fn open(&self) -> usize {
        self.0.max - self.0.seats.available_permits()
    }

    fn gauge(&self, mode: &'static str) -> Gauge {
        self.0.open.get_or_create(&ByMode { mode }).clone()
    }

    fn note(&self, seat: &Seat, end: &End) {
        let reason = end.label();
        self.0.ended.get_or_create(&ByReason { reason }).inc();
        let Seat { visitor: Visitor { mode, caller, request_id }, since, .. } = seat;
        let seconds = since.elapsed().as_secs();
        let detail = end.detail();
        tracing::info!(target: "grps::http", mode, caller, reason, detail, seconds, request_id = &**request_id, "socket ended");
    }
}
