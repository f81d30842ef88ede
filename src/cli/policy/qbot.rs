//! Rank levels as other bots keep them: qbot's settings, and lists of ranks with points in JSON, JavaScript or Lua. Pure.

use serde_json::{Map, Value};

use super::ladder::{Draft, LiveRole, LiveRoles, Step};
use crate::base::{Error, Result};

/// Names for points, in lower case; the first that is there counts.
const POINTS: [&str; 8] =
    ["xp", "points", "requiredxp", "requiredpoints", "pointsrequired", "xprequired", "minpoints", "amount"];

/// Settings that are told of but not taken, with where they belong here.
const LEFT: [(&str, &str); 4] = [
    ("firedrank", "nobody is put out of the ladder automatically"),
    ("suspendedrank", "name that role as groupRole of a status in policy.punishments.json"),
    ("autorankup", "who may let decisions take effect is a matter of keys, and settings.mode"),
    ("antiabuse", "see settings.breaker in policy.ranks.json and limits in permissions.json"),
];

/// Which role a level is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Rank(u8),
    Role(u64),
    Name(String),
}

/// So many points for that role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Level {
    pub which: Which,
    pub points: i64,
}

/// What another bot's settings say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    pub group: Option<u64>,
    /// The highest rank number it may give.
    pub highest: Option<u8>,
    pub levels: Vec<Level>,
    pub notes: Vec<String>,
}

/// Looks through everything that was read from a file.
///
/// # Errors
/// `policy.no_levels` when there is no list of ranks with points.
pub fn find(literals: &[Value]) -> Result<Found> {
    let mut out = Found::default();
    let mut lists = Vec::new();
    literals.iter().for_each(|value| out.look(value, &mut lists));
    // The longest list: examples and other lists of a settings file are shorter.
    let Some(best) = lists.into_iter().rev().max_by_key(Vec::len) else {
        let detail = "the file has no list of ranks with points, such as [{\"rank\": 5, \"xp\": 100}]";
        return Err(Error::invalid("policy.no_levels", detail).hint("qbot keeps it under xpSystem.roles"));
    };
    out.levels = best;
    Ok(out)
}

impl Found {
    fn look(&mut self, value: &Value, lists: &mut Vec<Vec<Level>>) {
        match value {
            Value::Array(items) => {
                let levels: Vec<Level> = items.iter().filter_map(level).collect();
                if !levels.is_empty() {
                    let odd = items.len() - levels.len();
                    if odd > 0 {
                        self.notes
                            .push(format!("{odd} of {} entries are no rank with points and are left out", items.len()));
                    }
                    lists.push(levels);
                }
                items.iter().for_each(|item| self.look(item, lists));
            }
            Value::Object(fields) => {
                let keyed: Option<Vec<Level>> = fields.iter().map(|(key, value)| numbered(key, value)).collect();
                lists.extend(keyed.filter(|levels| levels.len() > 1));
                for (key, value) in fields {
                    self.setting(key, value);
                    self.look(value, lists);
                }
            }
            _ => {}
        }
    }

    fn setting(&mut self, name: &str, value: &Value) {
        let key = name.to_ascii_lowercase();
        match key.as_str() {
            "groupid" => self.group = self.group.or(whole(value).filter(|group| *group > 0)),
            "maximumrank" => self.highest = self.highest.or(whole(value).and_then(|rank| u8::try_from(rank).ok())),
            _ => {
                let told = LEFT.iter().find(|(left, _)| *left == key).filter(|_| !value.is_null());
                self.notes.extend(told.map(|(_, why)| format!("{name} is left out: {why}")));
            }
        }
    }

