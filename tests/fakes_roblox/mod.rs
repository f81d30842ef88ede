//! The fake Roblox does what Open Cloud is documented to do: asked raw, without the client that is built to get along with it.

mod groups;
mod stores;
mod trouble;
mod universe;

use std::time::Duration;

use grps::base::Clock;
use grps::fakes::roblox::{FakeRoblox, GROUP, KEY, UNIVERSE};
use poem::http::HeaderMap;
use serde_json::{Value, json};

use crate::contract;
use crate::harness::START;

/// How long these tests wait for an answer that is not meant to come.
const PATIENCE: Duration = Duration::from_millis(500);

const MINUTE: Duration = Duration::from_secs(60);

struct Scene {
    fake: FakeRoblox,
    clock: Clock,
    http: reqwest::Client,
}

/// An answer.
#[derive(Debug)]
struct Got {
    status: u16,
    headers: HeaderMap,
    text: String,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// The ids at the ends of what a list has under `field`.
    fn ids(&self, list: &str, field: &str) -> Vec<u64> {
        let rows = self.json()[list].as_array().unwrap().clone();
        rows.iter().map(|row| last_id(row[field].as_str().unwrap())).collect()
    }
}

fn last_id(path: &str) -> u64 {
    path.rsplit('/').next().unwrap().parse().unwrap()
}

impl Scene {
    fn new() -> Self {
        let clock = Clock::fake(START);
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        Self { fake: FakeRoblox::start(clock.clone()).unwrap(), clock, http }
    }

    fn request(&self, method: &str, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method.parse().unwrap(), format!("{}{path}", self.fake.url()))
    }

    async fn send(&self, request: reqwest::RequestBuilder) -> Result<Got, reqwest::Error> {
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Got { status, headers, text: response.text().await? })
    }

    /// A request with the good key, answered.
    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Got {
        self.try_ask(method, path, body).await.unwrap()
    }

    async fn try_ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<Got, reqwest::Error> {
        let request = self.request(method, path).header("x-api-key", KEY);
        self.send(match body {
            Some(body) => request.header("content-type", "application/json").body(body.to_string()),
            None => request,
        })
        .await
    }

    async fn get(&self, path: &str) -> Got {
        self.ask("GET", path, None).await
    }

    async fn get_with(&self, key: &str, path: &str) -> Got {
        self.send(self.request("GET", path).header("x-api-key", key)).await.unwrap()
    }

    /// Every page of a list, each as its items.
    async fn pages(&self, path: &str, list: &str) -> Vec<Vec<Value>> {
        let (mut pages, mut token) = (Vec::new(), String::new());
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let got = self.get(&format!("{path}{join}pageToken={token}")).await;
            assert_eq!(got.status, 200, "{got:?}");
            pages.push(got.json()[list].as_array().unwrap().clone());
            token = got.json()["nextPageToken"].as_str().unwrap_or_default().to_owned();
            if token.is_empty() {
                return pages;
            }
        }
    }

    /// Nothing was sent that Roblox would not have understood.
    fn end(self) {
        assert_eq!(self.fake.wrong(), Vec::<String>::new());
        contract::check(&self.fake);
    }
}

fn group(rest: &str) -> String {
    format!("/cloud/v2/groups/{GROUP}{rest}")
}

fn universe(rest: &str) -> String {
    format!("/cloud/v2/universes/{UNIVERSE}{rest}")
}

fn role(id: u64) -> Option<Value> {
    Some(json!({"role": format!("groups/{GROUP}/roles/{id}")}))
}
