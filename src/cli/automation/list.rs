//! Lists of adjustments in files: CSV with a header line, or JSON.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::base::{Error, Result};

/// Largest file that is read: what a request may hold, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// Reads a list of `{userId, delta}` or `{userId, set}`. The server checks what the rows say.
///
/// # Errors
/// `cli.usage` for a file that cannot be read, or is no such list; it names the line.
pub fn read(path: &Path) -> Result<Value> {
    let unreadable = |why: String| usage(format!("{} cannot be read: {why}", path.display()));
    let size = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?.len();
    if size > MAX_FILE {
        let detail = format!("{} has {size} bytes; a list has at most {MAX_FILE}", path.display());
        return Err(usage(detail).hint("split it: a list has at most 10,000 players"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let text = text.trim_start_matches('\u{feff}');
    if text.trim_start().starts_with(['[', '{']) { from_json(text) } else { from_csv(text) }
}

/// An array of rows, or an object with one as `adjustments`.
fn from_json(text: &str) -> Result<Value> {
    let value: Value = serde_json::from_str(text).map_err(|error| usage(format!("the list is no JSON: {error}")))?;
    match value {
        Value::Array(rows) => Some(Value::Array(rows)),
        Value::Object(mut body) => body.remove("adjustments").filter(Value::is_array),
        _ => None,
    }
    .ok_or_else(|| usage("the list is neither an array nor an object with \"adjustments\""))
}

fn from_csv(text: &str) -> Result<Value> {
    let mut lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let (_, header) = lines.next().ok_or_else(|| usage("the list is empty"))?;
    let names: Vec<&str> = cells(header).collect();
    if !names.contains(&"userId")
        || names.len() < 2
        || !names.iter().all(|name| ["userId", "delta", "set"].contains(name))
    {
        return Err(usage(format!("the first line is \"{}\"", header.trim()))
            .hint("name the columns: `userId,delta` to give and take points, `userId,set` to set them"));
    }
    let row = |(number, line): (usize, &str)| {
        let values: Vec<&str> = cells(line).collect();
        if values.len() != names.len() {
            return Err(usage(format!("line {} has {} columns, not {}", number + 1, values.len(), names.len())));
        }
        let mut row = Map::new();
        for (name, value) in names.iter().zip(values).filter(|(_, value)| !value.is_empty()) {
            let whole: i64 = value
                .parse()
                .map_err(|_| usage(format!("line {}: {name} is \"{value}\", not a whole number", number + 1)))?;
            row.insert((*name).to_owned(), json!(whole));
        }
        Ok(Value::Object(row))
    };
    lines.map(row).collect::<Result<Vec<Value>>>().map(Value::Array)
}

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split([',', ';', '\t']).map(|cell| cell.trim().trim_matches('"'))
}

fn usage(detail: impl Into<String>) -> Error {
    Error::invalid("cli.usage", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_from_csv_and_json() {
        let expected = json!([{ "userId": 7, "delta": -5 }, { "userId": 8, "set": 3 }]);
        let csv = "\"userId\";delta;set\r\n7;-5;\r\n\r\n8;;3\r\n";
        assert_eq!(from_csv(csv).unwrap(), expected);
        assert_eq!(from_csv("delta,userId\n-5,7").unwrap(), json!([{ "delta": -5, "userId": 7 }]));
        assert_eq!(from_json(&expected.to_string()).unwrap(), expected);
        assert_eq!(from_json(&json!({ "adjustments": expected }).to_string()).unwrap(), expected);
    }

    #[test]
    fn what_is_no_list_is_told_by_its_line() {
        for (text, said) in [
            ("", "empty"),
            ("7,5\n8,5", "first line is \"7,5\""),
            ("userId,points\n7,5", "first line"),
            ("userId\n7", "first line"),
            ("userId,delta\n7,5\n8", "line 3 has 1 columns"),
            ("userId,delta\n7,five", "line 2: delta is \"five\""),
            ("userId,delta\n7,1.5", "line 2: delta is \"1.5\""),
        ] {
            let error = from_csv(text).unwrap_err();
            assert!(error.code() == "cli.usage" && error.to_string().contains(said), "{text:?}: {error}");
        }
        for text in ["{", "{}", "{\"adjustments\": 5}", "[1"] {
            assert_eq!(from_json(text).unwrap_err().code(), "cli.usage", "{text}");
        }
    }
}
