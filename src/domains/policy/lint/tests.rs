//! Each rule, by a file that breaks it: where the finding points, what it says, how bad it is.

use super::super::files::FileKind;
use super::super::{Policy, Source, Sources, lint_report, shipped_sources};
use super::{Finding, LintReport, MAX_FINDINGS, Severity};

const RANKS: &str = r#"{ "version": 1, "settings": { "maxWarningsForPromotion": 2 }, "ranks": [
    { "name": "One", "requiredPoints": 10 }, { "name": "Two", "requiredPoints": 20 } ] }"#;

fn lint(texts: &[(FileKind, &str)]) -> LintReport {
    let source = |(kind, text): &(FileKind, &str)| Source {
        kind: *kind,
        label: kind.name().into(),
        text: (*text).to_owned(),
        changed_at: None,
    };
    lint_report(&Sources { dir: None, list: texts.iter().map(source).collect() })
}

fn findings(kind: FileKind, text: &str) -> Vec<Finding> {
    let mut texts = vec![(kind, text)];
    if kind != FileKind::Ranks {
        texts.push((FileKind::Ranks, RANKS));
    }
    lint(&texts).findings
}

/// One finding is expected: its severity, code, pointer, and a part of what it says.
fn expect(kind: FileKind, text: &str, expected: (Severity, &str, &str, &str)) {
    let found = findings(kind, text);
    let (severity, code, pointer, what) = expected;
    let matching: Vec<&Finding> = found.iter().filter(|finding| finding.code == code).collect();
    assert_eq!(matching.len(), 1, "{code} expected once for {text}\n{found:#?}");
    let finding = matching[0];
    assert_eq!((finding.severity, &*finding.pointer), (severity, pointer), "{finding}");
    assert!(finding.what.contains(what), "{finding}");
    assert!(!finding.why.is_empty() && !finding.fix.is_empty() && finding.line.is_some());
}

