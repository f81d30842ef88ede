//! One player held against their place on Roblox. Pure.

use std::time::Duration;

use crate::base::Time;
use crate::domains::group::{Mapping, Roles};
use crate::domains::players::Player;
use crate::domains::policy::Policy;

/// How long after a decision the group and the game may still show what was before it.
pub const JUST_DECIDED: Duration = Duration::from_secs(600);

/// Somebody's place on Roblox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Live<'a> {
    /// In the group, with these roles.
    Member(&'a [u64]),
    /// Not in the group.
    Gone,
}

/// What follows for the player.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// As it should be.
    Same,
    /// Nothing can or should be said now.
    Unclear,
    /// We never moved them: Roblox's rank is right.
    Adopt(Option<String>),
    /// For a person.
    Differs { live: Option<String>, reported: Option<String>, left: bool },
}

/// The ladder, and how the group's roles stand for it.
#[derive(Debug, Clone)]
pub struct Ground<'a> {
    pub policy: &'a Policy,
    pub mapping: Mapping,
    /// The role that every member holds.
    base: Option<u64>,
}

impl<'a> Ground<'a> {
    pub fn new(policy: &'a Policy, roles: &Roles) -> Self {
        Self { policy, mapping: roles.map(policy), base: roles.base() }
    }

    /// Whether all of `roles` are ones that say what somebody's rank is: the base role says that they have none.
    fn explains(&self, roles: &[u64]) -> bool {
        roles.iter().all(|role| Some(*role) == self.base || self.mapping.managed().contains(role))
    }
}

/// Compares `player` with `live`.
pub fn check(player: &Player, live: Live<'_>, ground: &Ground<'_>, now: Time) -> Finding {
    let (policy, mapping) = (ground.policy, &ground.mapping);
    let roles = match live {
        Live::Member(roles) => roles,
        Live::Gone => &[],
    };
    if punished(player, roles, mapping) || on_its_way(player, now) {
        return Finding::Unclear;
    }
    let rank = mapping.live_rank(roles);
    if live == Live::Gone {
        return match player.rank {
            Some(_) => Finding::Differs { live: None, reported: None, left: true },
            None => Finding::Same,
        };
    }
    if unmatched(player, rank, mapping) {
        return Finding::Unclear;
    }
    let ladder = policy.ladder();
    let place = |rank: Option<&str>| rank.map(|name| ladder.find(name).ok_or(name.to_owned()));
    let (ours, theirs) = (place(player.rank.as_deref()), place(rank));
    let live = rank.map(str::to_owned);
    if ours != theirs && !player.rank_is_ours() {
        // A role that stands for no rank is no reason to take one away.
        if live.is_none() && !ground.explains(roles) {
            return Finding::Unclear;
        }
        return Finding::Adopt(live);
    }
    let reported = place(player.reported_rank.as_deref());
    let reported =
        player.reported_rank.clone().filter(|_| player.rank_is_ours() && reported != ours && reported_late(player));
    match ours == theirs && reported.is_none() {
        true => Finding::Same,
        false => Finding::Differs { live, reported, left: false },
    }
}

/// The punished hold other roles, and get theirs back when it ends.
fn punished(player: &Player, roles: &[u64], mapping: &Mapping) -> bool {
    mapping.punishes(roles) || player.punished().is_some()
}

/// A decision is being carried out, or was a moment ago.
fn on_its_way(player: &Player, now: Time) -> bool {
    let lately = |at: Time| now.since(at) < JUST_DECIDED;
    let open = player.decided.as_ref().is_some_and(|open| open.is_queued() || open.ended_at.is_some_and(lately));
    open || player.acted.as_ref().is_some_and(|acted| lately(acted.at))
}

/// Their rank has no role that we know of, so not holding it says nothing.
fn unmatched(player: &Player, live: Option<&str>, mapping: &Mapping) -> bool {
    let Some(rank) = player.rank.as_deref() else { return false };
    match mapping.role_known(rank) {
        Some(known) => !known,
        // A name that the ladder does not have, or no more: a rank that it has is better.
        None => live.is_none(),
    }
}

