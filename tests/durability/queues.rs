//! The real queue against [`super::queue_model`]: random operations under forced conflicts, lost answers, restarts and a clock that jumps;
//! and many takers at once, no two of whom may ever hold the same job.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grps::base::metrics::Metrics;
use grps::base::{Clock, Error, Id, Ids, Result, Time};
use grps::domains::jobs::{Config, Job, Jobs, Nack, NewJob, QueueName, State, Take, Timekeeper};
use grps::store::{DataDir, Memory, Settings, Store};
use grps::workers::{Next, Worker};

use super::queue_model::{Held, Model, Ms, Told, Verdict};
use super::{Campaign, in_memory};

/// When the campaigns' clocks start.
const START: Time = Time(1_740_852_944_000);

/// Jobs alive at the same time, about: enough for order to matter, few enough for a model that looks through all.
const CROWD: usize = 60;

async fn open(store: &Store, clock: &Clock) -> Jobs {
    let (clock, ids) = (clock.clone(), Ids::new(clock.clone()));
    Jobs::open(store, clock, ids, Config::default(), &Metrics::default()).await.unwrap()
}

/// Lets the clock's work be done.
async fn settle(jobs: &Jobs) {
    let mut keeper = Timekeeper::new(jobs.clone());
    while keeper.tick().await.unwrap() == Next::Now {}
}

/// The real queue, the model, and what tokens were ever seen.
struct Pair {
    store: Store,
    clock: Clock,
    jobs: Jobs,
    model: Model,
    tokens: Vec<(Id, String)>,
    counts: HashMap<&'static str, u64>,
}

impl Pair {
    async fn new(store: Store) -> Self {
        let clock = Clock::fake(START);
        let jobs = open(&store, &clock).await;
        Self { store, clock, jobs, model: Model::default(), tokens: Vec::new(), counts: HashMap::new() }
    }

    fn now(&self) -> Ms {
        self.clock.now().0
    }

