//! Floor 3, outbound HTTP: what we ask of other people's servers. Every vendor has one file here with its client, which knows the vendor's
//! paths, headers and ways of failing, and nothing of what the answers are for.
//!
//! A request has a time limit, an answer a size limit, redirects are not followed (a credential must not travel on), and plain HTTP is
//! for this machine only. Nothing here retries or waits: a client says what happened and what the vendor asked for, and the domain that
//! called decides when to come back. Credentials are headers marked sensitive; no error carries an address or a header.

pub mod discord;
pub mod roblox;

use std::fmt;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder, Url};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;

use crate::base::{Error, Result, Secret, Time};

pub use discord::Discord;
pub use roblox::Roblox;

/// How long a connection may take to stand, TLS included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a request may take from its first byte to the answer's last.
pub const TOTAL_TIMEOUT: Duration = Duration::from_secs(15);

/// How long an unused connection is kept for the next request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(90);

/// Largest answer that is read, in bytes. A hundred Discord messages stay under it unless nearly all are full to the brim.
pub const MAX_ANSWER: usize = 8 << 20;

/// Longest wait a vendor can ask for; more is taken as this much.
pub const MAX_WAIT: Duration = Duration::from_secs(24 * 3600);

/// Characters of a vendor's own words that are passed on.
const MAX_WORDS: usize = 200;

/// Where a vendor who asks for a contact finds the project: the package's homepage or repository. A package that names neither has no
/// address of its own, and the stand-in only keeps the form; operators give theirs with `SERVICE_BASE_URL` ([`contact`]).
pub const PROJECT_URL: &str = {
    let (homepage, repository) = (env!("CARGO_PKG_HOMEPAGE"), env!("CARGO_PKG_REPOSITORY"));
    if !homepage.is_empty() {
        homepage
    } else if !repository.is_empty() {
        repository
    } else {
        "https://grps.example.com"
    }
};

/// What we call ourselves where the vendor does not say how.
pub const USER_AGENT: &str = concat!("grps/", env!("CARGO_PKG_VERSION"));

/// A vendor's address: HTTPS, or HTTP on this machine; without credentials, query or fragment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseUrl {
    url: Url,
    local: bool,
}

impl BaseUrl {
    /// Reads the address in the setting `name`.
    ///
    /// # Errors
    /// `config.invalid`, without the value: an address may hold a password.
    pub fn parse(name: &str, text: &str) -> Result<Self> {
        let wrong = |why: &str| {
            Error::invalid("config.invalid", format!("{name} {why}"))
                .hint(format!("leave {name} out unless you test against a server of your own"))
        };
        let url = Url::parse(text).map_err(|_| wrong("is not a web address such as https://example.com/api"))?;
        let host = url.host_str().ok_or_else(|| wrong("names no host"))?;
        let local = is_local(host);
        if !url.username().is_empty() || url.password().is_some() || url.query().is_some() || url.fragment().is_some() {
            return Err(wrong("may hold a host and a path only"));
        }
        match url.scheme() {
            "https" => {}
            "http" if local => {}
            "http" => return Err(wrong("must begin with https://: a credential is sent there")),
            _ => return Err(wrong("must begin with https://")),
        }
        Ok(Self { url, local })
    }

    fn text(&self) -> &str {
        self.url.as_str().trim_end_matches('/')
    }
}

/// The origin of `url` when strangers can reach people by it: HTTPS and a host with a public name. What is no such address is no contact,
/// so that a typing error keeps nobody from starting.
pub fn contact(url: &str) -> Option<String> {
    let url = Url::parse(url).ok().filter(|url| url.scheme() == "https")?;
    let public = url.domain().is_some_and(|name| name.contains('.') && !name.ends_with(".local"));
    public.then(|| url.origin().ascii_serialization())
}

fn is_local(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

/// One vendor's connection pool and address.
#[derive(Clone)]
pub(crate) struct Client {
    http: reqwest::Client,
    base: BaseUrl,
    /// The vendor's name in messages.
    vendor: &'static str,
    patience: Duration,
}

/// What a vendor answered, whatever the status.
pub(crate) struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Why there is no answer to read.
pub(crate) enum Failed {
    Unanswered(Unanswered),
    /// It was larger than [`MAX_ANSWER`]: here is how it began.
    TooLarge(Answer),
}

impl Failed {
    /// For a vendor of whom less cannot be asked.
    pub fn unanswered(self, vendor: &str) -> Unanswered {
        match self {
            Self::Unanswered(unanswered) => unanswered,
            Self::TooLarge(answer) => Unanswered {
                what: format!("{vendor} sent more than {} MiB", MAX_ANSWER >> 20),
                cause: format!("status {}", answer.status),
            },
        }
    }
}

/// There was no whole answer: no connection, no answer in time, or one that broke off. What was asked for may have happened all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unanswered {
    /// For people: says who did not answer and how.
    pub what: String,
    /// For the log.
    pub cause: String,
}

impl Client {
    /// # Errors
    /// `remote.client` when this machine has no certificates to trust.
    pub fn new(vendor: &'static str, base: BaseUrl, user_agent: &str, patience: Duration) -> Result<Self> {
        // Which cryptography rustls uses is told once a process; whoever comes second finds it done.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(user_agent)
            .connect_timeout(CONNECT_TIMEOUT)
            .timeout(patience)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .redirect(Policy::none())
            .https_only(!base.local);
        if base.local {
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| {
            Error::remote("remote.client", format!("no secure connection to {vendor} can be set up on this machine"))
                .hint("install the system's certificates (the package is called ca-certificates)")
                .context(chain(&error.without_url()))
        })?;
        Ok(Self { http, base, vendor, patience })
    }

