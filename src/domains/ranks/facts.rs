//! From a player's row to the facts the engine decides on.

use std::time::Duration;

use super::decide::{InForce, LastDecision, Marks, Subject};
use crate::base::Time;
use crate::domains::players::{Decided, Player, StoredMarks};
use crate::domains::policy::{Action, Penalty};

/// The facts at `now`. A queued decision counts like one that took effect: it will.
pub fn subject(player: &Player, now: Time) -> Subject<'_> {
    let queued = queued(player).map(|queued| LastDecision {
        at: queued.at,
        action: queued.action,
        target: queued.target_rank.as_deref(),
    });
    let acted = player.acted.as_ref().map(|acted| LastDecision {
        at: acted.at,
        action: acted.action,
        target: acted.target_rank.as_deref(),
    });
    Subject {
        rank: player.rank.as_deref(),
        reported_rank: player.reported_rank.as_deref(),
        reported_at: Some(player.rank_reported_at()),
        points: player.points,
        points_flagged: player.flagged,
        kos: player.kos,
        wos: player.wos,
        warnings: player.warnings,
        last_warning_at: player.last_warning_at,
        recommendations: player.recommendations,
        punishment_status: player.punishment.as_deref(),
        in_force: in_force(player, now),
        rank_since: player.rank_since,
        last_decision: queued.or(acted),
        experience: player.experience.as_deref(),
        marks: Marks {
            points_below_since: player.marks.points_below_since,
            acted_warning_threshold: player.marks.acted_warning_threshold,
            acted_status: player.marks.acted_status.as_deref().map(Into::into),
        },
        ..Subject::new(player.user_id)
    }
}

/// The engine's marks as they are stored.
pub fn stored(marks: &Marks) -> StoredMarks {
    StoredMarks {
        points_below_since: marks.points_below_since,
        acted_warning_threshold: marks.acted_warning_threshold,
        acted_status: marks.acted_status.as_deref().map(str::to_owned),
    }
}

fn queued(player: &Player) -> Option<&Decided> {
    player.decided.as_ref().filter(|decided| decided.is_queued())
}

/// The most severe punishment that is queued or took effect, and still holds.
fn in_force(player: &Player, now: Time) -> Option<InForce> {
    let stands = |rests_on: Option<&str>| rests_on.is_none_or(|status| reports(player, status));
    // The time of a suspension does not run while it waits to take effect.
    let queued =
        queued(player).filter(|queued| queued.punishes() && stands(queued.rests_on.as_deref())).and_then(|queued| {
            let until = queued.suspend_seconds.map(|seconds| now + Duration::from_secs(seconds));
            Some(InForce { penalty: punishment(queued.action)?, until })
        });
    let acted = player.punished().filter(|held| stands(held.rests_on.as_deref()));
    let acted = acted.and_then(|held| Some(InForce { penalty: punishment(held.action)?, until: held.until }));
    queued.into_iter().chain(acted.filter(|held| held.holds(now))).min_by_key(|held| held.penalty)
}

/// Whether the game reports this status.
pub fn reports(player: &Player, status: &str) -> bool {
    player.punishment.as_deref().is_some_and(|reported| reported.trim().eq_ignore_ascii_case(status))
}

fn punishment(action: Action) -> Option<Penalty> {
    match action {
        Action::Ban => Some(Penalty::Ban),
        Action::Suspend => Some(Penalty::Suspend),
        Action::Demote | Action::Promote | Action::None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::{Id, RobloxId};
    use crate::domains::players::{Acted, Observation, Status};

    fn player() -> Player {
        Player::first_seen(&Observation::of(RobloxId::EXAMPLE, "Arc"), Time(0))
    }

    fn acted(action: Action, until: Option<Time>, rests_on: Option<&str>) -> Option<Acted> {
        let rests_on = rests_on.map(str::to_owned);
        Some(Acted {
            id: Id(1),
            at: Time(10),
            action,
            target_rank: None,
            until,
            rests_on,
            rank_is_ours: false,
            lifts: false,
            still: None,
        })
    }

    fn waiting(action: Action, seconds: Option<u64>) -> Option<Decided> {
        Some(Decided { id: Id(2), at: Time(20), suspend_seconds: seconds, ..Decided::sample(action) })
    }

    #[test]
    fn a_punishment_holds_until_its_end() {
        let mut player = player();
        player.acted = acted(Action::Suspend, Some(Time(100)), None);
        assert_eq!(in_force(&player, Time(99)), Some(InForce { penalty: Penalty::Suspend, until: Some(Time(100)) }));
        assert_eq!(in_force(&player, Time(100)), None);
        player.acted = acted(Action::Ban, None, None);
        assert_eq!(in_force(&player, Time(i64::MAX)), Some(InForce { penalty: Penalty::Ban, until: None }));
        player.acted = acted(Action::Promote, None, None);
        assert_eq!(in_force(&player, Time(11)), None);
    }

    #[test]
    fn a_punishment_that_rests_on_a_status_ends_with_it() {
        let mut player = player();
        player.acted = acted(Action::Suspend, None, Some("suspended"));
        player.punishment = Some(" Suspended ".into());
        assert!(in_force(&player, Time(99)).is_some());
        for lifted in [None, Some("probation".to_owned())] {
            player.punishment = lifted;
            assert_eq!(in_force(&player, Time(99)), None);
        }
    }

    #[test]
    fn a_queued_decision_is_the_last_one_and_its_time_does_not_run() {
        let mut player = player();
        player.acted = acted(Action::Promote, None, None);
        player.decided = waiting(Action::Suspend, Some(1));
        let facts = subject(&player, Time(5_000));
        assert_eq!(facts.last_decision.map(|last| (last.at, last.action)), Some((Time(20), Action::Suspend)));
        assert_eq!(facts.in_force, Some(InForce { penalty: Penalty::Suspend, until: Some(Time(6_000)) }));
        if let Some(decided) = &mut player.decided {
            decided.status = Status::Proposed;
        }
        let facts = subject(&player, Time(5_000));
        assert_eq!(facts.last_decision.map(|last| last.at), Some(Time(10)), "a proposal is nothing yet");
        assert_eq!(facts.in_force, None);
    }

    #[test]
    fn what_was_lifted_does_not_hold_and_what_waits_to_be_lifted_does() {
        let mut player = player();
        player.acted = acted(Action::Ban, None, None);
        player.decided = waiting(Action::Ban, None).map(|open| Decided { lifts: true, ..open });
        assert_eq!(in_force(&player, Time(99)).map(|held| held.penalty), Some(Penalty::Ban));
        player.take_effect(Time(100));
        assert_eq!(in_force(&player, Time(100)), None);
        player.decided = waiting(Action::Ban, None).map(|open| Decided { lifts: true, ..open });
        assert_eq!(in_force(&player, Time(101)), None, "a lift that waits is no punishment");
    }

    #[test]
    fn the_more_severe_of_two_punishments_counts() {
        let mut player = player();
        player.acted = acted(Action::Suspend, None, None);
        player.decided = waiting(Action::Ban, None);
        assert_eq!(in_force(&player, Time(99)).map(|held| held.penalty), Some(Penalty::Ban));
    }
}
