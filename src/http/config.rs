//! What an owner can set about HTTP, with defaults that are safe on the open internet.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use poem::http::Uri;

use crate::base::{Error, Result};

/// Settings of the HTTP floor. Deadlines are in milliseconds.
#[derive(Debug, Clone)]
pub struct Config {
    /// `MAX_BODY_BYTES`: largest request body, in bytes. Larger ones are answered 413.
    pub max_body_bytes: usize,
    /// How long a client may take to send its whole body, in ms. Slower ones are answered 408.
    pub body_deadline_ms: u64,
    /// How long a handler may take, in ms. Slower ones are answered 503.
    pub handler_deadline_ms: u64,
    /// `RATE_LIMIT_PER_MINUTE`: requests per client and window; 0 switches the limit off.
    pub rate_limit_requests: u32,
    /// `RATE_LIMIT_WINDOW_SECONDS`: length of that window, in seconds, at least 1.
    pub rate_limit_window_seconds: u32,
    /// `TRUSTED_PROXIES`: whose `X-Forwarded-For` is believed. Empty: nobody's.
    pub trusted_proxies: Proxies,
    /// `ALLOWED_ORIGINS` (comma list), else `CORS_ALLOW_ORIGINS` (JSON list): which web pages may call us from a browser.
    pub allowed_origins: Origins,
    /// `SERVICE_BASE_URL`: our own address as browsers know it; a page from there may open WebSockets. Empty: none is known.
    pub base_url: String,
    /// Open connections at most. Past it, new ones get a 503 and are closed.
    pub max_connections: usize,
    /// How long a client may take to send its request line and headers once it has begun, in ms.
    pub header_deadline_ms: u64,
    /// How long a connection may stay open without a request, in ms.
    pub idle_deadline_ms: u64,
    /// How long a client may take to drain what was written to it, in ms.
    pub write_deadline_ms: u64,
    /// How long requests in flight may take to finish at shutdown, in ms.
    pub drain_deadline_ms: u64,
    /// `MAX_SOCKETS`: open WebSockets at most. Past it, new ones are answered 503 instead of being upgraded.
    pub max_sockets: usize,
    /// How long a WebSocket's peer may be quiet before it is pinged, in ms. Proxies give up on quiet connections after 60 s.
    pub socket_ping_ms: u64,
    /// How long it may take to answer that ping, in ms.
    pub socket_pong_ms: u64,
    /// How long it may take to take one message, in ms.
    pub socket_write_deadline_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            max_body_bytes: 1024 * 1024,
            body_deadline_ms: 20_000,
            handler_deadline_ms: 30_000,
            rate_limit_requests: 0,
            rate_limit_window_seconds: 60,
            trusted_proxies: Proxies::default(),
            allowed_origins: Origins::default(),
            base_url: String::new(),
            max_connections: 10_000,
            header_deadline_ms: 10_000,
            idle_deadline_ms: 75_000,
            write_deadline_ms: 60_000,
            drain_deadline_ms: 10_000,
            max_sockets: 10_000,
            socket_ping_ms: 45_000,
            socket_pong_ms: 20_000,
            socket_write_deadline_ms: 10_000,
        }
    }
}

pub(super) fn ms(value: u64) -> Duration {
    Duration::from_millis(value)
}

/// Address ranges whose `X-Forwarded-For` header is believed (requirement B25).
#[derive(Debug, Clone, Default)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Ranges at most: each is tried for each forwarded address.
    pub const MAX: usize = 64;

    /// Reads a comma list of CIDR ranges and single addresses: `10.0.0.0/8, ::1`.
    ///
    /// # Errors
    /// `config.trusted_proxies_invalid` names the entry that is neither.
    pub fn parse(text: &str) -> Result<Self> {
        let ranges: Vec<IpNet> =
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(range).collect::<Result<_>>()?;
        if ranges.len() > Self::MAX {
            return Err(Error::invalid(
                "config.trusted_proxies_invalid",
                format!("TRUSTED_PROXIES lists {} ranges; at most {} are read", ranges.len(), Self::MAX),
            ));
        }
        Ok(Self(ranges))
    }

    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|range| range.contains(&address))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn range(text: &str) -> Result<IpNet> {
    let single = || text.parse::<IpAddr>().map(|address| IpNet::from(address.to_canonical()));
    text.parse().or_else(|_| single()).map_err(|_| {
        Error::invalid(
            "config.trusted_proxies_invalid",
            format!("TRUSTED_PROXIES: {text:?} is neither an address nor a range"),
        )
        .hint("write ranges as 10.0.0.0/8 or fd00::/8, separated by commas")
    })
}

