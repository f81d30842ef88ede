//! Writing and removing sample data, in commits of bounded size.

use std::sync::Arc;

use serde::Deserialize;

use super::demo::{self, DEMO_BASE, MAX_DEMO_PLAYERS};
use crate::base::{Clock, Error, Ids, Result, RobloxId};
use crate::domains::audit;
use crate::domains::auth::Sender;
use crate::domains::players::{self, Observation, PLAYERS, Player, SNAPSHOTS};
use crate::domains::policy::PolicyStore;
use crate::domains::ranks::{DECISIONS, forget};
use crate::domains::standings::{self, BoardId};
use crate::store::{Store, Tx};

/// The bootstrap player, as the seed has it.
const BOOTSTRAP: &str = include_str!("../../../data/samples/bootstrap.json");

/// Players written or removed in one commit.
const PER_COMMIT: u64 = 100;

/// Snapshots and as many decisions removed in one commit.
const ROWS_PER_COMMIT: usize = 400;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct SamplePlayer {
    user_id: u64,
    username: String,
    rank: String,
    points: i64,
    kos: i64,
    wos: i64,
}

pub struct Samples {
    pub store: Store,
    pub policy: Arc<PolicyStore>,
    pub clock: Clock,
    pub ids: Ids,
}

impl Samples {
    /// Adds the bootstrap players that are not there yet; returns how many it added. A second run adds none (requirement G24).
    ///
    /// # Errors
    /// Those of the store.
    pub async fn bootstrap(&self, sender: &Sender) -> Result<usize> {
        let samples: Vec<SamplePlayer> =
            serde_json::from_str(BOOTSTRAP).map_err(|error| Error::broken("samples.unreadable", error))?;
        let mut added = 0;
        for sample in samples {
            let player = Player::first_seen(&sample.observation()?, self.clock.now());
            let subject = format!("player:{}", player.user_id);
            let entry = sender.entry(self.clock.now(), "player.bootstrapped", subject);
            let (player, entry, id) = (&player, &entry, self.ids.next());
            let new = self
                .store
                .transact(|tx| async move {
                    if tx.get(&PLAYERS, &player.user_id).await?.is_some() {
                        return Ok(false);
                    }
                    players::save(&tx, None, player);
                    audit::record(&tx, id, entry);
                    Ok(true)
                })
                .await?;
            added += usize::from(new);
        }
        Ok(added)
    }

    /// Writes invented players number `from` up to `from + count`, replacing those that exist.
    ///
    /// # Errors
    /// `samples.too_many` past [`MAX_DEMO_PLAYERS`].
    pub async fn demo(&self, from: u64, count: u64, sender: &Sender) -> Result<()> {
        let end = from.saturating_add(count);
        if end > MAX_DEMO_PLAYERS {
            return Err(Error::invalid(
                "samples.too_many",
                format!("an invented group has at most {MAX_DEMO_PLAYERS} players"),
            ));
        }
        let policy = self.policy.current();
        let now = self.clock.now();
        for start in (from..end).step_by(PER_COMMIT as usize) {
            let batch: Vec<Player> = (start..end.min(start + PER_COMMIT))
                .map(|index| demo::invent(index, &policy, now))
                .collect::<Result<_>>()?;
            let subject = format!("demo:{start}-{}", start + batch.len() as u64);
            let entry = sender.entry(self.clock.now(), "demo.loaded", subject);
            let (batch, entry, id) = (&batch, &entry, self.ids.next());
            self.store
                .transact(|tx| async move {
                    audit::record(&tx, id, entry);
                    write(&tx, batch).await
                })
                .await?;
        }
        Ok(())
    }

    /// Removes invented players with all their rows, at most `limit` of them; returns how many went.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn remove_demo(&self, limit: usize, sender: &Sender) -> Result<usize> {
        let first = RobloxId::new(DEMO_BASE)?;
        let last = RobloxId::new(DEMO_BASE + MAX_DEMO_PLAYERS)?;
        let (mut doomed, mut after) = (Vec::new(), None);
        loop {
            let page = self.store.scan(PLAYERS.between(&first, &last).after(after.as_ref()), limit).await?;
            let invented = page.items.into_iter().map(|(_, player)| player).filter(|player| player.demo);
            doomed.extend(invented.take(limit - doomed.len()));
            after = page.next;
            if doomed.len() == limit || after.is_none() {
                break;
            }
        }
        for player in &doomed {
            self.remove(player).await?;
        }
        self.note(sender.entry(self.clock.now(), "demo.removed", format!("demo:{}", doomed.len()))).await?;
        Ok(doomed.len())
    }

    /// Their history goes a slice a commit, they themselves with the last one.
    async fn remove(&self, player: &Player) -> Result<()> {
        let id = player.user_id;
        loop {
            let snapshots = self.store.scan(SNAPSHOTS.under(&id), ROWS_PER_COMMIT).await?.items;
            let decisions = self.store.scan(DECISIONS.under(&id), ROWS_PER_COMMIT).await?.items;
            let more = snapshots.len().max(decisions.len()) == ROWS_PER_COMMIT;
            let keys: Vec<_> = decisions.into_iter().map(|(key, _)| key).collect();
            let (snapshots, keys) = (&snapshots, &keys);
            self.store
                .transact(|tx| async move {
                    snapshots.iter().for_each(|(key, _)| tx.delete(&SNAPSHOTS, key));
                    for (key, decision) in keys.iter().zip(tx.get_many(&DECISIONS, keys).await?) {
                        decision.iter().for_each(|decision| forget(&tx, *key, decision));
                    }
                    let Some(stored) = tx.get(&PLAYERS, &id).await?.filter(|_| !more) else { return Ok(()) };
                    standings::place(&tx, BoardId::PLAYERS, Some(&stored.place()), None);
                    tx.delete(&PLAYERS, &id);
                    Ok(())
                })
                .await?;
            if !more {
                return Ok(());
            }
        }
    }

    async fn note(&self, entry: audit::Entry) -> Result<()> {
        let (entry, id) = (&entry, self.ids.next());
        self.store
            .transact(|tx| async move {
                audit::record(&tx, id, entry);
                Ok(())
            })
            .await
    }
}

async fn write(tx: &Tx, batch: &[Player]) -> Result<()> {
    let keys: Vec<RobloxId> = batch.iter().map(|player| player.user_id).collect();
    let stored = tx.get_many(&PLAYERS, &keys).await?;
    for (before, player) in stored.iter().zip(batch) {
        players::save(tx, before.as_ref(), player);
    }
    Ok(())
}

impl SamplePlayer {
    fn observation(self) -> Result<Observation> {
        Ok(Observation {
            rank: Some(Some(self.rank)),
            points: Some(self.points),
            kos: Some(self.kos),
            wos: Some(self.wos),
            ..Observation::of(RobloxId::new(self.user_id)?, self.username)
        })
    }
}
