//! Jobs over real WebSockets, with a client that is not ours: the seed's mirror, who is let in, resuming, work under leases, and the end
//! (requirements J4, R2, R5, B26).

mod access;
mod mirror;
mod process;
mod work;

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use grps::base::metrics::Metrics;
use grps::domains::jobs::{NewJob, QueueName};
use grps::http::Server;
use grps::http::server::Drained;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use crate::harness::{Setup, TestApp};

const HANG: Duration = Duration::from_secs(20);

/// Long enough for a frame that should not come to have come.
const QUIET: Duration = Duration::from_millis(250);

const KEY: &str = "gateway+key/with=odd&characters%41";

const KEY_ESCAPED: &str = "gateway%2bkey%2Fwith%3Dodd%26characters%2541";

/// The whole program on a port.
struct Live {
    app: TestApp,
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Drained>,
}

struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

async fn live(setup: Setup) -> Live {
    let app = setup.set("API_KEY", KEY).start().await;
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), &app.app.config.http, &Metrics::default()).unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel::<()>();
    #[allow(clippy::disallowed_methods)] // a test's own server
    let served = tokio::spawn(server.serve(app.app.endpoint().unwrap(), async {
        let _ = stopped.await;
    }));
    Live { app, address, stop, served }
}

impl Live {
    async fn new() -> Self {
        live(Setup::new()).await
    }

    async fn try_open(&self, target: &str, headers: &[(&'static str, &str)]) -> Result<Client, (u16, Value)> {
        let mut request = format!("ws://{}{target}", self.address).into_client_request().unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(*name, value.parse().unwrap());
        }
        match timeout(HANG, connect_async(request)).await.unwrap() {
            Ok((client, answer)) => {
                assert!(answer.headers().contains_key("x-request-id"));
                assert!(!answer.headers().contains_key("cache-control"));
                Ok(Client(client))
            }
            Err(WsError::Http(answer)) => {
                let body = serde_json::from_slice(answer.body().as_deref().unwrap_or_default()).unwrap();
                Err((answer.status().as_u16(), body))
            }
            Err(other) => panic!("{target}: {other}"),
        }
    }

    async fn open(&self, target: &str) -> Client {
        self.try_open(target, &[("x-api-key", KEY)]).await.unwrap_or_else(|refused| panic!("{target}: {refused:?}"))
    }

    async fn refused(&self, target: &str, headers: &[(&'static str, &str)], status: u16, code: &str) -> Value {
        let (given, body) = self.try_open(target, headers).await.err().unwrap_or_else(|| panic!("{target} was let in"));
        assert_eq!((given, body["code"].as_str().unwrap()), (status, code), "{target}: {body}");
        let told = body.to_string();
        assert!(!told.contains("odd") && !told.contains("hunter2"), "{told}");
        body
    }

    /// Puts jobs in; gives their ids.
    async fn put(&self, queue: &str, payloads: impl IntoIterator<Item = String>) -> Vec<String> {
        let queue: QueueName = queue.parse().unwrap();
        let jobs = payloads.into_iter().map(|text| NewJob::new(queue.clone(), text, "test")).collect();
        let put = self.app.app.jobs.submit(jobs).await.unwrap();
        put.iter().map(|job| job.id.to_string()).collect()
    }

    async fn ticket(&self) -> String {
        let answer = self.app.post("/ws/tickets", "").gateway().expect(200).await.json();
        assert_eq!(answer["expiresIn"], 30);
        answer["ticket"].as_str().unwrap().to_owned()
    }
}

impl Client {
    async fn next(&mut self) -> Message {
        let message = timeout(HANG, self.0.next()).await.expect("nothing comes");
        message.expect("it ended").unwrap_or_else(|error| panic!("{error}"))
    }

    async fn text(&mut self) -> String {
        match self.next().await {
            Message::Text(text) => text.to_string(),
            other => panic!("no text but {other:?}"),
        }
    }

    async fn json(&mut self) -> Value {
        let text = self.text().await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    async fn say(&mut self, message: Value) {
        self.0.send(Message::text(message.to_string())).await.unwrap();
    }

    /// Nothing comes for a while.
    async fn quiet(&mut self) {
        if let Ok(message) = timeout(QUIET, self.0.next()).await {
            panic!("unexpected: {message:?}");
        }
    }

    async fn closed(&mut self) -> (u16, String) {
        loop {
            if let Message::Close(frame) = self.next().await {
                let frame = frame.expect("a code");
                return (frame.code.into(), frame.reason.to_string());
            }
        }
    }
}