/// Web origins that may call us from a browser: exact `scheme://host[:port]`, never `*` (requirement B36).
#[derive(Debug, Clone)]
pub struct Origins(Vec<String>);

impl Default for Origins {
    /// The seeds' two: the group's portal and a developer's own machine (requirement G18).
    fn default() -> Self {
        Self(vec!["https://grps.example.com".into(), "http://localhost:3000".into()])
    }
}

impl Origins {
    /// Origins at most.
    pub const MAX: usize = 64;

    /// # Errors
    /// `config.origin_invalid` names the entry that is not an exact web origin.
    pub fn new<S: AsRef<str>>(origins: impl IntoIterator<Item = S>) -> Result<Self> {
        let list: Vec<String> = origins.into_iter().map(|text| origin(text.as_ref().trim())).collect::<Result<_>>()?;
        if list.len() > Self::MAX {
            return Err(refused(&format!("{} origins are listed; at most {} are read", list.len(), Self::MAX)));
        }
        Ok(Self(list))
    }

    /// Reads `ALLOWED_ORIGINS`: a comma list. An empty text allows no other origin.
    ///
    /// # Errors
    /// As [`Origins::new`].
    pub fn parse(text: &str) -> Result<Self> {
        Self::new(text.split(',').filter(|part| !part.trim().is_empty()))
    }

    /// Reads `CORS_ALLOW_ORIGINS`: a JSON list of strings.
    ///
    /// # Errors
    /// As [`Origins::new`], and when the text is not such a list.
    pub fn parse_json(text: &str) -> Result<Self> {
        let list: Vec<String> =
            serde_json::from_str(text).map_err(|_| refused("CORS_ALLOW_ORIGINS is not a JSON list of strings"))?;
        Self::new(list)
    }

    pub fn allows(&self, origin: &[u8]) -> bool {
        self.0.iter().any(|allowed| allowed.as_bytes() == origin)
    }
}

fn refused(why: &str) -> Error {
    Error::invalid("config.origin_invalid", why)
        .hint("list exact origins such as https://portal.example.com or http://localhost:3000, without a path")
}

/// Browsers send origins in lower case, without a default port and without a trailing slash; so do we compare them.
fn origin(text: &str) -> Result<String> {
    let bad = |why: &str| Err(refused(&format!("{text:?} is not a web origin: {why}")));
    if text == "*" || text == "null" {
        return bad("any page could then act in a signed-in person's name");
    }
    let lower = text.to_ascii_lowercase();
    let Some((scheme, host)) = lower.split_once("://") else { return bad("it has no scheme") };
    if !matches!(scheme, "http" | "https") {
        return bad("the scheme must be http or https");
    }
    let parsed = format!("{scheme}://{host}/").parse::<Uri>().ok().and_then(|uri| uri.authority().cloned());
    let exact = parsed.is_some_and(|authority| authority.as_str() == host && !authority.host().contains(['*', '@']));
    if !exact || host.contains('@') {
        return bad("expected scheme://host or scheme://host:port and nothing after it");
    }
    let default_port = if scheme == "http" { ":80" } else { ":443" };
    Ok(format!("{scheme}://{}", host.strip_suffix(default_port).unwrap_or(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_exact_or_refused() {
        let origins = Origins::parse("https://a.example, http://LOCALHOST:3000,https://b.example:443").unwrap();
        for good in ["https://a.example", "http://localhost:3000", "https://b.example"] {
            assert!(origins.allows(good.as_bytes()), "{good}");
        }
        for foreign in ["https://a.example.evil", "http://a.example", "https://a.example:8443", "null", ""] {
            assert!(!origins.allows(foreign.as_bytes()), "{foreign}");
        }
        for bad in
            ["*", "null", "a.example", "https://a.example/", "https://*.example", "ftp://a", "https://u@a", "https://"]
        {
            let error = Origins::parse(bad).unwrap_err();
            assert_eq!(error.code(), "config.origin_invalid", "{bad}");
            assert!(error.hint_text().is_some());
        }
        assert!(Origins::parse_json(r#"["https://a.example"]"#).unwrap().allows(b"https://a.example"));
        assert!(Origins::parse_json("https://a.example").is_err());
    }

    #[test]
    fn proxies_are_ranges_or_addresses() {
        let proxies = Proxies::parse("10.0.0.0/8, ::1").unwrap();
        assert!(proxies.trusts("10.9.8.7".parse().unwrap()));
        assert!(proxies.trusts("::1".parse().unwrap()));
        assert!(!proxies.trusts("11.0.0.1".parse().unwrap()));
        assert!(Proxies::parse("10.0.0.0/8, proxy.local").unwrap_err().detail().contains("proxy.local"));
        assert!(Proxies::parse("").unwrap().is_empty());
    }
}
