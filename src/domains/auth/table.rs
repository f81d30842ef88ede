//! The access table: every endpoint, the schemes it takes and the scope it needs. The gate enforces exactly this, the published API and
//! the README show exactly this, and a test walks it cell by cell. An endpoint that is not listed does not start.

use super::scope::Scope;
use crate::http::{Scheme, Security};

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
use Scheme::{ApiKey, Gateway, GatewayKey, QueryKey, Signature, SignedRequest, Ticket};

const fn rule(method: &'static str, path: &'static str, access: Access) -> Rule {
    Rule { method, path, access }
}

const SERVER_KEY: &[Scheme] = &[ApiKey, SignedRequest];
const AUTOMATION: &[Scheme] = &[ApiKey, Signature, SignedRequest];
const ANY_SERVER: &[Scheme] = &[ApiKey, Gateway, SignedRequest];
const GATEWAY: &[Scheme] = &[Gateway, ApiKey, SignedRequest];
const SIGNED: &[Scheme] = &[SignedRequest];
const SYNC: &[Scheme] = &[Signature, SignedRequest];
/// A handshake has no body to sign, and browsers cannot give it headers (requirements J4, R2).
const SOCKET: &[Scheme] = &[GatewayKey, QueryKey, Ticket, ApiKey, SignedRequest];

