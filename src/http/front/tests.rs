//! The front layer around a tiny API: every way a request can be wrong has one shape and a message that says what, where and how to fix.

use std::sync::Arc;
use std::time::Duration;

use poem::http::{Method, StatusCode};
use poem::{Body, Endpoint, IntoEndpoint, Request, Response};
use poem_openapi::param::{Header, Path, Query};
use poem_openapi::{Enum, Object, OpenApi, OpenApiService};
use serde_json::{Value, json};

use crate::base::metrics::Metrics;
use crate::base::{Clock, Error, Time};
use crate::http::front::{Context, Front};
use crate::http::wire::{RobloxIdIn, RobloxIdOut};
use crate::http::{Config, Contract, Json, Origins, Spec};

#[derive(Enum)]
#[oai(rename_all = "lowercase")]
enum Mode {
    Best,
    Sum,
}

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Place {
    universe_id: u64,
}

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Snapshot {
    user_id: RobloxIdIn,
    #[oai(validator(min_length = 1, max_length = 20))]
    username: String,
    #[oai(default)]
    kos: u32,
    mode: Option<Mode>,
    experience: Option<Place>,
    #[oai(default)]
    scores: Vec<f64>,
}

#[derive(Object)]
#[oai(rename_all = "camelCase")]
struct Seen {
    user_id: RobloxIdOut,
    username: String,
    kos: u32,
    summed: bool,
    universe_id: Option<u64>,
    scores: Vec<f64>,
}

struct Api;

#[OpenApi]
impl Api {
    #[oai(path = "/snapshots", method = "post")]
    async fn take(&self, body: Json<Snapshot>) -> Json<Seen> {
        let Json(sent) = body;
        let (user_id, summed) = (RobloxIdOut(sent.user_id.0), matches!(sent.mode, Some(Mode::Sum)));
        let universe_id = sent.experience.map(|place| place.universe_id);
        Json(Seen { user_id, username: sent.username, kos: sent.kos, summed, universe_id, scores: sent.scores })
    }

    #[oai(path = "/players/:user_id", method = "get")]
    async fn show(
        &self,
        user_id: Path<RobloxIdIn>,
        #[oai(validator(minimum(value = "1"), maximum(value = "500")))] limit: Query<Option<u32>>,
        #[oai(name = "x-grps-evaluate")] evaluate: Header<Option<bool>>,
        context: &Context,
    ) -> poem::Result<Json<String>> {
        if user_id.0.0.get() == 404 {
            return Err(Error::missing("player.missing", "Player not found").into());
        }
        let told = format!("{} {:?} {:?} {} {}", user_id.0.0, limit.0, evaluate.0, context.target, context.client);
        Ok(Json(told))
    }

    #[oai(path = "/panic", method = "get")]
    async fn panic(&self) -> Json<String> {
        panic!("secret detail")
    }

    #[oai(path = "/slow", method = "get")]
    async fn slow(&self) -> Json<String> {
        std::future::pending().await
    }
}

fn front(config: Config) -> Front<impl Endpoint> {
    let service = OpenApiService::new(Api, "test", "1");
    let spec = Spec::polish(&service.spec(), |_, _| Default::default()).unwrap();
    let contract = Arc::new(Contract::new(spec.value()).unwrap());
    Front::new(service.into_endpoint(), contract, &config, Clock::fake(Time(0)), &Metrics::default())
}

fn post(body: impl Into<Body>) -> Request {
    Request::builder().method(Method::POST).uri_str("/snapshots").content_type("application/json").body(body)
}

fn get(target: &str) -> Request {
    Request::builder().uri_str(target).finish()
}

async fn send(config: Config, request: Request) -> (Response, Value) {
    let mut response = front(config).call(request).await.unwrap();
    let bytes = response.take_body().into_bytes().await.unwrap();
    let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
    (response, body)
}

/// Sends, and checks what holds for every failure.
async fn refused(request: Request, status: u16, code: &str) -> (Response, Value) {
    let (response, body) = send(
        Config { max_body_bytes: 4096, handler_deadline_ms: 20, body_deadline_ms: 20, ..Config::default() },
        request,
    )
    .await;
    assert_eq!(response.status().as_u16(), status, "{body}");
    assert_eq!(response.content_type(), Some("application/problem+json"));
    assert_eq!(body["code"], code, "{body}");
    assert_eq!(body["status"], status);
    assert_eq!(body["requestId"].as_str(), response.header("x-request-id"));
    assert!(!body["detail"].as_str().unwrap().is_empty());
    (response, body)
}

