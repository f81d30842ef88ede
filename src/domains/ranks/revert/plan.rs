//! What has to be done about one player, so that they are as they were before certain decisions took effect.

use std::time::Duration;

use crate::base::{Id, RobloxId, Time};
use crate::domains::players::{Origin, Player, Punishment, Status};
use crate::domains::policy::{Action, Ladder, Policy};
use crate::domains::ranks::carry::Order;
use crate::domains::ranks::facts::reports;
use crate::domains::ranks::history::Decision;

/// What of a player a decision changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Aspect {
    Rank,
    Punishment,
    /// Nothing yet: it is queued.
    Queued,
}

/// One thing that changes, or would, and the decisions it takes back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restoration {
    pub user: RobloxId,
    pub aspect: Aspect,
    /// Oldest first.
    pub decisions: Vec<Id>,
    /// What they have now, and what they have afterwards: a rank's name, `SUSPEND` or `BAN`; none for nothing.
    pub from: Option<String>,
    pub to: Option<String>,
    pub planned: Planned,
}

/// What is to be done about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Planned {
    Do(Order),
    /// It is queued and is not to take effect.
    Cancel,
    /// Something else has to end first; asked again later, it can be done.
    Wait(String),
    /// Nothing, for this reason.
    Skip(String),
}

/// The decisions about one player that took effect, oldest first; `chosen` tells which are to be taken back.
pub struct History<'a> {
    pub player: &'a Player,
    pub applied: &'a [(Id, Decision)],
    pub chosen: &'a (dyn Fn(Id, &Decision) -> bool + Sync),
    pub now: Time,
}

/// A run of decisions at the end of a history, all of them chosen, and what came before.
struct Tail<'a> {
    chosen: Vec<&'a (Id, Decision)>,
    /// Chosen too, but something else has happened since.
    overtaken: Vec<Id>,
    by: Option<Id>,
    before: Option<&'a (Id, Decision)>,
}

/// What has to be done, in the order in which it can be: newest first.
pub fn plan(policy: &Policy, history: &History<'_>) -> Vec<Restoration> {
    let (rank, rank_left) = history.rank(policy.ladder());
    let (punishment, punishment_left) = history.punishment();
    let mut found: Vec<(Time, Restoration)> = rank.into_iter().chain(punishment).collect();
    found.sort_by_key(|(at, _)| std::cmp::Reverse(*at));
    let mut steps: Vec<Restoration> = found.into_iter().map(|(_, step)| step).collect();
    let mut busy = history.busy();
    for step in &mut steps {
        let Planned::Do(order) = &step.planned else { continue };
        if let Some(why) = order.shield(policy, history.player) {
            step.planned = Planned::Skip(why);
        } else if let Some(why) = &busy {
            step.planned = Planned::Wait(why.clone());
        } else {
            busy = Some("Another part of this goes first".to_owned());
        }
    }
    steps.extend(rank_left.into_iter().chain(punishment_left));
    steps
}

impl<'a> History<'a> {
    /// What of the player's open decision stands in the way.
    fn busy(&self) -> Option<String> {
        let open = self.player.decided.as_ref().filter(|open| open.is_queued())?;
        let told = format!("Decision {} is on its way and has to end first", open.id);
        Some(told)
    }

