//! Discord's bad days: each leaves a state that says what to do, and passes.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use grps::base::metrics::Metrics;
use grps::base::{Clock, Secret, Time};
use grps::domains::discord::{Config, DiscordFeed, Floors, Phase};
use grps::domains::jobs::QueueName;
use grps::remote::{BaseUrl, MAX_ANSWER};
use grps::workers::{Next, Worker};
use serde_json::{Value, json};

use crate::discord::Scene;
use crate::fakes::discord::{CHANNEL, Day, TOKEN};
use crate::fakes::{PATIENCE, lock};

const SECOND: Duration = Duration::from_secs(1);

/// Every bad day that ends by itself: what the state says, what the hint says, and the shortest pause there may be.
fn passing() -> Vec<(Day, &'static str, &'static str, Duration)> {
    vec![
        (Day::Limited("user", 0.65), "limit of this route", "", SECOND),
        (Day::Limited("user", 64.57), "limit of this route", "", Duration::from_millis(65_000)),
        (Day::Limited("global", 3.0), "global limit", "", SECOND * 3),
        (Day::Limited("shared", 1.5), "others have used up", "", Duration::from_millis(1_500)),
        (Day::Cloudflare(Some(120)), "turns this address away", "another program", SECOND * 120),
        (Day::Cloudflare(None), "turns this address away", "another program", SECOND * 60),
        (Day::Forbidden, "may not read the channel", "View Channel and Read Message History", SECOND * 300),
        (Day::Blocked, "turned the request away (403)", "View Channel", SECOND * 300),
        (Day::Missing, "no channel CHANNEL_ID", "invite", SECOND * 300),
        (Day::Down, "not well (503)", "", SECOND),
        (Day::Garbage, "no list of messages", "", SECOND),
        (Day::NotAList, "no list of messages", "", SECOND),
        (Day::Moved, "refused the request (302)", "DISCORD_API_URL", SECOND * 300),
    ]
}

#[tokio::test]
async fn every_bad_day_is_explained_waited_out_and_forgotten() {
    for (n, (day, what, hint, pause)) in passing().into_iter().enumerate() {
        let mut scene = Scene::begun().await;
        scene.fake.days(std::slice::from_ref(&day));
        scene.post("job 0");
        let waited = scene.tick().await;
        assert!(waited >= pause && waited < pause + SECOND * 2, "{day:?}: {waited:?}");
        let state = scene.state().await;
        assert_eq!(&state["state"], &json!("waiting"), "{state}");
        assert!(state["failing"]["detail"].as_str().unwrap().contains(what), "{n} {day:?}: {state}");
        assert!(state["failing"]["hint"].as_str().unwrap_or_default().contains(hint), "{n} {day:?}: {state}");
        assert_eq!(scene.jobs().await.len(), 0);
        scene.tick().await;
        let state = scene.state().await;
        assert_eq!((&state["state"], &state["failing"]), (&json!("polling"), &Value::Null), "{day:?}");
        assert_eq!(scene.titles().await, ["job 0"], "{day:?}");
    }
}

#[tokio::test]
async fn a_bad_day_at_the_first_look_passes_too() {
    let mut scene = Scene::new(&[]).await;
    scene.post("long ago");
    scene.fake.days(&[Day::Down, Day::Limited("user", 1.0), Day::Garbage]);
    scene.ticks(4).await;
    scene.post("job 0");
    scene.tick().await;
    assert_eq!(scene.titles().await, ["job 0"]);
}

#[tokio::test]
async fn a_wrong_token_ends_it_until_the_next_start() {
    let mut scene = Scene::begun().await;
    scene.post("job 0");
    scene.fake.days(&[Day::Unauthorized]);
    scene.tick().await;
    let asked = scene.fake.asked().len();
    scene.ticks(100).await;
    assert_eq!(scene.fake.asked().len(), asked, "four days later it has not asked again");
    let state = scene.state().await;
    assert_eq!((&state["state"], &state["nextPollAt"]), (&json!("stopped"), &Value::Null));
    assert!(state["failing"]["hint"].as_str().unwrap().contains("DISCORD_TOKEN and restart"), "{state}");
    let metrics = scene.app.get("/metrics").from("127.0.0.1:4711").expect(200).await.text;
    assert!(metrics.contains("grps_discord_poller_state 4"), "{metrics}");
    scene.restart();
    scene.tick().await;
    assert_eq!(scene.titles().await, ["job 0"]);
    assert_eq!(scene.state().await["state"], "polling");
}

#[tokio::test]
async fn troubles_of_different_kinds_do_not_add_up() {
    let mut scene = Scene::begun().await;
    scene.fake.days(&vec![Day::Down; 12]);
    scene.ticks(12).await;
    scene.fake.days(&[Day::Limited("user", 0.3), Day::Forbidden]);
    assert!(scene.tick().await < SECOND * 2);
    assert_eq!(scene.tick().await, SECOND * 300);
}

