//! What happens behind the committer's back: sled is synced a few times a second, old journal goes, and after a fault the store is opened
//! again as soon as that may help.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use tokio::sync::mpsc;

use super::committer::Message;
use super::guarded;
use super::shared::{Fault, Shared};

/// How long sled may lag behind the journal. Only opening after a crash depends on it: that much is replayed.
const SETTLE_EVERY: Duration = Duration::from_millis(250);

/// Pauses between attempts to open a store that failed; they double.
const FIRST_ATTEMPT: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Runs until `stop` is closed.
pub fn run(shared: &Arc<Shared>, committer: &mpsc::WeakSender<Message>, keep: u64, stop: &Receiver<()>) {
    let mut pause = FIRST_ATTEMPT;
    let mut waited = Duration::ZERO;
    while let Err(RecvTimeoutError::Timeout) = stop.recv_timeout(SETTLE_EVERY) {
        if shared.fault().is_none() {
            (pause, waited) = (FIRST_ATTEMPT, Duration::ZERO);
            let settled = guarded(|| {
                settle(shared, committer, keep);
                Ok(())
            });
            // This thread has to live: it is the one that has the store opened again.
            settled.unwrap_or_else(|panic| shared.fail(Fault::new(panic)));
            continue;
        }
        waited += SETTLE_EVERY;
        if waited >= pause && shared.can_recover() {
            (pause, waited) = ((pause * 2).min(LONGEST_PAUSE), Duration::ZERO);
            send(committer, Message::Reopen);
        }
    }
}

fn settle(shared: &Shared, committer: &mpsc::WeakSender<Message>, keep: u64) {
    let before = shared.settled.load(Ordering::SeqCst);
    match shared.settle() {
        Ok(()) if shared.settled.load(Ordering::SeqCst) > before => send(committer, Message::Trim { keep }),
        Ok(()) => {}
        Err(error) if error.code() == "store.reopening" => {}
        Err(error) => shared.fail(Fault::new(error)),
    }
}

fn send(committer: &mpsc::WeakSender<Message>, message: Message) {
    if let Some(committer) = committer.upgrade() {
        // A full queue means that the committer is busy; there will be another time.
        let _ = committer.try_send(message);
    }
}
