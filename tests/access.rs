//! Who may do what: the access table, walked cell by cell.

use grps::base::Secret;
use grps::domains::auth::{Access, Rule, Scope, Scopes, TABLE, fingerprint};
use grps::http::Scheme;
use serde_json::{Value, json};

use crate::harness::{Call, Setup, TestApp};

const HERE: &str = "127.0.0.1:4711";
const ELSEWHERE: &str = "203.0.113.9:4711";

/// One way to show up at an endpoint.
struct Visitor {
    what: String,
    shown: Option<(Scheme, Scopes)>,
    secret: Secret,
}

/// What the gate does with a visitor.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Passes,
    Unproven(&'static str),
    LacksScope,
}

fn key_without(scope: Option<Scope>) -> String {
    let name = scope.map_or("nothing".into(), |scope| scope.text().replace(':', "-"));
    format!("a-server-key-that-lacks-{name}")
}

/// A server with one key for everything, and for each scope one that lacks just that.
async fn server() -> TestApp {
    let mut keys = vec![format!("{}:*", key_without(None))];
    for lacking in Scope::ALL {
        let others: Vec<&str> = Scope::ALL.iter().filter(|scope| *scope != lacking).map(|scope| scope.text()).collect();
        keys.push(format!("{}:{}", key_without(Some(*lacking)), others.join("+")));
    }
    Setup::new().set("INBOUND_API_KEYS", keys.join(",")).start().await
}

/// Everybody who might come to an endpoint that needs `scope`.
fn visitors(scope: Option<Scope>) -> Vec<Visitor> {
    // What the requirements give A1 and A3; keys (A2, A6) carry their own scopes.
    let automation = Scopes::of(&[Scope::SyncRun, Scope::Evaluate]);
    let gateway = Scopes::of(&[Scope::JobsProduce, Scope::JobsConsume, Scope::Submit]);
    let visitor = |shown: Option<(Scheme, Scopes)>, key: String| {
        let name = shown.map_or("nobody", |(scheme, _)| scheme.short());
        Visitor { what: format!("{name} with {key}"), shown, secret: Secret::new(key) }
    };
    let mut all = vec![
        visitor(None, String::new()),
        visitor(Some((Scheme::Signature, automation)), String::new()),
        visitor(Some((Scheme::Gateway, gateway)), String::new()),
    ];
    for scheme in [Scheme::ApiKey, Scheme::SignedRequest] {
        all.push(visitor(Some((scheme, Scopes::EVERYTHING)), key_without(None)));
        if let Some(scope) = scope {
            let others: Vec<Scope> = Scope::ALL.iter().copied().filter(|other| *other != scope).collect();
            all.push(visitor(Some((scheme, Scopes::of(&others))), key_without(Some(scope))));
        }
    }
    all
}

/// The table's meaning, said once more and apart from the gate.
fn expected(access: Access, visitor: &Visitor, peer: &str) -> Verdict {
    let (schemes, scope, local_is_enough) = match access {
        Access::Open | Access::OpenUnlessWrong => return Verdict::Passes,
        Access::Needs(schemes, scope) => (schemes, scope, false),
        Access::LocalOr(schemes, scope) => (schemes, scope, true),
    };
    match visitor.shown {
        None if local_is_enough && peer == HERE => Verdict::Passes,
        // The seed's own words, where its signature comes first.
        None if schemes.first() == Some(&Scheme::Signature) => Verdict::Unproven("auth.signature_missing"),
        None => Verdict::Unproven("auth.credentials_missing"),
        // Where the key alone is enough, whoever sends it with time and signature has more than enough.
        Some((Scheme::Gateway, scopes)) if schemes.contains(&Scheme::GatewayKey) && scopes.has(scope) => {
            Verdict::Passes
        }
        Some((scheme, _)) if !schemes.contains(&scheme) => Verdict::Unproven("auth.scheme_not_accepted"),
        Some((_, scopes)) if !scopes.has(scope) => Verdict::LacksScope,
        Some(_) => Verdict::Passes,
    }
}

fn show<'a>(call: Call<'a>, visitor: &Visitor) -> Call<'a> {
    match visitor.shown.map(|(scheme, _)| scheme) {
        None => call,
        Some(Scheme::Signature) => call.automation(),
        Some(Scheme::Gateway) => call.gateway(),
        Some(Scheme::ApiKey) => call.header("x-grps-api-key", visitor.secret.expose()),
        Some(Scheme::SignedRequest) => call.signed(&fingerprint(&visitor.secret), &visitor.secret),
        Some(Scheme::GatewayKey | Scheme::QueryKey | Scheme::Ticket) => {
            unreachable!("no visitor comes with these alone")
        }
    }
}

/// A path of the table with its parts filled in.
fn target(path: &str) -> String {
    let filled = [
        ("{userId}", "12345678"),
        ("{user_id}", "5"),
        ("{season}", "s1"),
        ("{mode}", "ranked"),
        ("{kid}", "c00000000"),
        ("{file}", "docs.js"),
        ("{name}", "nothing"),
        ("{id}", "0000000000000000"),
    ];
    let target = filled.iter().fold(path.to_owned(), |path, (name, value)| path.replace(name, value));
    assert!(!target.contains('{'), "{path}");
    target
}

