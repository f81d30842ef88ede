//! JSON bodies. In: read strictly, held against the published schema of the operation, then parsed; so `5` is never silently `"5"` and a
//! caller learns every complaint at once. Out: plain.

pub mod strict;

use std::marker::PhantomData;

use bytes::Bytes;
use poem::http::{HeaderValue, header};
use poem::{IntoResponse, Request, RequestBody, Response};
use poem_openapi::error::ContentTypeError;
use poem_openapi::payload::{ParsePayload, Payload};
use poem_openapi::registry::{MetaMediaType, MetaRequest, MetaResponse, MetaResponses, MetaSchemaRef, Registry};
use poem_openapi::types::{ParseFromJSON, ToJSON, Type};
use poem_openapi::{ApiExtractor, ApiExtractorType, ApiResponse, ExtractParamOptions};
use serde_json::Value;

use super::front::Context;
use crate::base::{Error, Result};

const JSON: &str = "application/json";

/// A JSON body, as an argument or a result of a handler.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

impl<T: Type> Payload for Json<T> {
    const CONTENT_TYPE: &'static str = JSON;

    fn check_content_type(content_type: &str) -> bool {
        let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        essence == JSON || (essence.starts_with("application/") && essence.ends_with("+json"))
    }

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: ParseFromJSON> ParsePayload for Json<T> {
    const IS_REQUIRED: bool = T::IS_REQUIRED;

    /// Reads the bytes [`super::Front`] buffered, not `_body`: they are the ones a signature was checked over.
    async fn from_request(request: &Request, _body: &mut RequestBody) -> poem::Result<Self> {
        let context = Context::of(request)?;
        Ok(Self(read(request, context)?))
    }
}

fn read<T: ParseFromJSON>(request: &Request, context: &Context) -> Result<T> {
    let value = if context.body.is_empty() && !T::IS_REQUIRED { Value::Null } else { strict::parse(&context.body)? };
    if let Some(operation) = context.contract().operation(request) {
        operation.check_headers(request.headers())?;
        operation.check(&value)?;
    }
    T::parse_from_json(Some(value)).map_err(|err| Error::field(&["body"], "value_error", plain(err.message())))
}

/// poem-openapi tells of its type names; a caller is told only what is wrong with the value.
fn plain(message: &str) -> &str {
    let message = message.split(" (occurred while parsing").next().unwrap_or(message);
    match message.strip_prefix("failed to parse").and_then(|rest| rest.split_once("\": ")) {
        Some((_, reason)) => reason,
        None => message,
    }
}

/// By hand, because poem-openapi's macro refuses a body without `Content-Type`, which several of our callers send.
impl<'a, T: ParseFromJSON> ApiExtractor<'a> for Json<T> {
    const TYPES: &'static [ApiExtractorType] = &[ApiExtractorType::RequestObject];

    type ParamType = ();
    type ParamRawType = ();

    fn register(registry: &mut Registry) {
        T::register(registry);
    }

    fn request_meta() -> Option<MetaRequest> {
        let content = vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }];
        Some(MetaRequest { description: None, content, required: T::IS_REQUIRED })
    }

    async fn from_request(
        request: &'a Request,
        body: &mut RequestBody,
        _: ExtractParamOptions<()>,
    ) -> poem::Result<Self> {
        match request.header(header::CONTENT_TYPE) {
            Some(found) if found != JSON && !Self::check_content_type(found) => {
                Err(ContentTypeError::NotSupported { content_type: found.to_owned() }.into())
            }
            _ => <Self as ParsePayload>::from_request(request, body).await,
        }
    }
}

impl<T: ToJSON> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        written(text(&self.0))
    }
}

impl<T: ToJSON> ApiResponse for Json<T> {
    fn meta() -> MetaResponses {
        described::<T>()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

fn text<T: ToJSON>(value: &T) -> Vec<u8> {
    // A tree of JSON values always has a text form.
    serde_json::to_vec(&value.to_json()).unwrap_or_default()
}

fn written(body: impl Into<poem::Body>) -> Response {
    let mut response = Response::from(body.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

fn described<T: Type>() -> MetaResponses {
    let content = vec![MetaMediaType { content_type: JSON, schema: T::schema_ref() }];
    let done = MetaResponse { description: "", status: Some(200), status_range: None, content, headers: vec![] };
    MetaResponses { responses: vec![done] }
}

/// A `T` already written as JSON: for pages that are cached and sent many times. Cloning shares the bytes.
#[derive(Debug)]
pub struct Rendered<T> {
    bytes: Bytes,
    shape: PhantomData<fn() -> T>,
}

impl<T> Clone for Rendered<T> {
    fn clone(&self) -> Self {
        Self { bytes: self.bytes.clone(), shape: PhantomData }
    }
}

impl<T: ToJSON> Rendered<T> {
    pub fn new(value: &T) -> Self {
        Self::from_bytes(text(value).into())
    }

    /// Writes `value` through serde, without the detour over a tree of JSON values: three times as fast, for hot routes. Its serde names
    /// must be its published names; debug builds, and so the tests, check that both ways write the same.
    pub fn serialize(value: &T) -> Self
    where
        T: serde::Serialize,
    {
        debug_assert_eq!(serde_json::to_value(value).ok(), value.to_json());
        // Wire types are plain data, which always has a text form.
        Self::from_bytes(serde_json::to_vec(value).unwrap_or_default().into())
    }

    /// Takes `bytes` for the JSON text of a `T`; for callers that write it themselves.
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self { bytes, shape: PhantomData }
    }

    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl<T: Type> Payload for Rendered<T> {
    const CONTENT_TYPE: &'static str = JSON;

    fn schema_ref() -> MetaSchemaRef {
        T::schema_ref()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}

impl<T: ToJSON> IntoResponse for Rendered<T> {
    fn into_response(self) -> Response {
        written(self.bytes)
    }
}

impl<T: ToJSON> ApiResponse for Rendered<T> {
    fn meta() -> MetaResponses {
        described::<T>()
    }

    fn register(registry: &mut Registry) {
        T::register(registry);
    }
}
