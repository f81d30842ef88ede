//! The four ways to prove a caller, in detail: what each accepts, and the code of each refusal.

use grps::base::Secret;
use grps::domains::auth::{Signable, message, sign};
use serde_json::json;

use crate::harness::{Answer, Call, SEED_001, START, Setup, TestApp};

const DECIDE: &str = "/automation/decisions";
const OLD: &str = "the-old-secret-is-long-enough-to-be-one";
const NEW: &str = "the-new-secret-is-long-enough-to-be-one";

/// A server that knows one player.
async fn with_a_player(setup: Setup) -> TestApp {
    let app = setup.start().await;
    app.ingest(SEED_001).expect(200).await;
    app
}

fn body() -> String {
    json!({ "userId": 12345678 }).to_string()
}

#[tokio::test]
async fn a1_takes_hex_in_either_case_with_or_without_its_prefix() {
    let app = with_a_player(Setup::new()).await;
    let secret = app.app.config.auth.automation.first().unwrap().clone();
    let hex = sign(&secret, body().as_bytes());
    for good in [hex.clone(), hex.to_uppercase(), format!("sha256={hex}"), format!("sha256={}", hex.to_uppercase())] {
        app.post(DECIDE, body()).header("x-grps-signature", &good).expect(200).await;
    }
}

#[tokio::test]
async fn a1_refuses_what_is_missing_or_wrong_in_the_seeds_words() {
    let app = with_a_player(Setup::new()).await;
    let secret = app.app.config.auth.automation.first().unwrap().clone();
    let hex = sign(&secret, body().as_bytes());
    let missing = app.post(DECIDE, body()).header("x-grps-signature", "").refused(401, "auth.signature_missing").await;
    assert_eq!(missing.detail(), "Missing signature");
    let of_another_body = sign(&secret, b"{}");
    let by_another_secret = sign(&Secret::new("guess"), body().as_bytes());
    let cut = &hex[..62];
    for wrong in
        [&of_another_body, &by_another_secret, cut, "sha256=", "zz", &format!("{hex}00"), &format!(" sha1={hex}")]
    {
        let answer =
            app.post(DECIDE, body()).header("x-grps-signature", wrong).refused(401, "auth.signature_invalid").await;
        assert_eq!(answer.detail(), "Invalid signature", "{wrong}");
    }
    let unreadable =
        app.post(DECIDE, body()).header("x-grps-signature", b"\xff\xfe").refused(401, "auth.signature_invalid").await;
    assert_eq!(unreadable.detail(), "Invalid signature");
}

#[tokio::test]
async fn a2_compares_whole_keys() {
    let app =
        TestApp::with(&[("INBOUND_API_KEYS", "first-key-of-the-game-servers,second-key-of-the-game-servers")]).await;
    for good in ["first-key-of-the-game-servers", "second-key-of-the-game-servers"] {
        app.get("/players/5").header("x-grps-api-key", good).refused(404, "players.missing").await;
    }
    for wrong in ["", "first", "first-key-of-the-game-servers ,", "FIRST-KEY-OF-THE-GAME-SERVERS", "grps_c00000000_00"]
    {
        app.get("/players/5").header("x-grps-api-key", wrong).refused(401, "auth.key_invalid").await;
    }
    app.get("/players/5").header("x-grps-api-key", b"\xff").refused(401, "auth.key_invalid").await;
}

/// Shows A3's three headers at `/health`, which is open unless they are wrong.
fn gateway<'a>(app: &'a TestApp, key: &str, at: &str, signature: &str) -> Call<'a> {
    app.get("/health").header("x-api-key", key).header("x-timestamp", at).header("x-signature", signature)
}

