//! The published OpenAPI document: poem-openapi's output, corrected and completed by one pure function.
//!
//! poem-openapi 5 says nothing of `null`, unsigned bounds, failures or our signature schemes, and writes a path twice when two areas share
//! it. [`Spec::polish`] adds what is missing, so that the document is true enough to validate against ([`Contract`]) and to fuzz against.

pub mod contract;
pub mod words;
mod yaml;

use serde_json::{Map, Value, json};

pub use self::contract::Contract;
use super::json::strict;
use crate::base::{Error, Result};

/// How a caller may prove itself, as the document names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// A1: `x-grps-signature`, HMAC-SHA256 over the body.
    Signature,
    /// A2: `x-grps-api-key`.
    ApiKey,
    /// A3: `X-API-KEY`, `X-TIMESTAMP`, `X-SIGNATURE`.
    Gateway,
    /// A6: `x-grps-timestamp`, `x-grps-nonce`, `x-grps-signature-v2`, replay-proof.
    SignedRequest,
    /// The gateway's key alone, as `/ws` takes it: `X-API-KEY`.
    GatewayKey,
    /// The same in the query, for clients that cannot set headers: `?api_key=`.
    QueryKey,
    /// A single-use ticket in the query: `?ticket=`.
    Ticket,
}

impl Scheme {
    /// What may come with any request; the others are for sockets.
    pub const ALL: [Scheme; 4] = [Scheme::Signature, Scheme::ApiKey, Scheme::Gateway, Scheme::SignedRequest];

    /// The short name people use: `A1`, `A2`, `A3`, `A6`.
    pub fn short(self) -> &'static str {
        match self {
            Self::Signature => "A1",
            Self::ApiKey => "A2",
            Self::Gateway => "A3",
            Self::SignedRequest => "A6",
            Self::GatewayKey => "X-API-KEY alone",
            Self::QueryKey => "?api_key=",
            Self::Ticket => "?ticket=",
        }
    }

    /// What only sockets take.
    const SOCKETS: [Scheme; 2] = [Scheme::QueryKey, Scheme::Ticket];

    /// Where its parts travel.
    fn place(self) -> &'static str {
        if matches!(self, Self::QueryKey | Self::Ticket) { "query" } else { "header" }
    }

    /// Component name, header or query parameter, and description of each part; a request carries all of them.
    fn parts(self) -> &'static [(&'static str, &'static str, &'static str)] {
        match self {
            Self::Signature => &[("grpsSignature", "x-grps-signature", "hex(HMAC-SHA256(secret, body))")],
            Self::ApiKey => &[("grpsApiKey", "x-grps-api-key", "An API key")],
            Self::Gateway => &[
                ("gatewayKey", "X-API-KEY", "The gateway's API key"),
                ("gatewayTimestamp", "X-TIMESTAMP", "Unix seconds, within the server's tolerance"),
                ("gatewaySignature", "X-SIGNATURE", "hex(HMAC-SHA256(secret, timestamp))"),
            ],
            Self::GatewayKey => &[("gatewayKey", "X-API-KEY", "The gateway's API key")],
            Self::QueryKey => {
                &[("queryKey", "api_key", "The gateway's API key; a header or a ticket keeps it out of addresses")]
            }
            Self::Ticket => &[("socketTicket", "ticket", "A ticket of POST /ws/tickets: opens one socket within 30 s")],
            Self::SignedRequest => &[
                (
                    "signedTimestamp",
                    "x-grps-timestamp",
                    "Unix seconds, within the server's tolerance and at most 5 s ahead of its clock",
                ),
                ("signedNonce", "x-grps-nonce", "8 to 64 characters of A-Z, a-z, 0-9 and _+/=-, used once"),
                (
                    "signedRequest",
                    "x-grps-signature-v2",
                    "`v2,<key id>,<hex>`: HMAC-SHA256 over `timestamp.nonce.METHOD.path?query.hex(sha256(body))`. Other headers are not covered: \
                     only TLS keeps x-grps-apply and its like as they were sent",
                ),
            ],
        }
    }
}

/// What an operation asks of its caller, as the document says it. The default is open to all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Security {
    /// Each of these opens it.
    pub schemes: &'static [Scheme],
    /// So does nothing at all; but what is shown must hold.
    pub optional: bool,
}

/// Key order of the document's top level; below it keys stay as declared.
const TOP: [&str; 7] = ["openapi", "info", "servers", "tags", "paths", "components", "externalDocs"];

/// The version the document claims; poem-openapi writes 3.0.0, whose text says less about `nullable`.
const OPENAPI: &str = "3.0.3";

const METHODS: [&str; 8] = ["get", "put", "post", "delete", "options", "head", "patch", "trace"];

