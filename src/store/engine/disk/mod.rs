//! The default engine: sled on the local disk with a journal in front of it. Reads run on the blocking pool, writes on one thread of their
//! own; see `ARCHITECTURE.md` for the commit path and for what happens after a crash.
//!
//! Everything acknowledged is there twice: in sled and in checkpoint + journal; what sled has not synced yet, in two copies of the journal.

pub mod checkpoint;
mod committer;
#[doc(hidden)]
pub mod decoders;
pub mod journal;
mod keeping;
mod opening;
mod rows;
mod settler;
mod shared;
mod space;

use std::sync::atomic::Ordering;
use std::sync::mpsc as std_mpsc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use self::committer::{Committer, Message, Meters, Pending};
use self::opening::place::bytes_under;
use self::rows::keyspace::Keyspace;
use self::shared::Shared;
use self::space::Space;
use self::upkeep::Upkeep;
use super::{Batch, Change, Engine, Health, Outcome, Publish, Span, closed};
use crate::base::metrics::Metrics;
use crate::base::{Error, Result, panics};
use crate::store::DataDir;

use self::keeping::capture;
pub use self::keeping::{offline, upkeep};
pub use self::opening::recovery::{self, Surroundings};
use self::opening::{marker, migrate, place, rebuild};
pub use self::rows::{census, envelope};
use self::rows::{database, files, keyspace};

/// The layout of the store's files. 1 was sled alone, with bare values.
pub const FORMAT: u16 = 2;

/// Batches that may wait for the committer; further submitters wait for a place.
const QUEUE: usize = 1024;

/// One sled with its journal in a locked data directory.
pub struct Sled {
    shared: Arc<Shared>,
    surroundings: Arc<Surroundings>,
    /// None while dropping, which is what ends the committer.
    queue: Option<mpsc::Sender<Message>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    /// Dropped to end the settler.
    stop: Mutex<Option<std_mpsc::Sender<()>>>,
    upkeep: Upkeep,
}

impl Sled {
    /// Opens, creates or repairs the store in `dir`. Blocks: every row is read once.
    ///
    /// # Errors
    /// Those of [`Surroundings::open`].
    pub fn open(dir: &DataDir, surroundings: Surroundings, metrics: &Metrics) -> Result<Self> {
        let opened = surroundings.open()?;
        let space = Space::new(surroundings.place.root().to_owned(), surroundings.settings.reserve_bytes);
        let (shared, journal, ledger) = Shared::new(opened, surroundings.covered(), space);
        let shared = Arc::new(shared);
        let surroundings = Arc::new(surroundings);
        let (queue, messages) = mpsc::channel(QUEUE);
        let committer =
            Committer::new(shared.clone(), surroundings.clone(), (journal, ledger), messages, Meters::new(metrics));
        let (stop, stopped) = std_mpsc::channel();
        let (settled, weak, keep) = (shared.clone(), queue.downgrade(), surroundings.settings.journal_keep_bytes);
        let threads = vec![
            spawn("committer", move || committer.run())?,
            spawn("settler", move || settler::run(&settled, &weak, keep, &stopped))?,
        ];
        let upkeep = Upkeep::new(shared.clone(), surroundings.clone(), queue.downgrade(), dir.clone());
        Ok(Self {
            shared,
            surroundings,
            queue: Some(queue),
            threads: Mutex::new(threads),
            stop: Mutex::new(Some(stop)),
            upkeep,
        })
    }

    /// What only a store on disk needs.
    pub fn upkeep(&self) -> Upkeep {
        self.upkeep.clone()
    }

    /// Sends a message that will be answered.
    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<Result<T>>) -> Message) -> Result<T> {
        let (done, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        queue.send(message(done)).await.map_err(|_| closed())?;
        answer.await.unwrap_or_else(|_| Err(Error::broken("store.committer_gone", "the committer dropped a commit")))
    }

    async fn read<T: Send + 'static>(&self, work: impl FnOnce(&Keyspace) -> Result<T> + Send + 'static) -> Result<T> {
        let shared = self.shared.clone();
        let read = spawn_blocking(move || shared.answer(work(&shared.keyspace))).await;
        read.unwrap_or_else(|e| Err(Error::broken("store.read_failed", e)))
    }

    fn end(&self) -> Vec<JoinHandle<()>> {
        drop(self.stop.lock().unwrap_or_else(PoisonError::into_inner).take());
        std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Engine for Sled {
    fn attach(&self, publish: Publish) {
        let _ = self.shared.publish.set(publish);
    }

    fn get_many(&self, keys: Vec<Bytes>) -> BoxFuture<'_, Result<Vec<Option<Bytes>>>> {
        self.read(move |keyspace| keys.iter().map(|key| keyspace.get(key)).collect()).boxed()
    }

    fn scan(&self, span: Span, limit: usize) -> BoxFuture<'_, Result<Vec<(Bytes, Bytes)>>> {
        self.read(move |keyspace| keyspace.page(&span, limit)).boxed()
    }

    fn commit(&self, batch: Batch) -> BoxFuture<'_, Result<Outcome>> {
        // The committer may be busy with opening the store again; nobody has to wait for that to be refused.
        if let Some(fault) = self.shared.fault() {
            return ready(Err(fault)).boxed();
        }
        self.ask(|done| Message::Commit(Pending { batch, done })).boxed()
    }

    fn sync(&self) -> BoxFuture<'_, Result<()>> {
        self.ask(Message::Sync).boxed()
    }

    fn close(&self) -> BoxFuture<'_, Result<()>> {
        async {
            if self.shared.closed.load(Ordering::SeqCst) {
                return Ok(());
            }
            let closed = self.ask(Message::Close).await;
            let threads = self.end();
            let _ = spawn_blocking(|| threads.into_iter().for_each(|thread| drop(thread.join()))).await;
            closed
        }
        .boxed()
    }

    fn changes(&self, after: u64, limit: usize) -> BoxFuture<'_, Result<Vec<Change>>> {
        let upkeep = self.upkeep.clone();
        let read = spawn_blocking(move || upkeep.changes(after, limit));
        async { read.await.unwrap_or_else(|e| Err(Error::broken("store.read_failed", e))) }.boxed()
    }

    fn seq(&self) -> u64 {
        self.shared.seq()
    }

    fn health(&self) -> Health {
        self.shared.health()
    }

    fn disk_bytes(&self) -> u64 {
        bytes_under(self.surroundings.place.root())
    }
}

/// Without [`Engine::close`] the committer still finishes what it was given; waiting for it releases the files in good order.
impl Drop for Sled {
    fn drop(&mut self) {
        self.queue = None;
        let me = thread::current().id();
        for thread in self.end().into_iter().filter(|thread| thread.thread().id() != me) {
            let _ = thread.join();
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new().name(name.into()).spawn(work).map_err(|e| Error::broken("store.no_thread", e))
}

/// sled and followers may panic; the threads that everyone waits for may not.
fn guarded<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    panics::contained(work).unwrap_or_else(|panic| Err(Error::broken("store.panicked", panic)))
}