fn complaints(body: &Value) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let path = |value: &Value| value.as_array().unwrap().iter().map(text).collect::<Vec<_>>().join(".");
    let list = body["errors"].as_array().cloned().unwrap_or_default();
    let mut all: Vec<_> = list.iter().map(|e| (path(&e["loc"]), text(&e["type"]), text(&e["msg"]))).collect();
    all.sort();
    all
}

#[tokio::test]
async fn a_good_body_comes_through_and_unknown_fields_are_ignored() {
    let sent =
        json!({"userId": "12345678", "username": "x", "mode": "sum", "experience": {"universeId": 7}, "new": [1]});
    let (response, body) = send(Config::default(), post(sent.to_string())).await;
    assert_eq!(response.status(), StatusCode::OK, "{body}");
    assert_eq!(
        body,
        json!({"userId": 12345678, "username": "x", "kos": 0, "summed": true, "universeId": 7, "scores": []})
    );
    let nulls = json!({"userId": 1, "username": "x", "kos": null, "mode": null, "experience": null, "scores": null});
    assert_eq!(send(Config::default(), post(nulls.to_string())).await.0.status(), StatusCode::OK);
    let untyped = Request::builder().method(Method::POST).uri_str("/snapshots").body(sent.to_string());
    assert_eq!(send(Config::default(), untyped).await.0.status(), StatusCode::OK);
}

