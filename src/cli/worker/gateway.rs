//! The client of the job gateway: requests signed one by one, and what their answers mean to a worker.

use std::time::Duration;

use poem::http::StatusCode;
use reqwest::Url;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::base::{Clock, Error, Result, Secret};
use crate::cli::session::problem;
use crate::config::WorkerConfig;
use crate::domains::auth::{Signable, message, sign};

/// Largest answer that is read, in bytes: one job with the largest payload fits many times.
const MAX_ANSWER: usize = 1 << 20;

/// What requests are signed with.
pub enum Credential {
    /// A3, the gateway's three headers.
    Gateway { key: Secret, hmac: Secret },
    /// A6, with the secret of a key id.
    Signed { kid: String, secret: Secret },
}

/// Why a request came to nothing, in terms of what to do now.
#[derive(Debug)]
pub enum Failure {
    /// Later it may work: the server is away, busy or limiting.
    Passing(Error),
    /// The credential does not hold, or may not do this. It may be the server that is being set right.
    Refused(Error),
    /// The job is no longer ours.
    Lost(Error),
    /// Trying again is pointless.
    Final(Error),
}

impl Failure {
    pub fn error(&self) -> &Error {
        match self {
            Failure::Passing(error) | Failure::Refused(error) | Failure::Lost(error) | Failure::Final(error) => error,
        }
    }

    pub fn into_error(self) -> Error {
        match self {
            Failure::Passing(error) | Failure::Refused(error) | Failure::Lost(error) | Failure::Final(error) => error,
        }
    }
}

/// A job under a lease, as the gateway hands it out.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Envelope {
    pub id: String,
    pub queue: String,
    pub attempt: u32,
    pub enqueued_at: String,
    pub lease_token: String,
    /// The producer's text, byte for byte.
    pub payload: Box<RawValue>,
}

/// How a job is answered for.
#[derive(Debug, Clone)]
pub enum Answer {
    Ack,
    /// `retry_in`: none leaves the pause to the server.
    Nack {
        reason: String,
        retry_in: Option<Duration>,
        dead: bool,
        /// It was not tried: the attempt does not count.
        released: bool,
    },
    Extend {
        lease: Duration,
    },
}

impl Answer {
    pub fn verb(&self) -> &'static str {
        match self {
            Answer::Ack => "ack",
            Answer::Nack { .. } => "nack",
            Answer::Extend { .. } => "extend",
        }
    }

    /// The fields of the request, for both ways of sending it.
    pub fn fields(&self, token: &str) -> Value {
        let mut fields = json!({ "leaseToken": token });
        match self {
            Answer::Ack => {}
            Answer::Nack { reason, retry_in, dead, released } => {
                fields["reason"] = reason.as_str().into();
                if let Some(pause) = retry_in {
                    fields["retryIn"] = pause.as_secs().into();
                }
                for (name, said) in [("dead", dead), ("released", released)] {
                    if *said {
                        fields[name] = true.into();
                    }
                }
            }
            Answer::Extend { lease } => fields["lease"] = lease.as_secs().into(),
        }
        fields
    }
}

/// Which jobs are asked for.
#[derive(Debug, Clone)]
pub struct Wish {
    pub queue: String,
    pub lease: Duration,
}

/// A signing client of one server.
pub struct Gateway {
    client: reqwest::Client,
    base: Url,
    credential: Credential,
    clock: Clock,
    /// How long one request may take.
    pub timeout: Duration,
}

impl Gateway {
    /// # Errors
    /// When the client cannot be built.
    pub fn new(config: &WorkerConfig, credential: Credential, clock: Clock) -> Result<Self> {
        // A redirect would carry the key to wherever it points; and what is on this machine is not behind a proxy.
        let builder = reqwest::Client::builder()
            .timeout(config.timeout)
            .connect_timeout(config.timeout)
            .redirect(reqwest::redirect::Policy::none());
        let builder = if config.local { builder.no_proxy() } else { builder };
        let client = builder.build().map_err(|error| Error::broken("cli.no_client", error))?;
        Ok(Self { client, base: config.base.clone(), credential, clock, timeout: config.timeout })
    }

