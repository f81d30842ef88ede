//! Kinds of calls, and what Roblox allows of each.

use std::time::Duration;

pub(super) const SECOND: Duration = Duration::from_secs(1);
pub(super) const MINUTE: Duration = Duration::from_secs(60);

macro_rules! classes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $most:literal per $length:ident;)*) => {
        /// Kinds of calls that Roblox counts separately. Their order is stored: new ones go to the end.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Class { $($(#[doc = $doc])* $name),* }

        impl Class {
            pub const ALL: &'static [Class] = &[$(Class::$name),*];

            /// As it is shown.
            pub fn text(self) -> &'static str {
                match self { $(Class::$name => $text),* }
            }

            /// How many calls Roblox allows in which time. Source: the limits published with each operation of Open Cloud, and for data
            /// stores those of an experience without players, which is what can be counted on.
            pub fn limit(self) -> (u32, Duration) {
                match self { $(Class::$name => ($most, $length)),* }
            }
        }
    };
}

classes! {
    Group = "group", 150 per MINUTE;
    Roles = "roles", 300 per MINUTE;
    Memberships = "memberships", 300 per MINUTE;
    Assign = "assign role", 300 per MINUTE;
    Unassign = "unassign role", 300 per MINUTE;
    JoinRequests = "join requests", 300 per MINUTE;
    AcceptJoin = "accept join request", 100 per MINUTE;
    DeclineJoin = "decline join request", 100 per MINUTE;
    AuditLog = "group audit log", 100 per MINUTE;
    EntryLists = "data store lists", 300 per MINUTE;
    EntryReads = "data store reads", 300 per MINUTE;
    EntryWrites = "data store writes", 300 per MINUTE;
    OrderedLists = "ordered data store lists", 300 per MINUTE;
    OrderedWrites = "ordered data store writes", 300 per MINUTE;
    OrderedRemoves = "ordered data store removes", 300 per MINUTE;
    Restrictions = "user restrictions", 50 per SECOND;
    RestrictionUpdates = "user restriction updates", 10 per SECOND;
    Messages = "messages", 5000 per MINUTE;
    /// Not published; ours is far below what can be meant.
    Keys = "key introspection", 30 per MINUTE;
}
