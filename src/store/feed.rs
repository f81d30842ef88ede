//! What hears of every commit: the record cache and the followers of tables. It is fed in commit order, after a commit is durable and before
//! it is acknowledged, so an in-memory index fed from here is never behind an answer.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;

use super::cache::Cache;
use super::engine::{Row, panic_message};
use super::key::Key;
use super::record::Record;
use super::table::{PREFIX, Table, decode_key};
use crate::base::{Error, Result};

type Follower = Box<dyn Fn(&[u8], Option<Bytes>) -> Result<()> + Send + Sync>;

pub(super) struct Feed {
    pub cache: Cache,
    followers: RwLock<HashMap<[u8; PREFIX], Vec<Follower>>>,
    failures: Counter,
}

impl Feed {
    pub fn new(cache: Cache, failures: Counter) -> Self {
        Self { cache, followers: RwLock::default(), failures }
    }

    pub fn follow<K: Key, V: Record>(
        &self,
        table: &'static Table<K, V>,
        each: impl Fn(K, Option<V>) + Send + Sync + 'static,
    ) {
        let follower = move |key: &[u8], value: Option<Bytes>| {
            each(decode_key(key)?, table.value(value)?);
            Ok(())
        };
        let mut followers = self.followers.write().unwrap_or_else(PoisonError::into_inner);
        followers.entry(table.prefix()).or_default().push(Box::new(follower));
    }

    /// Passes on one committed batch.
    pub fn publish(&self, rows: &[Row]) {
        let followers = self.followers.read().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            self.cache.commit(row);
            let interested = row.key.first_chunk().and_then(|prefix| followers.get(prefix));
            interested.into_iter().flatten().for_each(|follower| self.tell(follower, row));
        }
    }

    /// A follower that fails misses this row and hears of the next.
    fn tell(&self, follower: &Follower, row: &Row) {
        let told = catch_unwind(AssertUnwindSafe(|| follower(&row.key, row.value.clone())))
            .unwrap_or_else(|panic| Err(Error::broken("store.follower_panicked", panic_message(panic.as_ref()))));
        if let Err(error) = told {
            self.failures.inc();
            tracing::error!(?error, key = %row.key.escape_ascii(), "an in-memory index missed a committed row; restart to rebuild it");
        }
    }
}
