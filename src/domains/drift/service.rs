//! Starting runs, and what a person decides about a difference.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Value, json};
use tokio::sync::Notify;

use super::tables::{DRIFT_ACTIVE, DRIFT_RUNS, DRIFTS, Difference, Run, RunStatus};
use crate::base::{Clock, Cursor, Error, Id, Ids, Page, Result, RobloxId, Time};
use crate::domains::audit::{self, Actor};
use crate::domains::brakes::{self, Deed, Doer};
use crate::domains::group::{self, Group};
use crate::domains::mirrors::Mirrors;
use crate::domains::players::{self, Origin, PLAYERS, Player};
use crate::domains::policy::{Action, Policy};
use crate::domains::ranks::{Order, OrderIds, Ordered, Ranks, Sender};
use crate::store::{Store, Tx};

/// Finds ranks that were changed by hand. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Drift {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) ids: Ids,
    pub(super) group: Group,
    pub(super) ranks: Ranks,
    mirrors: Mirrors,
    pub(super) wake: Arc<Notify>,
    newest: Newest,
}

/// The newest run that has ended, as the committed rows say: what is wrong with it shows until the next one has ended, whoever made it.
#[derive(Clone, Default)]
struct Newest(Arc<Mutex<Option<(Id, Run)>>>);

impl Newest {
    /// Takes in committed rows. Those that go are old ones.
    fn apply(&self, rows: impl IntoIterator<Item = (Id, Run)>) {
        let mut newest = self.lock();
        for (id, run) in rows.into_iter().filter(|(_, run)| run.status != RunStatus::Running) {
            if newest.as_ref().is_none_or(|(of, _)| *of <= id) {
                *newest = Some((id, run));
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Id, Run)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a person decides about a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    /// Roblox's rank is right.
    Accept,
    /// Ours is.
    Restore,
}

/// What came of that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    /// The rank the player has, or will have.
    pub rank: Option<String>,
    /// The decision that restores it.
    pub decision: Option<Id>,
}

impl Drift {
    /// # Errors
    /// Those of reading the newest runs.
    pub async fn open(
        (store, clock, ids): (Store, Clock, Ids),
        group: Group,
        ranks: Ranks,
        mirrors: Mirrors,
    ) -> Result<Self> {
        let newest = Newest::default();
        let follower = newest.clone();
        store.follow(&DRIFT_RUNS, move |rows| {
            follower.apply(rows.into_iter().filter_map(|(id, run)| Some((id, run?))));
        });
        // At most one of them is under way.
        newest.apply(store.scan(DRIFT_RUNS.all().newest_first(), 2).await?.items);
        Ok(Self { store, clock, ids, group, ranks, mirrors, wake: Arc::default(), newest })
    }

    /// Whether there is a group to look at.
    pub fn is_on(&self) -> bool {
        self.group.access().is_some()
    }

    /// What is wrong with the last run that has ended; none when it went well. From memory.
    pub fn failing(&self) -> Option<String> {
        self.newest.lock().as_ref().and_then(|(_, run)| run.trouble())
    }

    /// Starts a run, or gives the one that is under way.
    ///
    /// # Errors
    /// `roblox.not_configured`; those of the store.
    pub async fn begin(&self, by: &Actor, request_id: &str) -> Result<(Id, Run)> {
        if !self.is_on() {
            return Err(group::not_configured());
        }
        let (now, fresh, audit_id) = (self.clock.now(), self.ids.next(), self.ids.next());
        let entry = &audit::Entry::new(now, by, request_id, "drift.started", format!("drift_run:{fresh}"));
        let started = self
            .store
            .transact(|tx| async move {
                if let Some(id) = tx.get(&DRIFT_ACTIVE, &()).await?
                    && let Some(run) = tx.get(&DRIFT_RUNS, &id).await?
                {
                    return Ok((id, run));
                }
                let run = Run::new(&by.id, now);
                tx.put(&DRIFT_RUNS, &fresh, &run);
                tx.put(&DRIFT_ACTIVE, &(), &fresh);
                audit::record(&tx, audit_id, entry);
                Ok((fresh, run))
            })
            .await?;
        self.wake.notify_one();
        Ok(started)
    }

    /// The newest runs.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn runs(&self, limit: usize) -> Result<Vec<(Id, Run)>> {
        Ok(self.store.scan(DRIFT_RUNS.all().newest_first(), limit).await?.items)
    }

