//! The doctor's look at Roblox: every call that the features need is tried where trying changes nothing, and read off the key's scopes
//! where it would.

mod line;

use std::sync::Arc;
use std::time::Duration;

use super::keys::{GROUP_WRITE, KeyFault, days_left};
use super::mapping::Roles;
use super::service::{Access, Group};
use crate::domains::policy::{Penalty, Policy};
use crate::remote::Roblox;
use crate::remote::roblox::{KeyInfo, PUBLISH_SCOPE, StoreId, Trouble};

pub use line::{Line, Verdict};

use line::{Need, Subject, Target};

/// How long one call of the doctor may take.
const PATIENCE: Duration = Duration::from_secs(8);

/// A user that every experience can be asked about.
const ANYBODY: u64 = 1;

/// What this deployment uses Open Cloud for, beside its group.
#[derive(Debug, Clone, Default)]
pub struct Uses {
    pub universe: Option<u64>,
    pub store: Option<StoreId>,
    /// The best of the players' board are written to an ordered data store.
    pub ordered: bool,
    /// Game servers are told of jobs.
    pub doorbell: bool,
}

/// Everything the checks look at.
struct Patient<'a> {
    roblox: Roblox,
    group: u64,
    key: Option<Arc<KeyInfo>>,
    policy: &'a Policy,
    uses: &'a Uses,
}

/// Runs every check, one after the other.
pub async fn examine(group: &Group, access: &Access, uses: &Uses) -> Vec<Line> {
    // Asked anew: whoever calls the doctor has just changed something.
    group.forget();
    let key = group.key(Duration::ZERO).await;
    let mut lines = vec![of_key(group, access, &key)];
    let policy = group.policy();
    let patient =
        Patient { roblox: access.roblox.patient(PATIENCE), group: access.group, key: key.ok(), policy: &policy, uses };
    lines.extend(patient.group_lines(group.roles(Duration::ZERO).await).await);
    match uses.universe {
        Some(universe) => lines.extend(patient.experience(universe).await),
        None => {
            let fix = Some("set ROBLOX_UNIVERSE_ID and restart".to_owned());
            lines.push(Line::off("experience", "bans, data stores and messages need ROBLOX_UNIVERSE_ID", fix));
        }
    }
    lines
}

fn of_key(group: &Group, access: &Access, key: &Result<Arc<KeyInfo>, Trouble>) -> Line {
    let subject = Subject { check: "key", what_for: "everything", need: Need::Needed };
    let now = group.clock.now();
    match key {
        Err(trouble) => Line::called(subject, Err(trouble.clone())),
        Ok(key) => match KeyFault::of(key, access.group, now) {
            // What it may do has lines of its own.
            None | Some(KeyFault::OtherGroup(_)) => {
                let until =
                    days_left(key, now).map_or("does not expire".into(), |days| format!("expires in {days} days"));
                let owner = key.owner.map(|owner| format!(", owned by user {owner}")).unwrap_or_default();
                Line::pass("key", format!("\"{}\" is enabled and {until}{owner}", key.name))
            }
            Some(fault) => Line::fail("key", fault.to_string(), fault.fix()),
        },
    }
}

