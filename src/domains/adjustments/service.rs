//! What callers ask of adjustments: start, foresee, look, cancel, undo.

use std::sync::Arc;

use tokio::sync::Notify;
use twox_hash::XxHash3_64;

use super::model::{Change, Chunk, PART, Row, RowResult, Run, Status};
use super::tables::{ADJUSTMENT_KEYS, ADJUSTMENT_ROWS, ADJUSTMENTS, ADJUSTMENTS_OPEN};
use crate::base::{Clock, Cursor, Error, Id, Ids, Page, Result, RobloxId, Time};
use crate::domains::audit;
use crate::domains::auth::Sender;
use crate::domains::jobs::{Jobs, QueueName};
use crate::domains::players::{PLAYERS, Player};
use crate::domains::policy::{Bounds, PolicyStore};
use crate::store::{MAX_PAGE, Store, Tx};

/// Players in one run at most.
pub const MAX_ROWS: usize = 10_000;

/// Runs that may wait for the worker; more are refused.
pub const MAX_OPEN: usize = 16;

/// Ended runs that are kept, newest first, as long as audit rows are.
pub const MAX_KEPT: usize = 500;

/// Starts runs and tells of them; the worker carries them out.
#[derive(Clone)]
pub struct Adjustments {
    pub(super) store: Store,
    pub(super) clock: Clock,
    pub(super) ids: Ids,
    pub(super) policy: Arc<PolicyStore>,
    pub(super) jobs: Jobs,
    /// Rings when there is a run to carry out.
    pub(super) bell: Arc<Notify>,
}

/// A run to be started.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub reason: String,
    /// At most [`MAX_ROWS`], of different players.
    pub rows: Vec<(RobloxId, Change)>,
    /// With the same key, the same request is the same run.
    pub key: Option<String>,
    pub queue: Option<QueueName>,
}

impl Adjustments {
    pub fn new(store: Store, clock: Clock, ids: Ids, policy: Arc<PolicyStore>, jobs: Jobs) -> Self {
        Self { store, clock, ids, policy, jobs, bell: Arc::default() }
    }

    /// Writes a run down for the worker, or finds the one that its key stands for.
    ///
    /// # Errors
    /// `adjustments.key_reused`, `adjustments.too_many_open`; those of the store.
    pub async fn start(&self, wanted: &Wanted, asker: &Sender) -> Result<(Id, Run)> {
        let print = print(wanted);
        let rows: Vec<Row> = wanted.rows.iter().map(|(user, change)| Row::new(*user, *change)).collect();
        let (rows, fresh) = (&rows, self.fresh(asker));
        let fresh = &fresh;
        let started = self
            .store
            .transact(|tx| async move {
                if let Some(known) = known(&tx, wanted, print).await? {
                    return Ok(known);
                }
                let run = Run {
                    reason: wanted.reason.clone(),
                    key: wanted.key.clone(),
                    print,
                    queue: wanted.queue.clone(),
                    ..fresh.run()
                };
                if let Some(key) = &wanted.key {
                    tx.put(&ADJUSTMENT_KEYS, key, &fresh.id);
                }
                let run = fresh.write(&tx, run, rows).await?;
                Ok((fresh.id, run))
            })
            .await?;
        self.bell.notify_one();
        Ok(started)
    }

    /// Writes down a run that takes back what run `id` changed, or finds the one that does already. Of one that was cancelled, the new
    /// run takes over the rows it did not reach.
    ///
    /// # Errors
    /// `adjustments.missing`; `adjustments.open` while it is not ended; `adjustments.nothing_to_undo`; as [`Adjustments::start`].
    pub async fn undo(&self, id: Id, asker: &Sender) -> Result<(Id, Run)> {
        let fresh = &self.fresh(asker);
        let undone = self
            .store
            .transact(|tx| async move {
                let mut undone = tx.get(&ADJUSTMENTS, &id).await?.ok_or_else(|| missing(id))?;
                let earlier = match undone.undone_by {
                    Some(by) => Some((by, tx.get(&ADJUSTMENTS, &by).await?.ok_or_else(|| missing(by))?)),
                    None => None,
                };
                let rows: Vec<Row> = match earlier {
                    Some((by, run)) if run.status == Status::Cancelled => {
                        stored(&tx, by, &run).await?.into_iter().filter(|row| row.result.is_none()).collect()
                    }
                    Some(earlier) => return Ok(earlier),
                    None if undone.is_open() => {
                        return Err(Error::conflict("adjustments.open", format!("run {id} has not ended"))
                            .hint("wait until it is done, or cancel it; then undo what it changed"));
                    }
                    None => stored(&tx, id, &undone).await?.iter().filter_map(Row::inverse).collect(),
                };
                if rows.is_empty() {
                    return Err(Error::conflict("adjustments.nothing_to_undo", format!("run {id} changed nobody")));
                }
                let run = Run {
                    reason: format!("Undo of {id}"),
                    queue: undone.queue.clone(),
                    undoes: Some(id),
                    ..fresh.run()
                };
                undone.undone_by = Some(fresh.id);
                tx.put(&ADJUSTMENTS, &id, &undone);
                let run = fresh.write(&tx, run, &rows).await?;
                Ok((fresh.id, run))
            })
            .await?;
        self.bell.notify_one();
        Ok(undone)
    }

