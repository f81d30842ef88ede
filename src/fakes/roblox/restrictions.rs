//! Who may not join a universe, until when, and how it came to that.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::call::{Call, Plan, Read, Target, Wrong, id, id_after, object, text, wrong};
use super::limits::{Class, Pool};
use super::pages::{Page, next};
use super::reply::{Outcome, Reply};
use super::world::{Change, World, unknown};
use crate::base::Time;

const PAGE: usize = 100;
const SCOPE: &str = "universe.user-restriction";

/// Longest reasons, in characters: the hidden one and the one that is shown.
const MAX_PRIVATE: usize = 1_000;
const MAX_DISPLAY: usize = 400;

/// Longest restriction that ends, in seconds.
const MAX_SECONDS: u64 = 315_576_000_000;

/// Changes that are remembered, by the log and by their idempotency keys.
const MAX_LOGS: usize = 20_000;

/// One person's restriction in a universe.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Restriction {
    pub active: bool,
    pub start: Time,
    /// None: it does not end.
    pub duration: Option<Duration>,
    pub private_reason: String,
    pub display_reason: String,
    pub exclude_alts: bool,
}

/// An idempotency key, with when it was first sent.
type Once = (String, Time);

#[derive(Default)]
pub(super) struct Restrictions {
    pub of: BTreeMap<(u64, u64), Restriction>,
    logs: BTreeMap<u64, (u64, Value)>,
    logged: u64,
    done: BTreeMap<String, (u64, Time, Value)>,
}

impl Restriction {
    fn read(call: &Call) -> Read<Self> {
        let body = call.object(&["gameJoinRestriction"])?;
        let fields = ["active", "duration", "privateReason", "displayReason", "excludeAltAccounts"];
        let body = object(body.get("gameJoinRestriction").cloned().unwrap_or_default(), &fields)?;
        let Some(active) = body.get("active").and_then(Value::as_bool) else { return wrong("active is no boolean") };
        let reason = |field, most| if body.contains_key(field) { text(&body, field, most) } else { Ok(String::new()) };
        let duration = body.get("duration").map(|value| seconds(value.as_str().unwrap_or_default())).transpose()?;
        let exclude_alts = match body.get("excludeAltAccounts") {
            None => false,
            Some(value) => value.as_bool().ok_or_else(|| Wrong("excludeAltAccounts is no boolean".into()))?,
        };
        let (private_reason, display_reason) =
            (reason("privateReason", MAX_PRIVATE)?, reason("displayReason", MAX_DISPLAY)?);
        Ok(Self { active, start: Time::default(), duration, private_reason, display_reason, exclude_alts })
    }

    /// As it is at `now`: one whose time is over is not active any more.
    pub fn at(&self, now: Time) -> Self {
        let over = self.duration.is_some_and(|duration| self.start + duration <= now);
        Self { active: self.active && !over, ..self.clone() }
    }

    fn json(&self) -> Value {
        let mut out = json!({
            "active": self.active,
            "privateReason": self.private_reason,
            "displayReason": self.display_reason,
            "excludeAltAccounts": self.exclude_alts,
            "inherited": false,
        });
        if self.active {
            out["startTime"] = self.start.to_string().into();
        }
        if let Some(duration) = self.duration {
            out["duration"] = format!("{}s", duration.as_secs()).into();
        }
        out
    }
}

/// `3600s`.
fn seconds(text: &str) -> Read<Duration> {
    let number = text.strip_suffix('s').and_then(|digits| digits.parse::<u64>().ok());
    match number.filter(|number| (1..=MAX_SECONDS).contains(number)) {
        Some(number) => Ok(Duration::from_secs(number)),
        None => wrong(format!("duration is {text:?}; 1s to {MAX_SECONDS}s are allowed")),
    }
}

/// Everything under `/cloud/v2/universes/{universe}/user-restrictions`.
pub(super) fn route(call: &Call, method: &str, universe: &str, rest: &[&str], verb: &str) -> Read<Plan> {
    let universe = id(universe)?;
    let plan = match (method, rest, verb) {
        ("GET", [], "") => list(call, universe)?,
        ("GET", [], "listLogs") => logs(call, universe)?,
        ("GET", [user], "") => read(call, universe, id(user)?)?,
        ("PATCH", [user], "") => return restrict(call, universe, id(user)?),
        _ => return unknown(),
    };
    Ok(plan.toll(Class::Restrictions, Pool::Owner).needs(SCOPE, "read", Target::Universe(universe)))
}

fn shown(universe: u64, user: u64, restriction: &Restriction) -> Value {
    json!({
        "path": format!("universes/{universe}/user-restrictions/{user}"),
        "updateTime": restriction.start.to_string(),
        "user": format!("users/{user}"),
        "gameJoinRestriction": restriction.json(),
    })
}

fn read(call: &Call, universe: u64, user: u64) -> Read<Plan> {
    call.takes(&[])?;
    Ok(Plan::new(Class::Restriction, Pool::Universe(universe), move |world, _| {
        let held = world.restrictions.of.get(&(universe, user)).cloned().unwrap_or_default();
        Reply::ok(&shown(universe, user, &held.at(world.now())))
    }))
}

