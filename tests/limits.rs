//! What every request meets on its way in and every answer on its way out: rate limits, proxies, ids, CORS, headers.

use crate::harness::{Answer, INGEST, SEED_001, TestApp};

async fn limited(extra: &[(&str, &str)]) -> TestApp {
    let mut settings = vec![("RATE_LIMIT_PER_MINUTE", "2"), ("RATE_LIMIT_WINDOW_SECONDS", "3600")];
    settings.extend(extra);
    TestApp::with(&settings).await
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back() {
    let app = limited(&[]).await;
    for left in ["1", "0"] {
        let answer = app.get("/health").expect(200).await;
        assert_eq!((answer.header("ratelimit-limit"), answer.header("ratelimit-remaining")), ("2", left));
        assert!(answer.header("ratelimit-reset").parse::<u64>().unwrap() <= 3600);
    }
    let answer = app.get("/health").refused(429, "request.rate_limited").await;
    let wait: u64 = answer.header("retry-after").parse().unwrap();
    assert!((1700..=1800).contains(&wait), "one of two an hour: {wait}");
    assert_eq!((answer.header("ratelimit-limit"), answer.header("ratelimit-remaining")), ("2", "0"));
    assert!(answer.hint().contains("Retry-After"));
    app.get("/health").from("203.0.113.10:1").expect(200).await;
    for probe in ["/health/live", "/health/ready"] {
        assert_eq!(app.get(probe).expect(200).await.header("ratelimit-limit"), "", "a probe is never limited");
        app.request("HEAD", probe).expect(200).await;
    }
    let off = TestApp::new().await.get("/health").expect(200).await;
    assert_eq!(off.header("ratelimit-limit"), "");
}

#[tokio::test]
async fn a_forwarded_address_counts_only_as_far_as_trusted_proxies_wrote_it() {
    let app = limited(&[("TRUSTED_PROXIES", "10.0.0.0/8")]).await;
    let from = |peer: &'static str, forwarded: &'static str| {
        app.get("/health").from(peer).header("x-forwarded-for", forwarded).send()
    };
    for (peer, forwarded, left) in [
        ("10.0.0.1:1", "1.2.3.4", "1"),
        ("10.0.0.2:1", "6.6.6.6, 1.2.3.4", "0"), // the same client through another proxy, with an invention on the left
        ("10.0.0.1:1", "1.2.3.5, 10.0.0.9", "1"),
        ("203.0.113.50:1", "1.2.3.6", "1"),
        ("203.0.113.50:1", "1.2.3.7", "0"), // not a proxy of ours: it cannot pick another name each time
    ] {
        assert_eq!(from(peer, forwarded).await.header("ratelimit-remaining"), left, "{peer} {forwarded}");
    }
    assert_eq!(from("10.0.0.1:1", "9.9.9.9, 1.2.3.4").await.status, 429);
    assert_eq!(from("203.0.113.50:1", "1.2.3.8").await.status, 429);
    // Whoever is forwarded is not this machine, whatever the header says.
    app.get("/metrics")
        .from("203.0.113.60:1")
        .header("x-forwarded-for", "127.0.0.1")
        .refused(401, "auth.credentials_missing")
        .await;
}

#[tokio::test]
async fn a_request_keeps_its_own_id_or_is_given_one() {
    let app = TestApp::new().await;
    let longest = "x".repeat(128);
    for id in ["abc", "a-b_c.d:e/f", longest.as_str()] {
        assert_eq!(app.get("/health/live").header("x-request-id", id).expect(200).await.header("x-request-id"), id);
    }
    let given = |answer: &Answer| {
        let id = answer.header("x-request-id");
        assert!(id.len() == 16 && id.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)), "{id}");
        id.to_owned()
    };
    let first = given(&app.get("/health/live").expect(200).await);
    assert_ne!(first, given(&app.get("/health/live").expect(200).await));
    for unusable in [&b"two words"[..], b"", b"\xff", b"tab\there", "x".repeat(129).as_bytes()] {
        given(&app.get("/health/live").header("x-request-id", unusable).expect(200).await);
    }
    let refused = app.get("/nothing").header("x-request-id", "mine").expect(404).await;
    assert_eq!(refused.json()["requestId"], "mine");
}