#[tokio::test]
async fn every_complaint_comes_at_once_with_place_and_words() {
    let sent = json!({"userId": 0, "username": 5, "kos": -1, "mode": "max", "experience": {}, "scores": [1, "2"]});
    let (_, body) = refused(post(sent.to_string()), 422, "request.invalid").await;
    let told = complaints(&body);
    let expected = [
        ("body.experience.universeId", "missing", "is required"),
        ("body.kos", "greater_than_equal", "must be at least 0, found the number -1"),
        ("body.mode", "enum", r#"expected one of "best", "sum", found the string "max""#),
        ("body.scores.1", "float_type", r#"expected a number, found the string "2""#),
        (
            "body.userId",
            "value_error",
            "expected a Roblox user id: a whole number from 1 to 9007199254740991, or the same as a digit string, found the number 0",
        ),
        ("body.username", "string_type", "expected a string from 1 to 20 characters, found the number 5"),
    ];
    let told: Vec<_> = told.iter().map(|(loc, kind, msg)| (loc.as_str(), kind.as_str(), msg.as_str())).collect();
    assert_eq!(told, expected);
    assert_eq!(body["errors"].as_array().unwrap().iter().filter(|e| e["pointer"] == "/scores/1").count(), 1);
}

#[tokio::test]
async fn one_wrong_thing_is_named() {
    let cases = [
        (json!({"username": "x"}), "body.userId", "missing"),
        (json!({"userId": -5, "username": "x"}), "body.userId", "value_error"),
        (json!({"userId": 9007199254740992u64, "username": "x"}), "body.userId", "value_error"),
        (json!({"userId": "0", "username": "x"}), "body.userId", "value_error"),
        (json!({"userId": 1, "username": ""}), "body.username", "string_too_short"),
        (json!({"userId": 1, "username": "x".repeat(21)}), "body.username", "string_too_long"),
        (json!({"userId": 1, "username": "x", "kos": 1.5}), "body.kos", "int_type"),
        (json!({"userId": 1, "username": "x", "kos": 4294967296u64}), "body.kos", "less_than_equal"),
        (
            json!({"userId": 1, "username": "x", "experience": {"universeId": "7"}}),
            "body.experience.universeId",
            "int_type",
        ),
        (json!([]), "body", "dict_type"),
        (json!(null), "body", "dict_type"),
    ];
    for (sent, place, kind) in cases {
        let (_, body) = refused(post(sent.to_string()), 422, "request.invalid").await;
        let told = complaints(&body);
        assert_eq!((told.len(), told[0].0.as_str(), told[0].1.as_str()), (1, place, kind), "{sent}: {body}");
        assert!(body["detail"].as_str().unwrap().starts_with(place), "{body}");
    }
}

#[tokio::test]
async fn malformed_bodies_say_where() {
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    for sent in ["{\"userId\":1,\"userId\":2}", "{\"userId\":NaN}", "{\"a\"", &deep, "\u{feff}{}", ""] {
        let request = post(if sent.is_empty() { Body::empty() } else { Body::from(sent.to_owned()) });
        refused(request, 422, "request.json_invalid").await;
    }
    let (_, body) = refused(post(b"{\"username\":\"\xff\"}".to_vec()), 422, "request.json_invalid").await;
    assert!(body["detail"].as_str().unwrap().contains("position 13"), "{body}");
    let (_, body) = refused(post("{\n  \"a\": x}"), 422, "request.json_invalid").await;
    assert!(body["detail"].as_str().unwrap().contains("line 2 column 8"), "{body}");
}

#[tokio::test]
async fn parameters_are_named_with_their_place() {
    let cases = [
        ("/players/abc", "path.user_id", "value_error", r#"found "abc""#),
        ("/players/0", "path.user_id", "value_error", r#"found "0""#),
        ("/players/1?limit=x", "query.limit", "value_error", r#"expected an integer from 1 to 500, found "x""#),
        ("/players/1?limit=501", "query.limit", "value_error", r#"expected an integer from 1 to 500, found "501""#),
    ];
    for (target, place, kind, words) in cases {
        let (_, body) = refused(get(target), 422, "request.invalid").await;
        let told = complaints(&body);
        assert_eq!((told[0].0.as_str(), told[0].1.as_str()), (place, kind), "{target}: {body}");
        assert!(told[0].2.contains(words), "{target}: {body}");
    }
    let request = Request::builder().uri_str("/players/1").header("x-grps-evaluate", "hunter2").finish();
    let (_, body) = refused(request, 422, "request.invalid").await;
    assert_eq!(
        complaints(&body)[0],
        ("header.x-grps-evaluate".into(), "value_error".into(), "expected true or false".into())
    );
}

#[tokio::test]
async fn unknown_routes_methods_and_media_types() {
    refused(get("/nowhere"), 404, "request.no_route").await;
    refused(get("/players/404"), 404, "player.missing").await;
    let wrong = Request::builder().method(Method::DELETE).uri_str("/players/1").finish();
    let (response, _) = refused(wrong, 405, "request.method_not_allowed").await;
    assert_eq!(response.header("allow"), Some("GET, HEAD"));
    let text = Request::builder().method(Method::POST).uri_str("/snapshots").content_type("text/plain").body("{}");
    refused(text, 415, "request.media_type").await;
}

#[tokio::test]
async fn bodies_have_a_limit_and_a_deadline() {
    let (_, body) = refused(post("x".repeat(4097)), 413, "request.too_large").await;
    assert!(body["detail"].as_str().unwrap().contains("4096 bytes"));
    let declared =
        Request::builder().method(Method::POST).uri_str("/snapshots").header("content-length", "2097152").body("x");
    refused(declared, 413, "request.too_large").await;
    let stalled = Body::from_bytes_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    refused(post(stalled), 408, "request.body_timeout").await;
    let cut = futures_util::stream::iter([Ok(bytes::Bytes::from("{")), Err(std::io::Error::other("gone"))]);
    refused(post(Body::from_bytes_stream(cut)), 400, "request.body_incomplete").await;
}

#[tokio::test]
async fn panics_and_slow_handlers_are_answered() {
    let (_, body) = refused(get("/panic"), 500, "server.panic").await;
    assert!(!body.to_string().contains("secret detail"));
    let (response, _) = refused(get("/slow"), 503, "request.timeout").await;
    assert!(response.header("retry-after").is_some());
}

#[tokio::test]
async fn chunked_bodies_arrive_whole() {
    let text = json!({"userId": 1, "username": "chunked"}).to_string();
    let chunks: Vec<Result<Vec<u8>, std::io::Error>> = text.bytes().map(|b| Ok(vec![b])).collect();
    let (response, body) =
        send(Config::default(), post(Body::from_bytes_stream(futures_util::stream::iter(chunks)))).await;
    assert_eq!((response.status(), &body["username"]), (StatusCode::OK, &json!("chunked")));
}

#[tokio::test]
async fn request_ids_are_kept_or_made() {
    for (sent, kept) in
        [("abc-1", true), (&"x".repeat(128), true), (&"x".repeat(129), false), ("two words", false), ("", false)]
    {
        let request = Request::builder().uri_str("/players/1?limit=3").header("x-request-id", sent).finish();
        let (response, body) = send(Config::default(), request).await;
        let id = response.header("x-request-id").unwrap();
        assert_eq!(id == sent, kept, "{sent}");
        assert!(kept || (id.len() == 16 && id.bytes().all(|b| b.is_ascii_hexdigit())));
        assert_eq!(body, "1 Some(3) None /players/1?limit=3 0.0.0.0");
        assert_eq!(response.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(response.header("cache-control"), Some("no-store"));
    }
}

fn from_page(origin: &str, preflight: bool) -> Request {
    let request = Request::builder().uri_str("/players/1").header("origin", origin);
    let asks = |request: poem::RequestBuilder| {
        let request = request.method(Method::OPTIONS).header("access-control-request-method", "POST");
        request.header("access-control-request-headers", "x-grps-api-key, content-type")
    };
    if preflight { asks(request).finish() } else { request.finish() }
}

#[tokio::test]
async fn listed_pages_may_call_and_others_may_not() {
    for origin in ["https://grps.example.com", "http://localhost:3000"] {
        let (response, _) = send(Config::default(), from_page(origin, true)).await;
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(response.header("access-control-allow-origin"), Some(origin));
        assert_eq!(response.header("access-control-allow-methods"), Some("GET, POST, PUT"));
        assert_eq!(response.header("access-control-allow-headers"), Some("x-grps-api-key, content-type"));
        let (response, _) = send(Config::default(), from_page(origin, false)).await;
        assert_eq!(response.header("access-control-allow-origin"), Some(origin));
        assert!(response.header("access-control-expose-headers").unwrap().contains("x-request-id"));
    }
    let (response, _) = refused(from_page("https://evil.example", true), 403, "cors.origin_not_allowed").await;
    assert_eq!(response.header("access-control-allow-origin"), None);
    let (response, _) = send(Config::default(), from_page("https://evil.example", false)).await;
    assert_eq!(response.header("access-control-allow-origin"), None);
    assert_eq!(response.header("vary"), Some("origin"));
    let nobody = Config { allowed_origins: Origins::parse("").unwrap(), ..Config::default() };
    let (response, _) = send(nobody, from_page("http://localhost:3000", false)).await;
    assert_eq!(response.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn used_up_clients_are_told_when_to_come_back() {
    let front = front(Config { rate_limit_requests: 2, rate_limit_window_seconds: 60, ..Config::default() });
    for (left, status) in [("1", 200), ("0", 200), ("0", 429)] {
        let response = front.call(get("/players/1")).await.unwrap();
        assert_eq!(response.status().as_u16(), status);
        assert_eq!(response.header("ratelimit-limit"), Some("2"));
        assert_eq!(response.header("ratelimit-remaining"), Some(left));
        assert_eq!(response.header("retry-after").is_some(), status == 429);
    }
    let unlimited = send(Config::default(), get("/players/1")).await.0;
    assert_eq!(unlimited.header("ratelimit-limit"), None);
}

#[tokio::test]
async fn metrics_speak_of_routes_not_of_urls() {
    let metrics = Metrics::default();
    let service = OpenApiService::new(Api, "test", "1");
    let spec = Spec::polish(&service.spec(), |_, _| Default::default()).unwrap();
    let contract = Arc::new(Contract::new(spec.value()).unwrap());
    let front = Front::new(service.into_endpoint(), contract, &Config::default(), Clock::fake(Time(0)), &metrics);
    let strange = Request::builder().method(Method::from_bytes(b"BREW").unwrap()).uri_str("/nowhere/77").finish();
    for request in [get("/players/12345"), get("/players/abc"), strange] {
        front.call(request).await.unwrap();
    }
    let text = metrics.render();
    assert!(
        text.contains(r#"grps_http_request_seconds_count{route="/players/{user_id}",method="GET",status="2xx"} 1"#),
        "{text}"
    );
    assert!(text.contains(r#"route="/players/{user_id}",method="GET",status="4xx"} 1"#));
    assert!(text.contains(r#"route="unmatched",method="OTHER",status="4xx"} 1"#));
    assert!(!text.contains("12345") && !text.contains("77\""));
}

#[tokio::test]
async fn a_late_client_does_not_hold_up_another() {
    let front = Arc::new(front(Config { body_deadline_ms: 30, ..Config::default() }));
    let stalled = Body::from_bytes_stream(futures_util::stream::pending::<Result<bytes::Bytes, std::io::Error>>());
    let late = front.call(post(stalled));
    let prompt = tokio::time::timeout(Duration::from_secs(5), front.call(get("/players/1")));
    let (late, prompt) = tokio::join!(late, prompt);
    assert_eq!(late.unwrap().status(), StatusCode::REQUEST_TIMEOUT);
    assert_eq!(prompt.unwrap().unwrap().status(), StatusCode::OK);
}
