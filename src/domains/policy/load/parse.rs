//! From text to structs, with messages a person can act on: file, line, column, and the nearest key.

use serde::de::DeserializeOwned;

use super::super::files::FileKind;
use super::super::lint::{Files, Finding, Notes, Severity, nearest};
use super::positions::{Positions, line_column};
use super::{Source, Sources};

/// Parses and lints a set. Findings of all its files are collected; a file that does not parse brings exactly one.
pub fn parse(sources: &Sources) -> (Files, Vec<Finding>) {
    let mut files = Files::default();
    let mut findings = Vec::new();
    let mut readable = Vec::new();
    for source in &sources.list {
        match read(source, &mut files) {
            Ok(()) => readable.push(source),
            Err(finding) => findings.push(*finding),
        }
    }
    // Rules refer from file to file, so they run once all are parsed.
    for source in readable {
        let mut notes = Notes::new(source, Positions::of(&source.text));
        files.check(source.kind, &mut notes);
        findings.extend(notes.into_findings());
    }
    (files, findings)
}

fn read(source: &Source, files: &mut Files) -> Result<(), Box<Finding>> {
    match source.kind {
        FileKind::Ranks => files.ranks = Some(decode(source)?),
        FileKind::Permissions => files.permissions = Some(decode(source)?),
        FileKind::Punishments => files.punishments = Some(decode(source)?),
        FileKind::Points => files.points = Some(decode(source)?),
        FileKind::Integrations => files.integrations = Some(decode(source)?),
    }
    Ok(())
}

fn decode<T: DeserializeOwned>(source: &Source) -> Result<T, Box<Finding>> {
    serde_json::from_str(&source.text).map_err(|error| Box::new(explain(source, &error)))
}

struct Said {
    code: &'static str,
    what: String,
    why: &'static str,
    fix: String,
}

/// Turns serde's message into a finding. The values of a file are left out of it: one of them may be a secret.
fn explain(source: &Source, error: &serde_json::Error) -> Finding {
    let text = &source.text;
    let mut offset = offset_of(text, error.line(), error.column());
    let full = error.to_string();
    let message = full.rsplit_once(" at line ").map_or(full.as_str(), |(message, _)| message);
    let said = if error.is_data() {
        // serde points at the closing quote of the key; people look for where it starts.
        let key = quoted(message).next().filter(|_| message.starts_with("unknown field"));
        let before = text.get(..=offset).unwrap_or(text);
        if let Some(start) = key.and_then(|key| before.rfind(&format!("\"{key}\""))) {
            offset = start;
        }
        shape(message)
    } else {
        syntax(message, text, offset, error.is_eof())
    };
    let (line, column) = line_column(text, offset);
    Finding {
        severity: Severity::Error,
        code: said.code,
        file: source.label.clone(),
        pointer: String::new(),
        line: Some(line),
        column: Some(column),
        what: said.what,
        why: said.why.to_owned(),
        fix: said.fix,
    }
}

fn shape(message: &str) -> Said {
    let mut names = quoted(message);
    let first = names.next().unwrap_or_default();
    if message.starts_with("unknown field") {
        let known: Vec<&str> = names.collect();
        let near = nearest(first, known.iter().copied());
        return Said {
            code: "policy.key_unknown",
            what: format!("unknown key \"{first}\""),
            why: "a misspelt rule would be ignored, and nobody would notice",
            fix: near.map_or_else(
                || format!("remove it; the keys here are {}", known.join(", ")),
                |near| format!("did you mean \"{near}\"? The keys here are {}", known.join(", ")),
            ),
        };
    }
    if message.starts_with("missing field") {
        return Said {
            code: "policy.key_missing",
            what: format!("the key \"{first}\" is missing"),
            why: "it has no default",
            fix: format!("add \"{first}\""),
        };
    }
    if message.starts_with("duplicate field") {
        return Said {
            code: "policy.duplicate_key",
            what: format!("the key \"{first}\" stands here a second time"),
            why: "only one of the two values could count, and nobody could tell which",
            fix: "keep one of them".into(),
        };
    }
    if message.starts_with("unknown variant") {
        let known: Vec<&str> = names.collect();
        let near =
            nearest(first, known.iter().copied()).map_or(String::new(), |near| format!("did you mean \"{near}\"? "));
        return Said {
            code: "policy.value_unknown",
            what: format!("\"{first}\" is not one of the values this key takes"),
            why: "what it should do is not known",
            fix: format!("{near}One of {}", known.join(", ")),
        };
    }
    let (found, expected) = message.rsplit_once(", expected ").unwrap_or((message, "another value"));
    let expected = plain(expected);
    Said {
        code: "policy.value_type",
        what: format!("expected {expected}, found {}", found_kind(found)),
        why: "a value of the wrong kind cannot be a rule",
        fix: format!("write {expected} here"),
    }
}

fn syntax(message: &str, text: &str, offset: usize, ended: bool) -> Said {
    let around = text.get(offset.saturating_sub(1)..(offset + 2).min(text.len())).unwrap_or_default();
    let (what, fix) = if ended {
        ("the file ends in the middle of a value".to_owned(), "save the whole file; is an editor still writing it?")
    } else if around.contains("//") || around.contains("/*") || around.contains('#') {
        ("comments are not JSON".to_owned(), "remove the comment; notes belong beside the file or in its history")
    } else if message.contains("trailing comma") {
        ("there is a comma after the last item".to_owned(), "remove that comma")
    } else {
        (format!("this is not JSON: {message}"), "check quotes, commas and brackets around this place")
    };
    Said {
        code: "policy.json_invalid",
        what,
        why: "a file that is only partly understood must not decide anything",
        fix: fix.into(),
    }
}

/// The names serde puts between backticks.
fn quoted(message: &str) -> impl Iterator<Item = &str> {
    message.split('`').skip(1).step_by(2)
}

/// serde's words for Rust types, said plainly.
fn plain(expected: &str) -> String {
    match expected {
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number of 0 or more".into(),
        "i64" | "i32" => "a whole number".into(),
        "a boolean" => "true or false".into(),
        "a string" => "a text in quotes".into(),
        "a sequence" => "a list in [ ]".into(),
        _ if expected.starts_with("struct ") || expected == "a map" => "an object in { }".into(),
        other => other.to_owned(),
    }
}

/// What was found, without the text itself when it is a string.
fn found_kind(found: &str) -> String {
    let found = found.trim_start_matches("invalid type: ").trim_start_matches("invalid value: ");
    match found.split_whitespace().next() {
        Some("string") => "a text".into(),
        Some("map") => "an object".into(),
        Some("sequence") => "a list".into(),
        _ => found.replace('`', ""),
    }
}

/// Byte offset of serde's line and column (a column counts the bytes read of its line).
fn offset_of(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
    let mut offset = (start + column.saturating_sub(1)).min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}
