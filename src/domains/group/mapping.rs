//! Which role of the live group stands for which rank of the ladder. Pure.
//!
//! A rank is found by its `robloxRoleId`, else by its `robloxRank`, else by a role of exactly its name; a punishment's `groupRole` by exactly
//! its name. What cannot be found, or not changed, is a [`MappingTrouble`]: it concerns that rank alone, the others go on.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use crate::base::Time;
use crate::domains::policy::{Policy, Rank};
use crate::remote::roblox::{GroupInfo, Role};

/// The rank of the base role, which every member holds and which cannot be taken from anybody.
const BASE_RANK: u8 = 1;

/// The owner's, which cannot be given.
pub(super) const OWNER_RANK: u8 = 255;

/// The roles of the live group as they were at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    pub group: GroupInfo,
    /// Every role, guests' and owner's included, lowest rank first.
    pub list: Vec<Role>,
    /// The highest rank that the key's owner holds, 0 for somebody who is not in the group; none when that is not known.
    pub key_owner_rank: Option<u8>,
    pub fetched_at: Time,
}

/// Why a rank has no role that we can give or take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MappingTrouble {
    /// The ladder has no such rank.
    NotOnLadder(String),
    /// No role of that name.
    NoSuchRole(String),
    /// Several roles of that name.
    SameName(String),
    /// No role with that id.
    UnknownId(u64),
    /// No role with that rank number.
    UnknownRank(u8),
    /// The guests' or the owner's role.
    Reserved(String),
    /// Another rank of the ladder, named here, has the same role.
    Shared { role: String, with: String },
    /// The key's owner stands too low to give or take it.
    TooHigh { role: String, rank: u8, owner: u8 },
}

/// A rank or a punishment role that does not match, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The rank's name, or the `groupRole`.
    pub name: String,
    pub trouble: MappingTrouble,
}

/// The ladder and the punishment roles, each with its role.
#[derive(Debug, Clone)]
pub struct Mapping {
    /// By place on the ladder.
    ranks: Vec<Found>,
    /// By `groupRole`.
    punishments: BTreeMap<String, Found>,
    /// Places by name and alias.
    places: HashMap<Box<str>, usize>,
    /// Places by role.
    of_role: HashMap<u64, usize>,
    managed: BTreeSet<u64>,
}

#[derive(Debug, Clone)]
struct Found {
    name: Arc<str>,
    /// The role is known even where it cannot be changed.
    role: Option<u64>,
    trouble: Option<MappingTrouble>,
    /// Only a person gives or takes it, so that we cannot is no problem.
    privileged: bool,
}

impl Roles {
    /// Matches the policy's ladder and punishment roles with these roles.
    pub fn map(&self, policy: &Policy) -> Mapping {
        let ladder = policy.ladder();
        let mut of_role: HashMap<u64, usize> = HashMap::new();
        let mut ranks: Vec<Found> = Vec::new();
        for (place, rank) in ladder.ranks().iter().enumerate() {
            let mut found = Found { privileged: rank.privileged, ..self.found(&rank.name, self.of_rank(rank)) };
            if let Some(role) = found.role {
                match of_role.get(&role) {
                    Some(other) => {
                        let (role, with) = (self.name(role), ladder.ranks()[*other].name.to_string());
                        found = Found { role: None, trouble: Some(MappingTrouble::Shared { role, with }), ..found };
                    }
                    None => drop(of_role.insert(role, place)),
                }
            }
            ranks.push(found);
        }
        let statuses = policy.punishments().statuses.values().filter_map(|status| status.group_role.as_deref());
        let punishments: BTreeMap<String, Found> =
            statuses.map(|name| (name.to_owned(), self.found(name, self.named(name)))).collect();
        let known = ranks.iter().chain(punishments.values()).filter_map(|found| found.role);
        let managed = known.filter(|role| self.can_be_taken(*role)).collect();
        let places = ladder.names().map(|(name, place)| (name.into(), place)).collect();
        Mapping { ranks, punishments, places, of_role, managed }
    }

    /// The role with this id.
    pub fn role(&self, id: u64) -> Option<&Role> {
        self.list.iter().find(|role| role.id == id)
    }

    /// The role that every member holds.
    pub fn base(&self) -> Option<u64> {
        self.list.iter().find(|role| role.rank == BASE_RANK).map(|role| role.id)
    }