    /// The next job of a queue; none when none came within `wait`.
    ///
    /// # Errors
    /// As [`Gateway::request`].
    pub async fn take(&self, wish: &Wish, wait: Duration) -> Result<Option<Envelope>, Failure> {
        let (lease, wait) = (wish.lease.as_secs(), wait.as_secs());
        let target = format!("/job/next?queue={}&lease={lease}&wait={wait}", wish.queue);
        let (status, body) = self.request("GET", &target, None).await?;
        if status == StatusCode::NO_CONTENT {
            return Ok(None);
        }
        let unreadable = |error| {
            let detail = "the answer to GET /job/next is no job";
            Failure::Final(Error::remote("worker.bad_answer", detail).context(error).hint("is BASE_URL a grps server?"))
        };
        serde_json::from_slice(&body).map(Some).map_err(unreadable)
    }

    /// Says how a job went, or that more time is needed.
    ///
    /// # Errors
    /// As [`Gateway::request`]; [`Failure::Lost`] when the lease has ended.
    pub async fn answer(&self, job: &Envelope, answer: &Answer) -> Result<(), Failure> {
        let target = format!("/job/{}/{}", job.id, answer.verb());
        self.request("POST", &target, Some(&answer.fields(&job.lease_token))).await.map(|_| ())
    }

    /// One request, signed now.
    ///
    /// # Errors
    /// What the status means, with the server's own code, detail and hint.
    async fn request(
        &self,
        method: &str,
        target: &str,
        body: Option<&Value>,
    ) -> Result<(StatusCode, Vec<u8>), Failure> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let url = self.url(target)?;
        let headers = self.headers(method, &url, body.as_bytes()).map_err(Failure::Final)?;
        let method = if method == "GET" { reqwest::Method::GET } else { reqwest::Method::POST };
        let mut request = self.client.request(method, url);
        if !body.is_empty() {
            request = request.header("content-type", "application/json").body(body);
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let mut answer = request.send().await.map_err(|error| self.away(error))?;
        let status = answer.status();
        let asked = retry_after(answer.headers());
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| self.away(error))? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER {
                let detail = format!("the server answered with more than {MAX_ANSWER} bytes");
                return Err(Failure::Final(Error::remote("worker.bad_answer", detail)));
            }
        }
        if status.is_success() { Ok((status, bytes)) } else { Err(failure(status, asked, &bytes)) }
    }

    /// Where `target` is.
    pub fn url(&self, target: &str) -> Result<Url, Failure> {
        let text = format!("{}{target}", self.base.as_str().trim_end_matches('/'));
        Url::parse(&text).map_err(|error| Failure::Final(Error::broken("worker.bad_target", error)))
    }

    /// The headers that prove who asks, fresh for this request.
    ///
    /// # Errors
    /// `secret.no_randomness`.
    pub fn headers(&self, method: &str, url: &Url, body: &[u8]) -> Result<Vec<(&'static str, String)>> {
        let now = self.clock.now().seconds().to_string();
        match &self.credential {
            Credential::Gateway { key, hmac } => {
                let signature = sign(hmac, now.as_bytes());
                Ok(vec![("x-api-key", key.expose().to_owned()), ("x-timestamp", now), ("x-signature", signature)])
            }
            Credential::Signed { kid, secret } => {
                let target =
                    url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
                let nonce = Secret::generate()?.expose()[..32].to_owned();
                let text = message(&now, &nonce, &Signable { method, target: &target, body });
                let signature = format!("v2,{kid},{}", sign(secret, text.as_bytes()));
                Ok(vec![("x-grps-timestamp", now), ("x-grps-nonce", nonce), ("x-grps-signature-v2", signature)])
            }
        }
    }

    fn away(&self, error: reqwest::Error) -> Failure {
        let error = error.without_url();
        let why = if error.is_timeout() { "does not answer in time" } else { "cannot be reached" };
        let detail = format!("the server at {} {why}", self.base);
        Failure::Passing(
            Error::remote("server.unreachable", detail).context(root(&error)).hint("start it, or correct BASE_URL"),
        )
    }
}

/// The innermost cause: what the socket said.
fn root(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}

/// `Retry-After` in seconds; the other form, a date, is not one that we send.
pub fn retry_after(headers: &reqwest::header::HeaderMap) -> Option<Duration> {
    headers.get("retry-after")?.to_str().ok()?.trim().parse().ok().map(Duration::from_secs)
}

