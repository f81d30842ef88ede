//! One connection: hyper's HTTP/1.1 state machine, and a watchdog that closes it when the peer is late. One that becomes a WebSocket leaves
//! here: it has a seat and deadlines of its own ([`crate::http::sockets`]).
//!
//! hyper's own header timer arms (and allocates) a timer per request and cannot tell an idle connection from a dripped header. Here the
//! socket and the service note what the peer owes us, and since when; the watchdog looks a few times per deadline. That costs a request
//! two atomic stores, and cuts a late peer between 100 % and 125 % of its deadline.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use poem::http::uri::Scheme;
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Endpoint, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::base::clock::Stopwatch;

/// Largest request line with headers, in bytes; past it hyper answers 431.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// Looks per deadline: the watchdog's precision.
const LOOKS: u32 = 4;

/// How long a peer may owe us what.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// The rest of a request's head, once it has begun.
    pub header: Duration,
    /// The next request.
    pub idle: Duration,
    /// Draining what we wrote.
    pub write: Duration,
}

/// Where the server is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    Open,
    /// Idle connections close, busy ones finish their request.
    Draining,
    /// Whatever is left closes.
    Cut,
}

/// What a connection knows of its surroundings.
pub struct Line {
    pub peer: SocketAddr,
    pub local: SocketAddr,
    pub deadlines: Deadlines,
    pub stage: watch::Receiver<Stage>,
}

/// Serves one connection to its end.
pub async fn serve<E>(stream: TcpStream, endpoint: Arc<E>, line: Line)
where
    E: Endpoint<Output = Response>,
{
    // Answers are written whole; waiting to fill a packet only adds latency. A socket that refuses is already gone.
    let _ = stream.set_nodelay(true);
    let Line { peer, local, deadlines, mut stage } = line;
    let pulse = Arc::new(Pulse::new());
    let (endpoint, beat) = (&*endpoint, &*pulse);
    let service = service_fn(move |request| async move {
        beat.enter(Phase::Serving);
        let ends = (LocalAddr(Addr::SocketAddr(local)), RemoteAddr(Addr::SocketAddr(peer)));
        let response = endpoint.get_response((request, ends.0, ends.1, Scheme::HTTP).into()).await;
        beat.enter(Phase::Idle);
        Ok::<_, Infallible>(hyper::Response::from(response))
    });
    let socket = TokioIo::new(Socket { stream, pulse: pulse.clone() });
    let mut builder = http1::Builder::new();
    builder.header_read_timeout(None).max_header_size(MAX_HEAD_BYTES);
    let connection = builder.serve_connection(socket, service).with_upgrades();
    tokio::pin!(connection);
    let watchdog = pulse.late(deadlines);
    tokio::pin!(watchdog);

    tokio::select! {
        biased;
        // An error here is the peer's doing (reset, malformed head); hyper has answered what could be answered.
        _ = &mut connection => return,
        () = &mut watchdog => return,
        _ = stage.wait_for(|stage| *stage != Stage::Open) => {}
    }
    if pulse.phase() == Phase::Idle && !pulse.is_writing() {
        return;
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        biased;
        _ = &mut connection => {}
        () = &mut watchdog => {}
        _ = stage.wait_for(|stage| *stage == Stage::Cut) => {}
    }
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// The peer's, to begin a request.
    Idle,
    /// The peer's, to finish a request's head.
    Head,
    /// Ours; bodies have a deadline of their own in the front layer.
    Serving,
}

/// What the peer owes us and since when, in milliseconds since the connection opened. Written and read within one task.
struct Pulse {
    opened: Stopwatch,
    phase: AtomicU8,
    since: AtomicU64,
    /// When a write first found the socket full; 0 when everything written has been taken.
    full_since: AtomicU64,
}

impl Pulse {
    fn new() -> Self {
        Self {
            opened: Stopwatch::start(),
            phase: AtomicU8::new(Phase::Idle as u8),
            since: AtomicU64::new(0),
            full_since: AtomicU64::new(0),
        }
    }

    fn now(&self) -> u64 {
        self.opened.elapsed().as_millis() as u64
    }

    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Relaxed);
        if phase != Phase::Serving {
            self.since.store(self.now(), Relaxed);
        }
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Relaxed) {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Serving,
        }
    }

    fn is_writing(&self) -> bool {
        self.full_since.load(Relaxed) != 0
    }

    fn note_full(&self) {
        if !self.is_writing() {
            self.full_since.store(self.now().max(1), Relaxed);
        }
    }

    /// How much longer the peer has; `None` when it owes us nothing.
    fn left(&self, deadlines: Deadlines) -> Option<Duration> {
        let left =
            |limit: Duration, since: u64| limit.saturating_sub(Duration::from_millis(self.now().saturating_sub(since)));
        match (self.is_writing(), self.phase()) {
            (true, _) => Some(left(deadlines.write, self.full_since.load(Relaxed))),
            (false, Phase::Idle) => Some(left(deadlines.idle, self.since.load(Relaxed))),
            (false, Phase::Head) => Some(left(deadlines.header, self.since.load(Relaxed))),
            (false, Phase::Serving) => None,
        }
    }

    /// Resolves when the peer is late.
    async fn late(&self, deadlines: Deadlines) {
        let shortest = deadlines.header.min(deadlines.idle).min(deadlines.write);
        let look = (shortest / LOOKS).max(Duration::from_millis(1));
        loop {
            match self.left(deadlines) {
                Some(Duration::ZERO) => return,
                Some(left) => sleep(left.min(look).max(Duration::from_millis(1))).await,
                None => sleep(look).await,
            }
        }
    }
}

/// The socket, noting what passes through it.
struct Socket {
    stream: TcpStream,
    pulse: Arc<Pulse>,
}

impl AsyncRead for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before && self.pulse.phase() == Phase::Idle {
            self.pulse.enter(Phase::Head);
        }
        polled
    }
}

impl Socket {
    fn noted<T>(&self, polled: Poll<T>) -> Poll<T> {
        if polled.is_pending() {
            self.pulse.note_full();
        }
        polled
    }
}

impl AsyncWrite for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.noted(polled)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.noted(polled)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes the socket only once its own buffer is empty: the peer has taken everything.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.pulse.full_since.store(0, Relaxed);
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