/// The polished document.
#[derive(Debug, Clone)]
pub struct Spec {
    value: Value,
}

impl Spec {
    /// Completes `raw`, the output of `OpenApiService::spec()`. `security` tells by path template and lower-case method what an
    /// operation asks of its caller.
    ///
    /// # Errors
    /// `spec.invalid` when `raw` is not a JSON object.
    pub fn polish(raw: &str, security: impl Fn(&str, &str) -> Security) -> Result<Self> {
        let mut value = strict::merge(raw)?;
        if !value["paths"].is_object() {
            return Err(Error::broken("spec.invalid", "the document has no paths"));
        }
        value["openapi"] = OPENAPI.into();
        tidy(&mut value);
        for (path, item) in members(&mut value["paths"]) {
            for (method, operation) in members(item).filter(|(method, _)| METHODS.contains(&method.as_str())) {
                complete(path, operation, security(path, method));
            }
        }
        components(&mut value);
        Ok(Self { value })
    }

    pub fn value(&self) -> &Value {
        &self.value
    }

    /// Indented JSON, ending in a newline.
    pub fn json(&self) -> String {
        let parts = self.top().map(|(key, value)| {
            let text = serde_json::to_string_pretty(value).unwrap_or_default().replace('\n', "\n  ");
            format!("  \"{key}\": {text}")
        });
        format!("{{\n{}\n}}\n", parts.collect::<Vec<_>>().join(",\n"))
    }

    /// Block YAML.
    pub fn yaml(&self) -> String {
        self.top().map(|(key, value)| yaml::write(&json!({ key: value }))).collect()
    }

    fn top(&self) -> impl Iterator<Item = (&'static str, &Value)> {
        TOP.into_iter().filter_map(|key| Some((key, self.value.get(key)?)))
    }
}

fn members(value: &mut Value) -> impl Iterator<Item = (&String, &mut Value)> {
    value.as_object_mut().into_iter().flatten()
}

/// Corrects every schema below `node`: unsigned and safe-integer bounds, and `null` for fields that may be left out.
fn tidy(node: &mut Value) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Object(map) => {
            map.iter_mut().filter(|(key, _)| *key != "example" && *key != "default").for_each(|(_, child)| tidy(child));
            bounds(map);
            optional(map);
        }
        _ => {}
    }
}

/// Integers past 2^53 − 1 do not survive JSON readers (requirement X3), so 64-bit fields stop there.
fn bounds(schema: &mut Map<String, Value>) {
    const SAFE: i64 = (1 << 53) - 1;
    let limits = match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => (0, i64::from(u8::MAX)),
        Some("uint16") => (0, i64::from(u16::MAX)),
        Some("uint32") => (0, i64::from(u32::MAX)),
        Some("uint64") => (0, SAFE),
        Some("int8") => (i64::from(i8::MIN), i64::from(i8::MAX)),
        Some("int16") => (i64::from(i16::MIN), i64::from(i16::MAX)),
        Some("int32") => (i64::from(i32::MIN), i64::from(i32::MAX)),
        Some("int64") => (-SAFE, SAFE),
        _ => (i64::MIN, i64::MAX),
    };
    if schema.get("type") == Some(&Value::from("integer")) && limits.0 != i64::MIN {
        schema.entry("minimum").or_insert(limits.0.into());
        schema.entry("maximum").or_insert(limits.1.into());
    }
    for key in ["minimum", "maximum"] {
        // poem-openapi writes bounds as floats; 500.0 reads badly and 9007199254740991.0 is not one everywhere.
        if let Some(float) = schema.get(key).and_then(Value::as_f64).filter(|float| float.fract() == 0.0) {
            schema.insert(key.into(), Value::from(float as i64));
        }
    }
}

/// What need not be sent may also be `null`; beside a `$ref` that must be said around it.
fn optional(schema: &mut Map<String, Value>) {
    let required = schema.get("required").cloned().unwrap_or_default();
    let is_required = |name: &String| required.as_array().is_some_and(|list| list.iter().any(|item| item == name));
    let Some(properties) = schema.get_mut("properties") else { return };
    for (_, property) in members(properties).filter(|(name, _)| !is_required(name)) {
        if property.get("$ref").is_some() {
            *property = json!({ "allOf": [property.take()] });
        }
        property["nullable"] = true.into();
    }
}

