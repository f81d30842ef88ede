//! The engine's answers, rule by rule, in the words a moderator reads. The two golden cases come first.

use std::time::Duration;

use crate::base::RobloxId;
use crate::domains::policy::{FileKind, Mode};
use crate::domains::ranks::decide::*;

pub(super) const NOW: Time = Time(1_740_852_944_000);

pub(super) fn ladder(settings: &str, corporal: &str) -> Policy {
    let ranks = format!(
        r#"{{ "version": 1, "settings": {{ {settings} }}, "ranks": [
            {{ "name": "Shock Trooper II", "requiredPoints": 150, "aliases": ["Trooper"] }},
            {{ "name": "Volt Specialist II", "requiredPoints": 400 }},
            {{ "name": "Storm Corporal I", "requiredPoints": 750 {corporal} }},
            {{ "name": "Storm Sergeant", "requiredPoints": 2000 }},
            {{ "name": "Stormmarshal", "requiredPoints": 8000, "privileged": true }} ] }}"#
    );
    let shipped = Policy::from_texts(&[(FileKind::Ranks, &ranks)]);
    shipped.unwrap_or_else(|report| panic!("{report}"))
}

/// The player of the first seed's example.
pub(super) fn example() -> Subject<'static> {
    Subject {
        rank: Some("Volt Specialist II"),
        reported_rank: Some("Volt Specialist II"),
        points: 520,
        kos: 84,
        wos: 12,
        warnings: 1,
        experience: Some("training"),
        ..Subject::new(RobloxId::new(12_345_678).unwrap())
    }
}

fn seed_policy() -> Policy {
    let texts = [
        (FileKind::Ranks, include_str!("../../../../../policy/examples/seed-001/policy.ranks.json")),
        (FileKind::Permissions, include_str!("../../../../../policy/examples/seed-001/permissions.json")),
        (FileKind::Punishments, include_str!("../../../../../policy/examples/seed-001/policy.punishments.json")),
        (FileKind::Points, include_str!("../../../../../policy/examples/seed-001/policy.points.json")),
    ];
    Policy::from_texts(&texts).unwrap()
}

fn says(policy: &Policy, subject: &Subject<'_>) -> (Action, String) {
    let verdict = decide(policy, subject, NOW);
    (verdict.action, verdict.reason)
}

fn none(reason: &str) -> (Action, String) {
    (Action::None, reason.to_owned())
}

#[test]
fn golden_1_the_example_policy_promotes_the_example_player() {
    let policy = seed_policy();
    let verdict = decide(&policy, &example(), NOW);
    assert_eq!(verdict.action, Action::Promote);
    assert_eq!(verdict.target_rank.as_deref(), Some("Storm Corporal I"));
    assert_eq!(verdict.reason, "Eligible for promotion");
    assert!(!verdict.decisions_blocked && verdict.applies_itself());
    assert_eq!(verdict.policy_version, *policy.version());
    let promoted = Subject { rank: Some("Storm Corporal I"), reported_rank: None, ..example() };
    let next = decide(&policy, &promoted, NOW + Duration::from_secs(90 * 86_400));
    assert_eq!(next.action, Action::None, "nobody is demoted right after: {}", next.reason);
}

#[test]
fn golden_2_the_shipped_policy_finds_the_example_player_short() {
    let verdict = decide(&Policy::builtin(), &example(), NOW);
    assert_eq!(verdict.action, Action::None);
    assert_eq!(verdict.target_rank, None);
    assert_eq!(verdict.reason, "230 points short of Storm Corporal I (750 required)");
    assert!(!verdict.decisions_blocked && !verdict.requires_approval);
}

#[test]
fn the_example_set_differs_from_the_shipped_one_in_the_one_line_only() {
    let (seed, shipped) = (seed_policy(), Policy::builtin());
    assert_eq!(seed.settings(), shipped.settings());
    assert_eq!(seed.punishments().statuses, shipped.punishments().statuses);
    assert_eq!(seed.punishments().warnings, shipped.punishments().warnings);
    assert_eq!(seed.points().max_gain_per_hour, shipped.points().max_gain_per_hour);
    let differing: Vec<&str> = std::iter::zip(seed.ladder().ranks(), shipped.ladder().ranks())
        .filter(|(ours, theirs)| ours != theirs)
        .map(|(ours, _)| &*ours.name)
        .collect();
    assert_eq!(differing, ["Storm Corporal I"]);
    let corporal = seed.ladder().rank("Storm Corporal I").unwrap();
    assert_eq!((corporal.required_points, corporal.promote_at, corporal.demote_below), (750, 500, 500));
}

