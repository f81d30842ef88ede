//! Finding what is to be taken back, and ordering it: a commit a player.

use super::plan::{Aspect, History, Planned, Restoration, plan};
use super::walk::{Phase, Walk, Window};
use crate::base::{Cursor, Id, Page, Result, RobloxId, Time};
use crate::domains::brakes::{Admitted, Deed, Doer};
use crate::domains::players::{self, Origin, PLAYERS, Player, Refused, Status};
use crate::domains::ranks::Sender;
use crate::domains::ranks::carry::{Order, OrderIds, Ordered};
use crate::domains::ranks::history::{APPLIED, DECISIONS, Decision, OPEN_EFFECTS, keep};
use crate::domains::ranks::service::Ranks;
use crate::domains::ranks::trail::Stamp;
use crate::store::{MAX_PAGE, Tx};

/// Decisions looked at in one call, at most.
pub const MAX_AT_ONCE: usize = 1_000;

/// How often a player is planned for again when they change meanwhile.
const TRIES: usize = 4;

/// Decisions about one player that took effect and are held to know what they had before, at most.
pub const MOST_OF_ONE: usize = 20 * MAX_PAGE;

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

/// A restoration and the decision that was made of it; none where nothing was ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reverted {
    pub restoration: Restoration,
    pub decision: Option<Id>,
}