    /// Whether the group has this role, and it is none of those that come and go by themselves.
    pub fn can_be_taken(&self, id: u64) -> bool {
        self.role(id).is_some_and(|role| (BASE_RANK + 1..OWNER_RANK).contains(&role.rank))
    }

    /// Whether the owner's role is one of these.
    pub fn owns(&self, held: &[u64]) -> bool {
        held.iter().filter_map(|id| self.role(*id)).any(|role| role.rank == OWNER_RANK)
    }

    fn name(&self, id: u64) -> String {
        self.role(id).map_or_else(|| id.to_string(), |role| role.name.clone())
    }

    fn of_rank(&self, rank: &Rank) -> Result<&Role, MappingTrouble> {
        if let Some(id) = rank.roblox_role_id {
            return self.role(id).ok_or(MappingTrouble::UnknownId(id));
        }
        if let Some(number) = rank.roblox_rank {
            return self.list.iter().find(|role| role.rank == number).ok_or(MappingTrouble::UnknownRank(number));
        }
        self.named(&rank.name)
    }

    fn named(&self, name: &str) -> Result<&Role, MappingTrouble> {
        let mut of_that_name = self.list.iter().filter(|role| role.name == name);
        match (of_that_name.next(), of_that_name.next()) {
            (Some(role), None) => Ok(role),
            (Some(_), Some(_)) => Err(MappingTrouble::SameName(name.to_owned())),
            (None, _) => Err(MappingTrouble::NoSuchRole(name.to_owned())),
        }
    }

    fn found(&self, name: &str, role: Result<&Role, MappingTrouble>) -> Found {
        let (role, trouble) = match role {
            Err(trouble) => (None, Some(trouble)),
            Ok(role) => (Some(role.id), self.not_ours(role)),
        };
        Found { name: name.into(), role, trouble, privileged: false }
    }

    /// Why we can neither give nor take this role.
    fn not_ours(&self, role: &Role) -> Option<MappingTrouble> {
        if role.rank == 0 || role.rank == OWNER_RANK {
            return Some(MappingTrouble::Reserved(role.name.clone()));
        }
        let owner = self.key_owner_rank.filter(|owner| *owner <= role.rank)?;
        Some(MappingTrouble::TooHigh { role: role.name.clone(), rank: role.rank, owner })
    }
}

impl Mapping {
    /// The role to give for a rank of the ladder, by name or alias.
    ///
    /// # Errors
    /// Why there is none that we could give.
    pub fn role_of(&self, rank: &str) -> Result<u64, MappingTrouble> {
        let place = self.places.get(rank).ok_or_else(|| MappingTrouble::NotOnLadder(rank.to_owned()))?;
        self.ranks[*place].usable()
    }

    /// Whether a role was found for a rank, by name or alias; none for what is not on the ladder.
    pub fn role_known(&self, rank: &str) -> Option<bool> {
        Some(self.ranks[*self.places.get(rank)?].role.is_some())
    }

    /// The role to give for a punishment's `groupRole`.
    ///
    /// # Errors
    /// As [`Mapping::role_of`].
    pub fn punishment_role(&self, group_role: &str) -> Result<u64, MappingTrouble> {
        let found = self.punishments.get(group_role);
        found.ok_or_else(|| MappingTrouble::NoSuchRole(group_role.to_owned()))?.usable()
    }

    /// The rank that a role stands for.
    pub fn rank_of(&self, role: u64) -> Option<&str> {
        self.of_role.get(&role).map(|place| &*self.ranks[*place].name)
    }

    /// The roles of ranks, privileged ones among them, and of punishments, without the base role that every member holds.
    pub fn managed(&self) -> &BTreeSet<u64> {
        &self.managed
    }

    /// Whether a role stands for a rank that only people give and take.
    pub fn is_privileged(&self, role: u64) -> bool {
        self.of_role.get(&role).is_some_and(|place| self.ranks[*place].privileged)
    }

    /// The highest rank of the ladder among `roles`.
    pub fn live_rank(&self, roles: &[u64]) -> Option<&str> {
        let highest = roles.iter().filter_map(|role| self.of_role.get(role)).max()?;
        Some(&self.ranks[*highest].name)
    }