    fn note(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    async fn put(&mut self, rng: &mut fastrand::Rng) {
        let now = self.now();
        let batch: Vec<NewJob> = (0..rng.usize(1..=3)).map(|_| random_job(rng)).collect();
        let done = self.jobs.submit(batch.clone()).await.unwrap();
        for (job, done) in batch.iter().zip(done) {
            let delay = job.delay.as_millis() as Ms;
            let told = Told {
                priority: job.priority,
                state: Held::InQueue,
                ready_at: if delay == 0 { 0 } else { now + delay },
                dies_at: job.ttl.map(|ttl| now + delay + ttl.as_millis() as Ms),
                attempt: 0,
                max_attempts: job.max_attempts,
                token: None,
            };
            self.model.jobs.insert(done.id, told);
            self.note("put");
        }
    }

    /// Takes; every tenth answer is lost on its way, so nobody will answer for those jobs.
    async fn take(&mut self, rng: &mut fastrand::Rng) {
        let (now, max, lease) = (self.now(), rng.usize(1..=3), (rng.u8(..4) > 0).then(|| rng.u64(1..20)));
        let expected = self.model.first(max, now);
        let ask = Take {
            queue: QueueName::default(),
            max,
            wait: Duration::ZERO,
            lease: lease.map(Duration::from_secs),
            holder: "model".into(),
        };
        let taken = self.jobs.take(&ask).await.unwrap();
        let ids: Vec<Id> = taken.iter().map(|job| job.id).collect();
        assert_eq!(ids, expected, "{max} at {now}");
        let lost = rng.u8(..10) == 0;
        for job in taken {
            let told = self.model.told(job.id);
            told.attempt += 1;
            told.ready_at = 0;
            told.state = lease.map_or(Held::Delivered, |lease| Held::Until(now + lease as Ms * 1000));
            assert_eq!(job.attempt, told.attempt);
            told.token = job.lease.as_ref().map(|lease| (lease.token.clone(), false));
            if let Some(lease) = job.lease.filter(|_| !lost) {
                assert!(!self.tokens.iter().any(|(_, token)| *token == lease.token), "a token was given out twice");
                self.tokens.push((job.id, lease.token));
            }
            self.note(if lost { "answer lost" } else { "take" });
        }
    }

    async fn answer(&mut self, rng: &mut fastrand::Rng) {
        // Most answers are to what was taken lately, some to what is long over.
        let Some(newest) = self.tokens.len().checked_sub(1) else { return };
        let at = if rng.u8(..5) == 0 { rng.usize(..=newest) } else { newest - rng.usize(..=newest.min(5)) };
        let (id, token) = self.tokens[at].clone();
        if !self.model.jobs.contains_key(&id) {
            return;
        }
        let now = self.now();
        let (verdict, answer) = match rng.u8(..4) {
            0 | 1 => (self.model.ack(id, &token, now), self.jobs.ack(id, &token).await),
            2 => {
                let (dead, released) = (rng.u8(..4) == 0, rng.u8(..4) == 0);
                let nack = Nack { reason: None, retry_in: Some(Duration::ZERO), dead, released };
                (self.model.nack(id, &token, &nack, now), self.jobs.nack(id, &token, nack).await)
            }
            _ => {
                let more = rng.u64(1..30);
                let verdict = self.model.extend(id, &token, now + more as Ms * 1000, now);
                (verdict, self.jobs.extend(id, &token, Duration::from_secs(more)).await)
            }
        };
        self.note(agreed(verdict, &answer));
    }

    async fn requeue(&mut self, rng: &mut fastrand::Rng) {
        let Some(id) = self.model.jobs.keys().nth(rng.usize(..self.model.jobs.len().max(1))).copied() else { return };
        let asker =
            grps::domains::auth::Sender { actor: grps::domains::audit::Actor::of("model"), request_id: "model".into() };
        let done = self.jobs.requeue(id, &asker).await;
        assert_eq!(done.is_ok(), self.model.requeue(id), "{done:?}");
        self.note("requeue");
    }

    async fn pass(&mut self, rng: &mut fastrand::Rng) {
        match rng.u8(..20) {
            0 => self.clock.advance(Duration::from_secs(3600)),
            1 => self.clock.set_back(Duration::from_secs(rng.u64(1..120))),
            _ => self.clock.advance(Duration::from_millis(rng.u64(1..4000))),
        }
        if rng.bool() {
            settle(&self.jobs).await;
            let now = self.now();
            self.model.lapse(now);
            self.note("lapse");
        }
    }

    /// Everything that was acknowledged is where the model says it is. What is over is then removed from both, oldest first.
    async fn compare(&mut self) {
        settle(&self.jobs).await;
        let now = self.now();
        self.model.lapse(now);
        let mut stats = self.jobs.stats();
        stats.retain(|stats| stats.queue == QueueName::default());
        let real = |state| stats.first().and_then(|stats| stats.counts().into_iter().find(|(s, _)| *s == state));
        let both = |state| (real(state).map_or(0, |(_, count)| count), self.model.count(state, now));
        for state in [State::Leased, State::Delivered, State::Done, State::Dead, State::Expired] {
            let (real, told) = both(state);
            assert_eq!(real, told, "{state:?}");
        }
        // Which of these a job is counted as may be out of date after the clock was set back.
        let ((waiting, told_waiting), (ready, told_ready)) = (both(State::Waiting), both(State::Ready));
        assert_eq!(waiting + ready, told_waiting + told_ready);
        for (id, told) in &self.model.jobs {
            let job = self.jobs.find(*id).await.unwrap();
            assert_eq!(job.attempt, told.attempt, "{job:?}");
        }
        for state in [State::Delivered, State::Done, State::Dead, State::Expired] {
            let selection = grps::domains::jobs::Selection { queue: QueueName::default(), state, limit: 10_000 };
            let asker = grps::domains::auth::Sender {
                actor: grps::domains::audit::Actor::of("model"),
                request_id: "model".into(),
            };
            self.jobs.bulk(grps::domains::jobs::Bulk::Purge, &selection, &asker).await.unwrap();
        }
        self.model.jobs.retain(|_, told| matches!(told.state, Held::InQueue | Held::Until(_)));
        let live = &self.model.jobs;
        self.tokens.retain(|(id, _)| live.contains_key(id));
    }

    async fn step(&mut self, rng: &mut fastrand::Rng) {
        match rng.u8(..100) {
            0..=24 if self.model.jobs.len() < CROWD => self.put(rng).await,
            0..=54 => self.take(rng).await,
            55..=84 => self.answer(rng).await,
            85..=87 => self.requeue(rng).await,
            _ => self.pass(rng).await,
        }
    }
}

fn random_job(rng: &mut fastrand::Rng) -> NewJob {
    let mut job = NewJob::new(QueueName::default(), "{}", "model");
    job.priority = rng.i8(-1..=1);
    job.max_attempts = rng.u32(1..=4);
    if rng.u8(..5) == 0 {
        job.delay = Duration::from_secs(rng.u64(1..10));
    }
    if rng.u8(..8) == 0 {
        job.ttl = Some(Duration::from_secs(rng.u64(1..30)));
    }
    job
}

fn agreed(verdict: Verdict, answer: &Result<Job>) -> &'static str {
    match (verdict, answer.as_ref().map_err(Error::code)) {
        (Verdict::Good, Ok(_)) => "answered",
        (Verdict::Again, Ok(_)) => "answered again",
        (Verdict::Late, Err("jobs.lease_lost")) => "refused as late",
        (verdict, answer) => panic!("the model says {verdict:?}, the queue {answer:?}"),
    }
}

