//! Open Cloud's messaging.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use grps::base::{Clock, Time};
use poem::http::StatusCode;
use poem::{Request, Response};
use serde_json::{Value, json};

use super::{Fake, HANG, Served, header, lock, serve};

pub const KEY: &str = "an-open-cloud-key-that-nobody-may-see-in-any-log";
pub const UNIVERSE: u64 = 987_654_321;

/// One way for a request to end other than well.
#[derive(Debug, Clone, PartialEq)]
pub enum Day {
    /// 429, with seconds to wait as a header, or only with the seconds until the limit starts anew.
    Limited(Option<u32>, Option<u32>),
    /// The gateway does not know the key.
    Unauthorized,
    Forbidden,
    Missing,
    /// A page of HTML from something in between.
    Down,
    /// Taken, but the answer comes long after everybody has given up.
    Hang,
    Invalid,
}

/// A message that was taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Published {
    pub at: Time,
    pub topic: String,
    pub message: Value,
}

struct State {
    clock: Clock,
    days: VecDeque<Day>,
    climate: Option<Day>,
    published: Vec<Published>,
    calls: usize,
    wrong: Vec<String>,
}

pub struct FakeRoblox {
    served: Served,
    state: Arc<Mutex<State>>,
}

impl FakeRoblox {
    pub async fn start(clock: Clock) -> Self {
        let (days, published, wrong) = (VecDeque::new(), Vec::new(), Vec::new());
        let state = Arc::new(Mutex::new(State { clock, days, climate: None, published, calls: 0, wrong }));
        let served = serve(Fake { state: state.clone(), answer }).await;
        Self { served, state }
    }

    pub fn url(&self) -> String {
        self.served.url.clone()
    }

    /// Goes by this clock from now on.
    pub fn clock(&self, clock: &Clock) {
        lock(&self.state).clock = clock.clone();
    }

    /// What happens to each of the next requests.
    pub fn days(&self, days: &[Day]) {
        lock(&self.state).days.extend(days.iter().cloned());
    }

    /// What happens to every request after those.
    pub fn climate(&self, day: Option<Day>) {
        lock(&self.state).climate = day;
    }

    pub fn published(&self) -> Vec<Published> {
        lock(&self.state).published.clone()
    }

    /// Requests of every outcome.
    pub fn calls(&self) -> usize {
        lock(&self.state).calls
    }

    /// Requests that Roblox would not have understood.
    pub fn wrong(&self) -> Vec<String> {
        lock(&self.state).wrong.clone()
    }
}

async fn answer(state: Arc<Mutex<State>>, mut request: Request) -> Response {
    let body = request.take_body().into_string().await.unwrap_or_default();
    let (response, hang) = reply(&mut lock(&state), &request, &body);
    if hang {
        tokio::time::sleep(HANG).await;
    }
    response
}

fn reply(state: &mut State, request: &Request, body: &str) -> (Response, bool) {
    state.calls += 1;
    let (topic, message) = match check(request, body) {
        Ok(parts) => parts,
        Err(wrong) => {
            state.wrong.push(wrong);
            return (v2(400, "INVALID_ARGUMENT", "The request is not valid."), false);
        }
    };
    match state.days.pop_front().or_else(|| state.climate.clone()) {
        // A late answer does not undo the ring.
        day @ (None | Some(Day::Hang)) => {
            let message = serde_json::from_str(&message).unwrap_or_default();
            state.published.push(Published { at: state.clock.now(), topic, message });
            // Accepted: 200 with no body.
            (Response::builder().status(StatusCode::OK).body(()), day.is_some())
        }
        Some(day) => (bad(&day), false),
    }
}

/// Topic and message, or what is wrong with the request.
fn check(request: &Request, body: &str) -> Result<(String, String), String> {
    let path = request.uri().path();
    if request.method() != "POST" || path != format!("/cloud/v2/universes/{UNIVERSE}:publishMessage") {
        return Err(format!("{} {path}", request.method()));
    }
    if header(request, "x-api-key") != KEY {
        return Err("x-api-key".to_owned());
    }
    if header(request, "content-type") != "application/json" || header(request, "content-length").is_empty() {
        return Err("content-type and content-length".to_owned());
    }
    let body: Value = serde_json::from_str(body).map_err(|_| "not JSON".to_owned())?;
    let part = |name: &str, most: usize| match body[name].as_str() {
        Some(text) if !text.is_empty() && text.len() <= most => Ok(text.to_owned()),
        _ => Err(format!("{name}: {body}")),
    };
    if body.as_object().is_none_or(|body| body.len() != 2) {
        return Err(format!("odd parts: {body}"));
    }
    Ok((part("topic", 80)?, part("message", 1024)?))
}

fn json_body(status: u16, body: &Value) -> Response {
    let builder = Response::builder().status(StatusCode::from_u16(status).unwrap());
    builder.content_type("application/json").body(body.to_string())
}

fn v2(status: u16, code: &str, message: &str) -> Response {
    json_body(status, &json!({"code": code, "message": message}))
}

fn bad(day: &Day) -> Response {
    match day {
        Day::Limited(wait, reset) => {
            let mut response = v2(429, "RESOURCE_EXHAUSTED", "Too many requests.");
            let headers = response.headers_mut();
            headers.insert("x-ratelimit-limit", "5000, 5000;w=60".parse().unwrap());
            wait.map(|wait| headers.insert("retry-after", wait.into()));
            reset.map(|reset| headers.insert("x-ratelimit-reset", reset.into()));
            response
        }
        Day::Unauthorized => json_body(401, &json!({"errors": [{"code": 0, "message": "Invalid API Key"}]})),
        Day::Forbidden => v2(403, "PERMISSION_DENIED", "The caller does not have the scope."),
        Day::Missing => v2(404, "NOT_FOUND", "No such universe."),
        Day::Invalid => v2(400, "INVALID_ARGUMENT", "The message is not valid."),
        Day::Down => {
            let builder = Response::builder().status(StatusCode::BAD_GATEWAY).content_type("text/html");
            builder.body("<html><body>502 Bad Gateway</body></html>")
        }
        Day::Hang => Response::builder().body(()),
    }
}
