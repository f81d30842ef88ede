//! Writes JSON values as block YAML. Every JSON string is a YAML double-quoted string, so quoting is serde_json's; what is left to do is
//! indentation. That is less code than a dependency is risk: serde_yaml is archived, its forks carry a C-derived parser we would not use.

use serde_json::Value;

/// `value` as a YAML document, ending in a newline. Keys come in the value's own order.
pub fn write(value: &Value) -> String {
    let mut out = String::new();
    node(value, 0, &mut out);
    out
}

/// Writes `value` after a key or at the start of the document; `depth` is the indentation of its own lines.
fn node(value: &Value, depth: usize, out: &mut String) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, value) in map {
                indent(depth, out);
                out.push_str(&scalar_key(key));
                out.push(':');
                child(value, depth + 1, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                indent(depth, out);
                out.push('-');
                child(item, depth + 1, out);
            }
        }
        scalar => {
            out.push_str(&scalar.to_string());
            out.push('\n');
        }
    }
}

fn child(value: &Value, depth: usize, out: &mut String) {
    let nested = match value {
        Value::Object(map) => !map.is_empty(),
        Value::Array(items) => !items.is_empty(),
        _ => false,
    };
    out.push(if nested { '\n' } else { ' ' });
    node(value, depth, out);
}

fn indent(depth: usize, out: &mut String) {
    (0..depth).for_each(|_| out.push_str("  "));
}

/// Words that some YAML reader takes for a boolean or for nothing.
const RESERVED: [&str; 9] = ["y", "n", "yes", "no", "on", "off", "true", "false", "null"];

/// Plain where no YAML reader could take it for anything but this text; `$ref`, `y` and `200` are quoted.
fn scalar_key(key: &str) -> String {
    let starts_well = key.starts_with(|first: char| first.is_ascii_alphabetic());
    let word = starts_well && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let reserved = RESERVED.iter().any(|word| word.eq_ignore_ascii_case(key));
    if word && !reserved { key.to_owned() } else { Value::from(key).to_string() }
}

#[cfg(test)]
mod tests {
    use poem_openapi::types::ParseFromYAML;
    use serde_json::json;

    use super::*;

    /// Reads through poem-openapi's own YAML reader, the only one in the tree.
    #[derive(Debug, PartialEq)]
    struct Tree(Value);

    impl poem_openapi::types::Type for Tree {
        const IS_REQUIRED: bool = true;
        type RawValueType = Self;
        type RawElementValueType = Self;
        fn name() -> std::borrow::Cow<'static, str> {
            "tree".into()
        }
        fn schema_ref() -> poem_openapi::registry::MetaSchemaRef {
            poem_openapi::registry::MetaSchemaRef::Inline(Box::new(poem_openapi::registry::MetaSchema::ANY))
        }
        fn as_raw_value(&self) -> Option<&Self> {
            Some(self)
        }
        fn raw_element_iter<'a>(&'a self) -> Box<dyn Iterator<Item = &'a Self> + 'a> {
            Box::new(std::iter::once(self))
        }
    }

    impl ParseFromYAML for Tree {
        fn parse_from_yaml(value: Option<Value>) -> poem_openapi::types::ParseResult<Self> {
            Ok(Tree(value.unwrap_or_default()))
        }
    }

    #[test]
    fn a_yaml_reader_reads_back_what_was_written() {
        let value = json!({
            "openapi": "3.0.3", "empty": {}, "none": [], "yes": "no", "true": true, "null": null, "200": {"a: b": "c # d"},
            "list": [1, -2.5, {"deep": [["x"], {"k": "v"}]}, []], "text": "two\nlines \"quoted\" – ünïcode\u{1}",
            "$ref": "#/components", "~": "!tag &a *b", "9007199254740991": 9007199254740991u64,
        });
        assert_eq!(Tree::parse_from_yaml_string(&write(&value)).unwrap(), Tree(value));
    }

    #[test]
    fn it_looks_like_yaml() {
        let value = json!({"info": {"title": "GRPS"}, "tags": [{"name": "x"}], "200": 1});
        assert_eq!(write(&value), "info:\n  title: \"GRPS\"\ntags:\n  -\n    name: \"x\"\n\"200\": 1\n");
    }
}