/// The table. Open pages come first, then what game servers and tools use, then the operator's.
pub const TABLE: &[Rule] = &[
    rule("GET", "/", Open),
    rule("GET", "/docs", Open),
    rule("GET", "/docs/", Open),
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
    rule("POST", "/players/{userId}/clear-flag", Needs(SERVER_KEY, Scope::DecisionsManage)),
    rule("POST", "/automation/decisions", Needs(AUTOMATION, Scope::Evaluate)),
    rule("GET", "/automation/decisions", Needs(SERVER_KEY, Scope::DecisionsRead)),
    rule("POST", "/automation/decisions/approve", Needs(SERVER_KEY, Scope::DecisionsManage)),
    rule("POST", "/automation/decisions/reject", Needs(SERVER_KEY, Scope::DecisionsManage)),
    rule("GET", "/automation/decisions/{id}", Needs(SERVER_KEY, Scope::DecisionsRead)),
    rule("POST", "/automation/decisions/{id}/approve", Needs(SERVER_KEY, Scope::DecisionsManage)),
    rule("POST", "/automation/decisions/{id}/reject", Needs(SERVER_KEY, Scope::DecisionsManage)),
    rule("POST", "/automation/decisions/{id}/retry", Needs(SERVER_KEY, Scope::DecisionsManage)),
    rule("POST", "/automation/revert", Needs(SERVER_KEY, Scope::DecisionsManage)),
    rule("GET", "/automation/breaker", Needs(SERVER_KEY, Scope::DecisionsRead)),
    rule("POST", "/automation/breaker", Needs(SERVER_KEY, Scope::DecisionsManage)),
    rule("POST", "/automation/simulate", Needs(SERVER_KEY, Scope::Evaluate)),
    rule("POST", "/automation/drift/runs", Needs(SERVER_KEY, Scope::DecisionsManage)),
    rule("GET", "/automation/drift/runs", Needs(SERVER_KEY, Scope::DecisionsRead)),
    rule("GET", "/automation/drift", Needs(SERVER_KEY, Scope::DecisionsRead)),
    rule("POST", "/automation/drift/{userId}", Needs(SERVER_KEY, Scope::DecisionsManage)),
    rule("GET", "/automation/adjustments", Needs(SERVER_KEY, Scope::PointsAdjust)),
    rule("POST", "/automation/adjustments", Needs(SERVER_KEY, Scope::PointsAdjust)),
    rule("GET", "/automation/adjustments/{id}", Needs(SERVER_KEY, Scope::PointsAdjust)),
    rule("GET", "/automation/adjustments/{id}/rows", Needs(SERVER_KEY, Scope::PointsAdjust)),
    rule("POST", "/automation/adjustments/{id}/cancel", Needs(SERVER_KEY, Scope::PointsAdjust)),
    rule("POST", "/automation/adjustments/{id}/undo", Needs(SERVER_KEY, Scope::PointsAdjust)),
    rule("GET", "/automation/reviews", Needs(SERVER_KEY, Scope::DecisionsManage)),
    rule("POST", "/automation/reviews", Needs(SERVER_KEY, Scope::DecisionsManage)),
    rule("GET", "/automation/reviews/{id}", Needs(SERVER_KEY, Scope::DecisionsManage)),
    rule("POST", "/automation/reviews/{id}/cancel", Needs(SERVER_KEY, Scope::DecisionsManage)),
    rule("POST", "/sync/roblox", Needs(SYNC, Scope::SyncRun)),
    rule("GET", "/sync/jobs", Needs(SERVER_KEY, Scope::SyncRun)),
    rule("GET", "/sync/jobs/{id}", Needs(SERVER_KEY, Scope::SyncRun)),
    rule("GET", "/sync/jobs/{id}/failures", Needs(SERVER_KEY, Scope::SyncRun)),
    rule("POST", "/sync/jobs/{id}/retry", Needs(SERVER_KEY, Scope::SyncRun)),
    rule("POST", "/sync/jobs/{id}/cancel", Needs(SERVER_KEY, Scope::SyncRun)),
    rule("POST", "/job", Needs(GATEWAY, Scope::JobsProduce)),
    rule("POST", "/job/batch", Needs(GATEWAY, Scope::JobsProduce)),
    rule("GET", "/job/next", Needs(GATEWAY, Scope::JobsConsume)),
    rule("GET", "/job/{id}", Needs(GATEWAY, Scope::JobsConsume)),
    rule("POST", "/job/{id}/ack", Needs(GATEWAY, Scope::JobsConsume)),
    rule("POST", "/job/{id}/nack", Needs(GATEWAY, Scope::JobsConsume)),
    rule("POST", "/job/{id}/extend", Needs(GATEWAY, Scope::JobsConsume)),
    rule("GET", "/ws", Needs(SOCKET, Scope::JobsConsume)),
    rule("POST", "/ws/tickets", Needs(GATEWAY, Scope::JobsConsume)),
    rule("GET", "/admin/api/keys", Needs(SIGNED, Scope::KeysManage)),
    rule("POST", "/admin/api/keys", Needs(SIGNED, Scope::KeysManage)),
    rule("POST", "/admin/api/keys/{kid}/rotate", Needs(SIGNED, Scope::KeysManage)),
    rule("DELETE", "/admin/api/keys/{kid}", Needs(SIGNED, Scope::KeysManage)),
    rule("POST", "/admin/api/bootstrap", Needs(SIGNED, Scope::Operate)),
    rule("POST", "/admin/api/demo", Needs(SIGNED, Scope::Operate)),
    rule("DELETE", "/admin/api/demo", Needs(SIGNED, Scope::Operate)),
    rule("GET", "/admin/api/schedules", Needs(SIGNED, Scope::Operate)),
    rule("POST", "/admin/api/schedules/{name}/run", Needs(SIGNED, Scope::Operate)),
    rule("GET", "/admin/api/store", Needs(SIGNED, Scope::StoreManage)),
    rule("GET", "/admin/api/store/tasks", Needs(SIGNED, Scope::StoreManage)),
    rule("POST", "/admin/api/store/tasks", Needs(SIGNED, Scope::StoreManage)),
    rule("GET", "/admin/api/store/tasks/{id}", Needs(SIGNED, Scope::StoreManage)),
    rule("GET", "/admin/api/backups", Needs(SIGNED, Scope::StoreManage)),
    rule("GET", "/admin/api/queues", Needs(SIGNED, Scope::JobsManage)),
    rule("GET", "/admin/api/jobs", Needs(SIGNED, Scope::JobsManage)),
    rule("POST", "/admin/api/jobs/requeue", Needs(SIGNED, Scope::JobsManage)),
    rule("POST", "/admin/api/jobs/purge", Needs(SIGNED, Scope::JobsManage)),
    rule("GET", "/admin/api/jobs/{id}", Needs(SIGNED, Scope::JobsManage)),
    rule("POST", "/admin/api/jobs/{id}/requeue", Needs(SIGNED, Scope::JobsManage)),
    rule("GET", "/admin/api/discord", Needs(SIGNED, Scope::JobsManage)),
    rule("GET", "/admin/api/roblox", Needs(SIGNED, Scope::Operate)),
    rule("GET", "/admin/api/roblox/roles", Needs(SIGNED, Scope::Operate)),
    rule("POST", "/admin/api/roblox/probe", Needs(SIGNED, Scope::Operate)),
];

