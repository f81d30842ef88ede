//! Whether a key will do, now and soon. Pure.

use std::fmt;
use std::time::Duration;

use crate::base::Time;
use crate::remote::roblox::KeyInfo;

/// How long before its end a key is worth a warning.
pub const WARN_BEFORE: Duration = Duration::from_secs(14 * 86_400);

const DAY: u64 = 86_400;

/// Scope for changing roles.
pub const GROUP_WRITE: &str = "group:write";

/// What is wrong with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyFault {
    Disabled,
    Expired,
    /// Whole days until it expires.
    ExpiresIn(u64),
    /// It may not change this group's roles: those of another at most.
    MayNotChangeRoles(u64),
}

impl KeyFault {
    /// The most urgent fault of `key`, which is used for `group`.
    pub fn of(key: &KeyInfo, group: u64, now: Time) -> Option<Self> {
        let left = key.expires.map(|at| (at, at.since(now)));
        match left {
            _ if !key.enabled => Some(Self::Disabled),
            _ if Self::is_dead(key, now) => Some(Self::Expired),
            _ if !key.may(GROUP_WRITE, group) => Some(Self::MayNotChangeRoles(group)),
            Some((_, left)) if left <= WARN_BEFORE => Some(Self::ExpiresIn(left.as_secs() / DAY)),
            _ => None,
        }
    }

    /// Whether Roblox takes no call with `key`.
    pub fn is_dead(key: &KeyInfo, now: Time) -> bool {
        !key.enabled || key.expired || key.expires.is_some_and(|at| at <= now)
    }

    /// What to click.
    pub fn fix(&self) -> String {
        let key = "in the Creator Dashboard (Open Cloud, API Keys)";
        match self {
            Self::Disabled => format!("enable the key {key}"),
            Self::Expired | Self::ExpiresIn(_) => {
                format!(
                    "open the key {key} and set a later expiration, or make a new one and set ROBLOX_OPEN_CLOUD_API_KEY"
                )
            }
            Self::MayNotChangeRoles(group) => {
                format!("open the key {key}, add the API system \"group\" with group {group} and the operation Write")
            }
        }
    }
}

impl fmt::Display for KeyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Disabled => f.write_str("the Open Cloud key is disabled"),
            Self::Expired => f.write_str("the Open Cloud key has expired"),
            Self::ExpiresIn(days) => write!(f, "the Open Cloud key expires {}", in_days(*days)),
            Self::MayNotChangeRoles(group) => write!(f, "the Open Cloud key may not change roles in group {group}"),
        }
    }
}

/// So many whole days from now, as a person says it.
pub fn in_days(days: u64) -> String {
    match days {
        0 => "within a day".to_owned(),
        1 => "in 1 day".to_owned(),
        _ => format!("in {days} days"),
    }
}

/// Whole days until `key` expires; none when it does not.
pub fn days_left(key: &KeyInfo, now: Time) -> Option<u64> {
    key.expires.map(|at| at.since(now).as_secs() / DAY)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::roblox::KeyScope;

    #[test]
    fn the_most_urgent_fault_is_told() {
        let scope = |target: &str| KeyScope {
            name: "group".into(),
            operations: vec!["read".into(), "write".into()],
            targets: vec![target.into()],
        };
        let now = Time(1_000_000_000_000);
        let good = KeyInfo {
            name: "k".into(),
            owner: Some(1),
            enabled: true,
            expired: false,
            expires: None,
            scopes: vec![scope("7")],
        };
        let fault = |key: KeyInfo| KeyFault::of(&key, 7, now);
        let day = Duration::from_secs(DAY);
        assert_eq!(fault(good.clone()), None);
        assert_eq!(fault(KeyInfo { expires: Some(now + day * 15), ..good.clone() }), None);
        assert_eq!(fault(KeyInfo { expires: Some(now + day * 14), ..good.clone() }), Some(KeyFault::ExpiresIn(14)));
        assert_eq!(fault(KeyInfo { expires: Some(now), ..good.clone() }), Some(KeyFault::Expired));
        assert_eq!(fault(KeyInfo { expired: true, ..good.clone() }), Some(KeyFault::Expired));
        assert_eq!(fault(KeyInfo { enabled: false, expired: true, ..good.clone() }), Some(KeyFault::Disabled));
        assert_eq!(fault(KeyInfo { scopes: vec![scope("8")], ..good.clone() }), Some(KeyFault::MayNotChangeRoles(7)));
        assert_eq!(fault(KeyInfo { scopes: vec![scope("*")], ..good.clone() }), None);
        assert_eq!(
            fault(KeyInfo { scopes: vec![], expires: Some(now + day), ..good }),
            Some(KeyFault::MayNotChangeRoles(7))
        );
    }

    #[test]
    fn the_days_that_are_left_are_told_as_people_do() {
        let told = [0, 1, 2].map(|days| KeyFault::ExpiresIn(days).to_string());
        let ends = ["expires within a day", "expires in 1 day", "expires in 2 days"];
        assert!(told.iter().zip(ends).all(|(told, end)| told.ends_with(end)), "{told:?}");
    }
}
