//! Says in plain words what a schema expects and what was found instead, for people who read an error message.

use std::borrow::Cow;

use jsonschema::ValidationError;
use jsonschema::error::{TypeKind, ValidationErrorKind as Broken};
use jsonschema::types::JsonType;
use serde_json::Value;

use crate::base::Field;

/// Longest text quoted from a request, in characters.
const MAX_QUOTE: usize = 40;

/// The choices of an enum listed at most.
const MAX_CHOICES: usize = 12;

/// `text` in quotes, cut to a readable length.
pub fn quoted(text: &str) -> String {
    let mut short: String = text.chars().take(MAX_QUOTE).collect();
    if short.len() < text.len() {
        short.push('…');
    }
    format!("{short:?}")
}

/// What a value is, in words: `the string "5"`, `null`, `an array`.
fn found(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the string {}", quoted(text)),
        Value::Array(_) => "an array".into(),
        Value::Object(_) => "an object".into(),
    }
}

/// What a schema asks for, in words: `an integer from 1 to 500`. `root` resolves references.
pub fn expected(schema: &Value, root: &Value) -> String {
    if let Some(target) = schema.get("$ref").and_then(Value::as_str) {
        let node = root.pointer(target.trim_start_matches('#')).unwrap_or(&Value::Null);
        return expected(node, root);
    }
    if let Some([only]) = schema.get("allOf").and_then(Value::as_array).map(Vec::as_slice) {
        return expected(only, root);
    }
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        return choice(choices);
    }
    if schema.get("anyOf").is_some()
        && let Some(words) = schema.get("description").and_then(Value::as_str)
    {
        return words.trim_end_matches('.').into();
    }
    let kind = schema.get("type").and_then(Value::as_str).unwrap_or("a value that fits the schema");
    let noun: Cow<'_, str> = match (kind, schema.get("format").and_then(Value::as_str)) {
        ("string", Some("date-time")) => "an RFC 3339 time such as 2025-03-01T18:15:44Z".into(),
        ("integer", _) => "an integer".into(),
        ("array", _) => "an array".into(),
        ("object", _) => "an object".into(),
        ("boolean", _) => "true or false".into(),
        ("number" | "string", _) => format!("a {kind}").into(),
        _ => kind.into(),
    };
    format!("{noun}{}", range(schema))
}

fn range(schema: &Value) -> String {
    let bound = |name: &str| schema.get(name).filter(|value| value.is_number()).map(plain);
    let span = |low: Option<String>, high: Option<String>, unit: &str| match (low, high) {
        (Some(low), Some(high)) => format!(" from {low} to {high}{unit}"),
        (Some(low), None) => format!(" of at least {low}{unit}"),
        (None, Some(high)) => format!(" of at most {high}{unit}"),
        (None, None) => String::new(),
    };
    let values = span(bound("minimum"), bound("maximum"), "");
    let characters = span(bound("minLength"), bound("maxLength"), " characters");
    let items = span(bound("minItems"), bound("maxItems"), " items");
    let pattern = schema.get("pattern").and_then(Value::as_str).map(|text| format!(" matching {text}"));
    [values, characters, items, pattern.unwrap_or_default()].concat()
}

/// poem-openapi writes bounds as floats: 500.0 is 500 to a reader.
fn plain(number: &Value) -> String {
    match number.as_f64() {
        Some(float) if float.fract() == 0.0 && float.abs() < 1e15 => format!("{float:.0}"),
        _ => number.to_string(),
    }
}

fn choice(choices: &[Value]) -> String {
    let listed: Vec<String> = choices.iter().take(MAX_CHOICES).map(Value::to_string).collect();
    let more = if choices.len() > MAX_CHOICES { ", …" } else { "" };
    match listed.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}{more}", listed.join(", ")),
    }
}

/// Turns one schema violation into field complaints; a failed `anyOf` whose other branch is only `null` speaks of the real branch.
pub fn complaints(error: &ValidationError<'_>, root: &Value, out: &mut Vec<Field>) {
    if let Broken::AnyOf { context } = error.kind()
        && let [real, other] = context.as_slice()
        && other.iter().all(|error| only_null(error.kind()))
    {
        return real.iter().for_each(|error| complaints(error, root, out));
    }
    let mut loc: Vec<String> = vec!["body".into()];
    loc.extend(error.instance_path().segments().map(|segment| segment.to_string()));
    if let Broken::Required { property: Value::String(name) } = error.kind() {
        loc.push(name.clone());
    }
    let node = owner(error, root);
    let (kind, msg) = words(error, node, root);
    out.push(Field { loc, msg, kind: kind.into() });
}

