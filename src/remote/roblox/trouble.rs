//! Why a call to Open Cloud did not succeed: one reader for every shape of failure that its services have.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::Value;

use super::budget::{FIRST_PAUSE, LONGEST_OBEYED};
use crate::base::{Failing, Secret};
use crate::remote::{Answer, Unanswered, words};

/// What Roblox says is wrong, whichever of its shapes it came in.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Complaint {
    /// `PERMISSION_DENIED`, `InvalidCursor`, `0`: the most telling code there was.
    pub code: Option<String>,
    /// Cut to a sentence; empty when there was none.
    pub message: String,
}

impl Complaint {
    /// Roblox's own words, quoted, as they end a sentence of ours; empty when there are none. A bare number tells nobody anything.
    pub fn tail(&self) -> String {
        let code = self.code.as_deref().filter(|code| code.parse::<i64>().is_err());
        let said: Vec<&str> = code.into_iter().chain([self.message.as_str()]).filter(|part| !part.is_empty()).collect();
        if said.is_empty() { String::new() } else { format!(": \"{}\"", said.join(": ").replace('"', "'")) }
    }
}

/// Why a call did not succeed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// Not sent: what we allow ourselves of this kind of call is used up for now.
    Paced { wait: Duration },
    /// 401: the key does not hold (any more): keys that nobody uses for 60 days expire.
    Unauthenticated(Complaint),
    /// 403: the key lacks the scope, or may not be used from this address, or its owner may not do this.
    Denied { scope: &'static str, complaint: Complaint },
    /// 404. `setting` names what to check when it should be there.
    Missing { setting: &'static str, complaint: Complaint },
    /// 429, with how long Roblox wants us to wait.
    Limited { wait: Option<Duration>, complaint: Complaint },
    /// 5xx and 499. What was asked for may have happened all the same.
    Down { status: u16, complaint: Complaint },
    /// No whole answer. What was asked for may have happened all the same.
    Unanswered(Unanswered),
    /// A good status with something else than what belongs there. What was asked for may have happened all the same.
    Unreadable(&'static str),
    /// Any other status; asking again unchanged is pointless, 409 apart.
    Refused { status: u16, complaint: Complaint },
}

/// What can end a trouble.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cure {
    /// Time: the same call may succeed later.
    Time,
    /// The owner of the key or of the settings.
    Owner,
    /// Nothing: this call will never succeed.
    Nothing,
}

impl Trouble {
    /// What happened: a sentence, and behind it what Roblox says, quoted.
    pub fn what(&self) -> String {
        let (what, complaint) = match self {
            Self::Unanswered(unanswered) => return unanswered.what.clone(),
            Self::Paced { wait } => {
                return format!("calls of this kind are used up for the next {} s", wait.as_secs() + 1);
            }
            Self::Unreadable(what) => return format!("Roblox's answer is not {what}"),
            Self::Unauthenticated(complaint) => {
                ("Roblox does not accept ROBLOX_OPEN_CLOUD_API_KEY (401)".to_owned(), complaint)
            }
            Self::Denied { complaint, .. } => ("the Open Cloud key may not do this (403)".to_owned(), complaint),
            Self::Missing { complaint, .. } => ("Roblox does not know what was asked for (404)".to_owned(), complaint),
            Self::Limited { complaint, .. } => ("Roblox's limit is reached (429)".to_owned(), complaint),
            Self::Down { status, complaint } => (format!("Roblox is not well ({status})"), complaint),
            Self::Refused { status, complaint } => (format!("Roblox refused the request ({status})"), complaint),
        };
        format!("{what}{}", complaint.tail())
    }

    /// What a person can do about it; none where waiting is all there is.
    pub fn hint(&self) -> Option<Cow<'static, str>> {
        Some(match self {
            Self::Unauthenticated(_) => Cow::Borrowed(
                "make or renew the key in the Creator Dashboard (Open Cloud, API Keys); keys that are not used for 60 \
                 days expire by themselves",
            ),
            Self::Denied { scope: "", .. } => Cow::Borrowed(
                "check ROBLOX_GROUP_ID, and that this machine's address is among those the key may be used from",
            ),
            Self::Denied { scope, .. } => {
                let target = if scope.contains("group") { "group" } else { "experience" };
                Cow::Owned(format!(
                    "add the scope {scope} for the {target} to the key in the Creator Dashboard, and this machine's \
                     address to the addresses it may be used from; `grps doctor roblox` checks every scope"
                ))
            }
            Self::Missing { setting: "ROBLOX_UNIVERSE_ID", .. } => {
                Cow::Borrowed("check ROBLOX_UNIVERSE_ID: it is the experience's universe id, not its place id")
            }
            Self::Missing { setting, .. } if !setting.is_empty() => Cow::Owned(format!("check {setting}")),
            _ => return None,
        })
    }

    /// How long to wait before the next call of this kind, when that is known.
    pub fn wait(&self) -> Option<Duration> {
        match self {
            Self::Paced { wait } => Some(*wait),
            Self::Limited { wait, .. } => *wait,
            _ => None,
        }
    }

    /// What can end it.
    pub fn cure(&self) -> Cure {
        match self {
            Self::Paced { .. } | Self::Limited { .. } | Self::Down { .. } => Cure::Time,
            Self::Unanswered(_) | Self::Unreadable(_) => Cure::Time,
            // Redirects come from something in between; 408, 409 and 425 ask to be tried again.
            Self::Refused { status: 300..=399 | 408 | 409 | 425, .. } => Cure::Time,
            Self::Unauthenticated(_) | Self::Denied { .. } => Cure::Owner,
            Self::Missing { setting, .. } if !setting.is_empty() => Cure::Owner,
            Self::Missing { .. } | Self::Refused { .. } => Cure::Nothing,
        }
    }
}

