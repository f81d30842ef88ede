//! One effect's turn: as far as it goes now, and what is written down about it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::aims::{Facts, note_deferred};
use super::case::{Case, Sight, Stop};
use super::hold::{Area, Illness};
use super::open::Ticket;
use super::punished::{PUNISHED, Punished};
use super::service::Applying;
use crate::base::{Failing, Id, Result, RobloxId};
use crate::domains::audit::Actor;
use crate::domains::effects::{self, EFFECTS, Effect, Kind, StepKind};
use crate::domains::group::{Access, ROLES_AGE};
use crate::domains::players::{self, Origin, PLAYERS, Player, Status};
use crate::domains::policy::{Action, Policy};
use crate::domains::ranks::{DECISIONS, Decision, End, Ended, Sender, Stamp};
use crate::store::Tx;
use crate::workers::backoff;

/// Times a turn begins anew before it makes room for others.
const ROUNDS: usize = 6;

/// The pause after a turn that made room.
const MAKE_ROOM: Duration = Duration::from_millis(100);

/// How often a stopped effect looks whether the breaker has closed.
const STOPPED: Duration = Duration::from_secs(10);

/// The longest pause between attempts, whatever Roblox asks for: what is asked of all calls of a kind, the budget keeps.
const LONGEST: Duration = Duration::from_secs(300);

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
    pub(super) async fn turn(&self, ticket: Ticket, access: &Access) -> Result<Turn> {
        let Ticket { id, user, .. } = ticket;
        let begun = self.store.get(&EFFECTS, &id).await?.filter(|effect| effect.ended_at.is_none());
        let mut effect = begun.unwrap_or_else(|| Effect::begin(user, self.clock.now()));
        let (mut refreshed, stored) = (false, effect.clone());
        for _ in 0..ROUNDS {
            let decision = self.store.get(&DECISIONS, &(user, id)).await?;
            let queued = decision.as_ref().is_some_and(|decision| decision.status == Status::Queued);
            if !queued && !effect.touched {
                return self.close(id, effect).await;
            }
            if !effect.touched && self.is_stopped(decision.as_ref()) {
                return Ok(Turn::Later(STOPPED));
            }
            let back = !queued || effect.giving_up.is_some();
            let case = Case { applying: self, access, id, user, back };
            let stop = match self.attempt(&case, &mut effect, decision.as_ref(), refreshed).await {
                Ok(policy) => match self.finish(id, &mut effect, queued, &policy).await? {
                    Some(turn) => return Ok(turn),
                    None => continue,
                },
                Err(stop) => stop,
            };
            match stop {
                Stop::Fell => {}
                Stop::Ours(error) => return Err(error),
                Stop::Wait(pause) => {
                    if effect.touched && effect != stored {
                        self.keep(id, &effect).await?;
                    }
                    return Ok(Turn::Later(pause.min(LONGEST)));
                }
                Stop::Trouble(illness) => return self.trouble(id, effect, illness).await,
                Stop::Refresh(_) if !refreshed => {
                    self.group.forget();
                    refreshed = true;
                }
                Stop::Refresh(why) | Stop::Never(why) => {
                    if let Some(turn) = self.never(id, &mut effect, why, back).await? {
                        return Ok(turn);
                    }
                }
            }
        }
        if effect.touched && effect != stored {
            self.keep(id, &effect).await?;
        }
        Ok(Turn::Later(MAKE_ROOM))
    }

    /// While the breaker is open, what the policy decided waits. What a person ordered, and what ends by itself, goes on.
    pub(super) fn is_stopped(&self, decision: Option<&Decision>) -> bool {
        decision.is_some_and(|decision| decision.origin == Origin::Policy) && self.brakes.open().is_some()
    }

    /// One try at what the decision asks for, or at the way back; answers the policy by which it was done.
    async fn attempt(
        &self,
        case: &Case<'_>,
        effect: &mut Effect,
        decision: Option<&Decision>,
        refreshed: bool,
    ) -> std::result::Result<Arc<Policy>, Stop> {
        let age = if refreshed { Duration::ZERO } else { ROLES_AGE };
        let roles = case.ask(Area::Group, self.group.roles(age)).await?;
        let policy = self.policy.current();
        let mapping = roles.map(&policy);
        let player = self.store.get(&PLAYERS, &case.user).await.map_err(Stop::Ours)?;
        let punished = self.store.get(&PUNISHED, &case.user).await.map_err(Stop::Ours)?;
        let facts = Facts {
            id: case.id,
            decision,
            player: player.as_ref(),
            punished: punished.as_ref(),
            policy: &policy,
            roles: &roles,
            mapping: &mapping,
            universe: case.access.universe,
        };
        let aimed = decision.filter(|_| !case.back);
        let goal = match aimed {
            // The roles may have been put in order since they were read.
            Some(decision) => facts.aim(decision, case.now()).map_err(Stop::Refresh)?,
            None => facts.back(effect, case.now()),
        };
        let objection = |held: &[u64]| aimed.and_then(|decision| facts.objection(decision, &goal, held));
        if let Some(asked) = &goal.restriction {
            if goal.kind == Kind::Punishment {
                case.look_first(effect, objection).await?;
            }
            case.settle_restriction(effect, asked).await?;
        }
        if goal.role.is_none() && goal.kind == Kind::Rank {
            note_deferred(effect, case.now());
        }
        let punished_with = punished.as_ref().and_then(|held| held.role);
        let sight = Sight { roles: &roles, mapping: &mapping, punished_with };
        case.settle_roles(effect, &goal, &sight, objection).await?;
        Ok(policy)
    }

    /// What is about to be sent is remembered first, if the decision still stands or this is the way back; whether so.
    pub(super) async fn remember(&self, id: Id, effect: &mut Effect, back: bool) -> Result<bool> {
        let (user, shared) = (effect.user, Effect { touched: true, ..effect.clone() });
        let (key, shared) = (&(user, id), &shared);
        let stands = self
            .store
            .transact(|tx| async move {
                let decision = tx.get(&DECISIONS, key).await?;
                let stands = back || decision.is_some_and(|decision| decision.status == Status::Queued);
                if stands {
                    effects::keep(&tx, id, shared);
                }
                Ok(stands)
            })
            .await?;
        effect.touched |= stands;
        Ok(stands)
    }

    /// It will never succeed. What was begun is taken back first; what cannot even be taken back is left to a person.
    async fn never(&self, id: Id, effect: &mut Effect, why: String, back: bool) -> Result<Option<Turn>> {
        effect.note(self.clock.now(), StepKind::Trouble, why.clone());
        if !effect.touched {
            return self.end(id, effect, &End::Failed { why }, &self.policy.current()).await;
        }
        if !back {
            effect.note(self.clock.now(), StepKind::TakeBack, "what was begun is taken back");
            effect.giving_up = Some(why);
            self.keep(id, effect).await?;
            return Ok(None);
        }
        let (user, first) = (effect.user, effect.giving_up.clone().unwrap_or_default());
        tracing::error!(decision = %id, %user, "what was begun cannot be taken back: {why}; {first}");
        let why = format!("{first}. It could not be taken back either ({why}): look at the member's roles on Roblox");
        match self.end(id, effect, &End::Failed { why }, &self.policy.current()).await? {
            Some(turn) => Ok(Some(turn)),
            None => self.close(id, effect.clone()).await.map(Some),
        }
    }

    /// It is as it should be. None when the decision changed meanwhile, so that there is more to do.
    async fn finish(&self, id: Id, effect: &mut Effect, queued: bool, policy: &Policy) -> Result<Option<Turn>> {
        if !queued {
            return self.close(id, effect.clone()).await.map(Some);
        }
        let end = match effect.giving_up.clone() {
            Some(why) => End::Failed { why },
            None => End::Applied { what: Some(told(effect)) },
        };
        self.end(id, effect, &end, policy).await
    }

    /// Ends the decision in one commit with all that follows from it. None when it is not queued any more.
    async fn end(&self, id: Id, effect: &Effect, end: &End, policy: &Policy) -> Result<Option<Turn>> {
        let now = self.clock.now();
        let ended = Effect { ended_at: Some(now), waiting: None, hint: None, failures: 0, ..effect.clone() };
        // One that failed may be retried and end again: that is another event.
        let event = self.events.prepare(&format!("decision:{id}:{}", now.0), &event(id, effect.user, end))?;
        let sender = Sender { actor: Actor::of(ACTOR), request_id: id.to_string() };
        let stamp = Stamp { audit: self.ids.next(), at: now, sender };
        let (key, ended, shared, stamp) = (&(effect.user, id), &ended, &event, &stamp);
        let done = self
            .store
            .transact(|tx: Tx| async move {
                let Ended::Done(decision) = self.ranks.end(&tx, *key, end, stamp).await? else { return Ok(false) };
                effects::keep(&tx, id, ended);
                if decision.status == Status::Applied {
                    punish(&tx, *key, &decision, ended, policy).await?;
                    self.mirrors.note(&tx, key.0, policy.integrations().features.mirror_datastore, now);
                }
                self.events.add(&tx, shared).await?;
                Ok(true)
            })
            .await;
        event.settle(&done);
        match done {
            Ok(false) => return Ok(None),
            Ok(true) => {}
            Err(error) if error.code() == "decisions.odd" => {
                tracing::error!(?error, decision = %id, "a decision is left alone: its player knows nothing of it");
                return Ok(Some(Turn::Over));
            }
            Err(error) => return Err(error),
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

    async fn trouble(&self, id: Id, mut effect: Effect, illness: Illness) -> Result<Turn> {
        self.meters.troubles.inc();
        let Illness { failing: Failing { what, hint }, wait, .. } = illness;
        effect.note(self.clock.now(), StepKind::Trouble, what.clone());
        effect.failures = effect.failures.saturating_add(1);
        (effect.waiting, effect.hint) = (Some(what), hint);
        self.keep(id, &effect).await?;
        Ok(Turn::Later(wait.unwrap_or_else(|| backoff(effect.failures - 1)).min(LONGEST)))
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

/// What is in force after a decision took effect. A punishment that does not give the former rank back leaves none.
async fn punish(
    tx: &Tx,
    (user, id): (RobloxId, Id),
    decision: &Decision,
    effect: &Effect,
    policy: &Policy,
) -> Result<()> {
    if !matches!(decision.action, Action::Suspend | Action::Ban) {
        return Ok(());
    }
    let before = tx.get(&PUNISHED, &user).await?;
    let gone = decision.lifts && before.as_ref().is_some_and(|held| held.role.is_some() && !held.restores);
    let now = effect.ended_at.unwrap_or(decision.at);
    match Punished::after(before, (id, decision), effect, policy.punishments(), now) {
        Some(held) => tx.put(&PUNISHED, &user, &held),
        None => tx.delete(&PUNISHED, &user),
    }
    if let Some(player) = tx.get(&PLAYERS, &user).await?.filter(|player| gone && player.rank.is_some()) {
        players::save(tx, Some(&player), &Player { rank: None, rank_since: None, ..player.clone() });
    }
    Ok(())
}

/// What was done, in a sentence for the audit trail.
fn told(effect: &Effect) -> String {
    let done = |kind| matches!(kind, StepKind::AssignRole | StepKind::UnassignRole | StepKind::Restrict);
    let steps = effect.steps.iter().filter(|step| done(step.kind));
    let steps: Vec<String> = steps.map(|step| format!("{} {}", step.kind.text(), step.text)).collect();
    match (steps.is_empty(), effect.steps.last()) {
        (false, _) => steps.join(", "),
        // Not always because it was so already: the role may have to wait, or there may be no member to have it.
        (true, Some(seen)) => format!("nothing was changed: {}", seen.text),
        (true, None) => "nothing was changed".to_owned(),
    }
}

fn event(id: Id, user: RobloxId, end: &End) -> serde_json::Value {
    let (event, why) = match end {
        End::Applied { .. } => ("decision.applied", None),
        End::Failed { why } => ("decision.failed", Some(why)),
    };
    json!({ "event": event, "decision": id.to_string(), "userId": user.get(), "reason": why })
}