#[tokio::test]
async fn a_page_that_is_too_large_is_read_in_parts() {
    let mut scene = Scene::begun().await;
    for n in 0..100 {
        // Six bytes a character on the way.
        scene.fake.message(json!({"content": "\u{1}".repeat(16_000), "embeds": [{"title": format!("job {n}")}]}));
    }
    assert!(scene.tick().await >= SECOND);
    assert_eq!(scene.state().await["failing"]["detail"], "Discord sent more than 8 MiB");
    scene.ticks(5).await;
    assert_eq!(scene.titles().await, (0..100).map(|n| format!("job {n}")).collect::<Vec<_>>());
    assert_eq!(scene.state().await["failing"], Value::Null);
}

#[tokio::test]
async fn a_message_that_is_too_large_by_itself_is_rejected_and_stops_nobody() {
    let mut scene = Scene::begun().await;
    scene.post("job 0");
    let id = scene.fake.message(json!({"content": "x".repeat(MAX_ANSWER), "embeds": [{"title": "lost"}]}));
    scene.post("job 1");
    scene.ticks(30).await;
    scene.post("job 2");
    scene.ticks(30).await;
    assert_eq!(scene.titles().await, ["job 0", "job 1", "job 2"]);
    let state = scene.state().await;
    assert_eq!((&state["rejected"], &state["failing"]), (&json!(1), &Value::Null), "{state}");
    assert_eq!(state["rejections"][0]["messageId"], id.to_string());
    assert_eq!(state["rejections"][0]["reason"], "the message alone has more than 8 MiB");
    assert_eq!(scene.fake.asked().last().unwrap().limit, 100, "whole pages again");
}

#[tokio::test]
async fn a_clock_that_is_wrong_loses_nothing_and_is_told_of() {
    let mut scene = Scene::new(&[]).await;
    let theirs = Clock::fake(scene.app.clock.now());
    scene.fake.clock(&theirs);
    scene.app.advance(600);
    for n in 0..5 {
        scene.tick().await;
        scene.post(&format!("job {n}"));
        theirs.advance(SECOND);
    }
    scene.tick().await;
    assert_eq!(scene.jobs().await.len(), 5);
    let warning = scene.state().await["warning"].as_str().unwrap().to_owned();
    assert!(warning.contains("clock is 59") && warning.contains("ahead of Discord's"), "{warning}");
    scene.fake.clock(&scene.app.clock);
    scene.tick().await;
    assert_eq!(scene.state().await["warning"], Value::Null);
}

#[tokio::test]
async fn bad_requests_stay_far_below_what_bans_an_address() {
    for day in [
        Day::Unauthorized,
        Day::Forbidden,
        Day::Limited("user", 0.0),
        Day::Limited("global", 0.0),
        Day::Cloudflare(None),
    ] {
        let mut scene = Scene::begun().await;
        scene.fake.climate(Some(day.clone()));
        let (first, start) = (scene.fake.asked().len(), scene.app.clock.now());
        while scene.app.clock.now().since(start) < SECOND * 600 {
            scene.tick().await;
        }
        let asked = scene.fake.asked().len() - first;
        assert!((1..=16).contains(&asked), "{day:?}: {asked} in ten minutes; Discord bans at 10,000");
    }
}

/// Discord's buckets hold 5 requests in 5 seconds here; messages come in bursts. Nothing is ever asked too soon.
#[tokio::test]
async fn the_bucket_is_never_overdrawn() {
    let mut scene = Scene::begun().await;
    scene.fake.bucket(5, SECOND * 5);
    let (first, start) = (scene.fake.asked().len(), scene.app.clock.now());
    let mut posted = 0;
    while scene.app.clock.now().since(start) < SECOND * 120 {
        if scene.app.clock.now().since(start).as_secs() % 20 < 5 {
            scene.post(&format!("job {posted}"));
            posted += 1;
        }
        scene.tick().await;
    }
    scene.ticks(2).await;
    let asked = scene.fake.asked();
    assert!(asked[first..].iter().all(|asked| asked.status == 200), "{asked:?}");
    assert!(asked[first..].windows(2).all(|pair| pair[1].at.since(pair[0].at) >= Duration::from_millis(50)));
    assert!(asked.len() - first >= 100, "the bucket is used: {}", asked.len() - first);
    assert_eq!(scene.jobs().await.len(), posted);
    let state = scene.state().await;
    assert_eq!((&state["rateLimit"]["limit"], &state["failing"]), (&json!(5), &Value::Null));
}

