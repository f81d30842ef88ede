//! Scopes: what a credential may do. A credential holds a [`Scopes`] set; each endpoint of the access table names the one it needs.

use std::fmt;
use std::str::FromStr;

use crate::base::{Error, Result};

macro_rules! scopes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal),* $(,)?) => {
        /// One permission. Its text is what key lists, policy files and the API show.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Scope { $($(#[doc = $doc])* $name),* }

        impl Scope {
            pub const ALL: &'static [Scope] = &[$(Scope::$name),*];

            pub fn text(self) -> &'static str {
                match self { $(Scope::$name => $text),* }
            }
        }
    };
}

scopes! {
    /// Post player snapshots.
    Ingest = "ingest",
    /// Ask what the policy would decide.
    Evaluate = "decisions:evaluate",
    /// Let a decision take effect.
    Apply = "decisions:apply",
    /// List decisions with what they rest on, and see the breaker.
    DecisionsRead = "decisions:read",
    /// Approve, reject and take back decisions; review all players; open and close the breaker.
    DecisionsManage = "decisions:manage",
    /// Adjust points by hand.
    PointsAdjust = "points:adjust",
    /// Read players and their snapshots.
    PlayersRead = "players:read",
    /// Submit scores.
    Submit = "leaderboards:submit",
    /// Run a Roblox sync.
    SyncRun = "sync:run",
    /// Put jobs into queues.
    JobsProduce = "jobs:produce",
    /// Take jobs out of queues.
    JobsConsume = "jobs:consume",
    /// Look into queues, requeue and purge jobs.
    JobsManage = "jobs:manage",
    /// Scrape metrics from another machine.
    MetricsRead = "metrics:read",
    /// Create, rotate and revoke keys.
    KeysManage = "keys:manage",
    /// What an operator does besides: bootstrap and demo data.
    Operate = "operate",
    /// Look after the store: see its state, check, compact, make and verify backups.
    StoreManage = "store:manage",
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

/// Accepts the full text and the short names of `INBOUND_API_KEYS` (`evaluate`, `apply`, `submit`).
impl FromStr for Scope {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let full = match text {
            "evaluate" => "decisions:evaluate",
            "apply" => "decisions:apply",
            "submit" => "leaderboards:submit",
            "read" => "players:read",
            other => other,
        };
        Scope::ALL.iter().copied().find(|scope| scope.text() == full).ok_or_else(|| {
            let known: Vec<&str> = Scope::ALL.iter().map(|scope| scope.text()).collect();
            Error::invalid("auth.scope_unknown", format!("\"{text}\" is not a scope"))
                .hint(format!("the scopes are {} and *", known.join(", ")))
        })
    }
}

/// A set of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Scopes(u32);

impl Scopes {
    /// Every scope there is and will be: written `*`.
    pub const EVERYTHING: Scopes = Scopes(u32::MAX);

    pub const fn of(list: &[Scope]) -> Self {
        let mut bits = 0;
        let mut at = 0;
        while at < list.len() {
            bits |= 1 << list[at] as u32;
            at += 1;
        }
        Scopes(bits)
    }

    pub fn has(self, scope: Scope) -> bool {
        self.0 & (1 << scope as u32) != 0
    }

    /// Whether every scope of `other` is in this set.
    pub fn covers(self, other: Scopes) -> bool {
        self.0 & other.0 == other.0
    }

    /// Reads scopes separated by `separator`.
    ///
    /// # Errors
    /// `auth.scope_unknown` naming the first one we do not know.
    pub fn parse(text: &str, separator: char) -> Result<Self> {
        let mut set = Scopes::default();
        for part in text.split(separator).map(str::trim).filter(|part| !part.is_empty()) {
            if part == "*" {
                return Ok(Self::EVERYTHING);
            }
            set.0 |= 1 << part.parse::<Scope>()? as u32;
        }
        Ok(set)
    }

    /// The texts, in a fixed order; `["*"]` for everything.
    pub fn texts(self) -> Vec<&'static str> {
        if self == Self::EVERYTHING {
            return vec!["*"];
        }
        Scope::ALL.iter().filter(|scope| self.has(**scope)).map(|scope| scope.text()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_read_back_what_they_print() {
        let set = Scopes::parse("ingest+evaluate+players:read", '+').unwrap();
        assert_eq!(set.texts(), ["ingest", "decisions:evaluate", "players:read"]);
        assert!(set.has(Scope::Evaluate) && !set.has(Scope::Apply));
        assert_eq!(Scopes::parse("*", '+').unwrap(), Scopes::EVERYTHING);
        assert!(Scopes::parse("ingest+fly", '+').unwrap_err().detail().contains("fly"));
        assert!(Scopes::EVERYTHING.covers(set) && set.covers(set) && set.covers(Scopes::default()));
        assert!(!set.covers(Scopes::EVERYTHING) && !set.covers(Scopes::of(&[Scope::Ingest, Scope::Apply])));
        assert!(Scope::ALL.len() < 32, "the set is 32 bits wide");
    }
}
