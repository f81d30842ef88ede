//! `/ws` and `/ws/tickets`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use poem_openapi::param::Query;
use poem_openapi::{Enum, Object, OpenApi};

use super::super::api::QueueIn;
use super::super::{Jobs, QueueName};
use super::mirror::{Mirrors, View};
use super::work::{Terms, Work};
use crate::base::{Clock, Error, Id, Result};
use crate::domains::auth::{Auth, Caller, Scope, TICKET_LIFE};
use crate::http::sockets::{End, Seat, Switching, Upgrade, Visitor};
use crate::http::{Area, Context, Json, Sockets};

/// What a socket is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
#[oai(rename_all = "lowercase")]
enum Mode {
    /// Shows every new job, takes none.
    Mirror,
    /// Takes jobs under leases.
    Work,
}

/// A switch as queries write it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum)]
enum Flag {
    #[oai(rename = "1")]
    One,
    #[oai(rename = "0")]
    Zero,
    #[oai(rename = "true")]
    True,
    #[oai(rename = "false")]
    False,
}

/// A ticket. It is shown this once.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct TicketView {
    /// Goes into the socket's address: `/ws?ticket=…`. It opens one socket.
    ticket: String,
    /// How long it is good for, in seconds.
    expires_in: u32,
}

/// The sockets' operations.
pub struct SocketApi {
    jobs: Jobs,
    mirrors: Mirrors,
    sockets: Sockets,
    auth: Arc<Auth>,
    clock: Clock,
}

impl SocketApi {
    pub fn new(jobs: Jobs, sockets: Sockets, auth: Arc<Auth>, clock: Clock) -> Self {
        Self { mirrors: Mirrors::new(jobs.clone()), jobs, sockets, auth, clock }
    }
}

#[OpenApi(tag = "Area::Jobs")]
#[allow(clippy::too_many_arguments)] // an argument per parameter of the query is how poem-openapi reads them
impl SocketApi {
    /// Jobs over a WebSocket
    ///
    /// `mode=mirror` sends each new job of the queue as a text frame that holds the object as it was put in, and takes none away. With
    /// `envelope=1` or `after`, frames are `{"id","sequence","queue","enqueuedAt","payload"}`; a consumer that comes back with `after` set
    /// to the last sequence it saw misses nothing and sees nothing twice. Where jobs between were forgotten already,
    /// `{"type":"gap","after","resumedAt"}` comes first.
    ///
    /// `mode=work` sends jobs as `GET /job/next?lease=` gives them, whenever fewer than `credit` are open, and takes
    /// `{"type":"ack","id","leaseToken"}`, `{"type":"nack",…,"reason"?,"retryIn"?,"dead"?,"released"?}` and `{"type":"extend",…,"lease"?}`. Each is
    /// answered by `{"type":"acked"}`, `nacked` or `extended` with the id, or by `{"type":"error","code","detail"}`. When the socket
    /// closes, leases run on until they end.
    #[oai(path = "/ws", method = "get", operation_id = "openSocket")]
    async fn connect(
        &self,
        caller: Caller,
        context: Context,
        /// What the socket is for; `mirror` when not given.
        mode: Query<Option<Mode>>,
        /// The queue to follow or to take from; `default` when not given.
        queue: Query<Option<QueueIn>>,
        /// Mirror: whether frames say more than the job itself.
        envelope: Query<Option<Flag>>,
        /// Mirror: the last sequence seen; `0` for everything still kept.
        #[oai(validator(max_length = 16))]
        after: Query<Option<String>>,
        /// Work: jobs open at once; 1 when not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "100")))]
        credit: Query<Option<u32>>,
        /// Work: seconds a job is yours unless extended; 30 when not given.
        #[oai(validator(minimum(value = "1"), maximum(value = "3600")))]
        lease: Query<Option<u32>>,
        upgrade: Upgrade,
    ) -> poem::Result<Switching> {
        let queue = queue.0.map_or_else(QueueName::default, |queue| queue.0);
        let holder = caller.id.clone();
        if mode.0 == Some(Mode::Work) {
            let seat = self.seat("work", caller, context)?;
            let (credit, lease) = (credit.0.unwrap_or(1) as usize, Duration::from_secs(lease.0.unwrap_or(30).into()));
            let work = Work::new(self.jobs.clone(), self.clock.clone(), Terms { queue, credit, lease, holder });
            return Ok(self.sockets.accept(seat, upgrade, move |socket| Box::pin(work.run(socket))));
        }
        let after = after.0.as_deref().map(sequence).transpose()?;
        let tail = self.jobs.tail();
        let view = View {
            // Looked up before the answer goes out: whatever is put in once the client sees itself connected comes after it.
            place: tail.place(queue, after.unwrap_or_else(|| tail.newest())),
            envelope: after.is_some() || matches!(envelope.0, Some(Flag::One | Flag::True)),
            resumes: after.is_some(),
        };
        let seat = self.seat("mirror", caller, context)?;
        let mirrors = self.mirrors.clone();
        Ok(self.sockets.accept(seat, upgrade, move |socket| Box::pin(mirrors.run(socket, view))))
    }

    /// A ticket for a socket
    ///
    /// For browsers, which cannot give a socket's handshake any header. It stands for the credential it was asked with, opens one socket
    /// within 30 seconds, and is worth nothing afterwards.
    #[oai(path = "/ws/tickets", method = "post", operation_id = "createTicket")]
    async fn ticket(&self, caller: Caller, context: Context) -> poem::Result<Json<TicketView>> {
        let ticket = self.auth.tickets().issue(&caller, context.now)?;
        let expires_in = TICKET_LIFE.as_secs() as u32;
        Ok(Json(TicketView { ticket: ticket.expose().to_owned(), expires_in }))
    }
}

impl SocketApi {
    /// A place for the caller's socket.
    fn seat(&self, mode: &'static str, caller: Caller, context: Context) -> Result<Seat> {
        let visitor = Visitor { mode, caller: caller.id.clone(), request_id: context.request_id.clone() };
        let seat = self.sockets.seat(visitor)?;
        self.auth.use_up(&caller, &context)?;
        let ended = self.auth.ended(caller, Scope::JobsConsume);
        Ok(seat.until(ended.map(|()| End::Policy("the key this was opened with is revoked".into())).boxed()))
    }
}

/// Reads `after`.
fn sequence(text: &str) -> Result<Id> {
    if text == "0" {
        return Ok(Id(0));
    }
    text.parse().map_err(|_| {
        Error::field(
            &["query", "after"],
            "value_error",
            "must be a sequence as frames show it (16 hex characters), or 0",
        )
    })
}
