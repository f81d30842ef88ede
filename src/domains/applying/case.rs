//! One member's roles and restriction on Roblox: reading them, changing one thing, reading again.

use std::sync::Arc;
use std::time::Duration;

use super::service::Applying;
use crate::base::{Clock, Error, Id, RobloxId, Time};
use crate::domains::effects::{Effect, Goal, Move, Names, OURS, StepKind, next_move};
use crate::domains::group::{Access, Group, Mapping, ROLES_AGE, Roles};
use crate::remote::roblox::{Cure, Restriction, Trouble, Wanted};

/// Changes of roles in one turn at most: one of each role there can be, and some to spare.
const MAX_MOVES: usize = 64;

/// How often a refusal is taken for stale knowledge, which is then refreshed, within one turn.
const MAX_REFRESHES: usize = 1;

/// Why a turn ends without the goal.
#[derive(Debug)]
pub enum Stop {
    /// A call did not succeed, and may later.
    Trouble(Trouble),
    /// It will never succeed, for this reason: a sentence for people.
    Never(String),
    /// The decision does not stand any more.
    Fell,
    /// Our own store did not take what has to be remembered.
    Ours(Error),
    /// The same again, with fresh knowledge.
    Refresh,
}

/// One effect's turn with Roblox.
pub struct Case<'a> {
    pub applying: &'a Applying,
    pub group: &'a Group,
    pub access: &'a Access,
    pub clock: &'a Clock,
    pub id: Id,
    pub user: RobloxId,
}

/// The ladder as role ids.
pub struct Ladder<'a>(pub &'a Mapping);

impl Names for Ladder<'_> {
    fn rank(&self, rank: &str) -> Result<u64, String> {
        self.0.role_of(rank).map_err(|trouble| trouble.to_string())
    }

    fn group_role(&self, name: &str) -> Result<u64, String> {
        self.0.punishment_role(name).map_err(|trouble| trouble.to_string())
    }
}

impl Case<'_> {
    /// The group's roles and how the policy's ladder lies over them.
    pub async fn roles(&self, refreshed: usize) -> Result<Arc<Roles>, Stop> {
        let age = if refreshed > 0 { Duration::ZERO } else { ROLES_AGE };
        self.group.roles(age).await.map_err(Stop::Trouble)
    }

    /// Makes the member's roles as `goal` wants them, one change at a time, each verified by a read.
    pub async fn settle_roles(
        &self,
        effect: &mut Effect,
        goal: &Goal,
        (mapping, roles): (&Mapping, &Roles),
    ) -> Result<(), Stop> {
        let Some(want) = goal.role else { return Ok(()) };
        let name = |role: u64| roles.role(role).map_or_else(|| role.to_string(), |role| role.name.clone());
        let mut read = StepKind::ReadRoles;
        for _ in 0..MAX_MOVES {
            let member = self.access.roblox.membership(self.access.group, self.user.get()).await;
            let Some(member) = member.map_err(Stop::Trouble)? else {
                if goal.for_guests {
                    effect.note(self.now(), read, "is not a member of the group: there is no role to change");
                    return Ok(());
                }
                return Err(Stop::Never(format!("user {} is not a member of the group (any more)", self.user)));
            };
            let ours: Vec<u64> = member.roles.iter().copied().filter(|role| mapping.managed().contains(role)).collect();
            let held: Vec<String> = ours.iter().map(|role| name(*role)).collect();
            let held = if held.is_empty() { "none of the ladder's roles".to_owned() } else { held.join(", ") };
            effect.former.get_or_insert(ours);
            let next = next_move(want, mapping.managed(), &member.roles);
            if next == Move::Settled {
                effect.note(self.now(), StepKind::VerifyRoles, format!("holds {held}"));
                return Ok(());
            }
            effect.note(self.now(), read, format!("holds {held}"));
            if !effect.touched {
                self.remember(effect).await?;
            }
            self.make(effect, next, &name).await?;
            read = StepKind::VerifyRoles;
        }
        Err(Stop::Never(format!("the roles of user {} do not stay as they are set", self.user)))
    }

    /// What is about to be sent is remembered before it is.
    async fn remember(&self, effect: &mut Effect) -> Result<(), Stop> {
        let stands = self.applying.remember(self.id, effect).await.map_err(Stop::Ours)?;
        if stands { Ok(()) } else { Err(Stop::Fell) }
    }

    async fn make(&self, effect: &mut Effect, next: Move, name: &impl Fn(u64) -> String) -> Result<(), Stop> {
        let (group, user) = (self.access.group, self.user.get());
        let (kind, role, sent) = match next {
            Move::Settled => return Ok(()),
            Move::Assign(role) => (StepKind::AssignRole, role, self.access.roblox.assign_role(group, user, role).await),
            Move::Unassign(role) => {
                (StepKind::UnassignRole, role, self.access.roblox.unassign_role(group, user, role).await)
            }
        };
        match sent {
            Ok(()) => {
                effect.note(self.now(), kind, name(role));
                Ok(())
            }
            Err(trouble) => {
                if !matches!(trouble, Trouble::Paced { .. }) {
                    effect.note(self.now(), kind, format!("{}: {}", name(role), trouble.what()));
                }
                Err(self.judge(trouble, &name(role)).await)
            }
        }
    }

    /// What a refused change means. A 403 may be a matter of the key, which its owner mends, or of ranks, which nobody does.
    async fn judge(&self, trouble: Trouble, role: &str) -> Stop {
        match &trouble {
            Trouble::Denied { scope, complaint } => {
                let held = self.group.key(Duration::from_secs(60)).await;
                match held {
                    Ok(key) if key.enabled && !key.expired && key.may(scope, self.access.group) => {
                        let said = if complaint.message.is_empty() { "no reason given" } else { &complaint.message };
                        Stop::Never(format!(
                            "Roblox does not let the owner of the Open Cloud key change the role {role} of user {} ({said}): \
                             both the role and the member must rank below the key's owner",
                            self.user
                        ))
                    }
                    _ => Stop::Trouble(trouble),
                }
            }
            Trouble::Missing { .. } => Stop::Refresh,
            Trouble::Refused { .. } if trouble.cure() == Cure::Nothing => {
                Stop::Never(format!("Roblox refused to change the role {role}: {}", trouble.what()))
            }
            _ => Stop::Trouble(trouble),
        }
    }

    /// Whether knowledge may be refreshed once more, after what Roblox did not find.
    pub fn refresh(&self, refreshed: usize) -> Result<(), Stop> {
        self.group.forget();
        if refreshed < MAX_REFRESHES {
            return Ok(());
        }
        Err(Stop::Never(format!(
            "Roblox does not know the role or the member any more (404) although both were listed a moment ago; user {}",
            self.user
        )))
    }

    /// Makes the restriction as it is wanted, and reads whether it holds.
    pub async fn settle_restriction(&self, effect: &mut Effect, wanted: &Wanted) -> Result<(), Stop> {
        let Some(universe) = self.access.universe else {
            return Err(Stop::Never(
                "the policy keeps people out of the experience (experienceBan), but ROBLOX_UNIVERSE_ID is not set"
                    .into(),
            ));
        };
        let (roblox, user) = (&self.access.roblox, self.user.get());
        let refused = |trouble: Trouble| match trouble.cure() {
            Cure::Nothing => Stop::Never(format!("the experience's restriction was refused: {}", trouble.what())),
            _ => Stop::Trouble(trouble),
        };
        for _ in 0..2 {
            let held = roblox.restriction(universe, user).await.map_err(refused)?;
            if let Some(text) = holds(wanted, &held, self.now()) {
                effect.note(self.now(), StepKind::VerifyRestriction, text);
                return Ok(());
            }
            let first_sent = match effect.restricted_at {
                Some(at) => at,
                None => {
                    let now = self.now();
                    effect.restricted_at = Some(now);
                    self.remember(effect).await?;
                    now
                }
            };
            // A decision that is carried out anew is another attempt, not a repeat of the old one.
            let verb = if *wanted == Wanted::Free { "free" } else { "restrict" };
            let key = format!("grps-{}-{verb}-{}", self.id, first_sent.0);
            roblox.restrict(universe, user, wanted, (&key, first_sent)).await.map_err(refused)?;
            let text = if *wanted == Wanted::Free { "let in again" } else { "kept out of the experience" };
            effect.note(self.now(), StepKind::Restrict, text);
        }
        let held = roblox.restriction(universe, user).await.map_err(refused)?;
        match holds(wanted, &held, self.now()) {
            Some(text) => {
                effect.note(self.now(), StepKind::VerifyRestriction, text);
                Ok(())
            }
            None => Err(Stop::Trouble(Trouble::Unreadable("what was set a moment ago"))),
        }
    }

    pub fn now(&self) -> Time {
        self.clock.now()
    }
}

