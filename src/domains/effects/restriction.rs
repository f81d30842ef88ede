//! The next change of somebody's restriction. A pure function of what is wanted and what holds. Restrictions that moderators made are
//! neither shortened nor lifted; one that ours had to replace comes back with the time it has left.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Id, Time};
use crate::remote::roblox::{Restriction, Wanted};

/// What private reasons of ours begin with.
const OURS: &str = "grps ";

/// What a decision's private reason begins with, so that its restriction can be told from every other.
pub fn signature(decision: Id) -> String {
    format!("{OURS}{decision}:")
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Restrict {
    /// To be kept out like this.
    Keep(Wanted),
    /// The restriction with this signature ends; what it had replaced comes back.
    End { signature: String, back: Option<Theirs> },
}

/// A restriction that somebody else made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Theirs {
    pub private_reason: String,
    pub display_reason: String,
    /// None: for good.
    pub until: Option<Time>,
    #[serde(default)]
    pub exclude_alts: bool,
}

impl Theirs {
    /// The restriction that holds now, when it is not ours.
    pub fn of(held: &Restriction, now: Time) -> Option<Self> {
        let theirs = held.active && !held.private_reason.starts_with(OURS);
        theirs.then(|| Self {
            private_reason: held.private_reason.clone(),
            display_reason: held.display_reason.clone(),
            until: held.duration.map(|length| held.start.unwrap_or(now) + length),
            exclude_alts: held.exclude_alts,
        })
    }

    /// As it has to be made anew at `now`; none when it would be over.
    pub fn again(&self, now: Time) -> Option<Wanted> {
        let left = self.until.map(|until| until.since(now));
        let over = left.is_some_and(|left| left < Duration::from_secs(1));
        (!over).then(|| Wanted::KeptOut {
            duration: left,
            private_reason: self.private_reason.clone(),
            display_reason: self.display_reason.clone(),
            exclude_alts: self.exclude_alts,
        })
    }
}

/// What to send, or what to say when all is as it should be.
pub fn next_restriction(asked: &Restrict, held: &Restriction, now: Time) -> Result<Wanted, &'static str> {
    match asked {
        Restrict::End { .. } if !held.active => Err("is not banned from the experience"),
        Restrict::End { signature, back } => {
            if !held.private_reason.starts_with(signature) {
                return Err("is still banned from the experience: somebody else made that ban");
            }
            Ok(back.as_ref().and_then(|theirs| theirs.again(now)).unwrap_or(Wanted::Free))
        }
        Restrict::Keep(wanted) => {
            let Wanted::KeptOut { duration, private_reason, .. } = wanted else { return Ok(wanted.clone()) };
            // Roblox cuts long reasons: the signature is what counts.
            let signed = private_reason.split_once(':').map_or(private_reason.as_str(), |(signature, _)| signature);
            if held.active && held.private_reason.starts_with(signed) {
                return Err("is banned from the experience");
            }
            let Some(theirs) = Theirs::of(held, now) else { return Ok(wanted.clone()) };
            let ends = duration.map(|length| now + length);
            let longer = theirs.until.is_none_or(|theirs| ends.is_some_and(|ours| theirs >= ours));
            if longer { Err("is already banned for longer") } else { Ok(wanted.clone()) }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(seconds: Option<u64>) -> Wanted {
        Wanted::KeptOut {
            duration: seconds.map(Duration::from_secs),
            private_reason: format!("{} warnings", signature(Id(7))),
            display_reason: String::new(),
            exclude_alts: false,
        }
    }

    fn held(reason: &str, seconds: Option<u64>) -> Restriction {
        Restriction {
            active: true,
            start: Some(Time(0)),
            duration: seconds.map(Duration::from_secs),
            private_reason: reason.into(),
            display_reason: "shown".into(),
            exclude_alts: true,
        }
    }

    #[test]
    fn the_restrictions_of_others_are_neither_shortened_nor_lifted() {
        let keep = |seconds| Restrict::Keep(wanted(seconds));
        let next = |asked: &Restrict, held: &Restriction, at| next_restriction(asked, held, Time(at)).is_ok();
        assert!(next(&keep(None), &Restriction::default(), 0));
        assert!(!next(&keep(Some(60)), &held("cheated", None), 0));
        assert!(!next(&keep(Some(60)), &held("cheated", Some(90)), 0));
        assert!(next(&keep(Some(60)), &held("cheated", Some(90)), 40_000), "theirs ends sooner");
        assert!(next(&keep(None), &held("cheated", Some(90)), 0));
        let ours = format!("{} and so on", signature(Id(7)));
        assert!(!next(&keep(None), &held(&ours, None), 0), "it is made");
        assert!(next(&keep(None), &held(&signature(Id(8)), None), 0), "ours follow the newest decision");
        let end = Restrict::End { signature: signature(Id(7)), back: None };
        assert!(!next(&end, &Restriction::default(), 0) && !next(&end, &held("cheated", None), 0));
        assert!(!next(&end, &held(&signature(Id(8)), None), 0), "another decision's");
        assert!(next(&end, &held(&ours, None), 0));
    }

    #[test]
    fn what_was_replaced_comes_back_with_the_time_it_has_left() {
        let back = Theirs::of(&held("cheated", Some(90)), Time(10));
        assert_eq!(Theirs::of(&held(&signature(Id(3)), None), Time(0)), None);
        let end = Restrict::End { signature: signature(Id(7)), back };
        let ours = held(&signature(Id(7)), None);
        let Ok(Wanted::KeptOut { duration, private_reason, display_reason, exclude_alts }) =
            next_restriction(&end, &ours, Time(30_000))
        else {
            panic!("theirs comes back")
        };
        assert_eq!((duration, private_reason.as_str()), (Some(Duration::from_secs(60)), "cheated"));
        assert_eq!((display_reason.as_str(), exclude_alts), ("shown", true));
        assert_eq!(next_restriction(&end, &ours, Time(90_000)), Ok(Wanted::Free), "theirs would be over");
    }

    #[test]
    fn one_that_was_stored_without_a_word_of_other_accounts_is_still_read() {
        // Beside something that follows it, as in an effect's row.
        let row = rmp_serde::to_vec(&(Some(("cheated", "shown", Some(Time(5)))), 7)).unwrap();
        let (theirs, next): (Option<Theirs>, u64) = rmp_serde::from_slice(&row).unwrap();
        let (private_reason, display_reason) = ("cheated".to_owned(), "shown".to_owned());
        let until = Some(Time(5));
        assert_eq!(theirs, Some(Theirs { private_reason, display_reason, until, exclude_alts: false }));
        assert_eq!(next, 7);
    }
}
