//! The JSON Schemas of the policy files, generated from the structs that read them.

use serde_json::Value;

use super::files::{FileKind, IntegrationsFile, PermissionsFile, PointsFile, PunishmentsFile, RanksFile};

/// File name and JSON Schema (draft 2020-12) of each policy file, as they are in `policy/schema/`.
pub fn schemas() -> Vec<(String, Value)> {
    let all = FileKind::ALL.into_iter().map(|kind| {
        let schema = match kind {
            FileKind::Ranks => schemars::schema_for!(RanksFile),
            FileKind::Permissions => schemars::schema_for!(PermissionsFile),
            FileKind::Punishments => schemars::schema_for!(PunishmentsFile),
            FileKind::Points => schemars::schema_for!(PointsFile),
            FileKind::Integrations => schemars::schema_for!(IntegrationsFile),
        };
        (kind.name().replace(".json", ".schema.json"), schema.to_value())
    });
    all.collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;
    use crate::domains::policy::SHIPPED;

    fn folder() -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("policy/schema")
    }

    fn text(schema: &Value) -> String {
        serde_json::to_string_pretty(schema).unwrap() + "\n"
    }

    #[test]
    fn the_committed_schemas_are_those_of_the_code() {
        for (name, schema) in schemas() {
            let committed = fs::read_to_string(folder().join(&name)).unwrap_or_default();
            assert!(
                committed == text(&schema),
                "policy/schema/{name} is out of date: run `cargo run -- policy schemas --write policy/schema`"
            );
        }
    }

    #[test]
    fn the_shipped_and_example_files_follow_their_schemas() {
        let example = include_str!("../../../policy/examples/backend.integrations.json");
        for (name, schema) in schemas() {
            let file = name.replace(".schema.json", ".json");
            let text = SHIPPED.iter().find(|(path, _)| *path == file).map_or(example, |(_, text)| *text);
            let value: Value = serde_json::from_str(text).unwrap();
            let validator = jsonschema::validator_for(&schema).unwrap();
            let errors: Vec<String> = validator.iter_errors(&value).map(|error| error.to_string()).collect();
            assert_eq!(errors, [] as [String; 0], "{file}");
            let mut broken = value.clone();
            broken["surprise"] = Value::Bool(true);
            assert!(!validator.is_valid(&broken), "{file} takes unknown keys");
        }
    }
}