    /// A ladder of these levels, named after the live roles where they are known.
    ///
    /// # Errors
    /// `policy.no_levels` when nothing is left.
    pub fn draft(self, live: &LiveRoles) -> Result<Draft> {
        let Self { highest, levels, notes, .. } = self;
        let mut out = Draft { notes, ..Draft::default() };
        let mut steps: Vec<Step> = levels.into_iter().filter_map(|level| out.step(level, live)).collect();
        steps.sort_by_key(|step| (step.rank, step.points));
        for step in steps {
            let above = step.rank.zip(highest).is_some_and(|(rank, highest)| rank > highest);
            let rises = out
                .steps
                .last()
                .is_none_or(|below| below.points < step.points && (step.rank.is_none() || below.rank != step.rank));
            if above {
                out.notes.push(format!("{} is left out: it is above maximumRank", step.name));
            } else if !rises {
                out.notes.push(format!(
                    "{} is left out: {} points are not more than the rank below needs",
                    step.name, step.points
                ));
            } else {
                out.steps.push(step);
            }
        }
        if out.steps.is_empty() {
            return Err(Error::invalid("policy.no_levels", format!("no rank could be used\n{out}")));
        }
        let from = out.steps.iter().position(|step| step.privileged).unwrap_or(out.steps.len());
        out.steps.iter_mut().skip(from).for_each(|step| step.privileged = true);
        out.settle_names();
        Ok(out)
    }
}

impl Draft {
    fn step(&mut self, level: Level, live: &LiveRoles) -> Option<Step> {
        let Level { which, points } = level;
        let role = live.roles.iter().find(|role| match &which {
            Which::Rank(rank) => role.rank == *rank,
            Which::Role(id) => role.id == *id,
            Which::Name(name) => role.name == *name,
        });
        if let Some(role) = role.filter(|role| !(1..=254).contains(&role.rank)) {
            self.notes.push(format!("{} is left out: guests' and owner's roles cannot be given", role.name));
            return None;
        }
        if role.is_none() && !live.roles.is_empty() {
            self.notes.push(format!("the group has no role {which}: correct it in the file"));
        }
        if let Some((role, why)) = role.and_then(|role| Some((role, live.privilege(role)?))) {
            self.notes.push(format!("{} and all above are privileged: {why}", role.name));
        }
        let privileged = role.is_some_and(|role| live.privilege(role).is_some());
        let of = |pick: fn(&LiveRole) -> u64| role.map(pick);
        Some(match which {
            Which::Rank(rank) => {
                let name = role.map_or_else(|| format!("Rank {rank}"), |role| role.name.clone());
                Step { name, points, rank: Some(rank), role: of(|role| role.id), privileged }
            }
            Which::Role(id) => {
                let name = role.map_or_else(|| format!("Role {id}"), |role| role.name.clone());
                Step { name, points, rank: role.map(|role| role.rank), role: Some(id), privileged }
            }
            Which::Name(name) => {
                Step { name, points, rank: role.map(|role| role.rank), role: of(|role| role.id), privileged }
            }
        })
    }
}

impl std::fmt::Display for Which {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Rank(rank) => write!(f, "with the rank number {rank}"),
            Self::Role(id) => write!(f, "with the id {id}"),
            Self::Name(name) => write!(f, "named {name}"),
        }
    }
}

/// `{rank: 5, xp: 100}` in any of its spellings.
fn level(item: &Value) -> Option<Level> {
    let fields = item.as_object()?;
    let points = POINTS.iter().find_map(|name| field(fields, name)).and_then(whole)?;
    let points = i64::try_from(points).ok()?;
    let rank = |name: &str| whole(field(fields, name)?);
    let which = match (rank("roleid").or_else(|| rank("robloxroleid")), rank("rank").or_else(|| rank("rankid"))) {
        (Some(id), _) => Which::Role(id),
        (None, Some(id)) => u8::try_from(id).map_or(Which::Role(id), Which::Rank),
        (None, None) => {
            let name = ["rankname", "name", "rank", "role"].iter().find_map(|name| field(fields, name)?.as_str());
            Which::Name(name.filter(|name| !name.is_empty())?.to_owned())
        }
    };
    Some(Level { which, points })
}

/// `{5: 100, 6: 200}`: rank numbers with points.
fn numbered(key: &str, value: &Value) -> Option<Level> {
    let rank = key.parse().ok().filter(|rank| (1..=254).contains(rank))?;
    Some(Level { which: Which::Rank(rank), points: i64::try_from(whole(value)?).ok()? })
}