/// Adds to one operation its security, the failures it can answer with, and the request id on every response.
fn complete(path: &str, operation: &mut Value, Security { schemes, optional }: Security) {
    if !schemes.is_empty() {
        // An empty requirement is OpenAPI's word for "or nothing".
        let nothing = optional.then(|| json!({}));
        operation["security"] = nothing.into_iter().chain(schemes.iter().map(|scheme| requirement(*scheme))).collect();
        let names: Vec<&str> = schemes.iter().map(|scheme| scheme.short()).collect();
        let told = operation["description"].as_str().map(|text| format!("{}\n\n", text.trim_end())).unwrap_or_default();
        let takes = if optional { "May come with" } else { "Takes" };
        operation["description"] = format!("{told}{takes} credentials of the kind {}.", names.join(", ")).into();
    }
    let has_body = operation.get("requestBody").is_some();
    let has_params = operation.get("parameters").is_some();
    let is_socket = operation["responses"].get("101").is_some();
    // Only what waits for a vendor says that it may; how it is told is the same for all.
    let told = members(&mut operation["responses"]).any(|(status, _)| status == "502");
    if told {
        operation["responses"]["502"] = Value::Null;
    }
    let wanted = [
        ("401", !schemes.is_empty()),
        ("403", !schemes.is_empty()),
        ("404", has_body || path.contains('{')),
        ("408", true),
        ("409", has_body || !schemes.is_empty()),
        ("413", true),
        ("415", has_body),
        ("422", has_body || has_params),
        ("426", is_socket),
        ("429", true),
        ("500", true),
        ("502", told || ASK_ROBLOX.iter().any(|asking| path.starts_with(asking))),
        ("503", true),
        ("507", has_body),
    ];
    for (status, _) in wanted.into_iter().filter(|(_, applies)| *applies) {
        let reference = json!({ "$ref": format!("#/components/responses/Problem{status}") });
        if operation["responses"].get(status).is_none_or(Value::is_null) {
            operation["responses"][status] = reference;
        }
    }
    for (_, response) in members(&mut operation["responses"]).filter(|(_, response)| response.get("$ref").is_none()) {
        response["headers"]["x-request-id"] = json!({ "$ref": "#/components/headers/RequestId" });
        if response["description"] == "" {
            response["description"] = "Done".into();
        }
    }
}

fn requirement(scheme: Scheme) -> Value {
    scheme.parts().iter().map(|(name, _, _)| (name.to_string(), json!([]))).collect::<Map<_, _>>().into()
}

fn components(document: &mut Value) {
    let components = &mut document["components"];
    for scheme in Scheme::ALL.into_iter().chain(Scheme::SOCKETS) {
        for (name, carrier, description) in scheme.parts() {
            components["securitySchemes"][*name] =
                json!({ "type": "apiKey", "in": scheme.place(), "name": carrier, "description": description });
        }
    }
    components["headers"]["RequestId"] = json!({
        "description": "Names this request in the server's log; the caller's own x-request-id when it sent one",
        "schema": { "type": "string", "minLength": 1, "maxLength": 128 },
    });
    components["schemas"]["Problem"] = problem();
    for (status, description) in FAILURES {
        let mut headers = json!({ "x-request-id": { "$ref": "#/components/headers/RequestId" } });
        if matches!(status, "429" | "503") {
            headers["retry-after"] =
                json!({ "description": "Seconds to wait", "schema": { "type": "integer", "minimum": 1 } });
        }
        components["responses"][format!("Problem{status}")] = json!({
            "description": description,
            "headers": headers,
            "content": { "application/problem+json": { "schema": { "$ref": "#/components/schemas/Problem" } } },
        });
    }
}

/// What paths begin with whose answers come from Roblox, though their operations do not say so.
const ASK_ROBLOX: [&str; 1] = ["/admin/api/roblox"];

const FAILURES: [(&str, &str); 14] = [
    ("401", "No credential, or one that does not hold"),
    ("403", "The caller is known and may not do this"),
    ("404", "There is no such thing"),
    ("408", "The body did not arrive in time"),
    ("409", "The request contradicts what is stored"),
    ("413", "The body is larger than the limit"),
    ("415", "The body is not JSON"),
    ("422", "The input breaks a rule; `errors` lists every complaint"),
    ("426", "This is no WebSocket handshake"),
    ("429", "Too many requests of this client"),
    ("500", "A fault of the server"),
    ("502", "A vendor answered wrongly, late or not at all"),
    ("503", "Too busy, or a feature is off because a setting is missing"),
    ("507", "The server has no room left"),
];

