//! [`TestApp`]: the whole program on a store of its own, spoken to in HTTP, with a clock that stands still until told.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use grps::app::App;
use grps::base::metrics::Metrics;
use grps::base::{Clock, Secret, Time};
use grps::config::{Config, Generated, Sources};
use grps::domains::auth::{Signable, message, sign};
use grps::domains::policy::write_shipped;
use grps::store::{DataDir, Memory, Settings, Store};
use grps::workers::Next;
use poem::endpoint::BoxEndpoint;
use poem::http::uri::Scheme;
use poem::http::{HeaderMap, HeaderValue, Method, StatusCode};
use poem::web::{LocalAddr, RemoteAddr};
use poem::{Addr, Body, Endpoint, Request, Response};
use serde_json::{Value, json};

use crate::openapi::Contract;

/// When the tests' clocks start.
pub const START: Time = Time(1_740_852_944_000); // 2025-03-01T18:15:44Z

pub const INGEST: &str = "/roblox/events/player-activity";

/// The seed's snapshot.
pub const SEED_001: &str = r#"{
  "userId": 12345678, "username": "ArcTrooper", "displayName": "Arc", "rank": "Volt Specialist II", "rankPoints": 520,
  "kos": 84, "wos": 12, "warnings": 1, "recommendations": 0, "punishmentStatus": null,
  "experience": { "universeId": 987654321, "placeId": 1234567890, "server": "vip-3" } }"#;

/// A snapshot of somebody the shipped policy promotes from 750 points on, and punishes for 3 warnings.
pub fn snapshot(user: u64, points: i64, warnings: u32) -> Value {
    json!({ "userId": user, "username": "A", "rank": "Volt Specialist II", "rankPoints": points, "warnings": warnings })
}

/// Where requests come from unless they say otherwise: not this machine.
const SOMEWHERE: &str = "203.0.113.9:4711";

pub struct TestApp {
    pub app: App,
    pub clock: Clock,
    contract: &'static Contract,
    /// Made when the first request comes: a program that is only ticked needs none.
    endpoint: OnceLock<BoxEndpoint<'static, Response>>,
    dir: tempfile::TempDir,
}

/// An answer, already checked against the published API.
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

/// A program about to be built: its settings and its policy files.
pub struct Setup {
    dir: tempfile::TempDir,
    settings: Vec<(String, String)>,
    store: fn(&DataDir, &Metrics) -> Store,
}

impl Setup {
    /// No settings, the shipped policy.
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let policy = dir.path().join("policy");
        std::fs::create_dir(&policy).unwrap();
        write_shipped(&policy).unwrap();
        Self { dir, settings: Vec::new(), store }
    }

    /// The files of `policy/examples/<name>` laid over the shipped policy.
    pub fn example(name: &str) -> Self {
        let setup = Self::new();
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("policy/examples").join(name);
        for entry in std::fs::read_dir(example).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, setup.dir.path().join("policy").join(path.file_name().unwrap())).unwrap();
        }
        setup
    }

    pub fn set(mut self, name: &str, value: impl Into<String>) -> Self {
        self.settings.push((name.to_owned(), value.into()));
        self
    }

    /// Whether there is a setting of this name.
    pub fn sets(&self, name: &str) -> bool {
        self.settings.iter().any(|(set, _)| set == name)
    }

    /// On disk, whatever the environment asks for.
    pub fn on_disk(mut self) -> Self {
        self.store = on_disk;
        self
    }

    /// In memory, whatever the environment asks for.
    pub fn in_memory(mut self) -> Self {
        self.store = |_, metrics| Store::new(Memory::new(), &Settings::default(), metrics);
        self
    }

    /// In memory, with every second commit refused once, whatever the environment asks for: what may overtake does.
    pub fn contended(mut self) -> Self {
        self.store = |_, metrics| Store::new(Memory::conflicting_every(2), &Settings::default(), metrics);
        self
    }

    /// Changes a policy file before the start; one that is not there is made.
    pub fn policy(self, file: &str, change: impl FnOnce(&mut Value)) -> Self {
        let path = self.dir.path().join("policy").join(file);
        if !path.exists() {
            std::fs::write(&path, r#"{"version": 1}"#).unwrap();
        }
        edit_json(&path, change);
        self
    }

    pub async fn start(self) -> TestApp {
        let Self { dir, settings, store } = self;
        let data = DataDir::open(&dir.path().join("data")).unwrap();
        let generated = Generated::load_or_create(data.path()).unwrap();
        let place = |path: &Path| path.display().to_string();
        let mut env: Vec<(String, String)> =
            vec![("DATA_DIR".into(), place(data.path())), ("POLICY_DIR".into(), place(&dir.path().join("policy")))];
        env.extend(settings);
        let config = Config::build(&Sources::read(Vec::new(), env, dir.path()).unwrap(), &generated).unwrap();
        let clock = Clock::fake(START);
        let metrics = Metrics::default();
        let app = App::build(config, store(&data, &metrics), clock.clone(), metrics).await.unwrap();
        TestApp { app, clock, contract: Contract::published().await, endpoint: OnceLock::new(), dir }
    }
}

