//! The four ways to prove who is calling, each a function from request headers to a [`Caller`]. Comparisons take constant time.
//!
//! What A6 promises, and what it does not:
//!
//! * It covers the time, a nonce, the method, path, query and body. It covers no other header: whoever can change a request on its way can
//!   still add or drop `x-grps-apply`, `x-grps-evaluate` or `x-grps-actor`. Only TLS protects those.
//! * A signature opens one request, once, as long as this process runs: used nonces are in memory ([`super::nonce`]). For a restart the
//!   gate refuses signatures from before the start. What can then still come a second time is a request that was accepted before the
//!   restart and yet is dated into or after the second the server started in: sent within that very second, or by a clock that is ahead,
//!   which [`MAX_AHEAD`] bounds. A server that restarts needs about as long, so little is left; closing it fully would lock callers out
//!   for as long after each start, the command line among them.

use data_encoding::{BASE64, HEXLOWER};
use poem::http::HeaderMap;
use ring::{digest, hmac};

use super::caller::{Caller, Strength};
use super::config::{Config, GATEWAY_SCOPES, SIGNATURE_SCOPES};
use super::scope::Scopes;
use crate::base::{Error, Result, Secret, Secrets, Time};

/// How far ahead of our clock the time of an A6 signature may lie, in seconds. Small, since it is how long a replay across a restart stays
/// possible; any clock that is synchronised at all is closer.
pub const MAX_AHEAD: u64 = 5;

/// Nonces in characters, at least and at most. None of them is the `.` that separates the parts of the signed text, so that it can be
/// read in one way only.
const NONCE_LENGTH: std::ops::RangeInclusive<usize> = 8..=64;

/// What the schemes look at.
pub struct Evidence<'a> {
    pub method: &'a str,
    /// Path with query, exactly as sent.
    pub target: &'a str,
    pub headers: &'a HeaderMap,
    /// The body, exactly as sent.
    pub body: &'a [u8],
    pub now: Time,
}

impl Evidence<'_> {
    /// A header's text; one that is not visible ASCII counts as absent text, never as an error (requirement G3).
    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap_or(""))
    }
}

/// A1: the body's HMAC in `x-grps-signature`, hex in either case, with or without `sha256=`.
///
/// # Errors
/// `auth.signature_missing`, `auth.signature_invalid`; `auth.not_configured` without a secret.
pub fn signature(config: &Config, evidence: &Evidence<'_>) -> Result<Caller> {
    configured(&config.automation, "AUTOMATION_SIGNATURE_SECRET")?;
    // An empty header is a missing one, as it was to the seed; an unreadable one is a wrong one.
    let sent = evidence.headers.get("x-grps-signature").filter(|value| !value.is_empty());
    let given = sent.map(|value| value.to_str().unwrap_or("")).ok_or_else(|| {
        Error::unauthenticated("auth.signature_missing", "Missing signature")
            .hint("send x-grps-signature: hex(HMAC-SHA256(AUTOMATION_SIGNATURE_SECRET, body))")
    })?;
    let given = given.strip_prefix("sha256=").unwrap_or(given);
    let tag = HEXLOWER.decode(given.to_ascii_lowercase().as_bytes()).unwrap_or_default();
    if config.automation.iter().any(|secret| verifies(secret, evidence.body, &tag)) {
        return Ok(caller("automation", SIGNATURE_SCOPES, Strength::Replayable));
    }
    Err(Error::unauthenticated("auth.signature_invalid", "Invalid signature")
        .hint("sign the exact bytes of the body with AUTOMATION_SIGNATURE_SECRET; `grps sign a1` shows how"))
}

/// A2: the key itself in `x-grps-api-key`. All keys are compared, whichever matches.
///
/// # Errors
/// `auth.key_invalid`.
pub fn inbound_key(config: &Config, given: &str) -> Result<Caller> {
    let mut found = None;
    for key in &config.inbound {
        if key.secret.matches(given.as_bytes()) {
            found = Some(caller(&key.kid, key.scopes, Strength::Key));
        }
    }
    found.ok_or_else(|| {
        Error::unauthenticated("auth.key_invalid", "Invalid API key")
            .hint("x-grps-api-key must be one of INBOUND_API_KEYS, or a compat key made by `grps keys create --compat`")
    })
}

