//! One member's roles and restriction on Roblox: reading them, changing one thing, reading again.

use std::collections::BTreeSet;
use std::time::Duration;

use super::hold::{Area, Illness};
use super::service::Applying;
use crate::base::{Error, Id, RobloxId, Time};
use crate::domains::effects::{
    Effect, Goal, Kind, Move, Restrict, StepKind, Theirs, next_move, next_restriction, signature,
};
use crate::domains::group::{Access, Mapping, Roles};
use crate::remote::roblox::{Cure, Membership, Restriction, Trouble, Wanted};

/// Changes of roles in one turn at most: one of each role there can be, and some to spare.
const MAX_MOVES: usize = 64;

/// How often Roblox takes the same change before it is plain that it does not last.
const MAX_TIMES: u8 = 10;

/// How old what is known of the key may be when a refusal is judged.
const KEY_AGE: Duration = Duration::from_secs(60);

/// Why a turn ends without the goal.
#[derive(Debug)]
pub enum Stop {
    /// Nothing is wrong: it is not our turn to call.
    Wait(Duration),
    /// A call did not succeed, and may later.
    Trouble(Illness),
    /// It will never succeed, for this reason: a sentence for people.
    Never(String),
    /// The same again with fresh knowledge of the group; if that does not help, never.
    Refresh(String),
    /// The decision does not stand any more.
    Fell,
    /// Our own store did not take what has to be remembered.
    Ours(Error),
}

/// One effect's turn with Roblox.
pub struct Case<'a> {
    pub applying: &'a Applying,
    pub access: &'a Access,
    pub id: Id,
    pub user: RobloxId,
    /// What was begun is taken back: the decision need not stand.
    pub back: bool,
}

/// The group as the policy sees it.
pub struct Sight<'a> {
    pub roles: &'a Roles,
    pub mapping: &'a Mapping,
    /// The role that the member's punishment gave.
    pub punished_with: Option<u64>,
}

impl Sight<'_> {
    /// The roles that are ours to take: those of the policy, and those that we gave under an earlier one. The policy may have changed since,
    /// or the role's name on Roblox. A privileged one is a person's gift, at whatever moment it came.
    fn ours(&self, effect: &Effect) -> BTreeSet<u64> {
        let given = effect.sent.iter().copied().chain(self.punished_with).filter(|role| self.roles.can_be_taken(*role));
        let theirs = |role: &u64| self.mapping.is_privileged(*role);
        self.mapping.managed().iter().copied().filter(|role| !theirs(role)).chain(given).collect()
    }

    fn name(&self, role: u64) -> String {
        self.roles.role(role).map_or_else(|| role.to_string(), |role| role.name.clone())
    }
}