    /// A page of differences, by player.
    ///
    /// # Errors
    /// `request.invalid` for a cursor of another list; those of the store.
    pub async fn differences(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<(RobloxId, Difference)>> {
        self.store.scan(DRIFTS.all().after(after), limit).await
    }

    /// Settles a difference for good.
    ///
    /// # Errors
    /// `drift.missing`; `drift.stale` when the player was moved since, and then the difference is gone; `drift.on_its_way` while a decision
    /// is being carried out; `drift.left` and `drift.protected` where nothing can be restored; `decisions.actor_limited` where they may not;
    /// those of the store.
    pub async fn resolve(&self, user: RobloxId, how: Resolution, sender: &Sender) -> Result<Resolved> {
        let (now, audit_id, ids) = (self.clock.now(), self.ids.next(), OrderIds::new(&self.ids));
        let policy = self.group.policy();
        let policy = &policy;
        let settled = self
            .store
            .transact(|tx| async move {
                let missing = || {
                    Error::missing("drift.missing", format!("nothing differs for player {user}"))
                        .hint("`grps drift list` shows who differs, as the last run found")
                };
                let row = tx.get(&DRIFTS, &user).await?.ok_or_else(missing)?;
                let player = tx.get(&PLAYERS, &user).await?.ok_or_else(missing)?;
                tx.delete(&DRIFTS, &user);
                if !row.holds(&player) {
                    let entry = sender.entry(now, "drift.cleared", format!("player:{user}")).before(told(&row));
                    audit::record(&tx, audit_id, &entry.after(json!({ "rank": player.rank })));
                    return Ok(None);
                }
                let done = match how {
                    Resolution::Accept => {
                        let accepted = accept(&tx, &player, &row, now)?;
                        // The entry holds the rank that was ours, and the next sync would report it.
                        self.mirrors.note(&tx, user, policy.integrations().features.mirror_datastore, now);
                        accepted
                    }
                    Resolution::Restore => self.restore(&tx, user, (policy, &row), (ids, sender, now)).await?,
                };
                let verb = match how {
                    Resolution::Accept => "drift.accepted",
                    Resolution::Restore => "drift.restored",
                };
                let entry = sender
                    .entry(now, verb, format!("player:{user}"))
                    .before(json!({ "rank": player.rank, "live": row.live, "left": row.left }))
                    .after(json!({ "rank": done.rank, "decision": done.decision.map(|id| id.to_string()) }));
                audit::record(&tx, audit_id, &entry);
                Ok(Some(done))
            })
            .await?;
        settled.ok_or_else(|| stale(user))
    }

    /// Orders our rank again. Whoever does is held to the limits that hold them when they approve.
    async fn restore(
        &self,
        tx: &Tx,
        user: RobloxId,
        (policy, row): (&Policy, &Difference),
        (ids, sender, now): (OrderIds, &Sender, Time),
    ) -> Result<Resolved> {
        let order = order(policy, row)?;
        let deed = Deed { user, rank: row.live.as_deref(), target_rank: order.target_rank.as_deref() };
        let admitted = Doer::new(&sender.actor, now).admit(tx, policy, &deed).await?.map_err(brakes::limited)?;
        let ordered = self.ranks.order(tx, user, &order, ids, (sender, now)).await?;
        if matches!(ordered, Ordered::Queued(_)) {
            admitted.record(tx);
        }
        resolved(ordered, row)
    }
}

/// What was found is about a rank that the player has no more.
fn stale(user: RobloxId) -> Error {
    Error::conflict(
        "drift.stale",
        format!("player {user} was moved since this was found, so it tells nothing any more"),
    )
    .hint("it is taken off the list; the next run tells what differs now")
}

fn accept(tx: &Tx, player: &Player, row: &Difference, now: Time) -> Result<Resolved> {
    if player.decided.as_ref().is_some_and(|open| open.is_queued()) {
        return Err(Error::conflict("drift.on_its_way", "a decision about this player is being carried out")
            .hint("wait until it has ended; the next run tells what differs then"));
    }
    let moved = player.rank != row.live;
    let accepted = Player {
        rank: row.live.clone(),
        reported_rank: row.live.clone(),
        rank_since: if moved { row.live.is_some().then_some(now) } else { player.rank_since },
        updated_at: now,
        ..player.clone()
    };
    players::save(tx, Some(player), &accepted);
    Ok(Resolved { rank: accepted.rank, decision: None })
}

/// The rank we hold them to have, put back.
fn order(policy: &Policy, row: &Difference) -> Result<Order> {
    if row.left {
        return Err(Error::conflict("drift.left", "the player is not in the group, so no rank can be given to them")
            .hint("accept that, or ask them to join again"));
    }
    let place = |rank: &Option<String>| rank.as_deref().and_then(|name| policy.ladder().find(name));
    let action = if place(&row.ours) > place(&row.live) { Action::Promote } else { Action::Demote };
    let name = |rank: &Option<String>| rank.clone().unwrap_or_else(|| "no rank".to_owned());
    let found = match &row.reported {
        // Roblox has ours: it is the game that shows another.
        Some(told) if row.live == row.ours => format!("The game reports {told}"),
        _ => format!("Somebody gave {} by hand", name(&row.live)),
    };
    let reason = format!("{found}; {} is restored", name(&row.ours));
    Ok(Order::new(Origin::Drift, action, row.ours.clone(), reason))
}

fn resolved(ordered: Ordered, row: &Difference) -> Result<Resolved> {
    match ordered {
        Ordered::Queued(id) | Ordered::Already(id) => Ok(Resolved { rank: row.ours.clone(), decision: Some(id) }),
        Ordered::Left(why) => {
            Err(Error::conflict("drift.protected", why).hint("change it on Roblox by hand, or accept it"))
        }
    }
}

/// Ends `run` in the commit of `tx`.
pub(super) fn end(tx: &Tx, id: Id, run: &mut Run, (status, reason): (RunStatus, Option<String>), now: Time) {
    run.status = status;
    run.reason = reason;
    run.ended_at = Some(now);
    run.updated_at = now;
    tx.put(&DRIFT_RUNS, &id, run);
    tx.delete(&DRIFT_ACTIVE, &());
}

/// JSON of a difference, for the audit trail.
pub(super) fn told(row: &Difference) -> Value {
    json!({ "ours": row.ours, "live": row.live, "reported": row.reported, "left": row.left, "run": row.run.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_restored_says_what_it_was_restored_from() {
        let reason = |live: Option<&str>, reported: Option<&str>| {
            let text = |name: Option<&str>| name.map(str::to_owned);
            let (ours, live, reported) = (text(Some("Corporal")), text(live), text(reported));
            let row = Difference { ours, live, reported, left: false, found_at: Time(0), run: Id(1) };
            order(&Policy::builtin(), &row).unwrap().reason
        };
        assert_eq!(reason(Some("Private"), None), "Somebody gave Private by hand; Corporal is restored");
        assert_eq!(reason(None, Some("Private")), "Somebody gave no rank by hand; Corporal is restored");
        assert_eq!(reason(Some("Corporal"), Some("Private")), "The game reports Private; Corporal is restored");
    }
}
