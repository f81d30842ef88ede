//! Rules of warnings and punishment statuses.

use super::super::files::{
    MAX_STATUSES, MAX_SUSPEND_HOURS, MAX_THRESHOLDS, Penalty, PunishmentsFile, RanksFile, Status, Threshold,
};
use super::text::{check_length, check_name, check_range, escape};
use super::{Notes, Problem};
use crate::remote::roblox::MAX_DISPLAY_REASON;

pub(super) fn check(file: &PunishmentsFile, ranks: Option<&RanksFile>, notes: &mut Notes<'_>) {
    let thresholds = &file.warnings.thresholds;
    check_length(("thresholds", thresholds.len(), MAX_THRESHOLDS), "/warnings/thresholds", notes);
    check_length(("statuses", file.statuses.len(), MAX_STATUSES), "/statuses", notes);
    if let Some(days) = file.warnings.decay_days {
        check_range(("decayDays", days.into()), (1, 3_660), "/warnings/decayDays".into(), notes);
    }
    for (at, threshold) in thresholds.iter().enumerate().take(MAX_THRESHOLDS) {
        check_threshold(at, threshold, notes);
        check_demotion(at, threshold, ranks, notes);
    }
    rising(thresholds, notes);
    for (name, status) in file.statuses.iter().take(MAX_STATUSES) {
        check_status(name, status, notes);
    }
    check_twins(file, notes);
    if file.display_reason.chars().count() > MAX_DISPLAY_REASON {
        notes.error(Problem {
            code: "policy.display_reason_long",
            pointer: "/displayReason".into(),
            what: format!("displayReason is longer than {MAX_DISPLAY_REASON} characters"),
            why: "Roblox refuses a ban with a longer text",
            fix: format!("shorten it to {MAX_DISPLAY_REASON} characters"),
        });
    }
}

fn check_threshold(at: usize, threshold: &Threshold, notes: &mut Notes<'_>) {
    let here = format!("/warnings/thresholds/{at}");
    check_range(("at", threshold.at.into()), (1, u32::MAX.into()), format!("{here}/at"), notes);
    match (threshold.action, threshold.hours) {
        (Penalty::Suspend, Some(hours)) => {
            check_range(("hours", hours.into()), (1, MAX_SUSPEND_HOURS.into()), format!("{here}/hours"), notes);
        }
        (Penalty::Suspend, None) => notes.error(Problem {
            code: "policy.hours_missing",
            pointer: here.clone(),
            what: format!("the suspension at {} warnings does not say for how long", threshold.at),
            why: "an automatic suspension without an end is a ban",
            fix: "add \"hours\": 24, or make the action BAN".into(),
        }),
        (_, Some(_)) => misplaced("hours", "SUSPEND", &here, notes),
        (_, None) => {}
    }
    match (threshold.action, threshold.steps) {
        (Penalty::Demote, Some(steps)) => {
            check_range(("steps", steps.into()), (1, 255), format!("{here}/steps"), notes);
        }
        (_, Some(_)) => misplaced("steps", "DEMOTE", &here, notes),
        (_, None) => {}
    }
}

fn misplaced(key: &str, action: &str, here: &str, notes: &mut Notes<'_>) {
    notes.error(Problem {
        code: "policy.key_misplaced",
        pointer: format!("{here}/{key}"),
        what: format!("\"{key}\" belongs to {action} only"),
        why: "here it has no effect, so the file would promise what does not happen",
        fix: format!("remove \"{key}\", or make the action {action}"),
    });
}

