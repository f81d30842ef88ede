//! Discord with one channel.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grps::base::{Clock, Time};
use grps::remote::discord::Snowflake;
use poem::{Request, Response};
use serde_json::{Value, json};

use super::days::{bad, limited, list, problem};
use super::{Fake, HANG, Served, header, lock, serve};

pub use super::days::Day;

/// The bot's id is in its token's first part.
pub const TOKEN: &str = "OTk5.G4nF0o.not-a-real-token-but-long-enough-to-be-found-in-a-log";
pub const CHANNEL: u64 = 175_928_847_299_117_063;

/// A bucket as Discord keeps them.
struct Bucket {
    limit: u32,
    period: Duration,
    left: u32,
    ends: Time,
}

/// A request that was answered.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Asked {
    pub at: Time,
    pub after: Option<u64>,
    pub limit: usize,
    pub status: u16,
}

struct State {
    clock: Clock,
    /// By id, oldest first.
    messages: Vec<Value>,
    last_id: u64,
    /// One for each of the next requests.
    days: VecDeque<Day>,
    /// For every request after those.
    climate: Option<Day>,
    intent: bool,
    bucket: Option<Bucket>,
    asked: Vec<Asked>,
    wrong: Vec<String>,
}

/// The server and the hand that moves it.
pub struct FakeDiscord {
    served: Served,
    state: Arc<Mutex<State>>,
}

impl FakeDiscord {
    pub async fn start(clock: Clock) -> Self {
        let state = State {
            clock,
            messages: Vec::new(),
            last_id: 0,
            days: VecDeque::new(),
            climate: None,
            intent: true,
            bucket: None,
            asked: Vec::new(),
            wrong: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let served = serve(Fake { state: state.clone(), answer }).await;
        Self { served, state }
    }

    pub fn url(&self) -> String {
        format!("{}/api/v10", self.served.url)
    }

    /// Goes by this clock from now on.
    pub fn clock(&self, clock: &Clock) {
        lock(&self.state).clock = clock.clone();
    }

    /// Somebody posts a message with these embeds, now; gives its id.
    pub fn post(&self, embeds: Value) -> u64 {
        self.message(json!({ "embeds": embeds }))
    }

    /// Somebody posts a message with these parts, now; gives its id.
    pub fn message(&self, parts: Value) -> u64 {
        let mut state = lock(&self.state);
        let id = (state.last_id + 1).max(Snowflake::floor(state.clock.now()).0);
        state.last_id = id;
        state.add(id, parts);
        id
    }

    /// A message shows only now, though its id is older.
    pub fn late(&self, id: u64, embeds: Value) {
        lock(&self.state).add(id, json!({ "embeds": embeds }));
    }

    /// What happens to each of the next requests.
    pub fn days(&self, days: &[Day]) {
        lock(&self.state).days.extend(days.iter().cloned());
    }

    /// What happens to every request after those.
    pub fn climate(&self, day: Option<Day>) {
        lock(&self.state).climate = day;
    }

    /// Whether the bot has the Message Content intent.
    pub fn intent(&self, on: bool) {
        lock(&self.state).intent = on;
    }

    /// Keeps a bucket from now on.
    pub fn bucket(&self, limit: u32, period: Duration) {
        let mut state = lock(&self.state);
        let ends = state.clock.now();
        state.bucket = Some(Bucket { limit, period, left: 0, ends });
    }

    pub fn asked(&self) -> Vec<Asked> {
        lock(&self.state).asked.clone()
    }

    /// Requests that nobody at Discord would have liked.
    pub fn wrong(&self) -> Vec<String> {
        lock(&self.state).wrong.clone()
    }
}

impl State {
    fn add(&mut self, id: u64, parts: Value) {
        let mut message = json!({
            "id": id.to_string(), "channel_id": CHANNEL.to_string(), "type": 0, "content": "", "tts": false, "flags": 0,
            "author": {"id": "41771983423143937", "username": "webhook", "bot": true}, "webhook_id": "41771983423143937",
            "timestamp": Snowflake(id).made_at().to_string(), "edited_timestamp": null, "mention_everyone": false,
            "mentions": [], "mention_roles": [], "attachments": [], "embeds": [], "pinned": false,
        });
        message.as_object_mut().unwrap().extend(parts.as_object().unwrap().clone());
        self.messages.push(message);
        self.messages.sort_by_key(id_of);
    }