/// How a walk is done.
pub(super) struct Doing<'a> {
    pub dry_run: bool,
    sender: &'a Sender,
    /// Restorations that a preview has told of so far: done in earnest, they would count against whom the limits hold.
    pub foreseen: u32,
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
        let mut doing = Doing { dry_run, sender, foreseen: 0 };
        let window = match whose {
            Whose::Window(window) => window,
            Whose::Decision(id) => {
                let found = self.decision(*id).await?;
                return Ok(Page { items: self.take_back(whose, found, &mut doing).await?, next: None });
            }
        };
        let mut walk = match after {
            Some(cursor) => Walk::read(cursor)?,
            None => Walk::begin(self.newest(self.clock.now()).await?),
        };
        doing.foreseen = walk.foreseen;
        let window = &window.up_to(walk.start);
        let whose = Whose::Window(window.clone());
        let (mut items, mut left) = (Vec::new(), limit.clamp(1, MAX_AT_ONCE));
        loop {
            let (keys, inner) = self.keys(window, &walk, left).await?;
            left -= keys.len().min(left);
            for found in self.chosen(window, walk.phase, keys).await? {
                items.extend(self.take_back(&whose, found, &mut doing).await?);
            }
            walk = match walk.on(inner, &doing) {
                Some(walk) if walk.inner.is_none() && left > 0 => walk,
                next => return Ok(Page { items, next: next.as_ref().map(Walk::cursor) }),
            };
        }
    }

    /// Now, or when the newest of all decisions took effect or was queued, where the clock was set back since: what happened before that
    /// is not in the future.
    async fn newest(&self, now: Time) -> Result<Time> {
        let applied = self.store.scan(APPLIED.all().newest_first(), 1).await?.items.pop();
        let queued = self.store.scan(OPEN_EFFECTS.all().newest_first(), 1).await?.items.pop();
        let times = [applied.map(|((at, _), _)| at), queued.map(|(id, _)| id.created_at())];
        Ok(times.into_iter().flatten().fold(now, Time::max))
    }

    async fn take_back(
        &self,
        whose: &Whose,
        (key, decision): ((RobloxId, Id), Decision),
        doing: &mut Doing<'_>,
    ) -> Result<Vec<Reverted>> {
        match decision.status {
            Status::Queued => Ok(vec![self.cancel_one(key, decision, doing).await?]),
            Status::Applied => self.restore(whose, key, doing).await,
            status => Ok(vec![untouched(key, format!("It is {}: it has not taken effect", status.text()))]),
        }
    }

    /// Those of `keys` that `window` chooses.
    async fn chosen(
        &self,
        window: &Window,
        phase: Phase,
        keys: Vec<(RobloxId, Id)>,
    ) -> Result<Vec<((RobloxId, Id), Decision)>> {
        let decisions = self.store.get_many(&DECISIONS, &keys).await?;
        let mut found = Vec::new();
        for (key, decision) in keys.into_iter().zip(decisions).filter_map(|(key, decision)| Some((key, decision?))) {
            let chosen = match phase {
                Phase::Queued | Phase::Late => self.cancels(window, key.0, &decision).await?,
                Phase::Applied => window.chose(&decision),
            };
            found.extend(chosen.then_some((key, decision)));
        }
        Ok(found)
    }

    /// Whether a revert of `window` cancels this queued decision: one of the policy, or a revert of something else. What this very revert
    /// ordered when it was called before, the ends of suspensions and the ranks put back are on their way and stay.
    async fn cancels(&self, window: &Window, user: RobloxId, decision: &Decision) -> Result<bool> {
        Ok(window.chose_queued(decision)
            && match decision.origin {
                Origin::Policy => true,
                Origin::Drift | Origin::SuspensionEnd(_) => false,
                Origin::Revert(of) => {
                    let undone = self.store.get(&DECISIONS, &(user, of)).await?;
                    !undone.is_some_and(|undone| window.chose(&undone))
                }
            })
    }

    /// The decisions that come next in the walk, newest first, and where their table goes on.
    async fn keys(&self, window: &Window, walk: &Walk, limit: usize) -> Result<(Vec<(RobloxId, Id)>, Option<Cursor>)> {
        let after = walk.inner.as_ref();
        if walk.phase != Phase::Applied {
            let page = self.store.scan(OPEN_EFFECTS.all().newest_first().after(after), limit).await?;
            return Ok((page.items.into_iter().map(|(id, user)| (user, id)).collect(), page.next));
        }
        let until = window.until.unwrap_or(Time(i64::MAX));
        let page = self.store.scan(APPLIED.between(&window.since, &until).newest_first().after(after), limit).await?;
        Ok((page.items.into_iter().map(|((_, id), user)| (user, id)).collect(), page.next))
    }

    async fn cancel_one(&self, key: (RobloxId, Id), decision: Decision, doing: &Doing<'_>) -> Result<Reverted> {
        let (user, id) = key;
        let mut restoration = Restoration {
            user,
            aspect: Aspect::Queued,
            decisions: vec![id],
            from: decision.from_rank.clone(),
            to: decision.from_rank,
            planned: Planned::Cancel,
        };
        if !doing.dry_run {
            let stamp = &Stamp { audit: self.ids.next(), at: self.clock.now(), sender: doing.sender.clone() };
            let work = |tx: Tx| async move { self.cancel(&tx, id, CANCELLED, stamp).await };
            if !self.store.transact(work).await? {
                restoration.planned = Planned::Wait("It has just ended; ask again".to_owned());
            }
        }
        Ok(Reverted { restoration, decision: None })
    }

    /// Restores the player of one chosen decision, unless another chosen one of theirs is newer and stands for all.
    async fn restore(&self, whose: &Whose, key: (RobloxId, Id), doing: &mut Doing<'_>) -> Result<Vec<Reverted>> {
        let (user, id) = key;
        let chosen = |at: Id, decision: &Decision| match whose {
            Whose::Decision(id) => at == *id,
            Whose::Window(window) => window.chose(decision),
        };
        for _ in 0..TRIES {
            let Some(player) = self.store.get(&PLAYERS, &user).await? else {
                return Ok(vec![untouched(key, "The player is not stored any more".to_owned())]);
            };
            let Some(applied) = self.applied(user).await? else {
                let why =
                    format!("More than {MOST_OF_ONE} decisions about this player took effect; restore them by hand");
                return Ok(vec![untouched(key, why)]);
            };
            match applied.iter().rev().find(|(at, decision)| chosen(*at, decision)) {
                Some((newest, _)) if *newest == id => {}
                // It is part of the same walk, and its turn was before.
                Some(_) => return Ok(Vec::new()),
                None => return Ok(vec![waits(key, "It has just changed; ask again".to_owned())]),
            }
            let shown = if doing.dry_run { self.as_if_cancelled(whose, player.clone()).await? } else { player.clone() };
            let history = History { player: &shown, applied: &applied, chosen: &chosen, now: self.clock.now() };
            let steps = plan(&self.policy.current(), &history);
            if steps.is_empty() {
                return Ok(vec![untouched(key, "It left the player as they were".to_owned())]);
            }
            match self.carry_out(&player, steps, doing).await? {
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
        let cancelled = match open {
            Some(decision) => self.cancels(window, player.user_id, &decision).await?,
            None => false,
        };
        Ok(if cancelled { Player { decided: None, ..player } } else { player })
    }

    /// The decisions about `user` that took effect, oldest first; none when there are too many. Those that did not are no bound: whoever
    /// holds a game server's key can have as many of them made as they like.
    async fn applied(&self, user: RobloxId) -> Result<Option<Vec<(Id, Decision)>>> {
        let (mut applied, mut after) = (Vec::new(), None);
        loop {
            let rows = self.store.scan(DECISIONS.under(&user).newest_first().after(after.as_ref()), MAX_PAGE).await?;
            let rows_of = rows.items.into_iter().map(|((_, id), decision)| (id, decision));
            applied.extend(rows_of.filter(|(_, decision)| decision.status == Status::Applied));
            after = rows.next;
            if applied.len() > MOST_OF_ONE {
                return Ok(None);
            }
            if after.is_none() {
                break;
            }
        }
        // A player has one open decision at a time, so they took effect in the order in which they were made; ids keep it where the clock
        // was set back.
        applied.reverse();
        Ok(Some(applied))
    }

    /// Orders what is planned, or asks whether it would be let; none when the player is not any more as they were planned for.
    async fn carry_out(
        &self,
        planned_for: &Player,
        steps: Vec<Restoration>,
        doing: &mut Doing<'_>,
    ) -> Result<Option<Vec<Reverted>>> {
        let mut out = Vec::with_capacity(steps.len());
        for mut restoration in steps {
            let mut decision = None;
            if let Planned::Do(order) = &restoration.planned {
                let ordered = match doing.dry_run {
                    true => self.foresee(planned_for, order, doing).await?,
                    false => self.order_one(planned_for, (order, &restoration.decisions), doing.sender).await?,
                };
                match ordered {
                    None => return Ok(None),
                    Some(Ordered::Left(why)) => restoration.planned = Planned::Skip(why),
                    Some(_) if doing.dry_run => doing.foreseen = doing.foreseen.saturating_add(1),
                    Some(Ordered::Queued(id) | Ordered::Already(id)) => decision = Some(id),
                }
            }
            out.push(Reverted { restoration, decision });
        }
        Ok(Some(out))
    }

    /// What ordering it would come to, after what was foreseen before.
    async fn foresee(&self, planned_for: &Player, order: &Order, doing: &Doing<'_>) -> Result<Option<Ordered>> {
        let (now, foreseen) = (self.clock.now(), doing.foreseen);
        let admitted = self.store.transact(|tx| async move {
            self.admitted(&tx, planned_for, order, Doer { foreseen, ..Doer::new(&doing.sender.actor, now) }).await
        });
        Ok(Some(admitted.await?.map_or_else(Ordered::Left, |_| Ordered::Queued(Id(0)))))
    }

    /// Orders one restoration that takes back the decisions `taken`; none when the player is not as they were planned for.
    async fn order_one(
        &self,
        planned_for: &Player,
        (order, taken): (&Order, &[Id]),
        sender: &Sender,
    ) -> Result<Option<Ordered>> {
        let (ids, now) = (OrderIds::new(&self.ids), self.clock.now());
        self.store
            .transact(|tx| async move {
                let same = |player: &Player| {
                    (&player.rank, &player.acted, &player.decided)
                        == (&planned_for.rank, &planned_for.acted, &planned_for.decided)
                };
                if !tx.get(&PLAYERS, &planned_for.user_id).await?.as_ref().is_some_and(same) {
                    return Ok(None);
                }
                let doer = Doer::new(&sender.actor, now);
                let admitted = match self.admitted(&tx, planned_for, order, doer).await? {
                    Ok(admitted) => admitted,
                    Err(why) => return Ok(Some(Ordered::Left(why))),
                };
                let ordered = self.order(&tx, planned_for.user_id, order, ids, (sender, now)).await?;
                if let Ordered::Queued(by) = ordered {
                    admitted.record(&tx);
                    mark(&tx, planned_for.user_id, taken, (by, now)).await?;
                }
                Ok(Some(ordered))
            })
            .await
    }

    /// Whoever reverts is held to the limits that hold them when they approve.
    async fn admitted(
        &self,
        tx: &Tx,
        player: &Player,
        order: &Order,
        doer: Doer<'_>,
    ) -> Result<std::result::Result<Admitted, String>> {
        let (rank, target_rank) = (player.rank.as_deref(), order.target_rank.as_deref());
        let deed = Deed { user: player.user_id, rank, target_rank };
        doer.admit(tx, &self.policy.current(), &deed).await
    }
}

/// Says on the decisions taken back which one takes them back, and on the player what is not decided again once it has.
async fn mark(tx: &Tx, user: RobloxId, taken: &[Id], (by, now): (Id, Time)) -> Result<()> {
    let keys: Vec<(RobloxId, Id)> = taken.iter().map(|id| (user, *id)).collect();
    let Some(before) = tx.get(&PLAYERS, &user).await? else { return Ok(()) };
    let mut player = before.clone();
    // Newest first: where not all can be remembered, the first step stays refused, which is what the policy would decide next.
    for (key, decision) in keys.iter().zip(tx.get_many(&DECISIONS, &keys).await?).rev() {
        let Some(decision) = decision else { continue };
        if decision.origin == Origin::Policy {
            let Decision { action, target_rank, suspend_seconds, .. } = decision.clone();
            // Until the revert has ended it goes first anyway; when it takes effect, the time begins anew.
            let until = now + players::REJECTED_FOR;
            player.refuse(Refused { id: key.1, action, target_rank, suspend_seconds, until, by: Some(by) }, now);
        }
        keep(tx, *key, &Decision { reverted_by: Some(by), ..decision });
    }
    players::save(tx, Some(&before), &player);
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
