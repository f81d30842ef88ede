//! The default engine: sled on the local disk, behind a group committer. Reads run on the blocking pool, writes on one thread of their own.

pub mod census;
mod committer;
mod files;
pub mod journal;
mod keyspace;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};

use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

use self::committer::{Committer, Message, Meters, Pending, Shared};
use self::files::Files;
use self::keyspace::Keyspace;
use super::{Batch, Engine, Health, Outcome, Publish, Span, closed};
use crate::base::metrics::Metrics;
use crate::base::{Error, Result};
use crate::store::DataDir;

/// Batches that may wait for the committer; further submitters wait for a place.
const QUEUE: usize = 1024;

/// The database's folder inside the data directory.
const FOLDER: &str = "store";

/// One sled in a locked data directory.
pub struct Sled {
    shared: Arc<Shared>,
    /// None while dropping, which is what ends the committer.
    queue: Option<mpsc::Sender<Message>>,
    committer: Mutex<Option<JoinHandle<()>>>,
    /// Keeps other processes out for as long as the engine lives.
    _dir: DataDir,
}

impl Sled {
    /// Opens or creates the database in `dir`; `page_cache_bytes` bounds sled's own cache (its real use is several times that).
    /// Blocks while sled replays its log.
    ///
    /// # Errors
    /// `store.open_failed`, `store.disk_full`, `store.disk_failed`.
    pub fn open(dir: &DataDir, page_cache_bytes: u64, metrics: &Metrics) -> Result<Self> {
        let files = Files::open(&dir.path().join(FOLDER), page_cache_bytes)?;
        let shared = Arc::new(Shared {
            keyspace: Keyspace::new(files),
            publish: OnceLock::new(),
            fault: OnceLock::new(),
            closed: AtomicBool::new(false),
        });
        let (queue, messages) = mpsc::channel(QUEUE);
        let committer = Committer::new(shared.clone(), messages, Meters::new(metrics));
        let thread = thread::Builder::new()
            .name("committer".into())
            .spawn(move || committer.run())
            .map_err(|e| Error::broken("store.no_thread", e))?;
        Ok(Self { shared, queue: Some(queue), committer: Mutex::new(Some(thread)), _dir: dir.clone() })
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
        let read = spawn_blocking(move || work(&shared.keyspace)).await;
        read.unwrap_or_else(|e| Err(Error::broken("store.read_failed", e)))
    }

    fn take_thread(&self) -> Option<JoinHandle<()>> {
        self.committer.lock().unwrap_or_else(PoisonError::into_inner).take()
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
            let synced = self.ask(Message::Close).await;
            if let Some(thread) = self.take_thread() {
                let _ = spawn_blocking(|| thread.join()).await;
            }
            synced
        }
        .boxed()
    }

    fn health(&self) -> Health {
        match self.shared.fault.get() {
            Some(fault) => Health::Failed(fault.clone()),
            None if self.shared.closed.load(Ordering::SeqCst) => Health::Closed,
            None => Health::Ready,
        }
    }

    fn disk_bytes(&self) -> u64 {
        self.shared.keyspace.files.db.size_on_disk().unwrap_or(0)
    }
}

/// Without [`Engine::close`] the committer still finishes what it was given; waiting for it releases the files in good order.
impl Drop for Sled {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.take_thread().filter(|thread| thread.thread().id() != thread::current().id()) {
            let _ = thread.join();
        }
    }
}
