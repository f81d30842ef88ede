//! One effect's turn: as far as it goes now, and what is written down about it.

use std::time::Duration;

use serde_json::json;

use super::case::{Case, Ladder, Stop};
use super::service::Applying;
use super::suspensions::{SUSPENSIONS, Suspension};
use crate::base::{Id, Result, RobloxId};
use crate::domains::audit::Actor;
use crate::domains::effects::{self, EFFECTS, Effect, Goal, StepKind, Subject, goal};
use crate::domains::group::Mapping;
use crate::domains::players::{Origin, PLAYERS, Player, Status};
use crate::domains::policy::Action;
use crate::domains::ranks::{DECISIONS, Decision, End, Ended, Sender, Stamp};
use crate::remote::roblox::{Cure, Trouble, Wanted};
use crate::store::Tx;
use crate::workers::backoff;

/// Times a turn begins anew before it makes room for others.
const ROUNDS: usize = 6;

/// The pause after a turn that made room.
const MAKE_ROOM: Duration = Duration::from_millis(100);

/// How often a stopped effect looks whether the breaker has closed.
const STOPPED: Duration = Duration::from_secs(10);

/// How often to look for a group that is not configured.
const NO_GROUP: Duration = Duration::from_secs(300);

/// What the audit trail calls us.
const ACTOR: &str = "applier";

/// What became of a turn.
#[derive(Debug, PartialEq, Eq)]
pub enum Turn {
    /// Nothing is left to do.
    Over,
    Later(Duration),
}

impl Applying {
    /// Carries the decision out as far as it goes now.
    ///
    /// # Errors
    /// Those of the store; what goes wrong on Roblox is written down.
    pub(super) async fn turn(&self, id: Id, user: RobloxId) -> Result<Turn> {
        let Some(access) = self.group.access() else { return Ok(Turn::Later(NO_GROUP)) };
        let begun = self.store.get(&EFFECTS, &id).await?.filter(|effect| effect.ended_at.is_none());
        let mut effect = begun.unwrap_or_else(|| Effect::begin(user, self.clock.now()));
        let case = Case { applying: self, group: &self.group, access: &access, clock: &self.clock, id, user };
        let mut refreshed = 0;
        for _ in 0..ROUNDS {
            let decision = self.store.get(&DECISIONS, &(user, id)).await?;
            let queued = decision.as_ref().is_some_and(|decision| decision.status == Status::Queued);
            if !queued && !effect.touched {
                return self.close(id, effect).await;
            }
            if queued && !effect.touched && self.is_stopped(decision.as_ref()) {
                return Ok(Turn::Later(STOPPED));
            }
            let wanted = decision.as_ref().filter(|_| queued && effect.giving_up.is_none()).cloned();
            match self.attempt(&case, &mut effect, (decision.as_ref(), wanted.as_ref()), refreshed).await? {
                Ok(()) => match self.finish(id, &mut effect, queued).await? {
                    Some(turn) => return Ok(turn),
                    None => continue,
                },
                Err(Stop::Fell) => {}
                Err(Stop::Ours(error)) => return Err(error),
                Err(Stop::Refresh) => match case.refresh(refreshed) {
                    Ok(()) => refreshed += 1,
                    Err(Stop::Never(why)) => self.give_up(id, &mut effect, why).await?,
                    Err(_) => return Ok(Turn::Later(MAKE_ROOM)),
                },
                Err(Stop::Never(why)) if effect.giving_up.is_none() => self.give_up(id, &mut effect, why).await?,
                Err(Stop::Never(why)) => return self.leave(id, effect, &why, queued).await,
                Err(Stop::Trouble(trouble)) => return self.trouble(id, effect, &trouble).await,
            }
        }
        Ok(Turn::Later(MAKE_ROOM))
    }

    /// While the breaker is open, what the policy decided waits. What a person ordered, and what ends by itself, goes on.
    fn is_stopped(&self, decision: Option<&Decision>) -> bool {
        decision.is_some_and(|decision| decision.origin == Origin::Policy) && self.brakes.open().is_some()
    }