#[tokio::test]
async fn pages_of_the_two_default_origins_may_call_and_others_may_not() {
    let app = TestApp::new().await;
    for origin in ["https://grps.example.com", "http://localhost:3000"] {
        let preflight = app
            .request("OPTIONS", INGEST)
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header("access-control-request-headers", "content-type, x-grps-api-key")
            .expect(204)
            .await;
        assert_eq!(preflight.header("access-control-allow-origin"), origin);
        assert_eq!(preflight.header("access-control-allow-methods"), "GET, POST, PUT");
        assert_eq!(preflight.header("access-control-allow-headers"), "content-type, x-grps-api-key");
        let answer = app.get("/leaderboard").header("origin", origin).expect(200).await;
        assert_eq!(answer.header("access-control-allow-origin"), origin);
        assert!(answer.header("access-control-expose-headers").contains("x-request-id"));
        let refused = app.get("/players/5").header("origin", origin).expect(401).await;
        assert_eq!(refused.header("access-control-allow-origin"), origin, "the page may read why");
    }
    for origin in ["https://evil.example", "https://grps.example.com.evil.example", "http://grps.example.com", "null"] {
        let preflight =
            app.request("OPTIONS", INGEST).header("origin", origin).header("access-control-request-method", "POST");
        let answer = preflight.refused(403, "cors.origin_not_allowed").await;
        assert!(answer.hint().contains("ALLOWED_ORIGINS"));
        let answer = app.get("/leaderboard").header("origin", origin).expect(200).await;
        assert_eq!(answer.header("access-control-allow-origin"), "");
        assert!(answer.header("vary").contains("origin"), "caches must keep them apart");
    }
}

#[tokio::test]
async fn allowed_origins_win_over_cors_allow_origins() {
    let settings = [("ALLOWED_ORIGINS", "https://a.example"), ("CORS_ALLOW_ORIGINS", r#"["https://b.example"]"#)];
    let both = TestApp::with(&settings).await;
    let second = TestApp::with(&settings[1..]).await;
    let ask = async |app: &TestApp, origin: &str| app.get("/health/live").header("origin", origin).expect(200).await;
    assert_eq!(ask(&both, "https://a.example").await.header("access-control-allow-origin"), "https://a.example");
    assert_eq!(ask(&both, "https://b.example").await.header("access-control-allow-origin"), "");
    assert_eq!(ask(&second, "https://b.example").await.header("access-control-allow-origin"), "https://b.example");
    assert_eq!(ask(&second, "http://localhost:3000").await.header("access-control-allow-origin"), "");
}

#[tokio::test]
async fn every_answer_is_safe_to_open_in_a_browser() {
    let app = TestApp::new().await;
    for target in ["/health/live", "/leaderboard", "/nothing", "/players/5", "/docs", "/docs/docs.js", "/openapi.json"]
    {
        let answer = app.get(target).send().await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{target}");
        assert!(!answer.header("cache-control").is_empty() && !answer.header("x-request-id").is_empty(), "{target}");
    }
    for moved in ["/", "/docs/"] {
        assert_eq!(app.get(moved).expect(308).await.header("location"), "/docs");
    }
    let page = app.get("/docs").expect(200).await;
    assert!(page.header("content-security-policy").contains("default-src 'self'"));
    assert_eq!(app.get("/players/5").key().send().await.header("cache-control"), "no-store");
    let closed = TestApp::with(&[("DOCS", "false")]).await;
    for target in ["/", "/docs", "/docs/", "/docs/docs.js", "/openapi.json", "/openapi.yaml"] {
        closed.get(target).refused(404, "request.no_route").await;
    }
}

#[tokio::test]
async fn head_answers_like_get_without_the_body() {
    let app = TestApp::new().await;
    app.ingest(SEED_001).expect(200).await;
    for target in ["/health/live", "/leaderboard", "/docs", "/openapi.json"] {
        let (get, head) = (app.get(target).expect(200).await, app.request("HEAD", target).expect(200).await);
        for name in ["content-type", "etag", "cache-control"] {
            assert_eq!(head.header(name), get.header(name), "{target} {name}");
        }
        // A page's body is dropped on its way to the socket; tests/process.rs looks there.
        assert!(head.text.is_empty() || target.starts_with("/docs") || target.starts_with("/openapi"), "{target}");
    }
    app.request("HEAD", "/players/12345678").expect(401).await;
    app.request("HEAD", "/players/12345678").key().expect(200).await;
    app.request("HEAD", INGEST).expect(405).await;
}

#[tokio::test]
async fn a_bad_byte_in_a_forwarded_line_makes_nobody_local() {
    let app = limited(&[("TRUSTED_PROXIES", "127.0.0.1")]).await;
    let from = |forwarded: &'static [u8]| app.get("/health").from("127.0.0.1:1").header("x-forwarded-for", forwarded);
    assert_eq!(from(b"203.0.113.9").send().await.header("ratelimit-remaining"), "1");
    assert_eq!(from(b"\xff, 203.0.113.9").send().await.header("ratelimit-remaining"), "0", "the same client");
    for forwarded in [&b"\xff, 203.0.113.10"[..], b"unknown", b"127.0.0.1"] {
        app.get("/metrics")
            .from("127.0.0.1:1")
            .header("x-forwarded-for", forwarded)
            .refused(401, "auth.credentials_missing")
            .await;
    }
}
