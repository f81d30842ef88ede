//! A rank ladder made from a group's live roles. Pure.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;

use crate::base::{Error, Result};
use crate::domains::policy::{FILE_VERSION, MAX_NAME, MAX_NUMBER, RankEntry, RanksFile, Settings};

/// Permissions that make their holders moderators: nobody gets them by points.
const MODERATES: [&str; 15] = [
    "acceptRequests",
    "banMembers",
    "changeRank",
    "createApiKeys",
    "deleteWallPosts",
    "exileMembers",
    "lockPosts",
    "manageApiKeys",
    "manageBlockedWords",
    "manageCategories",
    "manageGroupUniverses",
    "manageRelationships",
    "removeComments",
    "removePosts",
    "spendGroupFunds",
];

/// A live role, as the server tells it.
#[derive(Debug, Clone, Deserialize)]
pub struct LiveRole {
    pub id: u64,
    pub name: String,
    pub rank: u8,
    #[serde(default)]
    pub permissions: Vec<String>,
}

/// The live group's roles, as the server tells them.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveRoles {
    /// Lowest first.
    pub roles: Vec<LiveRole>,
    pub key_owner_rank: Option<u8>,
}

/// How many points the ranks need, lowest first.
#[derive(Debug, Clone, PartialEq)]
pub enum Points {
    Listed(Vec<i64>),
    /// Each rank needs so many times as much as the one below.
    Growing {
        start: i64,
        factor: f64,
    },
}

/// A rank to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    pub name: String,
    pub points: i64,
    pub rank: Option<u8>,
    pub role: Option<u64>,
    pub privileged: bool,
}

/// A ladder with what is worth saying of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Draft {
    pub steps: Vec<Step>,
    pub notes: Vec<String>,
}

impl LiveRole {
    fn moderates(&self) -> Option<&str> {
        self.permissions.iter().map(String::as_str).find(|held| MODERATES.contains(held))
    }
}

impl LiveRoles {
    /// Why nobody should get `role` by points.
    pub fn privilege(&self, role: &LiveRole) -> Option<String> {
        match (self.key_owner_rank, role.moderates()) {
            (Some(owner), _) if role.rank >= owner => {
                Some(format!("it is not below the key's owner, who has rank {owner}"))
            }
            (_, Some(permission)) => Some(format!("it may {permission}")),
            _ => None,
        }
    }
}

/// Makes a ladder of the roles from `lowest` to `highest` by rank number, but for those named in `aside`.
///
/// # Errors
/// `policy.points_*` when the points do not fit; `policy.no_roles`.
pub fn draft(live: &LiveRoles, (lowest, highest): (u8, u8), points: &Points, aside: &[String]) -> Result<Draft> {
    let mut out = Draft::default();
    let inside = live.roles.iter().filter(|role| (lowest.max(1)..=highest.min(254)).contains(&role.rank));
    let (left, taken): (Vec<&LiveRole>, Vec<&LiveRole>) = inside.partition(|role| aside.contains(&role.name));
    out.notes.extend(
        left.iter().map(|role| format!("{} is left out: policy.punishments.json moves the punished there", role.name)),
    );
    if taken.is_empty() {
        let detail = format!("the group has no role with a rank from {lowest} to {highest}");
        return Err(Error::invalid("policy.no_roles", detail).hint("see --from-rank and --to-rank"));
    }
    if live.roles.iter().all(|role| role.permissions.is_empty()) {
        out.notes.push("the key cannot see what roles may do (group:read): check which ranks are privileged".into());
    }
    let needed = points.series(taken.len())?;
    let mut privileged = false;
    for (role, points) in taken.into_iter().zip(needed) {
        if let Some(why) = live.privilege(role).filter(|_| !privileged) {
            out.notes.push(format!("{} and all above are privileged: {why}", role.name));
            privileged = true;
        }
        let (name, rank, role) = (role.name.clone(), Some(role.rank), Some(role.id));
        out.steps.push(Step { name, points, rank, role, privileged });
    }
    out.settle_names();
    Ok(out)
}

