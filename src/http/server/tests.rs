//! The server on real sockets: late peers are cut, too many are told so, shutdown drains. Deadlines are short and real, since networks
//! have no fake clock; assertions leave slow machines room.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use poem::Response;
use poem::endpoint::make;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::base::Clock;
use crate::base::clock::Stopwatch;
use crate::http::{Contract, Front};

/// Longer than any deadline used here; reached only when something hangs.
const HANG: Duration = Duration::from_secs(20);

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    served: JoinHandle<Drained>,
}

fn quick() -> Config {
    Config {
        header_deadline_ms: 200,
        idle_deadline_ms: 20_000,
        body_deadline_ms: 200,
        write_deadline_ms: 300,
        drain_deadline_ms: 5_000,
        ..Config::default()
    }
}

/// `/echo` gives the body's length, `/slow` answers after 600 ms, `/hang` never, `/large` sends 32 MiB.
async fn route(request: poem::Request) -> poem::Result<Response> {
    let path = request.uri().path().to_owned();
    match path.as_str() {
        "/slow" => sleep(Duration::from_millis(600)).await,
        "/hang" => std::future::pending().await,
        "/large" => return Ok(vec![b'x'; 32 * 1024 * 1024].into()),
        _ => {}
    }
    let length = request.into_body().into_bytes().await?.len();
    Ok(length.to_string().into())
}

#[allow(clippy::disallowed_methods)] // a test's own server
fn start(config: Config) -> Running {
    let front = Front::new(make(route), Arc::<Contract>::default(), &config, Clock::system(), &Metrics::default());
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), &config, &Metrics::default()).unwrap();
    let address = server.address();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = tokio::spawn(server.serve(front, async {
        let _ = stopped.await;
    }));
    Running { address, stop, served }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        timeout(HANG, TcpStream::connect(self.address)).await.unwrap().unwrap()
    }

    async fn stop(self) -> Drained {
        self.stop.send(()).unwrap();
        timeout(HANG, self.served).await.unwrap().unwrap()
    }
}

async fn ask(stream: &mut TcpStream, path: &str) {
    stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
}

/// One response with a small body, read to its end.
async fn reply(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let read = async {
        loop {
            let mut byte = [0u8; 1024];
            match stream.read(&mut byte).await {
                Ok(0) | Err(_) => return,
                Ok(count) => text.extend_from_slice(&byte[..count]),
            }
            let whole = String::from_utf8_lossy(&text).into_owned();
            let Some((head, body)) = whole.split_once("\r\n\r\n") else { continue };
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
            if length.is_none_or(|length| body.len() >= length) {
                return;
            }
        }
    };
    timeout(HANG, read).await.unwrap();
    String::from_utf8(text).unwrap()
}

/// How long until the server closes this connection.
async fn closed_after(mut stream: TcpStream) -> Duration {
    let watch = Stopwatch::start();
    let mut sink = vec![0u8; 64 * 1024];
    let wait = async { while matches!(stream.read(&mut sink).await, Ok(count) if count > 0) {} };
    timeout(HANG, wait).await.unwrap();
    watch.elapsed()
}

#[tokio::test]
async fn keep_alive_serves_request_after_request() {
    let running = start(quick());
    let mut stream = running.connect().await;
    for _ in 0..3 {
        ask(&mut stream, "/echo").await;
        assert!(reply(&mut stream).await.starts_with("HTTP/1.1 200 OK"));
    }
    assert_eq!(running.stop().await, Drained::Clean);
}

