//! `/admin/api/keys`: what `grps keys` calls.

use std::sync::Arc;

use poem_openapi::param::Path;
use poem_openapi::types::Example;
use poem_openapi::{Object, OpenApi};

use super::caller::Caller;
use super::gate::Auth;
use super::keys::{Issued, Key, Wanted};
use super::scope::Scopes;
use crate::base::Error;
use crate::http::wire::Timestamp;
use crate::http::{Area, Context, Json};

/// A key to make.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase", example)]
struct KeyRequest {
    /// What you call it: 1 to 64 characters.
    #[oai(validator(min_length = 1, max_length = 64))]
    name: String,
    /// What it may do, for example `["ingest", "decisions:evaluate"]`.
    #[oai(validator(min_items = 1, max_items = 32))]
    scopes: Vec<String>,
    /// Whether the key itself may travel as `x-grps-api-key`, unless AUTH_MODE is strict; otherwise its requests must be signed.
    #[oai(default)]
    compat: bool,
}

impl Example for KeyRequest {
    fn example() -> Self {
        let scopes = ["ingest", "decisions:evaluate"].map(str::to_owned).into();
        Self { name: "training server".into(), scopes, compat: false }
    }
}

/// A key without its secret.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct KeyView {
    /// The key's id, which signatures name.
    kid: String,
    name: String,
    scopes: Vec<String>,
    compat: bool,
    created_at: Timestamp,
    rotated_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    /// The live values of its secret, newest first; none once revoked.
    values: Vec<LiveValue>,
}

/// One live value of a key's secret, which is not shown.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct LiveValue {
    /// When it was last used, to within a minute; null for never.
    last_used_at: Option<Timestamp>,
}

/// All keys, at most 1,000.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct KeyList {
    keys: Vec<KeyView>,
}

/// A new secret. It is shown this once.
#[derive(Debug, Object)]
#[oai(rename_all = "camelCase")]
struct IssuedView {
    key: KeyView,
    secret: String,
}

impl KeyView {
    fn of(kid: &str, key: &Key) -> Self {
        Self {
            kid: kid.to_owned(),
            name: key.name.clone(),
            scopes: key.scopes.clone(),
            compat: key.compat,
            created_at: Timestamp(key.created_at),
            rotated_at: key.rotated_at.map(Timestamp),
            revoked_at: key.revoked_at.map(Timestamp),
            values: key.last_used.iter().map(|used| LiveValue { last_used_at: used.map(Timestamp) }).collect(),
        }
    }
}

impl From<Issued> for IssuedView {
    fn from(issued: Issued) -> Self {
        Self { key: KeyView::of(&issued.kid, &issued.key), secret: issued.secret.expose().to_owned() }
    }
}

pub struct KeysApi {
    pub auth: Arc<Auth>,
}

/// Keys
#[OpenApi(tag = "Area::Operation")]
impl KeysApi {
    /// All keys, without their secrets
    #[oai(path = "/admin/api/keys", method = "get", operation_id = "listKeys")]
    async fn list(&self, _caller: Caller) -> poem::Result<Json<KeyList>> {
        let keys = self.auth.keys().list().await?;
        Ok(Json(KeyList { keys: keys.iter().map(|(kid, key)| KeyView::of(kid, key)).collect() }))
    }

    /// Make a key
    ///
    /// It may do no more than the caller.
    #[oai(path = "/admin/api/keys", method = "post", operation_id = "createKey")]
    async fn create(
        &self,
        caller: Caller,
        context: Context,
        wanted: Json<KeyRequest>,
    ) -> poem::Result<Json<IssuedView>> {
        let KeyRequest { name, scopes, compat } = wanted.0;
        let scopes = Scopes::parse(&scopes.join(" "), ' ').map_err(|error| {
            Error::field(&["body", "scopes"], "enum", error.detail().to_owned()).hint(error.hint_text().unwrap_or(""))
        })?;
        if scopes == Scopes::default() {
            return Err(Error::field(&["body", "scopes"], "too_short", "a key without scopes could do nothing").into());
        }
        let wanted = Wanted { name, scopes, compat };
        let issued = self.auth.keys().create(wanted, &caller, &context.request_id).await?;
        Ok(Json(issued.into()))
    }

    /// Give a key a new secret
    ///
    /// The secret before it stays live until the next rotation. Open WebSockets of the key go on. The key may do no more than the caller.
    #[oai(path = "/admin/api/keys/:kid/rotate", method = "post", operation_id = "rotateKey")]
    async fn rotate(&self, caller: Caller, context: Context, kid: Path<String>) -> poem::Result<Json<IssuedView>> {
        let issued = self.auth.keys().rotate(&kid.0, &caller, &context.request_id).await?;
        Ok(Json(issued.into()))
    }

    /// End a key at once
    ///
    /// Its open WebSockets and its tickets end with it.
    #[oai(path = "/admin/api/keys/:kid", method = "delete", operation_id = "revokeKey")]
    async fn revoke(&self, caller: Caller, context: Context, kid: Path<String>) -> poem::Result<Json<KeyView>> {
        let key = self.auth.keys().revoke(&kid.0, &caller, &context.request_id).await?;
        Ok(Json(KeyView::of(&kid.0, &key)))
    }
}