/// What is said when `held` is as good as `wanted`; none when something has to be changed. Restrictions that others made are neither
/// shortened nor lifted.
fn holds(wanted: &Wanted, held: &Restriction, now: Time) -> Option<&'static str> {
    let ours = held.private_reason.starts_with(OURS);
    match wanted {
        Wanted::Free if !held.active => Some("is not kept out"),
        Wanted::Free if !ours => Some("stays kept out: the restriction is not ours"),
        Wanted::Free => None,
        Wanted::KeptOut { .. } if !held.active => None,
        Wanted::KeptOut { private_reason, .. } if held.private_reason == *private_reason => Some("is kept out"),
        Wanted::KeptOut { duration, .. } => {
            let end = |start: Time, length: Option<Duration>| length.map(|length| start + length);
            let theirs = end(held.start.unwrap_or(now), held.duration);
            let wanted = end(now, *duration);
            let longer = theirs.is_none_or(|theirs| wanted.is_some_and(|wanted| theirs >= wanted));
            (longer && !ours).then_some("was kept out already, and for longer")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_restrictions_of_others_are_neither_shortened_nor_lifted() {
        let wanted = |seconds: Option<u64>| Wanted::KeptOut {
            duration: seconds.map(Duration::from_secs),
            private_reason: "grps 7: warnings".into(),
            display_reason: String::new(),
            exclude_alts: false,
        };
        let held = |reason: &str, seconds: Option<u64>| Restriction {
            active: true,
            start: Some(Time(0)),
            duration: seconds.map(Duration::from_secs),
            private_reason: reason.into(),
        };
        let free = Restriction::default();
        assert!(holds(&Wanted::Free, &free, Time(0)).is_some() && holds(&wanted(None), &free, Time(0)).is_none());
        assert!(holds(&Wanted::Free, &held("cheated", None), Time(0)).is_some(), "not ours to lift");
        assert!(holds(&Wanted::Free, &held("grps 3: x", None), Time(0)).is_none());
        assert!(holds(&wanted(Some(60)), &held("cheated", None), Time(0)).is_some());
        assert!(holds(&wanted(Some(60)), &held("cheated", Some(90)), Time(0)).is_some());
        assert!(holds(&wanted(Some(60)), &held("cheated", Some(90)), Time(40_000)).is_none(), "theirs ends sooner");
        assert!(holds(&wanted(None), &held("cheated", Some(90)), Time(0)).is_none());
        assert!(holds(&wanted(None), &held("grps 7: warnings", None), Time(0)).is_some());
        assert!(
            holds(&wanted(Some(60)), &held("grps 3: x", None), Time(0)).is_none(),
            "ours follow the newest decision"
        );
    }
}
