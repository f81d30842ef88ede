//! What is not decided about a player for a while: a person said no, or took it back after it had taken effect.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decided::Decided;
use super::model::Player;
use crate::base::{Id, Time};
use crate::domains::policy::Action;

/// How long the same is not decided again after a person said no.
pub const REJECTED_FOR: Duration = Duration::from_secs(24 * 3600);

/// Refusals remembered of one player, at most; the oldest makes room.
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
        let old = (self.refused.len() + 1).saturating_sub(MAX_REFUSED);
        self.refused.drain(..old);
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

    #[test]
    fn refusals_are_few_and_end() {
        let mut player = Player::first_seen(&Observation::of(RobloxId::EXAMPLE, "Arc"), Time(0));
        for id in 0..20 {
            let (target_rank, until) = (Some(format!("R{}", id / 2)), Time(1_000));
            let refused =
                Refused { id: Id(id), action: Action::Promote, target_rank, suspend_seconds: None, until, by: None };
            player.refuse(refused, Time(0));
        }
        let ids: Vec<u64> = player.refused.iter().map(|refused| refused.id.0).collect();
        assert_eq!(ids, [5, 7, 9, 11, 13, 15, 17, 19], "the newest of each, and the newest eight");
        let last = (Action::Promote, Some("R9"), None);
        assert_eq!(player.refusal(last, Time(999)).map(|refused| refused.id), Some(Id(19)));
        assert_eq!(player.refusal(last, Time(1_000)), None);
        assert_eq!(player.refusal((Action::Demote, Some("R9"), None), Time(0)), None);
        player.allow(Id(19));
        assert_eq!(player.refusal(last, Time(0)), None);
    }
}
