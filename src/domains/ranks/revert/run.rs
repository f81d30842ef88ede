//! Finding what is to be taken back, and ordering it: a commit a player.

use super::plan::{Aspect, History, Planned, Restoration, plan};
use crate::base::{Cursor, Error, Id, Page, Result, RobloxId, Time};
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

/// Decisions about one player that are read to know what they had before, at most.
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

    /// The same, for a walk that began at `start`: what takes effect while it goes on is not part of it.
    fn up_to(&self, start: Time) -> Self {
        let end = Time(start.0.saturating_add(1));
        Self { until: Some(self.until.map_or(end, |until| until.min(end))), ..self.clone() }
    }
}

/// Where a walk over a window is.
struct Walk {
    phase: u8,
    /// When it began.
    start: Time,
    inner: Option<Cursor>,
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
        let (whose, entries, next) = match whose {
            Whose::Decision(id) => (whose.clone(), vec![self.decision(*id).await?], None),
            Whose::Window(window) => {
                let walk = walk_of(after, self.clock.now())?;
                let window = window.up_to(walk.start);
                let (entries, next) = self.entries(&window, walk, limit.min(MAX_AT_ONCE)).await?;
                (Whose::Window(window), entries, next)
            }
        };
        let mut items = Vec::new();
        for (key, decision) in entries {
            match decision.status {
                Status::Queued => items.push(self.cancel_one(key, decision, dry_run, sender).await?),
                Status::Applied => items.extend(self.restore(&whose, key, dry_run, sender).await?),
                status => items.push(untouched(key, format!("It is {}: it has not taken effect", status.text()))),
            }
        }
        Ok(Page { items, next })
    }

    /// One page of the decisions that `window` chooses: first those queued, then those that took effect, newest first.
    async fn entries(
        &self,
        window: &Window,
        walk: Walk,
        limit: usize,
    ) -> Result<(Vec<((RobloxId, Id), Decision)>, Option<Cursor>)> {
        let Walk { mut phase, start, mut inner } = walk;
        let cursor = |phase: u8, inner: &[u8]| Cursor([&[phase], &start.0.to_be_bytes()[..], inner].concat());
        let (mut found, mut looked_at) = (Vec::new(), 0);
        loop {
            let (keys, next) = self.keys(window, phase, inner.as_ref(), limit - looked_at).await?;
            looked_at += keys.len();
            let decisions = self.store.get_many(&DECISIONS, &keys).await?;
            let pairs = keys.into_iter().zip(decisions).filter_map(|(key, decision)| Some((key, decision?)));
            for (key, decision) in pairs {
                let chosen = match phase {
                    QUEUED => self.cancels(window, key.0, &decision).await?,
                    _ => window.chose(&decision),
                };
                found.extend(chosen.then_some((key, decision)));
            }
            (phase, inner) = match (phase, next) {
                (_, Some(inner)) => return Ok((found, Some(cursor(phase, &inner.0)))),
                (QUEUED, None) if looked_at < limit => (DONE, None),
                (QUEUED, None) => return Ok((found, Some(cursor(DONE, &[])))),
                (_, None) => return Ok((found, None)),
            };
        }
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
            let Some(applied) = self.applied(user).await? else {
                let why =
                    format!("There are more than {MOST_OF_ONE} decisions about this player; restore them by hand");
                return Ok(vec![untouched(key, why)]);
            };
            match applied.iter().rev().find(|(at, decision)| chosen(*at, decision)) {
                Some((newest, _)) if *newest == id => {}
                // It is part of the same walk, and its turn was before.
                Some(_) => return Ok(Vec::new()),
                None => return Ok(vec![waits(key, "It has just changed; ask again".to_owned())]),
            }
            let shown = if dry_run { self.as_if_cancelled(whose, player.clone()).await? } else { player.clone() };
            let history = History { player: &shown, applied: &applied, chosen: &chosen, now: self.clock.now() };
            let steps = plan(&self.policy.current(), &history);
            if steps.is_empty() {
                return Ok(vec![untouched(key, "It left the player as they were".to_owned())]);
            }
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
        let cancelled = match open {
            Some(decision) => self.cancels(window, player.user_id, &decision).await?,
            None => false,
        };
        Ok(if cancelled { Player { decided: None, ..player } } else { player })
    }

    /// The decisions about `user` that took effect, oldest first; none when there are too many to read.
    async fn applied(&self, user: RobloxId) -> Result<Option<Vec<(Id, Decision)>>> {
        let (mut applied, mut read, mut after) = (Vec::new(), 0, None);
        loop {
            let rows = self.store.scan(DECISIONS.under(&user).newest_first().after(after.as_ref()), MAX_PAGE).await?;
            read += rows.items.len();
            let rows_of = rows.items.into_iter().map(|((_, id), decision)| (id, decision));
            applied.extend(rows_of.filter(|(_, decision)| decision.status == Status::Applied));
            after = rows.next;
            if after.is_none() {
                break;
            }
            if read >= MOST_OF_ONE {
                return Ok(None);
            }
        }
        applied.sort_by_key(|(id, decision)| (decision.ended_at, *id));
        Ok(Some(applied))
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
                    let admitted = match self.admitted(&tx, planned_for, order, (sender, now)).await? {
                        Ok(admitted) => admitted,
                        Err(why) => return Ok(Some(Ordered::Left(why))),
                    };
                    let ordered = self.order(&tx, planned_for.user_id, order, ids, (sender, now)).await?;
                    if let Ordered::Queued(by) = ordered {
                        admitted.record(&tx);
                        mark(&tx, planned_for.user_id, taken, (by, now)).await?;
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

    /// Whoever reverts is held to the limits that hold them when they approve.
    async fn admitted(
        &self,
        tx: &Tx,
        player: &Player,
        order: &Order,
        (sender, at): (&Sender, Time),
    ) -> Result<std::result::Result<Admitted, String>> {
        let (rank, target_rank) = (player.rank.as_deref(), order.target_rank.as_deref());
        let deed = Deed { user: player.user_id, rank, target_rank };
        Doer { actor: &sender.actor, at }.admit(tx, &self.policy.current(), &deed).await
    }
}

/// Where a cursor goes on: its phase, when the walk began, and the cursor of the table it reads.
fn walk_of(cursor: Option<&Cursor>, now: Time) -> Result<Walk> {
    let Some(cursor) = cursor else { return Ok(Walk { phase: QUEUED, start: now, inner: None }) };
    let parts = cursor.0.split_first().and_then(|(phase, rest)| Some((*phase, rest.split_first_chunk::<8>()?)));
    match parts {
        Some((phase @ (QUEUED | DONE), (start, rest))) => {
            let inner = (!rest.is_empty()).then(|| Cursor(rest.to_vec()));
            Ok(Walk { phase, start: Time(i64::from_be_bytes(*start)), inner })
        }
        _ => {
            let message = "not a cursor of this list; leave it out to start over";
            Err(Error::field(&["query", "cursor"], "cursor_invalid", message))
        }
    }
}

/// Says on the decisions taken back which one takes them back, and on the player what is not decided again once it has.
async fn mark(tx: &Tx, user: RobloxId, taken: &[Id], (by, now): (Id, Time)) -> Result<()> {
    let keys: Vec<(RobloxId, Id)> = taken.iter().map(|id| (user, *id)).collect();
    let Some(before) = tx.get(&PLAYERS, &user).await? else { return Ok(()) };
    let mut player = before.clone();
    for (key, decision) in keys.iter().zip(tx.get_many(&DECISIONS, &keys).await?) {
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