impl Case<'_> {
    /// Makes one call, if its kind is not held back.
    pub async fn ask<T>(&self, area: Area, call: impl Future<Output = Result<T, Trouble>>) -> Result<T, Stop> {
        let judge = async |trouble: Trouble| match trouble.cure() {
            Cure::Nothing => Stop::Never(trouble.what()),
            _ => Stop::Trouble(Illness::from(&trouble)),
        };
        self.ask_and_judge(area, call, judge).await
    }

    /// The same, where `judge` says what a refusal means.
    async fn ask_and_judge<T>(
        &self,
        area: Area,
        call: impl Future<Output = Result<T, Trouble>>,
        judge: impl AsyncFnOnce(Trouble) -> Stop,
    ) -> Result<T, Stop> {
        let holds = &self.applying.holds;
        holds.enter(area).map_err(Stop::Wait)?;
        let stop = match call.await {
            Ok(answer) => {
                holds.well(area);
                return Ok(answer);
            }
            Err(Trouble::Paced { wait }) => {
                holds.untold(area);
                return Err(Stop::Wait(wait));
            }
            Err(trouble) => judge(trouble).await,
        };
        match &stop {
            Stop::Trouble(illness) => holds.failed(area, illness),
            // An answer all the same: Roblox is there.
            _ => holds.well(area),
        }
        Err(stop)
    }

    /// The member as they are now; none for who is not in the group.
    async fn member(&self) -> Result<Option<Membership>, Stop> {
        self.ask(Area::Group, self.access.roblox.membership(self.access.group, self.user.get())).await
    }

    /// Before somebody is kept out, `objection` hears their roles: who is to be left alone must not be put out first and let in again. Who is
    /// not in the group holds no role that could stand against it.
    pub async fn look_first(&self, effect: &Effect, objection: impl Fn(&[u64]) -> Option<String>) -> Result<(), Stop> {
        // A restriction that was about to be sent may have waited for long since.
        if effect.kept_since.is_some() || effect.steps.iter().any(|step| step.kind == StepKind::Restrict) {
            return Ok(());
        }
        match self.member().await?.and_then(|member| objection(&member.roles)) {
            Some(why) => Err(Stop::Never(why)),
            None => Ok(()),
        }
    }

    /// Makes the member's roles as `goal` wants them, one change at a time, each verified by a read. `objection` hears the roles before
    /// the first change.
    pub async fn settle_roles(
        &self,
        effect: &mut Effect,
        goal: &Goal,
        sight: &Sight<'_>,
        objection: impl Fn(&[u64]) -> Option<String>,
    ) -> Result<(), Stop> {
        let Some(want) = goal.role else { return Ok(()) };
        let managed = sight.ours(effect);
        let mut kind = StepKind::ReadRoles;
        for _ in 0..MAX_MOVES {
            let Some(member) = self.member().await? else {
                if goal.kind == Kind::Rank {
                    return Err(Stop::Never(format!("user {} is not a member of the group (any more)", self.user)));
                }
                effect.note(self.now(), kind, "is not a member of the group: there is no role to change");
                return Ok(());
            };
            if effect.moved.is_some_and(|moved| moved.times >= MAX_TIMES && !moved.shows(&member.roles)) {
                break;
            }
            if effect.is_behind(&member.roles, self.now()) {
                return Err(Stop::Trouble(Illness::passing(
                    "Roblox took a change of the roles that it does not show yet",
                )));
            }
            let first = effect.former.is_none();
            if let Some(why) = first.then(|| objection(&member.roles)).flatten() {
                return Err(Stop::Never(why));
            }
            let next = next_move(want, &managed, &member.roles);
            let ours: Vec<u64> = member.roles.iter().copied().filter(|role| managed.contains(role)).collect();
            let text = held(&ours, sight);
            if next == Move::Settled {
                effect.note(self.now(), StepKind::VerifyRoles, text);
                effect.former.get_or_insert(ours);
                effect.gave = want.filter(|_| goal.kind == Kind::Punishment);
                return Ok(());
            }
            effect.note(self.now(), kind, text);
            if first {
                effect.former = Some(ours);
            }
            // Also where that was tried before, and the decision fell and was queued again meanwhile: nothing is sent that is not remembered.
            if self.notes(effect, next) || first || !effect.touched {
                self.remember(effect).await?;
            }
            self.make(effect, next, (&member, sight)).await?;
            kind = StepKind::VerifyRoles;
        }
        Err(Stop::Never(format!("the roles of user {} do not stay as they are set", self.user)))
    }

    /// Notes the role that is about to be given; whether it was not noted before. What is given back was the member's before.
    fn notes(&self, effect: &mut Effect, next: Move) -> bool {
        match next {
            Move::Assign(role) if !self.back && !effect.sent.contains(&role) => {
                effect.sent.push(role);
                true
            }
            _ => false,
        }
    }

    /// What is about to be sent is remembered before it is.
    async fn remember(&self, effect: &mut Effect) -> Result<(), Stop> {
        let stands = self.applying.remember(self.id, effect, self.back).await.map_err(Stop::Ours)?;
        if stands { Ok(()) } else { Err(Stop::Fell) }
    }

    async fn make(
        &self,
        effect: &mut Effect,
        next: Move,
        (member, sight): (&Membership, &Sight<'_>),
    ) -> Result<(), Stop> {
        let (kind, role) = match next {
            Move::Settled => return Ok(()),
            Move::Assign(role) => (StepKind::AssignRole, role),
            Move::Unassign(role) => (StepKind::UnassignRole, role),
        };
        let (roblox, group, user) = (&self.access.roblox, self.access.group, self.user.get());
        let call = async {
            match next {
                Move::Assign(_) => roblox.assign_role(group, user, role).await,
                _ => roblox.unassign_role(group, user, role).await,
            }
        };
        let name = sight.name(role);
        let judge = async |trouble: Trouble| {
            effect.note(self.now(), StepKind::Trouble, format!("{} {name}: {}", kind.text(), trouble.what()));
            self.judge(&trouble, role, (member, sight)).await
        };
        self.ask_and_judge(Area::Roles, call, judge).await?;
        effect.note(self.now(), kind, name);
        effect.note_move(self.now(), role, kind == StepKind::AssignRole);
        Ok(())
    }

    /// What a refused change means. A 403 may be a matter of the key or of its owner's role, which its owner mends, or of ranks, which
    /// nobody does.
    async fn judge(&self, trouble: &Trouble, role: u64, (member, sight): (&Membership, &Sight<'_>)) -> Stop {
        let name = sight.name(role);
        match trouble {
            Trouble::Missing { .. } => Stop::Refresh(format!(
                "Roblox does not know the role {name} or user {} in the group any more (404)",
                self.user
            )),
            Trouble::Denied { scope, .. } => {
                let key = self.applying.group.key(KEY_AGE).await;
                if !key.is_ok_and(|key| key.enabled && !key.expired && key.may(scope, self.access.group)) {
                    return Stop::Trouble(Illness::from(trouble));
                }
                let rank = |role: &u64| sight.roles.role(*role).map_or(0, |role| role.rank);
                let highest = member.roles.iter().chain([&role]).map(rank).max().unwrap_or(0);
                if sight.roles.key_owner_rank.is_some_and(|owner| owner > highest) {
                    return Stop::Trouble(Illness::of_owner(
                        "the owner of the Open Cloud key may not change members' ranks (403)",
                        "give the role of the key's owner the permission to manage lower-ranked members' ranks",
                    ));
                }
                Stop::Never(format!(
                    "the role {name} and all roles of user {} must rank below the owner of the Open Cloud key (403)",
                    self.user
                ))
            }
            // The role may have been deleted since the roles were read.
            Trouble::Refused { status, complaint } if trouble.cure() == Cure::Nothing => Stop::Refresh(format!(
                "Roblox refused to change the role {name} ({status}), with the group's roles read anew as well; see what \
                 `grps doctor roblox` says of the key and the roles that policy.ranks.json names{}",
                complaint.tail()
            )),
            _ => Stop::Trouble(Illness::from(trouble)),
        }
    }

    /// The experience to keep out of: the one where that was begun.
    fn universe(&self, effect: &Effect) -> Result<u64, Stop> {
        let Some(universe) = self.access.universe else {
            let why =
                "policy.punishments.json bans from the experience (experienceBan), but ROBLOX_UNIVERSE_ID is not set";
            return Err(Stop::Never(why.to_owned()));
        };
        if let Some(begun) = effect.restricted_in.filter(|begun| *begun != universe) {
            return Err(Stop::Never(format!(
                "this was begun in the experience {begun}, but ROBLOX_UNIVERSE_ID is {universe} by now; set it to {begun} until this is \
                 carried out, restart, and retry the decision"
            )));
        }
        Ok(universe)
    }

    /// Makes the restriction as it is asked for, and reads whether it holds.
    pub async fn settle_restriction(&self, effect: &mut Effect, asked: &Restrict) -> Result<(), Stop> {
        let universe = self.universe(effect)?;
        let (roblox, user) = (&self.access.roblox, self.user.get());
        let held = self.ask(Area::Experience, roblox.restriction(universe, user)).await?;
        self.notice(effect, &held, universe);
        if is_served(effect, asked, self.now()) {
            effect.note(self.now(), StepKind::VerifyRestriction, "was banned for the whole time, which is over");
            return Ok(());
        }
        let wanted = match next_restriction(asked, &held, self.now()) {
            Ok(wanted) => wanted,
            Err(text) => {
                effect.note(self.now(), StepKind::VerifyRestriction, text);
                return Ok(());
            }
        };
        let first_sent = match effect.restricted_at.filter(|_| effect.touched) {
            Some(at) => at,
            None => {
                let now = self.now();
                (effect.restricted_at, effect.restricted_in) = (Some(now), Some(universe));
                effect.replaced = Theirs::of(&held, now).filter(|_| matches!(asked, Restrict::Keep(_)));
                self.remember(effect).await?;
                now
            }
        };
        // What is sent another time because it did not last is another attempt, not a repeat.
        let verb = if matches!(asked, Restrict::Keep(_)) { "keep" } else { "end" };
        let key = format!("grps-{}-{verb}-{}", self.id, first_sent.0);
        self.ask(Area::Experience, roblox.restrict(universe, user, &wanted, (&key, first_sent))).await?;
        let text = match (asked, &wanted) {
            (_, Wanted::Free) => "let into the experience again",
            (Restrict::Keep(_), _) => "banned from the experience",
            (Restrict::End { .. }, _) => "the ban from before ours holds again",
        };
        effect.note(self.now(), StepKind::Restrict, text);
        let held = self.ask(Area::Experience, roblox.restriction(universe, user)).await?;
        match next_restriction(asked, &held, self.now()) {
            Err(text) => {
                effect.note(self.now(), StepKind::VerifyRestriction, text);
                self.notice(effect, &held, universe);
                Ok(())
            }
            Ok(_) => {
                effect.restricted_at = Some(self.now().max(first_sent + Duration::from_millis(1)));
                self.remember(effect).await?;
                Err(Stop::Trouble(Illness::passing(
                    "Roblox does not show the ban from the experience, or its end, yet",
                )))
            }
        }
    }

    /// Since when this decision's own restriction holds, and where.
    fn notice(&self, effect: &mut Effect, held: &Restriction, universe: u64) {
        if held.active && held.private_reason.starts_with(&signature(self.id)) {
            let now = self.now();
            effect.kept_since.get_or_insert(held.start.map_or(now, |start| start.min(now)));
            effect.restricted_in.get_or_insert(universe);
        }
    }

    pub fn now(&self) -> Time {
        self.applying.clock.now()
    }
}

/// Whether the restriction was there for as long as it was to last: what Roblox has ended since is not made anew.
fn is_served(effect: &Effect, asked: &Restrict, now: Time) -> bool {
    let Restrict::Keep(Wanted::KeptOut { duration: Some(length), .. }) = asked else { return false };
    effect.kept_since.is_some_and(|since| since + *length <= now)
}

fn held(roles: &[u64], sight: &Sight<'_>) -> String {
    let names: Vec<String> = roles.iter().map(|role| sight.name(*role)).collect();
    if names.is_empty() { "holds none of the ladder's roles".to_owned() } else { format!("holds {}", names.join(", ")) }
}
