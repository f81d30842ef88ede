//! Rules of the ladder.

use std::collections::HashMap;

use super::super::files::{
    MAX_ALIASES, MAX_EXPERIENCES, MAX_NUMBER, MAX_RANKS, MAX_SECONDS, PointsFile, RankEntry, RanksFile,
};
use super::text::{check_length, check_name, check_range};
use super::{Notes, Problem};

/// Hours in the longest `minTimeInPreviousRankHours`: a year.
const MAX_HOURS: i64 = 8_784;

pub(super) fn check(file: &RanksFile, points: Option<&PointsFile>, notes: &mut Notes<'_>) {
    if file.ranks.is_empty() {
        notes.error(Problem {
            code: "policy.no_ranks",
            pointer: "/ranks".into(),
            what: "the ladder has no ranks".into(),
            why: "without a rank there is nothing to decide",
            fix: "list at least one rank: { \"name\": \"Recruit\", \"requiredPoints\": 100 }".into(),
        });
    }
    check_length(("ranks", file.ranks.len(), MAX_RANKS), "/ranks", notes);
    settings(file, notes);
    for (at, rank) in file.ranks.iter().enumerate().take(MAX_RANKS) {
        fields(at, rank, notes);
        thresholds(at, rank, notes);
    }
    unique_names(file, notes);
    unique_roles(file, notes);
    rising(file, notes);
    reachable(file, points, notes);
}

fn settings(file: &RanksFile, notes: &mut Notes<'_>) {
    let settings = &file.settings;
    let seconds = i64::try_from(MAX_SECONDS).unwrap_or(i64::MAX);
    let mut range = |name: &str, pointer: &str, value: u64, range: (i64, i64)| {
        check_range((name, i64::try_from(value).unwrap_or(i64::MAX)), range, format!("/settings/{pointer}"), notes);
    };
    let steps = u64::from(settings.max_steps_per_decision);
    range("maxStepsPerDecision", "maxStepsPerDecision", steps, (1, MAX_RANKS as i64));
    range("cooldownSeconds", "cooldownSeconds", settings.cooldown_seconds, (0, seconds));
    range("graceSeconds", "demotion/graceSeconds", settings.demotion.grace_seconds, (0, seconds));
    let breaker = &settings.breaker;
    range("appliesPerMinute", "breaker/appliesPerMinute", breaker.applies_per_minute.into(), (1, i64::MAX));
    range("appliesPerHour", "breaker/appliesPerHour", breaker.applies_per_hour.into(), (1, i64::MAX));
    let percent = breaker.percent_of_group_per_hour.into();
    range("percentOfGroupPerHour", "breaker/percentOfGroupPerHour", percent, (1, 100));
    check_range(("minKos", settings.min_kos), (0, MAX_NUMBER), "/settings/minKos".into(), notes);
    super::joins::check(&settings.join_requests, notes);
    if breaker.applies_per_hour < breaker.applies_per_minute {
        notes.warn(Problem {
            code: "policy.breaker_contradicts",
            pointer: "/settings/breaker/appliesPerHour".into(),
            what: format!(
                "{} applied decisions an hour is less than {} a minute",
                breaker.applies_per_hour, breaker.applies_per_minute
            ),
            why: "the limit per minute can never be reached, so it protects nothing",
            fix: "raise appliesPerHour or lower appliesPerMinute".into(),
        });
    }
}

fn fields(at: usize, rank: &RankEntry, notes: &mut Notes<'_>) {
    let here = |key: &str| format!("/ranks/{at}/{key}");
    check_name(&rank.name, here("name"), notes);
    for (index, alias) in rank.aliases.iter().enumerate().take(MAX_ALIASES) {
        check_name(alias, here(&format!("aliases/{index}")), notes);
    }
    for (index, experience) in rank.experiences.iter().enumerate().take(MAX_EXPERIENCES) {
        check_name(experience, here(&format!("experiences/{index}")), notes);
    }
    check_length(("aliases", rank.aliases.len(), MAX_ALIASES), &here("aliases"), notes);
    check_length(("experiences", rank.experiences.len(), MAX_EXPERIENCES), &here("experiences"), notes);
    let mut range = |key: &str, value: Option<i64>, range: (i64, i64)| {
        if let Some(value) = value {
            check_range((key, value), range, here(key), notes);
        }
    };
    range("requiredPoints", Some(rank.required_points), (0, MAX_NUMBER));
    range("promoteAt", rank.promote_at, (0, MAX_NUMBER));
    range("demoteBelow", rank.demote_below, (0, MAX_NUMBER));
    range("minKos", rank.min_kos, (0, MAX_NUMBER));
    range("minTimeInPreviousRankHours", rank.min_time_in_previous_rank_hours.map(i64::from), (0, MAX_HOURS));
    range("robloxRank", rank.roblox_rank.map(i64::from), (1, 254));
    let role = rank.roblox_role_id.map(|id| i64::try_from(id).unwrap_or(i64::MAX));
    range("robloxRoleId", role, (1, MAX_NUMBER));
}

