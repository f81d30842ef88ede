//! One job from its delivery to its answer.

use std::cell::Cell;
use std::time::Duration;

use serde_json::json;

use super::exec::Ending;
use super::gateway::{Answer, Envelope, Failure};
use super::shop::{Shop, Stage, Tally, Way};
use crate::base::Error;
use crate::base::clock::Stopwatch;
use crate::cli::jobs::visible;

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

/// Works on a job and answers for it. `held`: since when its lease runs.
pub async fn handle(shop: &Shop, way: &Way, job: &Envelope, held: Stopwatch) {
    let held = Cell::new(held);
    let abort = async {
        tokio::select! {
            error = keep(shop, way, job, &held) => Abort::Lost(error),
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
        Err(Abort::Lost(error)) => lost(shop, job, "work on it was ended", &error).await,
        Err(Abort::Leaving) => release(shop, way, job).await,
    }
}

/// Gives back a job that is not worked on, or no longer, to be had by others. It had no fair try, so none is counted.
pub async fn release(shop: &Shop, way: &Way, job: &Envelope) {
    let reason = "its worker was stopped".into();
    let answer = Answer::Nack { reason, retry_in: Some(GIVEN_BACK_AFTER), dead: false, released: true };
    let told = farewell(shop, way, job, &answer).await;
    report_told(shop, job, &answer, told).await;
}

/// The job's lease ended; `then` says how far work on it was.
pub async fn lost(shop: &Shop, job: &Envelope, then: &str, error: &Error) {
    Tally::count(&shop.tally.lost);
    tracing::warn!(job = job.id, code = error.code(), "lost: {}; {then}, and nothing is acknowledged", error.detail());
    report(shop, job, "lost", Some(error.detail())).await;
}

/// Extends the lease for as long as this is polled. Ends when the lease has, by the server's word or by `held`, which is kept up to date for
/// whoever goes on from here.
pub async fn keep(shop: &Shop, way: &Way, job: &Envelope, held: &Cell<Stopwatch>) -> Error {
    let lease = shop.wish.lease;
    let left = || lease.saturating_sub(held.get().elapsed());
    let due = || (lease / EXTEND_AFTER).saturating_sub(held.get().elapsed());
    let (mut pause, mut why) = (due(), "the server did not answer in time".to_owned());
    let mut backoff = shop.backoff.clone();
    loop {
        tokio::time::sleep(pause).await;
        // The server measures from when it hears us, which is later: by our count the lease ends first.
        let asked = Stopwatch::start();
        // A server that hangs must not keep us at work on what is no longer ours.
        match tokio::time::timeout(left(), shop.answer(way, job, &Answer::Extend { lease })).await {
            Ok(Ok(())) => {
                held.set(asked);
                pause = due();
                backoff.reset();
                continue;
            }
            Ok(Err(Failure::Lost(error))) => return error,
            Ok(Err(failure)) => {
                tracing::debug!(job = job.id, error = ?failure.error(), "its lease could not be extended yet");
                pause = backoff.next(failure.error().wait()).min(left());
                failure.error().detail().clone_into(&mut why);
            }
            Err(_) => {}
        }
        if left().is_zero() {
            return Error::conflict(
                "worker.lease_ended",
                format!("its lease ended while it could not be extended: {why}"),
            );
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
    let line = if shop.terminal { visible(&line) } else { line.into() };
    match shop.print(&line).await {
        Ok(()) => Ending::Good,
        Err(error) => {
            shop.advance(Stage::Finishing);
            Ending::Failed(format!("its worker's standard output is closed: {error}"))
        }
    }
}

/// What came of telling the server how a job went.
enum Told {
    Heard,
    /// Too late.
    Lost(Error),
    /// It could not be told, and why.
    Unheard(String),
}

/// Tells the server how a job went. A worker that is made to leave meanwhile does not wait out the pauses: it tries for the last time.
async fn settle(shop: &Shop, way: &Way, job: &Envelope, answer: &Answer) {
    let told = tokio::select! {
        biased;
        () = shop.reached(Stage::Leaving) => None,
        told = tell(shop, way, job, answer) => Some(told),
    };
    let told = match told {
        Some(told) => told,
        None => farewell(shop, way, job, answer).await,
    };
    report_told(shop, job, answer, told).await;
}

/// Tells the server within [`FAREWELL`].
async fn farewell(shop: &Shop, way: &Way, job: &Envelope, answer: &Answer) -> Told {
    let telling = tokio::time::timeout(FAREWELL, tell(shop, way, job, answer));
    telling.await.unwrap_or_else(|_| Told::Unheard("the server did not answer in time".to_owned()))
}

/// Tells the server, again and again within `RETRIES`.
async fn tell(shop: &Shop, way: &Way, job: &Envelope, answer: &Answer) -> Told {
    let mut backoff = shop.backoff.clone();
    loop {
        match shop.answer(way, job, answer).await {
            Ok(()) => return Told::Heard,
            Err(Failure::Lost(error)) => return Told::Lost(error),
            Err(failure) if backoff.failures >= shop.retries || matches!(failure, Failure::Final(_)) => {
                return Told::Unheard(failure.error().detail().to_owned());
            }
            Err(failure) => {
                let pause = backoff.next(failure.error().wait());
                tracing::debug!(job = job.id, error = ?failure.error(), ?pause, "the server has not heard how it went yet");
                tokio::time::sleep(pause).await;
            }
        }
    }
}

async fn report_told(shop: &Shop, job: &Envelope, answer: &Answer, told: Told) {
    match told {
        Told::Heard => settled(shop, job, answer).await,
        Told::Lost(error) => lost(shop, job, "the server heard too late how it went", &error).await,
        Told::Unheard(why) => unheard(shop, job, &why).await,
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

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::sync::atomic::Ordering;

    use super::super::exec::Recipe;
    use super::super::gateway::{Credential, Gateway, Wish};
    use super::super::shop::Setup;
    use super::*;
    use crate::base::{Clock, Secret};
    use crate::cli::worker::backoff::Backoff;
    use crate::config::{Sources, WorkerConfig};

    /// A shop whose server takes connections and never answers, and which has more patience than any test.
    fn deaf(command: &str, lease: u64) -> (Shop, TcpListener) {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let base = format!("http://{}", server.local_addr().unwrap());
        let env = [("BASE_URL", base.as_str()), ("TIMEOUT", "300"), ("DATA_DIR", "none")];
        let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let config = WorkerConfig::build(&Sources::read(Vec::new(), env, dir.path()).unwrap()).unwrap();
        let credential = Credential::Gateway { key: Secret::new("key"), hmac: Secret::new("secret") };
        let _ = rustls::crypto::ring::default_provider().install_default();
        let shop = Shop::new(Setup {
            gateway: Gateway::new(&config, credential, Clock::system()).unwrap(),
            wish: Wish { queue: "default".into(), lease: Duration::from_secs(lease) },
            recipe: Some(Recipe::new(command, true)),
            concurrency: 1,
            once: false,
            json: false,
            backoff: Backoff::new(config.initial_backoff, config.max_backoff),
            retries: config.retries,
        });
        (shop, server)
    }

    fn job() -> Envelope {
        let text = r#"{"id":"01","queue":"default","attempt":1,"enqueuedAt":"t","leaseToken":"1.x","payload":{}}"#;
        serde_json::from_str(text).unwrap()
    }

    fn count(shop: &Shop) -> u64 {
        shop.tally.lost.load(Ordering::Relaxed)
    }

    #[tokio::test]
    async fn a_command_ends_with_its_lease_when_the_server_hangs() {
        let (shop, _server) = deaf("sleep 60", 2);
        let watch = Stopwatch::start();
        handle(&shop, &Way::Http, &job(), watch).await;
        let passed = watch.elapsed();
        assert!((Duration::from_millis(1900)..Duration::from_secs(10)).contains(&passed), "{passed:?}");
        assert_eq!(count(&shop), 1);
    }

    #[tokio::test]
    async fn a_lease_that_ran_while_the_job_waited_its_turn_ends_no_later() {
        let (shop, _server) = deaf("sleep 60", 3);
        let held = Stopwatch::start();
        tokio::time::sleep(Duration::from_secs(2)).await;
        let watch = Stopwatch::start();
        handle(&shop, &Way::Http, &job(), held).await;
        assert!(watch.elapsed() < Duration::from_millis(2500), "{:?}", watch.elapsed());
    }

    #[tokio::test]
    async fn who_is_made_to_leave_does_not_wait_for_a_server_that_hangs() {
        let (shop, _server) = deaf("true", 3600);
        let (watch, job) = (Stopwatch::start(), job());
        let leave = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            shop.advance(Stage::Leaving);
        };
        tokio::join!(handle(&shop, &Way::Http, &job, watch), leave);
        assert!(watch.elapsed() < FAREWELL + Duration::from_secs(2), "{:?}", watch.elapsed());
        assert_eq!(count(&shop), 1);
    }
}
