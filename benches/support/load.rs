//! A load generator: keep-alive connections that send pre-built requests over raw TCP, one after the other, and time the answers.
//! It parses no more of a response than its length and status, so that it costs the machine little beside the server under test.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How hard to press, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct Load {
    pub connections: usize,
    /// Not counted.
    pub warm_up: Duration,
    pub measured: Duration,
}

/// What came out.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// Answers other than 2xx, and connections that broke.
    pub failures: u64,
    pub per_second: f64,
    pub p50: Duration,
    pub p99: Duration,
    /// CPU time this process spent per request, client and server together. On a machine with other work to do its ratio is truer than
    /// that of the throughputs.
    #[allow(dead_code)] // not every bench shares its process with what it measures
    pub cpu: Duration,
}

/// A `GET`, ready to send.
#[allow(dead_code)] // not every bench asks for something
pub fn get(target: &str) -> Vec<u8> {
    format!("GET {target} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes()
}

/// A `POST` of JSON, ready to send; `headers` are whole lines ending in `\r\n`.
pub fn post(target: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {target} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n{headers}content-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// Presses `address`; connection number `n` cycles through `requests` starting at the n-th.
pub async fn press(address: SocketAddr, load: Load, requests: Vec<Vec<u8>>) -> Report {
    let requests: &'static [Vec<u8>] = requests.leak();
    let spent = cpu_time();
    let mut connections = JoinSet::new();
    for number in 0..load.connections {
        connections.spawn(connection(address, load, requests, number));
    }
    let mut times: Vec<u32> = Vec::new();
    let mut failures = 0;
    for (micros, failed) in connections.join_all().await {
        times.extend(micros);
        failures += failed;
    }
    times.sort_unstable();
    let at = |share: f64| {
        let index = ((times.len() as f64 * share) as usize).min(times.len().saturating_sub(1));
        Duration::from_micros(times.get(index).copied().unwrap_or_default().into())
    };
    let sent = times.len() as f64;
    let per_second = sent / load.measured.as_secs_f64();
    // The warm-up's share of the time is taken to be its share of the work.
    let whole = (load.warm_up + load.measured).as_secs_f64() / load.measured.as_secs_f64();
    let cpu = (cpu_time() - spent).div_f64((sent * whole).max(1.0));
    Report { failures, per_second, p50: at(0.5), p99: at(0.99), cpu }
}

/// User and system time of this process so far: fields 14 and 15 of `/proc/self/stat`, in ticks of 10 ms; zero where there is no `/proc`.
fn cpu_time() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    Duration::from_millis(fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
}

async fn connection(address: SocketAddr, load: Load, requests: &[Vec<u8>], number: usize) -> (Vec<u32>, u64) {
    let (mut times, mut failures) = (Vec::with_capacity(1 << 16), 0);
    let Ok(mut stream) = TcpStream::connect(address).await else { return (times, 1) };
    let _ = stream.set_nodelay(true);
    let from = Instant::now() + load.warm_up;
    let until = from + load.measured;
    let mut buffer = Vec::with_capacity(64 * 1024);
    for request in requests.iter().cycle().skip(number % requests.len()) {
        let sent = Instant::now();
        if sent >= until {
            break;
        }
        match exchange(&mut stream, request, &mut buffer).await {
            Ok(true) => {}
            Ok(false) => failures += 1,
            Err(_) => return (times, failures + 1),
        }
        if sent >= from {
            times.push(sent.elapsed().as_micros() as u32);
        }
    }
    (times, failures)
}

/// Sends one request and reads one whole response; whether it was a 2xx.
async fn exchange(stream: &mut TcpStream, request: &[u8], buffer: &mut Vec<u8>) -> std::io::Result<bool> {
    stream.write_all(request).await?;
    buffer.clear();
    loop {
        if stream.read_buf(buffer).await? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let Some(head) = buffer.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        if buffer.len() >= head + 4 + content_length(&buffer[..head]) {
            return Ok(buffer[9] == b'2');
        }
    }
}

pub fn content_length(head: &[u8]) -> usize {
    let name = b"content-length: ";
    let Some(at) = head.windows(name.len()).position(|window| window.eq_ignore_ascii_case(name)) else { return 0 };
    let digits = head[at + name.len()..].iter().take_while(|b| b.is_ascii_digit());
    digits.fold(0, |value, digit| value * 10 + usize::from(digit - b'0'))
}
