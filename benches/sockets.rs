//! Promises: 10,000 idle sockets cost at most 300 MB of memory and no CPU that can be measured beside the server's own idling; a job
//! reaches all of them within 1 s; and what large jobs took of memory while they were sent is given back.
//!
//! `cargo bench --bench sockets [sockets] [seconds]` starts the real binary, opens mirrors of one queue from this process (each process
//! has its own limit of open files), waits, and reads `/proc/<pid>`. The sockets answer pings, as a client's library does.

#![allow(clippy::disallowed_methods, clippy::unwrap_used, clippy::expect_used)]

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use grps::http::server::raise_file_limit;
use grps::store::DataDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const KEY: &str = "bench-key-bench-key-bench-key-bench-key";

/// Anything that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Handshakes under way at once.
const OPENING: usize = 64;

/// Large jobs sent to everybody, and their size.
const LARGE: (usize, usize) = (5, 60_000);

/// What a socket may cost in KB, and a quiet second of all of them in CPU, in per cent of one core.
const PROMISE: (f64, f64) = (30.0, 1.0);

fn main() {
    let mut args = std::env::args().skip(1).filter(|arg| !arg.starts_with("--"));
    let mut number = |default: u64| args.next().and_then(|arg| arg.parse().ok()).unwrap_or(default);
    let (sockets, seconds) = (number(10_000), number(100));
    raise_file_limit().unwrap();
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let server = Guard::start(dir.path());
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(measure(&server, sockets, Duration::from_secs(seconds)));
}

async fn measure(server: &Guard, sockets: u64, window: Duration) {
    let frames = Arc::new(AtomicU64::new(0));
    // What every first connection pays for is not a socket's.
    open(server, 100, &frames).await;
    let alone = server.idle(window.min(Duration::from_secs(30))).await;
    let before = server.resident();
    let opening = Instant::now();
    open(server, sockets, &frames).await;
    let rate = sockets as f64 / opening.elapsed().as_secs_f64();
    let each = (server.resident() - before) as f64 / sockets as f64;
    let total = server.resident() / 1024;
    let (room, quiet) = PROMISE;
    println!(
        "{sockets} sockets opened at {rate:.0}/s: {each:.1} KB each (promise {room} KB), {total} MB resident in all"
    );
    let idle = server.idle(window).await;
    println!(
        "idle over {} s, pings included: {:.2} % of a core, {:.2} % before (promise {quiet} % more)",
        window.as_secs(),
        idle,
        alone
    );
    for size in [20, LARGE.1] {
        let sent = Instant::now();
        let (all, count) = (frames.load(Ordering::SeqCst), if size == LARGE.1 { LARGE.0 } else { 1 });
        for _ in 0..count {
            put(server.address, size).await;
        }
        let wanted = all + (sockets + 100) * count as u64;
        while frames.load(Ordering::SeqCst) < wanted {
            assert!(sent.elapsed() < PATIENCE, "{} of {wanted} frames came", frames.load(Ordering::SeqCst));
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let took = sent.elapsed().as_secs_f64();
        let peak = server.resident() / 1024;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let after = server.resident() / 1024;
        println!("{count} jobs of {size} bytes to all: {took:.2} s; {peak} MB resident then, {after} MB 3 s later");
    }
}

/// Opens sockets that answer pings and count text frames.
async fn open(server: &Guard, count: u64, frames: &Arc<AtomicU64>) {
    let turns = Arc::new(tokio::sync::Semaphore::new(OPENING));
    let mut opened = tokio::task::JoinSet::new();
    for _ in 0..count {
        let (turns, frames, address) = (turns.clone(), frames.clone(), server.address);
        opened.spawn(async move {
            let _turn = turns.acquire().await.unwrap();
            let mut stream = TcpStream::connect(address).await.unwrap();
            let request = format!(
                "GET /ws HTTP/1.1\r\nhost: bench\r\nx-api-key: {KEY}\r\nupgrade: websocket\r\nconnection: upgrade\r\n\
                 sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            );
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            assert!(head.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&head));
            tokio::spawn(listen(stream, frames));
        });
    }
    while let Some(done) = opened.join_next().await {
        done.unwrap();
    }
}

async fn listen(mut stream: TcpStream, frames: Arc<AtomicU64>) -> std::io::Result<()> {
    let mut rest = vec![0; 4096];
    loop {
        let (code, short) = (stream.read_u8().await?, stream.read_u8().await?);
        let mut left = match short {
            126 => stream.read_u16().await? as usize,
            127 => stream.read_u64().await? as usize,
            short => short as usize,
        };
        while left > 0 {
            let most = left.min(rest.len());
            left -= stream.read(&mut rest[..most]).await?;
        }
        match code {
            0x81 => drop(frames.fetch_add(1, Ordering::SeqCst)),
            0x89 => stream.write_all(b"\x8a\x80\x00\x00\x00\x00").await?,
            other => panic!("the server sent {other:#x}"),
        }
    }
}

async fn put(address: SocketAddr, size: usize) {
    let body = format!(r#"{{"x":"{}"}}"#, "x".repeat(size - 8));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let request = format!(
        "POST /job HTTP/1.1\r\nhost: bench\r\nx-api-key: {KEY}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         connection: close\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

/// A server, ended with this process.
struct Guard {
    child: Child,
    address: SocketAddr,
}

impl Guard {
    fn start(dir: &Path) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_grps"))
            .args(["serve", "--port", "0", "--data-dir"])
            .arg(dir)
            .envs([("API_KEY", KEY), ("GATEWAY_AUTH", "key"), ("LOG_LEVEL", "warn"), ("MAX_SOCKETS", "100000")])
            .envs([("MAX_CONNECTIONS", "20000")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let started = Instant::now();
        let mut guard = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        while guard.ready(dir).is_none() {
            assert!(started.elapsed() < PATIENCE, "the server does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
        guard
    }

    fn ready(&mut self, dir: &Path) -> Option<()> {
        let owner = DataDir::owner(dir).filter(|owner| owner.pid == self.child.id())?;
        self.address = owner.addr?;
        let mut stream = std::net::TcpStream::connect(self.address).ok()?;
        stream.write_all(b"GET /health/live HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        text.starts_with("HTTP/1.1 200").then_some(())
    }

    /// Resident memory in KB.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }

    /// CPU time used so far, in clock ticks of 10 ms: fields 14 and 15 of `stat`.
    fn ticks(&self) -> u64 {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields = stat.rsplit_once(')').unwrap().1.split_whitespace().skip(11).take(2);
        fields.map(|ticks| ticks.parse::<u64>().unwrap()).sum()
    }

    /// Per cent of a core used while nobody asks for anything.
    async fn idle(&self, window: Duration) -> f64 {
        let before = self.ticks();
        tokio::time::sleep(window).await;
        (self.ticks() - before) as f64 / window.as_secs_f64()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
