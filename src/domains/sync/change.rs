//! What an entry changes about a player: nothing, something, or that there is one. Pure.

use serde_json::{Map, Value};

use super::entry::Reading;
use crate::base::Time;
use crate::domains::audit::{Actor, Entry};
use crate::domains::players::Player;
use crate::domains::policy::{Flag, Pace, Policy, Tally};

/// Who the audit trail says did it.
pub const ACTOR: &str = "sync";

/// The fields of a player that the audit trail tells of.
const TOLD: [&str; 10] = [
    "username",
    "display_name",
    "rank",
    "reported_rank",
    "points",
    "kos",
    "wos",
    "warnings",
    "recommendations",
    "punishment",
];

/// What became of a player.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Created(Player),
    Updated(Player),
    /// With a row to write when only the revision is news.
    Unchanged(Option<Player>),
}

/// Which writing of an entry it is, as far as Roblox says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Revision {
    /// With the entry's key.
    pub id: Option<String>,
    pub written_at: Option<Time>,
}

/// Lays `reading`, from the entry's `revision`, over what is stored. The data store is the game's own memory, so its values are believed as a first
/// snapshot's are: within the bounds of `policy.points.json`, and however fast they were gained. What was written before the last snapshot came in is history, though, and
/// changes nothing. Returns what the bounds objected to.
pub fn apply(
    before: Option<&Player>,
    reading: &Reading,
    revision: &Revision,
    policy: &Policy,
    now: Time,
) -> (Change, Vec<Flag>) {
    let Revision { id: revision, written_at } = revision.clone();
    if revision.is_some() && before.is_some_and(|before| before.synced_revision == revision) {
        return (Change::Unchanged(None), Vec::new());
    }
    if let Some(before) = before.filter(|before| written_at.is_some_and(|at| is_older(at, before))) {
        let noted = Player { synced_revision: revision, ..before.clone() };
        return (Change::Unchanged((noted != *before).then_some(noted)), Vec::new());
    }
    let mut seen = reading.observation(before.map(|before| before.username.as_str()));
    let mut flags = Vec::new();
    if let Some(points) = seen.points.or(before.is_none().then_some(0)) {
        let judged = policy.points().observe(None, Pace::default(), Tally { points, kos: 0 }, now);
        (seen.points, flags) = (Some(judged.accepted.points), judged.flags);
    }
    let mut player = match before {
        None => Player::first_seen(&seen, now),
        Some(before) => {
            let mut player = before.clone();
            player.observe(&seen, now);
            player
        }
    };
    player.flagged |= !flags.is_empty();
    player.synced_revision = revision;
    // Not when it was read: the game may have written again before that was committed.
    let said_at = written_at.map(|at| at.min(now));
    player.said_at = said_at.max(before.and_then(|before| before.said_at));
    if seen.rank.is_some() {
        player.reported_at = said_at.or(player.reported_at);
    }
    let Some(before) = before else { return (Change::Created(player), flags) };
    let Player { said_at, reported_at, .. } = player;
    let synced_revision = player.synced_revision.clone();
    let only_revision = Player { synced_revision, said_at, reported_at, ..before.clone() };
    let timeless = Player { updated_at: before.updated_at, last_synced_at: before.last_synced_at, ..player.clone() };
    if timeless != only_revision {
        return (Change::Updated(player), flags);
    }
    (Change::Unchanged((only_revision != *before).then_some(only_revision)), Vec::new())
}

/// Whether what was written at `written_at` is older than what is stored. By whole seconds, since Roblox may say no more than those.
fn is_older(written_at: Time, stored: &Player) -> bool {
    written_at.seconds() < stored.said_at.unwrap_or(stored.last_synced_at).seconds()
}

