//! Who is calling: the peer's address, or what trusted proxies say stands behind them (requirements J14, B25).

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use poem::Addr;
use poem::http::HeaderMap;
use poem::web::RemoteAddr;

use crate::http::config::Proxies;

/// Forwarded addresses looked at, from the right; a longer chain of proxies is not a chain of ours.
const MAX_HOPS: usize = 16;

/// The right-most address that is not a trusted proxy. `X-Forwarded-For` counts only as far as trusted proxies wrote it: what stands left
/// of the first untrusted address is whatever the client made up.
pub fn address(peer: &RemoteAddr, headers: &HeaderMap, proxies: &Proxies) -> IpAddr {
    let peer = match &peer.0 {
        Addr::SocketAddr(address) => address.ip().to_canonical(),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    if proxies.is_empty() || !proxies.trusts(peer) {
        return peer;
    }
    let lines: Vec<&str> = headers.get_all("x-forwarded-for").iter().filter_map(|value| value.to_str().ok()).collect();
    let hops = lines.iter().rev().flat_map(|line| line.rsplit(',')).take(MAX_HOPS);
    let mut client = peer;
    for hop in hops {
        // Something unreadable ends the chain: the last proxy we trust is then the best answer.
        let Some(address) = parse(hop.trim()) else { break };
        client = address;
        if !proxies.trusts(address) {
            break;
        }
    }
    client
}

/// Some proxies append the port.
fn parse(text: &str) -> Option<IpAddr> {
    let bare = text.parse::<IpAddr>().or_else(|_| text.parse::<SocketAddr>().map(|address| address.ip()));
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse().ok();
    bare.ok().or_else(bracketed).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let peer = RemoteAddr(Addr::SocketAddr(peer.parse().unwrap()));
        let mut headers = HeaderMap::new();
        forwarded.iter().for_each(|line| {
            headers.append("x-forwarded-for", line.parse().unwrap());
        });
        address(&peer, &headers, &Proxies::parse("10.0.0.0/8,::1").unwrap()).to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_from_the_right() {
        assert_eq!(client("203.0.113.9:1", &["1.2.3.4"]), "203.0.113.9", "an untrusted peer cannot forward");
        assert_eq!(client("10.0.0.1:1", &["6.6.6.6, 1.2.3.4"]), "1.2.3.4", "the left is the client's invention");
        assert_eq!(client("10.0.0.1:1", &["1.2.3.4, 10.0.0.2"]), "1.2.3.4", "past a second proxy");
        assert_eq!(client("10.0.0.1:1", &["6.6.6.6", "1.2.3.4"]), "1.2.3.4", "lines are one list");
        assert_eq!(client("10.0.0.1:1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1:1", &["1.2.3.4, unknown"]), "10.0.0.1");
        assert_eq!(client("[::1]:1", &["[2001:db8::1]:443"]), "2001:db8::1");
        assert_eq!(client("[::ffff:10.0.0.1]:1", &["1.2.3.4:5678"]), "1.2.3.4", "mapped addresses are IPv4");
    }
}
