//! Reads the literals of a settings file that was written for a program: JSON, JavaScript, TypeScript or Lua. Nothing is run; what is no
//! literal (a call, a name) reads as null. Pure.

use serde_json::{Map, Number, Value};

/// Nesting that is followed.
const MAX_DEPTH: usize = 32;

/// Every table or list in `text` that stands on its own, in order: the whole file, or what is assigned, exported or returned.
pub fn literals(text: &str) -> Vec<Value> {
    if let Ok(value) = serde_json::from_str(text) {
        return vec![value];
    }
    let mut reader = Reader { rest: text, depth: 0 };
    let mut out = Vec::new();
    loop {
        reader.blank();
        let Some(first) = reader.rest.chars().next() else { return out };
        match first {
            '{' | '[' => out.extend(reader.value()),
            '"' | '\'' | '`' => drop(reader.quoted(first)),
            _ => reader.skip(first),
        }
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn skip(&mut self, c: char) {
        self.rest = self.rest.get(c.len_utf8()..).unwrap_or_default();
    }

    /// Passes spaces and comments of all four languages.
    fn blank(&mut self) {
        loop {
            self.rest = self.rest.trim_start();
            let end = if self.rest.starts_with("--[[") {
                "]]"
            } else if self.rest.starts_with("/*") {
                "*/"
            } else if self.rest.starts_with("//") || self.rest.starts_with("--") {
                "\n"
            } else {
                return;
            };
            self.rest = self.rest.split_once(end).map_or("", |(_, rest)| rest);
        }
    }

    fn peek(&mut self) -> Option<char> {
        self.blank();
        self.rest.chars().next()
    }

    fn takes(&mut self, c: char) -> bool {
        let there = self.peek() == Some(c);
        if there {
            self.skip(c);
        }
        there
    }

    /// A value; none where nothing can be made of what stands there.
    fn value(&mut self) -> Option<Value> {
        match self.peek()? {
            open @ ('{' | '[') => self.table(if open == '{' { '}' } else { ']' }),
            quote @ ('"' | '\'' | '`') => Some(Value::String(self.quoted(quote))),
            _ => Some(self.expression()),
        }
    }

    /// Both kinds of brackets, since Lua writes lists in braces: a list when any item has no key.
    fn table(&mut self, close: char) -> Option<Value> {
        if self.depth >= MAX_DEPTH {
            self.rest = "";
            return None;
        }
        self.depth += 1;
        self.skip('{');
        let (mut keyed, mut plain) = (Map::new(), Vec::new());
        while !self.takes(close) && self.peek().is_some() {
            if self.takes(',') || self.takes(';') {
                continue;
            }
            let before = self.rest;
            match self.key() {
                Some(key) => drop(keyed.insert(key, self.value().unwrap_or_default())),
                None => plain.extend(self.value()),
            }
            if self.rest.len() == before.len() {
                let odd = before.chars().next().unwrap_or(' ');
                self.skip(odd);
            }
        }
        self.depth -= 1;
        let list = close == ']' || (keyed.is_empty() && !plain.is_empty());
        Some(if list { Value::Array(plain) } else { Value::Object(keyed) })
    }

    /// `name:`, `"name":`, `name =`, `[name] =`; nothing is passed when it is none of these.
    fn key(&mut self) -> Option<String> {
        let before = self.rest;
        let found = self.key_before_sign();
        let signed = found.is_some() && (self.takes(':') || (!self.rest.starts_with("==") && self.takes('=')));
        if !signed {
            self.rest = before;
        }
        found.filter(|_| signed)
    }

    fn key_before_sign(&mut self) -> Option<String> {
        match self.peek()? {
            quote @ ('"' | '\'') => Some(self.quoted(quote)),
            '[' => {
                // Only plain keys: a list would be read twice at every level.
                self.skip('[');
                let key = match self.peek()? {
                    quote @ ('"' | '\'') => self.quoted(quote),
                    _ => self.word(),
                };
                self.takes(']').then_some(key)
            }
            c if is_of_word(c) => Some(self.word()),
            _ => None,
        }
    }

    fn word(&mut self) -> String {
        let end = self.rest.find(|c: char| !is_of_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn quoted(&mut self, quote: char) -> String {
        self.skip(quote);
        let mut out = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '\\' => out.extend(chars.next().map(|(_, c)| c)),
                c if c == quote => {
                    self.rest = self.rest.get(at + 1..).unwrap_or_default();
                    return out;
                }
                c => out.push(c),
            }
        }
        self.rest = "";
        out
    }

    /// Up to the comma or bracket that ends it: a number, true, false, or null for all else.
    fn expression(&mut self) -> Value {
        let (mut text, mut inner) = (String::new(), 0usize);
        while let Some(c) = self.peek() {
            match c {
                '(' | '{' | '[' => inner += 1,
                ')' | '}' | ']' if inner > 0 => inner -= 1,
                ',' | ';' | '}' | ']' | ')' if inner == 0 => break,
                '"' | '\'' | '`' => {
                    self.quoted(c);
                    text.push('"');
                    continue;
                }
                _ => {}
            }
            text.push(c);
            self.skip(c);
        }
        let number = text.replace('_', "");
        match text.as_str() {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            _ => match (number.parse::<i64>(), number.parse::<f64>()) {
                (Ok(number), _) => number.into(),
                (_, Ok(number)) => Number::from_f64(number).map_or(Value::Null, Value::Number),
                _ => Value::Null,
            },
        }
    }
}

fn is_of_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '$'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn literals_of_four_languages_are_read() {
        assert_eq!(literals(r#"{"a": [1, 2.5, null]}"#), [json!({"a": [1, 2.5, null]})]);
        let typescript = r#"
            import { BotConfig } from './structures/types';
            // a comment with a { brace
            export const config: BotConfig = {
                groupId: 12_345, /* { not this } */
                'quoted': "it's // no comment", token: process.env.TOKEN ?? fallback({ a: 1 }, [2]),
                on: true, list: [ { rank: 3, xp: 30, }, { rank: 4, xp: 60 }, ],
                nested: { deep: `x` },
            }"#;
        let found = literals(typescript).pop().unwrap();
        assert_eq!(
            found,
            json!({"groupId": 12345, "quoted": "it's // no comment", "token": null, "on": true,
                "list": [{"rank": 3, "xp": 30}, {"rank": 4, "xp": 60}], "nested": {"deep": "x"}})
        );
        let lua = "local ranks = { -- { these\n  { Rank = 5, Points = 100 },\n  { Rank = 6; Points = 2e2 },\n}\nreturn { [5] = 100, [\"6\"] = 200 }";
        assert_eq!(
            literals(lua),
            [json!([{"Rank": 5, "Points": 100}, {"Rank": 6, "Points": 200.0}]), json!({"5": 100, "6": 200})]
        );
        assert_eq!(literals("no literal here"), [] as [Value; 0]);
    }

    proptest! {
        /// Whatever the text, reading ends.
        #[test]
        fn reading_ends(text in "[{}\\[\\]:=,;'\"`a1 \n/*-]{0,200}") {
            let _ = literals(&text);
        }
    }

    #[test]
    fn deep_nesting_is_given_up() {
        let _ = literals(&"{a:[".repeat(100_000));
    }
}
