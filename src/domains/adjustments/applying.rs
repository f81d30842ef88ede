//! Carrying a run out, a portion a commit, and forgetting old ones.

use std::time::Duration;

use super::model::{Chunk, PART, Row, RowResult, Run};
use super::service::{Adjustments, MAX_KEPT, close, missing, outcomes};
use super::tables::{ADJUSTMENT_KEYS, ADJUSTMENT_ROWS, ADJUSTMENTS, ADJUSTMENTS_OPEN};
use crate::base::{Error, Id, Result, RobloxId, Time};
use crate::domains::audit;
use crate::domains::jobs::{NewJob, QueueName};
use crate::domains::players::{self, PLAYERS, Player};
use crate::store::{MAX_PAGE, Tx};

/// How often a portion is planned anew when its players change meanwhile, or its queue has no room for all of it.
const PLANS: usize = 16;

/// Old runs forgotten in one commit at most, each of up to a hundred rows.
const FORGOTTEN: usize = 5;

/// The next rows of a run, and what they would do to the players as they are.
struct Portion {
    id: Id,
    run: Run,
    chunk: Chunk,
    /// The rows' place within the chunk.
    range: std::ops::Range<usize>,
    users: Vec<RobloxId>,
    results: Vec<RowResult>,
    audit_ids: Vec<Id>,
    now: Time,
}

