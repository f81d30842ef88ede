//! Discord's HTTP API, version 10, as a bot: reading a channel. A user's token is not accepted by design: automating a person's account
//! breaks Discord's terms (requirement B24).

use std::time::Duration;

use reqwest::header::{AUTHORIZATION, HeaderValue};
use serde_json::Value;

use super::{Answer, BaseUrl, Client, PROJECT_URL, Unanswered, credential, seconds, words};
use crate::base::{Error, Result, Secret, Time};

/// Where Discord answers, with the version: without one it would speak a version of long ago.
pub const API_URL: &str = "https://discord.com/api/v10";

/// Messages of one page at most; Discord's own bound.
pub const MAX_MESSAGES: usize = 100;

/// The first millisecond of Discord's ids, in Unix time.
const EPOCH: i64 = 1_420_070_400_000;

/// Bits of an id below its milliseconds.
const LOW_BITS: u32 = 22;

/// An id of Discord's: sorts by time, to the millisecond.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Snowflake(pub u64);

impl Snowflake {
    /// The smallest id that could have been made at `at`.
    pub fn floor(at: Time) -> Self {
        Self((at.0.saturating_sub(EPOCH).max(0) as u64) << LOW_BITS)
    }

    pub fn made_at(self) -> Time {
        Time(EPOCH + (self.0 >> LOW_BITS) as i64)
    }

    /// Reads the text form, and a plain number to be on the safe side.
    pub fn read(value: &Value) -> Option<Self> {
        match value {
            Value::String(text) if text.bytes().all(|b| b.is_ascii_digit()) => text.parse().ok().map(Self),
            other => other.as_u64().map(Self),
        }
    }
}

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

/// Whose limit was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limited {
    /// This route's, for this bot.
    User,
    /// The bot's, over everything it does.
    Global,
    /// The channel's, which others use up, too.
    Shared,
    /// The network in front of Discord turned us away: our address has sent too many bad requests.
    Network,
}

/// Why there is no page. See [`Trouble::what`] and [`Trouble::hint`] for what to tell people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// 401: the token does not hold.
    Unauthenticated,
    /// 403, with Discord's own code where there was one.
    Denied { code: Option<u64>, said: String },
    /// 404: there is no such channel, or the bot is not in its server.
    Missing,
    /// 429.
    Limited { whose: Limited, wait: Option<Duration> },
    /// 5xx.
    Down { status: u16 },
    /// No whole answer.
    Unanswered(Unanswered),
    /// A 200 whose body is no list of messages.
    Unreadable,
    /// Any other status; asking again unchanged is pointless.
    Refused { status: u16, said: String },
}

/// Code of 403: the bot does not see the channel.
const MISSING_ACCESS: u64 = 50001;
/// Code of 403: the bot sees the channel and may not read it.
const MISSING_PERMISSION: u64 = 50013;

impl Trouble {
    /// What happened, in a sentence.
    pub fn what(&self) -> String {
        match self {
            Self::Unauthenticated => "Discord does not accept DISCORD_TOKEN (401)".to_owned(),
            Self::Denied { code: Some(MISSING_ACCESS | MISSING_PERMISSION), .. } => {
                "the bot may not read the channel CHANNEL_ID (403)".to_owned()
            }
            Self::Denied { said, .. } if said.is_empty() => "Discord turned the request away (403)".to_owned(),
            Self::Denied { said, .. } => format!("Discord turned the request away (403): {said}"),
            Self::Missing => "there is no channel CHANNEL_ID that this bot could know of (404)".to_owned(),
            Self::Limited { whose, .. } => match whose {
                Limited::User => "Discord's limit of this route is reached (429)".to_owned(),
                Limited::Global => "Discord's global limit of this bot is reached (429)".to_owned(),
                Limited::Shared => "others have used up the channel's limit (429)".to_owned(),
                Limited::Network => "the network in front of Discord turns this address away (429)".to_owned(),
            },
            Self::Down { status } => format!("Discord is not well ({status})"),
            Self::Unanswered(unanswered) => unanswered.what.clone(),
            Self::Unreadable => "Discord answered with something that is no list of messages".to_owned(),
            Self::Refused { status, said } if said.is_empty() => format!("Discord refused the request ({status})"),
            Self::Refused { status, said } => format!("Discord refused the request ({status}): {said}"),
        }
    }

    /// What a person can do about it; none where waiting is all there is.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unauthenticated => Some(
                "reset the token in the developer portal (Bot, Reset Token), put the new one into DISCORD_TOKEN and \
                 restart; polling has stopped, because failed sign-ins count towards a ban of this address",
            ),
            Self::Denied { .. } => Some(
                "let the bot's role View Channel and Read Message History in that channel, and make sure that the \
                 bot was invited to the server",
            ),
            Self::Missing => Some(
                "check CHANNEL_ID (Discord's developer mode, right click on the channel, Copy Channel ID) and invite \
                 the bot to that server",
            ),
            Self::Limited { whose: Limited::Network, .. } => {
                Some("wait; if it stays, another program on this address sends Discord bad requests")
            }
            Self::Refused { .. } => Some("check CHANNEL_ID and DISCORD_API_URL"),
            _ => None,
        }
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Self {
        let error = Error::remote("discord.trouble", trouble.what());
        let error = trouble.hint().into_iter().fold(error, Error::hint);
        match trouble {
            Trouble::Unanswered(Unanswered { cause, .. }) => error.context(cause),
            Trouble::Limited { wait: Some(wait), .. } => error.retry_after(wait),
            _ => error,
        }
    }
}

/// A bot's access to Discord. Cheap to clone.
#[derive(Clone)]
pub struct Discord {
    client: Client,
    authorization: HeaderValue,
    own_id: Option<Snowflake>,
}

impl Discord {
    /// `patience` is how long a request may take; [`super::TOTAL_TIMEOUT`] unless there is a reason.
    ///
    /// # Errors
    /// `config.invalid` for a token that cannot be one; `remote.client`.
    pub fn new(base: BaseUrl, token: &Secret, patience: Duration) -> Result<Self> {
        let agent = format!("DiscordBot ({PROJECT_URL}, {})", env!("CARGO_PKG_VERSION"));
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
        let answer = self.client.send(request).await.map_err(Trouble::Unanswered)?;
        read(&answer)
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
        (200, Some(Value::Array(messages))) => Ok(Messages { messages: messages.clone(), limits: limits(answer) }),
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
    fn ids_tell_their_time() {
        let at = Time(1_740_852_944_789);
        assert_eq!(Snowflake::floor(at).made_at(), at);
        assert_eq!(Snowflake::floor(Time(0)), Snowflake(0));
        assert_eq!(Snowflake::read(&Value::from("175928847299117063")), Some(Snowflake(175_928_847_299_117_063)));
        for none in
            [Value::from(""), Value::from("+1"), Value::from("99999999999999999999"), Value::from(-1), Value::Null]
        {
            assert_eq!(Snowflake::read(&none), None, "{none}");
        }
    }

    #[test]
    fn a_token_tells_its_bot() {
        assert_eq!(own_id(&Secret::new("MTIzNDU2Nzg5.x.y")), Some(Snowflake(123_456_789)));
        for none in ["", "abc", "....", "hunter2", "8J+YgA.x"] {
            assert_eq!(own_id(&Secret::new(none)), None, "{none}");
        }
    }
}