fn scope_of(access: Access) -> Option<Scope> {
    match access {
        Access::Needs(_, scope) | Access::LocalOr(_, scope) => Some(scope),
        Access::Open | Access::OpenUnlessWrong => None,
    }
}

#[tokio::test]
async fn every_endpoint_takes_exactly_the_schemes_and_scopes_of_its_line() {
    let app = server().await;
    let mut cells = 0;
    for Rule { method, path, access } in TABLE {
        for (visitor, peer) in visitors(scope_of(*access)).iter().flat_map(|v| [(v, HERE), (v, ELSEWHERE)]) {
            let call = app.request(method, &target(path)).from(peer);
            let call =
                if *method == "POST" { call.header("content-type", "application/json").body("{}") } else { call };
            let answer = show(call, visitor).send().await;
            let code = || answer.code();
            let verdict = match answer.status.as_u16() {
                401 if code() == "auth.credentials_missing" => Verdict::Unproven("auth.credentials_missing"),
                401 if code() == "auth.signature_missing" => Verdict::Unproven("auth.signature_missing"),
                401 if code() == "auth.scheme_not_accepted" => Verdict::Unproven("auth.scheme_not_accepted"),
                401 => panic!("{method} {path}, {}: {}", visitor.what, answer.text),
                403 => Verdict::LacksScope,
                _ => Verdict::Passes,
            };
            assert_eq!(
                verdict,
                expected(*access, visitor, peer),
                "{method} {path}, {} from {peer}: {}",
                visitor.what,
                answer.text
            );
            if verdict == Verdict::LacksScope {
                assert_eq!(code(), "auth.scope_missing");
                assert!(answer.detail().contains(scope_of(*access).unwrap().text()), "{}", answer.text);
            }
            if answer.status == 401 {
                assert!(answer.header("www-authenticate").contains("GRPS"), "RFC 9110 wants a challenge");
            }
            cells += 1;
        }
    }
    assert!(cells > TABLE.len() * 10, "only {cells} cells were walked");
}

#[test]
fn what_people_decide_needs_more_than_the_scope_of_a_game_server() {
    for path in ["/players/{userId}/clear-flag", "/automation/decisions/{id}/approve", "/automation/revert"] {
        let rule = TABLE.iter().find(|rule| rule.path == path).unwrap();
        assert_eq!(scope_of(rule.access), Some(Scope::DecisionsManage), "{path}");
    }
}

#[tokio::test]
async fn the_published_security_of_every_operation_is_its_line() {
    let spec = grps::app::published_api().await.unwrap();
    let requirement = |scheme: &Scheme| match scheme {
        Scheme::Signature => json!({ "grpsSignature": [] }),
        Scheme::ApiKey => json!({ "grpsApiKey": [] }),
        Scheme::Gateway => json!({ "gatewayKey": [], "gatewayTimestamp": [], "gatewaySignature": [] }),
        Scheme::SignedRequest => json!({ "signedTimestamp": [], "signedNonce": [], "signedRequest": [] }),
        Scheme::GatewayKey => json!({ "gatewayKey": [] }),
        Scheme::QueryKey => json!({ "queryKey": [] }),
        Scheme::Ticket => json!({ "socketTicket": [] }),
    };
    let mut operations = 0;
    for Rule { method, path, access } in TABLE {
        let operation = &spec.value()["paths"][path][method.to_ascii_lowercase()];
        if operation.is_null() {
            assert!(*access == Access::Open, "{path} is a page: pages are open");
            continue;
        }
        operations += 1;
        let wanted: Vec<Value> = match access {
            Access::Open => Vec::new(),
            Access::OpenUnlessWrong => std::iter::once(json!({})).chain(Scheme::ALL.iter().map(requirement)).collect(),
            Access::LocalOr(schemes, _) => std::iter::once(json!({})).chain(schemes.iter().map(requirement)).collect(),
            Access::Needs(schemes, _) => schemes.iter().map(requirement).collect(),
        };
        let published = operation["security"].as_array().cloned().unwrap_or_default();
        assert_eq!(published, wanted, "{method} {path}");
    }
    let paths = spec.value()["paths"].as_object().unwrap();
    let published: usize = paths.values().map(|item| item.as_object().unwrap().len()).sum();
    assert_eq!(operations, published, "every published operation has its line");
}

#[tokio::test]
async fn what_the_table_does_not_list_does_not_pass() {
    let app = TestApp::new().await;
    for target in [
        "/admin",
        "/admin/api",
        "/players",
        "/players/",
        "/players/5/secrets",
        "//leaderboard",
        "/leaderboard/",
        "/LEADERBOARD",
        "/metrics/../players/5",
    ] {
        app.get(target).operator().refused(404, "request.no_route").await;
    }
}

#[tokio::test]
async fn credentials_of_two_schemes_count_as_the_stronger_and_both_must_not_be_mixed() {
    let app = TestApp::new().await;
    app.get("/players/5").key().automation().refused(404, "players.missing").await;
    app.get("/players/5")
        .key()
        .header("x-grps-signature-v2", "v2,operator,00")
        .refused(401, "auth.timestamp_missing")
        .await;
}
