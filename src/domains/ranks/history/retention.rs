//! The worker that keeps the audit trail and the decisions within their bound: both go with age, decisions only once they have ended.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::tables::{DECISIONS, Decision, forget};
use crate::base::{Clock, Cursor, Id, Result, Time};
use crate::domains::audit::AUDITS;
use crate::domains::effects::EFFECTS_OPEN;
use crate::domains::players::{PLAYERS, Player, RETENTION_PAGE, RetentionConfig, Status, retention_pause};
use crate::store::Store;
use crate::workers::{Next, Worker};

/// Deletes old audit rows from the oldest on, then walks all decisions and deletes the old ones among them that ended.
pub struct HistoryRetention {
    store: Store,
    clock: Clock,
    kept: Duration,
    /// Where the walk over the decisions goes on.
    at: Option<Cursor>,
}

impl HistoryRetention {
    pub fn new(store: Store, clock: Clock, config: &RetentionConfig) -> Self {
        Self { store, clock, kept: config.audit(), at: None }
    }

    /// Deletes on one page; says whether the walk is over.
    async fn step(&mut self) -> Result<bool> {
        let before = self.clock.now() - self.kept;
        if self.at.is_none() && self.audits(Id::floor(before)).await? {
            return Ok(false);
        }
        self.decisions(before).await
    }

    /// Deletes the oldest audit rows; says whether there are more to delete.
    async fn audits(&self, oldest: Id) -> Result<bool> {
        let page = self.store.scan(AUDITS.between(&Id::floor(Time(0)), &oldest), RETENTION_PAGE).await?;
        let doomed: Vec<Id> = page.items.into_iter().map(|(id, _)| id).collect();
        if doomed.is_empty() {
            return Ok(false);
        }
        let doomed = &doomed;
        self.store
            .transact(|tx| async move {
                doomed.iter().for_each(|id| tx.delete(&AUDITS, id));
                Ok(())
            })
            .await?;
        Ok(page.next.is_some())
    }

    async fn decisions(&mut self, before: Time) -> Result<bool> {
        let page = self.store.scan(DECISIONS.all().after(self.at.as_ref()), RETENTION_PAGE).await?;
        let old: Vec<_> = page.items.into_iter().filter(|(_, old)| over(old, before)).map(|(key, _)| key).collect();
        let users: Vec<_> = old.iter().map(|(user, _)| *user).collect();
        let ids: Vec<_> = old.iter().map(|(_, id)| *id).collect();
        let (old, users, ids) = (&old, &users, &ids);
        if !old.is_empty() {
            self.store
                .transact(|tx| async move {
                    // Read again: a blocked decision may have been queued since the page was read.
                    let players = tx.get_many(&PLAYERS, users).await?;
                    let under_way = tx.get_many(&EFFECTS_OPEN, ids).await?;
                    let decisions = tx.get_many(&DECISIONS, old).await?;
                    for (((key, decision), player), under_way) in old.iter().zip(decisions).zip(players).zip(under_way)
                    {
                        let needed = under_way.is_some() || player.is_some_and(|player| needs(&player, key.1));
                        let doomed = |decision: &Decision| !needed && ended(decision.status) && over(decision, before);
                        if let Some(decision) = decision.filter(doomed) {
                            forget(&tx, *key, &decision);
                        }
                    }
                    Ok(())
                })
                .await?;
        }
        self.at = page.next;
        Ok(self.at.is_none())
    }
}

/// Whether the player's row refers to it. What failed or was rejected, and is still the open one, is answered again; a punishment in force
/// is ended by taking back the decision that made it.
fn needs(player: &Player, id: Id) -> bool {
    player.decided.as_ref().is_some_and(|open| open.id == id) || player.punished().is_some_and(|held| held.id == id)
}

/// Whether it ended before then, or was made before then where it never took effect. A suspension lasts beyond the decision's end: what
/// replaced it is taken back to it.
fn over(decision: &Decision, before: Time) -> bool {
    let lasts = decision.suspend_seconds.filter(|_| decision.status == Status::Applied && !decision.lifts);
    decision.ended_at.unwrap_or(decision.at) + Duration::from_secs(lasts.unwrap_or_default()) < before
}

fn ended(status: Status) -> bool {
    match status {
        Status::Proposed | Status::Queued => false,
        Status::Applied | Status::Failed | Status::Blocked => true,
    }
}

impl Worker for HistoryRetention {
    fn name(&self) -> &'static str {
        "history-retention"
    }

    fn tick(&mut self) -> BoxFuture<'_, Result<Next>> {
        Box::pin(async { Ok(retention_pause(self.step().await?)) })
    }
}
