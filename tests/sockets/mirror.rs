//! The mirror: jobs as they came, and nothing missed or repeated by those who come back.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use grps::base::Id;
use serde_json::{Value, json};
use tokio::time::{sleep, timeout};
use tokio_tungstenite::tungstenite::Message;

use super::{Client, KEY_ESCAPED, Live, QUIET};

#[tokio::test]
async fn the_seeds_clients_get_every_new_job_as_it_came() {
    let live = Live::new().await;
    live.put("default", [r#"{"before":true}"#.to_owned()]).await;
    let mut by_header = live.open("/ws").await;
    let mut by_query = live.try_open(&format!("/ws?api_key={KEY_ESCAPED}"), &[]).await.ok().unwrap();
    let mut elsewhere = live.open("/ws?queue=other").await;
    let odd = "{ \"b\": 1.0,\t\"a\":[1e5, 12345678901234567890123],\"é\":\"\\u00e9\" }";
    live.app.post("/job", odd).gateway().expect(200).await;
    live.app.post("/job?queue=other", r#"{"other":1}"#).gateway().expect(200).await;
    let long = json!({ "long": "x".repeat(60_000) }).to_string();
    live.app.post("/job", long.clone()).gateway().expect(200).await;
    for client in [&mut by_header, &mut by_query] {
        assert_eq!(client.text().await, odd);
        assert_eq!(client.text().await, long);
        client.say(json!("what a mirror is told does not matter")).await;
        client.quiet().await;
    }
    assert_eq!(elsewhere.text().await, r#"{"other":1}"#);
    let next = live.app.get("/job/next").gateway().expect(200).await;
    assert_eq!(next.json()["before"], true, "a mirror takes nothing");
}

#[tokio::test]
async fn envelopes_say_where_to_go_on() {
    let live = Live::new().await;
    let ids = live.put("default", (0..3).map(|n| format!(r#"{{"n":{n}}}"#))).await;
    let mut all = live.open("/ws?after=0").await;
    for (n, id) in ids.iter().enumerate() {
        let at = "2025-03-01T18:15:44Z";
        let expected = json!({ "id": id, "sequence": id, "queue": "default", "enqueuedAt": at, "payload": { "n": n } });
        assert_eq!(all.json().await, expected);
    }
    let mut rest = live.open(&format!("/ws?after={}", ids[1])).await;
    assert_eq!(rest.json().await["sequence"], ids[2].as_str());
    let mut fresh = live.open("/ws?envelope=1").await;
    let newest = live.put("default", ["{}".to_owned()]).await;
    for client in [&mut all, &mut rest, &mut fresh] {
        assert_eq!(client.json().await["id"], newest[0].as_str());
    }
    // A sequence this server has not come to yet: it was another's, or this one was restored.
    let mut ahead = live.open(&format!("/ws?after={}", Id(u64::MAX))).await;
    let gap = ahead.json().await;
    assert_eq!((&gap["type"], &gap["resumedAt"]), (&json!("gap"), &json!(newest[0])));
    let next = live.put("default", ["{}".to_owned()]).await;
    assert_eq!(ahead.json().await["id"], next[0].as_str());
}

#[tokio::test]
async fn a_gap_is_announced_and_then_it_goes_on() {
    let live = Live::new().await;
    let first = live.put("default", ["{}".to_owned()]).await.remove(0);
    // More than is kept in memory, taken, and forgotten a day later.
    let big = json!({ "x": "x".repeat(60_000) }).to_string();
    for _ in 0..8 {
        live.put("default", vec![big.clone(); 10]).await;
    }
    while live.app.get("/job/next").gateway().send().await.status == 200 {}
    live.app.advance(25 * 3600);
    live.app.tick("jobs").await;
    let kept = live.put("default", [r#"{"kept":1}"#.to_owned()]).await.remove(0);
    let mut client = live.open(&format!("/ws?after={first}")).await;
    let gap = client.json().await;
    assert_eq!((&gap["type"], &gap["after"]), (&json!("gap"), &json!(first)), "{gap}");
    let mut next = client.json().await;
    assert_eq!(next["sequence"], gap["resumedAt"], "it goes on where it says");
    while next["id"] != kept.as_str() {
        next = client.json().await;
    }
    let next = live.put("default", ["{}".to_owned()]).await;
    assert_eq!(client.json().await["id"], next[0].as_str());
    client.quiet().await;
}

#[tokio::test]
async fn consumers_that_do_not_read_keep_nobody_from_catching_up() {
    let live = Live::new().await;
    // More than is kept in memory, and more than lies between a server and a client that does not read.
    let big = json!({ "x": "x".repeat(60_000) }).to_string();
    for _ in 0..20 {
        live.put("default", vec![big.clone(); 10]).await;
    }
    let mut deaf = Vec::new();
    for _ in 0..DEAF {
        deaf.push(live.open("/ws?after=0").await);
    }
    sleep(QUIET).await;
    let mut client = live.open("/ws?after=0").await;
    let all = async {
        for _ in 0..200 {
            client.json().await;
        }
    };
    timeout(Duration::from_secs(8), all).await.expect("it waits for those that do not read");
}

/// More than may read old jobs from the store at once.
const DEAF: usize = 20;

const PRODUCERS: usize = 4;
const CONSUMERS: usize = 6;
const EACH: usize = 300;

/// Puts jobs into two queues, a few at a time; gives what went where.
async fn produce(live: Arc<Live>, producer: usize) -> Vec<(&'static str, String)> {
    let mut ids = Vec::new();
    while ids.len() < EACH {
        let batch = fastrand::usize(1..=5).min(EACH - ids.len());
        let queue = if fastrand::bool() { "default" } else { "other" };
        let put = live.put(queue, (0..batch).map(|n| format!(r#"{{"p":{producer},"n":{n}}}"#))).await;
        ids.extend(put.into_iter().map(|id| (queue, id)));
        sleep(Duration::from_micros(fastrand::u64(0..3000))).await;
    }
    ids
}

/// Notes up to `most` frames, until none comes for a while.
async fn note(client: &mut Client, queue: &str, most: usize, seen: &mut Vec<String>) {
    for _ in 0..most {
        let Ok(Some(Ok(Message::Text(text)))) = timeout(QUIET * 2, client.0.next()).await else { return };
        let frame: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(frame["queue"], queue, "{frame}");
        seen.push(frame["sequence"].as_str().unwrap().to_owned());
    }
}

/// Follows a queue over many connections; gives the sequences seen, and how many connections that took.
async fn consume(live: Arc<Live>, done: Arc<AtomicBool>, queue: &'static str) -> (&'static str, Vec<String>, usize) {
    let (mut seen, mut connections) = (Vec::new(), 0);
    loop {
        let last = done.load(Ordering::SeqCst);
        let after = seen.last().map_or("0", String::as_str);
        let mut client = live.open(&format!("/ws?queue={queue}&after={after}")).await;
        connections += 1;
        let most = if last { usize::MAX } else { fastrand::usize(0..40) };
        note(&mut client, queue, most, &mut seen).await;
        if last {
            return (queue, seen, connections);
        }
        if fastrand::bool() {
            let _ = client.0.close(None).await; // otherwise it just goes
        }
    }
}

/// Many consumers that lose their connection again and again, while many producers put jobs in: each sees each job once, in order.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[allow(clippy::disallowed_methods)] // a test's own tasks
async fn consumers_that_come_back_miss_nothing_and_see_nothing_twice() {
    let (live, done) = (Arc::new(Live::new().await), Arc::new(AtomicBool::new(false)));
    let producers: Vec<_> = (0..PRODUCERS).map(|number| tokio::spawn(produce(live.clone(), number))).collect();
    let queue = |number| if number % 2 == 0 { "default" } else { "other" };
    let follow = |number| tokio::spawn(consume(live.clone(), done.clone(), queue(number)));
    let consumers: Vec<_> = (0..CONSUMERS).map(follow).collect();
    let mut put = Vec::new();
    for producer in producers {
        put.extend(producer.await.unwrap());
    }
    done.store(true, Ordering::SeqCst);
    assert_eq!(put.len(), PRODUCERS * EACH);
    for consumer in consumers {
        let (queue, seen, connections) = consumer.await.unwrap();
        let mut expected: Vec<&str> = put.iter().filter(|(of, _)| *of == queue).map(|(_, id)| id.as_str()).collect();
        expected.sort_unstable();
        println!("{queue}: {} of {} jobs over {connections} connections", seen.len(), expected.len());
        let missing =
            expected.iter().copied().collect::<HashSet<_>>().len() - seen.iter().collect::<HashSet<_>>().len();
        assert!(seen == expected, "{missing} are missing, or they came twice or in another order");
        assert!(connections > 5, "only {connections} connections");
    }
}
