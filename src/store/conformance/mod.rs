//! What the store promises, checked on every engine: in memory, in memory with forced conflicts, and on sled.

mod crash;
mod follow;
mod interrupted;
mod loss;
mod model;
mod pages;
mod races;
mod recovery;
mod transactions;

use tempfile::TempDir;

use super::{DataDir, Key, Memory, Record, Settings, Store, Table, Tx};
use crate::base::Result;
use crate::base::metrics::Metrics;

/// A counter per name.
static COUNTS: Table<String, u64> = Table::new("counts", *b"ct");

/// A store to check, and where it lives if it lives on disk.
struct Place {
    store: Store,
    _dir: Option<TempDir>,
}

impl Place {
    fn memory() -> Self {
        Self { store: Store::in_memory(), _dir: None }
    }

    fn conflicting() -> Self {
        Self::over(Memory::conflicting_every(3))
    }

    /// Without a record cache every read goes to the engine.
    fn uncached() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let settings = Settings { record_cache_bytes: 0, ..small() };
        Self { store: open(&dir, &settings), _dir: Some(dir) }
    }

    fn sled() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { store: open(&dir, &small()), _dir: Some(dir) }
    }

    fn over(engine: impl super::Engine) -> Self {
        Self { store: Store::new(engine, &Settings::default(), &Metrics::default()), _dir: None }
    }
}

fn small() -> Settings {
    Settings {
        page_cache_bytes: 8 << 20,
        record_cache_bytes: 1 << 20,
        reserve_bytes: 1 << 20,
        segment_bytes: 256 << 10,
        ..Settings::default()
    }
}

fn open(dir: &TempDir, settings: &Settings) -> Store {
    Store::open(&DataDir::open(dir.path()).unwrap(), settings, &Metrics::default()).unwrap()
}

/// One blind write.
async fn put<K: Key, V: Record>(store: &Store, table: &Table<K, V>, key: &K, value: &V) -> Result<()> {
    let write = |tx: Tx| async move {
        tx.put(table, key, value);
        Ok(())
    };
    store.transact(write).await
}

/// Makes each `async fn check(store: Store)` of a file a test per engine.
macro_rules! on_every_engine {
    ($($check:ident),+ $(,)?) => {
        on_every_engine!(@on memory: $($check),+);
        on_every_engine!(@on conflicting: $($check),+);
        on_every_engine!(@on uncached: $($check),+);
        on_every_engine!(@on sled: $($check),+);
    };
    (@on $engine:ident: $($check:ident),+) => {
        mod $engine {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $check() {
                    let place = crate::store::conformance::Place::$engine();
                    super::$check(place.store.clone()).await;
                    place.store.close().await.unwrap();
                }
            )+
        }
    };
}
use on_every_engine;
