//! Decisions that the policy did not make: a revert, a rank put back, the end of a suspension.

use serde_json::json;

use crate::base::Time;
use crate::base::{Error, Id, Ids, Result, RobloxId};
use crate::domains::players::{self, Decided, Origin, PLAYERS, Player, Status};
use crate::domains::policy::{Action, Policy};
use crate::domains::ranks::Sender;
use crate::domains::ranks::history::{DECISIONS, Decision, keep};
use crate::domains::ranks::service::Ranks;
use crate::domains::ranks::trail::Stamp;
use crate::store::Tx;

/// What is to be done about a player.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    pub origin: Origin,
    /// PROMOTE or DEMOTE moves to `target_rank`; SUSPEND or BAN punishes, or lifts such a punishment.
    pub action: Action,
    /// Where a move leads; none for no rank at all.
    pub target_rank: Option<String>,
    /// Undo a punishment instead of making one.
    pub lifts: bool,
    /// How long a suspension lasts.
    pub suspend_seconds: Option<u64>,
    /// As [`Decision::standing`].
    pub standing: Option<String>,
    /// As [`Decision::rests_on`].
    pub rests_on: Option<String>,
    /// A sentence for people.
    pub reason: String,
}

/// The ids of an order's rows; made before the commit.
#[derive(Debug, Clone, Copy)]
pub struct OrderIds {
    pub decision: Id,
    pub audit: Id,
    /// Tells of the decision that was open before.
    pub closing: Id,
}

/// What came of an order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ordered {
    /// A new decision, or one that failed before, will take effect.
    Queued(Id),
    /// The same was ordered before and is on its way.
    Already(Id),
    /// The player is left alone, for this reason.
    Left(String),
}

impl OrderIds {
    pub fn new(ids: &Ids) -> Self {
        Self { closing: ids.next(), decision: ids.next(), audit: ids.next() }
    }
}

impl Order {
    /// A lift of the punishment that `action` names.
    pub fn lift(origin: Origin, action: Action, standing: Option<String>, reason: impl Into<String>) -> Self {
        Self { lifts: true, standing, ..Self::new(origin, action, None, reason) }
    }

    /// A move to `target`.
    pub fn new(origin: Origin, action: Action, target: Option<String>, reason: impl Into<String>) -> Self {
        let (standing, rests_on, reason) = (None, None, reason.into());
        Self { origin, action, target_rank: target, lifts: false, suspend_seconds: None, standing, rests_on, reason }
    }

    fn is(&self, open: &Decided) -> bool {
        open.origin == self.origin
            && open.action == self.action
            && open.lifts == self.lifts
            && open.target_rank == self.target_rank
    }

    /// Why `open` goes first, if it does: the end of a suspension, which no person asked for, must not take a punishment away that waits for
    /// a person. It comes again when that is settled.
    fn yields_to(&self, open: &Decided) -> Option<String> {
        let waits = open.status == Status::Proposed && open.rejected_until.is_none();
        let yields = matches!(self.origin, Origin::SuspensionEnd(_)) && waits && open.punishes();
        yields.then(|| format!("Decision {} ({}) waits for a person", open.id, open.action.as_str()))
    }

    /// Why the policy keeps this from `player`. A lift harms nobody, so nobody is kept from one.
    pub(in crate::domains::ranks) fn shield(&self, policy: &Policy, player: &Player) -> Option<String> {
        if self.lifts { None } else { shield(policy, player, self.target_rank.as_deref()) }
    }
}

/// Why nobody but a person on Roblox may move or punish `player`: they are protected, or a rank involved is privileged or unknown.
pub(in crate::domains::ranks) fn shield(policy: &Policy, player: &Player, target: Option<&str>) -> Option<String> {
    let block = policy.block(player.user_id, player.rank.as_deref(), None);
    let onto = target.and_then(|target| policy.block(player.user_id, Some(target), None));
    block.or(onto).map(|block| block.to_string())
}

