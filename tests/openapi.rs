//! The published contract: every answer in these tests is held against it, and the committed copy must equal what the code says.

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use grps::http::Spec;
use jsonschema::{Draft, Registry, Validator};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

use crate::harness::Answer;

/// Where the document stands among the schemas.
const PLACE: &str = "urn:grps:openapi";

/// The published document and what answers are held against it with, made once for all tests.
pub struct Contract {
    spec: Spec,
    registry: Registry<'static>,
    /// By where in the document their schema stands.
    validators: Mutex<HashMap<String, Arc<Validator>>>,
}

impl Contract {
    pub async fn published() -> &'static Self {
        static PUBLISHED: OnceCell<Contract> = OnceCell::const_new();
        PUBLISHED.get_or_init(async || Self::new(grps::app::published_api().await.unwrap())).await
    }

    fn new(spec: Spec) -> Self {
        let mut document = spec.value().clone();
        nullable(&mut document);
        let resource = Draft::Draft4.create_resource(document);
        let registry = Registry::new().draft(Draft::Draft4).add(PLACE, resource).unwrap().prepare().unwrap();
        Self { spec, registry, validators: Mutex::default() }
    }

    /// Fails unless `answer` is one the document promises for this operation: status, content type and body. A failure has the one shape
    /// of all failures, whatever was asked for.
    pub fn check(&self, method: &str, target: &str, answer: &Answer) {
        let path = target.split('?').next().unwrap_or(target);
        let what = format!("{method} {target} {}", answer.status);
        let told = !answer.text.is_empty();
        if (answer.status.is_client_error() || answer.status.is_server_error()) && told && path != "/health/ready" {
            check_problem(answer, &what);
        }
        let Some((template, item)) = operation_at(self.spec.value(), path) else {
            let page = answer.status.is_success() || answer.status.is_redirection();
            assert!(answer.status.as_u16() == 404 || page, "{what} is not in the document");
            return;
        };
        // A HEAD is answered as its GET, except where that would take something.
        let method =
            if method == "HEAD" && answer.status.as_u16() != 405 { "GET" } else { method }.to_ascii_lowercase();
        let Some(operation) = item.get(&method) else {
            assert!(matches!(answer.status.as_u16(), 405 | 204 | 403), "{what}: the document has no such method");
            return;
        };
        let mut place = pointer(&["paths", template, &method, "responses", answer.status.as_str()]);
        let mut documented = &operation["responses"][answer.status.as_str()];
        assert!(documented.is_object(), "{what}: the document does not promise this status: {}", answer.text);
        if let Some(shared) = documented["$ref"].as_str() {
            place = shared.trim_start_matches('#').to_owned();
            documented = self.spec.value().pointer(&place).unwrap();
        }
        let Some(content) = documented["content"].as_object().filter(|content| told && !content.is_empty()) else {
            return;
        };
        let kind = answer.header("content-type").split(';').next().unwrap_or_default().to_owned();
        let promised = content.keys().find(|promised| promised.split(';').next() == Some(kind.as_str()));
        let promised = promised.unwrap_or_else(|| panic!("{what} is {kind}, not one of {:?}", content.keys()));
        if kind.ends_with("json") {
            place += &pointer(&["content", promised, "schema"]);
            self.check_schema(place, &answer.json(), &what);
        }
    }

    fn check_schema(&self, place: String, body: &Value, what: &str) {
        let compile = |place: &String| {
            let schema = json!({ "$ref": format!("{PLACE}#{}", place.replace('{', "%7B").replace('}', "%7D")) });
            let options = jsonschema::draft4::options().with_registry(&self.registry);
            Arc::new(options.build(&schema).unwrap())
        };
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        let validator = validators.entry(place).or_insert_with_key(compile).clone();
        drop(validators);
        let wrong: Vec<String> =
            validator.iter_errors(body).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(wrong.is_empty(), "{what} does not fit its schema: {wrong:?}\n{body:#}");
    }
}

/// The JSON pointer that goes down these keys.
fn pointer(keys: &[&str]) -> String {
    keys.iter().map(|key| format!("/{}", key.replace('~', "~0").replace('/', "~1"))).collect()
}

/// RFC 9457 with the seeds' `detail`, a stable code, and the request's id (requirement X1). Never a fault of ours.
fn check_problem(answer: &Answer, what: &str) {
    assert_eq!(answer.header("content-type"), "application/problem+json", "{what}: {}", answer.text);
    let body = answer.json();
    let text = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    assert_eq!(body["status"], answer.status.as_u16(), "{what}");
    assert_eq!(text("type"), format!("urn:grps:error:{}", text("code")), "{what}");
    assert!(text("code").contains('.') && !text("title").is_empty(), "{what}: {body}");
    assert!(text("detail").len() > 8, "{what} does not say what is wrong: {body}");
    assert_eq!(text("requestId"), answer.header("x-request-id"), "{what}");
    assert_ne!(answer.status.as_u16(), 500, "{what}: {body}");
}

/// The path item that covers `path`; literal segments win over parameters.
fn operation_at<'a>(spec: &'a Value, path: &str) -> Option<(&'a str, &'a Value)> {
    let given: Vec<&str> = path.split('/').collect();
    let paths = spec["paths"].as_object()?;
    let covers = |template: &str| {
        let parts: Vec<&str> = template.split('/').collect();
        parts.len() == given.len()
            && parts.iter().zip(&given).all(|(part, given)| part == given || part.starts_with('{'))
    };
    let fitting = paths.iter().filter(|(template, _)| covers(template));
    fitting.min_by_key(|(template, _)| template.matches('{').count()).map(|(template, item)| (template.as_str(), item))
}

/// OpenAPI 3.0 says `nullable` where JSON Schema says one of two types.
pub fn nullable(node: &mut Value) {
    match node {
        Value::Array(items) => items.iter_mut().for_each(nullable),
        Value::Object(map) => {
            map.values_mut().for_each(nullable);
            if map.remove("nullable") == Some(Value::Bool(true)) {
                let inner = Value::Object(std::mem::take(map));
                map.insert("anyOf".into(), json!([inner, { "enum": [null] }]));
            }
        }
        _ => {}
    }
}

#[tokio::test]
async fn the_committed_document_is_the_one_the_code_says() {
    let spec = &Contract::published().await.spec;
    for (name, text) in [("openapi.json", spec.json()), ("openapi.yaml", spec.yaml())] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("openapi").join(name);
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "openapi/{name} is out of date: run `cargo run -- openapi --write openapi`");
    }
}

#[tokio::test]
async fn the_check_of_answers_finds_a_wrong_one() {
    let contract = Contract::published().await;
    let wrong = Answer {
        status: poem::http::StatusCode::OK,
        headers: [("content-type".parse().unwrap(), "application/json".parse().unwrap())].into_iter().collect(),
        text: r#"{"status": 5}"#.into(),
    };
    let checked = std::panic::catch_unwind(AssertUnwindSafe(|| contract.check("GET", "/health/live", &wrong)));
    assert!(checked.is_err(), "a number was taken for a string");
}
