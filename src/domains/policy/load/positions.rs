//! Where each value of a JSON text stands, so that a finding can name line and column. It reads texts that serde has already accepted,
//! so it checks nothing; and it notices keys that stand twice in one object, which serde lets pass in maps.

use std::collections::HashMap;

/// Byte offsets of the values of one text, by JSON pointer.
#[derive(Debug, Default)]
pub struct Positions {
    at: HashMap<String, usize>,
    duplicates: Vec<String>,
}

impl Positions {
    /// Reads a text that is valid JSON; of any other it finds what it can.
    pub fn of(text: &str) -> Self {
        let mut walk = Walk { text, at: 0, found: Self::default() };
        walk.value(&mut String::new());
        walk.found
    }

    /// Pointers of keys that stand twice in the same object.
    pub fn duplicates(&self) -> &[String] {
        &self.duplicates
    }

    /// Line and column, from 1, of the value (or its key) at `pointer`; of the nearest thing around it when it is not there.
    pub fn locate(&self, text: &str, pointer: &str) -> (usize, usize) {
        let mut place = pointer;
        while !self.at.contains_key(place) {
            match place.rfind('/') {
                Some(cut) => place = &place[..cut],
                None => return line_column(text, 0),
            }
        }
        line_column(text, self.at.get(place).copied().unwrap_or(0))
    }
}

/// Line and column, from 1, of a byte offset; columns count characters.
pub(super) fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[start..].chars().count() + 1)
}

struct Walk<'a> {
    text: &'a str,
    at: usize,
    found: Positions,
}

impl Walk<'_> {
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.text.as_bytes();
        while bytes.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        bytes.get(self.at).copied()
    }

    fn value(&mut self, pointer: &mut String) {
        let Some(first) = self.peek() else { return };
        self.found.at.entry(pointer.clone()).or_insert(self.at);
        match first {
            b'{' | b'[' => self.container(pointer, first == b'{'),
            b'"' => drop(self.string()),
            _ => {
                let rest = &self.text[self.at..];
                self.at += rest.find([',', '}', ']']).unwrap_or(rest.len());
            }
        }
    }

    fn container(&mut self, pointer: &mut String, object: bool) {
        self.at += 1;
        let depth = pointer.len();
        for index in 0.. {
            match self.peek() {
                None => return,
                Some(b'}' | b']') => break,
                Some(b',') => self.at += 1,
                Some(_) => {}
            }
            pointer.push('/');
            if object {
                self.key(pointer);
            } else {
                pointer.push_str(&index.to_string());
            }
            let before = self.at;
            self.value(pointer);
            pointer.truncate(depth);
            if self.at == before {
                return; // not JSON after all
            }
        }
        self.at += 1;
    }

    fn key(&mut self, pointer: &mut String) {
        self.peek();
        let start = self.at;
        let key = self.string();
        pointer.push_str(&key.replace('~', "~0").replace('/', "~1"));
        if self.found.at.insert(pointer.clone(), start).is_some() {
            self.found.duplicates.push(pointer.clone());
        }
        if self.peek() == Some(b':') {
            self.at += 1;
        }
    }

    /// Steps over a string and returns what it says.
    fn string(&mut self) -> String {
        let (start, bytes) = (self.at, self.text.as_bytes());
        self.at += 1;
        while let Some(byte) = bytes.get(self.at) {
            self.at += if *byte == b'\\' { 2 } else { 1 };
            if *byte == b'"' {
                break;
            }
        }
        self.text.get(start..self.at).and_then(|quoted| serde_json::from_str(quoted).ok()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "{\n  \"a\": [1, {\"b\": \"x\\\"}\"}, null],\n  \"é/c\": {\"d\": true},\n  \"m\": {\"k\": 1, \"k\": 2}\n}";

    #[test]
    fn every_value_is_found_where_it_stands() {
        let positions = Positions::of(TEXT);
        let at = |pointer| positions.locate(TEXT, pointer);
        assert_eq!(at(""), (1, 1));
        assert_eq!(at("/a"), (2, 3));
        assert_eq!(at("/a/0"), (2, 9));
        assert_eq!(at("/a/1/b"), (2, 13));
        assert_eq!(at("/a/2"), (2, 27));
        assert_eq!(at("/é~1c/d"), (3, 11));
    }

    #[test]
    fn a_missing_value_is_placed_at_what_holds_it() {
        let positions = Positions::of(TEXT);
        assert_eq!(positions.locate(TEXT, "/a/1/absent/deeper"), positions.locate(TEXT, "/a/1"));
        assert_eq!(positions.locate(TEXT, "/nowhere"), (1, 1));
    }

    #[test]
    fn keys_that_stand_twice_are_noticed() {
        assert_eq!(Positions::of(TEXT).duplicates(), ["/m/k"]);
        assert_eq!(Positions::of(r#"[{"k":1},{"k":2}]"#).duplicates(), [] as [&str; 0]);
    }

    #[test]
    fn texts_that_are_not_json_do_not_trip_it() {
        for text in
            ["", "{", "[", "{\"a", "{\"a\":", "[1,,,]", "}{", "[}", "\"\\", "{\"a\" 1}", "[[[[", "nonsense", "{{", "[:"]
        {
            Positions::of(text);
        }
    }
}