fn check_demotion(at: usize, threshold: &Threshold, ranks: Option<&RanksFile>, notes: &mut Notes<'_>) {
    let (Penalty::Demote, Some(settings)) = (threshold.action, ranks.map(|file| &file.settings)) else { return };
    let here = format!("/warnings/thresholds/{at}");
    let steps = threshold.steps.unwrap_or(1);
    if steps > settings.max_steps_per_decision {
        notes.warn(Problem {
            code: "policy.steps_cut",
            pointer: format!("{here}/steps"),
            what: format!("{steps} steps, but maxStepsPerDecision is {}", settings.max_steps_per_decision),
            why: "no decision moves a player further than maxStepsPerDecision, so fewer steps are taken",
            fix: "lower steps, or raise maxStepsPerDecision in policy.ranks.json".into(),
        });
    }
    if settings.max_warnings_for_promotion.is_none_or(|most| most >= threshold.at) {
        notes.error(Problem {
            code: "policy.warnings_flapping",
            pointer: format!("{here}/at"),
            what: format!("{} warnings demote, but do not hinder the next promotion", threshold.at),
            why: "the player still has the points, so the demotion would be undone at the next snapshot",
            fix: format!(
                "set maxWarningsForPromotion in policy.ranks.json to at most {}",
                threshold.at.saturating_sub(1)
            ),
        });
    }
}

fn rising(thresholds: &[Threshold], notes: &mut Notes<'_>) {
    for (below, pair) in thresholds.windows(2).enumerate() {
        let [low, high] = pair else { continue };
        if high.at <= low.at {
            notes.error(Problem {
                code: "policy.thresholds_not_rising",
                pointer: format!("/warnings/thresholds/{}/at", below + 1),
                what: format!("the threshold at {} follows the one at {}", high.at, low.at),
                why: "thresholds are read from few warnings to many, each number once",
                fix: "sort them by \"at\" and keep one per number".into(),
            });
        }
    }
}

fn check_status(name: &str, status: &Status, notes: &mut Notes<'_>) {
    let here = format!("/statuses/{}", escape(name));
    check_name(name, here.clone(), notes);
    if name.to_ascii_lowercase() != name {
        notes.error(Problem {
            code: "policy.status_case",
            pointer: here.clone(),
            what: format!("the status \"{name}\" has capital letters"),
            why: "statuses are looked up in lower case, so this one would not be found",
            fix: format!("write \"{}\"", name.to_ascii_lowercase()),
        });
    }
    if let Some(role) = &status.group_role {
        check_name(role, format!("{here}/groupRole"), notes);
    }
    if status.action == Some(Penalty::Demote) {
        notes.error(Problem {
            code: "policy.status_demotes",
            pointer: format!("{here}/action"),
            what: format!("the status \"{name}\" demotes"),
            why: "a status lasts, and a demotion for each time it is seen would not end",
            fix: "use SUSPEND or BAN, or demote by warnings".into(),
        });
    } else if status.action.is_some() && !status.blocks_promotion {
        notes.warn(Problem {
            code: "policy.status_promotes",
            pointer: here,
            what: format!("the status \"{name}\" punishes but does not block promotion"),
            why: "once the punishment is over, a player who still has the status could be promoted",
            fix: "add \"blocksPromotion\": true".into(),
        });
    }
}

fn check_twins(file: &PunishmentsFile, notes: &mut Notes<'_>) {
    for penalty in [Penalty::Suspend, Penalty::Ban] {
        let named: Vec<&str> = file
            .statuses
            .iter()
            .filter(|(_, status)| status.action == Some(penalty))
            .map(|(name, _)| name.as_str())
            .collect();
        let warned = file.warnings.thresholds.iter().position(|step| step.action == penalty);
        if let ([first, second, ..], Some(_)) = (named.as_slice(), warned) {
            notes.warn(Problem {
                code: "policy.status_twins",
                pointer: format!("/statuses/{}", escape(second)),
                what: format!("\"{first}\" and \"{second}\" carry the same action"),
                why: "a punishment for warnings puts the player under the first of them",
                fix: format!("keep one of them, or expect \"{first}\""),
            });
        }
        if let ([], Some(at)) = (named.as_slice(), warned) {
            notes.warn(Problem {
                code: "policy.status_missing",
                pointer: format!("/warnings/thresholds/{at}"),
                what: "no status carries this action".into(),
                why: "group role, experience ban and return of the rank are settings of a status",
                fix: "add a status with this action, such as \"suspended\": { \"action\": \"SUSPEND\" }".into(),
            });
        }
    }
}