/// Rewrites a JSON file.
pub fn edit_json(path: &Path, change: impl FnOnce(&mut Value)) {
    let mut value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(path, value.to_string()).unwrap();
}

impl TestApp {
    pub async fn new() -> Self {
        Setup::new().start().await
    }

    /// A program with these settings.
    pub async fn with(settings: &[(&str, &str)]) -> Self {
        settings.iter().fold(Setup::new(), |setup, (name, value)| setup.set(name, *value)).start().await
    }

    /// The program started again on the same store: what was only in memory is gone.
    pub async fn restart(self) -> Self {
        self.restart_with(|_| {}).await
    }

    /// The same, with other settings.
    pub async fn restart_with(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self { app, clock, contract, dir, .. } = self;
        // No start is within the millisecond of the one before: what begins with the time would meet.
        clock.advance(Duration::from_millis(1));
        let mut config = Config::clone(&app.config);
        change(&mut config);
        let app = App::build(config, app.store.clone(), clock.clone(), Metrics::default()).await.unwrap();
        Self { app, clock, contract, endpoint: OnceLock::new(), dir }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    pub fn policy_dir(&self) -> PathBuf {
        self.dir.path().join("policy")
    }

    pub fn advance(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Runs one tick of the worker called `name`, as new as the program just started.
    pub async fn tick(&self, name: &str) -> Next {
        let mut workers = self.app.workers();
        let worker = workers.iter_mut().find(|worker| worker.name() == name);
        worker.unwrap_or_else(|| panic!("no worker is called {name}")).tick().await.unwrap()
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
            peer: SOMEWHERE.parse().unwrap(),
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn get(&self, target: &str) -> Call<'_> {
        self.request("GET", target)
    }

    pub fn post(&self, target: &str, body: impl Into<Vec<u8>>) -> Call<'_> {
        self.request("POST", target).header("content-type", "application/json").body(body)
    }

    /// Posts a snapshot as a game server would.
    pub fn ingest(&self, body: impl Into<Vec<u8>>) -> Call<'_> {
        self.post(INGEST, body).key()
    }

    /// Posts a snapshot, has it decided on, and gives the whole answer.
    pub async fn evaluate(&self, snapshot: Value) -> Value {
        self.ingest(snapshot.to_string()).header("x-grps-evaluate", "true").expect(200).await.json()
    }

    /// Posts a snapshot and lets the decision on it take effect; gives the decision.
    pub async fn apply(&self, snapshot: Value) -> Value {
        let call = self.ingest(snapshot.to_string()).header("x-grps-evaluate", "true").header("x-grps-apply", "true");
        call.expect(200).await.json()["decision"].take()
    }

    /// No answer may carry one of these.
    fn secrets(&self) -> Vec<Secret> {
        let auth = &self.app.config.auth;
        let inbound = auth.inbound.iter().map(|key| &key.secret);
        let pairs = auth.automation.iter().chain(auth.gateway_key.iter()).chain(auth.gateway_hmac.iter());
        inbound.chain(pairs).chain([&auth.operator, &auth.sealing]).cloned().collect()
    }
}

/// The store the environment asks for: in memory, in memory with forced conflicts, or on disk.
fn store(data: &DataDir, metrics: &Metrics) -> Store {
    #[allow(clippy::disallowed_methods)] // how a test run is told which store to use
    let setting = |name: &str| std::env::vars().find(|(key, _)| key == name).map(|(_, value)| value);
    if setting("GRPS_TEST_ENGINE").as_deref() == Some("sled") {
        return on_disk(data, metrics);
    }
    match setting("GRPS_TEST_CONFLICT_EVERY").and_then(|every| every.parse().ok()) {
        Some(every) => Store::new(Memory::conflicting_every(every), &Settings::default(), metrics),
        None => Store::new(Memory::new(), &Settings::default(), metrics),
    }
}