fn tell(counts: &HashMap<&'static str, u64>) -> String {
    let mut counts: Vec<String> = counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    counts.sort();
    counts.join(", ")
}

#[tokio::test]
async fn the_queue_does_what_the_model_does() {
    let mut campaign = Campaign::start("queue model", 100_000, 1_000_000);
    let mut pair = Pair::new(Store::new(Memory::conflicting_every(5), &Settings::default(), &Metrics::default())).await;
    for step in 1..=campaign.rounds {
        pair.step(&mut campaign.rng).await;
        if step.is_multiple_of(200) {
            pair.compare().await;
        }
        if step.is_multiple_of((campaign.rounds / 20).max(1)) {
            // Everything in memory is gone.
            pair.jobs = open(&pair.store, &pair.clock).await;
            pair.note("restart");
        }
    }
    campaign.sum_up(&format!("{} steps, every fifth commit refused once: {}", campaign.rounds, tell(&pair.counts)));
}

#[tokio::test]
async fn the_queue_does_what_the_model_does_on_disk() {
    let mut campaign = Campaign::start("queue model on disk", 4_000, 40_000);
    let dir = in_memory();
    let settings = Settings { page_cache_bytes: 16 << 20, segment_bytes: 256 << 10, ..Settings::default() };
    let reopen = || async {
        let data = DataDir::open(dir.path()).unwrap();
        Store::open(&data, &settings, &Metrics::default()).map(|store| (store, data)).unwrap()
    };
    let (store, mut data) = reopen().await;
    let mut pair = Pair::new(store).await;
    for step in 1..=campaign.rounds {
        pair.step(&mut campaign.rng).await;
        if step.is_multiple_of(500) {
            pair.compare().await;
            pair.store.close().await.unwrap();
            // The old ones let go of the directory before the new ones take it.
            pair.store = Store::in_memory();
            pair.jobs = open(&pair.store, &pair.clock).await;
            drop(data);
            (pair.store, data) = reopen().await;
            pair.jobs = open(&pair.store, &pair.clock).await;
            pair.note("restart");
        }
    }
    campaign.sum_up(&format!("{} steps: {}", campaign.rounds, tell(&pair.counts)));
}

/// Who held what, as the takers saw it: a lease is theirs from the answer to its end, or to their own answer.
#[derive(Default)]
struct Holders {
    /// By job and delivery, from when until when.
    held: HashMap<Id, Vec<(u32, Time, Time)>>,
    done: HashMap<Id, u64>,
    late: u64,
}