    /// One try at what is wanted; without it, at taking back what was begun.
    async fn attempt(
        &self,
        case: &Case<'_>,
        effect: &mut Effect,
        (decision, wanted): (Option<&Decision>, Option<&Decision>),
        refreshed: usize,
    ) -> Result<std::result::Result<(), Stop>> {
        let roles = match case.roles(refreshed).await {
            Ok(roles) => roles,
            Err(stop) => return Ok(Err(stop)),
        };
        let policy = self.policy.current();
        let mapping = roles.map(&policy);
        let player = self.store.get(&PLAYERS, &case.user).await?;
        let goal = match wanted {
            Some(wanted) => {
                let mut goal =
                    match goal(&subject(case.id, wanted, player.as_ref()), policy.punishments(), &Ladder(&mapping)) {
                        Ok(goal) => goal,
                        Err(why) => return Ok(Err(Stop::Never(why))),
                    };
                let suspension = self.store.get(&SUSPENSIONS, &case.user).await?;
                if !goal.for_guests && suspension.is_some_and(|suspension| suspension.holds_role) {
                    effect.note(
                        case.now(),
                        StepKind::VerifyRoles,
                        "suspended: the role comes with the end of the suspension",
                    );
                    goal.role = None;
                }
                goal
            }
            None => former(effect, decision, player.as_ref(), &mapping),
        };
        if let Some(wanted) = &goal.restriction
            && let Err(stop) = case.settle_restriction(effect, wanted).await
        {
            return Ok(Err(stop));
        }
        Ok(case.settle_roles(effect, &goal, (&mapping, &roles)).await)
    }

    /// What is about to be sent is remembered first, if the decision still stands; whether it does.
    pub(super) async fn remember(&self, id: Id, effect: &mut Effect) -> Result<bool> {
        let (user, shared) = (effect.user, Effect { touched: true, ..effect.clone() });
        let (key, shared) = (&(user, id), &shared);
        let stands = self
            .store
            .transact(|tx| async move {
                let decision = tx.get(&DECISIONS, key).await?;
                let stands =
                    shared.giving_up.is_some() || decision.is_some_and(|decision| decision.status == Status::Queued);
                if stands {
                    effects::keep(&tx, id, shared);
                }
                Ok(stands)
            })
            .await?;
        effect.touched |= stands;
        Ok(stands)
    }

    async fn give_up(&self, id: Id, effect: &mut Effect, why: String) -> Result<()> {
        effect.note(self.clock.now(), StepKind::Trouble, why.clone());
        if effect.touched {
            effect.note(self.clock.now(), StepKind::TakeBack, "what was begun is taken back");
        }
        effect.giving_up = Some(why);
        effect.touched = true;
        self.keep(id, effect).await
    }

    /// It is as it should be. None when the decision changed meanwhile, so that there is more to do.
    async fn finish(&self, id: Id, effect: &mut Effect, queued: bool) -> Result<Option<Turn>> {
        self.go_on();
        if !queued {
            let effect = effect.clone();
            return self.close(id, effect).await.map(Some);
        }
        let end = match effect.giving_up.clone() {
            Some(why) => End::Failed { why },
            None => End::Applied { what: Some(told(effect)) },
        };
        self.end(id, effect, &end).await
    }

    /// Neither what was wanted nor what was before can be had: a person has to look.
    async fn leave(&self, id: Id, mut effect: Effect, why: &str, queued: bool) -> Result<Turn> {
        effect.note(self.clock.now(), StepKind::Trouble, why);
        let first = effect.giving_up.clone().unwrap_or_default();
        tracing::error!(decision = %id, user = %effect.user, "a decision could not be carried out and not be taken back: {first}; {why}");
        if !queued {
            return self.close(id, effect).await;
        }
        let why = format!("{first}. It could not be taken back either ({why}): look at the member's roles on Roblox");
        Ok(self.end(id, &mut effect, &End::Failed { why }).await?.unwrap_or(Turn::Later(MAKE_ROOM)))
    }