fn field<'a>(fields: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let plain = |key: &str| key.replace(['_', '-', ' '], "").to_ascii_lowercase();
    fields.iter().find(|(key, _)| plain(key) == name).map(|(_, value)| value)
}

/// A whole number, also as text or with decimals that are zero.
fn whole(value: &Value) -> Option<u64> {
    let exact = value.as_f64().filter(|number| number.fract() == 0.0 && (0.0..9e15).contains(number));
    value.as_u64().or(exact.map(|number| number as u64)).or_else(|| value.as_str()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::super::loose::literals;
    use super::*;

    const QBOT: &str = "import { BotConfig } from './structures/types';
        export const config: BotConfig = {
            groupId: 7788, api: true, maximumRank: 20, firedRank: 1, suspendedRank: 3,
            xpSystem: { enabled: true, autoRankup: true, roles: [
                { rank: 7, xp: 250 }, { rank: 5, xp: 60, }, { rank: 6, xp: 150 }, { rank: 8, xp: 250 }, { rank: 30, xp: 900 },
                { rank: process.env.TOP, xp: 999 },
            ] },
            antiAbuse: { enabled: false, threshold: 5, demotionRank: 1 },
        }";

    fn role(id: u64, name: &str, rank: u8) -> LiveRole {
        LiveRole { id, name: name.to_owned(), rank, permissions: Vec::new() }
    }

    #[test]
    fn qbots_settings_become_a_ladder() {
        let found = find(&literals(QBOT)).unwrap();
        assert_eq!((found.group, found.highest, found.levels.len()), (Some(7788), Some(20), 5));
        let live = LiveRoles { roles: vec![role(50, "Cadet", 5), role(60, "Guard", 6)], key_owner_rank: None };
        let draft = found.draft(&live).unwrap();
        let steps: Vec<_> =
            draft.steps.iter().map(|step| (step.name.as_str(), step.points, step.rank, step.role)).collect();
        assert_eq!(
            steps,
            [("Cadet", 60, Some(5), Some(50)), ("Guard", 150, Some(6), Some(60)), ("Rank 7", 250, Some(7), None)]
        );
        let notes = draft.to_string();
        for told in [
            "1 of 6 entries",
            "suspendedRank is left out",
            "above maximumRank",
            "Rank 8 is left out",
            "no role with the rank number 7",
        ] {
            assert!(notes.contains(told), "{told}: {notes}");
        }
    }

    #[test]
    fn lists_of_other_rankers_are_understood() {
        let levels = |text: &str| {
            let found = find(&literals(text)).unwrap();
            found.levels.into_iter().map(|level| (level.which, level.points)).collect::<Vec<_>>()
        };
        let two = [(Which::Rank(5), 10), (Which::Rank(6), 20)];
        assert_eq!(levels(r#"[{"rank": 5, "points": 10}, {"rankId": "6", "requiredPoints": 20}]"#), two);
        assert_eq!(levels("return { ranks = { {Rank = 5, Points = 10}, {Rank = 6, Points = 20} } }"), two);
        assert_eq!(levels("local xp = { [5] = 10, [6] = 20 }"), two);
        assert_eq!(
            levels(
                r#"{"ranks": [{"role_id": 99001122, "xp": 1}, {"name": "Guard", "min_points": 2}, {"rankId": 70001, "xp": 3}]}"#
            ),
            [(Which::Role(99001122), 1), (Which::Name("Guard".into()), 2), (Which::Role(70001), 3)]
        );
        assert!(find(&literals("{}")).unwrap_err().detail().contains("no list of ranks"));
    }

    #[test]
    fn without_live_roles_numbers_are_names() {
        let found = find(&literals(r#"[{"rank": 5, "xp": 10}, {"rank": 6, "xp": 5}]"#)).unwrap();
        let draft = found.draft(&LiveRoles::default()).unwrap();
        assert_eq!(draft.steps.len(), 1);
        assert_eq!(draft.steps[0].name, "Rank 5");
    }
}
