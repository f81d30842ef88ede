//! `kill -9` of a server that takes jobs in and hands them out, again and again, with workers that go on meanwhile: our own, through polls and
//! through a socket, and clients that keep books on every token. At the end every job that was acknowledged has been worked on, none is lost,
//! and no job was acknowledged twice.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::Campaign;
use crate::process::{Home, Wire, request, until};
use crate::worker::{Caller, Hand};

/// How long a job is held by whom; short, so that leases end while the server is away.
const LEASE: &str = "1";

/// Jobs a producer puts in between two kills at most: what the workers have to get through at the end.
const JOBS_A_ROUND: u64 = 80;

/// One in so many jobs is held too long on purpose, and acknowledged too late.
const LATE: u64 = 40;

/// What all clients write down.
#[derive(Default)]
struct Books {
    /// Acknowledged jobs, by id, with what was in them.
    queued: Mutex<BTreeMap<String, Value>>,
    /// Requests to put a job in that were not answered: it may be there or not.
    unanswered: AtomicU64,
    /// Times that our own clients had a job in hand.
    handed: Mutex<HashMap<String, u64>>,
    /// Successful acknowledgements, by id: the tokens.
    acked: Mutex<HashMap<String, BTreeSet<String>>>,
    late: AtomicU64,
    /// What must not happen.
    complaints: Mutex<Vec<String>>,
    /// Grows with every kill, so that producers know how much they may put in.
    round: AtomicU64,
    over: AtomicBool,
    leave: AtomicBool,
}

/// Lets the clients go, also when the test ends early.
struct End<'a>(&'a Books);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
        self.0.leave.store(true, Ordering::SeqCst);
    }
}

impl Books {
    fn complain(&self, what: String) {
        self.complaints.lock().unwrap().push(what);
    }
}

#[test]
fn a_killed_server_loses_no_job_and_takes_no_answer_twice() {
    let mut campaign = Campaign::start("jobs under kill -9", 5, 100);
    let home = Home::new().set("DOCS", "false").set("LOG_LEVEL", "warn").set("INITIAL_BACKOFF", "0.02");
    let mut server = home.serve();
    let (address, caller, books) = (server.address, Caller::of(&home), Books::default());
    // Workers know where the server is, whether it runs or not.
    let base = format!("http://{address}");
    let home = home.set("BASE_URL", base).set("MAX_BACKOFF", "0.2").set("RETRIES", "100");
    // What was handed out before is held for a while, so that late answers meet a lease that another one holds.
    let work = "echo $GRPS_JOB_ID >> worked.txt; test $GRPS_JOB_ATTEMPT = 1 || sleep 0.4";
    let arguments = ["--json", "--lease", LEASE, "--concurrency", "2", "--exec", work];
    let hands =
        [Hand::hire(&home, "polls", &arguments), Hand::hire(&home, "socket", &[&arguments[..], &["--ws"]].concat())];

    std::thread::scope(|scope| {
        let (caller, books) = (&caller, &books);
        let _end = End(books);
        for producer in 0..3 {
            scope.spawn(move || produce(caller, address, books, producer));
        }
        for client in 0..2 {
            scope.spawn(move || consume(caller, address, books, client));
        }
        for _ in 0..campaign.rounds {
            std::thread::sleep(Duration::from_millis(campaign.rng.u64(200..900)));
            server.kill();
            server = home.serve_on(address.port());
            books.round.fetch_add(1, Ordering::SeqCst);
        }
        books.over.store(true, Ordering::SeqCst);
        let mut left = u64::MAX;
        while left > 0 {
            left = until("queues get shorter", || Some(unfinished(&home)).filter(|now| *now < left));
        }
    });

    let reports: Vec<String> = hands.iter().map(Hand::printed).collect();
    let told: Vec<String> = hands.iter().map(Hand::told).collect();
    hands.into_iter().for_each(Hand::stop);
    let worked = std::fs::read_to_string(home.dir.path().join("worked.txt")).unwrap_or_default();
    let counts = audit(&books, &reports, &worked, |id| {
        let answer = caller.call(address, "GET", &format!("/job/{id}"), "").unwrap();
        assert_eq!(answer.status, 200, "job {id}: {}", answer.body);
        answer.json()
    });
    campaign.sum_up(&format!("{} kills, {counts}", campaign.rounds));
    let complaints = books.complaints.lock().unwrap();
    assert!(complaints.is_empty(), "{complaints:#?}\n{}", told.join("\n"));
    server.stop();
}

/// Jobs that are not over.
fn unfinished(home: &Home) -> u64 {
    let queues = home.json(&["jobs", "queues"]);
    let open =
        |queue: &Value| ["ready", "waiting", "leased"].map(|name| queue[name].as_u64().unwrap()).iter().sum::<u64>();
    queues["queues"].as_array().unwrap().iter().map(open).sum()
}

