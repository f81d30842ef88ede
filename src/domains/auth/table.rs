//! The access table: every endpoint, the schemes it takes and the scope it needs. The gate enforces exactly this, the published API and
//! the README show exactly this, and a test walks it cell by cell. An endpoint that is not listed does not start.

use super::scope::Scope;

/// A way to prove who is calling. The seeds' names are in `requirements.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// A1, `x-grps-signature`: HMAC-SHA256 of the raw body under `AUTOMATION_SIGNATURE_SECRET`.
    Signature,
    /// A2, `x-grps-api-key`: one of `INBOUND_API_KEYS`, or a compat key made by `grps keys create`.
    Key,
    /// A3, `X-API-KEY`, `X-TIMESTAMP`, `X-SIGNATURE`: `API_KEY` and an HMAC of the time under `HMAC_SECRET`.
    Gateway,
    /// A6, `x-grps-signature-v2` with time and nonce: this very request, once.
    SignedRequest,
}

impl Scheme {
    pub const ALL: [Scheme; 4] = [Scheme::Signature, Scheme::Key, Scheme::Gateway, Scheme::SignedRequest];

    /// The name used in the published API's security schemes.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::Signature => "A1",
            Scheme::Key => "A2",
            Scheme::Gateway => "A3",
            Scheme::SignedRequest => "A6",
        }
    }
}

/// What an endpoint asks of its caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anyone; credentials are not looked at.
    Open,
    /// Anyone, but a credential that is presented must hold (requirement R6).
    OpenUnlessWrong,
    /// A caller from this machine, or one with the scope.
    LocalOr(&'static [Scheme], Scope),
    /// One of the schemes, with the scope.
    Needs(&'static [Scheme], Scope),
}

/// One line of the table.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub method: &'static str,
    /// In the published form: `/players/{userId}`.
    pub path: &'static str,
    pub access: Access,
}

use Access::{LocalOr, Needs, Open, OpenUnlessWrong};
use Scheme::{Gateway, Key, Signature, SignedRequest};

const fn rule(method: &'static str, path: &'static str, access: Access) -> Rule {
    Rule { method, path, access }
}

const SERVER_KEY: &[Scheme] = &[Key, SignedRequest];
const AUTOMATION: &[Scheme] = &[Key, Signature, SignedRequest];
const ANY_SERVER: &[Scheme] = &[Key, Gateway, SignedRequest];
const SIGNED: &[Scheme] = &[SignedRequest];

/// The table. Open pages come first, then what game servers and tools use, then the operator's.
pub const TABLE: &[Rule] = &[
    rule("GET", "/", Open),
    rule("GET", "/docs", Open),
    rule("GET", "/docs/{file}", Open),
    rule("GET", "/openapi.json", Open),
    rule("GET", "/openapi.yaml", Open),
    rule("GET", "/health", OpenUnlessWrong),
    rule("GET", "/health/live", Open),
    rule("GET", "/health/ready", Open),
    rule("GET", "/metrics", LocalOr(ANY_SERVER, Scope::MetricsRead)),
    rule("GET", "/metrics/health", Open),
    rule("GET", "/leaderboard", Open),
    rule("GET", "/leaderboards/{season}/{mode}", Open),
    rule("GET", "/leaderboards/{season}/{mode}/{user_id}", Open),
    rule("GET", "/leaderboards/{season}/{mode}/{user_id}/around", Open),
    rule("POST", "/leaderboards/submit", Needs(ANY_SERVER, Scope::Submit)),
    rule("POST", "/roblox/events/player-activity", Needs(SERVER_KEY, Scope::Ingest)),
    rule("GET", "/players/{userId}", Needs(SERVER_KEY, Scope::PlayersRead)),
    rule("GET", "/players/{userId}/snapshots", Needs(SERVER_KEY, Scope::PlayersRead)),
    rule("POST", "/automation/decisions", Needs(AUTOMATION, Scope::Evaluate)),
    rule("POST", "/automation/simulate", Needs(SERVER_KEY, Scope::Evaluate)),
    rule("GET", "/admin/api/keys", Needs(SIGNED, Scope::KeysManage)),
    rule("POST", "/admin/api/keys", Needs(SIGNED, Scope::KeysManage)),
    rule("POST", "/admin/api/keys/{kid}/rotate", Needs(SIGNED, Scope::KeysManage)),
    rule("DELETE", "/admin/api/keys/{kid}", Needs(SIGNED, Scope::KeysManage)),
    rule("POST", "/admin/api/bootstrap", Needs(SIGNED, Scope::Operate)),
    rule("POST", "/admin/api/demo", Needs(SIGNED, Scope::Operate)),
    rule("DELETE", "/admin/api/demo", Needs(SIGNED, Scope::Operate)),
];

/// The rule for a request, by method and path without its query. `HEAD` counts as `GET`.
pub fn find(method: &str, path: &str) -> Option<&'static Rule> {
    let method = if method == "HEAD" { "GET" } else { method };
    TABLE.iter().find(|rule| rule.method == method && covers(rule.path, path))
}

/// The methods the table lists for `path`; none when the path is unknown.
pub fn methods(path: &str) -> Vec<&'static str> {
    TABLE.iter().filter(|rule| covers(rule.path, path)).map(|rule| rule.method).collect()
}

/// Whether `path` is an instance of `pattern`, segment by segment; a `{name}` stands for one non-empty segment.
fn covers(pattern: &str, path: &str) -> bool {
    let mut given = path.split('/');
    for expected in pattern.split('/') {
        match given.next() {
            Some(segment) if segment == expected => {}
            Some(segment) if expected.starts_with('{') && !segment.is_empty() => {}
            _ => return false,
        }
    }
    given.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_match_segment_by_segment() {
        assert_eq!(find("GET", "/players/5").unwrap().path, "/players/{userId}");
        assert_eq!(find("HEAD", "/players/5").unwrap().path, "/players/{userId}");
        assert_eq!(find("POST", "/leaderboards/submit").unwrap().path, "/leaderboards/submit");
        for (method, path) in [("GET", "/players"), ("GET", "/players/"), ("POST", "/players/5"), ("GET", "/players/5/x")] {
            assert!(find(method, path).is_none(), "{method} {path}");
        }
    }
}
