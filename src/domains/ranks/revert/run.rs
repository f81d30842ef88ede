//! Finding what is to be taken back, and ordering it: a commit a player.

use super::plan::{Aspect, History, Planned, Restoration, plan};
use crate::base::{Cursor, Error, Id, Page, Result, RobloxId, Time};
use crate::domains::players::{PLAYERS, Player, Status};
use crate::domains::ranks::carry::{OrderIds, Ordered};
use crate::domains::ranks::history::{APPLIED, DECISIONS, Decision, OPEN_EFFECTS, keep};
use crate::domains::ranks::service::{Ranks, Sender};
use crate::domains::ranks::trail::Stamp;
use crate::store::{MAX_PAGE, Tx};

/// Decisions looked at in one call, at most.
pub const MAX_AT_ONCE: usize = 1_000;

/// How often a player is planned for again when they change meanwhile.
const TRIES: usize = 4;

/// Why a queued decision does not take effect.
const CANCELLED: &str = "Reverted before it took effect";

/// What is to be taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// This one.
    Decision(Id),
    /// All that took effect, or were queued to, within a stretch of time.
    Window(Window),
}

/// A stretch of time, and who decided in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    pub since: Time,
    /// Not included; none for up to now.
    pub until: Option<Time>,
    /// A credential, or the Roblox id somebody claimed to be.
    pub actor: Option<String>,
}

/// A restoration and the decision that was made of it; none where nothing was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reverted {
    pub restoration: Restoration,
    pub decision: Option<Id>,
}

/// What a walk over a window reads, in this order; cursors begin with it.
const QUEUED: u8 = b'q';
const DONE: u8 = b'a';

impl Window {
    fn holds(&self, at: Time, decision: &Decision) -> bool {
        let in_time = self.since <= at && self.until.is_none_or(|until| at < until);
        let theirs = |actor: &String| {
            decision.actor.id == *actor || decision.actor.claimed.is_some_and(|claimed| claimed.to_string() == *actor)
        };
        in_time && self.actor.as_ref().is_none_or(theirs)
    }

    fn chose(&self, decision: &Decision) -> bool {
        decision.ended_at.is_some_and(|at| self.holds(at, decision))
    }

    fn chose_queued(&self, decision: &Decision) -> bool {
        decision.status == Status::Queued && self.holds(decision.queued_at.unwrap_or(decision.at), decision)
    }
}

impl Ranks {
    /// Takes decisions back, or only says what that would come to. One call looks at `limit` decisions; with the cursor it goes on.
    ///
    /// # Errors
    /// `decisions.missing`; `request.invalid` for a cursor of another list; those of the store.
    pub async fn revert(
        &self,
        whose: &Whose,
        dry_run: bool,
        sender: &Sender,
        (after, limit): (Option<&Cursor>, usize),
    ) -> Result<Page<Reverted>> {
        let (entries, next) = match whose {
            Whose::Decision(id) => (vec![self.decision(*id).await?], None),
            Whose::Window(window) => self.entries(window, after, limit.min(MAX_AT_ONCE)).await?,
        };
        let mut items = Vec::new();
        for (key, decision) in entries {
            match decision.status {
                Status::Queued => items.push(self.cancel_one(key, decision, dry_run, sender).await?),
                Status::Applied => items.extend(self.restore(whose, key, dry_run, sender).await?),
                status => items.push(untouched(key, format!("It is {}: it has not taken effect", status.text()))),
            }
        }
        Ok(Page { items, next })
    }

