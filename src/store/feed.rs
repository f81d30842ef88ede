//! What hears of every commit: the record cache and the followers of tables. It is fed in commit order, after a commit is durable and before
//! it is acknowledged, so an in-memory index fed from here is never behind an answer. A follower gets all rows a commit wrote to its table at
//! once, so it can show the commit as a whole.

use std::sync::{PoisonError, RwLock};

use prometheus_client::metrics::counter::Counter;

use super::cache::{Cache, Soon};
use super::engine::Row;
use super::key::Key;
use super::record::Record;
use super::table::{PREFIX, Table, decode_key};
use crate::base::{Error, panics};

type Follower = Box<dyn Fn(&[&Row]) + Send + Sync>;

pub(super) struct Feed {
    pub cache: Cache,
    /// A handful: one or two tables are mirrored.
    followers: RwLock<Vec<([u8; PREFIX], Follower)>>,
    /// Tables whose new rows are read soon.
    warm: RwLock<Vec<[u8; PREFIX]>>,
    failures: Counter,
}

impl Feed {
    pub fn new(cache: Cache, failures: Counter) -> Self {
        Self { cache, followers: RwLock::default(), warm: RwLock::default(), failures }
    }

    pub fn follow<K: Key, V: Record>(
        &self,
        table: &'static Table<K, V>,
        each: impl Fn(Vec<(K, Option<V>)>) + Send + Sync + 'static,
    ) {
        let failures = self.failures.clone();
        let follower = move |rows: &[&Row]| {
            let decode = |row: &&Row| {
                let decoded = decode_key(&row.key).and_then(|key| Ok((key, table.value(row.value.clone())?)));
                decoded.inspect_err(|error| missed(&failures, error, row)).ok()
            };
            each(rows.iter().filter_map(decode).collect());
        };
        let mut followers = self.followers.write().unwrap_or_else(PoisonError::into_inner);
        followers.push((table.prefix(), Box::new(follower)));
    }

    /// From now on the cache takes up what is written under `prefix`.
    pub fn warm(&self, prefix: [u8; PREFIX]) {
        self.warm.write().unwrap_or_else(PoisonError::into_inner).push(prefix);
    }

    /// Passes on one committed batch.
    pub fn publish(&self, rows: &[Row]) {
        let warm = self.warm.read().unwrap_or_else(PoisonError::into_inner);
        for row in rows {
            let soon = warm.iter().any(|prefix| row.key.starts_with(prefix));
            self.cache.commit(row, if soon { Soon::Read } else { Soon::Unknown });
        }
        let followers = self.followers.read().unwrap_or_else(PoisonError::into_inner);
        for (prefix, follower) in followers.iter() {
            let theirs: Vec<&Row> = rows.iter().filter(|row| row.key.starts_with(prefix)).collect();
            if !theirs.is_empty() {
                self.tell(follower, &theirs);
            }
        }
    }

    /// A follower that panics misses this commit and hears of the next.
    fn tell(&self, follower: &Follower, rows: &[&Row]) {
        if let Err(panic) = panics::contained(|| follower(rows)) {
            let error = Error::broken("store.follower_panicked", panic);
            rows.iter().for_each(|row| missed(&self.failures, &error, row));
        }
    }
}

fn missed(failures: &Counter, error: &Error, row: &Row) {
    failures.inc();
    tracing::error!(?error, key = %row.key.escape_ascii(), "an in-memory index missed a committed row; restart to rebuild it");
}