fn list(call: &Call, universe: u64) -> Read<Plan> {
    call.takes(&["maxPageSize", "pageToken"])?;
    let page: Page<u64> = Page::of(call, PAGE)?;
    Ok(Plan::new(Class::RestrictionList, Pool::Universe(universe), move |world, _| {
        let (most, empty, now) = (world.most, world.by_turns(), world.now());
        let rows = world.restrictions.of.range((universe, page.start.unwrap_or_default())..=(universe, u64::MAX));
        let rows = rows.map(|((_, user), restriction)| (*user, Some(shown(universe, *user, &restriction.at(now)))));
        let (restrictions, token) = page.fill(most, rows);
        Reply::ok(&next(json!({"userRestrictions": restrictions}), "nextPageToken", token, empty))
    }))
}

fn logs(call: &Call, universe: u64) -> Read<Plan> {
    call.takes(&["maxPageSize", "pageToken", "filter"])?;
    let page: Page<u64> = Page::of(call, PAGE)?;
    let only = match call.param("filter").map(|filter| filter.strip_prefix("user == '")?.strip_suffix('\'')) {
        None => None,
        Some(Some(user)) => Some(format!("users/{}", id_after("users/", user)?)),
        Some(None) => return wrong("logs are filtered by user == 'users/1'"),
    };
    Ok(Plan::new(Class::RestrictionLogs, Pool::Universe(universe), move |world, _| {
        let (most, empty) = (world.most, world.by_turns());
        let rows = world.restrictions.logs.range(..=page.start.unwrap_or(u64::MAX)).rev();
        let shown = rows.map(|(number, (own, log))| {
            let fits = *own == universe && only.as_ref().is_none_or(|user| log["user"] == **user);
            (*number, fits.then(|| log.clone()))
        });
        let (logs, token) = page.fill(most, shown);
        Reply::ok(&next(json!({"logs": logs}), "nextPageToken", token, empty))
    }))
}

fn restrict(call: &Call, universe: u64, user: u64) -> Read<Plan> {
    call.takes(&["updateMask", "idempotencyKey.key", "idempotencyKey.firstSent"])?;
    if let Some(mask) =
        call.param("updateMask").filter(|mask| !["game_join_restriction", "gameJoinRestriction"].contains(mask))
    {
        return wrong(format!("updateMask is {mask}; it must name the whole restriction"));
    }
    let once = match (call.param("idempotencyKey.key"), call.param("idempotencyKey.firstSent")) {
        (None, None) => None,
        (Some(key), Some(sent)) if !key.is_empty() => {
            let sent = Time::parse(sent).ok_or_else(|| Wrong(format!("firstSent is {sent:?}, no time")))?;
            Some((key.to_owned(), sent))
        }
        _ => return wrong("an idempotency key has a key and when it was first sent"),
    };
    let wanted = Restriction::read(call)?;
    let plan = Plan::new(Class::Restrict, Pool::Universe(universe), move |world, actor| {
        world.restrict((universe, user), wanted, once, actor)
    });
    let plan = plan.toll(Class::RestrictOne, Pool::Person { universe, user }).toll(Class::Restrictions, Pool::Owner);
    Ok(plan.needs(SCOPE, "write", Target::Universe(universe)))
}

impl World {
    fn restrict(&mut self, whom: (u64, u64), wanted: Restriction, once: Option<Once>, actor: u64) -> Outcome {
        let (universe, user) = whom;
        if let Some((_, sent, answer)) = once.as_ref().and_then(|(key, _)| self.restrictions.done.get(key)) {
            return match once.as_ref().is_some_and(|(_, own)| own == sent) {
                true => Reply::ok(answer),
                false => Err(Reply::v2(400, "firstSent is not that of the first attempt.")),
            };
        }
        let now = self.now();
        let old = self.restrictions.of.get(&whom).map(|held| held.at(now)).unwrap_or_default();
        let new = Restriction { start: now, ..wanted };
        if (Restriction { start: old.start, ..new.clone() }) != old {
            self.effect(user, if new.active { Change::Restricted } else { Change::Unrestricted });
        }
        let answer = shown(universe, user, &new);
        let mut log = new.json();
        log["user"] = format!("users/{user}").into();
        log["place"] = "".into();
        log["moderator"] = json!({"robloxUser": format!("users/{actor}")});
        log["createTime"] = now.to_string().into();
        log["restrictionType"] = json!({"gameJoinRestriction": {}});
        let all = &mut self.restrictions;
        all.of.insert(whom, new);
        all.logged += 1;
        all.logs.insert(all.logged, (universe, log));
        if let Some((key, sent)) = once {
            all.done.insert(key, (all.logged, sent, answer.clone()));
        }
        if all.logs.len() > MAX_LOGS {
            all.logs.pop_first();
            let oldest = all.logged - MAX_LOGS as u64;
            all.done.retain(|_, (number, ..)| *number > oldest);
        }
        Reply::ok(&answer)
    }
}
