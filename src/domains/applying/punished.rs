//! Who is punished on Roblox by a decision of ours, and all that has to be known to end it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::base::{Id, RobloxId, Time};
use crate::domains::effects::{Effect, Restrict, Theirs, signature};
use crate::domains::players::Player;
use crate::domains::policy::{Action, PunishmentsFile};
use crate::domains::ranks::Decision;
use crate::store::{Record, Table};

/// Everybody who is suspended or banned on Roblox by a decision of ours.
pub static PUNISHED: Table<RobloxId, Punished> = Table::new("punished", *b"pu");

/// A punishment in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Punished {
    pub decision: Id,
    pub action: Action,
    pub since: Time,
    /// None for one that ends with its status, or not by itself.
    pub until: Option<Time>,
    /// The reported status it rests on.
    pub rests_on: Option<String>,
    pub standing: Option<String>,
    /// The role that was given for it.
    pub role: Option<u64>,
    /// Those of our roles that were held before.
    pub former: Vec<u64>,
    /// Whether the former rank comes back.
    pub restores: bool,
    /// The decision whose restriction holds.
    pub restricted_by: Option<Id>,
    /// Of the restriction, for when it has to be made again.
    pub reason: String,
    pub display_reason: String,
    pub exclude_alts: bool,
    /// The restriction of somebody else that ours replaced.
    pub theirs: Option<Theirs>,
    /// The experience that the restriction is of. None in rows from before this was kept: the one there is.
    #[serde(default)]
    pub universe: Option<u64>,
}

impl Record for Punished {
    const VERSION: u8 = 1;
}

impl Punished {
    /// What holds after `decision` took effect at `now`, if it punishes or lifts. A ban that gives no role leaves that of the suspension
    /// before it.
    pub fn after(
        before: Option<Self>,
        (id, decision): (Id, &Decision),
        effect: &Effect,
        punishments: &PunishmentsFile,
        now: Time,
    ) -> Option<Self> {
        if decision.lifts {
            return None;
        }
        let status = decision.standing.as_deref().and_then(|name| punishments.statuses.get(name));
        let restricts = effect.restricts();
        let kept = before.as_ref().filter(|before| effect.gave.is_none() && before.role.is_some());
        let restores = status.is_some_and(|status| status.restore_rank_after);
        Some(Self {
            decision: id,
            action: decision.action,
            since: now,
            until: decision.suspend_seconds.map(|seconds| now + Duration::from_secs(seconds)),
            rests_on: decision.rests_on.clone(),
            standing: decision.standing.clone(),
            role: kept.map_or(effect.gave, |before| before.role),
            former: kept.map_or_else(|| effect.former.clone().unwrap_or_default(), |before| before.former.clone()),
            restores: kept.map_or(restores, |before| before.restores),
            restricted_by: if restricts { Some(id) } else { before.as_ref().and_then(|before| before.restricted_by) },
            reason: decision.reason.clone(),
            display_reason: punishments.display_reason.clone(),
            exclude_alts: punishments.exclude_alt_accounts,
            universe: if restricts { effect.restricted_in } else { before.as_ref().and_then(|before| before.universe) },
            theirs: effect.replaced.clone().or_else(|| before.and_then(|before| before.theirs)),
        })
    }

    /// What ends its restriction, for who looks after the experience `here`; none when it made none, or one that has run out elsewhere.
    ///
    /// # Errors
    /// Why nobody can end it from here, for people.
    pub fn release(&self, here: Option<u64>, now: Time) -> Result<Option<Restrict>, String> {
        let Some(by) = self.restricted_by else { return Ok(None) };
        match self.universe.filter(|made| Some(*made) != here) {
            None => Ok(Some(Restrict::End { signature: signature(by), back: self.theirs.clone() })),
            Some(_) if self.until.is_some_and(|until| until <= now) => Ok(None),
            Some(made) => {
                let is = here.map_or_else(|| "is not set any more".to_owned(), |here| format!("is {here} by now"));
                Err(format!(
                    "the player is kept out of the experience {made}, but ROBLOX_UNIVERSE_ID {is}; set it to {made} until this is \
                     carried out, restart, and retry the decision"
                ))
            }
        }
    }

    /// The restriction as it has to come back when one that replaced it ends; none when it made none.
    pub fn as_theirs(&self) -> Option<Theirs> {
        let by = self.restricted_by?;
        Some(Theirs {
            private_reason: format!("{} {}", signature(by), self.reason),
            display_reason: self.display_reason.clone(),
            until: self.until,
            exclude_alts: self.exclude_alts,
        })
    }

    /// Its restriction, to be made again for the time it has left; none when it made none, or when it would be over.
    pub fn again(&self, now: Time) -> Option<Restrict> {
        self.as_theirs()?.again(now).map(Restrict::Keep)
    }

    /// Why it is over at `now`, if it is. A ban is over when somebody lifts it.
    pub fn over(&self, player: &Player, now: Time) -> Option<&'static str> {
        if self.action != Action::Suspend {
            return None;
        }
        if self.until.is_some_and(|until| until <= now) {
            return Some("The suspension's time is over");
        }
        let rests_on = self.rests_on.as_deref()?;
        let reported = player.punishment.as_deref().map(str::trim);
        let lifted = !reported.is_some_and(|reported| reported.eq_ignore_ascii_case(rests_on));
        lifted.then_some("The status the suspension rests on was lifted")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::players::Observation;

    /// A suspension that made no restriction.
    fn held() -> Punished {
        Punished {
            decision: Id(1),
            action: Action::Suspend,
            since: Time(0),
            until: Some(Time(100)),
            rests_on: None,
            standing: None,
            role: None,
            former: Vec::new(),
            restores: true,
            restricted_by: None,
            reason: String::new(),
            display_reason: String::new(),
            exclude_alts: false,
            theirs: None,
            universe: None,
        }
    }

    #[test]
    fn a_suspension_is_over_with_its_time_or_with_its_status_and_a_ban_is_not() {
        let mut player = Player::first_seen(&Observation::of(RobloxId::EXAMPLE, "Arc"), Time(0));
        let mut held = held();
        assert_eq!(held.over(&player, Time(99)), None);
        assert!(held.over(&player, Time(100)).is_some());
        (held.until, held.rests_on) = (None, Some("suspended".into()));
        player.punishment = Some(" Suspended".into());
        assert_eq!(held.over(&player, Time(i64::MAX)), None);
        player.punishment = Some("probation".into());
        assert!(held.over(&player, Time(0)).is_some());
        held.action = Action::Ban;
        assert_eq!(held.over(&player, Time(0)), None);
    }

    #[test]
    fn a_restriction_is_ended_where_it_was_made() {
        let mut held = held();
        (held.action, held.restricted_by, held.until) = (Action::Ban, Some(Id(1)), None);
        let ends = |held: &Punished, here, at| held.release(here, Time(at)).map(|asked| asked.is_some());
        assert_eq!(ends(&held, Some(5), 0), Ok(true), "nobody knows where it was made");
        held.universe = Some(5);
        assert_eq!(ends(&held, Some(5), 0), Ok(true));
        for (here, is) in [(Some(6), "is 6"), (None, "is not set")] {
            let why = ends(&held, here, 0).unwrap_err();
            assert!(why.contains("experience 5") && why.contains(is), "{why}");
        }
        held.until = Some(Time(100));
        assert!(ends(&held, Some(6), 99).is_err());
        assert_eq!(ends(&held, Some(6), 100), Ok(false), "it has run out");
        held.restricted_by = None;
        assert_eq!(ends(&held, Some(6), 0), Ok(false));
    }
}
