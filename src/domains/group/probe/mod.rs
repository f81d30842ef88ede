//! The doctor's look at Roblox: every call that the features need is tried where trying changes nothing, and read off the key's scopes
//! where it would.

mod line;

use std::sync::Arc;
use std::time::Duration;

use super::keys::{GROUP_WRITE, KeyFault, days_left, in_days};
use super::mapping::Roles;
use super::service::{Access, Group};
use crate::base::Time;
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

/// Runs every check; none but the key's when that one shows that the others are in vain.
pub async fn examine(group: &Group, access: &Access, uses: &Uses) -> Vec<Line> {
    // Asked anew: whoever calls the doctor has just changed something.
    group.forget();
    let key = group.key(Duration::ZERO).await;
    let mut lines = vec![of_key(group, access, &key)];
    if let Some(why) = pointless(&key, group.clock.now()) {
        lines.push(Line::off("all else", format!("not tried: {why}"), None));
        return lines;
    }
    let policy = group.policy();
    let patient =
        Patient { roblox: access.roblox.patient(PATIENCE), group: access.group, key: key.ok(), policy: &policy, uses };
    // At the same time: what hangs must not add up to more than our own caller waits.
    let (of_group, of_experience) =
        tokio::join!(patient.group_lines(group.roles(Duration::ZERO)), patient.experience());
    lines.extend(of_group);
    lines.extend(of_experience);
    lines
}

/// Why every other check would end as the key's did; they would only say so again.
fn pointless(key: &Result<Arc<KeyInfo>, Trouble>, now: Time) -> Option<&'static str> {
    let refused = "Roblox takes no call with this key";
    match key {
        Err(Trouble::Unauthenticated(_)) => Some(refused),
        Ok(key) if KeyFault::is_dead(key, now) => Some(refused),
        Err(Trouble::Unanswered(_)) => Some("Roblox did not answer"),
        _ => None,
    }
}

fn of_key(group: &Group, access: &Access, key: &Result<Arc<KeyInfo>, Trouble>) -> Line {
    let subject = Subject { check: "key", what_for: "everything", need: Need::Needed };
    let now = group.clock.now();
    match key {
        Err(trouble) => Line::called(subject, Err(trouble.clone())),
        Ok(key) => match KeyFault::of(key, access.group, now) {
            // What it may do has lines of its own.
            None | Some(KeyFault::MayNotChangeRoles(_)) => {
                let until =
                    days_left(key, now).map_or("does not expire".into(), |days| format!("expires {}", in_days(days)));
                let owner = key.owner.map(|owner| format!(", owned by user {owner}")).unwrap_or_default();
                Line::pass("key", format!("\"{}\" is enabled and {until}{owner}", key.name))
            }
            Some(fault) => Line::fail("key", fault.to_string(), fault.fix()),
        },
    }
}

impl Patient<'_> {
    async fn group_lines(&self, roles: impl Future<Output = Result<Arc<Roles>, Trouble>>) -> Vec<Line> {
        let (roblox, group) = (&self.roblox, self.group);
        let (roles, members, requests, log) = tokio::join!(
            roles,
            roblox.memberships(group, None),
            roblox.join_requests(group, None),
            roblox.audit_log(group, None)
        );
        let subject = |check, what_for, needed| Subject { check, what_for, need: Need::when(needed) };
        let named = |roles: &Roles| {
            let info = &roles.group;
            format!("{} has {} members and {} roles", info.name, info.members, roles.list.len())
        };
        let read = roles.as_ref().map(|roles| named(roles)).map_err(Trouble::clone);
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
        let requests = requests.map(|page| format!("{} wait on the first page", page.items.len()));
        let answering = subject("join requests", "answering join requests", joins);
        lines.push(self.permitted(answering, requests, "accept join requests"));
        let log = log.map(|page| format!("{} rows on the first page", page.items.len()));
        let seeing = subject("audit log", "seeing who changed ranks by hand", false);
        lines.push(self.permitted(seeing, log, "view the audit log"));
        lines
    }

    /// A call that takes a permission of the owner's role as well: where the key has the scope, that is what lacks.
    fn permitted(&self, subject: Subject, answer: Result<String, Trouble>, permission: &str) -> Line {
        let scope = match &answer {
            Err(Trouble::Denied { scope, .. }) => Some(*scope),
            _ => None,
        };
        let held = scope.filter(|scope| self.key.as_deref().is_some_and(|key| key.may(scope, self.group)));
        let mut line = Line::called(subject, answer);
        if let Some(scope) = held {
            line.fix = Some(format!(
                "the key has {scope}; give its owner a role that may {permission} (on the group's page: Configure Group, Roles), or \
                 check from which addresses the key may be used"
            ));
        }
        line
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
            (Some(0), _) => Line::fail(
                check,
                "is not in the group, and can change nobody's rank there",
                "check ROBLOX_GROUP_ID; the account that made the key has to be a member, with a role above the ladder",
            ),
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
        let (high, other): (Vec<_>, Vec<_>) = problems.iter().partition(|problem| problem.trouble.is_too_high());
        let mut told: Vec<String> =
            other.iter().map(|problem| format!("{} ({})", problem.name, problem.trouble)).collect();
        if !high.is_empty() {
            let names: Vec<&str> = high.iter().map(|problem| problem.name.as_str()).collect();
            told.push(format!("the key's owner can neither give nor take {}", names.join(", ")));
        }
        Line::fail("ladder", told.join("; "), first.trouble.fix())
    }

    async fn experience(&self) -> Vec<Line> {
        let Some(universe) = self.uses.universe else {
            let fix = Some("set ROBLOX_UNIVERSE_ID and restart".to_owned());
            return vec![Line::off("experience", "bans, data stores and messages need ROBLOX_UNIVERSE_ID", fix)];
        };
        let (key, target) = (self.key.as_deref(), Target::Universe(universe));
        let statuses = &self.policy.punishments().statuses;
        let bans = statuses.values().any(|status| status.experience_ban || status.action == Some(Penalty::Ban));
        let subject = |check, what_for, needed| Subject { check, what_for, need: Need::when(needed) };
        let (restriction, stores) = tokio::join!(self.roblox.restriction(universe, ANYBODY), self.stores());
        let restriction = restriction.map(|_| "can be read".to_owned());
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
        lines.extend(stores);
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