impl From<&Trouble> for Failing {
    fn from(trouble: &Trouble) -> Self {
        Self { what: trouble.what(), hint: trouble.hint().map(String::from) }
    }
}

/// Shortest text that is taken for a key and kept out of messages.
const SHORTEST_KEY: usize = 8;

/// Tells success from every kind of failure. What the answer repeats of `key` is not passed on.
pub(super) fn read(
    answer: Answer,
    scope: &'static str,
    setting: &'static str,
    key: &Secret,
) -> Result<Answer, Trouble> {
    let status = answer.status;
    if (200..=299).contains(&status) {
        return Ok(answer);
    }
    let complaint = complaint(&answer.body, key);
    Err(match status {
        401 => Trouble::Unauthenticated(complaint),
        403 => Trouble::Denied { scope, complaint },
        404 => Trouble::Missing { setting, complaint },
        429 => Trouble::Limited { wait: asked_wait(&answer), complaint },
        499..=599 => Trouble::Down { status, complaint },
        _ => Trouble::Refused { status, complaint },
    })
}

/// How long a refusal asks us to wait, no longer than is obeyed. Less than the first of our own pauses says nothing: whoever came back at once
/// would be refused at once, in a circle.
pub(super) fn asked_wait(answer: &Answer) -> Option<Duration> {
    let asked = ["retry-after", "x-ratelimit-reset"].into_iter().filter_map(|name| answer.seconds(name));
    asked.map(|wait| wait.min(LONGEST_OBEYED)).find(|wait| *wait >= FIRST_PAUSE)
}

/// Reads the five shapes of failure: the gateway's list of errors, v2's `code` and `message`, the data stores' `error` with details, the
/// ordered stores' (as v2's), and a validation's object of errors with a title.
fn complaint(body: &[u8], key: &Secret) -> Complaint {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let gateway = &json["errors"][0];
    let detail = &json["errorDetails"][0]["datastoreErrorCode"];
    let first_text = |candidates: &[&Value]| candidates.iter().find_map(|value| text(value));
    let code = first_text(&[detail, &json["code"], &json["error"], &gateway["code"]]);
    let invalid = json["errors"].as_object().and_then(|fields| fields.iter().next());
    let invalid = invalid.and_then(|(field, said)| text(&said[0]).map(|said| format!("{field}: {said}")));
    let message = invalid.or_else(|| first_text(&[&json["message"], &gateway["message"], &json["title"]]));
    // Before it is cut, which would leave the beginning of a key.
    let clean = |text: &str| match key.expose() {
        key if key.len() >= SHORTEST_KEY => words(&text.replace(key, "…")),
        _ => words(text),
    };
    Complaint { code: code.map(|code| clean(&code)), message: clean(&message.unwrap_or_default()) }
}

