//! Rules of points, and of the integrations file.

use super::super::files::{
    IntegrationsFile, MAX_EVENTS, MAX_EXPERIENCES, MAX_NUMBER, MAX_WEBHOOKS, PointsFile, SecretRef,
};
use super::text::{Idle, check_idle, check_length, check_name, check_range, is_env_name, is_scope};
use super::{Notes, Problem};

pub(super) fn check(file: &PointsFile, notes: &mut Notes<'_>) {
    let bounds = file.bounds;
    check_range(("min", bounds.min), (-MAX_NUMBER, MAX_NUMBER), "/bounds/min".into(), notes);
    check_range(("max", bounds.max), (-MAX_NUMBER, MAX_NUMBER), "/bounds/max".into(), notes);
    if bounds.min > bounds.max {
        notes.error(Problem {
            code: "policy.bounds_crossed",
            pointer: "/bounds/min".into(),
            what: format!("the fewest points ({}) are more than the most ({})", bounds.min, bounds.max),
            why: "no number of points would be allowed",
            fix: "swap the two".into(),
        });
    }
    let gains = [
        ("maxGainPerHour", file.max_gain_per_hour, MAX_NUMBER),
        ("maxGainPerSnapshot", file.max_gain_per_snapshot, MAX_NUMBER),
        ("kosPerMinuteMax", file.kos_per_minute_max, 1_000_000),
    ];
    for (key, value, most) in gains {
        if let Some(value) = value {
            check_range((key, value), (1, most), format!("/{key}"), notes);
        }
    }
}

pub(super) fn check_integrations(file: &IntegrationsFile, notes: &mut Notes<'_>) {
    check_length(("webhooks", file.webhooks.len(), MAX_WEBHOOKS), "/webhooks", notes);
    if let Some(url) = &file.automation.base_url
        && !is_http_url(url)
    {
        notes.error(Problem {
            code: "policy.url_invalid",
            pointer: "/automation/baseUrl".into(),
            what: "baseUrl is not a web address".into(),
            why: "links in messages are made from it",
            fix: "write it with its scheme: https://automation.example.com".into(),
        });
    }
    let secrets = [
        ("/roblox/apiKey".to_owned(), file.roblox.api_key.as_ref(), false),
        ("/analytics/readOnlyUrl".to_owned(), file.analytics.read_only_url.as_ref(), false),
    ];
    let urls = file
        .webhooks
        .iter()
        .enumerate()
        .take(MAX_WEBHOOKS)
        .map(|(at, hook)| (format!("/webhooks/{at}/url"), Some(&hook.url), true));
    for (pointer, secret, is_url) in secrets.into_iter().chain(urls) {
        if let Some(secret) = secret {
            check_secret(secret, is_url, pointer, notes);
        }
    }
    for (at, hook) in file.webhooks.iter().enumerate().take(MAX_WEBHOOKS) {
        check_length(("events", hook.events.len(), MAX_EVENTS), &format!("/webhooks/{at}/events"), notes);
        for (index, event) in hook.events.iter().enumerate().take(MAX_EVENTS).filter(|(_, event)| !is_event(event)) {
            notes.error(Problem {
                code: "policy.event_invalid",
                pointer: format!("/webhooks/{at}/events/{index}"),
                what: format!("\"{event}\" is not an event"),
                why: "no event would ever match it",
                fix: "write an event such as decision.applied, a family such as policy.*, or *".into(),
            });
        }
    }
    check_length(("experiences", file.experiences.allow.len(), MAX_EXPERIENCES), "/experiences/allow", notes);
    for (at, key) in file.experiences.allow.iter().enumerate().take(MAX_EXPERIENCES) {
        check_name(key, format!("/experiences/allow/{at}"), notes);
    }
    not_in_force(file, notes);
}

/// Of this file, `experiences` and `features` are in force.
fn not_in_force(file: &IntegrationsFile, notes: &mut Notes<'_>) {
    let parts: [Idle<'_>; 4] = [
        (file.automation.base_url.is_some(), "/automation/baseUrl", "baseUrl"),
        (file.roblox.api_key.is_some(), "/roblox/apiKey", "the Open Cloud key"),
        (!file.webhooks.is_empty(), "/webhooks", "webhooks"),
        (file.analytics.read_only_url.is_some(), "/analytics/readOnlyUrl", "analytics"),
    ];
    check_idle(&parts, "keys and addresses come from the settings, and nothing is sent to webhooks yet", notes);
}

fn check_secret(secret: &SecretRef, is_url: bool, pointer: String, notes: &mut Notes<'_>) {
    match secret {
        SecretRef::Env(name) if is_env_name(name) => {}
        SecretRef::Env(_) => notes.error(Problem {
            code: "policy.env_name_invalid",
            pointer,
            what: "what follows env: is not the name of an environment variable".into(),
            why: "no value could ever be found",
            fix: "write env:NAME with letters, digits and _".into(),
        }),
        SecretRef::Literal(value) if is_url && !is_http_url(value.expose()) => notes.error(Problem {
            code: "policy.url_invalid",
            pointer,
            what: "the webhook's url is neither env:NAME nor a web address".into(),
            why: "nothing can be sent to it",
            fix: "write env:NAME, and put the https:// address into that variable".into(),
        }),
        SecretRef::Literal(_) => notes.warn(Problem {
            code: "policy.secret_literal",
            pointer,
            what: "a secret stands in this file in plain text".into(),
            why: "files are copied, committed and backed up more freely than environment variables",
            fix: "write env:NAME here and put the value into that environment variable".into(),
        }),
    }
}

fn is_http_url(url: &str) -> bool {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/') && !url.contains(char::is_whitespace))
}

fn is_event(event: &str) -> bool {
    let family = event.strip_suffix(".*").unwrap_or(event);
    event == "*" || (family != "*" && !family.contains(':') && family.split('.').all(is_scope))
}