impl Holders {
    fn took(&mut self, job: &Job) {
        let until = job.lease.as_ref().unwrap().expires_at;
        self.held.entry(job.id).or_default().push((job.deliveries, job.since, until));
    }

    /// How many deliveries there were, no two of the same job at the same time.
    fn check(&mut self) -> usize {
        for (id, leases) in &mut self.held {
            leases.sort();
            for pair in leases.windows(2) {
                assert!(pair[0].0 < pair[1].0 && pair[0].2 <= pair[1].1, "{id} was held twice: {pair:?}");
            }
        }
        self.held.values().map(Vec::len).sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_two_ever_hold_one_job() {
    let campaign = Campaign::start("takers at once", 3_000, 60_000);
    let clock = Clock::fake(START);
    let store = Store::new(Memory::conflicting_every(7), &Settings::default(), &Metrics::default());
    let jobs = open(&store, &clock).await;
    let holders = Arc::new(Mutex::new(Holders::default()));
    let mut all = Vec::new();
    for _ in 0..campaign.rounds.div_ceil(100) {
        let batch = (0..100).map(|_| NewJob { max_attempts: 100, ..NewJob::new(QueueName::default(), "{}", "t") });
        all.extend(jobs.submit(batch.collect()).await.unwrap().into_iter().map(|done| done.id));
    }
    let takers = (0..16u64).map(|n| {
        let (jobs, clock, holders) = (jobs.clone(), clock.clone(), holders.clone());
        tokio::spawn(take_until_done(jobs, clock, holders, fastrand::Rng::with_seed(campaign.seed + n)))
    });
    let takers: Vec<_> = takers.collect();
    let keeper = tokio::spawn({
        let jobs = jobs.clone();
        async move {
            loop {
                settle(&jobs).await;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    });
    for taker in takers {
        taker.await.unwrap();
    }
    keeper.abort();
    let mut holders = holders.lock().unwrap();
    let deliveries = holders.check();
    assert_eq!(holders.done.len(), all.len(), "jobs were lost");
    assert!(holders.done.values().all(|times| *times == 1), "a job was done under two leases");
    campaign.sum_up(&format!(
        "{} jobs, 16 takers: {deliveries} deliveries, {} late answers refused, 0 held by two, 0 lost",
        all.len(),
        holders.late
    ));
}

/// Takes, and then acknowledges, dawdles until it is too late, dies, or is cut off in the middle of taking.
async fn take_until_done(jobs: Jobs, clock: Clock, holders: Arc<Mutex<Holders>>, mut rng: fastrand::Rng) {
    let ask = Take {
        queue: QueueName::default(),
        max: 2,
        wait: Duration::ZERO,
        lease: Some(Duration::from_secs(5)),
        holder: "taker".into(),
    };
    let left = |jobs: &Jobs| jobs.stats().iter().map(|stats| stats.ready + stats.leased + stats.waiting).sum::<usize>();
    while left(&jobs) > 0 {
        if rng.u8(..8) == 0 {
            // Cut off: what it took, if anything, nobody knows of.
            let cut = tokio::time::timeout(Duration::from_micros(rng.u64(..300)), jobs.take(&ask)).await;
            if let Ok(taken) = cut {
                taken.unwrap().iter().for_each(|job| holders.lock().unwrap().took(job));
            }
            continue;
        }
        let taken = jobs.take(&ask).await.unwrap();
        if taken.is_empty() {
            clock.advance(Duration::from_millis(500));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        for job in taken {
            holders.lock().unwrap().took(&job);
            let token = job.lease.unwrap().token;
            match rng.u8(..6) {
                0 => clock.advance(Duration::from_secs(2)),
                1 => continue,
                _ => tokio::task::yield_now().await,
            }
            let answer = jobs.ack(job.id, &token).await;
            let mut holders = holders.lock().unwrap();
            match answer {
                Ok(_) => *holders.done.entry(job.id).or_default() += 1,
                Err(error) => {
                    assert_eq!(error.code(), "jobs.lease_lost");
                    holders.late += 1;
                }
            }
        }
    }
}
