//! Taste as a test: modules import downwards only, files stay small, every domain is on the map, and no stub or stray path is left.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The floors of the house. A module may import only from strictly lower floors; files of one module may use each other.
const FLOORS: &[(&str, u32)] = &[
    ("base", 0),
    ("store", 2),
    ("http", 3),
    ("remote", 3),
    ("workers", 3),
    ("fakes", 4),
    ("domains::audit", 4),
    ("domains::auth", 5),
    ("domains::policy", 5),
    ("domains::standings", 5),
    ("domains::group", 6),
    ("domains::jobs", 6),
    ("domains::players", 6),
    ("domains::adjustments", 7),
    ("domains::brakes", 7),
    ("domains::discord", 7),
    ("domains::doorbell", 7),
    ("domains::effects", 7),
    ("domains::leaderboards", 7),
    ("domains::mirrors", 8),
    ("domains::ranks", 8),
    ("domains::upkeep", 8),
    ("domains::applying", 9),
    ("domains::drift", 9),
    ("domains::joins", 9),
    ("domains::reviews", 9),
    ("domains::sync", 9),
    ("domains::schedule", 10),
    ("domains::health", 11),
    ("domains::samples", 11),
    ("config", 11),
    ("app", 12),
    ("cli", 13),
];

/// Lines a file may have at most.
const MAX_LINES: usize = 500;

/// Files a folder may have at most.
const MAX_FILES: usize = 12;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every Rust file under `dir`, with its text.
pub fn sources(dir: &str) -> Vec<(PathBuf, String)> {
    let mut out = Vec::new();
    let mut todo = vec![root().join(dir)];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                out.push((path, text));
            }
        }
    }
    out.sort();
    out
}

/// The module a file belongs to, as it stands in [`FLOORS`]: `domains::auth` for `src/domains/auth/gate.rs`.
fn module_of(path: &Path) -> String {
    let relative = path.strip_prefix(root().join("src")).unwrap();
    let parts: Vec<String> =
        relative.iter().map(|part| part.to_str().unwrap().trim_end_matches(".rs").to_owned()).collect();
    match parts.as_slice() {
        [first, second, ..] if first == "domains" && second != "mod" => format!("domains::{second}"),
        [first, ..] => first.clone(),
        [] => unreachable!("a path has parts"),
    }
}

/// The modules that a line of code imports with `crate::`.
fn imports(text: &str) -> Vec<(usize, String)> {
    let mut out = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let code = line.split("//").next().unwrap_or("");
        for (at, _) in code.match_indices("crate::") {
            let rest = &code[at + "crate::".len()..];
            let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
            let first = word(rest);
            let name = match rest.strip_prefix("domains::") {
                Some(inner) => format!("domains::{}", word(inner)),
                None => first,
            };
            out.push((number + 1, name));
        }
    }
    out
}

fn floor(module: &str) -> Option<u32> {
    FLOORS.iter().find(|(name, _)| *name == module).map(|(_, floor)| *floor)
}

#[test]
fn modules_import_downwards_only() {
    let mut wrong = Vec::new();
    for (path, text) in sources("src") {
        let module = module_of(&path);
        if matches!(module.as_str(), "lib" | "main" | "domains") {
            continue;
        }
        let Some(own) = floor(&module) else {
            wrong.push(format!("{}: module {module} has no floor in tests/tidy.rs", path.display()));
            continue;
        };
        for (line, imported) in imports(&text) {
            if imported == module {
                continue;
            }
            match floor(&imported) {
                Some(other) if other < own => {}
                other => {
                    wrong.push(format!("{}:{line}: {module} ({own}) imports {imported} ({other:?})", path.display()))
                }
            }
        }
    }
    assert!(wrong.is_empty(), "imports must point to a lower floor:\n{}", wrong.join("\n"));
}

#[test]
fn the_import_check_sees_what_it_must() {
    let text = "use crate::domains::auth::Caller; // crate::cli is only mentioned\nuse crate::store::{Store, Tx};\n";
    assert_eq!(imports(text), [(1, "domains::auth".to_owned()), (2, "store".to_owned())]);
    assert!(floor("domains::auth") > floor("store"));
}

#[test]
fn files_and_folders_stay_small() {
    let mut wrong = Vec::new();
    let mut per_folder: BTreeMap<PathBuf, usize> = BTreeMap::new();
    for (path, text) in ["src", "tests", "benches"].iter().flat_map(|dir| sources(dir)) {
        let lines = text.lines().count();
        if lines > MAX_LINES {
            wrong.push(format!("{} has {lines} lines", path.display()));
        }
        if path.starts_with(root().join("src")) {
            *per_folder.entry(path.parent().unwrap().to_owned()).or_default() += 1;
        }
    }
    wrong.extend(
        per_folder
            .into_iter()
            .filter(|(_, files)| *files > MAX_FILES)
            .map(|(folder, files)| format!("{} has {files} files", folder.display())),
    );
    assert!(
        wrong.is_empty(),
        "something wants to move out (at most {MAX_LINES} lines, {MAX_FILES} files):\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_domain_is_on_the_map() {
    let domains = root().join("src/domains");
    let listed = std::fs::read_to_string(domains.join("mod.rs")).unwrap();
    let tour = std::fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for entry in std::fs::read_dir(&domains).unwrap() {
        let path = entry.unwrap().path();
        if !path.is_dir() {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        assert!(listed.contains(&format!("pub mod {name};")), "src/domains/mod.rs does not list {name}");
        assert!(floor(&format!("domains::{name}")).is_some(), "tests/tidy.rs gives {name} no floor");
        assert!(tour.contains(&format!("`{name}`")), "ARCHITECTURE.md does not mention `{name}`");
        let head = std::fs::read_to_string(path.join("mod.rs")).unwrap();
        assert!(head.starts_with("//!"), "{name}/mod.rs does not say what it is");
    }
}

#[test]
fn every_file_says_what_it_is() {
    let silent: Vec<String> = sources("src")
        .into_iter()
        .filter(|(path, text)| !text.starts_with("//!") && !path.ends_with("tests.rs"))
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(silent.is_empty(), "these files have no `//!`: {silent:?}");
}

#[test]
fn no_stub_is_left() {
    let marks = ["todo!(", "unimplemented!(", concat!("#[", "ignore"), "assert!(true"];
    for (path, text) in sources("src") {
        for mark in marks {
            assert!(!text.contains(mark), "{} contains {mark}", path.display());
        }
    }
}
