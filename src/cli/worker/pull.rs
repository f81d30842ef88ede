//! Work by long polls: as many lanes as jobs may run at the same time, each taking one job, working on it, answering for it. So every job that is
//! held is also worked on, and no lease runs while its job waits its turn.

use std::time::Duration;

use futures_util::future::join_all;

use super::backoff::Backoff;
use super::gateway::Failure;
use super::job::{handle, release};
use super::shop::{Shop, Stage, Way};
use crate::base::Result;
use crate::base::clock::Stopwatch;
use crate::domains::jobs::MAX_WAIT;

/// The part of `TIMEOUT` that a poll waits: what is left is for the way there and back.
const WAIT_SHARE: f64 = 0.8;

/// The longest pause after a poll that found nothing at once.
const LONGEST_IDLE: Duration = Duration::from_secs(1);

/// How long a poll that is under way goes on when the worker is told to stop; a job that it brings is given back.
const LAST_MOMENT: Duration = Duration::from_secs(1);

/// Works until told to stop, or, with `--once`, until nothing is left.
///
/// # Errors
/// Of the first lane that cannot go on; jobs at hand are finished first.
pub async fn run(shop: &Shop) -> Result<()> {
    let lanes = (0..shop.concurrency).map(|_| async {
        let ended = lane(shop).await;
        if ended.is_err() {
            shop.advance(Stage::Finishing);
        }
        ended
    });
    join_all(lanes).await.into_iter().collect()
}

async fn lane(shop: &Shop) -> Result<()> {
    let wait = if shop.once { Duration::ZERO } else { wait(shop.gateway.timeout) };
    let mut backoff = shop.backoff.clone();
    let mut idle = idle(&backoff);
    loop {
        let asked = Stopwatch::start();
        let taken = tokio::select! {
            taken = shop.gateway.take(&shop.wish, wait) => taken,
            () = last_moment(shop) => return Ok(()),
        };
        let pause = match taken {
            Ok(job) => {
                shop.back();
                // An answer is an answer, with a job or without.
                backoff.reset();
                match job {
                    Some(job) if shop.stage() > Stage::Working => {
                        release(shop, &Way::Http, &job).await;
                        return Ok(());
                    }
                    Some(job) => {
                        idle.reset();
                        handle(shop, &Way::Http, &job, Stopwatch::start()).await;
                        continue;
                    }
                    None if shop.once => return Ok(()),
                    // A server that is about to end lets polls go early, and with a short TIMEOUT none of them waits.
                    None if asked.elapsed() < wait / 2 || wait.is_zero() => idle.next(None),
                    None => continue,
                }
            }
            Err(failure) => failed(shop, failure, &mut backoff)?,
        };
        tokio::select! { () = tokio::time::sleep(pause) => {}, () = shop.reached(Stage::Finishing) => return Ok(()) }
    }
}

/// When a poll is broken off: a little after the worker was told to stop, since a busy queue may be handing out a job in that very moment. One
/// handed out in the moment of the break is left to its lease; to wait for the poll's end instead would keep an owner waiting for seconds.
async fn last_moment(shop: &Shop) {
    shop.reached(Stage::Finishing).await;
    tokio::select! { () = tokio::time::sleep(LAST_MOMENT) => {}, () = shop.reached(Stage::Leaving) => {} }
}

/// How long to pause after a request for work has failed.
///
/// # Errors
/// When there is no point in asking again.
pub fn failed(shop: &Shop, failure: Failure, backoff: &mut Backoff) -> Result<Duration> {
    let patient = match &failure {
        Failure::Passing(_) => !shop.once,
        // A server may be set right, or restarted within the second of the signature; a wrong key stays wrong.
        Failure::Refused(_) | Failure::Lost(_) => false,
        Failure::Final(_) => return Err(failure.into_error()),
    };
    if !patient && backoff.failures >= shop.retries {
        return Err(failure.into_error());
    }
    shop.away(&failure);
    Ok(backoff.next(failure.error().wait()))
}

/// The pauses after polls that found nothing at once: what costs the server nothing is asked for sooner than what has failed.
fn idle(failing: &Backoff) -> Backoff {
    Backoff::new(failing.initial.min(LONGEST_IDLE), failing.longest.min(LONGEST_IDLE))
}

fn wait(timeout: Duration) -> Duration {
    Duration::from_secs(timeout.mul_f64(WAIT_SHARE).min(MAX_WAIT).as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polls_wait_less_than_requests_may_take() {
        for (timeout, expected) in [(0.5, 0), (1.0, 0), (2.0, 1), (10.0, 8), (30.0, 24), (300.0, 25)] {
            assert_eq!(wait(Duration::from_secs_f64(timeout)), Duration::from_secs(expected), "{timeout}");
        }
    }

    #[test]
    fn an_empty_queue_is_asked_often_however_long_failures_are_waited_out() {
        let mut idle = idle(&Backoff::new(Duration::from_secs(60), Duration::from_secs(3600)));
        assert!((0..50).all(|_| idle.next(None) <= LONGEST_IDLE));
    }
}
