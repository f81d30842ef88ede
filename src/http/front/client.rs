//! Who is calling: the peer's address, or what trusted proxies say stands behind them (requirements J14, B25).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use poem::http::uri::Authority;
use poem::http::{HeaderMap, HeaderName, header};
use poem::web::RemoteAddr;
use poem::{Addr, Request};

use crate::http::config::Proxies;

/// Forwarded addresses looked at, from the right; a longer chain of proxies is not a chain of ours.
const MAX_HOPS: usize = 16;

/// What proxies add to a request they pass on.
static FORWARDING: [HeaderName; 4] =
    [HeaderName::from_static("x-forwarded-for"), header::FORWARDED, HeaderName::from_static("x-real-ip"), header::VIA];

/// Stands for everyone whose address cannot be known.
const NOBODY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

/// The right-most address that is not a trusted proxy. `X-Forwarded-For` counts only as far as trusted proxies wrote it: what stands left
/// of the first untrusted address is whatever the client made up. When a trusted proxy names nobody we can read, the client is
/// 0.0.0.0: not the proxy, whose address may stand for this machine.
pub fn address(peer: &RemoteAddr, headers: &HeaderMap, proxies: &Proxies) -> IpAddr {
    let peer = socket(peer);
    if proxies.is_empty() || !proxies.trusts(peer) {
        return peer;
    }
    let lines: Vec<&[u8]> = headers.get_all(&FORWARDING[0]).iter().map(|value| value.as_bytes()).collect();
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(|byte| *byte == b',')).take(MAX_HOPS);
    let mut client = peer;
    for hop in hops {
        let Some(address) = std::str::from_utf8(hop).ok().and_then(|hop| parse(hop.trim())) else { return NOBODY };
        client = address;
        if !proxies.trusts(address) {
            break;
        }
    }
    client
}

/// Whether the request was made on this machine by something that meant this server: it came over loopback, no proxy says it passed it
/// on, and it names this machine (a web page that had its own name point here does not). Trusted proxies do not change that.
pub fn is_local(request: &Request) -> bool {
    let headers = request.headers();
    let hosts =
        headers.get_all(header::HOST).iter().map(|value| value.to_str().ok().and_then(|host| host.parse().ok()));
    let named = request.uri().authority().cloned().map(Some);
    socket(request.remote_addr()).is_loopback()
        && !FORWARDING.iter().any(|name| headers.contains_key(name))
        && hosts.chain(named).all(|host| host.is_some_and(|host| is_this_machine(&host)))
}

/// Whether `host`, with its port, is an address or this machine: what no DNS entry leads to.
pub fn is_beyond_names(host: &str) -> bool {
    let host = host.parse::<Authority>();
    host.is_ok_and(|host| is_this_machine(&host) || host.host().trim_matches(['[', ']']).parse::<IpAddr>().is_ok())
}

fn is_this_machine(host: &Authority) -> bool {
    let name = host.host().trim_matches(['[', ']']);
    let loopback = |address: IpAddr| address.to_canonical().is_loopback();
    name.eq_ignore_ascii_case("localhost") || name.parse().is_ok_and(loopback)
}

fn socket(peer: &RemoteAddr) -> IpAddr {
    match &peer.0 {
        Addr::SocketAddr(address) => address.ip().to_canonical(),
        _ => NOBODY,
    }
}

/// Some proxies append the port.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare.ok().or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use poem::http::HeaderValue;
    use poem::http::uri::Scheme;
    use poem::web::LocalAddr;

    use super::*;

    fn client(peer: &str, forwarded: &[impl AsRef<[u8]>]) -> String {
        let peer = RemoteAddr(Addr::SocketAddr(peer.parse().unwrap()));
        let mut headers = HeaderMap::new();
        forwarded.iter().for_each(|line| {
            headers.append("x-forwarded-for", HeaderValue::from_bytes(line.as_ref()).unwrap());
        });
        address(&peer, &headers, &Proxies::parse("10.0.0.0/8,::1").unwrap()).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_from_the_right() {
        assert_eq!(client("203.0.113.9:1", &["1.2.3.4"]), "203.0.113.9", "an untrusted peer cannot forward");
        assert_eq!(client("10.0.0.1:1", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4", "the left is the client's invention");
        assert_eq!(client("10.0.0.1:1", &["1.2.3.4, 10.0.0.2"]), "1.2.3.4", "past a second proxy");
        assert_eq!(client("10.0.0.1:1", &["6.6.6.6", "1.2.3.4"]), "1.2.3.4", "lines are one list");
        assert_eq!(client("10.0.0.1:1", &[""; 0]), "10.0.0.1");
        assert_eq!(client("10.0.0.1:1", &["10.0.0.3"]), "10.0.0.3", "a machine among the proxies");
        assert_eq!(client("[::1]:1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client("[::ffff:10.0.0.1]:1", &["1.2.3.4:5678"]), "1.2.3.4", "mapped addresses are IPv4");
    }

    #[test]
    fn what_cannot_be_read_is_never_taken_for_the_proxy() {
        assert_eq!(client("10.0.0.1:1", &[b"\xff, 203.0.113.9"]), "203.0.113.9", "one bad byte spoils one hop only");
        assert_eq!(client("10.0.0.1:1", &[&b"203.0.113.9"[..], b"10.0.0.2, \xff"]), "0.0.0.0");
        for unreadable in ["1.2.3.4, unknown", "unknown", "unknown, 10.0.0.2", ""] {
            assert_eq!(client("10.0.0.1:1", &[unreadable]), "0.0.0.0", "{unreadable:?}");
        }
    }

    fn local(peer: &str, uri: &str, headers: &[(&'static str, &str)]) -> bool {
        let mut request = poem::http::Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let peer = RemoteAddr(Addr::SocketAddr(peer.parse().unwrap()));
        is_local(&Request::from_parts((parts, LocalAddr::default(), peer, Scheme::HTTP).into(), poem::Body::empty()))
    }

    #[test]
    fn local_is_this_machine_asking_for_this_machine_itself() {
        for host in ["localhost", "LocalHost:8000", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000"] {
            assert!(local("127.0.0.1:1", "/metrics", &[("host", host)]), "{host}");
        }
        assert!(local("[::1]:1", "/metrics", &[]) && local("[::ffff:127.0.0.1]:1", "http://localhost:1/metrics", &[]));
        assert!(!local("203.0.113.9:1", "/metrics", &[("host", "localhost")]));
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "0.0.0.0", "", "a b"] {
            assert!(!local("127.0.0.1:1", "/metrics", &[("host", host)]), "{host}");
        }
        assert!(!local("127.0.0.1:1", "http://evil.example/metrics", &[("host", "localhost")]));
        for name in ["x-forwarded-for", "forwarded", "x-real-ip", "via"] {
            assert!(!local("127.0.0.1:1", "/metrics", &[("host", "localhost"), (name, "127.0.0.1")]), "{name}");
        }
    }
}
