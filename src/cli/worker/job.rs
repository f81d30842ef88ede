//! One job from its delivery to its answer.

use std::time::Duration;

use serde_json::json;

use super::exec::Ending;
use super::gateway::{Answer, Envelope, Failure};
use super::shop::{Shop, Stage, Tally, Way};
use crate::base::Error;
use crate::base::clock::Stopwatch;

/// The lease is extended after this part of it.
const EXTEND_AFTER: u32 = 3;

/// How long a worker that leaves tells the server about each job.
const FAREWELL: Duration = Duration::from_secs(3);

/// When a job that is given back can be had again, in whole seconds. Not at once: a poll that we have just broken off, and of whose end the
/// server has not heard yet, would take it for nobody.
const GIVEN_BACK_AFTER: Duration = Duration::from_secs(2);

/// Why work on a job was broken off.
enum Abort {
    /// Its lease has ended, so somebody else may have it.
    Lost(Error),
    /// The worker leaves.
    Leaving,
}

/// Works on a job and answers for it.
pub async fn handle(shop: &Shop, way: &Way, job: &Envelope) {
    let abort = async {
        tokio::select! {
            error = keep(shop, way, job) => Abort::Lost(error),
            () = shop.reached(Stage::Leaving) => Abort::Leaving,
        }
    };
    let ended = match &shop.recipe {
        Some(recipe) => recipe.run(job, abort).await,
        None => tokio::select! { ended = print(shop, job) => Ok(ended), why = abort => Err(why) },
    };
    match ended {
        Ok(Ending::Good) => settle(shop, way, job, &Answer::Ack).await,
        Ok(Ending::Failed(reason)) => settle(shop, way, job, &nack(reason, false)).await,
        Ok(Ending::Hopeless(reason)) => settle(shop, way, job, &nack(reason, true)).await,
        Err(Abort::Lost(error)) => lost(shop, job, &error).await,
        Err(Abort::Leaving) => release(shop, way, job).await,
    }
}

/// Gives back a job that is not worked on, or no longer, to be had by others. It had no fair try, so none is counted.
pub async fn release(shop: &Shop, way: &Way, job: &Envelope) {
    let reason = "its worker was stopped".into();
    let answer = Answer::Nack { reason, retry_in: Some(GIVEN_BACK_AFTER), dead: false, released: true };
    if tokio::time::timeout(FAREWELL, settle(shop, way, job, &answer)).await.is_err() {
        unheard(shop, job, "the server did not answer in time").await;
    }
}

/// The job's lease ended before it could be worked on, or while it was.
pub async fn lost(shop: &Shop, job: &Envelope, error: &Error) {
    Tally::count(&shop.tally.lost);
    tracing::warn!(
        job = job.id,
        code = error.code(),
        "lost: {}; work on it was ended and nothing is acknowledged",
        error.detail()
    );
    report(shop, job, "lost", Some(error.detail())).await;
}

/// Extends the lease for as long as this is polled. Ends when the lease has.
pub async fn keep(shop: &Shop, way: &Way, job: &Envelope) -> Error {
    let lease = shop.wish.lease;
    let (mut held, mut pause) = (Stopwatch::start(), lease / EXTEND_AFTER);
    let mut backoff = shop.backoff.clone();
    loop {
        tokio::time::sleep(pause).await;
        match shop.answer(way, job, &Answer::Extend { lease }).await {
            Ok(()) => {
                (held, pause) = (Stopwatch::start(), lease / EXTEND_AFTER);
                backoff.reset();
            }
            Err(Failure::Lost(error)) => return error,
            // The server measured from before we did: by now the lease is over, whether it can say so or not.
            Err(failure) if held.elapsed() >= lease => {
                let detail = format!("its lease ended while it could not be extended: {}", failure.error().detail());
                return Error::conflict("worker.lease_ended", detail);
            }
            Err(failure) => {
                tracing::debug!(job = job.id, error = ?failure.error(), "its lease could not be extended yet");
                let left = lease.saturating_sub(held.elapsed());
                pause = backoff.next(failure.error().wait()).min(left);
            }
        }
    }
}

/// The pause until it is tried again is left to the server.
fn nack(reason: String, dead: bool) -> Answer {
    Answer::Nack { reason, retry_in: None, dead, released: false }
}

async fn print(shop: &Shop, job: &Envelope) -> Ending {
    // Line ends can only stand between the parts of a JSON text, never within one.
    let payload = job.payload.get().replace(['\n', '\r'], " ");
    let line = match shop.json {
        false => payload,
        true => {
            let head =
                json!({ "id": job.id, "queue": job.queue, "attempt": job.attempt, "enqueuedAt": job.enqueued_at });
            format!("{},\"payload\":{payload}}}", head.to_string().trim_end_matches('}'))
        }
    };
    match shop.print(&line).await {
        Ok(()) => Ending::Good,
        Err(error) => {
            shop.advance(Stage::Finishing);
            Ending::Failed(format!("its worker's standard output is closed: {error}"))
        }
    }
}

/// Tells the server how a job went, again and again within `RETRIES`.
async fn settle(shop: &Shop, way: &Way, job: &Envelope, answer: &Answer) {
    let mut backoff = shop.backoff.clone();
    loop {
        match shop.answer(way, job, answer).await {
            Ok(()) => return settled(shop, job, answer).await,
            Err(Failure::Lost(error)) => return lost(shop, job, &error).await,
            Err(failure) if backoff.failures >= shop.retries || matches!(failure, Failure::Final(_)) => {
                return unheard(shop, job, failure.error().detail()).await;
            }
            Err(failure) => {
                let pause = backoff.next(failure.error().wait());
                tracing::debug!(job = job.id, error = ?failure.error(), ?pause, "the server has not heard how it went yet");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

async fn settled(shop: &Shop, job: &Envelope, answer: &Answer) {
    match answer {
        Answer::Nack { reason, dead, .. } => {
            let (counter, outcome) = if *dead { (&shop.tally.dead, "dead") } else { (&shop.tally.nacked, "nacked") };
            Tally::count(counter);
            tracing::warn!(job = job.id, attempt = job.attempt, "{outcome}: {reason}");
            report(shop, job, outcome, Some(reason)).await;
        }
        _ => {
            Tally::count(&shop.tally.acked);
            tracing::debug!(job = job.id, attempt = job.attempt, "acked");
            report(shop, job, "acked", None).await;
        }
    }
}

async fn unheard(shop: &Shop, job: &Envelope, why: &str) {
    Tally::count(&shop.tally.lost);
    tracing::error!(
        job = job.id,
        "the server could not be told how it went ({why}); its lease ends by itself, and then it is handed out again"
    );
    report(shop, job, "unanswered", Some(why)).await;
}

/// With a command and `--json`, one line a job. Printed jobs are lines of their own.
async fn report(shop: &Shop, job: &Envelope, outcome: &str, reason: Option<&str>) {
    if shop.json && shop.recipe.is_some() {
        let mut line = json!({ "id": job.id, "queue": job.queue, "attempt": job.attempt, "outcome": outcome });
        if let Some(reason) = reason {
            line["reason"] = reason.into();
        }
        // Who does not read the report any more does not miss it.
        let _ = shop.print(&line.to_string()).await;
    }
}