/// The game told its rank when it could have known of ours.
fn reported_late(player: &Player) -> bool {
    player.acted.as_ref().is_some_and(|acted| player.rank_reported_at().since(acted.at) >= JUST_DECIDED)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;
    use crate::base::RobloxId;
    use crate::domains::group::Roles;
    use crate::domains::players::{Decided, Observation, Status};
    use crate::domains::policy::{Action, FileKind};
    use crate::remote::roblox::{GroupInfo, Role};

    const NOW: Time = Time(10_000_000);

    fn scene() -> (Policy, Roles) {
        let ranks = json!({"version": 1, "ranks": [
            {"name": "Private", "requiredPoints": 0, "aliases": ["Pvt"]},
            {"name": "Corporal", "requiredPoints": 10},
            {"name": "Lost", "requiredPoints": 20}
        ]});
        let punishments = json!({"version": 1, "statuses": {"suspended": {"action": "SUSPEND", "groupRole": "Jail"}}});
        let (ranks, punishments) = (ranks.to_string(), punishments.to_string());
        let policy = Policy::from_texts(&[(FileKind::Ranks, &ranks), (FileKind::Punishments, &punishments)]).unwrap();
        let role = |(id, name, rank): (u64, &str, u8)| Role {
            id,
            name: name.into(),
            rank,
            members: None,
            permissions: BTreeSet::new(),
        };
        let list = [(1, "Member", 1), (2, "Jail", 2), (10, "Private", 10), (20, "Corporal", 20), (99, "Staff", 99)];
        let list = list.map(role).to_vec();
        let group = GroupInfo { id: 1, name: "G".into(), owner: None, members: 9 };
        (policy, Roles { group, list, key_owner_rank: None, fetched_at: Time(0) })
    }

    fn player(rank: Option<&str>) -> Player {
        let seen =
            Observation { rank: Some(rank.map(str::to_owned)), ..Observation::of(RobloxId::new(7).unwrap(), "Arc") };
        Player::first_seen(&seen, Time(0))
    }

    /// Promoted by us to `rank` at time 0.
    fn promoted(rank: &str) -> Player {
        let mut player = player(None);
        decide(&mut player, Action::Promote, Some(rank));
        player.take_effect(Time(0));
        player.reported_rank = Some(rank.into());
        player
    }

    fn decide(player: &mut Player, action: Action, target: Option<&str>) {
        player.decided = Some(Decided { target_rank: target.map(str::to_owned), ..Decided::sample(action) });
    }

    fn found(player: &Player, live: Live<'_>) -> Finding {
        let (policy, roles) = scene();
        check(player, live, &Ground::new(&policy, &roles), NOW)
    }

    fn differs(live: Option<&str>) -> Finding {
        Finding::Differs { live: live.map(str::to_owned), reported: None, left: false }
    }

    #[test]
    fn until_we_moved_somebody_roblox_is_right() {
        assert_eq!(found(&player(Some("Private")), Live::Member(&[1, 10])), Finding::Same);
        assert_eq!(found(&player(Some("Pvt")), Live::Member(&[1, 10])), Finding::Same, "an alias is the rank");
        assert_eq!(found(&player(None), Live::Member(&[1])), Finding::Same);
        assert_eq!(found(&player(Some("Private")), Live::Member(&[20, 10])), Finding::Adopt(Some("Corporal".into())));
        assert_eq!(found(&player(Some("Private")), Live::Member(&[1])), Finding::Adopt(None));
        assert_eq!(found(&player(None), Live::Member(&[10])), Finding::Adopt(Some("Private".into())));
    }

    #[test]
    fn a_role_that_is_no_rank_takes_none_away() {
        for roles in [[1, 99], [1, 4711]] {
            assert_eq!(found(&player(Some("Private")), Live::Member(&roles)), Finding::Unclear);
            assert_eq!(found(&player(None), Live::Member(&roles)), Finding::Same);
            assert_eq!(found(&promoted("Corporal"), Live::Member(&roles)), differs(None), "a person decides");
        }
        let both = Live::Member(&[1, 99, 20]);
        assert_eq!(found(&player(Some("Private")), both), Finding::Adopt(Some("Corporal".into())));
    }

    #[test]
    fn after_that_ours_counts_and_a_person_decides() {
        let ours = promoted("Corporal");
        assert_eq!(found(&ours, Live::Member(&[1, 20])), Finding::Same);
        assert_eq!(found(&ours, Live::Member(&[1, 10])), differs(Some("Private")));
        assert_eq!(found(&ours, Live::Member(&[1])), differs(None));
        assert_eq!(found(&ours, Live::Gone), Finding::Differs { live: None, reported: None, left: true });
        assert_eq!(
            found(&player(Some("Private")), Live::Gone),
            Finding::Differs { live: None, reported: None, left: true }
        );
        assert_eq!(found(&player(None), Live::Gone), Finding::Same);
    }

    #[test]
    fn what_is_on_its_way_is_left_alone() {
        let mut ours = promoted("Corporal");
        let live = Live::Member(&[10]);
        ours.acted.as_mut().unwrap().at = NOW - (JUST_DECIDED - Duration::from_secs(1));
        assert_eq!(found(&ours, live), Finding::Unclear);
        ours.acted.as_mut().unwrap().at = NOW - JUST_DECIDED;
        assert_eq!(found(&ours, live), differs(Some("Private")));
        decide(&mut ours, Action::Promote, Some("Corporal"));
        assert_eq!(found(&ours, live), Finding::Unclear);
        ours.decided.as_mut().unwrap().status = Status::Failed;
        ours.decided.as_mut().unwrap().ended_at = Some(NOW);
        assert_eq!(found(&ours, live), Finding::Unclear);
    }

    #[test]
    fn the_punished_and_what_cannot_be_judged_are_left_alone() {
        assert_eq!(found(&promoted("Corporal"), Live::Member(&[1, 2])), Finding::Unclear);
        let mut suspended = promoted("Corporal");
        decide(&mut suspended, Action::Suspend, None);
        suspended.take_effect(Time(0));
        assert_eq!(found(&suspended, Live::Member(&[1])), Finding::Unclear);
        for unknown in ["Lost", "Emperor"] {
            assert_eq!(found(&player(Some(unknown)), Live::Member(&[1])), Finding::Unclear, "{unknown}");
        }
        assert_eq!(found(&player(Some("Lost")), Live::Member(&[10])), Finding::Unclear, "they may hold that role too");
        assert_eq!(found(&player(Some("Emperor")), Live::Member(&[10])), Finding::Adopt(Some("Private".into())));
    }

    #[test]
    fn what_the_game_reports_long_after_our_decision_counts_too() {
        let mut ours = promoted("Corporal");
        ours.reported_rank = Some("Private".into());
        ours.last_synced_at = NOW;
        ours.reported_at = Some(Time(0) + (JUST_DECIDED - Duration::from_secs(1)));
        assert_eq!(found(&ours, Live::Member(&[20])), Finding::Same);
        ours.reported_at = Some(Time(0) + JUST_DECIDED);
        let reported = Some("Private".to_owned());
        let both = Finding::Differs { live: Some("Corporal".into()), reported, left: false };
        assert_eq!(found(&ours, Live::Member(&[20])), both);
    }
}
