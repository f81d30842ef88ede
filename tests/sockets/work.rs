//! Work sockets: credit, answers, leases that end, and the end of the server.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use grps::base::clock::Stopwatch;
use grps::domains::jobs::{NewJob, QueueName};
use grps::http::server::Drained;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::{Client, HANG, Live, QUIET, live};
use crate::harness::Setup;

fn answer(kind: &str, job: &Value) -> Value {
    json!({ "type": kind, "id": job["id"], "leaseToken": job["leaseToken"] })
}

/// The next answer and the next job, which may come in either order.
async fn answer_and_job(client: &mut Client) -> [Value; 2] {
    let mut frames = [client.json().await, client.json().await];
    frames.sort_by_key(|frame| frame["type"].is_null());
    frames
}

#[tokio::test]
async fn a_work_socket_never_holds_more_than_its_credit() {
    let live = Live::new().await;
    live.put("default", (0..12).map(|n| format!(r#"{{ "n":{n} }}"#))).await;
    let mut client = live.open("/ws?mode=work&credit=3&lease=30").await;
    let mut held = Vec::new();
    for n in 0..3 {
        let job = client.json().await;
        assert_eq!((&job["payload"]["n"], &job["attempt"], &job["queue"]), (&json!(n), &json!(1), &json!("default")));
        assert_eq!(job["leaseExpiresAt"], "2025-03-01T18:16:14Z");
        held.push(job);
    }
    client.quiet().await;
    for n in 3..12 {
        let job = held.remove(fastrand::usize(0..held.len()));
        client.say(answer("ack", &job)).await;
        let [acked, next] = answer_and_job(&mut client).await;
        assert_eq!(acked, json!({ "type": "acked", "id": job["id"] }));
        assert_eq!(next["payload"]["n"], n);
        held.push(next);
        client.quiet().await;
    }
    let status = live.app.get(&format!("/job/{}", held[0]["id"].as_str().unwrap())).gateway().expect(200).await.json();
    assert_eq!((&status["state"], &status["holder"]), (&json!("leased"), &json!("gateway")));
}

#[tokio::test]
async fn answers_over_a_work_socket_are_those_of_http() {
    let live = Live::new().await;
    let mut client = live.open("/ws?mode=work").await;
    client.quiet().await;
    live.put("default", ["{}".to_owned()]).await;
    let job = client.json().await;
    client.say(json!({ "type": "extend", "id": job["id"], "leaseToken": job["leaseToken"], "lease": 300 })).await;
    let extended = json!({ "type": "extended", "id": job["id"], "leaseExpiresAt": "2025-03-01T18:20:44Z" });
    assert_eq!(client.json().await, extended);
    for lease in [0, 3601] {
        client.say(json!({ "type": "extend", "id": job["id"], "leaseToken": job["leaseToken"], "lease": lease })).await;
        let refused = client.json().await;
        assert_eq!((&refused["type"], &refused["id"]), (&json!("error"), &job["id"]), "{refused}");
        assert_eq!(refused["code"], "sockets.message_invalid", "and the lease runs on as it did");
    }
    for _ in 0..2 {
        client.say(answer("ack", &job)).await;
        assert_eq!(client.json().await, json!({ "type": "acked", "id": job["id"] }), "a repeated ack is the same ack");
    }
    client.say(answer("nack", &job)).await;
    let late = client.json().await;
    assert_eq!((&late["type"], &late["id"], &late["code"]), (&json!("error"), &job["id"], &json!("jobs.lease_lost")));
    client.say(json!({ "type": "ack", "id": "00000000000000ff", "leaseToken": "x" })).await;
    assert_eq!(client.json().await["code"], "jobs.missing");
    live.put("default", ["{}".to_owned()]).await;
    let second = client.json().await;
    let (id, token) = (&second["id"], &second["leaseToken"]);
    client.say(json!({ "type": "nack", "id": id, "leaseToken": token, "retryIn": 0, "reason": "full" })).await;
    let [nacked, again] = answer_and_job(&mut client).await;
    assert_eq!(nacked, json!({ "type": "nacked", "id": id }));
    assert_eq!((&again["id"], &again["attempt"]), (id, &json!(2)));
    // The lease runs out: its token opens nothing any more, and the credit is free again.
    live.app.advance(32);
    live.app.tick("jobs").await;
    let third = client.json().await;
    assert_eq!((&third["id"], &third["attempt"]), (id, &json!(3)));
    client.say(answer("ack", &again)).await;
    assert_eq!(client.json().await["code"], "jobs.lease_lost");
}

#[tokio::test]
async fn an_ack_counts_though_its_sender_leaves() {
    let live = Live::new().await;
    let put = live.put("default", ["{}".to_owned()]).await;
    let mut leaver = live.open("/ws?mode=work&lease=30").await;
    let job = leaver.json().await;
    leaver.0.feed(Message::text(answer("ack", &job).to_string())).await.unwrap();
    leaver.0.feed(Message::Close(None)).await.unwrap();
    leaver.0.flush().await.unwrap();
    assert!(matches!(leaver.next().await, Message::Text(_) | Message::Close(_)));
    while let Some(Ok(_)) = timeout(HANG, leaver.0.next()).await.unwrap() {}
    let status = live.app.get(&format!("/job/{}", put[0])).gateway().expect(200).await.json();
    assert_eq!(status["state"], "done");
}

#[tokio::test]
async fn two_work_sockets_share_a_queue_and_what_one_leaves_the_other_gets() {
    let live = Live::new().await;
    let mut first = live.open("/ws?mode=work&credit=5").await;
    let mut second = live.open("/ws?mode=work&credit=10").await;
    sleep(QUIET).await;
    live.put("default", (0..15).map(|n| format!(r#"{{"n":{n}}}"#))).await;
    let (mut ids, mut own) = (HashSet::new(), Vec::new());
    for _ in 0..5 {
        ids.insert(first.json().await["id"].to_string());
    }
    for _ in 0..10 {
        own.push(second.json().await);
    }
    ids.extend(own.iter().map(|job| job["id"].to_string()));
    assert_eq!(ids.len(), 15, "each went to one of them");
    drop(first);
    for job in &own {
        second.say(answer("ack", job)).await;
        assert_eq!(second.json().await["type"], "acked");
    }
    second.quiet().await; // the leases of the one that left run on
    live.app.advance(31);
    live.app.tick("jobs").await;
    for _ in 0..5 {
        assert_eq!(second.json().await["attempt"], 2);
    }
}

#[tokio::test]
async fn who_finds_no_seat_to_wait_on_is_told_to_come_later() {
    let live = live(Setup::new().set("JOB_WAITERS", "1")).await;
    let mut first = live.open("/ws?mode=work").await;
    first.quiet().await;
    let (code, reason) = live.open("/ws?mode=work").await.closed().await;
    assert!(code == 1013 && reason.contains("waiting"), "{code} {reason}");
    live.put("default", ["{}".to_owned()]).await;
    assert_eq!(first.json().await["attempt"], 1);
}

const JOBS: usize = 300;
const CREDIT: usize = 4;

/// What the workers have done so far, and how often their leases were made to end.
#[derive(Default)]
struct Tally {
    acked: AtomicUsize,
    ends: AtomicUsize,
}

/// Works over one connection after the other, leaves jobs lying, gives some back; gives the ids whose ack was confirmed.
async fn work(live: Arc<Live>, tally: Arc<Tally>) -> Vec<String> {
    let mut confirmed = Vec::new();
    while tally.acked.load(Ordering::SeqCst) < JOBS {
        let ends = tally.ends.load(Ordering::SeqCst);
        let mut client = live.open(&format!("/ws?mode=work&credit={CREDIT}&lease=30")).await;
        let (mut held, mut unanswered) = (HashSet::new(), Vec::new());
        for _ in 0..fastrand::usize(1..60) {
            let Ok(Some(Ok(Message::Text(text)))) = timeout(QUIET, client.0.next()).await else { break };
            let frame: Value = serde_json::from_str(&text).unwrap();
            let id = frame["id"].as_str().unwrap().to_owned();
            let sure = ends == tally.ends.load(Ordering::SeqCst);
            match frame["type"].as_str() {
                None => {
                    let new = held.insert(id);
                    // A job whose answer has not come counts as held.
                    assert!(!sure || (new && held.len() <= CREDIT), "{new}, {} jobs are held", held.len());
                    unanswered.push(frame);
                }
                Some("acked") => {
                    held.remove(&id);
                    confirmed.push(id);
                    tally.acked.fetch_add(1, Ordering::SeqCst);
                }
                Some("nacked") => drop(held.remove(&id)),
                other => assert!(!sure && frame["code"] == "jobs.lease_lost", "{other:?}: {frame}"),
            }
            while unanswered.len() > fastrand::usize(0..CREDIT) {
                let job = unanswered.swap_remove(fastrand::usize(0..unanswered.len()));
                let mut said = answer(if fastrand::usize(0..10) == 0 { "nack" } else { "ack" }, &job);
                said["retryIn"] = json!(0);
                client.say(said).await;
            }
        }
    }
    confirmed
}

/// Whatever consumers do, a job whose ack was confirmed is not handed out again, and none is forgotten.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods)] // a test's own tasks
async fn every_job_is_done_once_however_often_consumers_leave() {
    let live = Arc::new(Live::new().await);
    let mut jobs: Vec<NewJob> =
        (0..JOBS).map(|n| NewJob::new(QueueName::default(), format!(r#"{{"n":{n}}}"#), "test")).collect();
    jobs.iter_mut().for_each(|job| job.max_attempts = 100);
    for batch in jobs.chunks(100) {
        live.app.app.jobs.submit(batch.to_vec()).await.unwrap();
    }
    let tally = Arc::new(Tally::default());
    let workers: Vec<_> = (0..5).map(|_| tokio::spawn(work(live.clone(), tally.clone()))).collect();
    let (watch, mut before) = (Stopwatch::start(), 0);
    loop {
        sleep(QUIET * 2).await;
        // Acks whose answer nobody waited for count too.
        let over = live.app.app.jobs.stats().iter().map(|queue| queue.done).sum::<usize>();
        if over == JOBS {
            tally.acked.store(JOBS, Ordering::SeqCst);
            break;
        }
        assert!(watch.elapsed() < Duration::from_secs(60), "{over} of {JOBS} are done");
        if over == before {
            // All that is left lies with consumers that are gone.
            tally.ends.fetch_add(1, Ordering::SeqCst);
            live.app.advance(31);
            live.app.tick("jobs").await;
        }
        before = over;
    }
    let mut confirmed = Vec::new();
    for worker in workers {
        confirmed.extend(worker.await.unwrap());
    }
    let unique: HashSet<&String> = confirmed.iter().collect();
    assert_eq!(unique.len(), confirmed.len(), "a job was acked twice");
    let ends = tally.ends.load(Ordering::SeqCst);
    println!("{} of {JOBS} acks were confirmed; leases ended {ends} times", confirmed.len());
    assert!(confirmed.len() <= JOBS && confirmed.len() > JOBS / 2);
}

#[tokio::test]
async fn messages_that_make_no_sense_are_answered_and_then_it_ends() {
    let live = Live::new().await;
    let mut client = live.open("/ws?mode=work").await;
    for bad in ["ping", "{}", r#"{"type":"steal","id":"00000000000000ff","leaseToken":"x"}"#, "[1"] {
        client.0.send(Message::text(bad)).await.unwrap();
        let told = client.json().await;
        assert_eq!((&told["type"], &told["code"]), (&json!("error"), &json!("sockets.message_invalid")));
        assert!(told["hint"].as_str().unwrap().contains("leaseToken"));
    }
    client.say(json!({ "type": "ack", "id": "00000000000000ff", "leaseToken": "x" })).await;
    assert_eq!(client.json().await["code"], "jobs.missing", "one that makes sense starts the count anew");
    for _ in 0..5 {
        client.0.send(Message::binary(vec![1])).await.unwrap();
        assert!(client.json().await["detail"].as_str().unwrap().contains("text frames"));
    }
    assert_eq!(client.closed().await.0, 1008);
    let mut big = live.open("/ws?mode=work").await;
    big.0.send(Message::text("x".repeat(20_000))).await.unwrap();
    assert_eq!(big.closed().await.0, 1009);
}

#[tokio::test]
async fn a_stop_closes_all_sockets_politely_and_fast() {
    let live = Live::new().await;
    let mut clients = Vec::new();
    for n in 0..20 {
        clients.push(live.open(if n % 2 == 0 { "/ws" } else { "/ws?mode=work" }).await);
    }
    sleep(QUIET).await;
    let watch = Stopwatch::start();
    let Live { app, stop, served, .. } = live;
    app.app.stop_waiting();
    stop.send(()).unwrap();
    for client in &mut clients {
        assert_eq!(client.closed().await, (1012, "the server restarts; reconnect".to_owned()));
    }
    drop(clients);
    assert_eq!(served.await.unwrap(), Drained::Clean);
    assert_eq!(app.app.sockets.drain().await, 0);
    assert!(watch.elapsed() < Duration::from_secs(3), "{:?}", watch.elapsed());
}