#[tokio::test]
async fn a3_takes_a_minute_of_skew_in_both_directions_and_not_a_second_more() {
    let app = TestApp::new().await;
    let auth = app.app.config.auth.clone();
    let (key, hmac) = (auth.gateway_key.first().unwrap().expose(), auth.gateway_hmac.first().unwrap());
    for (skew, passes) in [(0, true), (60, true), (-60, true), (61, false), (-61, false), (100_000, false)] {
        let at = (START.seconds() + skew).to_string();
        let answer = gateway(&app, key, &at, &sign(hmac, at.as_bytes())).send().await;
        match passes {
            true => assert_eq!(answer.status, 200, "{skew}: {}", answer.text),
            false => {
                assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, "auth.timestamp_skewed"), "{skew}")
            }
        }
    }
    let behind = (START.seconds() - 61).to_string();
    let answer = gateway(&app, key, &behind, &sign(hmac, behind.as_bytes())).send().await;
    assert!(
        answer.detail().contains("61 s behind") && answer.hint().contains("TIMESTAMP_TOLERANCE"),
        "{}",
        answer.text
    );
}

#[tokio::test]
async fn a3_takes_hex_in_either_case_and_base64() {
    let app = TestApp::new().await;
    let auth = app.app.config.auth.clone();
    let (key, hmac) = (auth.gateway_key.first().unwrap().expose(), auth.gateway_hmac.first().unwrap());
    let at = START.seconds().to_string();
    let hex = sign(hmac, at.as_bytes());
    let base64 = data_encoding::BASE64.encode(&data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap());
    for good in [hex.clone(), hex.to_uppercase(), base64] {
        gateway(&app, key, &at, &good).expect(200).await;
    }
}

#[tokio::test]
async fn a3_names_each_failure_apart() {
    let app = TestApp::new().await;
    let auth = app.app.config.auth.clone();
    let (key, hmac) = (auth.gateway_key.first().unwrap().expose(), auth.gateway_hmac.first().unwrap());
    let at = &START.seconds().to_string();
    let good = &sign(hmac, at.as_bytes());
    let of_another_time = &sign(hmac, b"1740852943");
    for (key, at, signature, code) in [
        ("", at.as_str(), good.as_str(), "auth.gateway_key_missing"),
        ("guess", at, good, "auth.gateway_key_invalid"),
        (key, "", good, "auth.timestamp_missing"),
        (key, "yesterday", good, "auth.timestamp_invalid"),
        (key, "-5", good, "auth.timestamp_invalid"),
        (key, "1740852944.5", good, "auth.timestamp_invalid"),
        (key, "99999999999999999999", good, "auth.timestamp_invalid"),
        (key, at, "", "auth.gateway_signature_missing"),
        (key, at, "not hex", "auth.gateway_signature_invalid"),
        (key, at, of_another_time, "auth.gateway_signature_invalid"),
    ] {
        gateway(&app, key, at, signature).refused(401, code).await;
    }
    app.get("/health").header("x-api-key", key).refused(401, "auth.timestamp_missing").await;
}

/// What A6 signs, apart from the request.
struct Proof {
    at: i64,
    nonce: &'static str,
}

const PROOF: Proof = Proof { at: START.0 / 1000, nonce: "nonce-0001" };