/// What a refusal means.
pub fn failure(status: StatusCode, asked: Option<Duration>, body: &[u8]) -> Failure {
    let mut error = problem(status, &serde_json::from_slice(body).unwrap_or(Value::Null));
    if let Some(asked) = asked {
        error = error.retry_after(asked);
    }
    let code = error.code().to_owned();
    match status.as_u16() {
        401 | 403 => Failure::Refused(explained(error)),
        409 if code == "jobs.lease_lost" => Failure::Lost(error),
        404 if code == "jobs.missing" => Failure::Lost(error),
        408 | 409 | 425 | 429 | 500..=599 => Failure::Passing(error),
        300..=399 => {
            let detail =
                format!("the server answers {status}, a redirect, which is not followed: it would carry the key along");
            Failure::Final(Error::remote("worker.redirected", detail).hint("set BASE_URL to where it points"))
        }
        _ => Failure::Final(error),
    }
}

/// A refused credential, with what to look at: the server tells only what it saw.
fn explained(error: Error) -> Error {
    let look = match error.code() {
        "auth.timestamp_skewed" => "compare the clocks of both machines (`date -u`), and let NTP keep them",
        "auth.gateway_key_invalid" => {
            "API_KEY differs from the server's; `grps sign a3` on the server's machine shows it"
        }
        "auth.gateway_signature_invalid" => "HMAC_SECRET differs from the server's",
        "auth.signature_invalid" => {
            "the secret is not that of this key id, or the key was revoked; `grps keys list` shows the ids"
        }
        _ => return error,
    };
    let hint = error.hint_text().map_or_else(|| look.to_owned(), |hint| format!("{look}. {hint}"));
    error.hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(status: u16, code: &str) -> Failure {
        let body = json!({ "code": code, "detail": "no", "hint": "do" }).to_string();
        failure(StatusCode::from_u16(status).unwrap(), None, body.as_bytes())
    }

    #[test]
    fn answers_mean_what_to_do_next() {
        assert!(matches!(read(409, "jobs.lease_lost"), Failure::Lost(_)));
        assert!(matches!(read(404, "jobs.missing"), Failure::Lost(_)));
        assert!(matches!(read(404, "request.no_such_path"), Failure::Final(_)));
        assert!(matches!(read(409, "store.contended"), Failure::Passing(_)));
        for status in [408, 429, 500, 503, 507] {
            assert!(matches!(read(status, "x"), Failure::Passing(_)), "{status}");
        }
        for status in [301, 307, 400, 413, 422] {
            assert!(matches!(read(status, "x"), Failure::Final(_)), "{status}");
        }
        let Failure::Refused(error) = read(401, "auth.timestamp_skewed") else { panic!("a 401 is a refusal") };
        assert!(error.hint_text().unwrap().contains("clocks") && error.hint_text().unwrap().contains("do"));
    }

    #[test]
    fn answers_hold_what_they_need() {
        assert_eq!(Answer::Ack.fields("1.a"), json!({ "leaseToken": "1.a" }));
        let nack =
            Answer::Nack { reason: "exit code 3".into(), retry_in: Some(Duration::ZERO), dead: true, released: false };
        assert_eq!(nack.fields("t"), json!({ "leaseToken": "t", "reason": "exit code 3", "retryIn": 0, "dead": true }));
        let back = Answer::Nack { reason: "stopped".into(), retry_in: None, dead: false, released: true };
        assert_eq!(back.fields("t"), json!({ "leaseToken": "t", "reason": "stopped", "released": true }));
        assert_eq!(
            Answer::Extend { lease: Duration::from_secs(30) }.fields("t"),
            json!({ "leaseToken": "t", "lease": 30 })
        );
    }

    #[test]
    fn payloads_keep_their_bytes() {
        let text = r#"{"id":"01","queue":"q","attempt":1,"enqueuedAt":"t","leaseToken":"1.x","leaseExpiresAt":"t","payload":{ "a":1.0, "b":1e400 }}"#;
        let job: Envelope = serde_json::from_str(text).unwrap();
        assert_eq!(job.payload.get(), r#"{ "a":1.0, "b":1e400 }"#);
    }
}
