//! Messages for files that do not parse, and finding files on disk.

use std::fs;

use proptest::prelude::*;

use super::super::{FileKind, Policy, lint_report};
use super::{MAX_POLICY_BYTES, SHIPPED, Search, write_shipped};

fn finding(text: &str) -> super::super::Finding {
    let report = Policy::from_texts(&[(FileKind::Ranks, text)]).unwrap_err();
    assert_eq!(report.findings.len(), 1, "{report}");
    report.findings[0].clone()
}

#[test]
fn an_unknown_key_is_named_with_its_place_and_the_nearest_key() {
    let text =
        "{ \"version\": 1,\n  \"ranks\": [\n    { \"name\": \"Oné\", \"requiredPoints\": 5, \"promotAt\": 4 }\n  ] }";
    let found = finding(text);
    assert_eq!((found.code, found.line, found.column), ("policy.key_unknown", Some(3), Some(43)));
    assert_eq!(found.what, "unknown key \"promotAt\"");
    assert!(found.fix.starts_with("did you mean \"promoteAt\"?"), "{}", found.fix);
    let printed = found.to_string();
    assert!(printed.starts_with("error[policy.key_unknown]: policy.ranks.json:3:43: unknown key"), "{printed}");
}

#[test]
fn every_way_to_be_unreadable_has_its_message() {
    let rank = r#"{ "name": "One", "requiredPoints": 5 }"#;
    let cases = [
        (
            format!("{{ \"version\": 1, // the ladder\n \"ranks\": [{rank}] }}"),
            "policy.json_invalid",
            "comments are not JSON",
        ),
        (format!("{{ \"version\": 1, /* x */ \"ranks\": [{rank}] }}"), "policy.json_invalid", "comments are not JSON"),
        (
            format!("# ladder\n{{ \"version\": 1, \"ranks\": [{rank}] }}"),
            "policy.json_invalid",
            "comments are not JSON",
        ),
        (format!("{{ \"version\": 1, \"ranks\": [{rank},] }}"), "policy.json_invalid", "comma after the last"),
        (format!("{{ \"version\": 1, \"ranks\": [{rank}"), "policy.json_invalid", "ends in the middle"),
        (String::new(), "policy.json_invalid", "ends in the middle"),
        (format!("{{ \"version\": 1, \"ranks\": [{rank}] }} x"), "policy.json_invalid", "not JSON"),
        (format!("{{ \"ranks\": [{rank}] }}"), "policy.key_missing", "\"version\" is missing"),
        (format!("{{ \"version\": 1, \"version\": 1, \"ranks\": [{rank}] }}"), "policy.duplicate_key", "\"version\""),
        ("{ \"version\": 1, \"ranks\": {} }".into(), "policy.value_type", "expected a list in [ ], found an object"),
        ("{ \"version\": -1, \"ranks\": [] }".into(), "policy.value_type", "expected a whole number of 0 or more"),
        (
            format!("{{ \"version\": 1, \"settings\": {{ \"mode\": \"atuo\" }}, \"ranks\": [{rank}] }}"),
            "policy.value_unknown",
            "\"atuo\" is not one of",
        ),
        ("[".repeat(200), "policy.value_type", "found a list"),
    ];
    for (text, code, what) in cases {
        let found = finding(&text);
        assert_eq!(found.code, code, "{found}");
        assert!(found.what.contains(what), "{found}");
        assert!(found.line.is_some() && found.column.is_some());
    }
}

#[test]
fn a_wrong_value_is_not_repeated_in_the_message() {
    let texts = [(FileKind::Integrations, r#"{ "roblox": "hunter2-the-key" }"#)];
    let report = Policy::from_texts(&texts).unwrap_err();
    assert!(!format!("{report:?}").contains("hunter2"), "{report}");
    assert!(report.findings[0].what.contains("found a text"), "{report}");
}

#[test]
fn the_shipped_files_can_be_written_once_and_read_back() {
    let dir = tempfile::tempdir().unwrap();
    write_shipped(dir.path()).unwrap();
    for (path, text) in SHIPPED {
        assert_eq!(fs::read_to_string(dir.path().join(path)).unwrap(), *text);
    }
    let search = Search::only(dir.path());
    let sources = search.read(dir.path()).unwrap();
    assert_eq!(lint_report(&sources).version.as_deref(), Some(&**Policy::builtin().version()));
    assert_eq!(write_shipped(dir.path()).unwrap_err().code(), "policy.dir_not_empty");
}

#[test]
fn files_that_cannot_be_read_are_explained() {
    let dir = tempfile::tempdir().unwrap();
    let search = Search::only(dir.path());
    let ranks = dir.path().join("policy.ranks.json");
    let code = || search.read(dir.path()).unwrap_err();
    assert_eq!(code().code(), "policy.ranks_missing");
    assert!(code().detail().contains(&*dir.path().display().to_string()));
    fs::create_dir(&ranks).unwrap();
    assert_eq!(code().code(), "policy.file_unreadable");
    fs::remove_dir(&ranks).unwrap();
    fs::write(&ranks, vec![b' '; MAX_POLICY_BYTES as usize + 1]).unwrap();
    assert_eq!(code().code(), "policy.file_too_large");
    fs::write(&ranks, b"{ \"name\": \"\xff\" }").unwrap();
    assert_eq!(code().code(), "policy.file_not_utf8");
    fs::write(&ranks, "{}").unwrap();
    for name in FileKind::Permissions.names() {
        fs::write(dir.path().join(name), "{}").unwrap();
    }
    assert_eq!(code().code(), "policy.two_names");
}

#[test]
fn the_first_directory_with_a_ladder_gives_the_set_and_integrations_may_come_later() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let search = Search { dirs: vec![first.path().into(), second.path().into()] };
    assert_eq!(search.find(), None);
    fs::write(second.path().join("policy.ranks.json"), "{}").unwrap();
    assert_eq!(search.find(), Some(second.path()));
    fs::write(first.path().join("policy.ranks.json"), "{}").unwrap();
    assert_eq!(search.find(), Some(first.path()));
    fs::write(second.path().join("policy.points.json"), "{}").unwrap();
    fs::write(second.path().join("backend.integrations.json"), "{}").unwrap();
    let kinds: Vec<FileKind> = search.read(first.path()).unwrap().list.iter().map(|source| source.kind).collect();
    assert_eq!(kinds, [FileKind::Ranks, FileKind::Integrations]);
}

#[test]
fn a_byte_order_mark_is_not_content() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("policy.ranks.json"), format!("\u{feff}{}", SHIPPED[0].1)).unwrap();
    let sources = Search::only(dir.path()).read(dir.path()).unwrap();
    assert!(Policy::from_sources(&sources).is_ok());
}

proptest! {
    #[test]
    fn no_damage_to_a_file_is_a_panic(file in 0usize..4, cut in 0usize..2000, put in "[\\x00-\\x7fé]{0,4}", skip in 0usize..6) {
        let kind = FileKind::ALL[file];
        let whole = SHIPPED[file].1;
        let (head, tail) = (whole.get(..cut).unwrap_or(whole), whole.get(cut + skip..).unwrap_or_default());
        let damaged = format!("{head}{put}{tail}");
        match Policy::from_texts(&[(kind, damaged.as_str())]) {
            Ok(policy) => prop_assert!(!policy.version().is_empty()),
            Err(report) => prop_assert!(report.errors().count() > 0 || kind != FileKind::Ranks),
        }
    }
}
