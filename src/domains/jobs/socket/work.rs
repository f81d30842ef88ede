//! A work socket: a consumer that holds at most `credit` jobs, each under a lease, and says over the socket how they went. It waits in the
//! same line as long polls do. When it ends, its leases run on until they end: the jobs then go to someone else.

use std::collections::HashMap;
use std::convert::Infallible;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::super::{Job, Jobs, MAX_TAKE, MAX_WAIT, QueueName, Take, envelope};
use super::wire::{self, Message, Refused, Said};
use crate::base::{Clock, Id, Result, Time};
use crate::http::sockets::{End, Incoming, Socket};

/// Messages of one consumer that are being carried out; the next one is read when one of them is done.
const MAX_UNDER_WAY: usize = 32;

/// Messages in a row that cannot be read; then the socket ends.
const MAX_STRIKES: usize = 5;

/// Most jobs that a consumer may hold at once: as many as one take gives.
pub const MAX_CREDIT: usize = MAX_TAKE;

/// How long a lease counts against the credit past its end: an extension may just be under way.
const GRACE: Duration = Duration::from_secs(1);

/// How often a consumer with no credit left is looked at for leases that ended.
const LOOK: Duration = Duration::from_secs(1);

/// How long what was read may take to be carried out once the socket is over. With what the socket itself may take to end, it stays
/// within what a stop allows.
const FAREWELL: Duration = Duration::from_secs(1);

/// What a consumer asked for.
pub struct Terms {
    pub queue: QueueName,
    /// Jobs it may hold at once, 1 to [`MAX_CREDIT`].
    pub credit: usize,
    pub lease: Duration,
    pub holder: String,
}

type Taking = BoxFuture<'static, Result<Vec<Job>>>;

/// Messages that are being carried out, at most [`MAX_UNDER_WAY`].
type UnderWay = FuturesUnordered<BoxFuture<'static, Outcome>>;

/// One consumer.
pub struct Work {
    jobs: Jobs,
    clock: Clock,
    terms: Terms,
    /// What it holds, and until when that counts.
    held: HashMap<Id, Time>,
    strikes: usize,
}

/// How one message went.
struct Outcome {
    id: Id,
    said: Said,
    result: Result<Job>,
}

impl Work {
    pub fn new(jobs: Jobs, clock: Clock, terms: Terms) -> Self {
        Self { jobs, clock, terms, held: HashMap::new(), strikes: 0 }
    }

    /// Hands out jobs until the socket ends.
    pub async fn run(mut self, socket: &mut Socket) -> End {
        let mut under_way = FuturesUnordered::new();
        let end = match self.serve(socket, &mut under_way).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        // Many consumers ack and leave. Nobody waits for these answers, but a job whose ack was dropped would be done a second time.
        let _ = timeout(FAREWELL, under_way.for_each(|_| async {})).await;
        end
    }

    async fn serve(&mut self, socket: &mut Socket, under_way: &mut UnderWay) -> Result<Infallible, End> {
        let mut stopping: watch::Receiver<bool> = self.jobs.stopping();
        // Never dropped while it waits: jobs it took at that moment would be leased to nobody.
        let mut taking: Option<Taking> = None;
        loop {
            self.forget_ended();
            if taking.is_none() && self.held.len() < self.terms.credit {
                taking = Some(self.take());
            }
            tokio::select! {
                biased;
                () = stopped(&mut stopping) => return Err(End::Stopping),
                heard = socket.receive(), if under_way.len() < MAX_UNDER_WAY => match self.read(heard?) {
                    Ok(message) => under_way.push(self.carry_out(message)),
                    Err(refused) => self.strike(socket, &refused).await?,
                },
                Some(outcome) = under_way.next(), if !under_way.is_empty() => {
                    let answer = self.settle(outcome);
                    socket.send(&answer).await?;
                }
                taken = ready(&mut taking), if taking.is_some() => {
                    taking = None;
                    self.hand_out(socket, taken?).await?;
                }
                () = sleep(LOOK), if taking.is_none() => {}
            }
        }
    }

    fn take(&self) -> Taking {
        let Terms { queue, credit, lease, holder } = &self.terms;
        let ask = Take {
            queue: queue.clone(),
            max: credit - self.held.len(),
            wait: MAX_WAIT,
            lease: Some(*lease),
            holder: holder.clone(),
        };
        let jobs = self.jobs.clone();
        Box::pin(async move { jobs.take(&ask).await })
    }

    async fn hand_out(&mut self, socket: &mut Socket, jobs: Vec<Job>) -> Result<(), End> {
        for job in &jobs {
            self.hold(job);
        }
        for job in jobs {
            socket.send(&envelope(&job)).await?;
        }
        Ok(())
    }

    fn hold(&mut self, job: &Job) {
        let until = job.lease.as_ref().map_or_else(|| self.clock.now(), |lease| lease.expires_at);
        self.held.insert(job.id, until + GRACE);
    }

    fn forget_ended(&mut self) {
        if !self.held.is_empty() {
            let now = self.clock.now();
            self.held.retain(|_, until| now < *until);
        }
    }

    fn read(&mut self, heard: Incoming) -> std::result::Result<Message, Refused> {
        match heard {
            Incoming::Text(text) => wire::read(&text),
            Incoming::Binary => Err(wire::invalid("messages are JSON in text frames, not binary ones").into()),
        }
    }

    /// Answers what is not carried out, and ends the socket of someone who goes on without saying what it is about.
    async fn strike(&mut self, socket: &mut Socket, refused: &Refused) -> Result<(), End> {
        socket.send(&wire::failed(refused.id, &refused.error)).await?;
        self.strikes += usize::from(refused.id.is_none());
        match self.strikes < MAX_STRIKES {
            true => Ok(()),
            false => Err(End::Policy("too many messages that cannot be read".into())),
        }
    }

    fn carry_out(&mut self, message: Message) -> BoxFuture<'static, Outcome> {
        self.strikes = 0;
        let (jobs, usual) = (self.jobs.clone(), self.terms.lease);
        Box::pin(async move {
            let Message { id, token, said } = message;
            let result = match &said {
                Said::Ack => jobs.ack(id, &token).await,
                Said::Nack(nack) => jobs.nack(id, &token, nack.clone()).await,
                Said::Extend { lease } => jobs.extend(id, &token, lease.unwrap_or(usual)).await,
            };
            Outcome { id, said, result }
        })
    }

    /// Notes what a message changed; gives its answer.
    fn settle(&mut self, Outcome { id, said, result }: Outcome) -> String {
        let job = match result {
            Ok(job) => job,
            Err(error) => {
                if error.code() == "jobs.lease_lost" {
                    self.held.remove(&id);
                }
                return wire::failed(Some(id), &error);
            }
        };
        match said {
            Said::Ack => {
                self.held.remove(&id);
                wire::done("acked", id, None)
            }
            Said::Nack(_) => {
                self.held.remove(&id);
                wire::done("nacked", id, None)
            }
            Said::Extend { .. } => {
                // Only a job of this socket's own counts against its credit.
                if self.held.contains_key(&id) {
                    self.hold(&job);
                }
                wire::done("extended", id, job.lease.map(|lease| lease.expires_at))
            }
        }
    }
}

/// Resolves when the server stops.
async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// What a wait for jobs gave; never, when there is none.
async fn ready(taking: &mut Option<Taking>) -> Result<Vec<Job>> {
    match taking {
        Some(taking) => taking.await,
        None => std::future::pending().await,
    }
}