impl Points {
    /// Points for `count` ranks, each more than the one before.
    fn series(&self, count: usize) -> Result<Vec<i64>> {
        let invalid = |detail: String, hint: &str| Err(Error::invalid("policy.points_invalid", detail).hint(hint));
        match self {
            Self::Listed(list) if list.len() != count => invalid(
                format!("--points has {} numbers for {count} ranks", list.len()),
                "give one number a rank, lowest first",
            ),
            Self::Listed(list)
                if list.windows(2).any(|pair| pair[0] >= pair[1]) || list.iter().any(|points| *points < 0) =>
            {
                invalid("--points must rise from rank to rank".into(), "such as --points 100,250,500")
            }
            Self::Listed(list) => Ok(list.clone()),
            Self::Growing { start, factor } => {
                let mut at = *start;
                let mut out = Vec::with_capacity(count);
                for _ in 0..count {
                    if !(0..=MAX_NUMBER).contains(&at) {
                        return invalid(
                            format!("{count} ranks with factor {factor} need more points than there are"),
                            "choose a smaller --factor",
                        );
                    }
                    out.push(at);
                    at = ((at as f64 * factor).round() as i64).max(at.saturating_add(1));
                }
                Ok(out)
            }
        }
    }
}

impl Draft {
    /// Names as the policy takes them: trimmed, cut, and each only once whatever the case.
    pub fn settle_names(&mut self) {
        let mut seen = HashSet::new();
        for step in &mut self.steps {
            let plain: String = step.name.chars().filter(|c| !c.is_control()).collect();
            let fallback = |step: &Step| {
                format!("Rank {}", step.rank.map_or_else(|| step.points.to_string(), |rank| rank.to_string()))
            };
            let mut name = match plain.trim() {
                "" => fallback(step),
                plain => cut(plain, MAX_NAME),
            };
            if !seen.insert(name.to_lowercase()) {
                let suffix =
                    step.rank.map_or_else(|| format!(" ({} points)", step.points), |rank| format!(" (rank {rank})"));
                name = cut(&name, MAX_NAME - suffix.chars().count()) + &suffix;
                seen.insert(name.to_lowercase());
                self.notes.push(format!(
                    "several roles are named {}: one is {name} on the ladder; game servers that send the bare name mean the lowest",
                    step.name
                ));
            }
            step.name = name;
        }
    }

    /// As the file it becomes.
    pub fn file(&self, settings: Settings) -> RanksFile {
        let ranks = self.steps.iter().map(Step::entry).collect();
        RanksFile { schema: None, version: FILE_VERSION, settings, ranks }
    }
}

fn cut(text: &str, most: usize) -> String {
    let short: String = text.chars().take(most).collect();
    short.trim_end().to_owned()
}

impl Step {
    fn entry(&self) -> RankEntry {
        RankEntry {
            name: self.name.clone(),
            required_points: self.points,
            promote_at: None,
            demote_below: None,
            min_kos: None,
            min_time_in_previous_rank_hours: None,
            min_recommendations: None,
            requires_approval: false,
            privileged: self.privileged,
            experiences: Vec::new(),
            aliases: Vec::new(),
            roblox_role_id: self.role,
            roblox_rank: self.rank.map(u32::from),
        }
    }
}