    fn tail(&self, of: impl Fn(&Decision) -> bool) -> Tail<'a> {
        let all: Vec<&(Id, Decision)> = self.applied.iter().filter(|(_, decision)| of(decision)).collect();
        let is_chosen = |entry: &&&(Id, Decision)| (self.chosen)(entry.0, &entry.1);
        let length = all.iter().rev().take_while(is_chosen).count();
        let (earlier, chosen) = all.split_at(all.len() - length);
        let overtaken = earlier.iter().filter(is_chosen).map(|entry| entry.0).collect();
        Tail {
            chosen: chosen.to_vec(),
            overtaken,
            by: earlier.last().map(|entry| entry.0),
            before: earlier.last().copied(),
        }
    }

    fn rank(&self, ladder: &Ladder) -> (Option<(Time, Restoration)>, Option<Restoration>) {
        // A move that led nowhere, as where the rank was put back on Roblox, changed nothing since.
        let moved = |decision: &Decision| decision.from_rank != decision.target_rank;
        let tail = self.tail(|decision| matches!(decision.action, Action::Promote | Action::Demote) && moved(decision));
        let left = self.left(Aspect::Rank, &tail);
        let (Some((_, first)), Some((last_id, last))) = (tail.chosen.first(), tail.chosen.last()) else {
            return (None, left);
        };
        let (is, to) = (&self.player.rank, &first.from_rank);
        let planned = if is == to {
            Planned::Skip("The rank is what it was".to_owned())
        } else if *is != last.target_rank {
            Planned::Skip(format!("The rank was changed since, to {}", is.as_deref().unwrap_or("none")))
        } else {
            let place = |rank: &Option<String>| rank.as_deref().and_then(|rank| ladder.find(rank));
            let action = if place(to) > place(is) { Action::Promote } else { Action::Demote };
            Planned::Do(Order::new(Origin::Revert(*last_id), action, to.clone(), reason(&tail.chosen)))
        };
        let step = self.step(Aspect::Rank, &tail.chosen, (is.clone(), to.clone()), planned);
        (Some((last.ended_at.unwrap_or(last.at), step)), left)
    }

    fn punishment(&self) -> (Option<(Time, Restoration)>, Option<Restoration>) {
        let tail = self.tail(|decision| matches!(decision.action, Action::Suspend | Action::Ban));
        let left = self.left(Aspect::Punishment, &tail);
        let Some((last_id, last)) = tail.chosen.last() else { return (None, left) };
        let holds = |until: Option<Time>| until.is_none_or(|until| self.now < until);
        let now = self.player.punished().filter(|held| holds(held.until));
        let before = tail.before.map(|(_, decision)| decision).filter(|decision| !decision.lifts);
        let before = before.filter(|decision| holds(end(decision)) && self.rests(decision));
        let name = |action: Action| action.as_str().to_owned();
        let (from, to) = (now.as_ref().map(|held| name(held.action)), before.map(|decision| name(decision.action)));
        let origin = Origin::Revert(*last_id);
        let why = reason(&tail.chosen);
        let made_it = now.as_ref().and_then(|held| self.applied.iter().find(|(id, _)| *id == held.id));
        let planned = match (&now, before) {
            (None, None) => Planned::Skip("No punishment holds any more".to_owned()),
            (Some(held), None) => {
                let standing = made_it.and_then(|(_, decision)| decision.standing.clone());
                Planned::Do(Order::lift(origin, held.action, standing, why))
            }
            (Some(held), Some(before)) if is_still(before, held, made_it.map(|(_, decision)| decision)) => {
                Planned::Skip("The punishment is what it was".to_owned())
            }
            (_, Some(before)) => {
                let left = end(before).map(|until| until.since(self.now).as_secs().max(1));
                let (standing, rests_on) = (before.standing.clone(), before.rests_on.clone());
                let order = Order::new(origin, before.action, None, why);
                Planned::Do(Order { suspend_seconds: left, standing, rests_on, ..order })
            }
        };
        let step = self.step(Aspect::Punishment, &tail.chosen, (from, to), planned);
        (Some((last.ended_at.unwrap_or(last.at), step)), left)
    }

    /// Whether the status a punishment rests on is still reported; without one, it does.
    fn rests(&self, decision: &Decision) -> bool {
        decision.rests_on.as_deref().is_none_or(|status| reports(self.player, status))
    }

    /// What was chosen, but overtaken by a decision that was not.
    fn left(&self, aspect: Aspect, tail: &Tail<'_>) -> Option<Restoration> {
        let by = tail.by.filter(|_| !tail.overtaken.is_empty())?;
        let planned = Planned::Skip(format!("Decision {by} has taken effect since"));
        let decisions = tail.overtaken.clone();
        Some(Restoration { user: self.player.user_id, aspect, decisions, from: None, to: None, planned })
    }

    fn step(
        &self,
        aspect: Aspect,
        chosen: &[&(Id, Decision)],
        (from, to): (Option<String>, Option<String>),
        planned: Planned,
    ) -> Restoration {
        let decisions = chosen.iter().map(|(id, _)| *id).collect();
        Restoration { user: self.player.user_id, aspect, decisions, from, to, planned }
    }
}

