//! Work by a WebSocket: the server sends jobs as long as fewer than our credit are open, and hears about them on the same way. A lease
//! outlives its socket, so when that breaks, jobs at hand go on and are answered for by HTTP.

use std::cell::Cell;
use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{SinkExt, StreamExt};
use poem::http::{HeaderName, HeaderValue};
use rustls::ClientConfig;
use rustls_platform_verifier::ConfigVerifierExt;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config};

use super::gateway::{Answer, Envelope, Failure, failure, retry_after};
use super::job::{handle, keep, lost, release};
use super::pull::failed;
use super::shop::{Shop, Stage, Way};
use crate::base::clock::Stopwatch;
use crate::base::{Error, Result};
use crate::domains::jobs::MAX_CREDIT;

/// Largest frame that is read, in bytes.
const MAX_FRAME: usize = 1 << 20;

/// Answers on their way out, and jobs on their way in, at most.
const ROOM: usize = 256;

/// How long the end of a socket is waited for: jobs that were on their way are given back.
const GOODBYE: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
/// A job, the way it came, and since when its lease runs.
type Delivery = (Envelope, Way, Stopwatch);

/// Works until told to stop.
///
/// # Errors
/// When there is no point in connecting again; jobs at hand are finished first.
pub async fn run(shop: &Shop) -> Result<()> {
    // Whom requests trust, sockets trust: a private authority is set up once, in the system's store.
    let tls = ClientConfig::with_platform_verifier().map_err(|error| Error::broken("cli.no_client", error))?;
    let tls = Connector::Rustls(Arc::new(tls));
    let (deliver, inbox) = mpsc::channel(ROOM);
    let connections = async {
        let ended = connections(shop, &tls, deliver).await;
        shop.advance(Stage::Finishing);
        ended
    };
    tokio::join!(connections, work(shop, inbox)).0
}

/// Works on what is delivered, until nothing more can be.
async fn work(shop: &Shop, mut inbox: mpsc::Receiver<Delivery>) {
    let turns = Semaphore::new(shop.concurrency);
    let (mut running, mut open) = (FuturesUnordered::new(), true);
    loop {
        tokio::select! {
            delivery = inbox.recv(), if open => match delivery {
                Some(delivery) => running.push(in_turn(shop, &turns, delivery)),
                None => open = false,
            },
            Some(()) = running.next() => {}
            else => return,
        }
    }
}

/// After a reconnect the server counts from nothing, so a job may have to wait for those at hand; its lease is kept meanwhile.
async fn in_turn(shop: &Shop, turns: &Semaphore, (job, way, held): Delivery) {
    let held = Cell::new(held);
    let turn = tokio::select! {
        biased;
        () = shop.reached(Stage::Finishing) => return release(shop, &way, &job).await,
        turn = turns.acquire() => turn,
        error = keep(shop, &way, &job, &held) => return lost(shop, &job, "work on it had not begun", &error).await,
    };
    handle(shop, &way, &job, held.get()).await;
    drop(turn);
}

async fn connections(shop: &Shop, tls: &Connector, deliver: mpsc::Sender<Delivery>) -> Result<()> {
    let mut backoff = shop.backoff.clone();
    loop {
        let connected = tokio::select! {
            biased;
            () = shop.reached(Stage::Finishing) => return Ok(()),
            connected = connect(shop, tls.clone()) => connected,
        };
        let failure = match connected {
            Ok(socket) => {
                shop.back();
                let opened = Stopwatch::start();
                let Some(failure) = serve(shop, socket, &deliver).await else { return Ok(()) };
                // One that ends at once is not yet a success.
                if opened.elapsed() > shop.gateway.timeout {
                    backoff.reset();
                }
                failure
            }
            Err(failure) => failure,
        };
        let pause = failed(shop, failure, &mut backoff)?;
        tokio::select! { () = tokio::time::sleep(pause) => {}, () = shop.reached(Stage::Finishing) => return Ok(()) }
    }
}