impl Patient<'_> {
    async fn group_lines(&self, roles: Result<Arc<Roles>, Trouble>) -> Vec<Line> {
        let (roblox, group) = (&self.roblox, self.group);
        let subject = |check, what_for, needed| Subject { check, what_for, need: Need::when(needed) };
        let named = |roles: &Roles| {
            let info = &roles.group;
            format!("{} has {} members and {} roles", info.name, info.members, roles.list.len())
        };
        let read = roles.as_ref().map(|roles| named(roles)).map_err(Trouble::clone);
        let members = roblox.memberships(group, None).await;
        let members = members.map(|page| format!("{} on the first page", page.items.len()));
        let mut lines = vec![
            Line::called(subject("group", "reading the group and its roles", true), read),
            Line::called(subject("members", "finding ranks changed by hand", true), members),
        ];
        let changes = subject("role changes", "promotions and demotions", true);
        lines.push(Line::scoped(changes, self.key.as_deref(), GROUP_WRITE, Target::Group(group)));
        if let Ok(roles) = &roles {
            lines.push(self.standing(roles));
            lines.push(self.ladder(roles));
        }
        let joins = self.policy.settings().join_requests.is_on();
        let requests = roblox.join_requests(group, None).await;
        let requests = requests.map(|page| format!("{} wait on the first page", page.items.len()));
        lines.push(Line::called(subject("join requests", "answering join requests", joins), requests));
        let log =
            roblox.audit_log(group, None).await.map(|page| format!("{} rows on the first page", page.items.len()));
        lines.push(Line::called(subject("audit log", "seeing who changed ranks by hand", false), log));
        lines
    }

    /// Whether the key's owner stands above the ladder.
    fn standing(&self, roles: &Roles) -> Line {
        let check = "key's owner";
        let mapping = roles.map(self.policy);
        let known: Vec<u8> = mapping.managed().iter().filter_map(|id| roles.role(*id)).map(|role| role.rank).collect();
        let given = self.policy.ladder().ranks().iter().filter(|rank| !rank.privileged);
        let blocked = given.filter_map(|rank| mapping.role_of(&rank.name).err()).find(|trouble| trouble.is_too_high());
        match (roles.key_owner_rank, blocked) {
            (None, _) => {
                Line::off(check, "its rank in the group is not known, since the key does not say whose it is", None)
            }
            (Some(_), Some(trouble)) => Line::fail(check, trouble.to_string(), trouble.fix()),
            (Some(rank), None) => {
                let top = known
                    .iter()
                    .max()
                    .map_or(String::new(), |top| format!("; the highest role of the ladder has {top}"));
                Line::pass(check, format!("has rank {rank}{top}"))
            }
        }
    }

    fn ladder(&self, roles: &Roles) -> Line {
        let mapping = roles.map(self.policy);
        let problems = mapping.problems();
        let Some(first) = problems.first() else {
            return Line::pass("ladder", format!("all {} ranks have their roles", mapping.ranks().count()));
        };
        let told: Vec<String> =
            problems.iter().map(|problem| format!("{} ({})", problem.name, problem.trouble)).collect();
        Line::fail("ladder", told.join("; "), first.trouble.fix())
    }

    async fn experience(&self, universe: u64) -> Vec<Line> {
        let (key, target) = (self.key.as_deref(), Target::Universe(universe));
        let statuses = &self.policy.punishments().statuses;
        let bans = statuses.values().any(|status| status.experience_ban || status.action == Some(Penalty::Ban));
        let subject = |check, what_for, needed| Subject { check, what_for, need: Need::when(needed) };
        let restriction = self.roblox.restriction(universe, ANYBODY).await.map(|_| "can be read".to_owned());
        let mut lines = vec![
            Line::called(subject("bans, reading", "seeing who is kept out", bans), restriction),
            Line::scoped(
                subject("bans, writing", "keeping punished players out", bans),
                key,
                "universe.user-restriction:write",
                target,
            ),
            Line::scoped(
                subject("messages", "telling game servers of jobs", self.uses.doorbell),
                key,
                PUBLISH_SCOPE,
                target,
            ),
        ];
        lines.extend(self.stores().await);
        for (check, scope, needed) in [
            ("ordered stores, reading", "universe.ordered-data-store.scope.entry:read", false),
            ("ordered stores, writing", "universe.ordered-data-store.scope.entry:write", self.uses.ordered),
        ] {
            lines.push(Line::scoped(subject(check, "showing leaderboards in games", needed), key, scope, target));
        }
        lines
    }

    async fn stores(&self) -> Vec<Line> {
        let subject = |check, what_for, need| Subject { check, what_for, need };
        let Some(store) = &self.uses.store else {
            let fix = Some("set ROBLOX_DATASTORE_NAME and restart".to_owned());
            return vec![Line::off("data store", "ROBLOX_DATASTORE_NAME is not set", fix)];
        };
        let (key, target) = (self.key.as_deref(), Target::Store(store));
        let keys = self.roblox.list_entries(store, None, None, 1).await;
        let entry = match &keys {
            Ok(page) => match page.items.first() {
                Some(first) => Some(self.roblox.entry(store, first).await),
                None => None,
            },
            Err(_) => None,
        };
        let keys = keys.map(|page| match page.items.is_empty() {
            true => format!("{} can be listed; its first page is empty", store.name),
            false => format!("{} can be listed", store.name),
        });
        let mirrored = self.policy.integrations().features.mirror_datastore;
        let reading = subject("data store, reading", "importing points", Need::Needed);
        vec![
            Line::called(subject("data store, listing", "importing points", Need::Needed), keys),
            match entry {
                Some(entry) => Line::called(reading, entry.map(|_| "an entry can be read".to_owned())),
                None => Line::scoped(reading, key, "universe-datastores.objects:read", target),
            },
            Line::scoped(
                subject("data store, writing", "writing ranks back where games read them", Need::when(mirrored)),
                key,
                "universe-datastores.objects:update",
                target,
            ),
        ]
    }
}