    /// Whether one of `roles` is a punishment's.
    pub fn punishes(&self, roles: &[u64]) -> bool {
        self.punishments.values().filter_map(|found| found.role).any(|role| roles.contains(&role))
    }

    /// Every rank of the ladder, lowest first, with its role where one was found.
    pub fn ranks(&self) -> impl Iterator<Item = (&str, Option<u64>)> {
        self.ranks.iter().map(|found| (&*found.name, found.role))
    }

    /// Everything that does not match, ladder first. That a privileged rank cannot be given is as it should be.
    pub fn problems(&self) -> Vec<Problem> {
        let all = self.ranks.iter().chain(self.punishments.values());
        let problem = |found: &Found| {
            let trouble = found.trouble.clone().filter(|trouble| !(found.privileged && trouble.is_of_standing()))?;
            Some(Problem { name: found.name.to_string(), trouble })
        };
        all.filter_map(problem).collect()
    }
}

impl Found {
    fn usable(&self) -> Result<u64, MappingTrouble> {
        match (&self.trouble, self.role) {
            (None, Some(role)) => Ok(role),
            (Some(trouble), _) => Err(trouble.clone()),
            (None, None) => Err(MappingTrouble::NoSuchRole(self.name.to_string())),
        }
    }
}

impl MappingTrouble {
    /// Whether the key's owner stands in the way.
    pub fn is_too_high(&self) -> bool {
        matches!(self, Self::TooHigh { .. })
    }

    /// Whether the role is known, and only out of our reach.
    fn is_of_standing(&self) -> bool {
        matches!(self, Self::Reserved(_) | Self::TooHigh { .. })
    }

    /// What an owner can do about it.
    pub fn fix(&self) -> &'static str {
        match self {
            Self::NotOnLadder(_) => "add the rank to policy.ranks.json, or give the player one that is there",
            Self::NoSuchRole(_) | Self::UnknownId(_) | Self::UnknownRank(_) => {
                "make the role in the group, or correct the policy; `grps policy import-ladder` prints a ladder from the live roles"
            }
            Self::SameName(_) => "rename one of the roles, or set robloxRoleId in policy.ranks.json",
            Self::Reserved(_) => "choose another role: guests' and owner's cannot be given",
            Self::Shared { .. } => "give each rank of the ladder a role of its own",
            Self::TooHigh { .. } => "give the key's owner a role above it in the group, or mark the rank privileged",
        }
    }
}

