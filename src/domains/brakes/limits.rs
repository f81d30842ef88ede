//! The limits of `permissions.json` on what holders of a role may do to others.
//!
//! Two roles can count: that of the credential, and that of the person it says it acts for (`x-grps-actor`). Nobody proves that claim, so
//! it takes away and never gives: whoever claims somebody is held to both.

use super::tables::ACTOR_USES;
use super::window::{HOUR, Window};
use crate::base::{Error, Result, RobloxId, Time};
use crate::domains::audit::Actor;
use crate::domains::auth;
use crate::domains::players::{PLAYERS, Player};
use crate::domains::policy::{Identity, Ladder, Limits, Policy};
use crate::store::Tx;

/// Why a key whose role must outrank the player may not act: nobody proves the rank that is claimed along with it.
const KEYS_OUTRANK_NOBODY: &str =
    "Whoever acts must outrank the player: a key has no rank, and that of the person it says it acts for is not proven";

/// Who wants something done.
#[derive(Debug, Clone, Copy)]
pub struct Doer<'a> {
    pub actor: &'a Actor,
    pub at: Time,
    /// What they would have done before, in a preview.
    pub foreseen: u32,
}

/// What is to be done, to whom.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    pub user: RobloxId,
    pub rank: Option<&'a str>,
    /// Where a promotion or demotion leads.
    pub target_rank: Option<&'a str>,
}

/// Leave to do one thing. It counts once it is written down.
#[derive(Debug, Default)]
pub struct Admitted(Vec<(String, Window)>);

impl Admitted {
    /// Counts it in the commit of `tx`.
    pub fn record(&self, tx: &Tx) {
        self.0.iter().for_each(|(key, window)| tx.put(&ACTOR_USES, key, window));
    }
}

/// As a person is told whom the limits keep from it.
pub fn limited(why: String) -> Error {
    Error::denied("decisions.actor_limited", why).hint("limits are those of permissions.json for the actor's role")
}

impl<'a> Doer<'a> {
    pub fn new(actor: &'a Actor, at: Time) -> Self {
        Self { actor, at, foreseen: 0 }
    }

    /// Whether their roles let them do this now; else why not, for a moderator.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn admit(
        &self,
        tx: &Tx,
        policy: &Policy,
        deed: &Deed<'_>,
    ) -> Result<std::result::Result<Admitted, String>> {
        let permissions = policy.permissions();
        let claimed = self.actor.claimed.and_then(|id| RobloxId::new(id).ok());
        let key = Identity { api_key_env: auth::listed_in(&self.actor.id), ..Identity::default() };
        let of_key = permissions.grant(&key).filter(|_| key.api_key_env.is_some()).and_then(|grant| grant.limits);
        let person = match claimed {
            Some(user) => tx.get(&PLAYERS, &user).await?,
            None => None,
        };
        let of_person = claimed.and_then(|user| {
            let rank = person.as_ref().and_then(|person| policy.ladder().rank(person.rank.as_deref()?)?.roblox_rank);
            let who = Identity { roblox_user: Some(user), roblox_rank: rank, ..Identity::default() };
            permissions.grant(&who)?.limits
        });
        let held_to = [
            of_key.map(|limits| (limits, format!("key:{}", self.actor.id))),
            of_person.map(|limits| (limits, format!("user:{}", self.actor.claimed.unwrap_or_default()))),
        ];
        if of_key.is_some_and(|limits| limits.must_outrank_target) {
            return Ok(Err(KEYS_OUTRANK_NOBODY.to_owned()));
        }
        let mut admitted = Admitted::default();
        for (limits, key) in held_to.into_iter().flatten() {
            if let Some(why) = refused(limits, policy.ladder(), (claimed, person.as_ref()), deed) {
                return Ok(Err(why));
            }
            let Some(most) = limits.applies_per_hour else { continue };
            let mut uses = tx.get(&ACTOR_USES, &key).await?.unwrap_or_default();
            if uses.within(HOUR, self.at).saturating_add(self.foreseen.into()) >= most.into() {
                return Ok(Err(format!("The limit of {most} applied decisions an hour is used up")));
            }
            uses.add(self.at);
            admitted.0.push((key, uses));
        }
        Ok(Ok(admitted))
    }
}

