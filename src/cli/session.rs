//! A session with the API for one command: over loopback to the server that holds the data directory, or to one built in this process.
//! Both ways the request is the same, signed with the operator's secret (A6).

use std::time::Duration;

use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderMap, Method, StatusCode};
use poem::{Endpoint, Request, Response};
use serde_json::Value;

use super::upkeep::Meter;
use crate::app::App;
use crate::base::{Clock, Error, Result, Secret};
use crate::config::{self, Config, Generated, Sources};
use crate::domains::auth;
use crate::domains::policy::{PolicyStore, Search};
use crate::store::{DataDir, OpeningOutcome};

/// How long one call may take.
const CALL_DEADLINE: Duration = Duration::from_secs(120);

/// Largest answer read from a call, in bytes.
const MAX_ANSWER: usize = 64 << 20;

/// Fields of a refused request that are told.
const FIELDS_SHOWN: usize = 5;

/// What the API answered.
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
}

/// An open session.
pub struct Session {
    operator: Secret,
    clock: Clock,
    way: Way,
}

enum Way {
    /// A server is running; its address is in the data directory.
    Remote { client: reqwest::Client, base: String },
    /// No server is running; this process holds the data directory meanwhile.
    Here { endpoint: BoxEndpoint<'static, Response>, app: Box<App> },
}

impl Session {
    /// Opens a session on the data directory the sources name.
    ///
    /// # Errors
    /// Those of the configuration, and of opening the store when no server runs.
    pub async fn open(sources: &Sources) -> Result<Self> {
        let clock = Clock::system();
        let path = config::data_dir(sources)?;
        if let Some(owner) = DataDir::owner(&path) {
            let generated = Generated::load_or_create(&path)?;
            let address = owner.addr.ok_or_else(|| {
                Error::busy(
                    "server.starting",
                    format!("process {} holds {} and does not listen yet", owner.pid, path.display()),
                )
                .hint("try again in a moment")
            })?;
            let client = reqwest::Client::builder()
                .timeout(CALL_DEADLINE)
                .no_proxy()
                .build()
                .map_err(|error| Error::broken("cli.no_client", error))?;
            let way = Way::Remote { client, base: format!("http://{address}") };
            return Ok(Self { operator: generated.operator(), clock, way });
        }
        let dir = DataDir::open(&path)?;
        let generated = Generated::load_or_create(&path)?;
        let mut config = Config::build(sources, &generated)?;
        // A mistake in a policy file must not stand between an owner and revoking a key.
        if let Err(error) = PolicyStore::open(Search::standard(&config.policy_dir), clock.clone()) {
            eprintln!("warning: {}; this command goes on with the built-in policy", error.detail());
            config.policy_dir = dir.path().join("no-policy");
        }
        let meter = Meter::new();
        let app = Box::new(App::open(config, dir, clock.clone(), meter.progress()).await?);
        drop(meter);
        say_repair(&app);
        let endpoint = app.endpoint()?;
        Ok(Self { operator: generated.operator(), clock, way: Way::Here { endpoint, app } })
    }

    /// Opens a session for one piece of work, and closes it whatever came of that.
    ///
    /// # Errors
    /// Those of [`Session::open`], of [`Session::close`] and of the work.
    pub async fn with<T>(sources: &Sources, work: impl AsyncFnOnce(&Self) -> Result<T>) -> Result<T> {
        let session = Self::open(sources).await?;
        let done = work(&session).await;
        session.close().await?;
        done
    }

    /// Whether the calls go to a running server.
    pub fn is_remote(&self) -> bool {
        matches!(self.way, Way::Remote { .. })
    }

    /// The program in this process; none while a server runs. Its workers do not.
    pub fn hosted(&self) -> Option<&App> {
        match &self.way {
            Way::Remote { .. } => None,
            Way::Here { app, .. } => Some(app),
        }
    }