    /// Leaves the rows of a run that are not dealt with as they are. Cancelled twice is cancelled.
    ///
    /// # Errors
    /// `adjustments.missing`; `adjustments.done`; those of the store.
    pub async fn cancel(&self, id: Id, asker: &Sender) -> Result<Run> {
        let (now, audit_id) = (self.clock.now(), self.ids.next());
        self.store
            .transact(|tx| async move {
                let mut run = tx.get(&ADJUSTMENTS, &id).await?.ok_or_else(|| missing(id))?;
                match run.status {
                    Status::Cancelled => return Ok(run),
                    Status::Done => {
                        return Err(Error::conflict("adjustments.done", format!("run {id} is done"))
                            .hint("`grps points undo ID` takes back what it changed"));
                    }
                    Status::Open => {}
                }
                (run.status, run.ended_at) = (Status::Cancelled, Some(now));
                tx.put(&ADJUSTMENTS, &id, &run);
                close(&tx, id).await?;
                let after = serde_json::json!({ "rows": run.rows, "dealtWith": run.next });
                let entry = asker.entry(now, "adjustments.cancelled", format!("adjustments:{id}"));
                audit::record(&tx, audit_id, &entry.after(after));
                Ok(run)
            })
            .await
    }

    /// What these rows would do now.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn foresee(&self, rows: &[(RobloxId, Change)]) -> Result<Vec<RowResult>> {
        let bounds = self.policy.current().points().bounds;
        let mut out = Vec::with_capacity(rows.len());
        for page in rows.chunks(MAX_PAGE) {
            let users: Vec<RobloxId> = page.iter().map(|(user, _)| *user).collect();
            let players = self.store.get_many(&PLAYERS, &users).await?;
            out.extend(outcomes(page.iter().map(|(_, change)| *change), &players, bounds));
        }
        Ok(out)
    }

    /// # Errors
    /// `adjustments.missing`; those of the store.
    pub async fn find(&self, id: Id) -> Result<Run> {
        self.store.get(&ADJUSTMENTS, &id).await?.ok_or_else(|| missing(id))
    }

    /// A page of runs, newest first.
    ///
    /// # Errors
    /// `request.invalid` for a cursor of another list; those of the store.
    pub async fn list(&self, after: Option<&Cursor>, limit: usize) -> Result<Page<(Id, Run)>> {
        self.store.scan(ADJUSTMENTS.all().newest_first().after(after), limit).await
    }

    /// At most `limit` rows of a run from number `from` on that `keep` wants, and where to go on.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn rows(
        &self,
        id: Id,
        from: u32,
        limit: usize,
        keep: impl Fn(&Row) -> bool,
    ) -> Result<(Vec<Row>, Option<u32>)> {
        let (mut found, mut next) = (Vec::new(), from);
        while let Some(chunk) = self.store.get(&ADJUSTMENT_ROWS, &(id, next / PART as u32)).await? {
            let skip = next as usize % PART;
            if skip >= chunk.rows.len() {
                break;
            }
            for row in &chunk.rows[skip..] {
                if found.len() == limit {
                    return Ok((found, Some(next)));
                }
                next += 1;
                found.extend(keep(row).then_some(*row));
            }
        }
        Ok((found, None))
    }

    fn fresh(&self, asker: &Sender) -> Fresh {
        Fresh { id: self.ids.next(), audit_id: self.ids.next(), now: self.clock.now(), asker: asker.clone() }
    }
}

