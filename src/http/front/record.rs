//! What is kept of each request: a histogram by route, and one line in the access log.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use poem::http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;

use super::Caller;
use crate::base::Kind;
use crate::base::metrics::Metrics;
use crate::http::failure::Failure;

/// Upper bounds of the latency buckets, in seconds.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// Query parameters whose values never reach a log (requirement B26). Matched as part of the name: `access_token` has `token`.
const SECRET: [&str; 7] = ["key", "token", "signature", "secret", "password", "auth", "ticket"];

/// One request with its answer.
pub struct Exchange<'a> {
    pub caller: &'a Caller,
    /// The matched route's template; `None` when nothing matched.
    pub route: Option<Arc<str>>,
    pub status: StatusCode,
    pub failure: Option<&'a Failure>,
    pub took: Duration,
}

/// Few values each, whatever callers send: routes are ours, unknown methods are one, statuses are five classes.
#[derive(Debug, Clone, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Labels {
    route: Arc<str>,
    method: &'static str,
    status: &'static str,
}

pub struct Recorder {
    unmatched: Arc<str>,
    requests: Family<Labels, Histogram, fn() -> Histogram>,
}

impl Recorder {
    pub fn new(metrics: &Metrics) -> Self {
        let requests = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let requests =
            metrics.register("http_request_seconds", "Time from a request's headers to its answer", requests);
        Self { unmatched: "unmatched".into(), requests }
    }

    pub fn record(&self, exchange: &Exchange<'_>) {
        let labels = Labels {
            route: exchange.route.as_ref().unwrap_or(&self.unmatched).clone(),
            method: method(&exchange.caller.method),
            status: class(exchange.status),
        };
        self.requests.get_or_create(&labels).observe(exchange.took.as_secs_f64());
        log(exchange, &labels);
    }
}

/// Failures are logged here and nowhere else, with what only the log may know.
fn log(exchange: &Exchange<'_>, labels: &Labels) {
    macro_rules! line {
        ($level:ident $(, $name:ident = $value:expr)*) => {
            tracing::$level!(
                target: "grps::http",
                method = labels.method,
                route = &*labels.route,
                target = &*redacted(exchange.caller.target()),
                status = exchange.status.as_u16(),
                micros = exchange.took.as_micros() as u64,
                request_id = &*exchange.caller.id,
                client = %exchange.caller.address,
                $($name = $value,)*
                "request"
            )
        };
    }
    match exchange.failure.map(Failure::error) {
        None => line!(info),
        Some(error) => {
            let (code, context) = (error.code(), error.context_text().unwrap_or_default());
            // What nobody has set up is no fault of the server's, and the answer says what to set.
            match exchange.status.is_server_error() && error.kind() != Kind::NotConfigured {
                true => line!(error, code = code, detail = error.detail(), context = context),
                false => line!(info, code = code, detail = error.detail(), context = context),
            }
        }
    }
}

fn method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        "PATCH" => "PATCH",
        _ => "OTHER",
    }
}

fn class(status: StatusCode) -> &'static str {
    match status.as_u16() / 100 {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    }
}

/// A request target as the log may show it. Most have no query and are shown as they are.
fn redacted(target: &str) -> Cow<'_, str> {
    let Some((path, query)) = target.split_once('?') else { return Cow::Borrowed(target) };
    let shown = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if is_secret(name) => Cow::Owned(format!("{name}=…")),
        _ => Cow::Borrowed(pair),
    });
    Cow::Owned(format!("{path}?{}", shown.collect::<Vec<_>>().join("&")))
}

/// A name with escapes could spell anything, so its value is hidden too.
fn is_secret(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    name.contains('%') || SECRET.iter().any(|word| name.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_queries_do_not_reach_the_log() {
        let cases = [
            ("/a", "/a"),
            ("/a?limit=5&cursor=x", "/a?limit=5&cursor=x"),
            ("/a?api_key=hunter2&limit=5", "/a?api_key=…&limit=5"),
            ("/a?X-Signature=hunter2", "/a?X-Signature=…"),
            ("/a?acc%65ss=hunter2&access_token=hunter2&flag", "/a?acc%65ss=…&access_token=…&flag"),
        ];
        for (target, shown) in cases {
            assert_eq!(redacted(target), shown);
        }
    }
}
