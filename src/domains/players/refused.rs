//! What is not decided about a player for a while: a person said no, or took it back after it had taken effect.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decided::Decided;
use super::model::Player;
use crate::base::{Id, Time};
use crate::domains::policy::Action;

/// How long the same is not decided again after a person said no.
pub const REJECTED_FOR: Duration = Duration::from_secs(24 * 3600);

/// Refusals remembered of one player, at most. The oldest makes room, and of those that a person spoke only where there is no other: what
/// a revert takes back is many steps of one way, of which the first is what would be decided next.
pub const MAX_REFUSED: usize = 8;

/// One thing that is not decided again until its time is over. It has a place of its own on the player, so that no later verdict and no
/// other decision erases it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// The decision that was rejected, cancelled or taken back.
    pub id: Id,
    pub action: Action,
    pub target_rank: Option<String>,
    /// As [`Decided::suspend_seconds`].
    pub suspend_seconds: Option<u64>,
    pub until: Time,
    /// The revert that takes it back; none where a person rejected it, or it was cancelled, before it took effect.
    pub by: Option<Id>,
}

impl Refused {
    fn is(&self, (action, target, seconds): (Action, Option<&str>, Option<u64>)) -> bool {
        self.action == action && self.target_rank.as_deref() == target && self.suspend_seconds == seconds
    }

    fn what(&self) -> (Action, Option<&str>, Option<u64>) {
        (self.action, self.target_rank.as_deref(), self.suspend_seconds)
    }
}

impl Player {
    /// Remembers a refusal, in the place of an older one of the same.
    pub fn refuse(&mut self, refused: Refused, now: Time) {
        self.refused.retain(|older| now < older.until && !older.is(refused.what()));
        while self.refused.len() >= MAX_REFUSED {
            let reverted = self.refused.iter().position(|older| older.by.is_some());
            self.refused.remove(reverted.unwrap_or(0));
        }
        self.refused.push(refused);
    }

    /// What was refused of this (action, target, seconds), while it lasts.
    pub fn refusal(&self, what: (Action, Option<&str>, Option<u64>), now: Time) -> Option<&Refused> {
        self.refused.iter().find(|refused| now < refused.until && refused.is(what))
    }

    /// A person wants the decision `id` after all.
    pub fn allow(&mut self, id: Id) {
        self.refused.retain(|refused| refused.id != id);
    }

    /// The revert `by` does not come to pass, or was taken back itself: what it refused may be decided again.
    pub fn allow_again(&mut self, by: Id) {
        self.refused.retain(|refused| refused.by != Some(by));
    }

    /// The revert `by` took effect: what it took back is refused from now on.
    pub(super) fn refuse_from(&mut self, by: Id, now: Time) {
        for refused in self.refused.iter_mut().filter(|refused| refused.by == Some(by)) {
            refused.until = now + REJECTED_FOR;
        }
    }
}

impl Decided {
    /// A person said no to it at `now`.
    pub fn refused(&self, now: Time) -> Refused {
        Refused {
            id: self.id,
            action: self.action,
            target_rank: self.target_rank.clone(),
            suspend_seconds: self.suspend_seconds,
            until: now + REJECTED_FOR,
            by: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::RobloxId;
    use crate::domains::players::Observation;

    fn promotion(id: u64, to: u64, by: Option<Id>) -> Refused {
        let (action, target_rank, until) = (Action::Promote, Some(format!("R{to}")), Time(1_000));
        Refused { id: Id(id), action, target_rank, suspend_seconds: None, until, by }
    }

    fn ids(player: &Player) -> Vec<u64> {
        player.refused.iter().map(|refused| refused.id.0).collect()
    }

    #[test]
    fn what_a_person_refused_is_the_last_to_make_room() {
        let mut player = Player::first_seen(&Observation::of(RobloxId::EXAMPLE, "Arc"), Time(0));
        for (id, by) in [(0, None), (1, None)].into_iter().chain((2..20).map(|id| (id, Some(Id(99))))) {
            player.refuse(promotion(id, id, by), Time(0));
        }
        assert_eq!(ids(&player), [0, 1, 14, 15, 16, 17, 18, 19]);
        for id in 20..27 {
            player.refuse(promotion(id, id, None), Time(0));
        }
        assert_eq!(ids(&player), [1, 20, 21, 22, 23, 24, 25, 26]);
        for id in 27..30 {
            player.refuse(promotion(id, id, Some(Id(99))), Time(0));
        }
        assert_eq!(ids(&player), [20, 21, 22, 23, 24, 25, 26, 29], "the last of a revert has a place all the same");
    }

    #[test]
    fn refusals_are_few_and_end() {
        let mut player = Player::first_seen(&Observation::of(RobloxId::EXAMPLE, "Arc"), Time(0));
        for id in 0..20 {
            player.refuse(promotion(id, id / 2, None), Time(0));
        }
        assert_eq!(ids(&player), [5, 7, 9, 11, 13, 15, 17, 19], "the newest of each, and the newest eight");
        let last = (Action::Promote, Some("R9"), None);
        assert_eq!(player.refusal(last, Time(999)).map(|refused| refused.id), Some(Id(19)));
        assert_eq!(player.refusal(last, Time(1_000)), None);
        assert_eq!(player.refusal((Action::Demote, Some("R9"), None), Time(0)), None);
        player.allow(Id(19));
        assert_eq!(player.refusal(last, Time(0)), None);
    }
}