/// What the limits that ask for no counting have against it.
fn refused(
    limits: &Limits,
    ladder: &Ladder,
    (claimed, person): (Option<RobloxId>, Option<&Player>),
    deed: &Deed<'_>,
) -> Option<String> {
    if limits.not_self && claimed == Some(deed.user) {
        return Some("Nobody may decide about themselves".to_owned());
    }
    let place = |rank: Option<&str>| rank.and_then(|rank| ladder.find(rank));
    if limits.must_outrank_target {
        let Some(own) = place(person.and_then(|person| person.rank.as_deref())) else {
            return Some("Whoever acts must outrank the player, and their rank is not known".to_owned());
        };
        for rank in [deed.rank, deed.target_rank].into_iter().flatten() {
            match ladder.find(rank) {
                Some(theirs) if theirs < own => {}
                Some(_) => return Some(format!("Whoever acts must have a rank above {rank}")),
                None => return Some(format!("Whoever acts must outrank the player, and {rank} is not on the ladder")),
            }
        }
    }
    let highest = limits.highest_target_rank.as_deref();
    match (place(deed.target_rank), highest.and_then(|rank| ladder.find(rank)), highest) {
        (Some(target), Some(top), Some(name)) if target > top => {
            Some(format!("The highest rank that may be given here is {name}"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domains::players::Observation;

    fn ask(
        limits: &Limits,
        actor: Option<(u64, Option<&str>)>,
        user: u64,
        ranks: (Option<&str>, Option<&str>),
    ) -> Option<String> {
        let policy = Policy::builtin();
        let id = |raw| RobloxId::new(raw).unwrap();
        let person = actor.map(|(user, rank)| {
            let rank = Some(rank.map(str::to_owned));
            Player::first_seen(&Observation { rank, ..Observation::of(id(user), "M") }, Time(0))
        });
        let deed = Deed { user: id(user), rank: ranks.0, target_rank: ranks.1 };
        refused(limits, policy.ladder(), (actor.map(|(user, _)| id(user)), person.as_ref()), &deed)
    }

    #[test]
    fn nobody_decides_about_themselves() {
        let limits = Limits { not_self: true, ..Limits::default() };
        assert!(ask(&limits, Some((7, None)), 7, (None, None)).unwrap().contains("themselves"));
        assert_eq!(ask(&limits, Some((8, None)), 7, (None, None)), None);
        assert_eq!(ask(&limits, None, 7, (None, None)), None);
    }

    #[test]
    fn who_acts_stands_above_where_the_player_is_and_goes() {
        let limits = Limits { must_outrank_target: true, ..Limits::default() };
        let (low, middle, high) = ("Shock Trooper II", "Volt Specialist II", "Storm Corporal I");
        let corporal = Some((8, Some(high)));
        assert_eq!(ask(&limits, corporal, 7, (Some(low), Some(middle))), None);
        assert_eq!(ask(&limits, corporal, 7, (None, Some(middle))), None);
        assert_eq!(ask(&limits, corporal, 7, (Some(middle), None)), None);
        for ranks in [(Some(middle), Some(high)), (Some(high), None), (Some("Jedi"), None)] {
            assert!(ask(&limits, corporal, 7, ranks).is_some(), "{ranks:?}");
        }
        for unknown in [None, Some((8, None)), Some((8, Some("Jedi")))] {
            assert!(ask(&limits, unknown, 7, (Some(low), None)).unwrap().contains("not known"));
        }
    }

    #[test]
    fn a_rank_may_be_the_highest_to_give() {
        let limits = Limits { highest_target_rank: Some("Volt Specialist II".into()), ..Limits::default() };
        assert_eq!(ask(&limits, None, 7, (None, Some("Volt Specialist II"))), None);
        assert_eq!(ask(&limits, None, 7, (Some("Storm Corporal I"), None)), None, "a punishment leads nowhere");
        assert!(ask(&limits, None, 7, (None, Some("Storm Corporal I"))).unwrap().contains("Volt Specialist II"));
    }
}
