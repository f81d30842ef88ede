//! What has been decided about a player: the decision that is open, the one that took effect last, and what either does to their row.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::model::Player;
use crate::base::{Id, Time};
use crate::domains::policy::Action;

/// What the decision engine remembers of a player from one evaluation to the next; only the engine interprets it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredMarks {
    pub points_below_since: Option<Time>,
    pub acted_warning_threshold: Option<u32>,
    pub acted_status: Option<String>,
}

/// Where a decision comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Origin {
    /// The policy, or a person who approved what it proposed.
    #[default]
    Policy,
    /// Somebody takes back this decision.
    Revert(Id),
    /// Somebody gave another rank by hand on Roblox, and ours is put back.
    Drift,
    /// The suspension made by this decision is over.
    SuspensionEnd(Id),
}

impl Origin {
    /// The name on the wire.
    pub fn text(self) -> &'static str {
        match self {
            Self::Policy => "policy",
            Self::Revert(_) => "revert",
            Self::Drift => "drift",
            Self::SuspensionEnd(_) => "suspension_end",
        }
    }

    /// The decision it undoes.
    pub fn of(self) -> Option<Id> {
        match self {
            Self::Revert(id) | Self::SuspensionEnd(id) => Some(id),
            Self::Policy | Self::Drift => None,
        }
    }
}

/// The open decision about a player: proposed, blocked, queued or failed. Asked for again while it is open, it is answered again, not
/// made twice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decided {
    pub id: Id,
    /// When it was queued; before that, when it was first made.
    pub at: Time,
    pub action: Action,
    pub target_rank: Option<String>,
    pub status: Status,
    /// How long a suspension lasts once it takes effect, in seconds; none for one that ends with its status.
    #[serde(default)]
    pub suspend_seconds: Option<u64>,
    /// The reported status a punishment rests on: when that is lifted, so is the punishment.
    #[serde(default)]
    pub rests_on: Option<String>,
    /// What the engine remembers once it has taken effect. Not before: until then the same facts must lead to the same decision.
    #[serde(default)]
    pub marks: StoredMarks,
    #[serde(default)]
    pub origin: Origin,
    /// It undoes a punishment instead of making one.
    #[serde(default)]
    pub lifts: bool,
    /// When it failed.
    #[serde(default)]
    pub ended_at: Option<Time>,
    /// A person said no: until then the same is not proposed again.
    #[serde(default)]
    pub rejected_until: Option<Time>,
    /// The rank it was decided on.
    #[serde(default)]
    pub from_rank: Option<String>,
}

impl Decided {
    /// Whether it will take effect without anybody asking again.
    pub fn is_queued(&self) -> bool {
        self.status == Status::Queued
    }

    /// Whether the policy made it: what a person or a worker ordered is not the policy's to take back.
    pub fn is_of_policy(&self) -> bool {
        self.origin == Origin::Policy
    }

    /// Whether it makes a punishment.
    pub fn punishes(&self) -> bool {
        !self.lifts && punishes(self.action)
    }
}

/// The last decision about a player that took effect.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acted {
    pub id: Id,
    pub at: Time,
    pub action: Action,
    pub target_rank: Option<String>,
    /// When a suspension ends; none for one that ends with its status.
    pub until: Option<Time>,
    /// As [`Decided::rests_on`].
    pub rests_on: Option<String>,
    /// Whether this decision or one before it changed the rank: from then on ours counts.
    pub rank_is_ours: bool,
    /// As [`Decided::lifts`].
    #[serde(default)]
    pub lifts: bool,
    /// The punishment from before that this decision left as it was.
    #[serde(default)]
    pub still: Option<Punishment>,
}

impl Acted {
    /// The punishment that this decision made or left; whether it still holds is a matter of time and of the reported status.
    pub fn punishment(&self) -> Option<Punishment> {
        match self.lifts {
            true => None,
            false if punishes(self.action) => Some(Punishment {
                id: self.id,
                action: self.action,
                until: self.until,
                rests_on: self.rests_on.clone(),
            }),
            false => self.still.clone(),
        }
    }
}

/// A suspension or ban that took effect and was not lifted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Punishment {
    /// The decision that made it.
    pub id: Id,
    pub action: Action,
    /// When it ends; none for one that a person or its status ends.
    pub until: Option<Time>,
    /// As [`Decided::rests_on`].
    pub rests_on: Option<String>,
}

/// Where a decision stands (requirement F9).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Status {
    /// Nobody asked for it to take effect, or it waits for a person.
    Proposed,
    /// It will take effect.
    Queued,
    /// It took effect.
    Applied,
    /// It could not take effect.
    Failed,
    /// It may not take effect.
    Blocked,
}

impl Status {
    /// The name on the wire.
    pub fn text(self) -> &'static str {
        match self {
            Status::Proposed => "proposed",
            Status::Queued => "queued",
            Status::Applied => "applied",
            Status::Failed => "failed",
            Status::Blocked => "blocked",
        }
    }
}

impl Player {
    /// Whether a decision of ours has moved them: from then on our rank counts.
    pub fn rank_is_ours(&self) -> bool {
        self.acted.as_ref().is_some_and(|acted| acted.rank_is_ours)
    }

    /// The punishment that took effect and was not lifted; one whose time is over is still told until its end is carried out.
    pub fn punished(&self) -> Option<Punishment> {
        self.acted.as_ref().and_then(Acted::punishment)
    }