fn only_null(kind: &Broken) -> bool {
    matches!(kind, Broken::Type { kind: TypeKind::Single(JsonType::Null) })
}

/// The schema whose keyword was violated.
fn owner<'a>(error: &ValidationError<'_>, root: &'a Value) -> &'a Value {
    let path = error.schema_path().as_str();
    let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
    root.pointer(parent).unwrap_or(&Value::Null)
}

fn words(error: &ValidationError<'_>, node: &Value, root: &Value) -> (&'static str, String) {
    let found = found(error.instance());
    let at = |limit: &Value| plain(limit);
    let length = || error.instance().as_str().map_or(0, |text| text.chars().count());
    let items = || error.instance().as_array().map_or(0, Vec::len);
    match error.kind() {
        Broken::Required { .. } => ("missing", "is required".into()),
        Broken::Type { kind } => {
            (type_name(kind), format!("expected {}, found {found}", expected(&wanted(node), root)))
        }
        Broken::Enum { .. } => ("enum", format!("expected {}, found {found}", expected(node, root))),
        Broken::Minimum { limit } => ("greater_than_equal", format!("must be at least {}, found {found}", at(limit))),
        Broken::Maximum { limit } => ("less_than_equal", format!("must be at most {}, found {found}", at(limit))),
        Broken::ExclusiveMinimum { limit } => {
            ("greater_than", format!("must be more than {}, found {found}", at(limit)))
        }
        Broken::ExclusiveMaximum { limit } => ("less_than", format!("must be less than {}, found {found}", at(limit))),
        Broken::MultipleOf { multiple_of } => {
            ("multiple_of", format!("must be a multiple of {multiple_of}, found {found}"))
        }
        Broken::MaxLength { limit } => {
            ("string_too_long", format!("must be at most {limit} characters long, found {}", length()))
        }
        Broken::MinLength { limit } => {
            ("string_too_short", format!("must be at least {limit} characters long, found {}", length()))
        }
        Broken::MaxItems { limit } => ("too_long", format!("must have at most {limit} items, found {}", items())),
        Broken::MinItems { limit } => ("too_short", format!("must have at least {limit} items, found {}", items())),
        Broken::UniqueItems => ("unique_items", "must not hold the same item twice".into()),
        Broken::Pattern { pattern } => ("string_pattern_mismatch", format!("must match {pattern}, found {found}")),
        Broken::Format { .. } => ("value_error", format!("expected {}, found {found}", expected(&wanted(node), root))),
        Broken::AnyOf { .. } | Broken::OneOfNotValid { .. } => {
            ("value_error", format!("expected {}, found {found}", expected(node, root)))
        }
        _ => ("value_error", error.masked().to_string()),
    }
}

/// The node without the `null` that a nullable field also takes, which nobody needs to be told about.
fn wanted(node: &Value) -> Cow<'_, Value> {
    match node.get("type").and_then(Value::as_array).and_then(|kinds| kinds.first()) {
        Some(first) => {
            let mut node = node.clone();
            node["type"] = first.clone();
            Cow::Owned(node)
        }
        None => Cow::Borrowed(node),
    }
}

fn type_name(kind: &TypeKind) -> &'static str {
    let first = match kind {
        TypeKind::Single(kind) => Some(*kind),
        TypeKind::Multiple(kinds) => kinds.iter().find(|kind| *kind != JsonType::Null),
    };
    match first {
        Some(JsonType::Integer) => "int_type",
        Some(JsonType::Number) => "float_type",
        Some(JsonType::String) => "string_type",
        Some(JsonType::Boolean) => "bool_type",
        Some(JsonType::Array) => "list_type",
        Some(JsonType::Object) => "dict_type",
        Some(JsonType::Null) | None => "none_required",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn schemas_are_told_in_words() {
        let root = json!({"components": {"schemas": {"Mode": {"type": "string", "enum": ["best", "sum"]}}}});
        let cases = [
            (json!({"type": "integer", "minimum": 1.0, "maximum": 500.0}), "an integer from 1 to 500"),
            (json!({"type": "string", "maxLength": 64}), "a string of at most 64 characters"),
            (json!({"$ref": "#/components/schemas/Mode"}), r#"one of "best", "sum""#),
            (json!({"type": "boolean"}), "true or false"),
            (json!({"anyOf": [], "description": "a Roblox user id."}), "a Roblox user id"),
        ];
        for (schema, words) in cases {
            assert_eq!(expected(&schema, &root), words);
        }
    }

    #[test]
    fn quotes_are_short_and_escaped() {
        assert_eq!(quoted("a\nb"), r#""a\nb""#);
        assert_eq!(quoted(&"é".repeat(100)).chars().count(), MAX_QUOTE + 3);
    }
}
