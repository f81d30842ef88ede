//! One line of the doctor's report, and how it comes from an answer or from the key's scopes. Pure.

use crate::remote::roblox::{Cure, KeyInfo, StoreId, Trouble};

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Fail,
    /// Not needed here, or not to be found out.
    Off,
}

/// Whether this deployment needs what is checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Needed,
    /// Nothing that is turned on uses it.
    Spare,
}

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub check: &'static str,
    pub verdict: Verdict,
    pub detail: String,
    pub fix: Option<String>,
}

/// What a check is about.
#[derive(Debug, Clone, Copy)]
pub struct Subject {
    pub check: &'static str,
    /// What it is for.
    pub what_for: &'static str,
    pub need: Need,
}

/// What a scope has to cover.
#[derive(Debug, Clone, Copy)]
pub enum Target<'a> {
    Group(u64),
    Universe(u64),
    /// One data store of an experience.
    Store(&'a StoreId),
}

impl Need {
    pub fn when(needed: bool) -> Self {
        if needed { Self::Needed } else { Self::Spare }
    }

    fn missing(self) -> Verdict {
        if self == Self::Needed { Verdict::Fail } else { Verdict::Off }
    }
}

impl Target<'_> {
    /// Whether `key` has `scope` for it.
    fn is_covered(self, key: &KeyInfo, scope: &str) -> bool {
        match self {
            Self::Group(id) | Self::Universe(id) => key.may(scope, id),
            Self::Store(store) => key.may_in(scope, store),
        }
    }

    fn name(self) -> String {
        match self {
            Self::Group(id) => format!("group {id}"),
            Self::Universe(id) => format!("experience {id}"),
            Self::Store(store) => format!("experience {} and its data store {}", store.universe, store.name),
        }
    }
}

impl Line {
    pub fn pass(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Pass, detail: detail.into(), fix: None }
    }

    pub fn fail(check: &'static str, detail: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, detail: detail.into(), fix: Some(fix.into()) }
    }

    pub fn off(check: &'static str, detail: impl Into<String>, fix: Option<String>) -> Self {
        Self { check, verdict: Verdict::Off, detail: detail.into(), fix }
    }

    /// From the answer to a harmless call. A call that did not go through for a passing reason says nothing of the key.
    pub fn called(subject: Subject, answer: Result<String, Trouble>) -> Self {
        let Subject { check, what_for, need } = subject;
        match answer {
            Ok(detail) => Self::pass(check, detail),
            Err(trouble) => {
                let verdict = if trouble.cure() == Cure::Time { Verdict::Fail } else { need.missing() };
                let other = match trouble.cure() {
                    Cure::Time => "try again in a minute",
                    _ => "check the ids in the settings; `grps config print` shows them",
                };
                let hint = trouble.hint().map_or_else(|| other.to_owned(), String::from);
                Self { check, verdict, detail: format!("{what_for}: {}", trouble.what()), fix: Some(hint) }
            }
        }
    }

    /// From the key's scopes, for what could not be tried without changing something.
    pub fn scoped(subject: Subject, key: Option<&KeyInfo>, scope: &'static str, target: Target<'_>) -> Self {
        let Subject { check, what_for, need } = subject;
        match key.map(|key| target.is_covered(key, scope)) {
            Some(true) => Self::pass(check, format!("{what_for}: the key has {scope}")),
            Some(false) => Self {
                check,
                verdict: need.missing(),
                detail: format!("{what_for}: the key lacks {scope} for {}", target.name()),
                fix: Some(click(scope, target)),
            },
            None => Self::off(check, format!("{what_for}: not known, since the key could not be read"), None),
        }
    }
}

/// Where to add a scope.
pub fn click(scope: &str, target: Target<'_>) -> String {
    let (system, operation) = scope.rsplit_once(':').unwrap_or((scope, ""));
    format!(
        "create.roblox.com, Open Cloud, API Keys: edit the key, under Access Permissions add \"{system}\" for {} with the operation \
         \"{operation}\", and save",
        target.name()
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::remote::roblox::{Complaint, KeyScope};

    fn subject(need: Need) -> Subject {
        Subject { check: "c", what_for: "for this", need }
    }

    #[test]
    fn what_is_not_needed_does_not_fail() {
        let denied = || Trouble::Denied { scope: "group:read", complaint: Complaint::default() };
        assert_eq!(Line::called(subject(Need::Needed), Err(denied())).verdict, Verdict::Fail);
        let spare = Line::called(subject(Need::Spare), Err(denied()));
        assert_eq!(spare.verdict, Verdict::Off);
        assert!(spare.fix.is_some_and(|fix| fix.contains("group:read")));
        let down = Trouble::Down { status: 503, complaint: Complaint::default() };
        assert_eq!(Line::called(subject(Need::Spare), Err(down)).verdict, Verdict::Fail);
    }

    #[test]
    fn scopes_are_missing_there_or_unknown() {
        let scope = KeyScope { name: "group".into(), operations: vec!["write".into()], targets: vec!["7".into()] };
        let (owner, expires) = (None, None);
        let key = KeyInfo { name: "k".into(), owner, enabled: true, expired: false, expires, scopes: vec![scope] };
        let line = |key, group| Line::scoped(subject(Need::Needed), key, "group:write", Target::Group(group));
        assert_eq!(line(Some(&key), 7).verdict, Verdict::Pass);
        assert_eq!(line(None, 7).verdict, Verdict::Off);
        let missing = line(Some(&key), 8);
        assert_eq!(missing.verdict, Verdict::Fail);
        let fix = missing.fix.unwrap();
        assert!(fix.contains("\"group\" for group 8 with the operation \"write\""), "{fix}");
    }

    #[test]
    fn a_key_for_another_data_store_will_not_do() {
        let (name, operations) = ("universe-datastores.objects".into(), vec!["update".into()]);
        let scopes = vec![KeyScope { name, operations, targets: vec!["5/Points".into()] }];
        let key = KeyInfo { name: "k".into(), owner: None, enabled: true, expired: false, expires: None, scopes };
        let line = |name: &str| {
            let store = StoreId { universe: 5, name: name.into(), scope: "global".into() };
            let scope = "universe-datastores.objects:update";
            Line::scoped(subject(Need::Needed), Some(&key), scope, Target::Store(&store))
        };
        assert_eq!((line("Points").verdict, line("Pets").verdict), (Verdict::Pass, Verdict::Fail));
        assert!(line("Pets").detail.contains("data store Pets"), "{}", line("Pets").detail);
    }
}
