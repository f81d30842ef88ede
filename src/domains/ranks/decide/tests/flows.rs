//! What happens to a player over time, when every decision is applied: punishments act once, end, and do not come back by themselves.

use std::sync::Arc;
use std::time::Duration;

use super::answers::{NOW, example};
use crate::domains::policy::Penalty;
use crate::domains::ranks::decide::*;

/// A player to whom every decision is applied, the way a service stores it.
#[derive(Debug, Clone)]
pub(super) struct Player {
    pub facts: Subject<'static>,
    pub rank: Option<Arc<str>>,
    pub now: Time,
}

impl Player {
    pub fn new(facts: Subject<'static>) -> Self {
        let rank = facts.rank.map(Into::into);
        Self { facts: Subject { reported_rank: None, ..facts }, rank, now: NOW }
    }

    pub fn evaluate(&self, policy: &Policy) -> Verdict {
        decide(policy, &Subject { rank: self.rank.as_deref(), ..self.facts.clone() }, self.now)
    }

    /// Evaluates, applies, and returns what was done.
    pub fn step(&mut self, policy: &Policy) -> Action {
        let verdict = self.evaluate(policy);
        if verdict.action == Action::None {
            self.facts.marks = verdict.marks;
            return Action::None;
        }
        self.facts.marks = verdict.marks_if_applied;
        self.facts.last_decision = Some(LastDecision { at: self.now, action: verdict.action, target: None });
        let until = verdict.suspend_for.map(|lasts| self.now + lasts);
        match verdict.action {
            Action::Ban => self.facts.in_force = Some(InForce { penalty: Penalty::Ban, until: None }),
            Action::Suspend => self.facts.in_force = Some(InForce { penalty: Penalty::Suspend, until }),
            _ => {
                self.rank = verdict.target_rank;
                self.facts.rank_since = Some(self.now);
            }
        }
        verdict.action
    }

    pub fn pass(&mut self, hours: u64) {
        self.now = self.now + Duration::from_secs(hours * 3600);
        if self.facts.in_force.is_some_and(|punishment| !punishment.holds(self.now)) {
            self.facts.in_force = None;
        }
    }

    /// The actions of `count` evaluations, `hours` apart.
    pub fn steps(&mut self, policy: &Policy, count: usize, hours: u64) -> Vec<Action> {
        let each = |_| {
            let action = self.step(policy);
            self.pass(hours);
            action
        };
        (0..count).map(each).collect()
    }
}

use Action::{Ban, Demote, None as Nothing, Promote, Suspend};

fn warned(warnings: u32) -> Player {
    Player::new(Subject { warnings, points: 520, ..example() })
}

#[test]
fn three_warnings_suspend_once() {
    let policy = Policy::builtin();
    let mut player = warned(3);
    let verdict = player.evaluate(&policy);
    assert_eq!(verdict.reason, "3 warnings: a suspension of 24 hours is due at 3");
    assert_eq!(verdict.suspend_for, Some(Duration::from_secs(86_400)));
    assert_eq!(verdict.status.as_deref(), Some("suspended"));
    assert_eq!(player.steps(&policy, 4, 6), [Suspend, Nothing, Nothing, Nothing]);
    assert_eq!(player.evaluate(&policy).reason, "1 warning too many for Storm Corporal I (at most 2)");
    assert_eq!(player.steps(&policy, 20, 24), [Nothing; 20]);
}

#[test]
fn while_suspended_only_a_ban_may_follow() {
    let policy = Policy::builtin();
    let mut player = warned(3);
    player.step(&policy);
    assert_eq!(player.evaluate(&policy).reason, "Suspended: 24 hours left");
    player.facts.warnings = 5;
    assert_eq!(player.step(&policy), Nothing, "the demotion waits");
    player.facts.warnings = 7;
    let verdict = player.evaluate(&policy);
    assert_eq!((verdict.action, verdict.requires_approval), (Ban, true), "the shipped policy wants a person for a ban");
    assert_eq!(player.steps(&policy, 3, 1000), [Ban, Nothing, Nothing]);
    assert_eq!(player.evaluate(&policy).reason, "Banned until it is lifted");
}

#[test]
fn each_threshold_acts_in_turn_and_demotes_only_once() {
    let policy = Policy::builtin();
    let mut player = warned(5);
    assert_eq!(player.steps(&policy, 6, 12), [Suspend, Nothing, Demote, Nothing, Nothing, Nothing]);
    assert_eq!(player.rank.as_deref(), Some("Shock Trooper II"));
}

#[test]
fn a_threshold_acts_again_after_the_warnings_fell_below_it() {
    let policy = Policy::builtin();
    let mut player = warned(3);
    assert_eq!(player.steps(&policy, 2, 24), [Suspend, Nothing]);
    player.facts.warnings = 2;
    assert_eq!(player.step(&policy), Nothing);
    player.facts.warnings = 3;
    assert_eq!(player.steps(&policy, 2, 24), [Suspend, Nothing]);
}

#[test]
fn warnings_lapse_with_time() {
    let policy = Policy::builtin();
    let mut player = warned(3);
    player.facts.points = 800;
    player.facts.last_warning_at = Some(NOW);
    assert_eq!(player.steps(&policy, 2, 24), [Suspend, Nothing]);
    player.pass(24 * 30);
    assert_eq!(player.step(&policy), Promote, "two warnings are left, which is not too many");
}

#[test]
fn a_status_is_carried_out_once_as_long_as_it_stands() {
    let policy = Policy::builtin();
    let mut player = warned(0);
    player.facts.points = 800;
    player.facts.punishment_status = Some("Suspended");
    assert_eq!(player.evaluate(&policy).reason, "Status \"suspended\" calls for a suspension");
    assert_eq!(player.steps(&policy, 5, 100), [Suspend, Nothing, Nothing, Nothing, Nothing]);
    player.facts.in_force = None;
    assert_eq!(player.steps(&policy, 5, 100), [Nothing; 5], "the game still says so: no second time");
    player.facts.punishment_status = None;
    assert_eq!(player.step(&policy), Promote);
    player.facts.punishment_status = Some("suspended");
    assert_eq!(player.step(&policy), Suspend, "a new suspension");
}

#[test]
fn the_game_showing_our_own_suspension_does_not_suspend_again() {
    let policy = Policy::builtin();
    let mut player = warned(3);
    player.step(&policy);
    player.facts.punishment_status = Some("suspended");
    assert_eq!(player.steps(&policy, 10, 12), [Nothing; 10]);
}

#[test]
fn probation_blocks_promotion_and_no_demotion() {
    let policy = Policy::builtin();
    let mut player = warned(0);
    player.facts.punishment_status = Some("probation");
    player.facts.points = 800;
    assert_eq!(player.evaluate(&policy).reason, "Status \"probation\" blocks promotion");
    player.facts.points = 100;
    assert_eq!(player.steps(&policy, 3, 24), [Nothing, Demote, Nothing]);
}

#[test]
fn the_most_severe_of_status_and_warnings_goes_first() {
    let policy = Policy::builtin();
    let mut player = warned(7);
    player.facts.punishment_status = Some("suspended");
    assert_eq!(player.evaluate(&policy).reason, "7 warnings: a ban is due at 7");
    player.facts.warnings = 3;
    player.facts.punishment_status = Some("banned");
    assert_eq!(player.step(&policy), Ban);
}
