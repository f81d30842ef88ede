//! User restrictions, v2: keeping somebody out of an experience, for a time or for good.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Call, Class, Roblox, Trouble};
use crate::base::Time;

/// Longest reason that moderators see, in characters; Roblox's own bound.
pub const MAX_PRIVATE_REASON: usize = 1000;

/// Longest reason that the user sees, in characters; Roblox's own bound.
pub const MAX_DISPLAY_REASON: usize = 400;

const READ: &str = "universe.user-restriction:read";
const WRITE: &str = "universe.user-restriction:write";
const SETTING: &str = "ROBLOX_UNIVERSE_ID";

/// What an answer is not when it says for how long in a way that cannot be read.
const TIMED: &str = "a restriction whose duration can be read";

/// What holds for a user now.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Restriction {
    pub active: bool,
    pub start: Option<Time>,
    /// None: for good.
    pub duration: Option<Duration>,
    /// Only moderators see it; it tells ours from those of others.
    pub private_reason: String,
    /// What the user sees.
    pub display_reason: String,
    /// Whether accounts that Roblox takes for the same person's are left alone.
    pub exclude_alts: bool,
}

/// What shall hold for a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    Free,
    KeptOut {
        /// At least a second; none for good.
        duration: Option<Duration>,
        private_reason: String,
        display_reason: String,
        /// As in [`Restriction`].
        exclude_alts: bool,
    },
}

impl Roblox {
    /// # Errors
    /// [`Trouble`].
    pub async fn restriction(&self, universe: u64, user: u64) -> Result<Restriction, Trouble> {
        let (universe, user) = (universe.to_string(), user.to_string());
        let path = vec!["cloud", "v2", "universes", &universe, "user-restrictions", &user];
        match self.json(Call::get(Class::Restrictions, path).scope(READ).setting(SETTING), "a restriction").await {
            Ok(json) => restriction(&json["gameJoinRestriction"]),
            // Somebody who never was restricted.
            Err(Trouble::Missing { .. }) => Ok(Restriction::default()),
            Err(trouble) => Err(trouble),
        }
    }

    /// Makes `wanted` hold. Sent again with the same `key` and the time of the *first* attempt, it happens once.
    ///
    /// # Errors
    /// [`Trouble`].
    pub async fn restrict(
        &self,
        universe: u64,
        user: u64,
        wanted: &Wanted,
        (key, first_sent): (&str, Time),
    ) -> Result<(), Trouble> {
        let (universe, id) = (universe.to_string(), user.to_string());
        let path = vec!["cloud", "v2", "universes", &universe, "user-restrictions", &id];
        let body = json!({ "gameJoinRestriction": wire(wanted) });
        let call = Call::post(Class::RestrictionUpdates, path, &body);
        let call = Call { method: Method::PATCH, user: Some(user), ..call }
            .scope(WRITE)
            .setting(SETTING)
            .query("updateMask", "game_join_restriction")
            .query("idempotencyKey.key", key)
            .query("idempotencyKey.firstSent", first_sent);
        self.ask(call).await.map(drop)
    }
}

fn wire(wanted: &Wanted) -> Value {
    match wanted {
        Wanted::Free => json!({ "active": false }),
        Wanted::KeptOut { duration, private_reason, display_reason, exclude_alts } => {
            let cut = |text: &str, most: usize| text.chars().take(most).collect::<String>();
            let mut out = json!({
                "active": true,
                "privateReason": cut(private_reason, MAX_PRIVATE_REASON),
                "displayReason": cut(display_reason, MAX_DISPLAY_REASON),
                "excludeAltAccounts": exclude_alts,
            });
            if let Some(duration) = duration {
                out["duration"] = format!("{}s", duration.as_secs().max(1)).into();
            }
            out
        }
    }
}

fn restriction(json: &Value) -> Result<Restriction, Trouble> {
    let duration = match &json["duration"] {
        Value::Null => None,
        // Taken for none at all, it would be for good.
        there => Some(there.as_str().and_then(seconds).ok_or(Trouble::Unreadable(TIMED))?),
    };
    Ok(Restriction {
        active: json["active"].as_bool().unwrap_or(false),
        start: json["startTime"].as_str().and_then(Time::parse),
        duration,
        private_reason: json["privateReason"].as_str().unwrap_or_default().to_owned(),
        display_reason: json["displayReason"].as_str().unwrap_or_default().to_owned(),
        exclude_alts: json["excludeAltAccounts"].as_bool().unwrap_or(false),
    })
}

/// `3600s` or `3600.5s`, in whole seconds: nobody is let in early for a fraction.
fn seconds(text: &str) -> Option<Duration> {
    let number = text.strip_suffix('s')?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    if [whole, part].iter().any(|digits| digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit())) {
        return None;
    }
    let more = part.bytes().any(|digit| digit != b'0');
    Some(Duration::from_secs(whole.parse::<u64>().ok()?.saturating_add(more.into())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_restriction_for_good_has_no_duration_on_either_way() {
        let kept_out = |duration| Wanted::KeptOut {
            duration,
            private_reason: "grps 01".into(),
            display_reason: "x".repeat(500),
            exclude_alts: true,
        };
        let wire_of = |duration| wire(&kept_out(duration));
        assert!(wire_of(None).get("duration").is_none());
        assert_eq!(wire_of(Some(Duration::from_millis(3_600_500)))["duration"], "3600s");
        assert_eq!(wire_of(None)["displayReason"].as_str().map(str::len), Some(MAX_DISPLAY_REASON));
        assert_eq!(wire(&Wanted::Free), json!({ "active": false }));
        let read = restriction(&json!({"active": true, "duration": "60s", "privateReason": "grps 01"})).unwrap();
        assert_eq!((read.active, read.duration, read.exclude_alts), (true, Some(Duration::from_secs(60)), false));
        assert!(restriction(&json!({"active": true, "excludeAltAccounts": true})).unwrap().exclude_alts);
        assert_eq!(restriction(&json!({"active": true})).unwrap().duration, None);
        assert_eq!(restriction(&json!({"active": true, "duration": null})).unwrap().duration, None);
        assert_eq!(restriction(&Value::Null), Ok(Restriction::default()));
    }

    #[test]
    fn a_duration_has_fractions_and_what_is_none_is_not_for_good() {
        let read = |duration: Value| restriction(&json!({"active": true, "duration": duration}));
        for (text, seconds) in [("86400.5s", 86_401), ("86400.000000001s", 86_401), ("86400.000s", 86_400), ("0s", 0)] {
            assert_eq!(read(text.into()).unwrap().duration, Some(Duration::from_secs(seconds)), "{text}");
        }
        for odd in [json!("soon"), json!("86400"), json!("-5s"), json!("+5s"), json!("s"), json!(".5s"), json!("5.s")] {
            assert_eq!(read(odd.clone()), Err(Trouble::Unreadable(TIMED)), "{odd}");
        }
        for odd in [json!(86_400), json!(""), json!("1.5.5s"), json!("99999999999999999999s")] {
            assert_eq!(read(odd.clone()), Err(Trouble::Unreadable(TIMED)), "{odd}");
        }
    }
}
