//! Open Cloud in miniature: groups, data stores, restrictions and messages over HTTP on this machine, with the paging, the limits, the
//! rules of rank and the shapes of failure that Roblox documents. [`FakeRoblox`] starts it, says what is in it and what has become of it.
//!
//! It is stricter than Roblox: what Roblox would overlook (an unknown field, a parameter that does nothing) is a 400 here, and is
//! remembered ([`FakeRoblox::wrong`]). Where the documents say two things, it does both by turns.
//!
//! Not here: OAuth, place-level restrictions, memory stores, increments, and `content-md5`, which is neither sent nor looked at.

mod call;
mod control;
mod days;
mod groups;
mod keys;
mod limits;
mod pages;
mod reply;
mod restrictions;
mod stores;
mod universe;
mod world;

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use poem::{Body, Endpoint, Request, Response};
use tokio::sync::oneshot;

use self::call::{Call, wrong};
use self::days::Sending;
use self::world::{World, note};
use crate::base::metrics::Metrics;
use crate::base::{Clock, Result};
use crate::http::{Config, Server};

pub use self::days::Day;
pub use self::groups::Logged;
pub use self::keys::{Key, Scope};
pub use self::limits::Class;
pub use self::restrictions::Restriction;
pub use self::stores::{Entry, Version};
pub use self::universe::Message;
pub use self::world::{Asked, Change, Effect, MAX_ASKED};

/// The key that everything may be done with.
pub const KEY: &str = "an-open-cloud-key-that-nobody-may-see-in-any-log";

/// The universe that is meant when nobody says which.
pub const UNIVERSE: u64 = 987_654_321;

/// The group that is meant when nobody says which.
pub const GROUP: u64 = 7_654_321;

/// Who owns that group.
pub const OWNER: u64 = 1_000_001;

/// Who owns the key: a member of that group with [`BOT_ROLE`].
pub const BOT: u64 = 1_000_002;

/// A role of rank 250 that may change ranks, let people in and read the log.
pub const BOT_ROLE: u64 = GROUP * 1000 + 250;

/// How late a late answer is: every client has given up by then.
pub const HANG: Duration = Duration::from_secs(20);

/// Largest request that is read, in bytes.
const MAX_REQUEST: usize = 5 << 20;

/// The server, until the last clone is dropped. Cheap to clone.
#[derive(Clone)]
pub struct FakeRoblox {
    world: Arc<Mutex<World>>,
    url: String,
    group: u64,
    universe: u64,
    _open: Arc<oneshot::Sender<()>>,
}

impl FakeRoblox {
    /// Serves on a port of its own. Needs a tokio runtime.
    ///
    /// # Errors
    /// `server.bind_failed` when no port is to be had.
    #[allow(clippy::disallowed_methods)] // a vendor is nobody's worker
    pub fn start(clock: Clock) -> Result<Self> {
        let server = Server::bind(([127, 0, 0, 1], 0).into(), &Config::default(), &Metrics::default())?;
        let url = format!("http://{}", server.address());
        let world = Arc::new(Mutex::new(World::new(clock)));
        let (open, closed) = oneshot::channel();
        let door = Door { world: world.clone() };
        tokio::spawn(async move {
            let closed = async { drop(closed.await) };
            server.serve(door, closed).await
        });
        let fake = Self { world, url, group: GROUP, universe: UNIVERSE, _open: Arc::new(open) };
        fake.furnish();
        Ok(fake)
    }

    /// What there is before anybody adds to it.
    fn furnish(&self) {
        self.put_key(KEY, Key::of(BOT));
        self.group(GROUP, "The group", Some(OWNER));
        self.role(BOT_ROLE, "Automation", 250, &["changeRank", "acceptRequests", "viewAuditLog"]);
        self.member(BOT, &[BOT_ROLE]);
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        lock(&self.world)
    }
}

fn lock(world: &Mutex<World>) -> MutexGuard<'_, World> {
    world.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where requests come in.
struct Door {
    world: Arc<Mutex<World>>,
}

impl Endpoint for Door {
    type Output = Response;

    async fn call(&self, mut request: Request) -> poem::Result<Response> {
        let body = request.take_body().into_bytes_limit(MAX_REQUEST).await;
        let method = request.method().as_str().to_owned();
        let (path, query) = (request.uri().path().to_owned(), request.uri().query().unwrap_or_default().to_owned());
        let headers = std::mem::take(request.headers_mut());
        let (reply, sending, date) = {
            let mut world = lock(&self.world);
            let now = world.now();
            let asked = note(now, &method, &path, &query, body.as_deref().unwrap_or_default());
            let read = match body {
                Ok(body) => Call::read(&method, &path, &query, headers, body),
                Err(_) => wrong("the body is too long, or did not come"),
            };
            let (reply, sending) = world.serve(read, asked);
            (reply, sending, now + world.skew)
        };
        if sending == Sending::Late {
            tokio::time::sleep(HANG).await;
        }
        let mut response = reply.response(date);
        if sending == Sending::Cut {
            let broken = [Ok(Bytes::from_static(b"{")), Err(io::Error::other("cut"))];
            response.set_body(Body::from_bytes_stream(stream::iter(broken)));
        }
        Ok(response)
    }
}
