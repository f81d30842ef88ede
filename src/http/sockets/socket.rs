//! One open socket: bounded in what it buffers, in how long its peer may be slow, and in how long it may be quiet.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::{BoxFuture, Fuse};
use futures_util::{FutureExt, SinkExt, StreamExt};
use poem::Upgraded;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::{End, Patience, Stage};
use crate::base::clock::Stopwatch;

/// Largest message a peer may send, in bytes. Ours may be larger.
pub const MAX_MESSAGE: usize = 16 * 1024;

/// What is read at once, in bytes; a socket that waits holds about this much.
const READ_BUFFER: usize = 512;

/// Pongs and closes waiting to be written, in bytes.
const MAX_CONTROL: usize = 1024;

/// Up to this size, head and parts of a message are copied together and leave in one piece; longer parts are written from where they are.
const MAX_COPIED: usize = 4096;

/// How long the closing handshake may take.
const CLOSE_WAIT: Duration = Duration::from_secs(1);

/// How long a write that is under way when the server stops may still take. With what is left to do afterwards it stays within
/// [`super::DRAIN_DEADLINE`].
const LAST_WRITE: Duration = Duration::from_secs(1);

/// What a peer sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Incoming {
    Text(String),
    /// Not looked into.
    Binary,
}

/// One open socket.
pub struct Socket {
    stream: WebSocketStream<Upgraded>,
    patience: Patience,
    stage: watch::Receiver<Stage>,
    /// Resolves when it has to end whatever its peer does.
    until: Fuse<BoxFuture<'static, End>>,
    heard: Stopwatch,
    /// How long it may be quiet before the first ping: less than the rest, by chance, so that sockets opened together do not ping together.
    first: Duration,
    /// Since the ping that waits for an answer.
    asked: Option<Stopwatch>,
    /// A message was begun and not finished: nothing more can be written.
    torn: bool,
}