    /// Takes one of the bucket: its headers, and how long to wait when there was none to take.
    fn draw(&mut self) -> (Vec<(&'static str, String)>, Option<f64>) {
        let now = self.clock.now();
        let Some(bucket) = &mut self.bucket else { return (Vec::new(), None) };
        if now >= bucket.ends {
            (bucket.left, bucket.ends) = (bucket.limit, now + bucket.period);
        }
        let empty = bucket.left == 0;
        bucket.left = bucket.left.saturating_sub(1);
        let after = (bucket.ends.0 - now.0) as f64 / 1000.0;
        let headers = vec![
            ("x-ratelimit-limit", bucket.limit.to_string()),
            ("x-ratelimit-remaining", bucket.left.to_string()),
            ("x-ratelimit-reset", format!("{:.3}", bucket.ends.0 as f64 / 1000.0)),
            ("x-ratelimit-reset-after", format!("{after:.3}")),
            ("x-ratelimit-bucket", "80c17d2f203122d936070c88c8d10f33".to_owned()),
        ];
        (headers, empty.then_some(after))
    }

    fn page(&self, after: Option<u64>, before: Option<u64>, limit: usize) -> Vec<Value> {
        let within = |message: &&Value| {
            let id = id_of(message);
            // One without an id is on every page.
            id == 0 || after.is_none_or(|after| id > after) && before.is_none_or(|before| id < before)
        };
        let found: Vec<&Value> = self.messages.iter().filter(within).collect();
        // `after` gives what follows most closely, everything else the newest; both newest first.
        let mut page: Vec<Value> = match after {
            Some(_) => found.into_iter().take(limit).cloned().collect(),
            None => found[found.len().saturating_sub(limit)..].iter().map(|message| (*message).clone()).collect(),
        };
        page.reverse();
        if !self.intent {
            for message in &mut page {
                message["content"] = json!("");
                for list in ["embeds", "attachments"] {
                    message[list] = json!([]);
                }
            }
        }
        page
    }
}

/// As in the header, which knows whole seconds only.
fn http_date(at: Time) -> String {
    let form = time::macros::format_description!(
        "[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT"
    );
    at.calendar().format(form).unwrap()
}

fn id_of(message: &Value) -> u64 {
    message["id"].as_str().and_then(|id| id.parse().ok()).unwrap_or(0)
}

async fn answer(state: Arc<Mutex<State>>, request: Request) -> Response {
    let (response, hang) = reply(&mut lock(&state), &request);
    if hang {
        tokio::time::sleep(HANG).await;
    }
    response
}

fn reply(state: &mut State, request: &Request) -> (Response, bool) {
    let (after, before, limit) = match check(request) {
        Ok(asked) => asked,
        Err(wrong) => {
            state.wrong.push(wrong);
            return (problem(400, 0, "Bad Request"), false);
        }
    };
    let day = state.days.pop_front().or_else(|| state.climate.clone());
    let (headers, empty) = state.draw();
    let mut response = match (&day, empty) {
        (None, Some(wait)) => limited("user", wait),
        (None, None) => list(&state.page(after, before, limit)),
        (Some(Day::Short(most)), _) => list(&state.page(after, before, limit.min(*most))),
        (Some(day), _) => bad(day),
    };
    for (name, value) in headers.into_iter().chain([("date", http_date(state.clock.now()))]) {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    let status = response.status().as_u16();
    state.asked.push(Asked { at: state.clock.now(), after, limit, status });
    (response, day == Some(Day::Hang))
}

/// What the request asks for, or what is wrong with it.
fn check(request: &Request) -> Result<(Option<u64>, Option<u64>, usize), String> {
    let path = request.uri().path();
    if request.method() != "GET" || path != format!("/api/v10/channels/{CHANNEL}/messages") {
        return Err(format!("{} {path}", request.method()));
    }
    if header(request, "authorization") != format!("Bot {TOKEN}") {
        return Err("authorization".to_owned());
    }
    let agent = header(request, "user-agent");
    if !(agent.starts_with("DiscordBot (https://") && agent.ends_with(')') && agent.contains(", ")) {
        return Err(format!("user-agent: {agent}"));
    }
    let (mut after, mut before, mut limit) = (None, None, 50);
    for pair in request.uri().query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or(pair)?;
        let number: u64 = value.parse().map_err(|_| pair.to_owned())?;
        match name {
            "after" => after = Some(number),
            "before" => before = Some(number),
            "limit" if (1..=100).contains(&number) => limit = number as usize,
            _ => return Err(pair.to_owned()),
        }
    }
    if after.is_some() && before.is_some() { Err("after and before".to_owned()) } else { Ok((after, before, limit)) }
}
