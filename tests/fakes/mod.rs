//! Vendors in miniature: real HTTP servers on this machine that answer as the vendor does, on good days and on every kind of bad one, and
//! that remember what they were sent that the vendor would not have taken.

pub mod days;
pub mod discord;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grps::base::{Clock, Secret};
use grps::fakes::roblox::{FakeRoblox, GROUP, KEY, UNIVERSE};
use grps::remote::roblox::Settings;
use grps::remote::{BaseUrl, Roblox};
use poem::listener::TcpAcceptor;
use poem::{Endpoint, IntoEndpoint, Request, Response, Server};
use tokio::task::JoinHandle;

/// Long enough that every client with a test's patience has given up.
pub const HANG: std::time::Duration = std::time::Duration::from_secs(20);

/// What clients of tests wait for an answer: long enough that a busy machine gives one that is meant to come.
pub const PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// Access to the group and the universe of `fake`, with a test's patience.
pub fn roblox(fake: &FakeRoblox, clock: &Clock) -> Roblox {
    let settings = Settings {
        key: Secret::new(KEY),
        api: BaseUrl::parse("ROBLOX_API_URL", fake.url()).unwrap(),
        budget_percent: 100,
        group: Some(GROUP),
        universe: Some(UNIVERSE),
        store: None,
        prefix: None,
        patience: PATIENCE,
    };
    Roblox::new(&settings, clock.clone()).unwrap()
}

/// A server that ends with its owner.
pub struct Served {
    pub url: String,
    task: JoinHandle<std::io::Result<()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Serves `endpoint` on a port of its own.
pub async fn serve<E>(endpoint: E) -> Served
where
    E: IntoEndpoint + Send,
    E: 'static,
    E::Endpoint: 'static,
{
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let acceptor = TcpAcceptor::from_tokio(listener).unwrap();
    #[allow(clippy::disallowed_methods)] // a vendor is nobody's worker
    let task = tokio::spawn(Server::new_with_acceptor(acceptor).run(endpoint));
    Served { url, task }
}

/// An endpoint made of shared state and a function.
pub struct Fake<S, F> {
    pub state: Arc<Mutex<S>>,
    pub answer: F,
}

impl<S, F, Fut> Endpoint for Fake<S, F>
where
    S: Send,
    F: Fn(Arc<Mutex<S>>, Request) -> Fut + Send + Sync,
    Fut: Future<Output = Response> + Send,
{
    type Output = Response;

    async fn call(&self, request: Request) -> poem::Result<Response> {
        Ok((self.answer)(self.state.clone(), request).await)
    }
}

pub fn lock<S>(state: &Mutex<S>) -> MutexGuard<'_, S> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A header's text, empty when it is not there.
pub fn header<'a>(request: &'a Request, name: &str) -> &'a str {
    request.headers().get(name).map_or("", |value| value.to_str().unwrap())
}