fn thresholds(at: usize, rank: &RankEntry, notes: &mut Notes<'_>) {
    let (promote, demote) = (rank.promotes_at(), rank.demotes_below());
    if demote > promote {
        notes.error(Problem {
            code: "policy.flapping",
            pointer: format!("/ranks/{at}/demoteBelow"),
            what: format!("\"{}\" demotes below {demote} points but already promotes at {promote}", rank.name),
            why: "a player between the two would be promoted and demoted in turn",
            fix: format!("lower demoteBelow to at most {promote}, or raise promoteAt to at least {demote}"),
        });
    }
    if at == 0 && rank.min_time_in_previous_rank_hours.is_some_and(|hours| hours > 0) {
        notes.warn(Problem {
            code: "policy.no_previous_rank",
            pointer: "/ranks/0/minTimeInPreviousRankHours".into(),
            what: format!("\"{}\" is the lowest rank, so there is no previous one to have held", rank.name),
            why: "the rule has no effect",
            fix: "remove it, or put it on the rank above".into(),
        });
    }
}

fn unique_names(file: &RanksFile, notes: &mut Notes<'_>) {
    let mut seen: HashMap<String, &str> = HashMap::new();
    for (at, rank) in file.ranks.iter().enumerate().take(MAX_RANKS) {
        let aliases =
            rank.aliases.iter().enumerate().take(MAX_ALIASES).map(|(n, alias)| (format!("aliases/{n}"), alias));
        for (key, name) in std::iter::once(("name".to_owned(), &rank.name)).chain(aliases) {
            let Some(first) = seen.insert(name.to_lowercase(), &rank.name) else { continue };
            notes.error(Problem {
                code: "policy.name_taken",
                pointer: format!("/ranks/{at}/{key}"),
                what: format!("\"{name}\" already names \"{first}\""),
                why: "a name must lead to one rank, also when it differs only in case",
                fix: "rename one of them or remove the alias".into(),
            });
        }
    }
}

fn unique_roles(file: &RanksFile, notes: &mut Notes<'_>) {
    let mut numbers: HashMap<u64, &str> = HashMap::new();
    let mut roles: HashMap<u64, &str> = HashMap::new();
    for (at, rank) in file.ranks.iter().enumerate().take(MAX_RANKS) {
        let both = [
            ("robloxRank", rank.roblox_rank.map(u64::from), &mut numbers),
            ("robloxRoleId", rank.roblox_role_id, &mut roles),
        ];
        for (key, value, seen) in both {
            let Some(value) = value else { continue };
            let Some(first) = seen.insert(value, &rank.name) else { continue };
            notes.error(Problem {
                code: "policy.role_taken",
                pointer: format!("/ranks/{at}/{key}"),
                what: format!("{key} {value} of \"{}\" is already that of \"{first}\"", rank.name),
                why: "two ranks would put players into the same group role",
                fix: format!("give \"{}\" its own {key}", rank.name),
            });
        }
    }
}

fn rising(file: &RanksFile, notes: &mut Notes<'_>) {
    for (below, pair) in file.ranks.windows(2).enumerate().take(MAX_RANKS) {
        let ([low, high], at) = (pair, below + 1) else { continue };
        let figures = [
            ("requiredPoints", "policy.points_not_rising", low.required_points, high.required_points),
            ("promoteAt", "policy.promotion_not_rising", low.promotes_at(), high.promotes_at()),
        ];
        for (key, code, below, above) in figures {
            if above > below || (key == "promoteAt" && low.promote_at.is_none() && high.promote_at.is_none()) {
                continue;
            }
            notes.error(Problem {
                code,
                pointer: format!("/ranks/{at}/{key}"),
                what: format!("{key} of \"{}\" is {above}, not more than the {below} of \"{}\"", high.name, low.name),
                why: "the ladder climbs: a higher rank must ask for more points than the one below",
                fix: format!("raise {key} of \"{}\" above {below}, or swap the two ranks", high.name),
            });
        }
        if let (Some(lower), Some(higher)) = (low.roblox_rank, high.roblox_rank)
            && higher < lower
        {
            notes.warn(Problem {
                code: "policy.roblox_rank_falls",
                pointer: format!("/ranks/{at}/robloxRank"),
                what: format!("robloxRank of \"{}\" ({higher}) is below that of \"{}\" ({lower})", high.name, low.name),
                why: "on Roblox the promoted player would stand lower than before, and who outranks whom turns around",
                fix: "list the ranks in the order of their group roles".into(),
            });
        }
    }
}

fn reachable(file: &RanksFile, points: Option<&PointsFile>, notes: &mut Notes<'_>) {
    for (at, rank) in file.ranks.iter().enumerate().take(MAX_RANKS) {
        let above = file.ranks.get(at + 1).filter(|next| rank.privileged && !next.privileged);
        if let Some(next) = above {
            notes.warn(Problem {
                code: "policy.privileged_below",
                pointer: format!("/ranks/{at}/privileged"),
                what: format!("\"{}\" is privileged and stands below \"{}\", which is not", rank.name, next.name),
                why: "automation grants no privileged rank, so nobody climbs past it by points",
                fix: "move privileged ranks to the top of the ladder".into(),
            });
        }
        let most = points.map_or(i64::MAX, |points| points.bounds.max);
        if rank.promotes_at() > most && !rank.privileged {
            notes.warn(Problem {
                code: "policy.rank_unreachable",
                pointer: format!("/ranks/{at}"),
                what: format!(
                    "\"{}\" asks for {} points, but nobody can have more than {most}",
                    rank.name,
                    rank.promotes_at()
                ),
                why: "bounds.max in policy.points.json caps the points of every player",
                fix: "raise bounds.max or lower the rank's points".into(),
            });
        }
    }
}