fn ranks(list: &str) -> String {
    format!(r#"{{ "version": 1, "ranks": [ {list} ] }}"#)
}

/// A ladder of two ranks, each with more keys.
fn two(first: &str, second: &str) -> String {
    let one = format!(r#"{{ "name": "One", "requiredPoints": 10 {first} }}"#);
    ranks(&format!(r#"{one}, {{ "name": "Two", "requiredPoints": 20 {second} }}"#))
}

#[test]
fn the_shipped_files_are_clean() {
    let report = lint_report(&shipped_sources());
    assert!(report.findings.iter().all(|finding| finding.severity == Severity::Note), "{report}");
    assert_eq!(Policy::builtin().warnings(), []);
    assert_eq!(report.version.as_deref(), Some(&**Policy::builtin().version()));
    assert!(report.to_string().ends_with("0 errors, 0 warnings"));
}

#[test]
fn rules_of_the_ladder() {
    use Severity::Error;
    let cases = [
        (ranks(""), (Error, "policy.no_ranks", "/ranks", "no ranks")),
        (
            ranks(r#"{ "name": "One", "requiredPoints": 10 }, { "name": "Two", "requiredPoints": 10 }"#),
            (
                Error,
                "policy.points_not_rising",
                "/ranks/1/requiredPoints",
                "\"Two\" is 10, not more than the 10 of \"One\"",
            ),
        ),
        (
            two(r#", "promoteAt": 30"#, r#", "promoteAt": 25"#),
            (Error, "policy.promotion_not_rising", "/ranks/1/promoteAt", "is 25, not more than the 30"),
        ),
        (
            two("", r#", "promoteAt": 15, "demoteBelow": 18"#),
            (Error, "policy.flapping", "/ranks/1/demoteBelow", "demotes below 18 points but already promotes at 15"),
        ),
        (two("", r#", "robloxRank": 255"#), (Error, "policy.out_of_range", "/ranks/1/robloxRank", "outside 1 to 254")),
        (
            two(r#", "robloxRank": 9"#, r#", "robloxRank": 9"#),
            (Error, "policy.role_taken", "/ranks/1/robloxRank", "already that of \"One\""),
        ),
        (
            two(r#", "robloxRoleId": 9"#, r#", "robloxRoleId": 9"#),
            (Error, "policy.role_taken", "/ranks/1/robloxRoleId", "robloxRoleId 9"),
        ),
        (
            two("", r#", "aliases": ["one"]"#),
            (Error, "policy.name_taken", "/ranks/1/aliases/0", "already names \"One\""),
        ),
        (
            ranks(r#"{ "name": " One", "requiredPoints": 10 }"#),
            (Error, "policy.name_invalid", "/ranks/0/name", "spaces around"),
        ),
        (two("", r#", "minKos": -1"#), (Error, "policy.out_of_range", "/ranks/1/minKos", "minKos is -1")),
    ];
    for (text, expected) in cases {
        expect(FileKind::Ranks, &text, expected);
    }
}

#[test]
fn rules_of_the_ladder_as_a_whole() {
    use Severity::{Error, Warning};
    let cases = [
        (
            two(r#", "robloxRank": 9"#, r#", "robloxRank": 8"#),
            (Warning, "policy.roblox_rank_falls", "/ranks/1/robloxRank", "(8) is below that of"),
        ),
        (
            two(r#", "privileged": true"#, ""),
            (Warning, "policy.privileged_below", "/ranks/0/privileged", "stands below \"Two\""),
        ),
        (
            two(r#", "minTimeInPreviousRankHours": 4"#, ""),
            (Warning, "policy.no_previous_rank", "/ranks/0/minTimeInPreviousRankHours", "lowest rank"),
        ),
        (
            ranks(r#"{ "name": "One", "requiredPoints": 1 }"#).replace("1, \"ranks", "2, \"ranks"),
            (Error, "policy.version_unknown", "/version", "version 2"),
        ),
    ];
    for (text, expected) in cases {
        expect(FileKind::Ranks, &text, expected);
    }
    let many: Vec<String> = (0..256).map(|at| format!(r#"{{ "name": "R{at}", "requiredPoints": {at} }}"#)).collect();
    expect(FileKind::Ranks, &ranks(&many.join(",")), (Error, "policy.too_many", "/ranks", "256 ranks, at most 255"));
}

#[test]
fn rules_of_settings() {
    use Severity::{Error, Warning};
    let settings = |text: &str| {
        format!(r#"{{ "version": 1, "settings": {{ {text} }}, "ranks": [{{ "name": "One", "requiredPoints": 1 }}] }}"#)
    };
    let cases = [
        (r#""maxStepsPerDecision": 0"#, (Error, "policy.out_of_range", "/settings/maxStepsPerDecision", "is 0")),
        (r#""cooldownSeconds": 99999999"#, (Error, "policy.out_of_range", "/settings/cooldownSeconds", "99999999")),
        (
            r#""demotion": { "enabled": true, "graceSeconds": 99999999 }"#,
            (Error, "policy.out_of_range", "/settings/demotion/graceSeconds", "99999999"),
        ),
        (
            r#""breaker": { "percentOfGroupPerHour": 101 }"#,
            (Error, "policy.out_of_range", "/settings/breaker/percentOfGroupPerHour", "outside 1 to 100"),
        ),
        (
            r#""breaker": { "appliesPerMinute": 50, "appliesPerHour": 40 }"#,
            (Warning, "policy.breaker_contradicts", "/settings/breaker/appliesPerHour", "40 applied decisions an hour"),
        ),
    ];
    for (text, expected) in cases {
        expect(FileKind::Ranks, &settings(text), expected);
    }
}

#[test]
fn a_rank_beyond_the_bounds_is_unreachable() {
    let points = r#"{ "version": 1, "bounds": { "min": 0, "max": 15 } }"#;
    let policy = Policy::from_texts(&[(FileKind::Ranks, RANKS), (FileKind::Points, points)]).unwrap();
    let codes: Vec<&str> = policy.warnings().iter().map(|finding| finding.code).collect();
    assert_eq!(codes, ["policy.rank_unreachable"]);
    assert_eq!(policy.warnings()[0].pointer, "/ranks/1");
}

#[test]
fn rules_of_permissions() {
    use Severity::{Error, Warning};
    let roles = r#""roles": { "admin": ["*"], "mod": ["players:read"] }"#;
    let cases = [
        (
            r#""roles": { "mod": ["Players Read"] }"#.to_owned(),
            (Error, "policy.scope_invalid", "/roles/mod/0", "not a scope"),
        ),
        (
            format!(r#"{roles}, "bindings": [ {{ "oidcSub": ["discord:1"], "role": "mdo" }} ]"#),
            (Error, "policy.role_unknown", "/bindings/0/role", "no role \"mdo\""),
        ),
        (
            format!(r#"{roles}, "bindings": [ {{ "role": "mod" }} ]"#),
            (Error, "policy.binding_selector", "/bindings/0", "0 selectors"),
        ),
        (
            format!(r#"{roles}, "bindings": [ {{ "robloxRankAtLeast": 256, "role": "mod" }} ]"#),
            (Error, "policy.out_of_range", "/bindings/0/robloxRankAtLeast", "256"),
        ),
        (
            format!(r#"{roles}, "bindings": [ {{ "oidcSub": ["1234"], "role": "mod" }} ]"#),
            (Error, "policy.oidc_sub_invalid", "/bindings/0/oidcSub/0", "provider"),
        ),
        (
            format!(r#"{roles}, "bindings": [ {{ "apiKeyEnv": "a key!", "role": "mod" }} ]"#),
            (Error, "policy.env_name_invalid", "/bindings/0/apiKeyEnv", "environment variable"),
        ),
        (
            format!(r#"{roles}, "bindings": [ {{ "apiKeyEnv": "KEYS", "role": "admin" }} ]"#),
            (Warning, "policy.key_may_everything", "/bindings/0", "may do everything"),
        ),
        (
            format!(
                r#"{roles}, "bindings": [ {{ "robloxRankAtLeast": 100, "role": "mod" }}, {{ "robloxRankAtLeast": 200, "role": "admin" }} ]"#
            ),
            (Warning, "policy.binding_unreachable", "/bindings/1", "already covered"),
        ),
        (
            format!(r#"{roles}, "limits": {{ "mod": {{ "highestTargetRank": "Tow" }} }}"#),
            (Error, "policy.rank_unknown", "/limits/mod/highestTargetRank", "not on the ladder"),
        ),
        (format!(r#"{roles}, "limits": {{ "chef": {{}} }}"#), (Error, "policy.role_unknown", "/limits/chef", "chef")),
        (r#""protectedUserIds": [0]"#.to_owned(), (Error, "policy.user_id_invalid", "/protectedUserIds/0", "0 is not")),
        (r#""protectedUserIds": [5, 5]"#.to_owned(), (Warning, "policy.user_id_twice", "/protectedUserIds/1", "twice")),
        (
            r#""roles": { "mod": [], "mod": [] }"#.to_owned(),
            (Error, "policy.duplicate_key", "/roles/mod", "\"mod\" stands here a second time"),
        ),
    ];
    for (text, expected) in cases {
        expect(FileKind::Permissions, &format!(r#"{{ "version": 1, {text} }}"#), expected);
    }
    let near = findings(FileKind::Permissions, r#"{ "version": 1, "roles": { "mod": [] }, "limits": { "mdo": {} } }"#);
    assert_eq!(near[0].fix, "did you mean \"mod\"?");
}

#[test]
fn rules_of_punishments() {
    use Severity::{Error, Warning};
    let warned = |steps: &str| format!(r#""warnings": {{ "thresholds": [ {steps} ] }}"#);
    let first = "/warnings/thresholds/0";
    let cases = [
        (warned(r#"{ "at": 3, "action": "SUSPEND" }"#), (Error, "policy.hours_missing", first, "at 3 warnings")),
        (
            warned(r#"{ "at": 3, "action": "BAN", "hours": 4 }"#),
            (Error, "policy.key_misplaced", "/warnings/thresholds/0/hours", "belongs to SUSPEND"),
        ),
        (
            warned(r#"{ "at": 3, "action": "BAN", "steps": 4 }"#),
            (Error, "policy.key_misplaced", "/warnings/thresholds/0/steps", "belongs to DEMOTE"),
        ),
        (
            warned(r#"{ "at": 0, "action": "BAN" }"#),
            (Error, "policy.out_of_range", "/warnings/thresholds/0/at", "at is 0"),
        ),
        (
            warned(r#"{ "at": 2, "action": "DEMOTE" }"#),
            (Error, "policy.warnings_flapping", "/warnings/thresholds/0/at", "do not hinder"),
        ),
        (
            warned(r#"{ "at": 5, "action": "DEMOTE", "steps": 2 }"#),
            (Warning, "policy.steps_cut", "/warnings/thresholds/0/steps", "maxStepsPerDecision is 1"),
        ),
        (
            warned(r#"{ "at": 5, "action": "BAN" }, { "at": 4, "action": "DEMOTE" }"#),
            (Error, "policy.thresholds_not_rising", "/warnings/thresholds/1/at", "at 4 follows the one at 5"),
        ),
        (warned(r#"{ "at": 5, "action": "BAN" }"#), (Warning, "policy.status_missing", first, "no status")),
        (
            r#""warnings": { "decayDays": 0 }"#.to_owned(),
            (Error, "policy.out_of_range", "/warnings/decayDays", "decayDays is 0"),
        ),
        (r#""statuses": { "Muted": {} }"#.to_owned(), (Error, "policy.status_case", "/statuses/Muted", "capital")),
        (
            r#""statuses": { "low": { "action": "DEMOTE" } }"#.to_owned(),
            (Error, "policy.status_demotes", "/statuses/low/action", "demotes"),
        ),
        (
            r#""statuses": { "jailed": { "action": "SUSPEND" } }"#.to_owned(),
            (Warning, "policy.status_promotes", "/statuses/jailed", "does not block promotion"),
        ),
        (
            warned(r#"{ "at": 5, "action": "BAN" }"#)
                + r#", "statuses": { "a": { "action": "BAN", "blocksPromotion": true }, "b": { "action": "BAN", "blocksPromotion": true } }"#,
            (Warning, "policy.status_twins", "/statuses/b", "same action"),
        ),
        (
            format!(r#""displayReason": "{}""#, "x".repeat(401)),
            (Error, "policy.display_reason_long", "/displayReason", "400"),
        ),
    ];
    for (text, expected) in cases {
        expect(FileKind::Punishments, &format!(r#"{{ "version": 1, {text} }}"#), expected);
    }
}

#[test]
fn rules_of_points_and_integrations() {
    use Severity::{Error, Warning};
    let points = [
        (r#""bounds": { "min": 9, "max": 1 }"#, (Error, "policy.bounds_crossed", "/bounds/min", "(9) are more than")),
        (r#""maxGainPerHour": 0"#, (Error, "policy.out_of_range", "/maxGainPerHour", "is 0")),
        (r#""kosPerMinuteMax": -1"#, (Error, "policy.out_of_range", "/kosPerMinuteMax", "is -1")),
    ];
    for (text, expected) in points {
        expect(FileKind::Points, &format!(r#"{{ "version": 1, {text} }}"#), expected);
    }
    let integrations = [
        (
            r#""roblox": { "apiKey": "hunter2hunter2" }"#,
            (Warning, "policy.secret_literal", "/roblox/apiKey", "plain text"),
        ),
        (r#""roblox": { "apiKey": "env:1 2" }"#, (Error, "policy.env_name_invalid", "/roblox/apiKey", "env:")),
        (
            r#""webhooks": [ { "url": "discord" } ]"#,
            (Error, "policy.url_invalid", "/webhooks/0/url", "neither env:NAME nor"),
        ),
        (
            r#""webhooks": [ { "url": "env:HOOK", "events": ["a b"] } ]"#,
            (Error, "policy.event_invalid", "/webhooks/0/events/0", "not an event"),
        ),
        (r#""automation": { "baseUrl": "x" }"#, (Error, "policy.url_invalid", "/automation/baseUrl", "web address")),
    ];
    for (text, expected) in integrations {
        expect(FileKind::Integrations, &format!("{{ {text} }}"), expected);
        let all = format!("{:?}", findings(FileKind::Integrations, &format!("{{ {text} }}")));
        assert!(!all.contains("hunter2"), "{all}");
    }
    let good =
        r#"{ "webhooks": [ { "url": "https://example.com/x", "events": ["decision.applied", "policy.*", "*"] } ] }"#;
    let found: Vec<&str> = findings(FileKind::Integrations, good).iter().map(|finding| finding.code).collect();
    assert_eq!(found, ["policy.secret_literal", "policy.not_in_force"]);
}

#[test]
fn errors_of_several_files_come_together_and_errors_come_first() {
    let texts = [
        (FileKind::Ranks, r#"{ "version": 1, "ranks": [ { "name": "One", "requiredPoints": -1, "robloxRank": 0 } ] }"#),
        (FileKind::Points, r#"{ "version": 1, "maxGainPerHour": "many" }"#),
        (FileKind::Integrations, r#"{ "roblox": { "apiKey": "literal" } }"#),
    ];
    let report = Policy::from_texts(&texts).unwrap_err();
    assert!(!report.ok);
    assert_eq!(report.errors().count(), 3);
    let order: Vec<Severity> = report.findings.iter().map(|finding| finding.severity).collect();
    assert_eq!(&order[3..], [Severity::Warning, Severity::Note]);
    assert!(report.to_string().ends_with("policy not usable: 3 errors, 1 warnings"));
}

#[test]
fn what_is_not_in_force_is_noted_and_hinders_nothing() {
    let noted = |kind, text: &str| -> Vec<String> {
        let found = findings(kind, text).into_iter().filter(|finding| finding.severity == Severity::Note);
        found.map(|finding| format!("{} {}", finding.pointer, finding.what)).collect()
    };
    let permissions = r#"{ "version": 1, "roles": { "mod": [] }, "bindings": [ { "robloxUserIds": [7], "role": "mod" } ],
        "limits": { "mod": { "notSelf": true } }, "protectedUserIds": [7] }"#;
    let said = ["/bindings the scopes that bindings give: read, not yet in force"];
    assert_eq!(noted(FileKind::Permissions, permissions), said);
    let integrations = r#"{ "webhooks": [ { "url": "env:HOOK" } ], "features": { "mirrorDatastore": true },
        "experiences": { "allow": ["training"] } }"#;
    let said = ["/webhooks webhooks: read, not yet in force"];
    assert_eq!(noted(FileKind::Integrations, integrations), said);
    assert_eq!(noted(FileKind::Integrations, "{}"), [] as [&str; 0]);
    let texts = [(FileKind::Ranks, RANKS), (FileKind::Permissions, permissions)];
    assert_eq!(Policy::from_texts(&texts).unwrap().warnings(), [], "a note is no warning");
    assert!(lint(&texts).ok);
}

#[test]
fn a_file_that_is_wrong_throughout_is_not_gone_through_to_the_end() {
    let many = vec!["\"A B\""; 3 * MAX_FINDINGS].join(",");
    let limits: Vec<String> = (0..5_000).map(|at| format!("\"x{at}\": {{}}")).collect();
    let text = format!(
        r#"{{ "version": 1, "roles": {{ "mod": [{many}] }}, "limits": {{ {} }}, "protectedUserIds": [{}0] }}"#,
        limits.join(","),
        "7,".repeat(60_000)
    );
    let found = findings(FileKind::Permissions, &text);
    assert_eq!(found.len(), MAX_FINDINGS);
    let count = |code: &str| found.iter().filter(|finding| finding.code == code).count();
    assert_eq!(count("policy.too_many"), 3, "scopes, limits and protected users are over their bounds");
    assert_eq!(count("policy.scope_invalid"), 64, "no more items are looked at than there may be");
    assert_eq!(count("policy.role_unknown"), 64);
    // 10,000 warnings are found before the one error of the other list.
    let text = format!(r#"{{ "version": 1, "protectedUserIds": [{}0] }}"#, "7,".repeat(9_000));
    let found = findings(FileKind::Permissions, &text);
    assert_eq!(
        (found.len(), found[0].code),
        (MAX_FINDINGS, "policy.user_id_invalid"),
        "an error is not lost among warnings"
    );
}

#[test]
fn nothing_is_compared_with_a_name_too_long_to_be_one() {
    let long = "x".repeat(65);
    assert_eq!(super::nearest(&long, [long.as_str()]), None);
    assert_eq!(super::nearest("mdo", ["mod", long.repeat(9).as_str()]), Some("mod"));
}
