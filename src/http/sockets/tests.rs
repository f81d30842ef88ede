//! Sockets on a real server with a real client: what the handshake refuses, and what ends a socket. Deadlines are short and real.

use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use poem::endpoint::make;
use poem::{FromRequest, IntoResponse, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::*;
use crate::base::Clock;
use crate::http::server::Drained;
use crate::http::{Contract, Front, Server};

/// Longer than any deadline used here; reached only when something hangs.
const HANG: Duration = Duration::from_secs(20);

type Client = WebSocketStream<MaybeTlsStream<TcpStream>>;

struct Running {
    address: SocketAddr,
    sockets: Sockets,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Drained>,
}

fn quick() -> Config {
    Config {
        socket_ping_ms: 60_000,
        socket_write_deadline_ms: 300,
        idle_deadline_ms: 300,
        header_deadline_ms: 300,
        ..Config::default()
    }
}

/// Sends back what it gets, after 400 ms for `busy`; `flood` gets messages of 64 KiB without end, `later` and `policy` are shown out.
fn echo<'a>(socket: &'a mut Socket) -> BoxFuture<'a, End> {
    Box::pin(async move {
        loop {
            let text = match socket.receive().await {
                Ok(Incoming::Text(text)) => text,
                Ok(Incoming::Binary) => return End::Unsupported("text only".into()),
                Err(end) => return end,
            };
            if text == "busy" {
                sleep(Duration::from_millis(400)).await;
            }
            let end = match text.as_str() {
                "flood" => loop {
                    if let Err(end) = socket.send(&"x".repeat(64 * 1024)).await {
                        break end;
                    }
                },
                "later" => End::Later("come again".into()),
                "policy" => End::Policy("é".repeat(100).into()),
                text => match socket.send(text).await {
                    Ok(()) => continue,
                    Err(end) => end,
                },
            };
            return end;
        }
    })
}

#[allow(clippy::disallowed_methods)] // a test's own server
fn start(config: Config) -> Running {
    let metrics = Metrics::default();
    let sockets = Sockets::new(&config, &metrics);
    let room = sockets.clone();
    let route = make(move |request: poem::Request| {
        let room = room.clone();
        async move {
            let (request, mut body) = request.split();
            let upgrade = Upgrade::from_request(&request, &mut body).await?;
            let visitor = Visitor { mode: "echo", caller: "test".into(), request_id: "id".into() };
            let seat = room.seat(visitor)?;
            poem::Result::<Response>::Ok(room.accept(seat, upgrade, echo).into_response())
        }
    });
    let front = Front::new(route, Arc::<Contract>::default(), &config, Clock::system(), &metrics);
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), &config, &metrics).unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let closing = sockets.clone();
    let served = tokio::spawn(server.serve(front, async move {
        let _ = stopped.await;
        closing.close();
    }));
    Running { address, sockets, stop, served }
}

impl Running {
    async fn open(&self) -> Client {
        let opened = timeout(HANG, connect_async(format!("ws://{}/x?ticket=hunter2", self.address))).await;
        opened.unwrap().unwrap().0
    }