impl Adjustments {
    /// Carries out the next rows of the first open run that can go on; says whether there was an open one. Runs that cannot are tried
    /// last from then on, so that none holds up the others.
    ///
    /// # Errors
    /// When no run can go on, what holds the first one up: `adjustments.contended`, or what [`crate::domains::jobs::Jobs::add`] refuses,
    /// after which nothing is changed; those of the store.
    pub(super) async fn step(&self) -> Result<bool> {
        let open = self.store.get(&ADJUSTMENTS_OPEN, &()).await?.unwrap_or_default();
        let mut held_up = None;
        for (place, id) in open.ids.iter().enumerate() {
            match self.go_on(*id).await {
                Ok(()) => {
                    self.postpone(&open.ids[..place]).await?;
                    return Ok(true);
                }
                Err(error) if concerns_one_run(&error) => held_up = held_up.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        held_up.map_or(Ok(false), Err)
    }

    /// Carries out the next rows of a run: as many as its queue has room for, within one portion.
    async fn go_on(&self, id: Id) -> Result<()> {
        let mut limit = PART;
        for _ in 0..PLANS {
            let portion = self.plan(id, limit).await?;
            match self.carry_out(&portion).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.code() == "jobs.queue_full" && portion.users.len() > 1 => {
                    limit = portion.users.len() / 2;
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::busy("adjustments.contended", "the players of a run keep changing; it will be tried again"))
    }

    /// Puts runs at the end of the worker's list, those that are still open.
    async fn postpone(&self, ids: &[Id]) -> Result<()> {
        if ids.is_empty() {
            return Ok(());
        }
        self.store
            .transact(|tx| async move {
                let mut open = tx.get(&ADJUSTMENTS_OPEN, &()).await?.unwrap_or_default();
                // Sorting is stable: apart from this, the runs keep their order.
                open.ids.sort_by_key(|id| ids.contains(id));
                tx.put(&ADJUSTMENTS_OPEN, &(), &open);
                Ok(())
            })
            .await
    }

    /// Reads ahead: jobs need their texts before the transaction that puts them in.
    async fn plan(&self, id: Id, limit: usize) -> Result<Portion> {
        let run = self.find(id).await?;
        let (part, from) = (run.next / PART as u32, run.next as usize % PART);
        let chunk = self.store.get(&ADJUSTMENT_ROWS, &(id, part)).await?.ok_or_else(|| missing(id))?;
        let range = from..chunk.rows.len().min(from + limit);
        let rows = &chunk.rows[range.clone()];
        let users: Vec<RobloxId> = rows.iter().map(|row| row.user).collect();
        let players = self.store.get_many(&PLAYERS, &users).await?;
        let results = self.results(rows, &players);
        let (audit_ids, now) = (users.iter().map(|_| self.ids.next()).collect(), self.clock.now());
        Ok(Portion { id, run, range, users, results, chunk, audit_ids, now })
    }

    fn results(&self, rows: &[Row], players: &[Option<Player>]) -> Vec<RowResult> {
        outcomes(rows.iter().map(|row| row.change), players, self.policy.current().points().bounds)
    }

    /// Commits a portion; false when it was overtaken: the run or a player is no longer as it was planned for.
    async fn carry_out(&self, portion: &Portion) -> Result<bool> {
        let jobs = portion.run.queue.as_ref().map(|queue| portion.jobs(queue)).unwrap_or_default();
        let prepared = self.jobs.prepare(jobs)?;
        let shared = &prepared;
        let done = self
            .store
            .transact(|tx| async move {
                let run = tx.get(&ADJUSTMENTS, &portion.id).await?;
                let players = tx.get_many(&PLAYERS, &portion.users).await?;
                let held = run.filter(|run| run.is_open() && run.next == portion.run.next);
                let (Some(run), true) = (held, portion.fits(&players)) else { return Ok(false) };
                for (number, player) in players.iter().enumerate() {
                    portion.adjust(&tx, number, player.as_ref());
                }
                self.jobs.add(&tx, shared).await?;
                portion.note(&tx, run).await?;
                Ok(true)
            })
            .await;
        prepared.settle(&done);
        // Cancelled meanwhile: there is nothing to plan anew.
        match done {
            Ok(false) if !self.find(portion.id).await?.is_open() => Ok(true),
            done => done,
        }
    }

    /// Forgets some of the runs that ended long ago, or are too many; says whether there may be more.
    pub(super) async fn forget(&self, kept: Duration) -> Result<bool> {
        let oldest = Id::floor(self.clock.now() - kept);
        let page = self.store.scan(ADJUSTMENTS.all().newest_first(), MAX_PAGE).await?;
        let ended = page.items.into_iter().filter(|(_, run)| !run.is_open()).enumerate();
        let old = ended.filter(|(place, (id, _))| *place >= MAX_KEPT || *id < oldest).map(|(_, found)| found);
        let mut doomed: Vec<(Id, Run)> = old.collect();
        let more = doomed.len() > FORGOTTEN;
        let doomed = &doomed.split_off(doomed.len().saturating_sub(FORGOTTEN));
        if doomed.is_empty() {
            return Ok(false);
        }
        self.store
            .transact(|tx| async move {
                for (id, run) in doomed {
                    (0..run.parts()).for_each(|part| tx.delete(&ADJUSTMENT_ROWS, &(*id, part)));
                    tx.delete(&ADJUSTMENTS, id);
                    let Some(key) = &run.key else { continue };
                    if tx.get(&ADJUSTMENT_KEYS, key).await? == Some(*id) {
                        tx.delete(&ADJUSTMENT_KEYS, key);
                    }
                }
                Ok(())
            })
            .await?;
        Ok(more)
    }
}

/// Whether other runs may go on all the same: their players are others, and so may be their queue.
fn concerns_one_run(error: &Error) -> bool {
    error.code().starts_with("jobs.") || error.code() == "adjustments.contended"
}

impl Portion {
    /// Whether the players' points are as they were planned for.
    fn fits(&self, players: &[Option<Player>]) -> bool {
        players.iter().zip(&self.results).all(|(player, planned)| match planned {
            RowResult::Missing => player.is_none(),
            RowResult::Done { before, .. } | RowResult::OutOfBounds { before, .. } => {
                player.as_ref().is_some_and(|player| player.points == *before)
            }
        })
    }

    /// A job for every player who changes, so that game servers make the same change.
    fn jobs(&self, queue: &QueueName) -> Vec<NewJob> {
        let job = |(user, result): (&RobloxId, &RowResult)| match result {
            RowResult::Done { before, after } if before != after => {
                let payload = serde_json::json!({
                    "type": "points.adjust",
                    "userId": user,
                    "delta": after - before,
                    "adjustmentId": format!("{}:{user}", self.id),
                });
                Some(NewJob::new(queue.clone(), payload.to_string(), "adjustments"))
            }
            _ => None,
        };
        self.users.iter().zip(&self.results).filter_map(job).collect()
    }

    /// Writes down the results and how far the run is.
    async fn note(&self, tx: &Tx, mut run: Run) -> Result<()> {
        let mut chunk = self.chunk.clone();
        for (row, result) in chunk.rows[self.range.clone()].iter_mut().zip(&self.results) {
            row.result = Some(*result);
        }
        tx.put(&ADJUSTMENT_ROWS, &(self.id, run.next / PART as u32), &chunk);
        if run.advance(&self.results, self.now) {
            close(tx, self.id).await?;
        }
        tx.put(&ADJUSTMENTS, &self.id, &run);
        Ok(())
    }

    /// Gives a player the points that were planned, and says so in the audit trail.
    fn adjust(&self, tx: &Tx, number: usize, player: Option<&Player>) {
        let (Some(before), RowResult::Done { after: points, .. }) = (player, self.results[number]) else { return };
        if before.points == points {
            return;
        }
        let player = Player { points, updated_at: self.now, ..before.clone() };
        players::save(tx, Some(before), &player);
        let after = serde_json::json!({
            "points": points,
            "adjustment": self.id.to_string(),
            "reason": self.run.reason,
        });
        let (run, subject) = (&self.run, format!("player:{}", before.user_id));
        let entry = audit::Entry::new(self.now, &run.actor, &run.request_id, "points.adjusted", subject)
            .before(serde_json::json!({ "points": before.points }));
        audit::record(tx, self.audit_ids[number], &entry.after(after));
    }
}
