//! The accept loop. poem's own server has no deadlines, no connection cap, no TCP_NODELAY, and burns a core when file descriptors run
//! out; this one serves HTTP/1.1 with hyper and cuts what drips, stalls or outstays (requirement: fit for the open internet).

mod backoff;
mod connection;
mod holder;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use poem::{Endpoint, Response};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::{sleep, timeout};

use self::backoff::Backoff;
use self::connection::{Deadlines, Line, Stage};
use super::config::{Config, ms};
use super::failure::Failure;
use crate::base::metrics::Metrics;
use crate::base::{Error, Result};

/// Connections the kernel may hold for us while we are busy.
const BACKLOG: u32 = 4096;

/// Connections over the cap that are told so at the same time; more than these are closed without a word.
const MAX_REFUSALS: usize = 64;

/// How long a refused connection may take to read its refusal.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(1);

/// A bound listener, ready to serve.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    limits: Limits,
    open: Gauge,
    refused: Counter,
}

struct Limits {
    max_connections: usize,
    deadlines: Deadlines,
    drain: Duration,
}

/// How a shutdown went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drained {
    /// Every request in flight was answered.
    Clean,
    /// This many connections were cut because they were not done in time.
    Cut(usize),
}

impl Server {
    /// Takes the port. Needs a tokio runtime.
    ///
    /// # Errors
    /// `server.port_taken` names the process that holds it where that can be known; `server.bind_failed` otherwise.
    pub fn bind(address: SocketAddr, config: &Config, metrics: &Metrics) -> Result<Self> {
        let listener = listen(address).map_err(|err| refusal(address, &err))?;
        let address = listener.local_addr().unwrap_or(address);
        Ok(Self {
            listener,
            address,
            limits: Limits {
                max_connections: config.max_connections.clamp(1, Semaphore::MAX_PERMITS),
                deadlines: Deadlines {
                    header: ms(config.header_deadline_ms),
                    idle: ms(config.idle_deadline_ms),
                    write: ms(config.write_deadline_ms),
                },
                drain: ms(config.drain_deadline_ms),
            },
            open: metrics.register("http_connections", "Open connections", Gauge::default()),
            refused: metrics.register("http_connections_refused", "Connections refused at the cap", Counter::default()),
        })
    }

    /// Where it listens, with the port the system chose when it was asked for port 0.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` resolves, then drains: no new connections, idle ones closed at once, requests in flight finished within
    /// the drain deadline, the rest cut.
    #[allow(clippy::disallowed_methods)] // connections are this module's tasks
    pub async fn serve<E>(self, endpoint: E, stop: impl Future<Output = ()>) -> Drained
    where
        E: Endpoint<Output = Response> + 'static,
    {
        let Self { listener, limits, .. } = &self;
        let endpoint = Arc::new(endpoint);
        let (stage, watched) = watch::channel(Stage::Open);
        let seats = Arc::new(Semaphore::new(limits.max_connections));
        let refusals = Arc::new(Semaphore::new(MAX_REFUSALS));
        let mut backoff = Backoff::default();
        tokio::pin!(stop);
        loop {
            let accepted = tokio::select! {
                biased;
                () = &mut stop => break,
                accepted = listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(err) => {
                    pause(&mut backoff, &err).await;
                    continue;
                }
            };
            backoff.reset();
            let Ok(seat) = seats.clone().try_acquire_owned() else {
                self.refuse(stream, &refusals);
                continue;
            };
            let line = Line { peer, local: self.address, deadlines: limits.deadlines, stage: watched.clone() };
            let (endpoint, open) = (endpoint.clone(), self.open.clone());
            open.inc();
            tokio::spawn(async move {
                connection::serve(stream, endpoint, line).await;
                open.dec();
                drop(seat);
            });
        }
        // Closed at once: a client that connects now is refused and goes elsewhere, instead of waiting for someone who never comes.
        drop(self.listener);
        self.limits.drain(&stage, &seats).await
    }

    /// Tells a client over the cap so, instead of letting it wait in a queue it cannot see: it can then back off or try elsewhere.
    #[allow(clippy::disallowed_methods)] // bounded by MAX_REFUSALS
    fn refuse(&self, mut stream: TcpStream, refusals: &Arc<Semaphore>) {
        self.refused.inc();
        let Ok(turn) = refusals.clone().try_acquire_owned() else { return };
        tokio::spawn(async move {
            let farewell = async {
                stream.write_all(Failure::no_connection_left().raw().as_bytes()).await?;
                stream.shutdown().await?;
                // Closing with unread bytes would reset the connection before the client has read the refusal.
                let mut rest = [0u8; 1024];
                while stream.read(&mut rest).await? > 0 {}
                io::Result::Ok(())
            };
            // It was turned away either way.
            let _ = timeout(REFUSAL_DEADLINE, farewell).await;
            drop(turn);
        });
    }
}

impl Limits {
    async fn drain(&self, stage: &watch::Sender<Stage>, seats: &Semaphore) -> Drained {
        let all = u32::try_from(self.max_connections).unwrap_or(u32::MAX);
        stage.send_replace(Stage::Draining);
        if timeout(self.drain, seats.acquire_many(all)).await.is_ok() {
            return Drained::Clean;
        }
        let left = self.max_connections - seats.available_permits();
        stage.send_replace(Stage::Cut);
        tracing::warn!(connections = left, "cut connections that did not finish in time");
        Drained::Cut(left)
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    // A restart must not wait for the last run's closed connections to be forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn refusal(address: SocketAddr, err: &io::Error) -> Error {
    if err.kind() != io::ErrorKind::AddrInUse {
        let hint = match err.kind() {
            io::ErrorKind::PermissionDenied => "ports below 1024 need privileges: choose another with --port or PORT",
            io::ErrorKind::AddrNotAvailable => "this machine does not have that address: choose one it has with --host",
            _ => "choose another address with --host and --port",
        };
        return Error::invalid("server.bind_failed", format!("cannot listen on {address}: {err}")).hint(hint);
    }
    let holder = holder::of(address.port()).map(|holder| format!(" by {holder}")).unwrap_or_default();
    let other = address.port().checked_add(1).unwrap_or(8000);
    Error::conflict("server.port_taken", format!("port {} is already in use{holder}", address.port()))
        .hint(format!("stop that process, or choose another port: --port {other} or PORT={other}"))
}

/// A failed accept concerns one connection, or (out of file descriptors or memory) all of them; only the latter is worth a pause.
async fn pause(backoff: &mut Backoff, err: &io::Error) {
    if backoff::is_exhaustion(err) {
        let wait = backoff.next();
        tracing::error!(error = %err, wait_ms = wait.as_millis() as u64, "cannot accept connections");
        sleep(wait).await;
    }
}

/// Raises the soft limit of open files to the hard one and returns it: each connection is a file.
///
/// # Errors
/// `server.file_limit` when the system refuses; the old limit then stays.
pub fn raise_file_limit() -> Result<Option<u64>> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })
        .map_err(|err| Error::broken("server.file_limit", format!("cannot raise the open-file limit: {err}")))?;
    Ok(maximum)
}
