//! The README's tables are made from the code (requirement P23): a setting or an endpoint that changes changes them, or these tests fail.

use std::path::Path;

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