/// A3: the gateway's key and an HMAC of the time. The signature may be hex in either case or base64 (requirement J5).
///
/// # Errors
/// A distinct code for each header that is missing or wrong.
pub fn gateway(config: &Config, evidence: &Evidence<'_>) -> Result<Caller> {
    if config.gateway_key_only {
        return gateway_key(config, evidence);
    }
    configured(&config.gateway_key, "API_KEY")?;
    configured(&config.gateway_hmac, "HMAC_SECRET")?;
    gateway_key(config, evidence)?;
    let timestamp = required(evidence, "x-timestamp", "auth.timestamp_missing")?;
    let skew = Skew { behind: config.tolerance.as_secs(), ahead: config.tolerance.as_secs() };
    check_time(timestamp, evidence.now, "X-TIMESTAMP", &skew)?;
    let given = required(evidence, "x-signature", "auth.gateway_signature_missing")?;
    let hex = HEXLOWER.decode(given.to_ascii_lowercase().as_bytes()).ok();
    let tag = hex.or_else(|| BASE64.decode(given.as_bytes()).ok()).unwrap_or_default();
    if config.gateway_hmac.iter().any(|secret| verifies(secret, timestamp.as_bytes(), &tag)) {
        return Ok(caller("gateway", GATEWAY_SCOPES, Strength::Replayable));
    }
    Err(Error::unauthenticated(
        "auth.gateway_signature_invalid",
        "X-SIGNATURE is not HMAC_SHA256(HMAC_SECRET, X-TIMESTAMP)",
    ))
}

/// The gateway's key alone in `X-API-KEY`: for sockets, and for `GATEWAY_AUTH=key` (requirement R2). What else is sent is not looked at.
///
/// # Errors
/// `auth.gateway_key_missing`, `auth.gateway_key_invalid`; `auth.not_configured` without a key.
pub fn gateway_key(config: &Config, evidence: &Evidence<'_>) -> Result<Caller> {
    configured(&config.gateway_key, "API_KEY")?;
    let key = required(evidence, "x-api-key", "auth.gateway_key_missing")?;
    is_gateway_key(config, key.as_bytes(), "X-API-KEY is not API_KEY")
}

/// The gateway's key in `?api_key=`, percent-decoded. A `+` stays one: keys in base64 have them, and none has a space.
///
/// # Errors
/// As [`gateway_key`].
pub fn query_key(config: &Config, evidence: &Evidence<'_>) -> Result<Caller> {
    configured(&config.gateway_key, "API_KEY")?;
    let key = in_query(evidence.target, "api_key").map(unescaped).unwrap_or_default();
    is_gateway_key(config, &key, "api_key is not API_KEY")
}

fn is_gateway_key(config: &Config, key: &[u8], detail: &str) -> Result<Caller> {
    // Every value is compared, whichever matches.
    if config.gateway_key.iter().filter(|secret| secret.matches(key)).count() == 0 {
        return Err(Error::unauthenticated("auth.gateway_key_invalid", detail)
            .hint("send the value of API_KEY; in a query it must be percent-encoded"));
    }
    Ok(caller("gateway", GATEWAY_SCOPES, Strength::Key))
}

/// The raw value of a query parameter, the first of its name.
pub fn in_query<'a>(target: &'a str, name: &str) -> Option<&'a str> {
    let pairs = target.split_once('?')?.1.split('&');
    pairs
        .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
        .find(|(given, _)| *given == name)
        .map(|(_, value)| value)
}

/// Undoes percent-encoding; what is no escape stays as it is.
fn unescaped(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escape = tail
            .get(..2)
            .filter(|_| *first == b'%')
            .and_then(|hex| data_encoding::HEXLOWER_PERMISSIVE.decode(hex).ok());
        match escape.as_deref() {
            Some([byte]) => {
                out.push(*byte);
                rest = &tail[2..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}

/// The parts of an A6 signature, read and timed but not yet verified.
pub struct Signed<'a> {
    pub kid: &'a str,
    pub nonce: &'a str,
    /// The timestamp, in unix seconds.
    pub at: i64,
    tag: Vec<u8>,
    message: String,
}

/// A6, first half: reads the headers and checks the time.
///
/// # Errors
/// A distinct code for each header that is missing or malformed, `auth.timestamp_skewed` for a time too far from ours.
pub fn read_signed<'a>(config: &Config, evidence: &'a Evidence<'_>) -> Result<Signed<'a>> {
    let timestamp = required(evidence, "x-grps-timestamp", "auth.timestamp_missing")?;
    let skew = Skew { behind: config.tolerance.as_secs(), ahead: config.tolerance.as_secs().min(MAX_AHEAD) };
    let at = check_time(timestamp, evidence.now, "x-grps-timestamp", &skew)?;
    let nonce = required(evidence, "x-grps-nonce", "auth.nonce_missing")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_+/=-".contains(&byte);
    if !NONCE_LENGTH.contains(&nonce.len()) || !nonce.bytes().all(plain) {
        let detail = "x-grps-nonce must be 8 to 64 characters of A-Z, a-z, 0-9 and _+/=-";
        return Err(Error::unauthenticated("auth.nonce_invalid", detail));
    }
    let header = required(evidence, "x-grps-signature-v2", "auth.signature_missing")?;
    let mut parts = header.splitn(3, ',').map(str::trim);
    let (version, kid, hex) = (parts.next(), parts.next(), parts.next());
    let tag = hex.and_then(|hex| HEXLOWER.decode(hex.to_ascii_lowercase().as_bytes()).ok());
    match (version, kid, tag) {
        (Some("v2"), Some(kid), Some(tag)) => {
            let request = Signable { method: evidence.method, target: evidence.target, body: evidence.body };
            let message = message(timestamp, nonce, &request);
            Ok(Signed { kid, nonce, at, tag, message })
        }
        _ => Err(Error::unauthenticated("auth.signature_malformed", "x-grps-signature-v2 must read v2,<key id>,<hex>")),
    }
}

impl Signed<'_> {
    /// A6, second half: whether `secret` made this signature.
    pub fn verifies(&self, secret: &Secret) -> bool {
        verifies(secret, self.message.as_bytes(), &self.tag)
    }

    /// The refusal of a signature that no live secret made. It does not tell an unknown key id from a wrong secret.
    pub fn refused(&self) -> Error {
        Error::unauthenticated("auth.signature_invalid", "Invalid signature").hint(
            "sign timestamp.nonce.METHOD.path?query.hex(sha256(body)) with the secret of this key id; `grps sign a6` shows the exact text",
        )
    }
}

/// The parts of a request that A6 signs.
pub struct Signable<'a> {
    pub method: &'a str,
    /// Path with query.
    pub target: &'a str,
    pub body: &'a [u8],
}