impl Ranks {
    /// Queues what the policy did not decide, in the commit of `tx`: it takes the place of the player's open decision, whatever that is;
    /// only the end of a suspension leaves a punishment that waits for a person in its place.
    /// Not counted by the breaker. Ordered again while it is open, it is answered again; one that failed is queued again.
    ///
    /// # Errors
    /// `players.missing`; those of the store.
    #[allow(clippy::too_many_arguments)] // the transaction and who asks are no part of the order
    pub async fn order(
        &self,
        tx: &Tx,
        user: RobloxId,
        order: &Order,
        ids: OrderIds,
        (sender, now): (&Sender, Time),
    ) -> Result<Ordered> {
        let missing = || Error::missing("players.missing", format!("Player {user} not found"));
        let before = tx.get(&PLAYERS, &user).await?.ok_or_else(missing)?;
        let policy = self.policy.current();
        if let Some(why) = order.shield(&policy, &before) {
            return Ok(Ordered::Left(why));
        }
        if let Some(why) = before.decided.as_ref().and_then(|open| order.yields_to(open)) {
            return Ok(Ordered::Left(why));
        }
        let stamp = |audit| Stamp { audit, at: now, sender: sender.clone() };
        let same = before.decided.as_ref().filter(|open| order.is(open));
        if let Some(open) = same.filter(|open| open.is_queued()) {
            return Ok(Ordered::Already(open.id));
        }
        let failed = same.filter(|open| open.status == Status::Failed).map(|open| open.id);
        let id = failed.unwrap_or(ids.decision);
        if let Some(open) = before.decided.as_ref().filter(|_| failed.is_none()) {
            let why = format!("Superseded by decision {id}");
            stamp(ids.closing).close(tx, user, open, ("superseded", &why)).await?;
        }
        let mut player = before.clone();
        if let Some(open) = before.decided.as_ref().filter(|open| failed.is_none() && !open.is_of_policy()) {
            player.allow_again(open.id);
        }
        let decision = order.decision(&player, policy.version(), sender, now);
        player.decided = Some(order.open(id, &player, now));
        player.updated_at = now;
        let was = json!({ "rank": before.rank });
        let is = json!({
            "decision": id.to_string(),
            "action": order.action.as_str(),
            "targetRank": order.target_rank,
            "lifts": order.lifts,
            "origin": order.origin.text(),
            "of": order.origin.of().map(|id| id.to_string()),
            "reason": order.reason,
        });
        let decision = match failed {
            // Made once, it keeps the time and the person it was made with.
            Some(_) => match tx.get(&DECISIONS, &(user, id)).await? {
                Some(first) => Decision { at: first.at, actor: first.actor, request_id: first.request_id, ..decision },
                None => decision,
            },
            None => decision,
        };
        keep(tx, (user, id), &decision);
        players::save(tx, Some(&before), &player);
        stamp(ids.audit).record(tx, user, "queued", (Some(was), is));
        Ok(Ordered::Queued(id))
    }
}

impl Order {
    fn decision(&self, player: &Player, version: &str, sender: &Sender, now: Time) -> Decision {
        Decision {
            at: now,
            action: self.action,
            from_rank: player.rank.clone(),
            target_rank: self.target_rank.clone(),
            reason: self.reason.clone(),
            explain: Vec::new(),
            status: Status::Queued,
            blocked_reason: None,
            suspend_seconds: self.suspend_seconds,
            policy_version: version.to_owned(),
            actor: sender.actor.clone(),
            request_id: sender.request_id.clone(),
            origin: self.origin,
            queued_at: Some(now),
            ended_at: None,
            failure: None,
            standing: self.standing.clone(),
            lifts: self.lifts,
            reverted_by: None,
            rests_on: self.rests_on.clone(),
            approved_by: None,
            counted: None,
        }
    }

    fn open(&self, id: Id, player: &Player, now: Time) -> Decided {
        Decided {
            id,
            at: now,
            action: self.action,
            target_rank: self.target_rank.clone(),
            status: Status::Queued,
            suspend_seconds: self.suspend_seconds,
            rests_on: self.rests_on.clone(),
            marks: player.marks.clone(),
            origin: self.origin,
            lifts: self.lifts,
            ended_at: None,
            rejected_until: None,
            from_rank: player.rank.clone(),
        }
    }
}