/// The audit row of a player who was created or changed.
pub fn told(before: Option<&Player>, player: &Player, flags: &[Flag], now: Time, request_id: &str) -> Entry {
    let of = |player: &Player| match serde_json::to_value(player) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let (old, new) = (before.map(of), of(player));
    let (mut was, mut is) = (Map::new(), Map::new());
    for name in TOLD {
        let (old, new) = (old.as_ref().map(|old| &old[name]), &new[name]);
        if old != Some(new) {
            was.extend(old.map(|old| (name.to_owned(), old.clone())));
            is.insert(name.to_owned(), new.clone());
        }
    }
    if !flags.is_empty() {
        is.insert("flags".into(), flags.iter().map(|flag| Value::from(flag.to_string())).collect());
    }
    let text = |fields: Map<String, Value>| (!fields.is_empty()).then(|| Value::Object(fields).to_string());
    let entry = Entry::new(now, &Actor::of(ACTOR), request_id, "player.synced", format!("player:{}", player.user_id));
    Entry { before: text(was), after: text(is), ..entry }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::entry;
    use super::*;

    fn reading(value: Value) -> Reading {
        entry::read("player:7", &value).unwrap()
    }

    fn revision(id: &str, written_at: Option<Time>) -> Revision {
        Revision { id: Some(id.to_owned()).filter(|id| !id.is_empty()), written_at }
    }

    fn player(value: Value) -> Player {
        match apply(None, &reading(value), &revision("r1", None), &Policy::builtin(), Time(1)) {
            (Change::Created(player), _) => player,
            other => panic!("{other:?}"),
        }
    }

    fn after(before: &Player, value: Value, revision: &str) -> (Change, Vec<Flag>) {
        apply(Some(before), &reading(value), &self::revision(revision, None), &Policy::builtin(), Time(2))
    }

    #[test]
    fn a_new_player_without_points_has_none_and_an_old_one_keeps_theirs() {
        assert_eq!((player(json!({})).points, player(json!({})).username.as_str()), (0, "Unknown"));
        let known = player(json!({"points": 520, "username": "Arc", "kos": 3}));
        let (Change::Updated(player), _) = after(&known, json!({"kos": 4}), "r2") else { panic!("nothing changed") };
        assert_eq!((player.points, player.kos, player.username.as_str()), (520, 4, "Arc"));
        assert_eq!((player.created_at, player.updated_at), (Time(1), Time(2)));
    }

    #[test]
    fn the_same_revision_is_not_looked_at_and_the_same_values_move_nothing_but_it() {
        let known = player(json!({"points": 520}));
        assert_eq!(after(&known, json!({"points": 9}), "r1").0, Change::Unchanged(None));
        let moved = Player { synced_revision: Some("r2".into()), ..known.clone() };
        assert_eq!(after(&known, json!({"points": 520}), "r2").0, Change::Unchanged(Some(moved)));
        assert_eq!(after(&known, json!({"points": 520}), "").0, {
            Change::Unchanged(Some(Player { synced_revision: None, ..known.clone() }))
        });
        assert!(matches!(after(&known, json!({"points": 521}), "r2").0, Change::Updated(_)));
    }

    #[test]
    fn what_was_written_before_the_last_word_changes_nothing() {
        let policy = &Policy::builtin();
        let mut known = player(json!({"points": 520}));
        (known.said_at, known.last_synced_at) = (Some(Time(60_000)), Time(90_000));
        let at = |known: &Player, id: &str, written_at: i64| {
            let revision = revision(id, Some(Time(written_at)));
            apply(Some(known), &reading(json!({"points": 9})), &revision, policy, Time(100_000)).0
        };
        let noted = Player { synced_revision: Some("r2".into()), ..known.clone() };
        assert_eq!(at(&known, "r2", 59_000), Change::Unchanged(Some(noted)));
        // Written after what was said, though before that was taken in: it is news.
        let Change::Updated(newer) = at(&known, "r2", 61_000) else { panic!("nothing changed") };
        assert_eq!((newer.points, newer.said_at, newer.last_synced_at), (9, Some(Time(61_000)), Time(100_000)));
        assert_eq!(newer.reported_at, known.reported_at, "it said nothing of ranks");
        let ranked = reading(json!({"points": 520, "rank": "A"}));
        let (Change::Updated(newer), _) =
            apply(Some(&known), &ranked, &revision("r3", Some(Time(62_000))), policy, Time(100_000))
        else {
            panic!("nothing changed")
        };
        assert_eq!(newer.reported_at, Some(Time(62_000)), "told when it was written");
        let from_before = Player { said_at: None, ..known };
        assert!(matches!(at(&from_before, "r2", 61_000), Change::Unchanged(Some(_))));
        assert!(matches!(at(&from_before, "r2", 90_000), Change::Updated(_)));
    }

    #[test]
    fn points_keep_within_the_bounds_and_gains_are_believed() {
        let known = player(json!({"points": 1}));
        let (Change::Updated(player), flags) = after(&known, json!({"points": 9_000_000}), "r2") else { panic!() };
        assert_eq!((player.points, player.flagged, flags.len()), (9_000_000, false, 0));
        let (Change::Updated(player), flags) = after(&known, json!({"points": 90_000_000}), "r2") else { panic!() };
        assert_eq!((player.points, player.flagged, flags.len()), (10_000_000, true, 1));
        let entry = told(Some(&known), &player, &flags, Time(2), "req");
        assert_eq!(entry.before.as_deref(), Some(r#"{"points":1}"#));
        assert!(entry.after.unwrap().contains("flags"));
    }
}