impl fmt::Display for MappingTrouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotOnLadder(name) => write!(f, "{name} is not on the ladder"),
            Self::NoSuchRole(name) => write!(f, "the group has no role named {name}"),
            Self::SameName(name) => write!(f, "the group has several roles named {name}"),
            Self::UnknownId(id) => write!(f, "the group has no role with the id {id}"),
            Self::UnknownRank(rank) => write!(f, "the group has no role with the rank number {rank}"),
            Self::Reserved(role) => write!(f, "the role {role} cannot be given to anybody"),
            Self::Shared { role, with } => write!(f, "the role {role} already stands for {with}"),
            Self::TooHigh { role, rank, owner: 0 } => {
                write!(f, "the key's owner is not in the group, and cannot give or take the role {role} (rank {rank})")
            }
            Self::TooHigh { role, rank, owner } => {
                write!(f, "the role {role} (rank {rank}) is not below the key's owner, who has rank {owner}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::domains::policy::FileKind;

    fn policy(ranks: serde_json::Value, statuses: serde_json::Value) -> Policy {
        let ranks = json!({"version": 1, "ranks": ranks}).to_string();
        let punishments = json!({"version": 1, "statuses": statuses}).to_string();
        Policy::from_texts(&[(FileKind::Ranks, &ranks), (FileKind::Punishments, &punishments)])
            .unwrap_or_else(|report| panic!("{report}"))
    }

    fn roles(list: &[(u64, &str, u8)], key_owner_rank: Option<u8>) -> Roles {
        let role = |(id, name, rank): &(u64, &str, u8)| Role {
            id: *id,
            name: (*name).to_owned(),
            rank: *rank,
            members: None,
            permissions: BTreeSet::new(),
        };
        let group = GroupInfo { id: 1, name: "G".into(), owner: None, members: 9 };
        Roles { group, list: list.iter().map(role).collect(), key_owner_rank, fetched_at: Time(0) }
    }

    const LIVE: &[(u64, &str, u8)] = &[
        (100, "Guest", 0),
        (101, "Member", 1),
        (110, "Suspended", 5),
        (120, "Private", 10),
        (130, "Corporal", 20),
        (131, "Twin", 21),
        (132, "Twin", 22),
        (140, "Captain", 200),
        (199, "Boss", 255),
    ];

    fn ladder() -> Policy {
        policy(
            json!([
                {"name": "Recruit", "requiredPoints": 0, "robloxRank": 1},
                {"name": "Private", "requiredPoints": 10, "aliases": ["Pvt"]},
                {"name": "Sergeant", "requiredPoints": 20, "robloxRoleId": 130},
                {"name": "Twin", "requiredPoints": 30},
                {"name": "Nobody", "requiredPoints": 40},
                {"name": "Lost", "requiredPoints": 50, "robloxRoleId": 999},
                {"name": "Gap", "requiredPoints": 60, "robloxRank": 66},
                {"name": "Corporal", "requiredPoints": 70},
                {"name": "Captain", "requiredPoints": 80, "robloxRank": 200},
                {"name": "Boss", "requiredPoints": 90, "privileged": true}
            ]),
            json!({"suspended": {"action": "SUSPEND", "groupRole": "Suspended"}, "away": {"groupRole": "On leave"}}),
        )
    }

    #[test]
    fn ranks_find_their_roles_by_id_then_number_then_name() {
        let mapping = roles(LIVE, Some(200)).map(&ladder());
        for (rank, role) in [("Recruit", 101), ("Private", 120), ("Pvt", 120), ("Sergeant", 130)] {
            assert_eq!(mapping.role_of(rank), Ok(role), "{rank}");
        }
        use MappingTrouble::*;
        let too_high = TooHigh { role: "Captain".into(), rank: 200, owner: 200 };
        for (rank, trouble) in [
            ("Twin", SameName("Twin".into())),
            ("Nobody", NoSuchRole("Nobody".into())),
            ("Lost", UnknownId(999)),
            ("Gap", UnknownRank(66)),
            ("Corporal", Shared { role: "Corporal".into(), with: "Sergeant".into() }),
            ("Captain", too_high),
            ("Boss", Reserved("Boss".into())),
            ("Emperor", NotOnLadder("Emperor".into())),
        ] {
            assert_eq!(mapping.role_of(rank), Err(trouble), "{rank}");
        }
        assert_eq!(mapping.punishment_role("Suspended"), Ok(110));
        assert_eq!(mapping.punishment_role("On leave"), Err(NoSuchRole("On leave".into())));
        let names: Vec<String> = mapping.problems().into_iter().map(|problem| problem.name).collect();
        assert_eq!(names, ["Twin", "Nobody", "Lost", "Gap", "Corporal", "Captain", "On leave"]);
    }

    #[test]
    fn the_base_role_is_nobodys_to_take_and_the_highest_rank_counts() {
        let mapping = roles(LIVE, None).map(&ladder());
        assert_eq!(mapping.managed().iter().copied().collect::<Vec<_>>(), [110, 120, 130, 140]);
        assert_eq!(mapping.live_rank(&[101]), Some("Recruit"));
        assert_eq!(mapping.live_rank(&[140, 101, 120, 131]), Some("Captain"));
        assert_eq!(mapping.live_rank(&[131, 100]), None, "roles that are no ranks");
        assert_eq!(mapping.live_rank(&[140, 199]), Some("Boss"), "one cannot be given it, but hold it");
        assert_eq!((mapping.rank_of(130), mapping.rank_of(131)), (Some("Sergeant"), None));
        assert!(mapping.punishes(&[101, 110]) && !mapping.punishes(&[101]));
        assert_eq!(mapping.role_of("Captain"), Ok(140), "nobody knows how high the key's owner stands");
    }

    #[test]
    fn an_owner_of_the_key_outside_the_group_can_give_nothing() {
        let mapping = roles(LIVE, Some(0)).map(&ladder());
        let trouble = mapping.role_of("Private").unwrap_err();
        assert!(trouble.to_string().contains("is not in the group"), "{trouble}");
        assert!(mapping.managed().contains(&120), "what is held is known all the same");
    }
}
