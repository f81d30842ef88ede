//! `/admin/api/bootstrap` and `/admin/api/demo`: what `grps bootstrap` and `grps demo` call.

use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};

use super::service::Samples;
use crate::domains::auth::Sender;
use crate::http::{Area, Json};

/// How many players bootstrap added.
#[derive(Debug, Object)]
struct Bootstrapped {
    /// 0 when they were all there.
    added: u64,
}

/// A slice of the invented group.
#[derive(Debug, Object)]
#[oai(example)]
struct DemoRequest {
    /// Number of the first player of this slice.
    #[oai(default, validator(maximum(value = "1000000")))]
    from: u64,
    /// Players in this slice: at most 10,000, so that one request stays short.
    #[oai(validator(minimum(value = "1"), maximum(value = "10000")))]
    players: u64,
}

impl Example for DemoRequest {
    fn example() -> Self {
        Self { from: 0, players: 100 }
    }
}

/// What happened to the invented group.
#[derive(Debug, Object)]
struct DemoAnswer {
    /// Players written.
    loaded: u64,
    /// Players removed.
    removed: u64,
    /// Whether more remain to be removed.
    more: bool,
}

/// Players one removal takes at most, so that one request stays short.
const REMOVED_PER_REQUEST: usize = 1_000;

pub struct SamplesApi {
    pub samples: Samples,
}

/// Sample data
#[OpenApi(tag = "Area::Operation")]
impl SamplesApi {
    /// Add the seed's bootstrap player
    #[oai(path = "/admin/api/bootstrap", method = "post", operation_id = "bootstrap")]
    async fn bootstrap(&self, sender: Sender) -> poem::Result<Json<Bootstrapped>> {
        let added = self.samples.bootstrap(&sender).await?;
        Ok(Json(Bootstrapped { added: added as u64 }))
    }

    /// Write a slice of an invented group
    #[oai(path = "/admin/api/demo", method = "post", operation_id = "loadDemo")]
    async fn load(&self, sender: Sender, wanted: Json<DemoRequest>) -> poem::Result<Json<DemoAnswer>> {
        let DemoRequest { from, players } = wanted.0;
        self.samples.demo(from, players, &sender).await?;
        Ok(Json(DemoAnswer { loaded: players, removed: 0, more: false }))
    }

    /// Remove the invented group, a slice at a time
    #[oai(path = "/admin/api/demo", method = "delete", operation_id = "removeDemo")]
    async fn remove(&self, sender: Sender) -> poem::Result<Json<DemoAnswer>> {
        let removed = self.samples.remove_demo(REMOVED_PER_REQUEST, &sender).await?;
        Ok(Json(DemoAnswer { loaded: 0, removed: removed as u64, more: removed == REMOVED_PER_REQUEST }))
    }
}
