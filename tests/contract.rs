//! What is sent to Open Cloud, held against the document that Roblox publishes, where a copy of it is at hand: `GRPS_ROBLOX_OPENAPI`, or
//! `shared/reference` beside the project. Other tests call [`check`] when they are done.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::OnceLock;

use grps::fakes::roblox::{Asked, FakeRoblox};
use jsonschema::Validator;
use serde_json::{Value, json};

use crate::openapi::nullable;

/// Addresses that Roblox documents elsewhere.
const ELSEWHERE: &[&str] = &["/api-keys/v1/introspect"];

/// Where a copy may be, from the project's folder.
const COPY: &str = "../shared/reference/roblox-open-cloud.openapi.json";

/// Fails unless Roblox's document knows every request that came: address, method, parameters and body. Says so when there is none.
pub fn check(fake: &FakeRoblox) {
    let Some(published) = published() else {
        println!("not checked against Roblox's document: there is no copy of it here");
        return;
    };
    let complaints: BTreeSet<String> =
        fake.asked().iter().filter_map(|asked| published.complaint(asked).err()).collect();
    assert!(complaints.is_empty(), "Roblox's document does not have this:\n{complaints:#?}");
}

struct Published {
    spec: Value,
    /// By method and path, of what has a body to check.
    bodies: BTreeMap<(String, String), Validator>,
}

fn published() -> Option<&'static Published> {
    static PUBLISHED: OnceLock<Option<Published>> = OnceLock::new();
    PUBLISHED.get_or_init(|| Some(Published::new(copy()?))).as_ref()
}

#[allow(clippy::disallowed_methods)] // a setting of the tests alone
fn copy() -> Option<Value> {
    let named = std::env::vars().find(|(name, _)| name == "GRPS_ROBLOX_OPENAPI").map(|(_, path)| path);
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join(COPY);
    let text = std::fs::read_to_string(named.map_or_else(beside, Into::into)).ok()?;
    Some(serde_json::from_str(&text).expect("the copy of Roblox's document is JSON"))
}

impl Published {
    fn new(spec: Value) -> Self {
        let mut bodies = BTreeMap::new();
        for (path, item) in spec["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
                // A body of bare text is the value of an entry as it is, whatever JSON that may be.
                if schema.is_object() && schema["type"] != "string" {
                    let mut document = json!({ "components": spec["components"].clone(), "allOf": [schema] });
                    nullable(&mut document);
                    bodies.insert((method.clone(), path.clone()), jsonschema::draft4::new(&document).unwrap());
                }
            }
        }
        Self { spec, bodies }
    }

    /// What the document does not have of this request.
    fn complaint(&self, asked: &Asked) -> Result<(), String> {
        if ELSEWHERE.contains(&asked.path.as_str()) {
            return Ok(());
        }
        let what = format!("{} {}", asked.method, asked.path);
        let method = asked.method.to_ascii_lowercase();
        let (template, item) = self.find(&method, &asked.path).ok_or_else(|| format!("{what}: no such operation"))?;
        let operation = &item[&method];
        check_query(operation, &asked.query).map_err(|why| format!("{what}: {why}"))?;
        let Some(body) = &asked.body else {
            let required = operation["requestBody"]["required"] == true;
            return if required { Err(format!("{what}: a body is required")) } else { Ok(()) };
        };
        let body: Value = serde_json::from_str(body).map_err(|_| format!("{what}: the body is not JSON"))?;
        let Some(validator) = self.bodies.get(&(method, template.to_owned())) else {
            return if operation["requestBody"].is_object() {
                Ok(())
            } else {
                Err(format!("{what}: no body is expected"))
            };
        };
        let wrong: Vec<String> =
            validator.iter_errors(&body).map(|error| format!("{}: {error}", error.instance_path())).collect();
        if !wrong.is_empty() {
            return Err(format!("{what}: {wrong:?}"));
        }
        let schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        self.check_fields(schema, &body).map_err(|why| format!("{what}: {why}"))
    }

    /// The path that covers `given` with the fewest placeholders.
    fn find(&self, method: &str, given: &str) -> Option<(&str, &Value)> {
        let paths = self.spec["paths"].as_object().unwrap();
        let fitting = paths.iter().filter(|(template, item)| item.get(method).is_some() && covers(template, given));
        let best = fitting.min_by_key(|(template, _)| (template.matches('{').count(), !template.contains("}:")));
        best.map(|(template, item)| (template.as_str(), item))
    }

    /// Fields that the document does not name, or that are only ever answered.
    fn check_fields(&self, schema: &Value, body: &Value) -> Result<(), String> {
        let schema = match schema["$ref"].as_str() {
            Some(pointer) => self.spec.pointer(pointer.trim_start_matches('#')).unwrap(),
            None => schema,
        };
        let (Some(fields), Some(known)) = (body.as_object(), schema["properties"].as_object()) else { return Ok(()) };
        for (name, value) in fields {
            let field = known.get(name).ok_or_else(|| format!("there is no field {name}"))?;
            if field["readOnly"] == true {
                return Err(format!("{name} is only ever answered"));
            }
            self.check_fields(field, value)?;
        }
        Ok(())
    }
}

