//! Sockets of the real binary: what its log keeps to itself, and what a thousand of them weigh.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use super::{KEY, KEY_ESCAPED};
use crate::process::{Home, Running, until};

/// Opens a socket with as little as that takes; gives the head of the answer.
fn open(server: &Running, target: &str, headers: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(server.address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-version: 13\r\n\
         sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{headers}\r\n"
    )
    .unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    (stream, String::from_utf8(head).unwrap())
}

#[test]
fn keys_and_tickets_in_addresses_stay_out_of_the_log() {
    let home = Home::new().set("API_KEY", KEY).set("LOG_FORMAT", "json").set("LOG_LEVEL", "trace");
    let server = home.serve();
    let (socket, head) = open(&server, &format!("/ws?api_key={KEY_ESCAPED}&queue=q"), "");
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(open(&server, "/ws?ticket=hunter2hunter2", "").1.starts_with("HTTP/1.1 401"));
    assert!(open(&server, "/ws?queue=q", "x-api-key: hunter2hunter2\r\n").1.starts_with("HTTP/1.1 401"));
    assert!(open(&server, &format!("/ws?api_key={KEY_ESCAPED}&credit=none"), "").1.starts_with("HTTP/1.1 422"));
    drop(socket);
    let told = until("the socket's end is told", || Some(server.told()).filter(|told| told.contains("socket ended")));
    let opened = told.lines().find(|line| line.contains("\"status\":101")).unwrap_or_else(|| panic!("{told}"));
    assert!(opened.contains("/ws?api_key=…&queue=q") && opened.contains("\"route\":\"/ws\""), "{opened}");
    let ended = told.lines().find(|line| line.contains("socket ended")).unwrap();
    assert!(ended.contains("\"mode\":\"mirror\"") && ended.contains("\"caller\":\"gateway\""), "{ended}");
    for secret in ["hunter2", "odd", "%2bkey"] {
        assert!(!told.contains(secret), "{secret} in {told}");
    }
    let metrics = server.get("/metrics").body;
    for line in ["grps_sockets_open{mode=\"mirror\"} 0", "grps_sockets_ended_total{reason=\"gone\"} 1"] {
        assert!(metrics.contains(line), "no {line} in: {metrics}");
    }
    server.stop();
}

/// Resident memory of a process, in KB.
fn resident(server: &Running) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

#[cfg(target_os = "linux")]
#[test]
fn a_thousand_idle_sockets_weigh_little() {
    const SOCKETS: u64 = 1000;
    let home = Home::new().set("API_KEY", KEY);
    let server = home.serve();
    let key = format!("x-api-key: {KEY}\r\n");
    let mut held = Vec::new();
    // The first ones also pay for what all share.
    for _ in 0..50 {
        held.push(open(&server, "/ws", &key).0);
    }
    let before = resident(&server);
    for n in 0..SOCKETS {
        let (socket, head) = open(&server, if n % 2 == 0 { "/ws" } else { "/ws?mode=work" }, &key);
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        held.push(socket);
    }
    // Under memory pressure it may even have shrunk.
    let each = (resident(&server) as f64 - before as f64) / SOCKETS as f64;
    println!("{each:.1} KB a socket");
    assert!(each < 30.0, "{each:.1} KB a socket");
    server.stop();
}
