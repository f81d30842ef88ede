//! The README's tables are made from the code (requirement P23): a setting or an endpoint that changes changes them, or these tests fail.

use std::path::Path;

use grps::config::SETTINGS;

fn between(text: &str, name: &str) -> String {
    let (open, close) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
    let inner = text.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map(|(inner, _)| inner);
    inner.unwrap_or_else(|| panic!("README.md has no {open} … {close}")).trim().to_owned()
}

fn check(name: &str, expected: &str, command: &str) {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let found = between(&readme, name);
    let first = found.lines().zip(expected.trim().lines()).find(|(found, expected)| found != expected);
    assert!(
        found == expected.trim(),
        "README.md is out of date between <!-- {name} --> and <!-- /{name} -->: paste what `cargo run -q -- {command}` prints.\n\
         The first line that differs: {first:?}"
    );
}

#[test]
fn the_readmes_settings_are_the_programs() {
    check("settings", &grps::config::markdown(), "config print --markdown");
}

#[test]
fn the_readmes_access_table_is_the_programs() {
    check("access", &grps::domains::auth::access_markdown(), "config print --access");
}

/// A blueprint that sets what nobody reads, or starts two servers on one disk, would be found out by its user.
#[test]
fn the_blueprint_for_render_sets_what_there_is() {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/render.yaml")).unwrap();
    let keys = text.lines().filter_map(|line| line.trim().strip_prefix("- key: "));
    let keys: Vec<&str> = keys.filter_map(|rest| rest.split(' ').next()).collect();
    assert!(keys.len() > 3 && keys.iter().all(|key| SETTINGS.iter().any(|setting| setting.name == *key)), "{keys:?}");
    for line in ["numInstances: 1", "mountPath: /data", "healthCheckPath: /health/live", "runtime: docker"] {
        assert!(text.contains(line), "{line}");
    }
}