    /// Ends the decision in one commit with all that follows from it.
    async fn end(&self, id: Id, effect: &mut Effect, end: &End) -> Result<Option<Turn>> {
        let now = self.clock.now();
        let ended = Effect { ended_at: Some(now), waiting: None, hint: None, failures: 0, ..effect.clone() };
        let policy = self.policy.current();
        let event = self.events.prepare(&format!("decision:{id}"), &event(id, effect.user, end))?;
        let sender = Sender { actor: Actor::of(ACTOR), request_id: id.to_string() };
        let stamp = Stamp { audit: self.ids.next(), at: now, sender };
        let (key, ended, event_ref, policy, stamp) = (&(effect.user, id), &ended, &event, &policy, &stamp);
        let done = self
            .store
            .transact(|tx: Tx| async move {
                let Ended::Done(decision) = self.ranks.end(&tx, *key, end, stamp).await? else { return Ok(false) };
                effects::keep(&tx, id, ended);
                if decision.status == Status::Applied {
                    Suspension::follow(&tx, key.0, id, &decision, policy.punishments(), now);
                    self.mirrors.note(&tx, key.0, policy.integrations().features.mirror_datastore, now);
                }
                self.events.add(&tx, event_ref).await?;
                Ok(true)
            })
            .await;
        event.settle(&done);
        if !done? {
            return Ok(None);
        }
        match end {
            End::Applied { .. } => self.meters.applied.inc(),
            End::Failed { why } => {
                tracing::warn!(decision = %id, user = %effect.user, "a decision failed: {why}");
                self.meters.failed.inc()
            }
        };
        Ok(Some(Turn::Over))
    }

    /// The decision is not to be carried out (any more), and nothing of it is left on Roblox.
    async fn close(&self, id: Id, effect: Effect) -> Result<Turn> {
        let ended = Effect { ended_at: Some(self.clock.now()), ..effect };
        if !ended.steps.is_empty() {
            self.keep(id, &ended).await?;
        }
        Ok(Turn::Over)
    }

    async fn trouble(&self, id: Id, mut effect: Effect, trouble: &Trouble) -> Result<Turn> {
        if let Trouble::Paced { wait } = trouble {
            return Ok(Turn::Later(*wait));
        }
        self.meters.troubles.inc();
        effect.note(self.clock.now(), StepKind::Trouble, trouble.what());
        effect.failures = effect.failures.saturating_add(1);
        (effect.waiting, effect.hint) = (Some(trouble.what()), trouble.hint().map(String::from));
        self.keep(id, &effect).await?;
        if trouble.cure() != Cure::Time {
            self.hold(trouble);
        }
        Ok(Turn::Later(trouble.wait().unwrap_or_else(|| backoff(effect.failures - 1))))
    }

    async fn keep(&self, id: Id, effect: &Effect) -> Result<()> {
        self.store
            .transact(|tx| async move {
                effects::keep(&tx, id, effect);
                Ok(())
            })
            .await
    }
}

/// A decision as it matters outside. The end of a punishment brings back the rank that is stored: nothing moved it meanwhile.
fn subject<'a>(id: Id, decision: &'a Decision, player: Option<&'a Player>) -> Subject<'a> {
    let rank = player.and_then(|player| player.rank.as_deref());
    Subject {
        id,
        action: decision.action,
        lifts: decision.lifts,
        target_rank: if decision.lifts { rank } else { decision.target_rank.as_deref() },
        standing: decision.standing.as_deref(),
        suspend_for: decision.suspend_seconds.map(Duration::from_secs),
        reason: &decision.reason,
    }
}

/// How it was before the decision was begun.
fn former(effect: &Effect, decision: Option<&Decision>, player: Option<&Player>, mapping: &Mapping) -> Goal {
    let stored = || player.and_then(|player| player.rank.as_deref()).and_then(|rank| mapping.role_of(rank).ok());
    let role = effect.former.as_deref().map(|former| match former {
        [] => None,
        [one] => Some(*one),
        [first, ..] => stored().or(Some(*first)),
    });
    let restricted = effect.restricted_at.is_some() && !decision.is_some_and(|decision| decision.lifts);
    Goal { role, restriction: restricted.then_some(Wanted::Free), for_guests: true }
}

/// What was done, in a sentence for the audit trail.
fn told(effect: &Effect) -> String {
    let done = |kind| matches!(kind, StepKind::AssignRole | StepKind::UnassignRole | StepKind::Restrict);
    let steps: Vec<String> = effect
        .steps
        .iter()
        .filter(|step| done(step.kind))
        .map(|step| format!("{} {}", step.kind.text(), step.text))
        .collect();
    if steps.is_empty() { "it was so already".to_owned() } else { steps.join(", ") }
}

fn event(id: Id, user: RobloxId, end: &End) -> serde_json::Value {
    let (event, why) = match end {
        End::Applied { .. } => ("decision.applied", None),
        End::Failed { why } => ("decision.failed", Some(why)),
    };
    json!({ "event": event, "decision": id.to_string(), "userId": user.get(), "reason": why })
}

/// Whether an action is carried out by a status of the policy.
pub fn punishes(action: Action) -> bool {
    matches!(action, Action::Suspend | Action::Ban)
}
