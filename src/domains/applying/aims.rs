//! What a turn aims at: what the decision asks for, or the way back. And what stands against it, once the member's roles are read.

use std::time::Duration;

use crate::base::{Id, Time};
use crate::domains::effects::{Effect, Goal, Kind, Names, Restrict, StepKind, Subject, goal, signature};
use crate::domains::group::{Mapping, MappingTrouble, Roles};
use crate::domains::players::{Origin, Player};
use crate::domains::policy::{Action, Policy};
use crate::domains::ranks::Decision;

use super::punished::Punished;

/// What is known when a turn begins.
pub struct Facts<'a> {
    pub id: Id,
    /// None when it is gone.
    pub decision: Option<&'a Decision>,
    pub player: Option<&'a Player>,
    pub punished: Option<&'a Punished>,
    pub policy: &'a Policy,
    pub roles: &'a Roles,
    pub mapping: &'a Mapping,
    /// The experience looked after.
    pub universe: Option<u64>,
}

/// The ladder as role ids.
struct Ladder<'a>(&'a Mapping);

impl Names for Ladder<'_> {
    fn rank(&self, rank: &str) -> Result<u64, String> {
        self.0.role_of(rank).map_err(|trouble| unusable(rank, "policy.ranks.json", &trouble))
    }

    fn group_role(&self, name: &str) -> Result<u64, String> {
        self.0.punishment_role(name).map_err(|trouble| unusable(name, "policy.punishments.json", &trouble))
    }
}

/// Why a role that the policy names in `file` cannot be given, and what to do about it.
fn unusable(name: &str, file: &str, trouble: &MappingTrouble) -> String {
    format!("{name} ({file}): {trouble}; {}; `grps doctor roblox` checks the roles", trouble.fix())
}

impl Facts<'_> {
    /// What the decision asks for.
    ///
    /// # Errors
    /// Why it cannot be done, for people.
    pub fn aim(&self, decision: &Decision, now: Time) -> Result<Goal, String> {
        if decision.lifts {
            return self.release(decision, now);
        }
        let subject = Subject {
            id: self.id,
            action: decision.action,
            target_rank: decision.target_rank.as_deref(),
            standing: decision.standing.as_deref(),
            suspend_for: decision.suspend_seconds.map(Duration::from_secs),
            reason: &decision.reason,
        };
        let mut goal = goal(&subject, self.policy.punishments(), &Ladder(self.mapping))?;
        if goal.kind == Kind::Rank && self.punished.is_some_and(|held| held.role.is_some()) {
            // The rank is stored now, and comes with the end of the punishment.
            goal.role = None;
        }
        Ok(goal)
    }

    /// The end of a punishment: by what was done, or, where nothing is known of that, by what the policy says.
    fn release(&self, decision: &Decision, now: Time) -> Result<Goal, String> {
        let stored = self.player.and_then(|player| player.rank.as_deref());
        let stored = || stored.map(|rank| Ladder(self.mapping).rank(rank)).transpose();
        if let Some(held) = self.punished {
            let back = match (held.role, held.restores) {
                (None, _) => None,
                (Some(_), false) => Some(None),
                (Some(_), true) => Some(stored()?.or_else(|| held.former.first().copied())),
            };
            let restriction = held.release(self.universe, now)?;
            return Ok(Goal { role: back, restriction, kind: Kind::Return });
        }
        let statuses = &self.policy.punishments().statuses;
        let status = decision.standing.as_deref().and_then(|name| statuses.get(name));
        let status =
            status.ok_or("policy.punishments.json does not say (any more) how this punishment was carried out")?;
        let role = match (&status.group_role, status.restore_rank_after) {
            (None, _) => None,
            (Some(_), false) => Some(None),
            (Some(_), true) => Some(stored()?),
        };
        let by = decision.origin.of().filter(|_| status.experience_ban);
        let restriction = by.map(|by| Restrict::End { signature: signature(by), back: None });
        Ok(Goal { role, restriction, kind: Kind::Return })
    }

    /// How it was before the decision was begun.
    pub fn back(&self, effect: &Effect, now: Time) -> Goal {
        let stored = self.player.and_then(|player| player.rank.as_deref());
        let stored = stored.and_then(|rank| self.mapping.role_of(rank).ok());
        let role = effect.former.as_deref().map(|former| match former {
            [] => None,
            [one] => Some(*one),
            [first, ..] => stored.filter(|role| former.contains(role)).or(Some(*first)),
        });
        let restricted = effect.restricts();
        // What another experience keeps the member out of is not made here.
        let held = self.punished.filter(|held| held.universe.is_none() || held.universe == self.universe);
        if self.decision.is_some_and(|decision| decision.lifts) {
            // What it was to end holds on.
            let restriction = held.filter(|_| restricted).and_then(|held| held.again(now));
            return Goal { role, restriction, kind: Kind::Return };
        }
        // Another punishment of the member is on its way and sets the restriction anew: no moment to let them in between.
        let next = self.player.and_then(|player| player.decided.as_ref());
        let next = next.is_some_and(|next| next.id != self.id && next.is_queued() && next.punishes());
        let before = held.filter(|held| held.decision != self.id).and_then(Punished::as_theirs);
        let back = before.or_else(|| effect.replaced.clone());
        let restriction = (restricted && !next).then(|| Restrict::End { signature: signature(self.id), back });
        Goal { role, restriction, kind: Kind::Return }
    }

    /// Why nothing of the member may be changed for `goal`, as they stand on Roblox; none when it may. `held` are their roles.
    pub fn objection(&self, decision: &Decision, goal: &Goal, held: &[u64]) -> Option<String> {
        let ladder = self.policy.ladder();
        let ranks: Vec<&str> = held.iter().filter_map(|role| self.mapping.rank_of(*role)).collect();
        if goal.kind == Kind::Return || (goal.role.is_none() && goal.restriction.is_none()) {
            return None;
        }
        if self.roles.owns(held) {
            return Some("the member owns the group on Roblox: automation leaves the owner alone".to_owned());
        }
        if let Some(rank) = ranks.iter().find(|rank| ladder.rank(rank).is_some_and(|rank| rank.privileged)) {
            return Some(format!(
                "the member holds {rank} on Roblox, which policy.ranks.json makes privileged: automation leaves its holders alone, and only \
                 a person may do this"
            ));
        }
        if goal.kind != Kind::Rank {
            return None;
        }
        if self.mapping.punishes(held) {
            return Some("the member holds a punishment's role on Roblox that no decision here gave".to_owned());
        }
        let left = decision.from_rank.as_deref().map(|rank| self.mapping.role_of(rank));
        if let Some(Err(trouble @ MappingTrouble::SameName(_))) = left {
            return Some(format!("which role is to be taken away is not clear: {trouble}"));
        }
        if decision.origin != Origin::Policy {
            return None;
        }
        let most = match decision.action {
            Action::Demote => decision.from_rank.as_deref(),
            _ => decision.target_rank.as_deref(),
        };
        let most = most.and_then(|rank| ladder.find(rank))?;
        let above = ranks.into_iter().find(|rank| ladder.find(rank).is_some_and(|place| place > most))?;
        Some(format!(
            "the member holds {above} on Roblox, which is higher: somebody gave it by hand; see `grps drift list`"
        ))
    }
}

/// What to note when a rank moves while a punishment holds its place.
pub fn note_deferred(effect: &mut Effect, now: Time) {
    effect.note(now, StepKind::VerifyRoles, "is suspended or banned; the role is given when that ends");
}
