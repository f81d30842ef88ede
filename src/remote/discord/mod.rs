//! Discord's HTTP API, version 10, as a bot: reading a channel. A user's token is not accepted by design: automating a person's account
//! breaks Discord's terms (requirement B24).

mod first;
mod snowflake;
mod trouble;

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::Value;

use super::{Answer, BaseUrl, Client, Failed, PROJECT_URL, credential, seconds, words};
use crate::base::{Result, Secret, Time};

pub use snowflake::Snowflake;
pub use trouble::{Limited, Trouble};

/// Where Discord answers, with the version: without one it would speak a version of long ago.
pub const API_URL: &str = "https://discord.com/api/v10";

/// Messages of one page at most; Discord's own bound.
pub const MAX_MESSAGES: usize = 100;

/// Which messages to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// The last ones.
    Newest,
    /// The ones that follow this id most closely.
    After(Snowflake),
}

/// A page of messages as Discord sent them, newest first, and how much more may be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Messages {
    pub messages: Vec<Value>,
    pub limits: Limits,
    /// What Discord's clock showed, rounded down to a second.
    pub at: Option<Time>,
}

/// What Discord says of the bucket a request fell into.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Limits {
    /// The bucket's name.
    pub bucket: Option<String>,
    /// Requests in one of its periods.
    pub limit: Option<u32>,
    /// Requests left in this period.
    pub remaining: Option<u32>,
    /// Until the next period.
    pub reset_after: Option<Duration>,
}

/// A bot's access to Discord. Cheap to clone.
#[derive(Clone)]
pub struct Discord {
    client: Client,
    authorization: HeaderValue,
    own_id: Option<Snowflake>,
}

impl Discord {
    /// Discord wants every bot to say in its User-Agent where its people can be found: `contact`, or the project. `patience` is how long a request may take; [`super::TOTAL_TIMEOUT`] unless there is a reason.
    ///
    /// # Errors
    /// `config.invalid` for a token that cannot be one; `remote.client`.
    pub fn new(base: BaseUrl, token: &Secret, contact: Option<&str>, patience: Duration) -> Result<Self> {
        let agent = format!("DiscordBot ({}, {})", contact.unwrap_or(PROJECT_URL), env!("CARGO_PKG_VERSION"));
        // People paste the header with the token.
        let bare = token.expose().trim();
        let bare = Secret::new(bare.strip_prefix("Bot ").unwrap_or(bare).trim());
        Ok(Self {
            client: Client::new("Discord", base, &agent, patience)?,
            authorization: credential("DISCORD_TOKEN", "Bot ", &bare)?,
            own_id: own_id(&bare),
        })
    }

    /// The bot's own user id; none when the token does not tell.
    pub fn own_id(&self) -> Option<Snowflake> {
        self.own_id
    }

    /// Reads at most `limit` (1 to [`MAX_MESSAGES`]) messages of `channel`.
    ///
    /// # Errors
    /// [`Trouble`], one variant for each way of reacting.
    pub async fn messages(&self, channel: u64, start: Start, limit: usize) -> Result<Messages, Trouble> {
        let mut path = format!("/channels/{channel}/messages?limit={}", limit.clamp(1, MAX_MESSAGES));
        if let Start::After(Snowflake(id)) = start {
            path.push_str(&format!("&after={id}"));
        }
        let request = self.client.get(&path).header(AUTHORIZATION, self.authorization.clone());
        match self.client.send(request).await {
            Ok(answer) => read(&answer),
            Err(Failed::TooLarge(answer)) if answer.status == 200 => {
                Err(Trouble::TooLarge { first: first::first_id(&answer.body), limits: limits(&answer) })
            }
            // Too much of a refusal is one all the same.
            Err(Failed::TooLarge(answer)) => read(&answer),
            Err(Failed::Unanswered(unanswered)) => Err(Trouble::Unanswered(unanswered)),
        }
    }
}

/// A token begins with its bot's user id in base64.
fn own_id(token: &Secret) -> Option<Snowflake> {
    let head = token.expose().split('.').next()?.trim_end_matches('=');
    let bytes = data_encoding::BASE64_NOPAD.decode(head.as_bytes()).ok()?;
    std::str::from_utf8(&bytes).ok()?.parse().ok().map(Snowflake)
}

fn read(answer: &Answer) -> Result<Messages, Trouble> {
    let json = answer.json();
    let said = || words(json.as_ref().and_then(|json| json["message"].as_str()).unwrap_or_default());
    match (answer.status, &json) {
        (200, Some(Value::Array(messages))) => {
            Ok(Messages { messages: messages.clone(), limits: limits(answer), at: answer.date() })
        }
        (200..=299, _) => Err(Trouble::Unreadable),
        (401, _) => Err(Trouble::Unauthenticated),
        (403, _) => Err(Trouble::Denied { code: json.as_ref().and_then(|json| json["code"].as_u64()), said: said() }),
        (404, _) => Err(Trouble::Missing),
        (429, _) => Err(limited(answer, json.as_ref())),
        (500..=599, _) => Err(Trouble::Down { status: answer.status }),
        (status, _) => Err(Trouble::Refused { status, said: said() }),
    }
}

fn limits(answer: &Answer) -> Limits {
    let number = |name: &str| answer.header(name)?.trim().parse().ok();
    Limits {
        bucket: answer.header("x-ratelimit-bucket").map(words),
        limit: number("x-ratelimit-limit"),
        remaining: number("x-ratelimit-remaining"),
        reset_after: answer.seconds("x-ratelimit-reset-after"),
    }
}