impl fmt::Display for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.notes.iter().try_for_each(|note| writeln!(f, "note: {note}"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domains::policy::{FileKind, Policy};

    fn role(id: u64, name: &str, rank: u8, permissions: &[&str]) -> LiveRole {
        let permissions = permissions.iter().map(|held| (*held).to_owned()).collect();
        LiveRole { id, name: name.to_owned(), rank, permissions }
    }

    fn growing() -> Points {
        Points::Growing { start: 100, factor: 1.5 }
    }

    fn policy(draft: &Draft) -> Policy {
        let text = serde_json::to_string(&draft.file(Settings::default())).unwrap();
        Policy::from_texts(&[(FileKind::Ranks, &text)]).unwrap_or_else(|report| panic!("{report}"))
    }

    #[test]
    fn roles_become_a_ladder_that_lint_passes() {
        let live = LiveRoles {
            roles: vec![
                role(1, "Guest", 0, &[]),
                role(2, "Member", 1, &["viewWallPosts"]),
                role(3, "Suspended", 3, &[]),
                role(4, " Private ", 5, &["createWallPosts"]),
                role(5, "Corporal", 10, &[]),
                role(6, "CORPORAL", 11, &[]),
                role(7, "Sergeant", 20, &["exileMembers"]),
                role(8, "Captain", 30, &[]),
                role(9, "Owner", 255, &[]),
            ],
            key_owner_rank: Some(200),
        };
        let draft = draft(&live, (2, 254), &growing(), &["Suspended".into()]).unwrap();
        let policy = policy(&draft);
        let told: Vec<_> = policy
            .ladder()
            .ranks()
            .iter()
            .map(|rank| (&*rank.name, rank.required_points, rank.roblox_rank, rank.roblox_role_id, rank.privileged))
            .collect();
        assert_eq!(
            told,
            [
                ("Private", 100, Some(5), Some(4), false),
                ("Corporal", 150, Some(10), Some(5), false),
                ("CORPORAL (rank 11)", 225, Some(11), Some(6), false),
                ("Sergeant", 338, Some(20), Some(7), true),
                ("Captain", 507, Some(30), Some(8), true),
            ]
        );
        let notes = draft.to_string();
        for told in
            ["Suspended is left out", "several roles are named CORPORAL", "Sergeant and all above", "exileMembers"]
        {
            assert!(notes.contains(told), "{notes}");
        }
    }

    #[test]
    fn points_that_do_not_fit_are_refused() {
        let live = LiveRoles { roles: vec![role(4, "A", 5, &[]), role(5, "B", 6, &[])], key_owner_rank: None };
        let with = |points: Points| draft(&live, (2, 254), &points, &[]).map_err(|error| error.detail().to_owned());
        assert!(with(Points::Listed(vec![1])).unwrap_err().contains("1 numbers for 2 ranks"));
        assert!(with(Points::Listed(vec![5, 5])).unwrap_err().contains("must rise"));
        let listed: Vec<i64> = with(Points::Listed(vec![0, 9])).unwrap().steps.iter().map(|step| step.points).collect();
        assert_eq!(listed, [0, 9]);
        let many = LiveRoles {
            roles: (2..=254).map(|rank| role(rank.into(), "R", rank, &[])).collect(),
            key_owner_rank: None,
        };
        assert!(draft(&many, (2, 254), &growing(), &[]).unwrap_err().detail().contains("more points than there are"));
        assert!(draft(&many, (2, 254), &Points::Growing { start: 0, factor: 1.0 }, &[]).is_ok());
        assert!(draft(&live, (50, 60), &growing(), &[]).unwrap_err().detail().contains("no role with a rank"));
    }

    #[test]
    fn what_the_keys_owner_cannot_give_is_privileged() {
        let live = LiveRoles { roles: vec![role(4, "A", 5, &[]), role(5, "B", 6, &[])], key_owner_rank: Some(6) };
        let draft = draft(&live, (2, 254), &growing(), &[]).unwrap();
        assert_eq!(draft.steps.iter().map(|step| step.privileged).collect::<Vec<_>>(), [false, true]);
    }

    proptest! {
        /// Whatever roles are named, the ladder made of them passes lint.
        #[test]
        fn any_names_make_a_ladder(names in prop::collection::vec("[aAbB \t]{0,4}|[a-c]{60,100}|.{0,100}", 1..40)) {
            let roles = names.iter().enumerate().map(|(at, name)| role(at as u64 + 1, name, at as u8 + 2, &[])).collect();
            let live = LiveRoles { roles, key_owner_rank: None };
            policy(&draft(&live, (2, 254), &Points::Growing { start: 1, factor: 1.1 }, &[]).unwrap());
        }
    }
}