/// Paths whose `GET` takes something away. The router would answer a `HEAD` with it, and nobody would get what was taken.
const TAKING: [&str; 1] = ["/job/next"];

/// Whether a request would take something and throw it away.
pub fn wastes(method: &str, path: &str) -> bool {
    method == "HEAD" && TAKING.contains(&path)
}

/// The rule for a request, by method and path without its query. `HEAD` counts as `GET`. A path that stands in the table word for word is
/// that path, whatever a `{name}` elsewhere would also cover: so does the router see it.
pub fn find(method: &str, path: &str) -> Option<&'static Rule> {
    let method = if method == "HEAD" { "GET" } else { method };
    let literal = TABLE.iter().any(|rule| rule.path == path);
    let fits = |rule: &&Rule| if literal { rule.path == path } else { covers(rule.path, path) };
    TABLE.iter().filter(|rule| rule.method == method).find(fits)
}

/// Whether the table lists `path`, with whatever method.
pub fn lists(path: &str) -> bool {
    TABLE.iter().any(|rule| covers(rule.path, path))
}

/// What the operation at a published path asks of its caller, by lower-case method.
pub fn security(path: &str, method: &str) -> Security {
    let rule = TABLE.iter().find(|rule| rule.path == path && rule.method.eq_ignore_ascii_case(method));
    match rule.map(|rule| rule.access) {
        Some(Access::Needs(schemes, _)) => Security { schemes, optional: false },
        Some(Access::LocalOr(schemes, _)) => Security { schemes, optional: true },
        Some(Access::OpenUnlessWrong) => Security { schemes: &Scheme::ALL, optional: true },
        Some(Access::Open) | None => Security::default(),
    }
}

/// The README's table, made from [`TABLE`].
pub fn access_markdown() -> String {
    let mut out = String::from("| endpoint | who may call it | scope |\n| --- | --- | --- |\n");
    for Rule { method, path, access } in TABLE {
        let names = |schemes: &[Scheme]| schemes.iter().map(|scheme| scheme.short()).collect::<Vec<_>>().join(", ");
        let (who, scope) = match access {
            Access::Open => ("anyone".to_owned(), None),
            Access::OpenUnlessWrong => ("anyone; a credential that is shown must hold".to_owned(), None),
            Access::LocalOr(schemes, scope) => (format!("this machine, or {}", names(schemes)), Some(scope)),
            Access::Needs(schemes, scope) => (names(schemes), Some(scope)),
        };
        let scope = scope.map_or_else(|| "–".to_owned(), |scope| format!("`{scope}`"));
        out.push_str(&format!("| `{method} {path}` | {who} | {scope} |\n"));
    }
    out
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
        for (method, path) in
            [("GET", "/players"), ("GET", "/players/"), ("POST", "/players/5"), ("GET", "/players/5/x")]
        {
            assert!(find(method, path).is_none(), "{method} {path}");
        }
    }
}