/// The three headers with which the operator signs `method target body`.
fn a6(app: &TestApp, (method, target, body): (&str, &str, &str), proof: &Proof) -> [(&'static str, String); 3] {
    let at = proof.at.to_string();
    let text = message(&at, proof.nonce, &Signable { method, target, body: body.as_bytes() });
    let signature = sign(&app.app.config.auth.operator, text.as_bytes());
    [
        ("x-grps-timestamp", at),
        ("x-grps-nonce", proof.nonce.to_owned()),
        ("x-grps-signature-v2", format!("v2,operator,{signature}")),
    ]
}

#[tokio::test]
async fn a6_opens_one_request_once() {
    let app = with_a_player(Setup::new()).await;
    let body = body();
    let headers = a6(&app, ("POST", DECIDE, &body), &PROOF);
    app.post(DECIDE, body.as_str()).headers(&headers).expect(200).await;
    app.post(DECIDE, body.as_str()).headers(&headers).refused(401, "auth.replayed").await;
    app.advance(59);
    app.post(DECIDE, body.as_str()).headers(&headers).refused(401, "auth.replayed").await;
    app.advance(2);
    app.post(DECIDE, body.as_str()).headers(&headers).refused(401, "auth.timestamp_skewed").await;
}

#[tokio::test]
async fn a6_recognises_a_replay_under_another_id_of_the_same_secret() {
    let shared = "one-secret-used-for-two-things-by-mistake";
    let setup = Setup::new().set("AUTOMATION_SIGNATURE_SECRET", shared).set("INBOUND_API_KEYS", shared);
    let app = with_a_player(setup).await;
    let (secret, body) = (Secret::new(shared), body());
    let text = message(
        &PROOF.at.to_string(),
        PROOF.nonce,
        &Signable { method: "POST", target: DECIDE, body: body.as_bytes() },
    );
    let signature = sign(&secret, text.as_bytes());
    let send = |kid: &str| {
        let call = app.post(DECIDE, body.as_str()).header("x-grps-timestamp", PROOF.at.to_string());
        call.header("x-grps-nonce", PROOF.nonce).header("x-grps-signature-v2", format!("v2,{kid},{signature}"))
    };
    send("automation").expect(200).await;
    send(&grps::domains::auth::fingerprint(&secret)).refused(401, "auth.replayed").await;
}

#[tokio::test]
async fn a6_signs_method_path_query_and_body() {
    let app = with_a_player(Setup::new()).await;
    let body = body();
    let headers = a6(&app, ("POST", DECIDE, &body), &PROOF);
    app.post(DECIDE, "{\"all\":true}").headers(&headers).refused(401, "auth.signature_invalid").await;
    app.post("/automation/simulate", body.as_str()).headers(&headers).refused(401, "auth.signature_invalid").await;
    app.post(&format!("{DECIDE}?apply=1"), body.as_str())
        .headers(&headers)
        .refused(401, "auth.signature_invalid")
        .await;
    let read = a6(&app, ("GET", "/admin/api/keys", ""), &PROOF);
    app.post("/admin/api/keys", "").headers(&read).refused(401, "auth.signature_invalid").await;
    // None of these used the nonce up: whoever could not sign cannot spend it for who can.
    app.post(DECIDE, body.as_str()).headers(&headers).expect(200).await;
}

#[tokio::test]
async fn a6_names_each_failure_apart() {
    let app = TestApp::new().await;
    let request = ("GET", "/admin/api/keys", "");
    let try_with =
        async |proof: &Proof| -> Answer { app.get(request.1).headers(&a6(&app, request, proof)).send().await };
    for (proof, code) in [
        (Proof { at: START.seconds() - 61, ..PROOF }, "auth.timestamp_skewed"),
        (Proof { at: START.seconds() + 6, ..PROOF }, "auth.timestamp_skewed"),
        (Proof { at: START.seconds() - 1, ..PROOF }, "auth.signed_before_start"),
        (Proof { nonce: "short", ..PROOF }, "auth.nonce_invalid"),
        (Proof { nonce: "", ..PROOF }, "auth.nonce_missing"),
        (Proof { nonce: "with.a.dot", ..PROOF }, "auth.nonce_invalid"),
        (Proof { nonce: "with blank", ..PROOF }, "auth.nonce_invalid"),
    ] {
        let answer = try_with(&proof).await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (401, code), "{}", answer.text);
    }
    assert_eq!(try_with(&PROOF).await.status, 200);
    assert_eq!(try_with(&Proof { at: START.seconds() + 5, nonce: "AZaz09_+/=-" }).await.status, 200);
    let [at, nonce, (name, value)] = a6(&app, request, &Proof { nonce: "nonce-0002", ..PROOF });
    let malformed = ["v1,operator,00", "v2,operator", "v2", "v2,operator,xyz"];
    for (wrong, code) in malformed.map(|wrong| (wrong.to_owned(), "auth.signature_malformed")).into_iter().chain([
        (value.replace("operator", "automation"), "auth.signature_invalid"),
        (value.replace("operator", "k00000000"), "auth.signature_invalid"),
        (value[..value.len() - 2].to_owned(), "auth.signature_invalid"),
    ]) {
        app.get(request.1).headers(&[at.clone(), nonce.clone(), (name, wrong)]).refused(401, code).await;
    }
}