    pub fn get(&self, path: &str) -> RequestBuilder {
        self.http.get(self.url(path))
    }

    pub fn request(&self, method: Method, url: Url) -> RequestBuilder {
        self.http.request(method, url).timeout(self.patience)
    }

    /// The same connections with another time limit.
    pub fn patient(&self, patience: Duration) -> Self {
        Self { patience, ..self.clone() }
    }

    /// The address of a path, segment by segment, and a query: both are encoded where they need it.
    pub fn address(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.base.url.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.text())
    }

    /// Sends `request` and reads the answer to its end.
    pub async fn send(&self, request: RequestBuilder) -> Result<Answer, Failed> {
        let silent = |error| Failed::Unanswered(self.unanswered(error));
        let mut response = request.send().await.map_err(silent)?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let mut body = BytesMut::new();
        while let Some(chunk) = response.chunk().await.map_err(silent)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(Failed::TooLarge(Answer { status, headers, body: body.freeze() }));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(Answer { status, headers, body: body.freeze() })
    }

    fn unanswered(&self, error: reqwest::Error) -> Unanswered {
        let vendor = self.vendor;
        let what = match &error {
            error if error.is_connect() => format!("{vendor} cannot be reached"),
            error if error.is_timeout() => format!("{vendor} did not answer within {:?}", self.patience),
            _ => format!("{vendor} broke off its answer"),
        };
        Unanswered { what, cause: chain(&error.without_url()) }
    }
}

impl Answer {
    /// A header's text; none when it is not there or not text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    pub fn json(&self) -> Option<serde_json::Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// What the vendor's clock showed, rounded down to a second.
    pub fn date(&self) -> Option<Time> {
        let at = OffsetDateTime::parse(self.header("date")?, &Rfc2822).ok()?;
        Some(Time(at.unix_timestamp().saturating_mul(1000)))
    }

    /// A header that holds seconds, decimals allowed.
    pub fn seconds(&self, name: &str) -> Option<Duration> {
        seconds(self.header(name)?.trim().parse().ok()?)
    }
}

/// Seconds as a duration, rounded up to a millisecond so that nobody comes back early; none for what is no span of time.
pub(crate) fn seconds(value: f64) -> Option<Duration> {
    let millis = (value * 1000.0).ceil();
    (millis.is_finite() && millis >= 0.0).then(|| Duration::from_millis(millis as u64).min(MAX_WAIT))
}

/// A header with a credential, which no debug print shows.
///
/// # Errors
/// `config.invalid` naming `setting` when the secret cannot be a header.
pub(crate) fn credential(setting: &str, prefix: &str, secret: &Secret) -> Result<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("{prefix}{}", secret.expose())).map_err(|_| {
        Error::invalid("config.invalid", format!("{setting} has characters that none of these credentials has"))
            .hint("copy it again, without quotes, spaces and line breaks")
    })?;
    value.set_sensitive(true);
    Ok(value)
}

/// A vendor's words, cut and freed of what does not print, for messages of ours.
pub(crate) fn words(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect::<String>().trim().to_owned()
}

/// An error with everything that led to it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        out.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    out
}

impl fmt::Display for BaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_goes_out_encrypted_or_stays_on_this_machine() {
        for good in ["https://discord.com/api/v10", "http://127.0.0.1:9/", "http://localhost:1", "http://[::1]:5/x"] {
            assert!(BaseUrl::parse("X", good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "discord.com",
            "http://discord.com",
            "ftp://discord.com",
            "http://10.0.0.1",
            "https://u:hunter2@x.com",
            "https://x.com/?key=hunter2",
            "https://x.com/#a",
            "http://localhost.evil.com",
            "http://127.0.0.1.nip.io",
        ] {
            let error = BaseUrl::parse("DISCORD_API_URL", bad).unwrap_err();
            assert!(error.detail().contains("DISCORD_API_URL"), "{bad}: {error}");
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
        let base = BaseUrl::parse("X", "http://127.0.0.1:9/api/").unwrap();
        assert_eq!(base.to_string(), "http://127.0.0.1:9/api");
    }

    #[test]
    fn only_a_public_address_is_a_contact() {
        assert_eq!(
            contact("https://me:pw@jobs.example.org:8443/x?y").as_deref(),
            Some("https://jobs.example.org:8443")
        );
        for none in
            ["", "jobs", "http://jobs.example.org", "https://localhost", "https://10.0.0.1", "https://nas.local"]
        {
            assert_eq!(contact(none), None, "{none}");
        }
    }

    #[test]
    fn waits_are_rounded_up_and_bounded() {
        assert_eq!(seconds(0.0001), Some(Duration::from_millis(1)));
        assert_eq!(seconds(64.57), Some(Duration::from_millis(64_570)));
        assert_eq!(seconds(1e300), Some(MAX_WAIT));
        for none in [-1.0, f64::NAN, f64::INFINITY] {
            assert_eq!(seconds(none), None, "{none}");
        }
    }

    #[test]
    fn a_secret_that_is_no_header_is_refused_without_showing_it() {
        let error = credential("DISCORD_TOKEN", "Bot ", &Secret::new("hunter2\nx")).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        let value = credential("DISCORD_TOKEN", "Bot ", &Secret::new("hunter2")).unwrap();
        assert!(!format!("{value:?}").contains("hunter2"));
    }
}
