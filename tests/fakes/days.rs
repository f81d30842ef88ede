//! What Discord answers, on good days and on bad ones.

use poem::Response;
use poem::http::StatusCode;
use serde_json::{Value, json};

/// One way for a request to end other than well.
#[derive(Debug, Clone, PartialEq)]
pub enum Day {
    /// 429 of this scope (`user`, `global`, `shared`) with this many seconds to wait.
    Limited(&'static str, f64),
    /// 429 with an HTML page, from the network in front; with seconds to wait or without.
    Cloudflare(Option<u32>),
    Unauthorized,
    Forbidden,
    /// 403 that is not Discord's own.
    Blocked,
    Missing,
    /// The answer comes long after everybody has given up.
    Hang,
    Down,
    /// 200 with something that is no JSON.
    Garbage,
    /// 200 with JSON that is no list.
    NotAList,
    /// At most this many messages, though more were asked for and are there.
    Short(usize),
    /// A redirect to somewhere else.
    Moved,
}

pub fn list(page: &[Value]) -> Response {
    Response::builder().content_type("application/json").body(Value::from(page).to_string())
}

pub fn problem(status: u16, code: u64, message: &str) -> Response {
    let body = json!({"message": message, "code": code}).to_string();
    Response::builder().status(StatusCode::from_u16(status).unwrap()).content_type("application/json").body(body)
}

fn html(status: u16, text: &str) -> Response {
    let body = format!("<!DOCTYPE html><html><head><title>{text}</title></head><body>{text}</body></html>");
    Response::builder().status(StatusCode::from_u16(status).unwrap()).content_type("text/html").body(body)
}

pub fn limited(scope: &str, wait: f64) -> Response {
    let global = scope == "global";
    let body = json!({"message": "You are being rate limited.", "retry_after": wait, "global": global}).to_string();
    let mut builder = Response::builder().status(StatusCode::TOO_MANY_REQUESTS).content_type("application/json");
    builder = builder.header("retry-after", (wait.ceil() as u64).to_string()).header("x-ratelimit-scope", scope);
    if global {
        builder = builder.header("x-ratelimit-global", "true");
    }
    builder.body(body)
}

pub fn bad(day: &Day) -> Response {
    match day {
        Day::Limited(scope, wait) => limited(scope, *wait),
        Day::Cloudflare(wait) => {
            let mut response = html(429, "Error 1015: you are being rate limited");
            if let Some(wait) = wait {
                response.headers_mut().insert("retry-after", (*wait).into());
            }
            response
        }
        Day::Unauthorized => problem(401, 0, "401: Unauthorized"),
        Day::Forbidden => problem(403, 50001, "Missing Access"),
        Day::Blocked => html(403, "Sorry, you have been blocked"),
        Day::Missing => problem(404, 10003, "Unknown Channel"),
        Day::Down => html(503, "Service Unavailable"),
        Day::Garbage => Response::builder().content_type("application/json").body("[{\"id\": \"1"),
        Day::NotAList => Response::builder().content_type("application/json").body("{\"messages\": []}"),
        Day::Moved => {
            Response::builder().status(StatusCode::FOUND).header("location", "http://127.0.0.1:1/elsewhere").body(())
        }
        Day::Hang | Day::Short(_) => list(&[]),
    }
}
