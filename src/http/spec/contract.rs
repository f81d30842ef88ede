//! The published specification, compiled for serving: per operation the body validator and the parameters, per route the template and
//! the methods. What callers are told and what they are held to is thereby the same document.

use std::collections::HashMap;
use std::sync::Arc;

use jsonschema::Validator;
use poem::http::{HeaderMap, HeaderValue, Method};
use poem::{PathPattern, Request};
use serde_json::{Value, json};

use super::words;
use crate::base::{Error, Field, Result};

/// Complaints listed for one body at most.
const MAX_COMPLAINTS: usize = 20;

/// All routes by the pattern the router matches (`/players/:param0`).
#[derive(Default)]
pub struct Contract {
    routes: HashMap<String, Route>,
}

/// One path of the specification.
pub struct Route {
    /// As published: `/players/{userId}`. Labels metrics and the access log.
    pub template: Arc<str>,
    /// The methods it takes, for the `Allow` header.
    pub allow: HeaderValue,
    operations: Vec<(Method, Operation)>,
}

/// One operation of the specification.
pub struct Operation {
    params: Vec<Param>,
    body: Option<Body>,
}

/// One parameter of an operation.
pub struct Param {
    pub name: String,
    /// `path`, `query`, `header` or `cookie`.
    pub place: String,
    /// What it takes, in words.
    pub expected: String,
}

struct Body {
    validator: Validator,
    /// The schema document the validator was built from, where messages find titles and bounds.
    root: Arc<Value>,
}

impl Contract {
    /// Compiles a polished specification (see [`super::Spec`]).
    ///
    /// # Errors
    /// `spec.invalid` when a schema in it cannot be compiled; a fault of ours that the spec's own test finds.
    pub fn new(spec: &Value) -> Result<Self> {
        let paths = spec["paths"].as_object().into_iter().flatten();
        let mut schemas = spec["components"]["schemas"].clone();
        to_draft4(&mut schemas);
        let routes = paths.map(|(path, item)| Ok((pattern(path), Route::new(path, item, spec, &schemas)?)));
        Ok(Self { routes: routes.collect::<Result<_>>()? })
    }

    pub fn route(&self, pattern: &str) -> Option<&Route> {
        self.routes.get(pattern)
    }

    /// The operation a routed request is for.
    pub fn operation(&self, request: &Request) -> Option<&Operation> {
        self.route(&request.data::<PathPattern>()?.0)?.operation(request.method())
    }
}

/// poem-openapi routes `/players/{userId}` as `/players/:param0`.
fn pattern(template: &str) -> String {
    let mut count = 0;
    let mut part = |text: &str| {
        if !text.starts_with('{') {
            return text.to_owned();
        }
        count += 1;
        format!(":param{}", count - 1)
    };
    template.split('/').map(&mut part).collect::<Vec<_>>().join("/")
}

impl Route {
    fn new(path: &str, item: &Value, spec: &Value, schemas: &Value) -> Result<Self> {
        let methods = item.as_object().into_iter().flatten();
        let operations: Vec<(Method, Operation)> = methods
            .filter_map(|(name, op)| Some((name.to_ascii_uppercase().parse::<Method>().ok()?, op)))
            .map(|(method, op)| Ok((method, Operation::new(op, spec, schemas)?)))
            .collect::<Result<_>>()?;
        let mut names: Vec<&str> = operations.iter().map(|(method, _)| method.as_str()).collect();
        if names.contains(&"GET") && !names.contains(&"HEAD") {
            names.push("HEAD");
        }
        let allow = HeaderValue::from_str(&names.join(", ")).unwrap_or(HeaderValue::from_static(""));
        Ok(Self { template: path.into(), allow, operations })
    }

    /// The operation under `method`; a `HEAD` without its own is the `GET`.
    pub fn operation(&self, method: &Method) -> Option<&Operation> {
        let exact = |wanted: &Method| self.operations.iter().find(|(method, _)| method == wanted);
        let found = exact(method).or_else(|| if *method == Method::HEAD { exact(&Method::GET) } else { None });
        found.map(|(_, operation)| operation)
    }
}

impl Operation {
    fn new(operation: &Value, spec: &Value, schemas: &Value) -> Result<Self> {
        let params = operation["parameters"].as_array().into_iter().flatten();
        let content = operation["requestBody"]["content"].as_object().into_iter().flatten();
        let body = content.filter(|(kind, _)| kind.starts_with("application/json")).map(|(_, media)| &media["schema"]);
        Ok(Self {
            params: params.map(|param| Param::new(param, spec)).collect(),
            body: body.map(|schema| Body::new(schema, schemas)).next().transpose()?,
        })
    }