#[tokio::test]
async fn two_values_of_a_secret_live_side_by_side() {
    let both = format!("{NEW},{OLD}");
    let setup = ["AUTOMATION_SIGNATURE_SECRET", "API_KEY", "HMAC_SECRET"]
        .iter()
        .fold(Setup::new(), |setup, name| setup.set(name, &*both));
    let app = with_a_player(setup).await;
    let at = START.seconds().to_string();
    for secret in [NEW, OLD].map(Secret::new) {
        app.post(DECIDE, body()).header("x-grps-signature", sign(&secret, body().as_bytes())).expect(200).await;
        app.post(DECIDE, body()).signed("automation", &secret).expect(200).await;
        for key in [NEW, OLD] {
            gateway(&app, key, &at, &sign(&secret, at.as_bytes())).expect(200).await;
        }
    }
}

#[tokio::test]
async fn strict_mode_takes_signed_requests_and_nothing_else() {
    let app = TestApp::with(&[("AUTH_MODE", "strict")]).await;
    let key = Secret::new(app.inbound_key());
    let kid = grps::domains::auth::fingerprint(&key);
    app.ingest(SEED_001).refused(401, "auth.strict").await;
    app.post(DECIDE, body()).automation().refused(401, "auth.strict").await;
    app.post("/leaderboards/submit", "{}").gateway().refused(401, "auth.strict").await;
    app.post(crate::harness::INGEST, SEED_001).signed(&kid, &key).expect(200).await;
    let automation = app.app.config.auth.automation.first().unwrap().clone();
    app.post(DECIDE, body()).signed("automation", &automation).expect(200).await;
}

#[tokio::test]
async fn an_empty_secret_turns_its_scheme_off_and_says_which_variable_turns_it_on() {
    let app = TestApp::with(&[("AUTOMATION_SIGNATURE_SECRET", ""), ("API_KEY", "")]).await;
    let answer = app.post(DECIDE, body()).header("x-grps-signature", "00").refused(503, "auth.not_configured").await;
    assert!(answer.detail().contains("AUTOMATION_SIGNATURE_SECRET") && !answer.hint().is_empty());
    let answer = app.get("/health").header("x-api-key", "any").refused(503, "auth.not_configured").await;
    assert!(answer.detail().contains("API_KEY"));
    let app = TestApp::with(&[("HMAC_SECRET", "")]).await;
    let answer = app.get("/health").header("x-api-key", "any").refused(503, "auth.not_configured").await;
    assert!(answer.detail().contains("HMAC_SECRET"));
    // Nobody signs in with the empty secret.
    let app = TestApp::with(&[("AUTOMATION_SIGNATURE_SECRET", "")]).await;
    app.post(DECIDE, body()).signed("automation", &Secret::new("")).refused(401, "auth.signature_invalid").await;
}

#[tokio::test]
async fn ingest_without_keys_is_open_and_nothing_else_is() {
    let app = TestApp::with(&[("INBOUND_API_KEYS", "")]).await;
    app.post(crate::harness::INGEST, SEED_001).expect(200).await;
    app.post(crate::harness::INGEST, SEED_001).header("x-grps-api-key", "guess").refused(401, "auth.key_invalid").await;
    // Nobody in particular may ask what would happen, but makes nothing happen.
    let ready = json!({ "userId": 7, "username": "A", "rank": "Volt Specialist II", "rankPoints": 800 }).to_string();
    let call = app.post(crate::harness::INGEST, ready).header("x-grps-evaluate", "true").header("x-grps-apply", "true");
    let decision = call.expect(200).await.json()["decision"].take();
    assert_eq!((&decision["apply"], &decision["status"]), (&json!(false), &json!("blocked")), "{decision}");
    app.get("/players/12345678").refused(401, "auth.credentials_missing").await;
    app.post(DECIDE, body()).refused(401, "auth.credentials_missing").await;
}
