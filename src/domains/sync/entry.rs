//! What an entry of the data store says about a player (requirements G7, G8, R3). Pure.

use serde_json::{Map, Value};

use crate::base::RobloxId;
use crate::domains::players::Observation;

/// Who has no name yet.
pub const UNKNOWN: &str = "Unknown";

/// Longest name, rank or status, in characters; as in snapshots.
const MAX_TEXT: usize = 64;

/// Largest number that JSON carries without loss.
const MAX_NUMBER: i64 = RobloxId::MAX as i64;

/// Most warnings or recommendations; as in snapshots.
const MAX_COUNT: i64 = 1_000_000;

/// The part of a wrong value that a reason repeats, in characters.
const SHOWN: usize = 60;

/// An entry that was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// With an empty username: what the entry says of it is beside.
    seen: Observation,
    username: Option<String>,
}

impl Reading {
    pub fn user(&self) -> RobloxId {
        self.seen.user_id
    }

    /// What it says, about a player whose name is `known` so far. A name that is known never gives way to "Unknown".
    pub fn observation(&self, known: Option<&str>) -> Observation {
        let said = self.username.as_deref().filter(|name| *name != UNKNOWN);
        let username = said.or(known).unwrap_or(UNKNOWN).to_owned();
        Observation { username, ..self.seen.clone() }
    }
}

/// Reads the entry under `key`, or says why it cannot be taken in.
///
/// # Errors
/// A sentence for the owner of the data store.
pub fn read(key: &str, value: &Value) -> Result<Reading, String> {
    let parsed: Value;
    let value = match value {
        Value::String(text) => {
            parsed = serde_json::from_str(text).map_err(|_| format!("the text {} is not JSON", shown(value)))?;
            &parsed
        }
        other => other,
    };
    let fields = value.as_object().ok_or_else(|| format!("{} is not a JSON object", shown(value)))?;
    let username = text(fields, "username")?.flatten();
    let seen = Observation {
        display_name: text(fields, "displayName")?,
        rank: text(fields, "rank")?,
        points: points(fields)?,
        kos: number(fields, "kos", 0, MAX_NUMBER)?,
        wos: number(fields, "wos", 0, MAX_NUMBER)?,
        warnings: count(fields, "warnings")?,
        recommendations: count(fields, "recommendations")?,
        punishment: text(fields, "punishmentStatus")?,
        ..Observation::of(user(key, fields)?, "")
    };
    Ok(Reading { seen, username })
}

/// `userId`, or the part of the key after its last colon.
fn user(key: &str, fields: &Map<String, Value>) -> Result<RobloxId, String> {
    match fields.get("userId") {
        None | Some(Value::Null) => {
            let last = key.rsplit(':').next().unwrap_or(key);
            last.parse().map_err(|_| format!("it has no userId, and its key does not end in one (\"{}\")", cut(last)))
        }
        Some(value) => {
            let id = match value {
                Value::String(text) => text.parse().ok(),
                value => whole(value).and_then(|id| RobloxId::new(id.try_into().ok()?).ok()),
            };
            id.ok_or_else(|| wrong("userId", value, "a Roblox user id"))
        }
    }
}

/// One value under two names; they may not disagree.
fn points(fields: &Map<String, Value>) -> Result<Option<i64>, String> {
    let read = |name| number(fields, name, -MAX_NUMBER, MAX_NUMBER);
    match (read("points")?, read("rankPoints")?) {
        (Some(points), Some(rank_points)) if points != rank_points => {
            Err(format!("points is {points} and rankPoints is {rank_points}: they are two names of one value"))
        }
        (points, rank_points) => Ok(points.or(rank_points)),
    }
}

/// Not said is not the same as null; an empty text is null.
fn text(fields: &Map<String, Value>, name: &str) -> Result<Option<Option<String>>, String> {
    match fields.get(name) {
        None => Ok(None),
        Some(Value::Null) => Ok(Some(None)),
        Some(Value::String(text)) if text.chars().count() <= MAX_TEXT => {
            Ok(Some(Some(text.clone()).filter(|text| !text.is_empty())))
        }
        Some(value) => Err(wrong(name, value, &format!("a text of at most {MAX_TEXT} characters"))),
    }
}

fn number(fields: &Map<String, Value>, name: &str, low: i64, high: i64) -> Result<Option<i64>, String> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => match whole(value).filter(|number| (low..=high).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(name, value, &format!("a whole number from {low} to {high}"))),
        },
    }
}

fn count(fields: &Map<String, Value>, name: &str) -> Result<Option<u32>, String> {
    Ok(number(fields, name, 0, MAX_COUNT)?.and_then(|count| count.try_into().ok()))
}

/// A whole number, also when it was written with a point: all numbers of a game are floats.
fn whole(value: &Value) -> Option<i64> {
    let float = || value.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= MAX_NUMBER as f64);
    value.as_i64().or_else(|| float().map(|float| float as i64))
}