/// Header and body both say how long to wait; the longer one is believed. An answer that is not Discord's own has at most a header.
fn limited(answer: &Answer, json: Option<&Value>) -> Trouble {
    let told = json.and_then(|json| json["retry_after"].as_f64()).and_then(seconds);
    let reset = answer.seconds("x-ratelimit-reset-after");
    let wait = [answer.seconds("retry-after"), told, reset].into_iter().flatten().max();
    let scope = answer.header("x-ratelimit-scope").map(str::to_ascii_lowercase);
    let global = answer.header("x-ratelimit-global").is_some_and(|text| text.eq_ignore_ascii_case("true"))
        || json.is_some_and(|json| json["global"] == Value::Bool(true));
    let whose = match scope.as_deref() {
        Some("shared") => Limited::Shared,
        Some("global") => Limited::Global,
        _ if global => Limited::Global,
        Some(_) => Limited::User,
        None if json.is_some_and(|json| json["retry_after"].is_number()) => Limited::User,
        None => Limited::Network,
    };
    Trouble::Limited { whose, wait }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Answer {
        let headers = headers
            .iter()
            .map(|(name, value)| (reqwest::header::HeaderName::from_static(name), HeaderValue::from_static(value)));
        Answer { status, headers: headers.collect(), body: bytes::Bytes::copy_from_slice(body.as_bytes()) }
    }

    fn trouble(status: u16, headers: &[(&'static str, &'static str)], body: &str) -> Trouble {
        read(&answer(status, headers, body)).unwrap_err()
    }

    #[test]
    fn limits_are_read_where_they_are_given() {
        let headers = [
            ("x-ratelimit-bucket", "abc"),
            ("x-ratelimit-limit", "5"),
            ("x-ratelimit-remaining", "4"),
            ("x-ratelimit-reset-after", "1.25"),
        ];
        let read = read(&answer(200, &headers, "[{}]")).unwrap();
        let expected = Limits {
            bucket: Some("abc".into()),
            limit: Some(5),
            remaining: Some(4),
            reset_after: Some(Duration::from_millis(1250)),
        };
        assert_eq!(read.limits, expected);
        assert_eq!(
            super::read(&answer(200, &[("x-ratelimit-limit", "many")], "[]")).unwrap().limits,
            Limits::default()
        );
    }

    #[test]
    fn discords_clock_is_read() {
        let at = |date: &'static str| read(&answer(200, &[("date", date)], "[]")).unwrap().at;
        assert_eq!(at("Sat, 01 Mar 2025 18:15:44 GMT"), Some(Time(1_740_852_944_000)));
        assert_eq!((at("today"), at("Sat, 01 Mar 99999999 18:15:44 GMT")), (None, None));
    }

    #[test]
    fn every_429_says_whose_limit_and_how_long() {
        let body = r#"{"message":"slow","retry_after":64.57,"global":false}"#;
        let of = |whose, millis: Option<u64>| Trouble::Limited { whose, wait: millis.map(Duration::from_millis) };
        assert_eq!(
            trouble(429, &[("retry-after", "65"), ("x-ratelimit-scope", "user")], body),
            of(Limited::User, Some(65_000))
        );
        assert_eq!(trouble(429, &[("x-ratelimit-scope", "shared")], body), of(Limited::Shared, Some(64_570)));
        assert_eq!(trouble(429, &[("x-ratelimit-global", "true")], "{}"), of(Limited::Global, None));
        assert_eq!(trouble(429, &[], r#"{"retry_after":0.3,"global":true}"#), of(Limited::Global, Some(300)));
        assert_eq!(trouble(429, &[], body), of(Limited::User, Some(64_570)));
        assert_eq!(trouble(429, &[("retry-after", "120")], "<html>1015</html>"), of(Limited::Network, Some(120_000)));
        assert_eq!(trouble(429, &[("retry-after", "-3")], "\u{0}"), of(Limited::Network, None));
    }

    #[test]
    fn what_is_no_list_of_messages_is_told_by_its_status() {
        assert_eq!(trouble(200, &[], "{}"), Trouble::Unreadable);
        assert_eq!(trouble(200, &[], "<html>"), Trouble::Unreadable);
        assert_eq!(trouble(204, &[], ""), Trouble::Unreadable);
        assert_eq!(trouble(401, &[], "nope"), Trouble::Unauthenticated);
        assert_eq!(trouble(404, &[], "{}"), Trouble::Missing);
        assert_eq!(trouble(503, &[], "<html>"), Trouble::Down { status: 503 });
        assert_eq!(trouble(302, &[], ""), Trouble::Refused { status: 302, said: String::new() });
        let denied = trouble(403, &[], r#"{"message":"Missing Access","code":50001}"#);
        assert!(
            denied.what().contains("may not read") && denied.hint().is_some_and(|hint| hint.contains("View Channel"))
        );
    }

    #[test]
    fn a_token_tells_its_bot() {
        assert_eq!(own_id(&Secret::new("MTIzNDU2Nzg5.x.y")), Some(Snowflake(123_456_789)));
        for none in ["", "abc", "....", "hunter2", "8J+YgA.x"] {
            assert_eq!(own_id(&Secret::new(none)), None, "{none}");
        }
    }
}