    /// Waits until this many sockets are open.
    async fn settles(&self, count: usize) {
        let settled = async {
            while self.sockets.open() != count {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(HANG, settled).await.unwrap_or_else(|_| panic!("{} sockets are open", self.sockets.open()));
    }

    fn ended(&self, reason: &'static str) -> u64 {
        self.sockets.0.ended.get_or_create(&ByReason { reason }).get()
    }

    /// What a raw request is answered.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        let mut chunk = [0; 4096];
        while let Ok(Ok(count @ 1..)) = timeout(Duration::from_millis(500), stream.read(&mut chunk)).await {
            text.extend_from_slice(&chunk[..count]);
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

async fn next(client: &mut Client) -> Option<Result<Message, WsError>> {
    timeout(HANG, client.next()).await.expect("the server says nothing")
}

/// The close code and reason that come next.
async fn closed(client: &mut Client) -> (u16, String) {
    loop {
        match next(client).await {
            Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
            Some(Ok(_)) => {}
            other => panic!("no close frame but {other:?}"),
        }
    }
}

async fn say(client: &mut Client, text: &str) -> String {
    client.send(Message::text(text)).await.unwrap();
    next(client).await.unwrap().unwrap().into_text().unwrap().to_string()
}

const HANDSHAKE: &str = "GET /x HTTP/1.1\r\nhost: server.example:80\r\nupgrade: WebSocket\r\nconnection: keep-alive, Upgrade\r\n\
    sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn messages_of_every_length_pass_and_idle_http_deadlines_do_not_apply() {
    let running = start(quick());
    let mut client = running.open().await;
    for length in [0, 1, 125, 126, 4096, 4097, MAX_MESSAGE] {
        let text = "é".repeat(length / 2) + &"x".repeat(length % 2);
        assert_eq!(say(&mut client, &text).await, text, "{length} bytes");
    }
    sleep(Duration::from_millis(900)).await; // three times the idle deadline of HTTP
    client.send(Message::Ping(vec![7; 125].into())).await.unwrap();
    assert_eq!(next(&mut client).await.unwrap().unwrap(), Message::Pong(vec![7; 125].into()));
    assert_eq!(say(&mut client, "still here").await, "still here");
    let parts = [(OpCode::Data(Data::Text), "a", false), (OpCode::Data(Data::Continue), "b", true)];
    for (code, text, last) in parts {
        client.send(Message::Frame(Frame::message(text.as_bytes().to_vec(), code, last))).await.unwrap();
    }
    assert_eq!(next(&mut client).await.unwrap().unwrap(), Message::text("ab"), "a message in pieces");
    client.close(None).await.unwrap();
    let answer = next(&mut client).await;
    assert!(matches!(answer, Some(Ok(Message::Close(_)))), "a close is answered, not {answer:?}");
    running.settles(0).await;
    assert_eq!(running.ended("gone"), 1);
}

#[tokio::test]
async fn the_answer_is_the_standards_and_carries_nothing_odd() {
    let running = start(quick());
    let answer = running.raw(&format!("{HANDSHAKE}\r\n")).await.to_lowercase();
    assert!(answer.starts_with("http/1.1 101 switching protocols\r\n"), "{answer}");
    assert!(answer.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="), "{answer}");
    let head = answer.split("\r\n\r\n").next().unwrap();
    let names: Vec<&str> = head.lines().skip(1).filter_map(|line| Some(line.split_once(':')?.0)).collect();
    assert!(
        names
            .iter()
            .all(|name| ["connection", "upgrade", "sec-websocket-accept", "x-request-id", "date"].contains(name)),
        "{names:?}"
    );
}

#[tokio::test]
async fn what_is_no_handshake_is_told_what_is_missing() {
    let running = start(quick());
    let cases = [
        (HANDSHAKE.replace("upgrade: WebSocket\r\n", ""), "has no Upgrade"),
        (HANDSHAKE.replace("keep-alive, Upgrade", "keep-alive"), "proxy"),
        (HANDSHAKE.replace("version: 13", "version: 8"), "Version must be 13"),
        (HANDSHAKE.replace("dGhlIHNhbXBsZSBub25jZQ==", "short"), "Key must be"),
        (HANDSHAKE.replace("GET", "HEAD"), ""),
        (HANDSHAKE.replace("GET", "POST"), "Upgrade"),
        (HANDSHAKE.replace("HTTP/1.1", "HTTP/1.0"), "HTTP/1.1"),
    ];
    for (request, told) in cases {
        let answer = running.raw(&format!("{request}\r\n")).await;
        assert!(answer.contains(" 426 Upgrade Required"), "{request}{answer}");
        for part in [told, "upgrade: websocket", "sec-websocket-version: 13"] {
            assert!(answer.to_lowercase().contains(&part.to_lowercase()), "{part}: {request}{answer}");
        }
        assert!(request.starts_with("HEAD") || answer.contains("request.upgrade_required"), "{answer}");
    }
    assert_eq!(running.sockets.open(), 0);
}

#[tokio::test]
async fn pages_of_other_origins_are_refused_before_the_upgrade() {
    let running = start(Config { base_url: "https://Server.example:80".into(), ..quick() });
    let with =
        |host: &str, origin: &str| format!("{}origin: {origin}\r\n\r\n", HANDSHAKE.replace("server.example:80", host));
    for (host, own) in [
        ("server.example:80", "http://localhost:3000"),
        ("server.example:80", "https://grps.example.com"),
        ("server.example:80", "https://server.example:80"),
        ("server.example:80", "http://SERVER.example:80"),
        ("localhost:8000", "http://localhost:8000"),
        ("127.0.0.1:8000", "http://127.0.0.1:8000"),
        ("192.168.1.5:8000", "http://192.168.1.5:8000"),
        ("[::1]:8000", "http://[::1]:8000"),
    ] {
        assert!(running.raw(&with(host, own)).await.starts_with("HTTP/1.1 101"), "{own}");
    }
    for (host, foreign) in [
        ("server.example:80", "https://evil.example"),
        ("server.example:80", "null"),
        ("server.example:80", "http://server.example"),
        ("server.example:80", ""),
        ("server.example:80", "http://"),
        ("localhost:8000", "http://localhost:9999"),
        // Names that were made to point here.
        ("evil.example:8000", "http://evil.example:8000"),
        ("127.0.0.1.evil.example", "http://127.0.0.1.evil.example"),
        ("localhost.evil.example", "http://localhost.evil.example"),
    ] {
        let answer = running.raw(&with(host, foreign)).await;
        assert!(
            answer.starts_with("HTTP/1.1 403") && answer.contains("cors.origin_not_allowed"),
            "{foreign}: {answer}"
        );
    }
}

#[tokio::test]
async fn seats_are_counted_and_given_back() {
    let running = start(Config { max_sockets: 2, ..quick() });
    let (mut first, _second) = (running.open().await, running.open().await);
    let mut request = format!("ws://{}/x", running.address).into_client_request().unwrap();
    request.headers_mut().insert("x-request-id", "third".parse().unwrap());
    let Err(WsError::Http(refused)) = connect_async(request).await else { panic!("it was let in") };
    assert_eq!(refused.status(), 503);
    assert_eq!(refused.headers()["retry-after"], "5");
    let body = String::from_utf8(refused.into_body().unwrap()).unwrap();
    assert!(body.contains("sockets.full") && body.contains("MAX_SOCKETS") && body.contains("third"), "{body}");
    first.close(None).await.unwrap();
    running.settles(1).await;
    let mut third = running.open().await;
    assert_eq!(say(&mut third, "in").await, "in");
    drop(third); // without a word
    running.settles(1).await;
    assert_eq!(running.ended("gone"), 2);
}

#[test]
fn one_caller_gets_a_part_of_the_seats() {
    let sockets = Sockets::new(&Config { max_sockets: 400, ..quick() }, &Metrics::default());
    let seat = |caller: &str| {
        sockets.seat(Visitor { mode: "echo", caller: caller.into(), request_id: "id".into() }).map_err(|error| {
            assert_eq!(error.kind(), crate::base::Kind::Limited);
            error.code().to_owned()
        })
    };
    let mut greedy: Vec<Seat> = (0..100).map(|_| seat("greedy").unwrap()).collect();
    assert_eq!(seat("greedy").err().unwrap(), "sockets.caller_full");
    assert_eq!(sockets.open(), 100, "a refused one holds no seat");
    let other = seat("other").unwrap();
    greedy.pop();
    greedy.push(seat("greedy").unwrap());
    drop((greedy, other));
    assert!(sockets.callers().is_empty() && sockets.open() == 0);
}

#[tokio::test]
async fn a_consumer_that_does_not_read_is_cut_and_others_go_on() {
    let running = start(quick());
    let (mut slow, mut fine) = (running.open().await, running.open().await);
    slow.send(Message::text("flood")).await.unwrap();
    let watch = Stopwatch::start();
    while running.ended("slow") == 0 {
        assert!(watch.elapsed() < HANG, "it was never cut");
        assert_eq!(say(&mut fine, "quick").await, "quick");
    }
    running.settles(1).await;
    assert!(watch.elapsed() > Duration::from_millis(300));
}

#[tokio::test]
async fn a_peer_that_does_not_answer_pings_is_closed() {
    let running = start(Config { socket_ping_ms: 200, socket_pong_ms: 200, ..quick() });
    let mut client = running.open().await;
    let alive = async {
        // Reading answers pings.
        while next(&mut client).await.is_some() {}
    };
    assert!(timeout(Duration::from_millis(1200), alive).await.is_err(), "a peer that answers was closed");
    drop(client);
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    silent.write_all(format!("{HANDSHAKE}\r\n").as_bytes()).await.unwrap();
    let (mut all, watch) = (Vec::new(), Stopwatch::start());
    timeout(HANG, silent.read_to_end(&mut all)).await.unwrap().unwrap();
    let tail = &all[all.len() - 25..];
    assert!(tail.ends_with(b"\x89\x00\x88\x15\x03\xf0no answer to pings"[5..].as_ref()), "{tail:?}");
    assert!(watch.elapsed() >= Duration::from_millis(300), "{:?}", watch.elapsed());
    assert_eq!(running.ended("silent"), 1);
}

#[tokio::test]
async fn a_peer_has_its_time_from_the_ping_on_however_late_it_is_sent() {
    let running = start(Config { socket_ping_ms: 200, socket_pong_ms: 150, ..quick() });
    let mut client = running.open().await;
    // Nobody reads here for longer than quiet and answer may take together.
    assert_eq!(say(&mut client, "busy").await, "busy");
    sleep(Duration::from_millis(50)).await; // of the 150 it has for its answer
    assert_eq!(next(&mut client).await.unwrap().unwrap(), Message::Ping(Vec::new().into()));
    assert_eq!(say(&mut client, "still here").await, "still here");
    assert_eq!(running.ended("silent"), 0);
}

#[tokio::test]
async fn what_breaks_the_rules_is_closed_with_its_code() {
    let running = start(quick());
    let cases: [(Message, u16, &str); 4] = [
        (Message::text("x".repeat(MAX_MESSAGE + 1)), 1009, "16384"),
        (Message::binary(vec![1, 2, 3]), 1003, "text only"),
        (Message::text("later"), 1013, "come again"),
        (Message::text("policy"), 1008, "é"),
    ];
    for (message, code, reason) in cases {
        let mut client = running.open().await;
        client.send(message).await.unwrap();
        let (given, told) = closed(&mut client).await;
        assert!(given == code && told.contains(reason) && told.len() <= 123, "{given} {told}");
    }
    let raw: [(&[u8], u16); 4] = [
        (b"\x81\x82\x00\x00\x00\x00\xff\xfe", 1007), // no UTF-8
        (b"\x81\x02hi", 1002),                       // not masked
        (b"\x83\x80\x00\x00\x00\x00", 1002),         // an opcode nobody knows
        (b"\x81\xff\x7f\xff\xff\xff\xff\xff\xff\xff\x00\x00\x00\x00", 1009), // says it is enormous
    ];
    for (bytes, code) in raw {
        let mut stream = TcpStream::connect(running.address).await.unwrap();
        stream.write_all(&[HANDSHAKE.as_bytes(), b"\r\n", bytes].concat()).await.unwrap();
        let mut all = Vec::new();
        timeout(HANG, stream.read_to_end(&mut all)).await.unwrap().unwrap();
        let frame = all.split(|byte| *byte == 0x88).next_back().unwrap();
        assert_eq!(u16::from_be_bytes([frame[1], frame[2]]), code, "{bytes:?}: {frame:?}");
    }
    running.settles(0).await;
}

#[tokio::test]
async fn a_stop_tells_everyone_to_come_back_and_is_quick() {
    let running = start(quick());
    let mut clients = Vec::new();
    for _ in 0..50 {
        clients.push(running.open().await);
    }
    let _deaf = running.open().await; // never reads, so never answers the close
    running.settles(51).await;
    let watch = Stopwatch::start();
    let Running { address, sockets, stop, served } = running;
    stop.send(()).unwrap();
    for client in &mut clients {
        assert_eq!(closed(client).await, (1012, "the server restarts; reconnect".to_owned()));
        assert!(matches!(next(client).await, None | Some(Err(_))));
    }
    assert_eq!(timeout(HANG, served).await.unwrap().unwrap(), Drained::Clean);
    assert_eq!(sockets.drain().await, 0);
    assert!(watch.elapsed() < DRAIN_DEADLINE, "{:?}", watch.elapsed());
    assert!(TcpStream::connect(address).await.is_err());
    let visitor = Visitor { mode: "echo", caller: "test".into(), request_id: "id".into() };
    assert_eq!(sockets.seat(visitor).err().unwrap().code(), "sockets.stopping");
}

#[tokio::test]
async fn a_stop_does_not_wait_for_peers_that_do_not_read() {
    let running = start(Config { socket_write_deadline_ms: 60_000, ..quick() });
    let mut deaf = running.open().await;
    deaf.send(Message::text("flood")).await.unwrap();
    sleep(Duration::from_millis(300)).await; // until everything between the two is full
    assert_eq!(running.sockets.drain().await, 0, "it was cut instead of ended");
    assert_eq!(running.ended("stopping"), 1);
}