async fn connect(shop: &Shop, tls: Connector) -> Result<Socket, Failure> {
    let (gateway, wish) = (&shop.gateway, &shop.wish);
    let credit = shop.concurrency.min(MAX_CREDIT);
    let url =
        gateway.url(&format!("/ws?mode=work&credit={credit}&lease={}&queue={}", wish.lease.as_secs(), wish.queue))?;
    let broken = |error: String| Failure::Final(Error::broken("worker.bad_target", error));
    let address = url.as_str().replacen("http", "ws", 1);
    let mut request = address.into_client_request().map_err(|error| broken(error.to_string()))?;
    for (name, text) in gateway.headers("GET", &url, b"").map_err(Failure::Final)? {
        // What cannot be a header's value is not shown: it is the key.
        let value = HeaderValue::from_str(&text).map_err(|_| broken(format!("{name} cannot be sent")))?;
        request.headers_mut().insert(HeaderName::from_static(name), value);
    }
    let config = WebSocketConfig::default().max_message_size(Some(MAX_FRAME)).max_frame_size(Some(MAX_FRAME));
    let connecting = connect_async_tls_with_config(request, Some(config), true, Some(tls));
    match tokio::time::timeout(gateway.timeout, connecting).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(SocketError::Http(answer))) => {
            let body = answer.body().as_deref().unwrap_or_default();
            Err(failure(answer.status(), retry_after(answer.headers()), body))
        }
        Ok(Err(error)) => Err(gone(&error.to_string())),
        Err(_) => Err(gone("it does not answer in time")),
    }
}

fn gone(why: &str) -> Failure {
    let detail = "the socket to the server cannot be held";
    Failure::Passing(Error::remote("server.unreachable", detail).context(why).hint("start it, or correct BASE_URL"))
}