/// Text, or a number as text; none for what is empty or anything else.
fn text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use reqwest::header::{HeaderName, HeaderValue};
    use serde_json::json;

    use super::*;

    #[test]
    fn every_shape_of_failure_is_understood() {
        for (body, code, message) in [
            (r#"{"errors":[{"code":0,"message":"Invalid API Key"}]}"#, Some("0"), "Invalid API Key"),
            (r#"{"code":"NOT_FOUND","message":"No such thing.","details":[]}"#, Some("NOT_FOUND"), "No such thing."),
            (
                r#"{"error":"INVALID_ARGUMENT","message":"Bad cursor.","errorDetails":[{"datastoreErrorCode":"InvalidCursor"}]}"#,
                Some("InvalidCursor"),
                "Bad cursor.",
            ),
            (r#"{"error":"NOT_FOUND","message":"m","errorDetails":[]}"#, Some("NOT_FOUND"), "m"),
            (r#"{"errors":{"topic":["is too long"]},"title":"Invalid","status":400}"#, None, "topic: is too long"),
            ("<html>502</html>", None, ""),
            ("", None, ""),
            ("[1,2]", None, ""),
            (r#"{"errors":[]}"#, None, ""),
            ("\u{0}\u{0}", None, ""),
        ] {
            let expected = Complaint { code: code.map(str::to_owned), message: message.to_owned() };
            assert_eq!(complaint(body.as_bytes(), &Secret::new("k")), expected, "{body}");
        }
    }

    #[test]
    fn a_sentence_comes_first_and_the_vendors_words_last_and_quoted() {
        let what = |code: Option<&str>, message: &str| {
            Trouble::Refused {
                status: 400,
                complaint: Complaint { code: code.map(str::to_owned), message: message.to_owned() },
            }
            .what()
        };
        assert_eq!(what(Some("0"), "Invalid API Key"), r#"Roblox refused the request (400): "Invalid API Key""#);
        assert_eq!(what(Some("-3"), ""), "Roblox refused the request (400)");
        assert_eq!(what(Some("NOT_FOUND"), ""), r#"Roblox refused the request (400): "NOT_FOUND""#);
        assert_eq!(what(Some("A"), r#"no "b""#), r#"Roblox refused the request (400): "A: no 'b'""#);
    }

    #[test]
    fn a_wait_is_one_that_can_be_waited() {
        let limited = |name: &'static str, asked: &'static str| {
            let headers = [(HeaderName::from_static(name), HeaderValue::from_static(asked))].into_iter().collect();
            let answer = Answer { status: 429, headers, body: bytes::Bytes::new() };
            read(answer, "", "", &Secret::new("k")).err().and_then(|trouble| trouble.wait())
        };
        assert_eq!(limited("retry-after", "7"), Some(Duration::from_secs(7)));
        assert_eq!(limited("retry-after", "1e300"), Some(LONGEST_OBEYED));
        assert_eq!(limited("retry-after", "0"), None, "whoever waits for nothing asks in a circle");
        assert_eq!(limited("x-ratelimit-reset", "0"), None);
    }

    #[test]
    fn a_long_complaint_is_cut() {
        let body = json!({"code": "x".repeat(900), "message": format!("a\n{}", "b".repeat(900))}).to_string();
        let complaint = complaint(body.as_bytes(), &Secret::new(""));
        assert!(complaint.code.is_some_and(|code| code.len() == 200));
        assert!(complaint.message.len() == 200 && complaint.message.starts_with("a b"));
    }
}
