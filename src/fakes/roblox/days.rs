//! The bad days: what can come between a request and its answer, on demand.

use std::collections::{BTreeMap, VecDeque};

use serde_json::json;

use super::limits::Class;
use super::reply::Reply;

/// One way for a request to end other than well.
#[derive(Debug, Clone, PartialEq)]
pub enum Day {
    /// 429, with seconds to wait as a header, or only with the seconds until the limit starts anew.
    Limited(Option<u32>, Option<u32>),
    /// 401, in the gateway's shape.
    Unauthorized,
    /// 403, in v2's shape.
    Forbidden,
    /// 403, in the shape of the data stores of v1.
    StoreForbidden,
    Missing,
    /// 400, in v2's shape, which is that of the ordered stores of v1 too.
    Invalid,
    /// 400, in the shape of the data stores of v1.
    StoreInvalid,
    /// 400, in the shape whose errors are an object.
    Validation,
    /// 409: somebody else was quicker.
    Aborted,
    /// 499: cancelled on the way.
    Cancelled,
    /// 502, a page of HTML from something in between.
    Down,
    /// 503, likewise.
    Unavailable,
    /// Nothing happens, and no answer comes while anybody waits.
    Hang,
    /// What was asked for happens, but the answer comes long after everybody has given up.
    HangAfterApplying,
    /// What was asked for happens, and the connection breaks in the midst of the answer.
    CutAfterApplying,
    /// What was asked for happens; the answer is 200 with something that is no JSON.
    Garbage,
    /// What was asked for happens; the answer is 200 with nothing in it.
    Empty,
    /// At most this many items on the page, though more were asked for and are there.
    Short(usize),
    /// A page with nothing on it and a token for the next.
    EmptyPage,
}

/// When what was decided is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Sending {
    Whole,
    Late,
    Cut,
}

#[derive(Default)]
pub(super) struct Days {
    pub next: VecDeque<Day>,
    pub of: BTreeMap<Class, VecDeque<Day>>,
    pub climate: Option<Day>,
}

impl Days {
    /// The day of a request that counts against these classes: its own first, then the next in line, then the climate.
    pub fn take(&mut self, classes: impl Iterator<Item = Class>) -> Option<Day> {
        let own = classes.into_iter().find_map(|class| self.of.get_mut(&class)?.pop_front());
        own.or_else(|| self.next.pop_front()).or_else(|| self.climate.clone())
    }
}

impl Day {
    /// The answer of a day on which nothing happens; none where something does.
    pub(super) fn refusal(&self) -> Option<Reply> {
        Some(match self {
            Self::Limited(wait, reset) => {
                let mut reply = Reply::v2(429, "Too many requests.").header("x-ratelimit-limit", "300, 300;w=60");
                reply.headers.extend(wait.map(|wait| ("retry-after", wait.to_string())));
                reply.headers.extend(reset.map(|reset| ("x-ratelimit-reset", reset.to_string())));
                reply
            }
            Self::Unauthorized => Reply::gateway(401, 0, "Invalid API Key"),
            Self::Forbidden => Reply::v2(403, "The caller does not have the scope."),
            Self::StoreForbidden => Reply::stores(403, "Insufficient scope.", "InsufficientScope"),
            Self::Missing => Reply::v2(404, "No such resource."),
            Self::Invalid => Reply::v2(400, "The request is not valid."),
            Self::StoreInvalid => Reply::stores(400, "Invalid cursor.", "InvalidCursor"),
            Self::Validation => validation(),
            Self::Aborted => Reply::v2(409, "The operation was aborted."),
            Self::Cancelled => Reply::v2(499, "The operation was cancelled."),
            Self::Down => Reply::html(502, "Bad Gateway"),
            Self::Unavailable => Reply::html(503, "Service Unavailable"),
            Self::Hang => Reply::html(504, "Gateway Time-out"),
            Self::HangAfterApplying | Self::CutAfterApplying | Self::Garbage | Self::Empty => return None,
            Self::Short(_) | Self::EmptyPage => return None,
        })
    }

    /// The most items on a page.
    pub(super) fn page(&self) -> Option<usize> {
        match self {
            Self::Short(most) => Some(*most),
            Self::EmptyPage => Some(0),
            _ => None,
        }
    }

    /// What becomes of an answer on the way.
    pub(super) fn spoil(&self, mut reply: Reply) -> (Reply, Sending) {
        match self {
            Self::Garbage => reply.body = "{\"path\": \"".to_owned(),
            Self::Empty => reply.body.clear(),
            _ => {}
        }
        let sending = match self {
            Self::Hang | Self::HangAfterApplying => Sending::Late,
            Self::CutAfterApplying => Sending::Cut,
            _ => Sending::Whole,
        };
        (reply, sending)
    }
}

fn validation() -> Reply {
    let errors = json!({"role": ["The role field is not valid."]});
    let title = "One or more validation errors occurred.";
    let trace = json!({"traceId": "00-0123456789abcdef-00"});
    Reply::json(
        400,
        &json!({"errors": errors, "type": "about:blank", "title": title, "status": 400, "extensions": trace}),
    )
}
