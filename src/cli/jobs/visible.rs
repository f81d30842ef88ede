//! Texts that others wrote, for terminals. Control characters move cursors and set titles, and marks of direction show a text in another order
//! than it has; both are shown as the `\uXXXX` they would be in JSON, so what is JSON stays the same JSON.

use std::borrow::Cow;
use std::fmt::Write;

/// Writes out what a terminal would obey. Line ends and tabs stay: where JSON has them raw, they are its own.
pub fn visible(text: &str) -> Cow<'_, str> {
    written_out(text, |c| matches!(c, '\n' | '\t'))
}

/// The same for a text that has to stay within its line.
pub fn visible_line(text: &str) -> Cow<'_, str> {
    written_out(text, |_| false)
}

fn written_out(text: &str, stays: impl Fn(char) -> bool) -> Cow<'_, str> {
    let obeyed = |c: char| (c.is_control() || is_mark(c)) && !stays(c);
    if !text.contains(obeyed) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if obeyed(c) {
            // None of them is beyond U+FFFF, and writing to a string cannot fail.
            let _ = write!(out, "\\u{:04x}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out.into()
}

/// The marks, embeddings, overrides and isolates of Unicode's bidirectional algorithm, and its separators of lines and paragraphs.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_written_out() {
        assert_eq!(visible("a\u{1b}[2J\u{7f}\u{9b}\u{85}\u{202e}b"), r"a\u001b[2J\u007f\u009b\u0085\u202eb");
        assert_eq!(visible("Grüße, 日本 👋\n\t{}"), "Grüße, 日本 👋\n\t{}");
        assert_eq!(visible_line("a\r\n\tb"), r"a\u000d\u000a\u0009b");
    }

    #[test]
    fn json_stays_the_same_json() {
        let all: String = (0..0x3000).filter_map(char::from_u32).collect();
        let value = json!({ "text": all, "list": [1, "\u{2066}"] });
        for text in [value.to_string(), format!("{value:#}")] {
            let shown = visible(&text);
            assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), value);
            assert!(!shown.chars().any(|c| (c.is_control() && c != '\n') || is_mark(c)));
        }
    }
}