    /// The parameter called `name`; header names compare without case.
    pub fn named(&self, name: &str) -> Option<&Param> {
        let same =
            |param: &&Param| param.name == name || (param.place == "header" && param.name.eq_ignore_ascii_case(name));
        self.params.iter().find(same)
    }

    /// The path parameter the router calls `param0`, `param1`, …
    pub fn in_path(&self, position: &str) -> Option<&Param> {
        let position: usize = position.strip_prefix("param")?.parse().ok()?;
        self.params.iter().filter(|param| param.place == "path").nth(position)
    }

    /// Holds the headers the operation reads against what a header can carry: poem-openapi takes one it cannot read for one not sent.
    ///
    /// # Errors
    /// `request.invalid` naming every header that is not visible ASCII.
    pub fn check_headers(&self, headers: &HeaderMap) -> Result<()> {
        let read = self.params.iter().filter(|param| param.place == "header");
        let unreadable = read.filter(|param| headers.get(&param.name).is_some_and(|value| value.to_str().is_err()));
        let fields: Vec<Field> = unreadable
            .map(|param| Field {
                loc: vec!["header".into(), param.name.clone()],
                msg: "must be visible ASCII".into(),
                kind: "value_error".into(),
            })
            .collect();
        if fields.is_empty() { Ok(()) } else { Err(refusal(fields)) }
    }

    /// Holds a JSON body against its schema.
    ///
    /// # Errors
    /// `request.invalid` with every complaint (at most 20), each with location, words and a stable type.
    pub fn check(&self, body: &Value) -> Result<()> {
        let Some(schema) = &self.body else { return Ok(()) };
        if schema.validator.is_valid(body) {
            return Ok(());
        }
        let mut fields: Vec<Field> = Vec::new();
        for error in schema.validator.iter_errors(body) {
            words::complaints(&error, &schema.root, &mut fields);
            if fields.len() >= MAX_COMPLAINTS {
                break;
            }
        }
        // A value of the wrong type is also none of the listed ones; that is one complaint.
        fields.dedup_by(|later, first| later.loc == first.loc && later.msg == first.msg);
        Err(refusal(fields))
    }
}

fn refusal(fields: Vec<Field>) -> Error {
    let first = fields.first().map(|field| format!("{}: {}", field.loc.join("."), field.msg)).unwrap_or_default();
    let detail = match fields.len() {
        0 | 1 => first,
        count => format!("{first} (and {} more)", count - 1),
    };
    Error::invalid("request.invalid", detail).fields(fields)
}

impl Param {
    fn new(param: &Value, spec: &Value) -> Self {
        let text = |key: &str| param[key].as_str().unwrap_or_default().to_owned();
        Self { name: text("name"), place: text("in"), expected: words::expected(&param["schema"], spec) }
    }

    /// What the request carried in this parameter, undecoded; nothing for headers and cookies, which may be secret.
    pub fn found(&self, target: &str, route: &Route) -> Option<String> {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        match self.place.as_str() {
            "query" => {
                let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
                pairs.find(|(name, _)| *name == self.name).map(|(_, value)| value.to_owned())
            }
            "path" => {
                let wanted = format!("{{{}}}", self.name);
                let at = route.template.split('/').position(|part| part == wanted)?;
                path.split('/').nth(at).map(str::to_owned)
            }
            _ => None,
        }
    }
}

impl Body {
    fn new(schema: &Value, schemas: &Value) -> Result<Self> {
        let mut schema = schema.clone();
        to_draft4(&mut schema);
        let root = json!({ "allOf": [schema], "components": { "schemas": schemas } });
        let options = jsonschema::draft4::options().should_ignore_unknown_formats(true);
        let validator = options
            .build(&root)
            .map_err(|err| Error::broken("spec.invalid", format!("a body schema does not compile: {err}")))?;
        Ok(Self { validator, root: Arc::new(root) })
    }
}

/// OpenAPI 3.0 says `nullable` where JSON Schema says type `null`; examples and defaults are no constraints.
fn to_draft4(node: &mut Value) {
    if let Value::Array(items) = node {
        return items.iter_mut().for_each(to_draft4);
    }
    let Value::Object(map) = node else { return };
    map.remove("example");
    map.remove("default");
    map.values_mut().for_each(to_draft4);
    if map.remove("nullable") != Some(Value::Bool(true)) {
        return;
    }
    if let Some(Value::Array(choices)) = map.get_mut("enum") {
        choices.push(Value::Null);
    }
    match map.get("type").cloned() {
        Some(kind @ Value::String(_)) => {
            map.insert("type".into(), json!([kind, "null"]));
        }
        _ => *node = json!({ "anyOf": [node.take(), { "type": "null" }] }),
    }
}