    /// One page of the decisions that `window` chooses: first those queued, then those that took effect, newest first.
    async fn entries(
        &self,
        window: &Window,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<(Vec<((RobloxId, Id), Decision)>, Option<Cursor>)> {
        let (mut phase, mut inner) = phase_of(after)?;
        let (mut found, mut looked_at) = (Vec::new(), 0);
        loop {
            let (keys, next) = self.keys(window, phase, inner.as_ref(), limit - looked_at).await?;
            looked_at += keys.len();
            let decisions = self.store.get_many(&DECISIONS, &keys).await?;
            let pairs = keys.into_iter().zip(decisions).filter_map(|(key, decision)| Some((key, decision?)));
            found.extend(pairs.filter(|(_, decision)| match phase {
                QUEUED => window.chose_queued(decision),
                _ => window.chose(decision),
            }));
            (phase, inner) = match (phase, next) {
                (_, Some(inner)) => return Ok((found, Some(Cursor([&[phase], &inner.0[..]].concat())))),
                (QUEUED, None) if looked_at < limit => (DONE, None),
                (QUEUED, None) => return Ok((found, Some(Cursor(vec![DONE])))),
                (_, None) => return Ok((found, None)),
            };
        }
    }

    async fn keys(
        &self,
        window: &Window,
        phase: u8,
        after: Option<&Cursor>,
        limit: usize,
    ) -> Result<(Vec<(RobloxId, Id)>, Option<Cursor>)> {
        if phase == QUEUED {
            let page = self.store.scan(OPEN_EFFECTS.all().newest_first().after(after), limit).await?;
            return Ok((page.items.into_iter().map(|(id, user)| (user, id)).collect(), page.next));
        }
        let until = window.until.unwrap_or(Time(i64::MAX));
        let page = self.store.scan(APPLIED.between(&window.since, &until).newest_first().after(after), limit).await?;
        Ok((page.items.into_iter().map(|((_, id), user)| (user, id)).collect(), page.next))
    }

    async fn cancel_one(
        &self,
        key: (RobloxId, Id),
        decision: Decision,
        dry_run: bool,
        sender: &Sender,
    ) -> Result<Reverted> {
        let (user, id) = key;
        let mut restoration = Restoration {
            user,
            aspect: Aspect::Queued,
            decisions: vec![id],
            from: decision.from_rank.clone(),
            to: decision.from_rank,
            planned: Planned::Cancel,
        };
        if !dry_run {
            let stamp = &Stamp { audit: self.ids.next(), at: self.clock.now(), sender: sender.clone() };
            let work = |tx: Tx| async move { self.cancel(&tx, id, CANCELLED, stamp).await };
            if !self.store.transact(work).await? {
                restoration.planned = Planned::Wait("It has just ended; ask again".to_owned());
            }
        }
        Ok(Reverted { restoration, decision: None })
    }

    /// Restores the player of one chosen decision, unless another chosen one of theirs is newer and stands for all.
    async fn restore(
        &self,
        whose: &Whose,
        key: (RobloxId, Id),
        dry_run: bool,
        sender: &Sender,
    ) -> Result<Vec<Reverted>> {
        let (user, id) = key;
        let chosen = |at: Id, decision: &Decision| match whose {
            Whose::Decision(id) => at == *id,
            Whose::Window(window) => window.chose(decision),
        };
        for _ in 0..TRIES {
            let Some(player) = self.store.get(&PLAYERS, &user).await? else {
                return Ok(vec![untouched(key, "The player is not stored any more".to_owned())]);
            };
            let applied = self.applied(user).await?;
            let newest = applied.iter().rev().find(|(at, decision)| chosen(*at, decision));
            if newest.is_none_or(|(newest, _)| *newest != id) {
                return Ok(Vec::new());
            }
            let shown = if dry_run { self.as_if_cancelled(whose, player.clone()).await? } else { player.clone() };
            let history = History { player: &shown, applied: &applied, chosen: &chosen, now: self.clock.now() };
            let steps = plan(&self.policy.current(), &history);
            match self.carry_out(&player, steps, dry_run, sender).await? {
                Some(done) => return Ok(done),
                None => continue, // The player has changed meanwhile.
            }
        }
        Ok(vec![waits(key, "The player is changing right now; ask again".to_owned())])
    }

    /// In a preview nothing was cancelled; what would be does not stand in the way.
    async fn as_if_cancelled(&self, whose: &Whose, player: Player) -> Result<Player> {
        let open = player.decided.as_ref().filter(|open| open.is_queued()).map(|open| (player.user_id, open.id));
        let (Whose::Window(window), Some(key)) = (whose, open) else { return Ok(player) };
        let open = self.store.get(&DECISIONS, &key).await?;
        let cancelled = open.is_some_and(|decision| window.chose_queued(&decision));
        Ok(if cancelled { Player { decided: None, ..player } } else { player })
    }

    /// The decisions about `user` that took effect, oldest first.
    async fn applied(&self, user: RobloxId) -> Result<Vec<(Id, Decision)>> {
        let rows = self.store.scan(DECISIONS.under(&user).newest_first(), MAX_PAGE).await?.items;
        let applied = rows.into_iter().map(|((_, id), decision)| (id, decision));
        let mut applied: Vec<_> = applied.filter(|(_, decision)| decision.status == Status::Applied).collect();
        applied.sort_by_key(|(id, decision)| (decision.ended_at, *id));
        Ok(applied)
    }

    /// Orders what is planned; none when the player is not any more as they were planned for.
    async fn carry_out(
        &self,
        planned_for: &Player,
        steps: Vec<Restoration>,
        dry_run: bool,
        sender: &Sender,
    ) -> Result<Option<Vec<Reverted>>> {
        let mut out = Vec::with_capacity(steps.len());
        for mut restoration in steps {
            let mut decision = None;
            if let (Planned::Do(order), false) = (&restoration.planned, dry_run) {
                let (ids, now, taken) = (OrderIds::new(&self.ids), self.clock.now(), &restoration.decisions);
                let done = self.store.transact(|tx| async move {
                    let same = |player: &Player| {
                        (&player.rank, &player.acted, &player.decided)
                            == (&planned_for.rank, &planned_for.acted, &planned_for.decided)
                    };
                    if !tx.get(&PLAYERS, &planned_for.user_id).await?.as_ref().is_some_and(same) {
                        return Ok(None);
                    }
                    let ordered = self.order(&tx, planned_for.user_id, order, ids, (sender, now)).await?;
                    if let Ordered::Queued(by) = ordered {
                        mark(&tx, planned_for.user_id, taken, by).await?;
                    }
                    Ok(Some(ordered))
                });
                match done.await? {
                    None => return Ok(None),
                    Some(Ordered::Queued(id) | Ordered::Already(id)) => decision = Some(id),
                    Some(Ordered::Left(why)) => restoration.planned = Planned::Skip(why),
                }
            }
            out.push(Reverted { restoration, decision });
        }
        Ok(Some(out))
    }
}

/// Where a cursor goes on.
fn phase_of(cursor: Option<&Cursor>) -> Result<(u8, Option<Cursor>)> {
    match cursor.map(|cursor| cursor.0.split_first()) {
        None => Ok((QUEUED, None)),
        Some(Some((phase @ (&QUEUED | &DONE), rest))) => {
            Ok((*phase, (!rest.is_empty()).then(|| Cursor(rest.to_vec()))))
        }
        Some(_) => {
            let message = "not a cursor of this list; leave it out to start over";
            Err(Error::field(&["query", "cursor"], "cursor_invalid", message))
        }
    }
}

/// Says on the decisions taken back which one takes them back.
async fn mark(tx: &Tx, user: RobloxId, taken: &[Id], by: Id) -> Result<()> {
    let keys: Vec<(RobloxId, Id)> = taken.iter().map(|id| (user, *id)).collect();
    for (key, decision) in keys.iter().zip(tx.get_many(&DECISIONS, &keys).await?) {
        if let Some(decision) = decision {
            keep(tx, *key, &Decision { reverted_by: Some(by), ..decision });
        }
    }
    Ok(())
}

fn untouched(key: (RobloxId, Id), why: String) -> Reverted {
    told(key, Planned::Skip(why))
}

fn waits(key: (RobloxId, Id), why: String) -> Reverted {
    told(key, Planned::Wait(why))
}

fn told((user, id): (RobloxId, Id), planned: Planned) -> Reverted {
    let restoration = Restoration { user, aspect: Aspect::Queued, decisions: vec![id], from: None, to: None, planned };
    Reverted { restoration, decision: None }
}
