//! Decisions of a program that kept no index of them get their rows at the first start with one that does.

use super::tables::{DECISIONS, DECISIONS_INDEXED, keep};
use crate::base::{Kind, Result};
use crate::store::Store;

/// Decisions in one commit; each is up to three writes.
const PAGE: usize = 250;

/// Writes what is missing. Stopped midway it begins anew at the next start; what was written before stays as it is.
///
/// # Errors
/// Those of the store. A full disk is no reason not to start: the rows follow with the next one.
pub async fn lift(store: &Store) -> Result<()> {
    match write(store).await {
        Err(error) if error.kind() == Kind::Full => {
            tracing::warn!("older decisions cannot be listed yet: {}", error.detail());
            Ok(())
        }
        done => done,
    }
}

async fn write(store: &Store) -> Result<()> {
    if store.get(&DECISIONS_INDEXED, &()).await?.is_some() {
        return Ok(());
    }
    let (mut after, mut lifted) = (None, 0);
    loop {
        let page = store.scan(DECISIONS.all().after(after.as_ref()), PAGE).await?;
        let keys: Vec<_> = page.items.into_iter().map(|(key, _)| key).collect();
        let (keys, last) = (&keys, page.next.is_none());
        // A store without decisions has nothing to say, and starts without a write.
        if keys.is_empty() && lifted == 0 {
            return Ok(());
        }
        store
            .transact(|tx| async move {
                for (key, decision) in keys.iter().zip(tx.get_many(&DECISIONS, keys).await?) {
                    decision.iter().for_each(|decision| keep(&tx, *key, decision));
                }
                if last {
                    tx.put(&DECISIONS_INDEXED, &(), &1);
                }
                Ok(())
            })
            .await?;
        (after, lifted) = (page.next, lifted + keys.len());
        if last {
            tracing::debug!(decisions = lifted, "decisions are indexed");
            return Ok(());
        }
    }
}