/// What a new run needs that is made before its transaction.
struct Fresh {
    id: Id,
    audit_id: Id,
    now: Time,
    asker: Sender,
}

impl Fresh {
    /// A run of nothing, for nobody.
    fn run(&self) -> Run {
        Run {
            at: self.now,
            reason: String::new(),
            actor: self.asker.actor.clone(),
            request_id: self.asker.request_id.clone(),
            key: None,
            print: 0,
            queue: None,
            status: Status::Open,
            rows: 0,
            next: 0,
            done: 0,
            refused: 0,
            ended_at: None,
            undoes: None,
            undone_by: None,
        }
    }

    /// Puts the run, its rows and its audit row into the commit of `tx`.
    async fn write(&self, tx: &Tx, run: Run, rows: &[Row]) -> Result<Run> {
        let mut open = tx.get(&ADJUSTMENTS_OPEN, &()).await?.unwrap_or_default();
        if open.ids.len() >= MAX_OPEN {
            let detail = format!("{MAX_OPEN} runs wait to be carried out already");
            return Err(Error::limited("adjustments.too_many_open", detail)
                .hint("wait until one is done, or put the players of several into one"));
        }
        open.ids.push(self.id);
        tx.put(&ADJUSTMENTS_OPEN, &(), &open);
        let run = Run { rows: rows.len() as u32, ..run };
        tx.put(&ADJUSTMENTS, &self.id, &run);
        for (part, rows) in rows.chunks(PART).enumerate() {
            tx.put(&ADJUSTMENT_ROWS, &(self.id, part as u32), &Chunk { rows: rows.to_vec() });
        }
        let undoes = run.undoes.map(|id| id.to_string());
        let after = serde_json::json!({ "rows": run.rows, "reason": run.reason, "undoes": undoes });
        let entry = self.asker.entry(self.now, "adjustments.started", format!("adjustments:{}", self.id));
        audit::record(tx, self.audit_id, &entry.after(after));
        Ok(run)
    }
}

/// All rows of a run.
async fn stored(tx: &Tx, id: Id, run: &Run) -> Result<Vec<Row>> {
    let keys: Vec<(Id, u32)> = (0..run.parts()).map(|part| (id, part)).collect();
    let chunks = tx.get_many(&ADJUSTMENT_ROWS, &keys).await?;
    Ok(chunks.into_iter().flatten().flat_map(|chunk| chunk.rows).collect())
}

/// The run that the key of `wanted` stands for.
async fn known(tx: &Tx, wanted: &Wanted, print: u64) -> Result<Option<(Id, Run)>> {
    let Some(key) = &wanted.key else { return Ok(None) };
    let Some(id) = tx.get(&ADJUSTMENT_KEYS, key).await? else { return Ok(None) };
    match tx.get(&ADJUSTMENTS, &id).await? {
        Some(run) if run.print == print => Ok(Some((id, run))),
        Some(_) => Err(Error::conflict("adjustments.key_reused", format!("this key stands for another run, {id}"))
            .hint("use a new key for a new run; send the same body again to repeat a request")),
        None => Ok(None),
    }
}

/// Takes a run that has ended out of the worker's list.
pub(super) async fn close(tx: &Tx, id: Id) -> Result<()> {
    let mut open = tx.get(&ADJUSTMENTS_OPEN, &()).await?.unwrap_or_default();
    open.ids.retain(|other| *other != id);
    tx.put(&ADJUSTMENTS_OPEN, &(), &open);
    Ok(())
}

/// What changes do to players, in their order.
pub(super) fn outcomes(
    changes: impl Iterator<Item = Change>,
    players: &[Option<Player>],
    bounds: Bounds,
) -> Vec<RowResult> {
    changes.zip(players).map(|(change, player)| change.apply(player.as_ref().map(|p| p.points), bounds)).collect()
}

fn print(wanted: &Wanted) -> u64 {
    let Wanted { reason, rows, key: _, queue } = wanted;
    // Plain data always has a text form.
    XxHash3_64::oneshot(&serde_json::to_vec(&(reason, rows, queue)).unwrap_or_default())
}

pub(super) fn missing(id: Id) -> Error {
    Error::missing("adjustments.missing", format!("there is no run {id}"))
        .hint("`grps points runs` or GET /automation/adjustments lists the runs that are kept")
}