    /// The open decision has taken effect at `now`; without one nothing happens.
    pub fn take_effect(&mut self, now: Time) {
        let Some(decided) = self.decided.take() else { return };
        let moves = matches!(decided.action, Action::Promote | Action::Demote);
        let rank_is_ours = moves || self.rank_is_ours();
        let still = self.punished().filter(|_| moves);
        if moves {
            self.rank = decided.target_rank.clone();
            self.rank_since = self.rank.is_some().then_some(now);
        }
        // An order leaves the marks: what was acted on once and taken back is not acted on again.
        if decided.is_of_policy() {
            self.marks = decided.marks;
        }
        if let Origin::Revert(of) = decided.origin {
            self.allow_again(of);
            self.refuse_from(decided.id, now);
        }
        self.updated_at = now;
        self.acted = Some(Acted {
            id: decided.id,
            at: now,
            action: decided.action,
            target_rank: decided.target_rank,
            until: decided.suspend_seconds.filter(|_| !decided.lifts).map(|seconds| now + Duration::from_secs(seconds)),
            rests_on: decided.rests_on,
            rank_is_ours,
            lifts: decided.lifts,
            still,
        });
    }

    /// The open decision could not take effect; it stays open as failed.
    pub fn fail_effect(&mut self, now: Time) {
        if let Some(decided) = &mut self.decided {
            (decided.status, decided.ended_at) = (Status::Failed, Some(now));
            self.updated_at = now;
        }
    }
}

fn punishes(action: Action) -> bool {
    matches!(action, Action::Suspend | Action::Ban)
}

#[cfg(test)]
impl Decided {
    /// Queued by the policy at time 0, towards no rank.
    pub fn sample(action: Action) -> Self {
        Self {
            id: Id(1),
            at: Time(0),
            action,
            target_rank: None,
            status: Status::Queued,
            suspend_seconds: None,
            rests_on: None,
            marks: StoredMarks::default(),
            origin: Origin::Policy,
            lifts: false,
            ended_at: None,
            rejected_until: None,
            from_rank: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::RobloxId;
    use crate::domains::players::Observation;

    fn seen(rank: Option<Option<&str>>) -> Observation {
        let rank = rank.map(|rank| rank.map(str::to_owned));
        Observation { rank, points: Some(520), ..Observation::of(RobloxId::new(7).unwrap(), "Arc") }
    }

    fn decided(action: Action, target: Option<&str>) -> Decided {
        Decided { at: Time(5), target_rank: target.map(str::to_owned), ..Decided::sample(action) }
    }

    #[test]
    fn a_report_moves_the_rank_until_a_decision_of_ours_did() {
        let mut player = Player::first_seen(&seen(Some(Some("A"))), Time(0));
        assert_eq!(player.observe(&seen(Some(Some("B"))), Time(5)), Some(Some("A".to_owned())));
        assert_eq!((player.rank.as_deref(), player.rank_since), (Some("B"), Some(Time(5))));
        player.decided = Some(decided(Action::Promote, Some("C")));
        player.take_effect(Time(6));
        assert_eq!((player.rank.as_deref(), player.rank_since), (Some("C"), Some(Time(6))));
        assert_eq!(player.observe(&seen(Some(Some("B"))), Time(7)), None);
        assert_eq!((player.rank.as_deref(), player.reported_rank.as_deref()), (Some("C"), Some("B")));
        for later in [decided(Action::Promote, Some("D")), decided(Action::Suspend, None)] {
            player.decided = Some(later);
            assert_eq!(player.observe(&seen(Some(Some("B"))), Time(8)), None, "an open decision takes nothing back");
        }
        player.take_effect(Time(9));
        assert_eq!(player.observe(&seen(Some(Some("B"))), Time(10)), None, "nor does a punishment after it");
        assert_eq!(player.rank.as_deref(), Some("C"));
    }

    #[test]
    fn a_suspension_begins_when_it_takes_effect_and_leaves_the_rank_to_the_game() {
        let mut player = Player::first_seen(&seen(Some(Some("A"))), Time(0));
        player.take_effect(Time(1));
        assert_eq!(player.acted, None, "nothing was decided");
        player.decided = Some(Decided { suspend_seconds: Some(60), ..decided(Action::Suspend, None) });
        player.take_effect(Time(2_000));
        assert_eq!(player.acted.as_ref().and_then(|acted| acted.until), Some(Time(62_000)));
        assert_eq!((player.decided.is_none(), player.rank.as_deref()), (true, Some("A")));
        player.observe(&seen(Some(Some("B"))), Time(3_000));
        assert_eq!(player.rank.as_deref(), Some("B"));
    }

    #[test]
    fn a_lift_ends_a_punishment_and_a_move_does_not() {
        let mut player = Player::first_seen(&seen(Some(Some("A"))), Time(0));
        player.decided = Some(Decided { suspend_seconds: Some(60), ..decided(Action::Suspend, None) });
        player.take_effect(Time(0));
        let revert = Origin::Revert(Id(9));
        player.decided = Some(Decided { id: Id(2), origin: revert, ..decided(Action::Demote, None) });
        player.take_effect(Time(1));
        assert_eq!((player.rank.as_deref(), player.rank_since), (None, None));
        let held = player.punished().unwrap();
        assert_eq!((held.id, held.action, held.until), (Id(1), Action::Suspend, Some(Time(60_000))));
        player.marks.acted_warning_threshold = Some(3);
        player.decided = Some(Decided { lifts: true, origin: revert, ..decided(Action::Suspend, None) });
        player.take_effect(Time(2));
        assert_eq!((player.punished(), player.marks.acted_warning_threshold), (None, Some(3)));
        assert_eq!(player.rank, None, "a lift leaves the rank");
    }
}
