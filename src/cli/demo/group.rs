//! The group of the demo: a fake Roblox with the shipped ladder as roles, and members.

use crate::base::{Clock, Result};
use crate::fakes::roblox::{FakeRoblox, GROUP};

/// Members of the group; with fewer, the breaker's share of them would be its least.
pub const MEMBERS: u64 = 400;

/// The first member's user id.
pub const FIRST: u64 = 20_001;

/// Where everybody stands at first, and what they can be promoted to.
pub const BEFORE: &str = "Volt Specialist II";
pub const AFTER: &str = "Storm Corporal I";

/// A role that has nothing to do with the ladder.
const HOST: u64 = GROUP * 1000 + 10;

/// Rank numbers and names of the roles, as in the shipped policy.
const ROLES: [(u8, &str); 6] =
    [(5, "Suspended"), (10, "Event host"), (20, "Shock Trooper II"), (30, BEFORE), (40, AFTER), (200, "Stormmarshal")];

/// The fake with the group in it.
pub struct Group {
    pub fake: FakeRoblox,
}

impl Group {
    /// # Errors
    /// Those of starting a server on this machine.
    pub fn found(clock: Clock) -> Result<Self> {
        let fake = FakeRoblox::start(clock)?;
        for (rank, name) in ROLES {
            fake.role(role(rank), name, rank, &[]);
        }
        for user in FIRST..FIRST + MEMBERS {
            // Every fourth is an event host too: a role that must not move.
            let roles = [role(30), HOST];
            fake.member(user, &roles[..if user % 4 == 0 { 2 } else { 1 }]);
        }
        Ok(Self { fake })
    }

    /// The names of the roles somebody holds, without the one that everybody has.
    pub fn roles_of(&self, user: u64) -> Vec<&'static str> {
        let held = self.fake.roles_of(user);
        ROLES.into_iter().filter(|(rank, _)| held.contains(&role(*rank))).map(|(_, name)| name).collect()
    }

    /// Members who hold the role of this name.
    pub fn holders(&self, name: &str) -> usize {
        (FIRST..FIRST + MEMBERS).filter(|user| self.roles_of(*user).contains(&name)).count()
    }
}

fn role(rank: u8) -> u64 {
    GROUP * 1000 + u64::from(rank)
}