/// Puts jobs in; the odd producer under a key, and until it has an answer.
fn produce(caller: &Caller, address: SocketAddr, books: &Books, producer: u64) {
    let mut number = 0;
    while !books.over.load(Ordering::SeqCst) {
        if number > (books.round.load(Ordering::SeqCst) + 1) * JOBS_A_ROUND {
            std::thread::sleep(Duration::from_millis(5));
            continue;
        }
        number += 1;
        let body = json!({ "producer": producer, "number": number });
        let put = || enqueue(caller, address, &body, (producer % 2 == 1).then(|| format!("{producer}-{number}")));
        let mut answer = put();
        if producer % 2 == 1 {
            // Again under the same key: it must become one job, whatever became of the first request.
            while answer.is_none() {
                std::thread::sleep(Duration::from_millis(20));
                answer = put();
            }
        }
        match answer {
            Some(id) => {
                if let Some(other) = books.queued.lock().unwrap().insert(id.clone(), body.clone()) {
                    books.complain(format!("{id} was given out for {other} and for {body}"));
                }
            }
            None => {
                books.unanswered.fetch_add(1, Ordering::SeqCst);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

fn enqueue(caller: &Caller, address: SocketAddr, body: &Value, key: Option<String>) -> Option<String> {
    let mut headers = caller.headers();
    headers.extend(key.map(|key| ("idempotency-key", key)));
    let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let answer = request(address, "POST", "/job?maxAttempts=100", &headers, &body.to_string()).ok()?;
    (answer.status == 200).then(|| answer.json()["id"].as_str().unwrap().to_owned())
}

/// Takes jobs with long polls and acknowledges them, now and then too late.
fn consume(caller: &Caller, address: SocketAddr, books: &Books, client: u64) {
    let mut rng = fastrand::Rng::with_seed(client);
    while !books.leave.load(Ordering::SeqCst) {
        let taken = caller.call(address, "GET", &format!("/job/next?lease={LEASE}&wait=1"), "");
        let Some(job) = taken.ok().filter(|answer| answer.status == 200).map(|answer| answer.json()) else {
            std::thread::sleep(Duration::from_millis(10));
            continue;
        };
        let (id, token) = (job["id"].as_str().unwrap(), job["leaseToken"].as_str().unwrap());
        *books.handed.lock().unwrap().entry(id.to_owned()).or_default() += 1;
        let too_late = rng.u64(0..LATE) == 0;
        if too_late {
            std::thread::sleep(Duration::from_millis(1200));
        }
        let answer = settled(caller, address, &format!("/job/{id}/ack"), &json!({ "leaseToken": token }).to_string());
        match answer.status {
            200 if too_late => books.complain(format!("{id} was acknowledged under {token}, which had ended")),
            200 => {
                books.acked.lock().unwrap().entry(id.to_owned()).or_default().insert(token.to_owned());
            }
            409 => {
                books.late.fetch_add(1, Ordering::SeqCst);
            }
            status => books.complain(format!("{id}: the answer to an ack was {status} {}", answer.body)),
        }
    }
}

/// Asks until there is an answer.
fn settled(caller: &Caller, address: SocketAddr, target: &str, body: &str) -> Wire {
    until("an ack is answered", || {
        let answer = caller.call(address, "POST", target, body).ok().filter(|answer| answer.status < 500);
        answer.or_else(|| {
            std::thread::sleep(Duration::from_millis(20));
            None
        })
    })
}

/// Holds the books against what the server says, and counts.
fn audit(books: &Books, reports: &[String], worked: &str, look: impl Fn(&str) -> Value) -> String {
    let queued = books.queued.lock().unwrap();
    let (handed, mut acked) = (books.handed.lock().unwrap(), books.acked.lock().unwrap());
    let mut by_workers = 0;
    let lines =
        reports.iter().flat_map(|report| report.lines()).filter_map(|line| serde_json::from_str::<Value>(line).ok());
    for (number, line) in lines.filter(|line| line["outcome"] == "acked").enumerate() {
        // The worker does not tell its token; that a job turns up a second time is what matters.
        let id = line["id"].as_str().unwrap().to_owned();
        acked.entry(id).or_default().insert(format!("a worker's {number}"));
        by_workers += 1;
    }
    let mut times = handed.clone();
    worked.lines().for_each(|id| *times.entry(id.to_owned()).or_default() += 1);
    for (id, tokens) in acked.iter().filter(|(_, tokens)| tokens.len() > 1) {
        books.complain(format!("{id} was acknowledged under {} leases: {tokens:?}", tokens.len()));
    }
    for (id, body) in queued.iter() {
        let job = look(id);
        if job["state"] != "done" || job["payload"] != *body {
            books.complain(format!("{id} with {body} is {job}"));
        }
        if !times.contains_key(id) {
            books.complain(format!("{id} is done, and nobody ever had it in hand"));
        }
    }
    // Work that was done again: its lease ended, or its answer did not get through.
    let again: u64 = times.values().map(|times| times - 1).sum();
    assert!(!queued.is_empty() && by_workers > 0 && !handed.is_empty(), "nothing happened");
    format!(
        "{} acknowledged enqueues ({} unanswered ones besides), {} acknowledged ends ({by_workers} by `grps worker`), {again} times \
         again, {} late answers refused",
        queued.len(),
        books.unanswered.load(Ordering::SeqCst),
        acked.len(),
        books.late.load(Ordering::SeqCst),
    )
}