fn on_disk(data: &DataDir, metrics: &Metrics) -> Store {
    let settings = Settings { page_cache_bytes: 16 << 20, segment_bytes: 256 << 10, ..Settings::default() };
    Store::open(data, &settings, metrics).unwrap()
}

/// A request being put together.
pub struct Call<'a> {
    app: &'a TestApp,
    method: Method,
    target: String,
    peer: SocketAddr,
    headers: Vec<(String, Vec<u8>)>,
    body: Vec<u8>,
}

impl Call<'_> {
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    pub fn headers(self, headers: &[(&str, String)]) -> Self {
        headers.iter().fold(self, |call, (name, value)| call.header(name, value))
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sends it from this address.
    pub fn from(mut self, peer: &str) -> Self {
        self.peer = peer.parse().unwrap();
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
    pub fn signed(self, kid: &str, secret: &Secret) -> Self {
        let at = self.app.clock.now().seconds().to_string();
        let nonce = format!("{:016x}", fastrand::u64(..));
        let request = Signable { method: self.method.as_str(), target: &self.target, body: &self.body };
        let signature = sign(secret, message(&at, &nonce, &request).as_bytes());
        self.header("x-grps-timestamp", at)
            .header("x-grps-nonce", nonce)
            .header("x-grps-signature-v2", format!("v2,{kid},{signature}"))
    }

    /// Signs the body with the automation secret (A1).
    pub fn automation(self) -> Self {
        let secret = self.app.app.config.auth.automation.first().unwrap().clone();
        let signature = sign(&secret, &self.body);
        self.header("x-grps-signature", signature)
    }

    /// Sends the job gateway's three headers (A3).
    pub fn gateway(self) -> Self {
        let auth = self.app.app.config.auth.clone();
        let at = self.app.clock.now().seconds().to_string();
        let signature = sign(auth.gateway_hmac.first().unwrap(), at.as_bytes());
        self.header("x-api-key", auth.gateway_key.first().unwrap().expose())
            .header("x-timestamp", at)
            .header("x-signature", signature)
    }

    pub async fn send(self) -> Answer {
        let mut request = poem::http::Request::builder().method(self.method.clone()).uri(self.target.as_str());
        for (name, value) in &self.headers {
            request = request.header(name.as_str(), HeaderValue::from_bytes(value).unwrap());
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let peer = RemoteAddr(Addr::SocketAddr(self.peer));
        let parts = (parts, LocalAddr::default(), peer, Scheme::HTTP).into();
        let endpoint = self.app.endpoint.get_or_init(|| self.app.app.endpoint().unwrap());
        let response = endpoint.get_response(Request::from_parts(parts, Body::from(self.body))).await;
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(body.into_vec().await.unwrap()).unwrap();
        let answer = Answer { status: parts.status, headers: parts.headers, text };
        self.app.contract.check(self.method.as_str(), &self.target, &answer);
        if !answer.status.is_success() {
            let leaked = self.app.secrets().into_iter().any(|secret| answer.text.contains(secret.expose()));
            assert!(!leaked, "{} {} tells a secret: {}", self.method, self.target, answer.text);
        }
        answer
    }

    /// Sends and expects this status.
    pub async fn expect(self, status: u16) -> Answer {
        let what = format!("{} {}", self.method, self.target);
        let answer = self.send().await;
        assert_eq!(answer.status.as_u16(), status, "{what}: {}", answer.text);
        answer
    }

    /// Sends and expects to be refused with this status and code.
    pub async fn refused(self, status: u16, code: &str) -> Answer {
        let what = format!("{} {} {:?}", self.method, self.target, self.headers);
        let answer = self.send().await;
        assert_eq!((answer.status.as_u16(), answer.code().as_str()), (status, code), "{what}: {}", answer.text);
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

    pub fn hint(&self) -> String {
        self.json()["hint"].as_str().unwrap_or_default().to_owned()
    }

    /// The places the problem complains of, as dotted text: `body.userId`.
    pub fn complaints(&self) -> Vec<String> {
        let join = |loc: &Value| {
            let parts: Vec<&str> = loc.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
            parts.join(".")
        };
        let mut all: Vec<String> =
            self.json()["errors"].as_array().into_iter().flatten().map(|error| join(&error["loc"])).collect();
        all.sort();
        all
    }
}