#[test]
fn one_point_is_singular_and_aliases_are_ranks() {
    let policy = ladder("", "");
    let short = Subject { points: 749, ..example() };
    assert_eq!(says(&policy, &short), none("1 point short of Storm Corporal I (750 required)"));
    let alias = Subject { rank: Some("Trooper"), reported_rank: None, points: 400, ..example() };
    assert_eq!(decide(&policy, &alias, NOW).target_rank.as_deref(), Some("Volt Specialist II"));
}

#[test]
fn without_a_rank_the_first_one_is_next() {
    let policy = ladder("", "");
    let newcomer = Subject { rank: None, reported_rank: None, points: 150, ..example() };
    assert_eq!(decide(&policy, &newcomer, NOW).target_rank.as_deref(), Some("Shock Trooper II"));
    let poor = Subject { points: 0, ..newcomer };
    assert_eq!(says(&policy, &poor), none("150 points short of Shock Trooper II (150 required)"));
}

#[test]
fn a_climb_takes_at_most_max_steps_and_stops_below_privileged_ranks() {
    let rich = Subject { rank: None, reported_rank: None, points: 1_000_000, ..example() };
    for (steps, target) in [(1, "Shock Trooper II"), (3, "Storm Corporal I"), (9, "Storm Sergeant")] {
        let policy = ladder(&format!(r#""maxStepsPerDecision": {steps}"#), "");
        assert_eq!(decide(&policy, &rich, NOW).target_rank.as_deref(), Some(target), "{steps} steps");
    }
    let below = Subject { rank: Some("Storm Sergeant"), ..rich };
    assert_eq!(says(&ladder("", ""), &below), none("Stormmarshal is privileged: only a person may grant it"));
}

#[test]
fn every_condition_of_a_rank_counts() {
    let corporal =
        r#", "minKos": 100, "minRecommendations": 2, "minTimeInPreviousRankHours": 24, "experiences": ["nexus"]"#;
    let policy = ladder("", corporal);
    let mut player = Subject { points: 800, reported_rank: None, ..example() };
    assert_eq!(says(&policy, &player), none("16 KOs short of Storm Corporal I (100 required)"));
    player.kos = 100;
    assert_eq!(says(&policy, &player), none("2 recommendations short of Storm Corporal I (2 required)"));
    player.recommendations = 2;
    let unknown = none("24 hours short of Storm Corporal I (24 hours as Volt Specialist II required)");
    assert_eq!(says(&policy, &player), unknown);
    player.rank_since = Some(NOW - Duration::from_secs(20 * 3600));
    assert_eq!(
        says(&policy, &player),
        none("4 hours short of Storm Corporal I (24 hours as Volt Specialist II required)")
    );
    player.rank_since = Some(NOW - Duration::from_secs(24 * 3600));
    assert_eq!(says(&policy, &player), none("Storm Corporal I is earned in nexus; this is training"));
    player.experience = Some("nexus");
    assert_eq!(says(&policy, &player).0, Action::Promote);
    let rules: Vec<String> = decide(&policy, &player, NOW).explain.iter().map(|rule| rule.rule.to_string()).collect();
    assert_eq!(rules, ["points", "kos", "recommendations", "hoursInRank", "experience"]);
}

#[test]
fn a_climb_of_two_steps_cannot_skip_time_in_between() {
    let policy = ladder(r#""maxStepsPerDecision": 2"#, r#", "minTimeInPreviousRankHours": 1"#);
    let player = Subject {
        rank: Some("Shock Trooper II"),
        reported_rank: None,
        points: 800,
        rank_since: Some(Time(0)),
        ..example()
    };
    assert_eq!(decide(&policy, &player, NOW).target_rank.as_deref(), Some("Volt Specialist II"));
}

#[test]
fn warnings_beyond_the_limit_hinder_promotion() {
    let policy = ladder(r#""maxWarningsForPromotion": 2"#, "");
    let player = Subject { points: 800, warnings: 3, ..example() };
    assert_eq!(says(&policy, &player), none("1 warning too many for Storm Corporal I (at most 2)"));
    assert_eq!(says(&policy, &Subject { warnings: 2, ..player }).0, Action::Promote);
}

#[test]
fn cooldown_holds_moves_back_and_nothing_else() {
    let policy = ladder(r#""cooldownSeconds": 3600"#, "");
    let last = |ago| Some(LastDecision { at: NOW - Duration::from_secs(ago), action: Action::Promote, target: None });
    let player = Subject { points: 800, last_decision: last(1200), ..example() };
    assert_eq!(says(&policy, &player), none("Cooling down after the last decision: 40 minutes left of 60 minutes"));
    assert_eq!(says(&policy, &Subject { last_decision: last(3600), ..player }).0, Action::Promote);
}

#[test]
fn demotion_waits_for_the_grace_time() {
    let policy = ladder(r#""demotion": { "enabled": true, "graceSeconds": 86400 }"#, "");
    let mut player = Subject { rank: Some("Storm Corporal I"), reported_rank: None, points: 740, ..example() };
    let below = "10 points below what keeps Storm Corporal I (750 required)";
    let first = decide(&policy, &player, NOW);
    assert_eq!((first.action, first.reason.as_str()), (Action::None, &*format!("{below}: demotion in 24 hours")));
    assert_eq!(first.marks.points_below_since, Some(NOW));
    player.marks = first.marks;
    let later = decide(&policy, &player, NOW + Duration::from_secs(86_400));
    assert_eq!((later.action, later.reason.as_str()), (Action::Demote, below));
    assert_eq!(later.target_rank.as_deref(), Some("Volt Specialist II"));
    assert_eq!(later.marks_if_applied.points_below_since, None);
    let recovered = decide(&policy, &Subject { points: 750, ..player.clone() }, NOW);
    assert_eq!(recovered.marks.points_below_since, None);
    let promoted_since = Subject { rank_since: Some(NOW + Duration::from_secs(80_000)), ..player };
    let fresh = decide(&policy, &promoted_since, NOW + Duration::from_secs(86_400));
    assert_eq!(fresh.action, Action::None, "a clock of a former rank does not count");
}

#[test]
fn demotion_can_be_off_and_ends_at_the_bottom() {
    let off = Subject { rank: Some("Storm Corporal I"), reported_rank: None, points: 0, ..example() };
    assert_eq!(says(&ladder("", ""), &off), none("2000 points short of Storm Sergeant (2000 required)"));
    let on = ladder(r#""demotion": { "enabled": true, "graceSeconds": 0 }, "maxStepsPerDecision": 9"#, "");
    assert_eq!(decide(&on, &off, NOW).target_rank.as_deref(), Some("Shock Trooper II"));
    let bottom = Subject { rank: Some("Shock Trooper II"), ..off };
    let reason = "150 points below what keeps Shock Trooper II (150 required): it is the lowest rank";
    assert_eq!(says(&on, &bottom), none(reason));
}

#[test]
fn some_people_are_left_alone() {
    let policy = Policy::builtin();
    let rich = Subject { points: 1_000_000, warnings: 9, ..example() };
    let cases = [
        (
            Subject { rank: Some("Stormmarshal"), ..rich.clone() },
            "Stormmarshal is privileged: only a person may decide",
        ),
        (Subject { rank: Some("Janitor"), ..rich.clone() }, "Janitor is not on the ladder: only a person may decide"),
        (
            Subject { punishment_status: Some("weird"), ..rich.clone() },
            "Punishment status \"weird\" is not in the policy: only a person may decide",
        ),
        (
            Subject { reported_rank: Some("Stormmarshal"), ..rich.clone() },
            "Stormmarshal is privileged: only a person may decide",
        ),
    ];
    for (subject, reason) in cases {
        let verdict = decide(&policy, &subject, NOW);
        assert_eq!((verdict.action, verdict.reason.as_str()), (Action::None, reason));
        assert!(verdict.decisions_blocked);
        assert!(!verdict.explain[0].passed);
    }
    let ranks = r#"{ "version": 1, "ranks": [{ "name": "One", "requiredPoints": 1 }] }"#;
    let protects = r#"{ "version": 1, "protectedUserIds": [12345678] }"#;
    let policy = Policy::from_texts(&[(FileKind::Ranks, ranks), (FileKind::Permissions, protects)]).unwrap();
    let verdict = decide(&policy, &Subject { rank: None, reported_rank: None, ..rich }, NOW);
    assert_eq!(verdict.reason, "Protected: only a person may decide");
    assert!(verdict.decisions_blocked);
}

#[test]
fn a_stale_rank_is_ignored_and_a_drifted_one_waits_for_a_person() {
    let policy = ladder("", "");
    let decided =
        |ago| Some(LastDecision { at: NOW - Duration::from_secs(ago), action: Action::Promote, target: None });
    let player =
        Subject { points: 800, reported_rank: Some("Shock Trooper II"), last_decision: decided(599), ..example() };
    let stale = decide(&policy, &player, NOW);
    assert_eq!((stale.rank_report, stale.action, stale.requires_approval), (RankReport::Stale, Action::Promote, false));
    let drift = decide(&policy, &Subject { last_decision: decided(600), ..player.clone() }, NOW);
    assert_eq!((drift.rank_report, drift.action, drift.requires_approval), (RankReport::Drift, Action::Promote, true));
    assert!(!drift.applies_itself());
    let ago = |seconds: u64| Some(NOW - Duration::from_secs(seconds));
    for (reported_at, report) in [
        (ago(5_000), RankReport::Stale),
        (ago(4_000), RankReport::Stale),
        (ago(3_401), RankReport::Stale),
        (ago(3_400), RankReport::Drift),
        (ago(0), RankReport::Drift),
    ] {
        let old = Subject { last_decision: decided(4_000), reported_at, ..player.clone() };
        assert_eq!(decide(&policy, &old, NOW).rank_report, report, "{reported_at:?}");
    }
    let alias =
        Subject { rank: Some("Shock Trooper II"), reported_rank: Some("Trooper"), last_decision: None, ..player };
    assert_eq!(decide(&policy, &alias, NOW).rank_report, RankReport::Agrees);
}

#[test]
fn approval_and_mode_keep_a_decision_from_applying_itself() {
    let approved = ladder("", r#", "requiresApproval": true"#);
    let player = Subject { points: 800, ..example() };
    let verdict = decide(&approved, &player, NOW);
    assert!(verdict.requires_approval && !verdict.applies_itself());
    let proposed = decide(&ladder(r#""mode": "propose""#, ""), &player, NOW);
    assert_eq!((proposed.mode, proposed.requires_approval), (Mode::Propose, false));
    assert!(!proposed.applies_itself());
    let flagged = decide(&ladder("", ""), &Subject { points_flagged: true, ..player }, NOW);
    assert_eq!((flagged.action, flagged.requires_approval), (Action::Promote, true));
}

#[test]
fn an_explanation_prints_every_rule_with_its_outcome() {
    let explained = explain(&Policy::builtin(), &example(), NOW);
    let text = explained.to_string();
    for line in [
        "player 12345678: Volt Specialist II, 520 points, 84 KOs, 12 WOs",
        "NONE: 230 points short of Storm Corporal I (750 required)",
        "[ok] warningThreshold 1 warning; the next threshold is 3",
        "[ok] pointsToKeep     520 points; 400 keep Volt Specialist II",
        "[ok] warnings         1 warning; at most 2 for promotion to Storm Corporal I",
        "[--] points           520 points of 750 for Storm Corporal I",
    ] {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
    let json = serde_json::to_value(&explained).unwrap();
    assert_eq!(json["action"], "NONE");
    assert_eq!(json["nextRankRequiredPoints"], 750);
    assert_eq!((&json["explain"][3]["value"], &json["explain"][3]["limit"]), (&520.into(), &750.into()));
}