    /// Calls the API and gives the answer's JSON.
    ///
    /// # Errors
    /// The server's problem, with its code and hint; `server.unreachable` when it does not answer.
    pub async fn call(&self, method: Method, target: &str, body: Option<&Value>) -> Result<Value> {
        Ok(self.exchange((method, target), &[], body).await?.1)
    }

    /// As [`Session::call`], with headers both ways.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub async fn exchange(
        &self,
        (method, target): (Method, &str),
        headers: &[(&'static str, String)],
        body: Option<&Value>,
    ) -> Result<(HeaderMap, Value)> {
        let answer = self.ask(method, target, headers, body).await?;
        Ok((answer.headers, serde_json::from_slice(&answer.body).unwrap_or(Value::Null)))
    }

    /// Reads something that is no JSON.
    ///
    /// # Errors
    /// As [`Session::call`].
    pub async fn text(&self, target: &str) -> Result<String> {
        Ok(String::from_utf8_lossy(&self.ask(Method::GET, target, &[], None).await?.body).into_owned())
    }

    async fn ask(
        &self,
        method: Method,
        target: &str,
        extra: &[(&'static str, String)],
        body: Option<&Value>,
    ) -> Result<Answer> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut headers = self.sign(&method, target, body.as_bytes())?;
        headers.extend_from_slice(extra);
        let answer = match &self.way {
            Way::Remote { client, base } => remote(client, method, format!("{base}{target}"), &headers, body).await?,
            Way::Here { endpoint, .. } => here(endpoint, method, target, &headers, body).await?,
        };
        if answer.status.is_success() {
            return Ok(answer);
        }
        Err(problem(answer.status, &serde_json::from_slice(&answer.body).unwrap_or(Value::Null)))
    }

    /// Ends the session; a store that this process held is closed in order.
    ///
    /// # Errors
    /// Those of closing the store.
    pub async fn close(self) -> Result<()> {
        match self.way {
            Way::Remote { .. } => Ok(()),
            Way::Here { app, .. } => app.close().await,
        }
    }

    fn sign(&self, method: &Method, target: &str, body: &[u8]) -> Result<Vec<(&'static str, String)>> {
        let timestamp = self.clock.now().seconds().to_string();
        let nonce = Secret::generate()?.expose()[..32].to_owned();
        let message = auth::message(&timestamp, &nonce, &auth::Signable { method: method.as_str(), target, body });
        let signature = auth::sign(&self.operator, message.as_bytes());
        Ok(vec![
            ("content-type", "application/json".into()),
            ("x-grps-timestamp", timestamp),
            ("x-grps-nonce", nonce),
            ("x-grps-signature-v2", format!("v2,operator,{signature}")),
        ])
    }
}

/// A repair at this opening is news that no log tells.
fn say_repair(app: &App) {
    let Some(opening) = app.store.upkeep().map(|upkeep| upkeep.survey().opening) else { return };
    if matches!(opening.outcome, OpeningOutcome::Renewed | OpeningOutcome::Rebuilt | OpeningOutcome::Restored) {
        eprintln!("warning: {}", opening.text);
    }
}

async fn remote(
    client: &reqwest::Client,
    method: Method,
    url: String,
    headers: &[(&'static str, String)],
    body: String,
) -> Result<Answer> {
    let unreachable = |error: reqwest::Error| {
        Error::remote("server.unreachable", "the running server does not answer").context(error.without_url())
    };
    let request = client.request(method, url).body(body);
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, value));
    let answer = request.send().await.map_err(unreachable)?;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer.bytes().await.map_err(unreachable)?.to_vec();
    Ok(Answer { status, headers, body })
}

async fn here(
    endpoint: &BoxEndpoint<'static, Response>,
    method: Method,
    target: &str,
    headers: &[(&'static str, String)],
    body: String,
) -> Result<Answer> {
    let uri = target.parse().map_err(|error| Error::broken("cli.bad_target", error))?;
    let request = headers
        .iter()
        .fold(Request::builder().method(method).uri(uri), |request, (name, value)| request.header(*name, value));
    let answer = endpoint.get_response(request.body(body)).await;
    let (status, headers) = (answer.status(), answer.headers().clone());
    let body = answer
        .into_body()
        .into_bytes_limit(MAX_ANSWER)
        .await
        .map_err(|error| Error::broken("cli.bad_answer", error))?;
    Ok(Answer { status, headers, body: body.to_vec() })
}

/// `path` with those of the `asked` that have a value as its query.
pub fn target(path: &str, asked: impl IntoIterator<Item = (&'static str, Option<String>)>) -> String {
    let asked = asked.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value?)));
    let asked: Vec<String> = asked.collect();
    if asked.is_empty() { path.to_owned() } else { format!("{path}?{}", asked.join("&")) }
}

/// What may stand in an address: the rest of a line pasted along is no part of an id, and never a path of its own.
pub fn segment(text: &str) -> String {
    let text: String = text.trim().chars().filter(|c| c.is_ascii_alphanumeric() || "_-".contains(*c)).collect();
    if text.is_empty() { "none".to_owned() } else { text }
}

/// A text in an answer; empty where there is none.
pub fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A number in an answer; 0 where there is none.
pub fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// The server's RFC 9457 problem as our error, so that it prints like any other.
pub fn problem(status: StatusCode, answer: &Value) -> Error {
    let text = |name: &str| answer.get(name).and_then(Value::as_str);
    let code = text("code").unwrap_or("server.refused").to_owned();
    let mut detail = text("detail").map_or_else(|| format!("the server answered {status}"), str::to_owned);
    detail += &complaints(answer, &detail);
    let error = match status.as_u16() {
        404 => Error::missing(code, detail),
        401 => Error::unauthenticated(code, detail),
        403 => Error::denied(code, detail),
        409 => Error::conflict(code, detail),
        429 => Error::limited(code, detail),
        507 => Error::full(code, detail),
        500..=599 => Error::remote(code, detail),
        _ => Error::invalid(code, detail),
    };
    match text("hint") {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// What is wrong with each field, where the detail does not say it already.
fn complaints(answer: &Value, detail: &str) -> String {
    let one = |entry: &Value| {
        let loc: Vec<String> =
            entry["loc"].as_array()?.iter().map(|part| part.as_str().unwrap_or("?").to_owned()).collect();
        Some(format!("{}: {}", loc.join("."), entry["msg"].as_str()?))
    };
    let all: Vec<String> = answer["errors"].as_array().into_iter().flatten().filter_map(one).collect();
    if all.len() < 2 && all.iter().all(|told| detail.contains(told)) {
        return String::new();
    }
    let mut out: String = all.iter().take(FIELDS_SHOWN).map(|told| format!("\n  {told}")).collect();
    if all.len() > FIELDS_SHOWN {
        out += &format!("\n  … and {} more", all.len() - FIELDS_SHOWN);
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_pasted_along_leads_nowhere_else() {
        assert_eq!(segment(" 19541e5ac1000001\n"), "19541e5ac1000001");
        assert_eq!(segment("../keys?x=1&y"), "keysx1y");
        assert_eq!(segment("…"), "none");
    }

    #[test]
    fn every_field_that_is_wrong_is_told_once() {
        let entry = |at: usize| json!({ "loc": ["body", "adjustments", at.to_string()], "msg": "no" });
        let said = |detail: &str, count: usize| {
            let errors: Vec<Value> = (0..count).map(entry).collect();
            problem(StatusCode::UNPROCESSABLE_ENTITY, &json!({ "detail": detail, "errors": errors }))
                .detail()
                .to_owned()
        };
        assert_eq!(said("body.adjustments.0: no", 1), "body.adjustments.0: no");
        assert_eq!(said("1 of 4 is not valid", 1), "1 of 4 is not valid\n  body.adjustments.0: no");
        assert!(said("many", 2).ends_with("\n  body.adjustments.1: no"));
        assert!(said("many", 9).ends_with("\n  … and 4 more"));
    }
}