#[tokio::test]
#[allow(clippy::disallowed_methods)] // a client of this test
async fn a_dripped_header_is_cut() {
    let running = start(quick());
    let stream = running.connect().await;
    let (read, mut write) = stream.into_split();
    let drip = tokio::spawn(async move {
        for byte in b"GET /echo HTTP/1.1\r\nx-slow: ".iter().cycle() {
            if write.write_all(&[*byte]).await.is_err() {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    });
    let watch = Stopwatch::start();
    let mut read = read;
    let mut byte = [0u8; 64];
    let closed = timeout(HANG, read.read(&mut byte)).await.unwrap();
    assert!(matches!(closed, Ok(0) | Err(_)));
    assert!(watch.elapsed() >= Duration::from_millis(200), "not before its deadline");
    assert!(watch.elapsed() < Duration::from_secs(5));
    drip.abort();
}

#[tokio::test]
async fn a_stalled_body_is_answered_408() {
    let running = start(quick());
    let mut stream = running.connect().await;
    stream.write_all(b"POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\nabc").await.unwrap();
    let text = reply(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 408"), "{text}");
    assert!(text.contains("request.body_timeout"));
}

#[tokio::test]
async fn a_large_body_reads_its_413() {
    let running = start(Config { body_deadline_ms: 5_000, ..quick() });
    let mut stream = running.connect().await;
    let size = 2 * 1024 * 1024;
    stream
        .write_all(format!("POST /echo HTTP/1.1\r\nhost: x\r\ncontent-length: {size}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    stream.write_all(&vec![b'x'; size]).await.unwrap();
    let text = reply(&mut stream).await;
    assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    assert!(text.contains("1048576 bytes"));
}

#[tokio::test]
async fn a_reader_that_does_not_read_is_cut() {
    let running = start(quick());
    let mut stream = running.connect().await;
    ask(&mut stream, "/large").await;
    sleep(Duration::from_millis(900)).await;
    let mut all = Vec::new();
    let _ = timeout(HANG, stream.read_to_end(&mut all)).await.unwrap();
    assert!(all.len() < 32 * 1024 * 1024, "the rest was dropped with the connection");
}

#[tokio::test]
async fn an_idle_connection_is_closed_after_its_deadline() {
    let running = start(Config { idle_deadline_ms: 200, ..quick() });
    let mut stream = running.connect().await;
    ask(&mut stream, "/echo").await;
    reply(&mut stream).await;
    let after = closed_after(stream).await;
    assert!(after >= Duration::from_millis(150) && after < Duration::from_secs(5), "{after:?}");
    let fresh = closed_after(running.connect().await).await;
    assert!(fresh >= Duration::from_millis(150) && fresh < Duration::from_secs(5), "{fresh:?}");
}

#[tokio::test]
async fn past_the_cap_connections_are_told_so() {
    let running = start(Config { max_connections: 2, ..quick() });
    let (mut first, mut second) = (running.connect().await, running.connect().await);
    for stream in [&mut first, &mut second] {
        ask(stream, "/echo").await;
        assert!(reply(stream).await.starts_with("HTTP/1.1 200"));
    }
    let mut third = running.connect().await;
    ask(&mut third, "/echo").await;
    let text = reply(&mut third).await;
    assert!(
        text.starts_with("HTTP/1.1 503") && text.contains("server.connections") && text.contains("retry-after: 1"),
        "{text}"
    );
    drop(first);
    for _ in 0..200 {
        let mut again = running.connect().await;
        ask(&mut again, "/echo").await;
        if reply(&mut again).await.starts_with("HTTP/1.1 200") {
            return;
        }
        sleep(Duration::from_millis(10)).await;
    }
    panic!("the freed place was never given out");
}

#[tokio::test]
async fn five_thousand_idle_connections_do_not_slow_a_request() {
    let wanted: usize = 5_000;
    let files = raise_file_limit().unwrap().unwrap_or(u64::MAX);
    assert!(
        files > 2 * wanted as u64 + 500,
        "this machine allows only {files} open files; the test needs both ends of {wanted}"
    );
    let running = start(Config { header_deadline_ms: 10_000, ..quick() });
    let mut idle = Vec::with_capacity(wanted);
    for _ in 0..wanted {
        idle.push(running.connect().await);
    }
    let mut stream = running.connect().await;
    ask(&mut stream, "/echo").await;
    let watch = Stopwatch::start();
    assert!(reply(&mut stream).await.starts_with("HTTP/1.1 200"));
    assert!(watch.elapsed() < Duration::from_secs(2), "{:?}", watch.elapsed());
    assert_eq!(running.stop().await, Drained::Clean, "idle connections close at once");
}

#[tokio::test]
async fn shutdown_finishes_what_is_in_flight_and_takes_nothing_new() {
    let running = start(quick());
    let address = running.address;
    let (mut busy, idle) = (running.connect().await, running.connect().await);
    ask(&mut busy, "/slow").await;
    sleep(Duration::from_millis(100)).await;
    let watch = Stopwatch::start();
    let (drained, text, idle) = tokio::join!(running.stop(), reply(&mut busy), closed_after(idle));
    assert_eq!(drained, Drained::Clean);
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    assert!(idle < Duration::from_millis(400), "idle connections close at once: {idle:?}");
    assert!(watch.elapsed() < Duration::from_secs(5));
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn shutdown_does_not_wait_forever() {
    let running = start(Config { drain_deadline_ms: 100, ..quick() });
    let mut stuck = running.connect().await;
    ask(&mut stuck, "/hang").await;
    sleep(Duration::from_millis(100)).await;
    assert_eq!(running.stop().await, Drained::Cut(1));
    assert!(reply(&mut stuck).await.is_empty());
}

#[tokio::test]
async fn a_taken_port_names_its_holder_and_the_way_out() {
    let running = start(quick());
    let error = Server::bind(running.address, &quick(), &Metrics::default()).err().unwrap();
    assert_eq!(error.code(), "server.port_taken");
    assert!(error.detail().contains(&running.address.port().to_string()));
    #[cfg(target_os = "linux")]
    assert!(error.detail().contains(&format!("(pid {})", std::process::id())), "{}", error.detail());
    assert!(error.hint_text().unwrap().contains("--port"));
    let elsewhere = Server::bind("203.0.113.1:0".parse().unwrap(), &quick(), &Metrics::default()).err().unwrap();
    assert_eq!(elsewhere.code(), "server.bind_failed");
}

/// CPU time this process has used, in clock ticks of 10 ms: fields 14 and 15 of `/proc/self/stat`.
/// The file is opened beforehand, since the test leaves nothing to open it with.
fn cpu_ticks(file: &mut std::fs::File) -> u64 {
    use std::io::{Read, Seek};
    let mut stat = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut stat).unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    after_name.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum()
}

/// Runs itself in a child process whose open-file limit is low, since the limit is the whole process's.
#[tokio::test]
async fn running_out_of_files_pauses_accepting_and_recovers() {
    const CHILD: &str = "GRPS_TEST_FEW_FILES";
    #[allow(clippy::disallowed_methods)] // tells child from parent
    let is_child = std::env::var(CHILD).is_ok();
    if !is_child {
        let name = "http::server::tests::running_out_of_files_pauses_accepting_and_recovers";
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact", "--test-threads=1"])
            .env(CHILD, "1")
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && told.contains("1 passed"), "{told}");
        return;
    }
    let mut stat = std::fs::File::open("/proc/self/stat").unwrap();
    let running = start(quick());
    let mut known = running.connect().await;
    ask(&mut known, "/echo").await;
    reply(&mut known).await;
    let hard = rustix::process::getrlimit(rustix::process::Resource::Nofile).maximum;
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count() as u64;
    let low = rustix::process::Rlimit { current: Some(open + 20), maximum: hard };
    rustix::process::setrlimit(rustix::process::Resource::Nofile, low).unwrap();
    let mut held = Vec::new();
    while let Ok(Ok(stream)) = timeout(Duration::from_millis(200), TcpStream::connect(running.address)).await {
        held.push(stream);
    }
    sleep(Duration::from_millis(300)).await;
    ask(&mut known, "/echo").await;
    assert!(reply(&mut known).await.starts_with("HTTP/1.1 200"), "known connections are served meanwhile");
    let before = cpu_ticks(&mut stat);
    sleep(Duration::from_millis(500)).await;
    let busy = cpu_ticks(&mut stat) - before;
    assert!(busy < 25, "waiting must not burn a core: {busy} of 50 ticks");
    drop(held);
    sleep(Duration::from_millis(1500)).await;
    let mut fresh = running.connect().await;
    ask(&mut fresh, "/echo").await;
    assert!(reply(&mut fresh).await.starts_with("HTTP/1.1 200"), "accepting resumes");
}
