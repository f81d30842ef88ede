//! A thread that makes files durable while its owner does something else. One per copy of the journal, so that the copies sync side by side.

use std::fs::File;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::base::{Error, Result};

/// A file whose data is to be made durable and, when its name is new, the folder that names it.
pub struct Job {
    pub file: Arc<File>,
    pub folder: Option<Arc<File>>,
}

impl Job {
    fn run(&self) -> io::Result<()> {
        self.file.sync_data()?;
        self.folder.as_ref().map_or(Ok(()), |folder| folder.sync_all())
    }
}

/// Takes one job at a time: every [`Syncer::start`] is followed by one [`Syncer::wait`].
pub struct Syncer {
    /// None while dropping, which is what ends the thread.
    jobs: Option<SyncSender<Job>>,
    outcomes: Receiver<io::Result<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    /// # Errors
    /// `store.no_thread`.
    pub fn new() -> Result<Self> {
        let (jobs, todo) = sync_channel::<Job>(1);
        let (done, outcomes) = sync_channel(1);
        let work = move || {
            while let Ok(job) = todo.recv() {
                if done.send(job.run()).is_err() {
                    break;
                }
            }
        };
        let thread = thread::Builder::new().name("journal-sync".into()).spawn(work);
        let thread = thread.map_err(|e| Error::broken("store.no_thread", e))?;
        Ok(Self { jobs: Some(jobs), outcomes, thread: Some(thread) })
    }

    /// Hands the job over; takes microseconds.
    pub fn start(&self, job: Job) {
        // Should the thread be gone, `wait` says so.
        let _ = self.jobs.as_ref().map(|jobs| jobs.send(job));
    }

    /// How the job ended.
    pub fn wait(&self) -> io::Result<()> {
        self.outcomes.recv().unwrap_or_else(|_| Err(io::Error::other("the thread that syncs is gone")))
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
