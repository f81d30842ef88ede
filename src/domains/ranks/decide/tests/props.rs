//! Properties that hold for every clean policy: no flapping, nobody privileged moves, precedence, bounded steps.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::answers::NOW;
use super::flows::Player;
use crate::base::RobloxId;
use crate::domains::policy::FileKind;
use crate::domains::ranks::decide::*;

const MOST_RANKS: usize = 12;

/// A ladder that lint finds clean: rising points, `demoteBelow ≤ promoteAt`, some conditions, some privileged ranks.
fn ranks() -> impl Strategy<Value = Vec<Value>> {
    let rank = (
        1i64..400,
        0i64..300,
        0i64..400,
        0i64..20,
        prop::bool::weighted(0.1),
        prop::sample::select(&[0u32, 0, 0, 1, 30][..]),
    );
    prop::collection::vec(rank, 1..MOST_RANKS).prop_map(|parts| {
        let (mut required, mut promote) = (0, 0);
        let each = parts.into_iter().enumerate().map(|(at, (gap, shift, slack, kos, privileged, hours))| {
            required += gap;
            promote = (promote + 1).max(required - shift).max(1);
            json!({ "name": format!("Rank {at}"), "requiredPoints": required, "promoteAt": promote,
                    "demoteBelow": (promote - slack).max(0), "minKos": kos, "privileged": privileged,
                    "minTimeInPreviousRankHours": if at == 0 { 0 } else { hours } })
        });
        each.collect()
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    let settings = (1u32..5, 0u64..10_000, any::<bool>(), 0u64..100_000, 0u32..4);
    let thresholds = prop::collection::btree_map(1u32..12, 0usize..3, 0..4);
    (ranks(), settings, thresholds).prop_map(|(ranks, (steps, cooldown, demotes, grace, warnings), thresholds)| {
        let thresholds: Vec<Value> = thresholds
            .into_iter()
            .map(|(at, kind)| match kind {
                0 => json!({ "at": at, "action": "BAN" }),
                1 => json!({ "at": at, "action": "SUSPEND", "hours": 5 }),
                _ => json!({ "at": at + warnings, "action": "DEMOTE", "steps": 1 + at % steps }),
            })
            .collect();
        let mut rising = thresholds;
        rising.sort_by_key(|step| step["at"].as_u64());
        rising.dedup_by_key(|step| step["at"].as_u64());
        let ranks = json!({ "version": 1, "ranks": ranks, "settings": {
            "maxStepsPerDecision": steps, "cooldownSeconds": cooldown, "maxWarningsForPromotion": warnings,
            "demotion": { "enabled": demotes, "graceSeconds": grace } } });
        let statuses = json!({ "suspended": { "action": "SUSPEND", "blocksPromotion": true },
                               "banned": { "action": "BAN", "blocksPromotion": true }, "probation": { "blocksPromotion": true } });
        let punishments = json!({ "version": 1, "warnings": { "thresholds": rising }, "statuses": statuses });
        let permissions = json!({ "version": 1, "protectedUserIds": [7] });
        let texts = [
            (FileKind::Ranks, &*ranks.to_string()),
            (FileKind::Punishments, &*punishments.to_string()),
            (FileKind::Permissions, &*permissions.to_string()),
        ];
        Policy::from_texts(&texts).unwrap_or_else(|report| panic!("not clean: {report}"))
    })
}

fn players() -> impl Strategy<Value = Subject<'static>> {
    const NAMES: [Option<&str>; 6] =
        [None, Some("Rank 0"), Some("Rank 1"), Some("Rank 3"), Some("Rank 6"), Some("Rank 9")];
    const STATUSES: [Option<&str>; 8] =
        [None, None, None, None, Some("suspended"), Some("banned"), Some("probation"), Some("odd")];
    let rank = prop::sample::select(&NAMES[..]);
    let status = prop::sample::select(&STATUSES[..]);
    let since = prop::sample::select(&[None, Some(Time(0)), Some(Time(0)), Some(NOW)][..]);
    let warnings = prop::sample::select(&[0u32, 0, 0, 0, 1, 2, 3, 5, 8, 13][..]);
    let facts = (5u64..10, rank, since, status, 0i64..3000, 0i64..60, warnings);
    facts.prop_map(|(user, rank, rank_since, punishment_status, points, kos, warnings)| {
        let unknown = Subject::new(RobloxId::new(user).unwrap());
        Subject { rank, rank_since, punishment_status, points, kos, warnings, ..unknown }
    })
}

/// Evaluations after which nothing may move any more: every rank, every threshold, every status, each waited for.
const ENOUGH: usize = 4 * MOST_RANKS;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn constant_facts_reach_a_fixed_point_and_points_move_one_way_only(
        policy in policies(), facts in players(), near in any::<prop::sample::Index>(), beyond in -40i64..40,
        calm in prop::bool::weighted(0.7),
    ) {
        // Points around what a rank asks for, where a wrong rule would push a player to and fro.
        let points = (near.get(policy.ladder().ranks()).promote_at + beyond).max(0);
        let facts = Subject { points, ..facts };
        // Most players have a clean record and start at the bottom, so that there is something to climb.
        let clean = Subject { points, kos: 60, rank_since: Some(Time(0)), ..Subject::new(RobloxId::new(8).unwrap()) };
        let mut player = Player::new(if calm { clean } else { facts });
        let actions = player.steps(&policy, ENOUGH, 40);
        let up = actions.contains(&Action::Promote);
        let down = actions.contains(&Action::Demote);
        prop_assert!(!(up && down), "flapping: {actions:?}");
        prop_assert_eq!(player.steps(&policy, 10, 40), vec![Action::None; 10], "after {:?}", actions);
    }

    #[test]
    fn privileged_and_protected_people_never_change(policy in policies(), facts in players()) {
        let privileged = facts.rank.and_then(|name| policy.ladder().rank(name)).is_some_and(|rank| rank.privileged);
        let protected = facts.user.get() == 7;
        let verdict = decide(&policy, &facts, NOW);
        if privileged || protected {
            prop_assert_eq!(verdict.action, Action::None);
            prop_assert!(verdict.decisions_blocked);
        }
        if let Some(target) = verdict.target_rank {
            prop_assert!(!policy.ladder().rank(&target).unwrap().privileged, "{} was given away", target);
        }
    }

    #[test]
    fn no_decision_moves_further_than_max_steps(policy in policies(), facts in players()) {
        let verdict = decide(&policy, &facts, NOW);
        if let Some(target) = verdict.target_rank {
            let place = |name: &str| policy.ladder().find(name).map_or(0, |at| at as i64 + 1);
            let moved = place(&target) - facts.rank.map_or(0, place);
            let most = i64::from(policy.settings().max_steps_per_decision);
            let range = if verdict.action == Action::Promote { 1..=most } else { -most..=-1 };
            prop_assert!(range.contains(&moved), "{:?} by {moved}", verdict.action);
        }
    }

    #[test]
    fn precedence_holds(policy in policies(), facts in players()) {
        let verdict = decide(&policy, &facts, NOW);
        let alone = policy.block(facts.user, facts.rank, facts.punishment_status).is_some();
        prop_assert_eq!(verdict.decisions_blocked, alone);
        let due = policy.punishments().warnings.due(facts.warnings, None).map(|step| Action::from(step.action));
        let called = match facts.punishment_status {
            Some("banned") => Some(Action::Ban),
            Some("suspended") => Some(Action::Suspend),
            _ => None,
        };
        let most_severe = due.into_iter().chain(called).min().filter(|_| !alone);
        if let Some(punishment @ (Action::Ban | Action::Suspend)) = most_severe {
            prop_assert_eq!(verdict.action, punishment);
        } else {
            prop_assert!(verdict.action >= Action::Demote);
        }
        if verdict.action == Action::None {
            prop_assert!(!verdict.requires_approval && !verdict.reason.is_empty());
        }
    }

    #[test]
    fn deciding_twice_says_the_same(policy in policies(), facts in players()) {
        prop_assert_eq!(decide(&policy, &facts, NOW), decide(&policy, &facts, NOW));
    }
}