/// What A6 signs, and no more than that: `timestamp.nonce.METHOD.path?query.hex(sha256(body))`.
pub fn message(timestamp: &str, nonce: &str, request: &Signable<'_>) -> String {
    let body = HEXLOWER.encode(digest::digest(&digest::SHA256, request.body).as_ref());
    format!("{timestamp}.{nonce}.{}.{}.{body}", request.method, request.target)
}

/// Hex HMAC-SHA256 of `message`: the clients' half of A1, A3 and A6.
pub fn sign(secret: &Secret, message: &[u8]) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    HEXLOWER.encode(hmac::sign(&key, message).as_ref())
}

/// The public id of an inbound key: `k` and eight hex characters of its SHA-256.
pub fn fingerprint(secret: &Secret) -> String {
    let hash = digest::digest(&digest::SHA256, secret.expose().as_bytes());
    format!("k{}", HEXLOWER.encode(&hash.as_ref()[..4]))
}

/// The environment variable that lists the key with this id, for roles that are bound to it; none for the operator and for keys made here.
pub fn listed_in(id: &str) -> Option<&'static str> {
    (id.len() == 9 && id.starts_with('k')).then_some("INBOUND_API_KEYS")
}

fn verifies(secret: &Secret, message: &[u8], tag: &[u8]) -> bool {
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret.expose().as_bytes());
    hmac::verify(&key, message, tag).is_ok()
}

fn caller(id: &str, scopes: Scopes, strength: Strength) -> Caller {
    Caller { id: id.into(), scopes, strength }
}

fn required<'a>(evidence: &'a Evidence<'_>, name: &str, code: &'static str) -> Result<&'a str> {
    match evidence.header(name) {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(Error::unauthenticated(code, format!("Missing header {name}"))),
    }
}

fn configured(secrets: &Secrets, variable: &str) -> Result<()> {
    if !secrets.is_empty() {
        return Ok(());
    }
    Err(Error::not_configured("auth.not_configured", format!("{variable} is empty, so this way of signing in is off"))
        .hint(format!("set {variable} and restart, or remove the empty setting to have one generated")))
}

/// How far a time may lie from ours, in seconds.
struct Skew {
    behind: u64,
    ahead: u64,
}

/// Whole seconds, at most so far away from ours: with 60 allowed, 60 passes and 61 does not (requirement J5).
fn check_time(text: &str, now: Time, header: &str, allowed: &Skew) -> Result<i64> {
    let digits = text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit());
    let Some(at) = text.parse::<i64>().ok().filter(|_| digits) else {
        return Err(Error::unauthenticated(
            "auth.timestamp_invalid",
            format!("{header} must be unix seconds in digits"),
        ));
    };
    let skew = (now.seconds() - at).unsigned_abs();
    let (side, allowed) = if at < now.seconds() { ("behind", allowed.behind) } else { ("ahead of", allowed.ahead) };
    if skew <= allowed {
        return Ok(at);
    }
    let detail = format!("{header} is {skew} s {side} this server's clock; {allowed} s are allowed");
    let hint = match side {
        "behind" => "set the sender's clock, or raise TIMESTAMP_TOLERANCE",
        _ => "set the sender's clock, or this machine's: one of them is wrong",
    };
    Err(Error::unauthenticated("auth.timestamp_skewed", detail).hint(hint))
}