fn wrong(name: &str, value: &Value, expected: &str) -> String {
    format!("{name} is {}: expected {expected}", shown(value))
}

fn shown(value: &Value) -> String {
    cut(&value.to_string())
}

fn cut(text: &str) -> String {
    let mut out: String = text.chars().take(SHOWN).collect();
    if out.len() < text.len() {
        out.push('…');
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn reason(key: &str, value: Value) -> String {
        read(key, &value).unwrap_err()
    }

    #[test]
    fn the_user_is_named_by_the_entry_or_by_its_key() {
        for (key, value, user) in [
            ("player:7", json!({}), 7),
            ("7", json!({}), 7),
            ("a:b:7", json!({"userId": null}), 7),
            ("player:7", json!({"userId": 8}), 8),
            ("player:7", json!({"userId": "9"}), 9),
            ("x", json!({"userId": 12.0}), 12),
        ] {
            assert_eq!(read(key, &value).unwrap().user().get(), user, "{key} {value}");
        }
        for (key, value) in [
            ("player:", json!({})),
            ("player:x", json!({})),
            ("7", json!({"userId": 0})),
            ("7", json!({"userId": 1.5})),
            ("7", json!({"userId": -7})),
            ("7", json!({"userId": "x"})),
            ("7", json!({"userId": true})),
            ("7", json!({"userId": 9_007_199_254_740_992u64})),
        ] {
            assert!(reason(key, value.clone()).contains("userId"), "{key} {value}");
        }
    }

    #[test]
    fn json_within_a_text_is_read_too() {
        let direct = read("1", &json!({"points": 5, "username": "Arc"})).unwrap();
        assert_eq!(read("1", &json!(r#"{"points":5,"username":"Arc"}"#)), Ok(direct));
        for odd in [json!("five"), json!("5"), json!(5), json!(null), json!([1]), json!("\"{}\""), json!("")] {
            assert!(reason("1", odd.clone()).contains("JSON"), "{odd}");
        }
    }

    #[test]
    fn what_is_said_is_taken_and_what_is_not_stays_open() {
        let all = json!({"username": "Arc", "displayName": "A", "rank": "R", "points": 1, "kos": 2, "wos": 3, "warnings": 4,
            "recommendations": 5, "punishmentStatus": "banned", "other": {"x": 1}});
        let seen = read("7", &all).unwrap().observation(None);
        assert_eq!((seen.points, seen.kos, seen.wos, seen.warnings), (Some(1), Some(2), Some(3), Some(4)));
        assert_eq!((seen.recommendations, seen.rank), (Some(5), Some(Some("R".into()))));
        assert_eq!((seen.display_name, seen.punishment), (Some(Some("A".into())), Some(Some("banned".into()))));
        let nothing = read("7", &json!({})).unwrap().observation(None);
        assert_eq!(nothing, Observation::of(RobloxId::new(7).unwrap(), UNKNOWN));
        let cleared =
            read("7", &json!({"rank": null, "punishmentStatus": "", "points": null})).unwrap().observation(None);
        assert_eq!((cleared.rank, cleared.punishment, cleared.points), (Some(None), Some(None), None));
    }

    #[test]
    fn a_known_name_is_kept_unless_another_is_given() {
        let named = |value: Value| read("7", &value).unwrap().observation(Some("Old")).username;
        assert_eq!(named(json!({})), "Old");
        assert_eq!(named(json!({"username": "Unknown"})), "Old");
        assert_eq!(named(json!({"username": ""})), "Old");
        assert_eq!(named(json!({"username": "New"})), "New");
    }

    #[test]
    fn points_have_two_names_and_one_value() {
        let points = |value: Value| read("7", &value).map(|reading| reading.seen.points);
        assert_eq!(points(json!({"rankPoints": 6})), Ok(Some(6)));
        assert_eq!(points(json!({"points": 6, "rankPoints": 6.0})), Ok(Some(6)));
        assert!(points(json!({"points": 5, "rankPoints": 6})).unwrap_err().contains("two names"));
    }

    #[test]
    fn wrong_types_are_named_with_what_was_found() {
        for (name, value) in [
            ("points", json!("many")),
            ("points", json!(1.5)),
            ("points", json!(1e300)),
            ("kos", json!(-1)),
            ("wos", json!([])),
            ("warnings", json!(1_000_001)),
            ("recommendations", json!({})),
            ("rank", json!(5)),
            ("username", json!(["x"])),
            ("displayName", json!("x".repeat(65))),
            ("punishmentStatus", json!(true)),
        ] {
            let told = reason("7", json!({name: value}));
            assert!(told.starts_with(name) && told.contains("expected") && told.len() < 200, "{told}");
        }
    }
}
