//! Waiting for a decision to end, for callers who would rather have the outcome than `queued`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use crate::base::{Id, Result};
use crate::domains::players::Status;
use crate::domains::ranks::history::{DECIDED, DECISIONS, Decision};
use crate::domains::ranks::outcome::Outcome;
use crate::domains::ranks::service::Ranks;
use crate::store::Store;

/// Decisions that are waited for at the same time, at most; of more, nobody waits.
const MOST: usize = 10_000;

/// Where a decision stands, and why, when that is not `queued` any more.
pub type Settled = (Status, Option<String>);

/// The decisions somebody waits for, each with where it stands by now.
#[derive(Clone, Default)]
pub struct Waiting(Arc<Mutex<HashMap<Id, watch::Sender<Option<Settled>>>>>);

impl Waiting {
    /// Hears of every decision that is written from now on.
    pub fn follow(store: &Store) -> Self {
        let waiting = Self::default();
        let heard = waiting.clone();
        store.follow(&DECISIONS, move |rows| {
            let waited_for = heard.lock();
            for ((_, id), decision) in rows {
                if let (Some(told), Some(end)) = (waited_for.get(&id), decision.as_ref().and_then(settled)) {
                    told.send_replace(Some(end));
                }
            }
        });
        waiting
    }

    /// Begins to listen for `id`; none when too many do.
    fn listen(&self, id: Id) -> Option<Seat<'_>> {
        let mut waited_for = self.lock();
        if waited_for.len() >= MOST && !waited_for.contains_key(&id) {
            return None;
        }
        let heard = waited_for.entry(id).or_insert_with(|| watch::Sender::new(None)).subscribe();
        Some(Seat { waiting: self, id, heard: Some(heard) })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Id, watch::Sender<Option<Settled>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Listens for one decision; the last to leave takes the entry away.
struct Seat<'a> {
    waiting: &'a Waiting,
    id: Id,
    heard: Option<watch::Receiver<Option<Settled>>>,
}

impl Seat<'_> {
    async fn told(&mut self) -> Option<Settled> {
        let heard = self.heard.as_mut()?;
        heard.wait_for(Option::is_some).await.ok()?.clone()
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        let mut waited_for = self.waiting.lock();
        self.heard = None;
        if waited_for.get(&self.id).is_some_and(|told| told.receiver_count() == 0) {
            waited_for.remove(&self.id);
        }
    }
}

impl Ranks {
    /// Waits, as long as callers are to wait, for what becomes of a decision that is to take effect because of them.
    ///
    /// # Errors
    /// As [`Ranks::settled`].
    pub(in crate::domains::ranks) async fn hear(&self, outcome: &mut Outcome) -> Result<()> {
        let queued = outcome.apply && outcome.status == Some(Status::Queued);
        // While the breaker is open nothing is carried out.
        if !queued || self.inline.is_zero() || self.brakes.open().is_some() {
            return Ok(());
        }
        if let Some((status, why)) = self.settled(outcome.id, self.inline).await? {
            outcome.apply = status == Status::Applied;
            (outcome.status, outcome.blocked_reason) = (Some(status), why);
        }
        Ok(())
    }

    /// Waits until a queued decision has ended or was taken back, at most for `patience`. None when it is still queued then, or unknown.
    ///
    /// # Errors
    /// Those of reading the store.
    pub async fn settled(&self, id: Id, patience: Duration) -> Result<Option<Settled>> {
        // Listening begins before the look: what is committed after it is heard.
        let Some(mut seat) = self.waiting.listen(id) else { return Ok(None) };
        let Some(user) = self.store.get(&DECIDED, &id).await? else { return Ok(None) };
        let Some(decision) = self.store.get(&DECISIONS, &(user, id)).await? else { return Ok(None) };
        match settled(&decision) {
            Some(end) => Ok(Some(end)),
            None => Ok(tokio::time::timeout(self.clock.real(patience), seat.told()).await.ok().flatten()),
        }
    }
}

fn settled(decision: &Decision) -> Option<Settled> {
    (decision.status != Status::Queued).then(|| (decision.status, decision.why().map(str::to_owned)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_remembered_once_they_left() {
        let waiting = Waiting::default();
        let (one, two) = (waiting.listen(Id(1)).unwrap(), waiting.listen(Id(1)).unwrap());
        assert_eq!(waiting.lock().len(), 1);
        drop(one);
        assert_eq!(waiting.lock().len(), 1);
        drop(two);
        assert_eq!(waiting.lock().len(), 0);
        let seats: Vec<_> = (0..MOST as u64).map(|id| waiting.listen(Id(id)).unwrap()).collect();
        assert!(waiting.listen(Id(u64::MAX)).is_none() && waiting.listen(Id(5)).is_some());
        drop(seats);
    }
}