fn covers(template: &str, given: &str) -> bool {
    let (parts, given): (Vec<&str>, Vec<&str>) = (template.split('/').collect(), given.split('/').collect());
    let fits = |(part, given): (&&str, &&str)| match part.strip_prefix('{').and_then(|rest| rest.split_once('}')) {
        Some((_, verb)) => given.len() > verb.len() && given.ends_with(verb),
        None => part == given,
    };
    parts.len() == given.len() && parts.iter().zip(&given).all(fits)
}

fn check_query(operation: &Value, query: &str) -> Result<(), String> {
    let url = reqwest::Url::parse(&format!("http://x/?{query}")).unwrap();
    let given: BTreeMap<String, String> = url.query_pairs().into_owned().collect();
    let empty = Vec::new();
    let known: Vec<&Value> =
        operation["parameters"].as_array().unwrap_or(&empty).iter().filter(|known| known["in"] == "query").collect();
    for (name, value) in &given {
        let parameter =
            known.iter().find(|known| known["name"] == **name).ok_or_else(|| format!("no parameter {name}"))?;
        let schema = &parameter["schema"];
        let fits = match schema["type"].as_str() {
            Some("integer") => value.parse::<i64>().is_ok(),
            Some("boolean") => value == "true" || value == "false",
            _ => true,
        };
        let listed = |allowed: &Vec<Value>| {
            allowed.iter().any(|one| one.as_str().map_or_else(|| one.to_string(), str::to_owned) == *value)
        };
        if !fits || !schema["enum"].as_array().is_none_or(listed) {
            return Err(format!("{name} cannot be {value:?}"));
        }
    }
    let missing = known
        .iter()
        .find(|known| known["required"] == true && !given.contains_key(known["name"].as_str().unwrap_or_default()));
    missing.map_or(Ok(()), |missing| Err(format!("{} is missing", missing["name"])))
}

#[test]
fn the_check_of_requests_finds_wrong_ones() {
    let Some(published) = published() else { return println!("no copy of Roblox's document here") };
    let complaint = |method: &str, target: &str, body: Option<Value>| {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        published.complaint(&Asked {
            at: grps::base::Time(0),
            method: method.into(),
            path: path.into(),
            query: query.into(),
            body: body.map(|body| body.to_string()),
            status: 200,
        })
    };
    let role = || Some(json!({"role": "groups/1/roles/2"}));
    assert_eq!(complaint("POST", "/cloud/v2/groups/1/memberships/5:assignRole", role()), Ok(()));
    assert_eq!(complaint("GET", "/cloud/v2/groups/1/memberships?maxPageSize=100", None), Ok(()));
    for (method, target, body, why) in [
        ("POST", "/cloud/v2/groups/1/memberships/5:promote", role(), "no such operation"),
        ("DELETE", "/cloud/v2/groups/1", None, "no such operation"),
        ("GET", "/cloud/v2/groups/1/memberships?pageSize=100", None, "no parameter pageSize"),
        ("GET", "/cloud/v2/groups/1/memberships?maxPageSize=all", None, "maxPageSize cannot be"),
        ("POST", "/cloud/v2/groups/1/memberships/5:assignRole", None, "a body is required"),
        ("POST", "/cloud/v2/groups/1/memberships/5:assignRole", Some(json!({"role": 5})), "/role"),
        ("POST", "/cloud/v2/groups/1/memberships/5:assignRole", Some(json!({"role": "x", "y": 1})), "no field y"),
        ("PATCH", "/cloud/v2/groups/1/memberships/5", Some(json!({"roles": []})), "only ever answered"),
        ("GET", "/legacy-groups/v1/groups/1/audit-log?limit=30", None, "limit cannot be"),
    ] {
        let said = complaint(method, target, body).unwrap_err();
        assert!(said.contains(why), "{method} {target}: {said}");
    }
}