/// When a punishment ends; none for one that a person or its status ends.
fn end(decision: &Decision) -> Option<Time> {
    let from = decision.ended_at.filter(|_| decision.status == Status::Applied)?;
    decision.suspend_seconds.map(|seconds| from + Duration::from_secs(seconds))
}

/// Whether the punishment that holds, made by `made_it`, is the one `before` made: of the same kind, end, basis and status.
fn is_still(before: &Decision, held: &Punishment, made_it: Option<&Decision>) -> bool {
    let standing = made_it.is_none_or(|made| made.standing == before.standing);
    (before.action == held.action && before.rests_on == held.rests_on && standing)
        && (end(before) == held.until || made_it.is_some_and(|made| brought_back(before, made)))
}

/// Whether `made` is a revert that brought `before` back for what was left of it: whole seconds, counted when it was ordered.
fn brought_back(before: &Decision, made: &Decision) -> bool {
    let (Origin::Revert(_), Some(was), Some(left)) = (made.origin, end(before), made.suspend_seconds) else {
        return false;
    };
    let aimed = made.queued_at.unwrap_or(made.at) + Duration::from_secs(left);
    (aimed.0 - was.0).abs() <= 1_000
}

fn reason(chosen: &[&(Id, Decision)]) -> String {
    let ids: Vec<String> = chosen.iter().rev().take(3).map(|(id, _)| id.to_string()).collect();
    let more = if chosen.len() > 3 { format!(" and {} more", chosen.len() - 3) } else { String::new() };
    format!("Takes back {}{more}", ids.join(", "))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domains::audit::Actor;
    use crate::domains::players::{Decided, Observation, StoredMarks};

    const RANKS: [Option<&str>; 4] =
        [None, Some("Shock Trooper II"), Some("Volt Specialist II"), Some("Storm Corporal I")];

    /// A player and all that ever took effect on them; a second passes with each.
    struct Life {
        player: Player,
        applied: Vec<(Id, Decision)>,
    }

    impl Life {
        fn new() -> Self {
            let seen = Observation::of(RobloxId::EXAMPLE, "Arc");
            Self { player: Player::first_seen(&seen, Time(0)), applied: Vec::new() }
        }

        fn now(&self) -> Time {
            Time((self.applied.len() as i64 + 1) * 1_000)
        }

        fn take_effect(&mut self, order: &Order) {
            let (id, now) = (Id(self.applied.len() as u64), self.now());
            self.applied.push((
                id,
                Decision {
                    at: now,
                    action: order.action,
                    from_rank: self.player.rank.clone(),
                    target_rank: order.target_rank.clone(),
                    reason: String::new(),
                    explain: Vec::new(),
                    status: Status::Applied,
                    blocked_reason: None,
                    suspend_seconds: order.suspend_seconds,
                    policy_version: String::new(),
                    actor: Actor::of("test"),
                    request_id: String::new(),
                    origin: order.origin,
                    queued_at: None,
                    ended_at: Some(now),
                    failure: None,
                    standing: None,
                    lifts: order.lifts,
                    reverted_by: None,
                    rests_on: order.rests_on.clone(),
                    approved_by: None,
                    counted: None,
                },
            ));
            self.player.decided = Some(Decided {
                id,
                at: now,
                action: order.action,
                target_rank: order.target_rank.clone(),
                status: Status::Queued,
                suspend_seconds: order.suspend_seconds,
                rests_on: order.rests_on.clone(),
                marks: StoredMarks::default(),
                origin: order.origin,
                lifts: order.lifts,
                ended_at: None,
                rejected_until: None,
                from_rank: self.player.rank.clone(),
            });
            self.player.take_effect(now);
        }

        fn step(&mut self, step: u8) {
            let order = |action| Order::new(Origin::Policy, action, None, "");
            let order = match (step, self.player.punished()) {
                (0..=3, _) => {
                    let target = RANKS[usize::from(step)].map(str::to_owned);
                    Order::new(Origin::Policy, Action::Promote, target, "")
                }
                (4, _) => order(Action::Ban),
                (5, Some(held)) => Order::lift(Origin::Policy, held.action, None, ""),
                _ => order(Action::Suspend),
            };
            self.take_effect(&order);
        }

        fn state(&self) -> (Option<String>, Option<Action>) {
            (self.player.rank.clone(), self.player.punished().map(|held| held.action))
        }

        /// Takes back all since then, as often as it takes.
        fn revert(&mut self, since: Time) -> usize {
            let policy = Policy::builtin();
            for rounds in 0..10 {
                let chosen = move |_: Id, decision: &Decision| decision.ended_at.is_some_and(|at| at >= since);
                let history =
                    History { player: &self.player, applied: &self.applied, chosen: &chosen, now: self.now() };
                let steps = plan(&policy, &history);
                let next = steps.into_iter().find_map(|step| match step.planned {
                    Planned::Do(order) => Some(order),
                    _ => None,
                });
                match next {
                    Some(order) => self.take_effect(&order),
                    None => return rounds,
                }
            }
            panic!("there is always more to do: {:?}", self.applied);
        }
    }

    proptest! {
        #[test]
        fn whatever_happened_since_is_undone_and_that_can_be_undone(
            before in prop::collection::vec(0u8..8, 0..8), since in prop::collection::vec(0u8..8, 0..12)
        ) {
            let mut life = Life::new();
            before.iter().for_each(|step| life.step(*step));
            let (then, at) = (life.state(), life.now());
            since.iter().for_each(|step| life.step(*step));
            let (now, reverted_at) = (life.state(), life.now());
            prop_assert!(life.revert(at) <= 2, "a decision for the rank, and one for the punishment");
            prop_assert_eq!(life.state(), then);
            prop_assert_eq!(life.revert(at), 0, "done once, it is done");
            life.revert(reverted_at);
            prop_assert_eq!(life.state(), now, "a revert of the revert");
        }
    }

    #[test]
    fn a_suspension_made_longer_becomes_as_long_as_it_was() {
        let mut life = Life::new();
        let suspend = |seconds| {
            let order = Order::new(Origin::Policy, Action::Suspend, None, "");
            Order { suspend_seconds: seconds, ..order }
        };
        life.take_effect(&suspend(Some(100)));
        let at = life.now();
        life.take_effect(&suspend(Some(1_000)));
        assert_eq!(life.revert(at), 1);
        assert_eq!(life.player.punished().and_then(|held| held.until), Some(Time(101_000)));
        assert_eq!(life.revert(at), 0, "done once, it is done");
        life.take_effect(&Order { rests_on: Some("banned".into()), ..suspend(Some(97)) });
        let again = life.now();
        life.take_effect(&suspend(None));
        life.player.punishment = Some("banned".into());
        assert_eq!(life.revert(again), 1, "another basis is another punishment");
        assert_eq!(life.player.punished().and_then(|held| held.rests_on).as_deref(), Some("banned"));
    }

    #[test]
    fn a_move_that_led_nowhere_is_no_later_change() {
        let mut life = Life::new();
        let at = life.now();
        life.step(1);
        let until = life.now();
        let again = Order::new(Origin::Drift, Action::Promote, life.player.rank.clone(), "");
        life.take_effect(&again);
        let chosen =
            move |_: Id, decision: &Decision| decision.ended_at.is_some_and(|ended| at <= ended && ended < until);
        let history = History { player: &life.player, applied: &life.applied, chosen: &chosen, now: life.now() };
        let steps = plan(&Policy::builtin(), &history);
        assert!(matches!(steps[..], [Restoration { planned: Planned::Do(_), .. }]), "{steps:?}");
    }

    #[test]
    fn a_suspension_comes_back_for_the_time_that_is_left() {
        let mut life = Life::new();
        let suspend = Order::new(Origin::Policy, Action::Suspend, None, "");
        life.take_effect(&Order { suspend_seconds: Some(10), ..suspend });
        let at = life.now();
        life.take_effect(&Order::lift(Origin::Policy, Action::Suspend, None, ""));
        life.revert(at);
        assert_eq!(life.applied.last().map(|(_, decision)| decision.suspend_seconds), Some(Some(8)));
        assert_eq!(life.player.punished().and_then(|held| held.until), Some(Time(11_000)));
    }
}