fn problem() -> Value {
    let text = |description: &str| json!({ "type": "string", "description": description });
    json!({
        "title": "Problem",
        "description": "A failure in the form of RFC 9457",
        "type": "object",
        "required": ["type", "title", "status", "detail", "code", "requestId"],
        "properties": {
            "type": text("Identifies the kind of failure"),
            "title": text("The status in words"),
            "status": { "type": "integer", "minimum": 400, "maximum": 599 },
            "detail": text("What happened and why"),
            "code": text("A stable dotted name for programs"),
            "requestId": text("Quote this when asking about the failure"),
            "hint": text("How to fix it"),
            "errors": { "type": "array", "items": {
                "type": "object",
                "required": ["loc", "msg", "type"],
                "properties": {
                    "loc": { "type": "array", "items": { "type": "string" } },
                    "msg": { "type": "string" },
                    "type": { "type": "string" },
                    "pointer": text("JSON pointer into the body"),
                },
            } },
        },
        "example": {
            "type": "urn:grps:error:auth.signature_missing", "title": "Unauthorized", "status": 401, "detail": "Missing signature",
            "code": "auth.signature_missing", "requestId": "9f1c2a7be4d05a36",
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const RAW: &str = r##"{"openapi":"3.0.0","info":{"title":"t","version":"1"},"servers":[],"tags":[],
        "paths":{
            "/players/{userId}":{"get":{"parameters":[{"name":"userId","in":"path","schema":{"type":"integer","format":"uint32"}}],
                "responses":{"200":{"description":""}}}},
            "/players/{userId}":{"post":{"requestBody":{"content":{"application/json":{"schema":{"$ref":"#/components/schemas/P"}}}},
                "responses":{"200":{"description":""},"404":{"description":"own"}}}}},
        "components":{"schemas":{"P":{"type":"object","required":["a"],"properties":{
            "a":{"type":"integer","format":"uint64"},"b":{"type":"string"},"c":{"$ref":"#/components/schemas/P"},
            "d":{"type":"integer","format":"int32","minimum":1.0,"maximum":500.0}}}}}}"##;

    fn polished() -> Value {
        let security = |_: &str, method: &str| match method {
            "post" => Security { schemes: &[Scheme::ApiKey, Scheme::Gateway], optional: false },
            _ => Security::default(),
        };
        Spec::polish(RAW, security).unwrap().value
    }

    #[test]
    fn schemas_say_what_is_true() {
        let doc = polished();
        let p = &doc["components"]["schemas"]["P"]["properties"];
        assert_eq!(p["a"], json!({"type":"integer","format":"uint64","minimum":0,"maximum":9007199254740991u64}));
        assert_eq!(p["b"], json!({"type":"string","nullable":true}));
        assert_eq!(p["c"], json!({"allOf":[{"$ref":"#/components/schemas/P"}],"nullable":true}));
        assert_eq!(p["d"]["maximum"], json!(500));
        assert_eq!(doc["paths"]["/players/{userId}"]["get"]["parameters"][0]["schema"]["minimum"], 0);
    }

    #[test]
    fn areas_that_share_a_path_keep_both_operations() {
        let doc = polished();
        let item = &doc["paths"]["/players/{userId}"];
        assert!(item.get("get").is_some() && item.get("post").is_some());
    }

    #[test]
    fn operations_name_their_failures_and_credentials() {
        let doc = polished();
        let item = &doc["paths"]["/players/{userId}"];
        let statuses = |method: &str| {
            let mut all: Vec<_> = item[method]["responses"].as_object().unwrap().keys().cloned().collect();
            all.sort();
            all
        };
        assert_eq!(statuses("get"), ["200", "404", "408", "413", "422", "429", "500", "503"]);
        assert_eq!(
            statuses("post"),
            ["200", "401", "403", "404", "408", "409", "413", "415", "422", "429", "500", "503", "507"]
        );
        assert_eq!(item["post"]["responses"]["404"]["description"], "own");
        let gateway = json!({"gatewayKey":[],"gatewaySignature":[],"gatewayTimestamp":[]});
        assert_eq!(item["post"]["security"], json!([{"grpsApiKey":[]}, gateway]));
        assert!(item["get"].get("security").is_none());
        assert!(item["get"]["responses"]["200"]["headers"].get("x-request-id").is_some());
    }

    #[test]
    fn output_is_stable_and_references_resolve() {
        let security = |_: &str, _: &str| Security { schemes: &[Scheme::SignedRequest], optional: true };
        let spec = Spec::polish(RAW, security).unwrap();
        assert_eq!(spec.json(), Spec::polish(RAW, security).unwrap().json());
        assert_eq!(spec.value["paths"]["/players/{userId}"]["get"]["security"][0], json!({}), "nothing will do");
        assert!(spec.json().starts_with("{\n  \"openapi\": \"3.0.3\",\n  \"info\": {"));
        assert_eq!(serde_json::from_str::<Value>(&spec.json()).unwrap(), spec.value);
        assert!(spec.yaml().starts_with("openapi: \"3.0.3\"\ninfo:\n"));
        for reference in spec.json().split("\"$ref\": \"#").skip(1).filter_map(|rest| rest.split('"').next()) {
            assert!(spec.value.pointer(reference).is_some(), "{reference}");
        }
    }
}
