//! Demotion: for warnings at once, for points after the grace time.

use crate::domains::policy::{Action, Rank, Threshold};

use super::text::{Lasting, counted};
use super::verdict::Judgement;
use super::{Case, Rule, warnings};

impl Case<'_> {
    /// DEMOTE because a threshold of warnings was reached; `None` when there is no lower rank automation may give.
    pub(super) fn fall_for_warnings(&mut self, step: &Threshold) -> Option<Judgement> {
        let most = self.policy.settings().max_steps_per_decision.min(step.steps.unwrap_or(1));
        let target = self.lower(most, |_| true)?.name.clone();
        if let Some(waiting) = self.cooling_down() {
            return Some(waiting);
        }
        let reason = format!("{}: a demotion is due at {}", warnings(self.warnings), step.at);
        Some(Judgement {
            target_rank: Some(target),
            acts_on_threshold: Some(step.at),
            ..Judgement::new(Action::Demote, reason)
        })
    }

    /// DEMOTE for lack of points, or NONE with what is ahead. `None`: the points keep the rank, or demotion is off.
    pub(super) fn fall(&mut self) -> Option<Judgement> {
        let rules = &self.policy.settings().demotion;
        let holds = self.place.and_then(|place| self.policy.ladder().get(place)).filter(|_| rules.enabled)?;
        let points = self.subject.points;
        let keeps = points >= holds.demote_below;
        let text = format!("{}; {} keep {}", counted(points, "point"), holds.demote_below, holds.name);
        self.rule(Rule::number("pointsToKeep", keeps, (points, holds.demote_below), text));
        let since = self.marks.points_below_since?;
        let short = counted(holds.demote_below - points, "point");
        let below = format!("{short} below what keeps {} ({} required)", holds.name, holds.demote_below);
        let Some(target) = self
            .lower(self.policy.settings().max_steps_per_decision, |rank| points < rank.demote_below)
            .map(|rank| rank.name.clone())
        else {
            let lowest = self.place == Some(0);
            let why = if lowest { "it is the lowest rank" } else { "the rank below is privileged" };
            return Some(Judgement::none(format!("{below}: {why}")));
        };
        let (passed, grace) = (self.now.since(since).as_secs(), rules.grace_seconds);
        let over = passed >= grace;
        let text = if over {
            format!("The grace time of {} is over", Lasting(grace))
        } else {
            format!("{} of grace left of {}", Lasting(grace - passed), Lasting(grace))
        };
        self.rule(Rule::number("graceSeconds", !over, (passed, grace), text));
        if !over {
            return Some(Judgement::none(format!("{below}: demotion in {}", Lasting(grace - passed))));
        }
        Some(Judgement { target_rank: Some(target), ..Judgement::new(Action::Demote, below) })
    }

    /// The rank up to `most` steps down, leaving a rank only while `leave` says so; never onto or past a privileged one.
    fn lower(&self, most: u32, leave: impl Fn(&Rank) -> bool) -> Option<&Rank> {
        let ladder = self.policy.ladder();
        let mut place = self.place?;
        let start = place;
        for _ in 0..most {
            let below = place.checked_sub(1).and_then(|at| ladder.get(at)).filter(|rank| !rank.privileged);
            if below.is_none() || !ladder.get(place).is_some_and(&leave) {
                break;
            }
            place -= 1;
        }
        ladder.get(place).filter(|_| place < start)
    }
}
