//! The published limits: so many requests of a class in a sliding window, pooled over the key's owner, or over a universe.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::reply::Reply;
use crate::base::Time;

/// Windows that are kept before those that have run out are thrown away.
const MAX_WINDOWS: usize = 10_000;

/// What is limited together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    Group,
    Roles,
    Role,
    Memberships,
    Assign,
    Unassign,
    /// The deprecated way to set a role.
    SetRole,
    Joins,
    AcceptJoin,
    DeclineJoin,
    AuditLog,
    StoreRead,
    StoreWrite,
    StoreList,
    StoreRemove,
    OrderedRead,
    OrderedWrite,
    OrderedList,
    OrderedRemove,
    /// Everything about restrictions, of one owner.
    Restrictions,
    Restriction,
    RestrictionList,
    RestrictionLogs,
    Restrict,
    /// Changes of one person's restriction.
    RestrictOne,
    Publish,
    User,
    Introspect,
}

/// Whom a class is counted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Pool {
    /// The key's owner; which one is known once the key is.
    Owner,
    OwnedBy(u64),
    Universe(u64),
    Person {
        universe: u64,
        user: u64,
    },
}

impl Class {
    /// How many, in which time.
    pub fn published(self) -> (u32, Duration) {
        let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
        match self {
            Self::Group => (150, minute),
            Self::AcceptJoin | Self::DeclineJoin | Self::AuditLog => (100, minute),
            Self::Restrictions => (150, second),
            Self::Restriction | Self::RestrictionList | Self::RestrictionLogs => (50, second),
            Self::Restrict => (10, second),
            Self::RestrictOne => (2, minute),
            Self::Publish => (5_000, minute),
            Self::User | Self::Introspect => (1_000, minute),
            _ => (300, minute),
        }
    }

    /// Where others than the caller are counted.
    pub(super) fn pool(self, owner: u64, universe: u64) -> Pool {
        match self {
            Self::StoreRead | Self::StoreWrite | Self::StoreList | Self::StoreRemove => Pool::Universe(universe),
            Self::OrderedRead | Self::OrderedWrite | Self::OrderedList | Self::OrderedRemove => {
                Pool::Universe(universe)
            }
            Self::Restriction | Self::RestrictionList | Self::RestrictionLogs => Pool::Universe(universe),
            Self::Restrict => Pool::Universe(universe),
            _ => Pool::OwnedBy(owner),
        }
    }
}

/// How a limit stands after a request, for the headers.
pub(super) struct Standing {
    limit: u32,
    window: Duration,
    remaining: u32,
    reset: Duration,
}

#[derive(Default)]
pub(super) struct Limits {
    pub set: BTreeMap<Class, u32>,
    windows: BTreeMap<(Class, Pool), VecDeque<Time>>,
    pub served: BTreeMap<Class, u64>,
    pub throttled: u64,
}

impl Limits {
    fn limit(&self, class: Class) -> u32 {
        self.set.get(&class).copied().unwrap_or_else(|| class.published().0)
    }

    /// Counts a request against all of its classes, or against none when one of them is used up.
    pub fn take(&mut self, tolls: &[(Class, Pool)], now: Time) -> Result<Option<Standing>, Standing> {
        let mut standings: Vec<Standing> = tolls.iter().map(|toll| self.standing(*toll, now)).collect();
        if let Some(over) = standings.iter().position(|standing| standing.remaining == 0) {
            self.throttled += 1;
            return Err(standings.swap_remove(over));
        }
        for toll in tolls {
            self.windows.entry(*toll).or_default().push_back(now);
            *self.served.entry(toll.0).or_default() += 1;
        }
        Ok(standings.into_iter().next().map(|first| Standing { remaining: first.remaining - 1, ..first }))
    }

    /// Others have sent so many.
    pub fn others(&mut self, class: Class, pool: Pool, count: u32, now: Time) {
        let window = self.windows.entry((class, pool)).or_default();
        window.extend(std::iter::repeat_n(now, count as usize));
    }

    /// How much of the fullest pool's limit is used, in percent.
    pub fn used_percent(&mut self, class: Class, now: Time) -> u32 {
        let pools: Vec<(Class, Pool)> = self.windows.keys().filter(|(own, _)| *own == class).copied().collect();
        let used = pools.into_iter().map(|toll| {
            let standing = self.standing(toll, now);
            (standing.limit - standing.remaining) * 100 / standing.limit.max(1)
        });
        used.max().unwrap_or_default()
    }

    fn standing(&mut self, toll: (Class, Pool), now: Time) -> Standing {
        let (limit, window) = (self.limit(toll.0), toll.0.published().1);
        let gone = |times: &VecDeque<Time>| times.front().is_some_and(|first| now.since(*first) >= window);
        if self.windows.len() >= MAX_WINDOWS {
            self.windows.retain(|toll, times| times.back().is_some_and(|last| now.since(*last) < toll.0.published().1));
        }
        let Some(times) = self.windows.get_mut(&toll) else {
            return Standing { limit, window, remaining: limit, reset: window };
        };
        while gone(times) {
            times.pop_front();
        }
        let reset = times.front().map_or(window, |first| window.saturating_sub(now.since(*first)));
        Standing { limit, window, remaining: limit.saturating_sub(times.len() as u32), reset }
    }
}

impl Standing {
    /// Seconds until the limit starts anew, rounded up.
    pub fn wait(&self) -> u64 {
        self.reset.as_millis().div_ceil(1000) as u64
    }

    pub fn headers(&self, mut reply: Reply) -> Reply {
        let Self { limit, window, .. } = self;
        reply.headers.extend([
            ("x-ratelimit-limit", format!("{limit}, {limit};w={}", window.as_secs())),
            ("x-ratelimit-remaining", self.remaining.to_string()),
            ("x-ratelimit-reset", self.wait().to_string()),
        ]);
        reply
    }
}