impl Socket {
    pub(super) async fn open(
        stream: Upgraded,
        patience: Patience,
        stage: watch::Receiver<Stage>,
        until: BoxFuture<'static, End>,
    ) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER)
            .write_buffer_size(0)
            .max_write_buffer_size(MAX_CONTROL)
            .max_message_size(Some(MAX_MESSAGE))
            .max_frame_size(Some(MAX_MESSAGE));
        let stream = WebSocketStream::from_raw_socket(stream, Role::Server, Some(config)).await;
        let first = patience.ping.mul_f64(0.5 + fastrand::f64() / 2.0);
        Self {
            stream,
            patience,
            stage,
            until: until.fuse(),
            heard: Stopwatch::start(),
            first,
            asked: None,
            torn: false,
        }
    }

    /// Sends one text message. Await it to the end: a message that was begun and given up leaves a socket that can only be dropped.
    ///
    /// # Errors
    /// [`End::Slow`] when the peer did not take it within the write deadline, [`End::Stopping`] when it did not while the server stops,
    /// [`End::Gone`] when it is not there any more.
    pub async fn send(&mut self, text: &str) -> Result<(), End> {
        self.send_parts(&[text]).await
    }

    /// Sends the parts, one behind the other, as one text message, so that a part others share need not be copied.
    ///
    /// # Errors
    /// As [`Socket::send`].
    pub async fn send_parts(&mut self, parts: &[&str]) -> Result<(), End> {
        if self.torn {
            return Err(End::Gone);
        }
        // Someone who reads a long page would otherwise get the rest of it.
        if let Some(end) = (&mut self.until).now_or_never() {
            return Err(end);
        }
        self.torn = true;
        tokio::select! {
            biased;
            written = write(&mut self.stream, parts) => written.map_err(|()| End::Gone)?,
            () = sleep(self.patience.write) => return Err(End::Slow),
            () = overdue(&mut self.stage) => return Err(End::Stopping),
        }
        self.torn = false;
        Ok(())
    }

    /// The next message. Answers pings, sends its own to a quiet peer, and may be dropped and called again without losing anything.
    ///
    /// # Errors
    /// Why the socket has to end: the peer closed it, broke a rule or fell silent, or the server shuts down.
    pub async fn receive(&mut self) -> Result<Incoming, End> {
        if self.torn {
            return Err(End::Gone);
        }
        loop {
            // An answer has its time from the ping on: who was busy with something else may have asked late.
            let wait = match &self.asked {
                Some(asked) => self.patience.pong.saturating_sub(asked.elapsed()),
                None => self.first.saturating_sub(self.heard.elapsed()),
            };
            let message = tokio::select! {
                biased;
                _ = self.stage.wait_for(|stage| *stage != Stage::Open) => return Err(End::Stopping),
                end = &mut self.until => return Err(end),
                message = self.stream.next() => Some(message),
                () = sleep(wait) => None,
            };
            let Some(message) = message else {
                self.ask()?;
                continue;
            };
            let message = message.ok_or(End::Gone)??;
            (self.heard, self.first, self.asked) = (Stopwatch::start(), self.patience.ping, None);
            match message {
                Message::Text(text) => return Ok(Incoming::Text(text.as_str().to_owned())),
                Message::Binary(_) => return Ok(Incoming::Binary),
                Message::Close(_) => return Err(End::Gone),
                Message::Ping(_) | Message::Pong(_) | Message::Frame(_) => {}
            }
        }
    }

    /// A quiet peer is pinged once; one that was pinged already has run out of time.
    fn ask(&mut self) -> Result<(), End> {
        if self.asked.is_some() {
            return Err(End::Silent);
        }
        self.asked = Some(Stopwatch::start());
        // Written at once when the peer takes it; when it does not, it is about to be silent.
        self.stream.start_send_unpin(Message::Ping(Bytes::new()))?;
        Ok(())
    }

    /// Says goodbye and waits for the peer's, for a moment.
    pub(super) async fn close(mut self, end: &End) {
        if self.torn {
            return;
        }
        let frame = end.frame();
        let lost_track = end.lost_track();
        let farewell = async {
            let said = match frame {
                Some(frame) => self.stream.close(Some(frame)).await,
                // The answer to the peer's own goodbye.
                None => SinkExt::close(&mut self.stream).await,
            };
            if said.is_ok() && !lost_track {
                while let Some(Ok(_)) = self.stream.next().await {}
            }
            let io = self.stream.get_mut();
            let _ = io.shutdown().await;
            // Closing with unread bytes would reset the connection before the peer has read why.
            let mut rest = [0u8; 512];
            while io.read(&mut rest).await.is_ok_and(|count| count > 0) {}
        };
        let _ = timeout(CLOSE_WAIT, farewell).await;
    }
}

async fn write(stream: &mut WebSocketStream<Upgraded>, parts: &[&str]) -> Result<(), ()> {
    // A pong that waits must not end up inside our frame.
    stream.flush().await.map_err(drop)?;
    let (mut head, mut length) = ([0u8; 10], 2);
    head[0] = 0x81; // final, text
    let total: usize = parts.iter().map(|part| part.len()).sum();
    match total {
        short @ ..=125 => head[1] = short as u8,
        medium @ ..=0xffff => {
            head[1] = 126;
            head[2..4].copy_from_slice(&(medium as u16).to_be_bytes());
            length = 4;
        }
        long => {
            head[1] = 127;
            head[2..10].copy_from_slice(&(long as u64).to_be_bytes());
            length = 10;
        }
    }
    let io = stream.get_mut();
    let mut whole = head[..length].to_vec();
    for part in parts {
        if whole.len() + part.len() > MAX_COPIED {
            io.write_all(&whole).await.map_err(drop)?;
            whole.clear();
            io.write_all(part.as_bytes()).await.map_err(drop)?;
        } else {
            whole.extend_from_slice(part.as_bytes());
        }
    }
    io.write_all(&whole).await.map_err(drop)?;
    io.flush().await.map_err(drop)
}

/// Resolves when a write should have been done, since the server stops.
async fn overdue(stage: &mut watch::Receiver<Stage>) {
    let _ = stage.wait_for(|stage| *stage != Stage::Open).await;
    sleep(LAST_WRITE).await;
}
