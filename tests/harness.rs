//! [`TestApp`]: the whole program on a store of its own, spoken to in HTTP, with a clock that stands still until told.

use std::sync::Arc;
use std::time::Duration;

use grps::app::App;
use grps::base::metrics::Metrics;
use grps::base::{Clock, Time};
use grps::config::{Config, Generated, Sources};
use grps::domains::auth::{Signable, message, sign};
use grps::http::Spec;
use grps::store::{DataDir, Memory, Settings, Store};
use poem::endpoint::BoxEndpoint;
use poem::http::{HeaderMap, Method, StatusCode};
use poem::{Endpoint, Request, Response};
use serde_json::Value;

/// When the tests' clocks start.
pub const START: Time = Time(1_740_852_944_000); // 2025-03-01T18:15:44Z

pub const INGEST: &str = "/roblox/events/player-activity";

/// The seed's snapshot.
pub const SEED_001: &str = r#"{
  "userId": 12345678, "username": "ArcTrooper", "displayName": "Arc", "rank": "Volt Specialist II", "rankPoints": 520,
  "kos": 84, "wos": 12, "warnings": 1, "recommendations": 0, "punishmentStatus": null,
  "experience": { "universeId": 987654321, "placeId": 1234567890, "server": "vip-3" } }"#;

pub struct TestApp {
    pub app: App,
    pub clock: Clock,
    pub spec: Arc<Spec>,
    endpoint: BoxEndpoint<'static, Response>,
    dir: tempfile::TempDir,
}

/// An answer, already checked against the published API.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

impl TestApp {
    pub async fn new() -> Self {
        Self::with(&[]).await
    }

    /// A program with these settings.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let policy = dir.path().join("policy");
        std::fs::create_dir(&policy).unwrap();
        grps::domains::policy::write_shipped(&policy).unwrap();
        Self::in_dir(dir, settings).await
    }

    /// The same, with the files of `policy/examples/<name>` laid over the shipped policy.
    pub async fn with_example(name: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let policy = dir.path().join("policy");
        std::fs::create_dir(&policy).unwrap();
        grps::domains::policy::write_shipped(&policy).unwrap();
        let example = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("policy/examples").join(name);
        for entry in std::fs::read_dir(example).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, policy.join(path.file_name().unwrap())).unwrap();
        }
        Self::in_dir(dir, &[]).await
    }

    async fn in_dir(dir: tempfile::TempDir, settings: &[(&str, &str)]) -> Self {
        let data = DataDir::open(&dir.path().join("data")).unwrap();
        let generated = Generated::load_or_create(data.path()).unwrap();
        let mut env: Vec<(String, String)> = vec![
            ("DATA_DIR".into(), data.path().display().to_string()),
            ("POLICY_DIR".into(), dir.path().join("policy").display().to_string()),
        ];
        env.extend(settings.iter().map(|(name, value)| (name.to_string(), value.to_string())));
        let config = Config::build(&Sources::read(Vec::new(), env, dir.path()).unwrap(), &generated).unwrap();
        let clock = Clock::fake(START);
        let metrics = Metrics::default();
        let app = App::build(config, store(&data, &metrics), clock.clone(), metrics).await.unwrap();
        let endpoint = app.endpoint().unwrap();
        let spec = Arc::new(grps::app::published_api().await.unwrap());
        Self { app, clock, spec, endpoint, dir }
    }

    pub fn policy_dir(&self) -> std::path::PathBuf {
        self.dir.path().join("policy")
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// The key game servers use here.
    pub fn inbound_key(&self) -> String {
        self.app.config.auth.inbound[0].secret.expose().to_owned()
    }

    pub fn request(&self, method: &str, target: &str) -> Call<'_> {
        Call {
            app: self,
            method: method.parse().unwrap(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn get(&self, target: &str) -> Call<'_> {
        self.request("GET", target)
    }

    pub fn post(&self, target: &str, body: impl Into<Vec<u8>>) -> Call<'_> {
        let mut call = self.request("POST", target).header("content-type", "application/json");
        call.body = body.into();
        call
    }

    /// Posts a snapshot as a game server would.
    pub fn ingest(&self, body: impl Into<Vec<u8>>) -> Call<'_> {
        self.post(INGEST, body).key()
    }
}

/// The store the environment asks for: in memory, in memory with forced conflicts, or on disk.
fn store(data: &DataDir, metrics: &Metrics) -> Store {
    let setting = |name: &str| std::env::vars().find(|(key, _)| key == name).map(|(_, value)| value);
    if setting("GRPS_TEST_ENGINE").as_deref() == Some("sled") {
        let settings = Settings { page_cache_bytes: 16 << 20, ..Settings::default() };
        return Store::open(data, &settings, metrics).unwrap();
    }
    match setting("GRPS_TEST_CONFLICT_EVERY").and_then(|every| every.parse().ok()) {
        Some(every) => Store::new(Memory::conflicting_every(every), &Settings::default(), metrics),
        None => Store::in_memory(),
    }
}

/// A request being put together.
pub struct Call<'a> {
    app: &'a TestApp,
    method: Method,
    target: String,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Call<'_> {
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Signs in with the game servers' key (A2).
    pub fn key(self) -> Self {
        let key = self.app.inbound_key();
        self.header("x-grps-api-key", key)
    }

    /// Signs this request as the operator (A6).
    pub fn operator(self) -> Self {
        let secret = self.app.app.config.auth.operator.clone();
        self.signed("operator", &secret)
    }

    /// Signs this request with any key (A6).
    pub fn signed(self, kid: &str, secret: &grps::base::Secret) -> Self {
        let at = self.app.clock.now().seconds().to_string();
        let nonce = format!("{:016x}", fastrand::u64(..));
        let request = Signable { method: self.method.as_str(), target: &self.target, body: &self.body };
        let signature = sign(secret, message(&at, &nonce, &request).as_bytes());
        self.header("x-grps-timestamp", at)
            .header("x-grps-nonce", nonce)
            .header("x-grps-signature-v2", format!("v2,{kid},{signature}"))
    }

    pub async fn send(self) -> Answer {
        let mut request = Request::builder().method(self.method.clone()).uri(self.target.parse().unwrap());
        for (name, value) in &self.headers {
            request = request.header(name.as_str(), poem::http::HeaderValue::from_bytes(value).unwrap());
        }
        let response = self.app.endpoint.get_response(request.body(self.body)).await;
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.into_vec().await.unwrap()).unwrap();
        let answer = Answer { status: parts.status, headers: parts.headers, text };
        super::openapi::check_answer(&self.app.spec, self.method.as_str(), &self.target, &answer);
        answer
    }

    /// Sends and expects this status.
    pub async fn expect(self, status: u16) -> Answer {
        let what = format!("{} {}", self.method, self.target);
        let answer = self.send().await;
        assert_eq!(answer.status.as_u16(), status, "{what}: {}", answer.text);
        answer
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text))
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The problem's code.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    pub fn detail(&self) -> String {
        self.json()["detail"].as_str().unwrap_or_default().to_owned()
    }
}