/// Serves one socket. Why it ended; none when that is what we wanted.
async fn serve(shop: &Shop, mut socket: Socket, deliver: &mpsc::Sender<Delivery>) -> Option<Failure> {
    let (link, mut outbox) = Link::new(shop.gateway.timeout);
    let link = Arc::new(link);
    let mut beat = tokio::time::interval(shop.gateway.timeout);
    let mut heard = Stopwatch::start();
    let finishing = shop.reached(Stage::Finishing);
    tokio::pin!(finishing);
    let ended = loop {
        tokio::select! {
            frame = socket.next() => {
                heard = Stopwatch::start();
                match frame {
                    Some(Ok(Message::Text(text))) => {
                        if let Some(job) = link.heard(&text) {
                            let _ = deliver.send((job, Way::Socket(link.clone()), heard)).await;
                        }
                    }
                    Some(Ok(Message::Close(frame))) => {
                        break Some(frame.map_or_else(|| "the server closed it".to_owned(), |frame| frame.to_string()));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => break Some(error.to_string()),
                    None => break Some("it ended".to_owned()),
                }
            }
            Some(message) = outbox.recv() => {
                if let Err(why) = in_time(shop, socket.send(Message::text(message))).await {
                    break Some(why);
                }
            }
            _ = beat.tick() => {
                if heard.elapsed() > 2 * shop.gateway.timeout {
                    break Some("nothing came for too long".to_owned());
                }
                if let Err(why) = in_time(shop, socket.send(Message::Ping(Vec::new().into()))).await {
                    break Some(why);
                }
            }
            () = &mut finishing => break None,
        }
    };
    link.shut();
    drop(outbox);
    if ended.is_none() {
        let _ = tokio::time::timeout(GOODBYE, leave(&mut socket, &link, deliver)).await;
    }
    ended.map(|why| gone(&why))
}

/// Closes a socket; what is still delivered is passed on, to be given back.
async fn leave(socket: &mut Socket, link: &Arc<Link>, deliver: &mpsc::Sender<Delivery>) {
    let _ = socket.close(None).await;
    while let Some(Ok(frame)) = socket.next().await {
        if let Message::Text(text) = frame
            && let Some(job) = link.heard(&text)
        {
            let _ = deliver.send((job, Way::Http, Stopwatch::start())).await;
        }
    }
}

async fn in_time(shop: &Shop, sending: impl Future<Output = Result<(), SocketError>>) -> Result<(), String> {
    match tokio::time::timeout(shop.gateway.timeout, sending).await {
        Ok(sent) => sent.map_err(|error| error.to_string()),
        Err(_) => Err("it takes nothing any more".to_owned()),
    }
}

/// One socket, as the jobs see it that came by it.
pub struct Link {
    out: mpsc::Sender<String>,
    /// Who waits for the answer of which kind about which job; none when the socket is gone.
    waiting: Mutex<Option<Waiting>>,
    patience: Duration,
}

type Waiting = HashMap<(&'static str, String), oneshot::Sender<Result<(), Failure>>>;

/// What of a frame tells its kind; jobs have none. The payload is not looked into.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Head {
    #[serde(rename = "type")]
    kind: String,
    id: String,
    code: String,
    detail: String,
}

/// What the server calls an answer that it took, by our word for it.
const TAKEN: &[(&str, &str)] = &[("acked", "ack"), ("nacked", "nack"), ("extended", "extend")];

impl Link {
    fn new(patience: Duration) -> (Self, mpsc::Receiver<String>) {
        let (out, outbox) = mpsc::channel(ROOM);
        (Self { out, waiting: Mutex::new(Some(HashMap::new())), patience }, outbox)
    }

    /// Sends an answer and waits until the server has taken it.
    ///
    /// # Errors
    /// [`Failure::Lost`] when the lease has ended; [`Failure::Passing`] when this socket cannot tell.
    pub async fn ask(&self, job: &Envelope, answer: &Answer) -> Result<(), Failure> {
        let mut message = answer.fields(&job.lease_token);
        (message["type"], message["id"]) = (answer.verb().into(), job.id.as_str().into());
        let (tell, told) = oneshot::channel();
        match &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(waiting) => waiting.insert((answer.verb(), job.id.clone()), tell),
            None => return Err(gone("it is closed")),
        };
        let exchange = async {
            self.out.send(message.to_string()).await.map_err(|_| gone("it is closed"))?;
            told.await.unwrap_or_else(|_| Err(gone("it closed")))
        };
        tokio::time::timeout(self.patience, exchange).await.unwrap_or_else(|_| Err(gone("it does not answer in time")))
    }

    /// Takes in a frame: a job, or what became of an answer.
    fn heard(&self, text: &str) -> Option<Envelope> {
        let head: Head = serde_json::from_str(text).unwrap_or_default();
        if head.kind == "error" {
            let error = Error::remote(head.code, head.detail);
            let over = matches!(error.code(), "jobs.lease_lost" | "jobs.missing");
            if head.id.is_empty() {
                tracing::warn!(code = error.code(), "the server complains: {}", error.detail());
            }
            for (_, verb) in TAKEN {
                let error = error.clone();
                self.tell(verb, &head.id, Err(if over { Failure::Lost(error) } else { Failure::Passing(error) }));
            }
            return None;
        }
        if let Some((_, verb)) = TAKEN.iter().find(|(taken, _)| *taken == head.kind) {
            self.tell(verb, &head.id, Ok(()));
            return None;
        }
        serde_json::from_str(text).inspect_err(|error| tracing::warn!(%error, "a frame that is no job")).ok()
    }

    fn tell(&self, verb: &'static str, id: &str, how: Result<(), Failure>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(tell) = waiting.as_mut().and_then(|waiting| waiting.remove(&(verb, id.to_owned()))) {
            let _ = tell.send(how);
        }
    }

    /// Whoever waits learns that this socket cannot tell.
    fn shut(&self) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
