//! What one step of a run writes: findings and progress, in one commit.

use serde_json::json;

use super::check::{Finding, Ground, Live, check};
use super::service::{Drift, end, told};
use super::tables::{DRIFT_ACTIVE, DRIFT_RUNS, DRIFT_SEEN, DRIFTS, Difference, Run, RunStatus, Seen};
use crate::base::{Id, Result, RobloxId, Time};
use crate::domains::audit::{self, Actor};
use crate::domains::players::{self, PLAYERS, Player};
use crate::store::Tx;

/// Somebody and the roles they hold; none for who is not in the group.
#[derive(Debug, Clone)]
pub struct Met {
    pub user: RobloxId,
    pub roles: Option<Vec<u64>>,
}

/// One step of a run: who was met, and where the walk goes on.
pub struct Step<'a> {
    pub id: Id,
    /// The run as it was when the step began: another one means that somebody else was faster.
    pub was: &'a Run,
    /// The run as it goes on; its counts of what is found are added by the commit.
    pub next: Run,
    pub met: Vec<Met>,
    /// Players to remember as members, for the page that was read.
    pub seen: Option<(u32, Seen)>,
    pub done: bool,
}

impl Drift {
    /// Commits a step, unless the run is not where the step began.
    pub(super) async fn step(&self, step: &Step<'_>, ground: &Ground<'_>) -> Result<()> {
        let now = self.clock.now();
        let keys: Vec<RobloxId> = step.met.iter().map(|met| met.user).collect();
        // Most are as they should be: only the others are looked at again within the commit, so that snapshots that come in meanwhile
        // do not get in its way.
        let (players, rows) = (self.store.get_many(&PLAYERS, &keys).await?, self.store.get_many(&DRIFTS, &keys).await?);
        let known = step.met.iter().zip(players).zip(rows);
        let known: Vec<(&Met, Player, bool)> =
            known.filter_map(|((met, player), row)| Some((met, player?, row.is_some()))).collect();
        let view = View { ground, now };
        let odd: Vec<(&Met, Id)> = known
            .iter()
            .filter(|(met, player, row)| match view.of(player, met) {
                Finding::Same => *row,
                Finding::Unclear => false,
                Finding::Adopt(_) | Finding::Differs { .. } => true,
            })
            .map(|(met, ..)| (*met, self.ids.next()))
            .collect();
        let (odd, view, compared) = (&odd, &view, known.len() as u64);
        self.store
            .transact(|tx| async move {
                if tx.get(&DRIFT_ACTIVE, &()).await? != Some(step.id)
                    || tx.get(&DRIFT_RUNS, &step.id).await?.as_ref() != Some(step.was)
                {
                    return Ok(());
                }
                let mut run = step.next.clone();
                run.counts.compared += compared;
                run.updated_at = now;
                for (met, audit) in odd {
                    view.write(&tx, met, (step.id, *audit), &mut run).await?;
                }
                if let Some((page, users)) = &step.seen {
                    tx.put(&DRIFT_SEEN, &(step.id, *page), users);
                }
                match step.done {
                    true => end(&tx, step.id, &mut run, (RunStatus::Done, None), now),
                    false => tx.put(&DRIFT_RUNS, &step.id, &run),
                }
                Ok(())
            })
            .await
    }

    /// Ends a run that cannot go on.
    pub(super) async fn give_up(&self, id: Id, why: &str) -> Result<()> {
        let now = self.clock.now();
        self.store
            .transact(|tx| async move {
                if tx.get(&DRIFT_ACTIVE, &()).await? != Some(id) {
                    return Ok(());
                }
                match tx.get(&DRIFT_RUNS, &id).await? {
                    Some(mut run) => end(&tx, id, &mut run, (RunStatus::Failed, Some(why.to_owned())), now),
                    None => tx.delete(&DRIFT_ACTIVE, &()),
                }
                Ok(())
            })
            .await
    }
}

struct View<'a> {
    ground: &'a Ground<'a>,
    now: Time,
}

impl View<'_> {
    fn of(&self, player: &Player, met: &Met) -> Finding {
        let live = met.roles.as_deref().map_or(Live::Gone, Live::Member);
        check(player, live, self.ground, self.now)
    }

    async fn write(&self, tx: &Tx, met: &Met, (run_id, audit): (Id, Id), run: &mut Run) -> Result<()> {
        let user = met.user;
        let Some(player) = tx.get(&PLAYERS, &user).await? else { return Ok(()) };
        let row = tx.get(&DRIFTS, &user).await?;
        let (actor, request) = (Actor::of("drift"), run_id.to_string());
        let entry = |action| audit::Entry::new(self.now, &actor, &request, action, format!("player:{user}"));
        let finding = match self.of(&player, met) {
            Finding::Adopt(live) if !run.counts.may_adopt() => {
                run.counts.withheld += 1;
                Finding::Differs { live, reported: None, left: false }
            }
            finding => finding,
        };
        match finding {
            Finding::Unclear => {}
            Finding::Same => {
                if let Some(row) = row {
                    run.counts.cleared += 1;
                    tx.delete(&DRIFTS, &user);
                    audit::record(tx, audit, &entry("drift.cleared").before(told(&row)));
                }
            }
            Finding::Adopt(rank) => {
                run.counts.adopted += 1;
                tx.delete(&DRIFTS, &user);
                let (before, after) = (json!({ "rank": player.rank }), json!({ "rank": rank }));
                audit::record(tx, audit, &entry("player.rank_reported").before(before).after(after));
                let rank_since = rank.is_some().then_some(self.now);
                let adopted = Player { rank, rank_since, updated_at: self.now, ..player.clone() };
                players::save(tx, Some(&player), &adopted);
            }
            Finding::Differs { live, reported, left } => {
                run.counts.drifted += 1;
                run.counts.left += u64::from(left);
                let ours = player.rank.clone();
                let found = Difference { ours, live, reported, left, found_at: self.now, run: run_id };
                // One that a decision has made stale is found anew, or nobody could settle it.
                if row.as_ref().is_none_or(|row| !row.says(&found) || !row.holds(&player)) {
                    tx.put(&DRIFTS, &user, &found);
                    let before = row.map(|row| told(&row).to_string());
                    let entry = entry("drift.found").after(told(&found));
                    audit::record(tx, audit, &audit::Entry { before, ..entry });
                }
            }
        }
        Ok(())
    }
}