#[tokio::test]
async fn the_settings_are_floors_even_when_the_worker_is_called_early() {
    let settings = [("DISCORD_POLL_SECONDS", "2"), ("BURST_POLL_SECONDS", "0.5")];
    let mut scene = Scene::new(&settings).await;
    scene.fake.message(json!({"content": "open"}));
    let mut poller = scene.app.app.discord.poller().unwrap();
    for n in 0..400 {
        if n % 100 == 50 {
            scene.post(&format!("job {n}"));
        }
        let _ = poller.tick().await.unwrap();
        scene.app.clock.advance(Duration::from_millis(100));
    }
    let gaps: Vec<Duration> = scene.fake.asked().windows(2).map(|pair| pair[1].at.since(pair[0].at)).collect();
    assert!(gaps.iter().all(|gap| *gap >= Duration::from_millis(500)), "{gaps:?}");
    assert!(gaps.contains(&(SECOND * 2)) && gaps.contains(&Duration::from_millis(500)), "{gaps:?}");
    scene.restart();
}

fn feed(scene: &Scene, url: &str) -> DiscordFeed {
    let floors = Floors { idle: Duration::from_millis(250), burst: Duration::from_millis(50) };
    let config = Config {
        channel: CHANNEL,
        token: Secret::new(format!(" Bot {TOKEN}\n")),
        floors,
        queue: QueueName::default(),
        contact: None,
        api: BaseUrl::parse("DISCORD_API_URL", url).unwrap(),
        patience: PATIENCE,
    };
    let app = &scene.app.app;
    DiscordFeed::new(app.store.clone(), app.clock.clone(), app.jobs.clone(), Some(&config), &Metrics::default())
        .unwrap()
}

#[tokio::test]
async fn who_does_not_answer_in_time_is_asked_again_later() {
    let scene = Scene::begun().await;
    let feed = feed(&scene, &scene.fake.url());
    let mut poller = feed.poller().unwrap();
    scene.post("job 0");
    scene.fake.days(&[Day::Hang]);
    assert_eq!(poller.tick().await.unwrap(), Next::After(SECOND));
    let status = feed.status();
    assert_eq!(
        (status.phase, status.failing.unwrap().0.what),
        (Phase::Waiting, "Discord did not answer within 3s".into())
    );
    scene.app.advance(1);
    poller.tick().await.unwrap();
    assert_eq!((feed.status().phase, feed.status().failing), (Phase::Polling, None));
    assert_eq!(scene.titles().await, ["job 0"]);
}

/// What the poller makes of an answer that is written byte for byte, after which the connection ends.
async fn told_of(answer: Vec<u8>) -> String {
    let scene = Scene::begun().await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/v10", listener.local_addr().unwrap());
    let vendor = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 4096];
        assert!(std::io::Read::read(&mut stream, &mut head).unwrap() > 0);
        // Whoever has read enough may hang up first.
        let _ = stream.write_all(&answer);
    });
    let feed = feed(&scene, &url);
    feed.poller().unwrap().tick().await.unwrap();
    vendor.join().unwrap();
    feed.status().failing.unwrap().0.what
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_never_ends_is_no_answer() {
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n[{\"id\":".to_vec();
    assert_eq!(told_of(cut).await, "Discord broke off its answer");
    let mut endless = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 64 << 20).into_bytes();
    endless.resize(MAX_ANSWER + (1 << 20), b' ');
    assert_eq!(told_of(endless).await, "Discord sent more than 8 MiB");
    assert_eq!(told_of(b"SSH-2.0-OpenSSH_9.6\r\n".to_vec()).await, "Discord broke off its answer");
}

#[tokio::test]
async fn an_address_where_nobody_is_says_so() {
    let scene = Scene::begun().await;
    let feed = feed(&scene, "http://127.0.0.1:1/api/v10");
    feed.poller().unwrap().tick().await.unwrap();
    let (failing, since) = feed.status().failing.unwrap();
    assert_eq!((failing.what.as_str(), since), ("Discord cannot be reached", Time(scene.app.clock.now().0)));
}

/// What is logged, in memory.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        lock(&self.0).extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_token_is_in_no_log_at_any_level() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(move || writer.clone());
    // With a single subscriber in the process, other tests' threads, which have none, would decide what is logged at all.
    let _second = tracing::Dispatch::new(tracing_subscriber::fmt().with_writer(std::io::sink).finish());
    let _guard = tracing::subscriber::set_default(subscriber.finish());
    let mut scene = Scene::begun().await;
    for (day, ..) in passing() {
        scene.fake.days(&[day]);
        scene.ticks(2).await;
    }
    let silent = feed(&scene, &scene.fake.url());
    scene.fake.days(&[Day::Hang]);
    let mut poller = silent.poller().unwrap();
    poller.tick().await.unwrap();
    scene.fake.days(&[Day::Unauthorized]);
    scene.tick().await;
    let log = String::from_utf8(lock(&log.0).clone()).unwrap();
    assert!(log.contains("reading jobs from Discord: Discord does not accept DISCORD_TOKEN"), "{log}");
    for part in TOKEN.split('.') {
        assert!(!log.contains(part), "the log tells the token");
    }
}
