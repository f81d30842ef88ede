//! Reading request bodies: whole, within a size and a deadline each, and within one bound on memory for all of them together, because
//! they are read before anyone has proven anything (signatures cover them).

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use poem::http::header;
use poem::{Body, Request};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::http::failure::Failure;

/// Bodies held at once, in bytes over all requests, from their arrival to their request's answer.
pub const MAX_BODIES_BYTES: usize = 64 * 1024 * 1024;

/// How long a request waits for others to give back their room.
const ROOM_WAIT: Duration = Duration::from_millis(250);

/// How much of a body that is too large is read and thrown away, in bytes, so that its sender gets to read the 413.
const MAX_DISCARD: u64 = 8 * 1024 * 1024;

/// Reads bodies and counts what it holds of them.
///
/// A body takes its room as it arrives, not as it is declared: whoever declares much and sends nothing keeps nobody out.
pub struct Bodies {
    limit: usize,
    deadline: Duration,
    room: Semaphore,
}

/// A body's share of the memory for bodies; dropping it gives it back. `None` for an empty body.
pub type Room<'a> = Option<SemaphorePermit<'a>>;

impl Bodies {
    /// `limit` is in bytes per body, at most [`MAX_BODIES_BYTES`].
    pub fn new(limit: usize, deadline: Duration) -> Self {
        Self { limit: limit.min(MAX_BODIES_BYTES), deadline, room: Semaphore::new(MAX_BODIES_BYTES) }
    }

    /// Reads the whole body, and puts it back for extractors that read it themselves. The room is to be held as long as the body.
    ///
    /// # Errors
    /// 413, 408, 400 and 503, see [`Failure`].
    pub async fn read(&self, request: &mut Request) -> Result<(Bytes, Room<'_>), Failure> {
        let body = request.take_body();
        if body.is_empty() {
            return Ok((Bytes::new(), None));
        }
        let declared = request.header(header::CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        let awaits_go = request.headers().contains_key(header::EXPECT);
        let read = async {
            match declared {
                Some(length) if length > self.limit as u64 => {
                    if !awaits_go {
                        discard(body, length).await;
                    }
                    Err(Failure::body_too_large(self.limit))
                }
                _ => self.collect(body).await,
            }
        };
        let read = tokio::time::timeout(self.deadline, read).await;
        let (bytes, room) = read.unwrap_or_else(|_| Err(Failure::body_late(self.deadline)))?;
        request.set_body(bytes.clone());
        Ok((bytes, room))
    }

    async fn collect(&self, body: Body) -> Result<(Bytes, Room<'_>), Failure> {
        let mut chunks = body.into_bytes_stream();
        let mut room: Room<'_> = None;
        let mut first: Option<Bytes> = None;
        let mut all = BytesMut::new();
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk.map_err(|cause| Failure::body_cut(&cause))?;
            let so_far = first.as_ref().map_or(all.len(), Bytes::len);
            if so_far + chunk.len() > self.limit {
                return Err(Failure::body_too_large(self.limit));
            }
            let taken = self.take(chunk.len()).await?;
            match &mut room {
                Some(room) => room.merge(taken),
                None => room = Some(taken),
            }
            if so_far == 0 {
                // Most bodies are one chunk, which needs no copy.
                first = Some(chunk);
                continue;
            }
            if let Some(first) = first.take() {
                all.extend_from_slice(&first);
            }
            all.extend_from_slice(&chunk);
        }
        Ok((first.unwrap_or_else(|| all.freeze()), room))
    }

    async fn take(&self, bytes: usize) -> Result<SemaphorePermit<'_>, Failure> {
        let bytes = bytes as u32; // no chunk is longer than the limit, which fits
        if let Ok(room) = self.room.try_acquire_many(bytes) {
            return Ok(room);
        }
        let waited = tokio::time::timeout(ROOM_WAIT, self.room.acquire_many(bytes)).await;
        waited.ok().and_then(Result::ok).ok_or_else(Failure::bodies_full)
    }
}

/// Reads what is still coming, up to a bound, so that closing the connection does not reset it before the client has read our answer.
async fn discard(body: Body, length: u64) {
    if length > MAX_DISCARD {
        return;
    }
    let mut chunks = body.into_bytes_stream();
    while let Some(Ok(_)) = chunks.next().await {}
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(body: impl Into<Body>) -> Request {
        Request::builder().body(body)
    }

    #[tokio::test(start_paused = true)]
    async fn all_bodies_together_are_bounded_and_give_back_their_room() {
        let bodies = Bodies { limit: 10, deadline: Duration::from_secs(1), room: Semaphore::new(10) };
        let (bytes, room) = bodies.read(&mut post("sixbyt")).await.unwrap();
        assert_eq!((&bytes[..], bodies.room.available_permits()), (&b"sixbyt"[..], 4));
        let (_, small) = bodies.read(&mut post("four")).await.unwrap();
        assert!(bodies.read(&mut post("")).await.unwrap().1.is_none(), "no body needs no room");
        let refused = bodies.read(&mut post("x")).await.unwrap_err().respond("id");
        assert_eq!(refused.status(), poem::http::StatusCode::SERVICE_UNAVAILABLE);
        assert!(refused.header("retry-after").is_some());
        drop((room, small));
        assert_eq!(bodies.room.available_permits(), 10);
        let waits = async {
            let chunks = ["five5", "five5"].map(|chunk| Ok::<_, std::io::Error>(Bytes::from(chunk)));
            bodies.read(&mut post(Body::from_bytes_stream(futures_util::stream::iter(chunks)))).await.unwrap()
        };
        let (_, held) = bodies.read(&mut post("seven77")).await.unwrap();
        let gives_back = async {
            tokio::time::sleep(ROOM_WAIT / 2).await;
            drop(held);
        };
        let ((bytes, room), ()) = tokio::join!(waits, gives_back);
        assert_eq!(
            (&bytes[..], room.unwrap().num_permits()),
            (&b"five5five5"[..], 10),
            "it waited, and holds its whole length"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_takes_no_room() {
        let bodies = Bodies { limit: 10, deadline: Duration::from_secs(1), room: Semaphore::new(10) };
        let stalled = Body::from_bytes_stream(futures_util::stream::pending::<Result<Bytes, std::io::Error>>());
        let mut declared = Request::builder().header("content-length", "10").body(stalled);
        let (late, quick) =
            tokio::join!(bodies.read(&mut declared), async { bodies.read(&mut post("tenbytes!!")).await });
        assert!(late.is_err() && quick.is_ok());
    }
}
