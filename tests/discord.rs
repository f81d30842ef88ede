//! Jobs from Discord: everything that is posted becomes a job once, in order, whatever Discord, the network and we ourselves do meanwhile
//! (requirements J9, J15, J16).

use std::task::Poll;
use std::time::Duration;

use grps::base::{Clock, Id, Time};
use grps::domains::discord::{MAX_REJECTIONS, NO_INTENT, NOTHING_SHOWN};
use grps::domains::jobs::Job;
use grps::remote::discord::Snowflake;
use grps::workers::{Next, Worker};
use serde_json::{Value, json};

use crate::fakes::discord::{CHANNEL, Day, FakeDiscord, TOKEN};
use crate::harness::{START, Setup, TestApp};

/// A server, Discord, and the worker between them.
pub struct Scene {
    pub app: TestApp,
    pub fake: FakeDiscord,
    poller: Box<dyn Worker>,
}

/// The program's poller, as new as after a start.
fn poller(app: &TestApp) -> Box<dyn Worker> {
    app.app.workers().into_iter().find(|worker| worker.name() == "discord").unwrap()
}

impl Scene {
    /// The poller has not looked yet.
    pub async fn new(settings: &[(&str, &str)]) -> Self {
        let fake = FakeDiscord::start(Clock::fake(START)).await;
        let setup = Setup::new().set("CHANNEL_ID", CHANNEL.to_string()).set("DISCORD_TOKEN", TOKEN);
        let setup = settings.iter().fold(setup, |setup, (name, value)| setup.set(name, *value));
        let app = setup.set("DISCORD_API_URL", fake.url()).start().await;
        fake.clock(&app.clock);
        let poller = poller(&app);
        Self { app, fake, poller }
    }

    /// The poller knows where to begin.
    pub async fn begun() -> Self {
        let mut scene = Self::new(&[]).await;
        scene.fake.message(json!({"content": "the channel is open"}));
        scene.tick().await;
        scene
    }

    /// One tick, and the pause it asks for passes.
    pub async fn tick(&mut self) -> Duration {
        let Next::After(pause) = self.poller.tick().await.unwrap() else { panic!("it takes no rest") };
        self.app.clock.advance(pause);
        pause
    }

    pub async fn ticks(&mut self, count: usize) {
        for _ in 0..count {
            self.tick().await;
        }
    }

    /// What was in memory is gone.
    pub fn restart(&mut self) {
        self.poller = poller(&self.app);
    }

    /// Every job there is, in the order of the queue.
    pub async fn jobs(&self) -> Vec<Job> {
        let (mut out, mut after) = (Vec::new(), Id(0));
        loop {
            let (page, _): (Vec<Job>, _) = self.app.app.jobs.list(None, None, after, 200).await.unwrap();
            let Some(last) = page.last() else { return out };
            after = last.id;
            out.extend(page);
        }
    }

    /// Titles of all jobs, in the order of the queue.
    pub async fn titles(&self) -> Vec<String> {
        let title =
            |job: &Job| serde_json::from_str::<Value>(&job.payload).unwrap()["title"].as_str().unwrap().to_owned();
        self.jobs().await.iter().map(title).collect()
    }

    pub async fn state(&self) -> Value {
        let answer = self.app.get("/admin/api/discord").operator().expect(200).await;
        assert!(!answer.text.contains("G4nF0o"), "{}", answer.text);
        answer.json()
    }

    pub fn post(&self, title: &str) -> u64 {
        self.fake.post(json!([{"type": "rich", "title": title}]))
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        assert!(std::thread::panicking() || self.fake.wrong().is_empty(), "{:?}", self.fake.wrong());
    }
}

fn names(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("job {n}")).collect()
}

#[tokio::test]
async fn every_embed_becomes_a_job_and_history_does_not() {
    let mut scene = Scene::new(&[("DISCORD_QUEUE", "orders")]).await;
    scene.post("long ago");
    scene.tick().await;
    let id = scene.fake.post(json!([
        {"title": "first", "fields": [{"name": "item", "value": "sword"}, {"name": "count", "value": "3"}]},
        {"title": "second", "description": "d", "url": "https://example.com", "timestamp": "2025-03-01T18:15:44+00:00"},
    ]));
    scene.fake.message(json!({"content": "no embed, no job"}));
    scene.post("third");
    scene.ticks(3).await;
    assert_eq!(scene.titles().await, ["first", "second", "third"]);
    let job = &scene.jobs().await[0];
    assert_eq!((job.queue.as_str(), job.producer.as_str()), ("orders", "discord"));
    assert_eq!(job.key.as_deref(), Some(format!("discord:{id}:0").as_str()));
    let expected = json!({
        "source": "discord", "channelId": CHANNEL.to_string(), "messageId": id.to_string(), "embedIndex": 0,
        "fields": {"item": "sword", "count": "3"}, "title": "first", "description": null, "url": null, "timestamp": null,
    });
    assert_eq!(*job.payload, *expected.to_string());
    let state = scene.state().await;
    assert_eq!(
        (&state["state"], &state["queue"], &state["warning"]),
        (&json!("polling"), &json!("orders"), &Value::Null)
    );
    assert_eq!((&state["jobs"], &state["messages"], &state["rejected"]), (&json!(3), &json!(3), &json!(0)));
    let metrics = scene.app.get("/metrics").from("127.0.0.1:4711").expect(200).await.text;
    for line in ["grps_discord_jobs_total 3", "grps_discord_messages_total 3", "grps_discord_poller_state 2"] {
        assert!(metrics.contains(line), "{line}");
    }
    assert!(metrics.contains("grps_discord_poll_interval_seconds 0.05"), "{metrics}");
}

#[tokio::test]
async fn an_empty_channel_is_begun_where_it_is() {
    let mut scene = Scene::new(&[]).await;
    scene.tick().await;
    assert_eq!(scene.state().await["warning"], NOTHING_SHOWN);
    scene.post("job 0");
    scene.tick().await;
    assert_eq!(scene.titles().await, names(0..1));
    assert_eq!(scene.state().await["warning"], Value::Null);
}

#[tokio::test]
async fn restarts_neither_lose_nor_repeat() {
    let mut scene = Scene::begun().await;
    for n in 0..60 {
        scene.post(&format!("job {n}"));
        if n % 3 != 1 {
            scene.tick().await;
        }
        if n % 4 == 0 {
            scene.restart();
        }
        scene.app.clock.advance(Duration::from_millis(n * 37));
    }
    scene.restart();
    scene.ticks(3).await;
    assert_eq!(scene.titles().await, names(0..60));
}

/// Polls `work` so often and drops it then. Whether it was over by then.
async fn polled<T>(mut work: futures_util::future::BoxFuture<'_, T>, times: usize) -> bool {
    let mut left = times;
    std::future::poll_fn(move |context| match left.checked_sub(1) {
        None => Poll::Ready(false),
        Some(fewer) => {
            left = fewer;
            let done = work.as_mut().poll(context).map(|_| true);
            // Those are all the times there are: nobody waits for what would call again.
            if left == 0 && done.is_pending() { Poll::Ready(false) } else { done }
        }
    })
    .await
}

/// The tick is dropped wherever it happens to wait: before the request, within it, between the answer and the commit, within the commit.
#[tokio::test]
async fn a_stop_at_any_moment_neither_loses_nor_repeats() {
    let mut scene = Scene::begun().await;
    let (mut posted, mut times, mut over) = (0, 0, 0);
    // Until even the longest ticks have come to their end several times.
    while over < 40 {
        scene.post(&format!("job {posted}"));
        posted += 1;
        let done = polled(scene.poller.tick(), times).await;
        (over, times) = if done { (over + 1, 0) } else { (over, times + 1) };
        scene.restart();
    }
    scene.app.advance(30);
    scene.ticks(3).await;
    assert_eq!(scene.titles().await, names(0..posted));
}

#[tokio::test]
async fn days_offline_are_made_up_for_in_order() {
    let mut scene = Scene::begun().await;
    for n in 0..1_050 {
        scene.post(&format!("job {n}"));
        scene.app.advance(300);
    }
    let many: Vec<Value> = (1_050..1_060).map(|n| json!({"title": format!("job {n}")})).collect();
    for _ in 0..3 {
        scene.fake.message(json!({"content": "chat"}));
    }
    scene.fake.post(Value::from(many));
    scene.restart();
    let before = scene.fake.asked().len();
    scene.ticks(13).await;
    assert_eq!(scene.titles().await, names(0..1_060));
    let asked = &scene.fake.asked()[before..];
    assert!(asked[..11].windows(2).all(|pair| pair[0].after < pair[1].after && pair[1].limit == 100), "{asked:?}");
    assert_eq!(scene.state().await["messages"], 1_054);
}

#[tokio::test]
async fn a_page_with_more_embeds_than_one_commit_takes_is_split() {
    let mut scene = Scene::begun().await;
    for message in 0..40 {
        let embeds: Vec<Value> = (0..10).map(|n| json!({"title": format!("job {}", message * 10 + n)})).collect();
        scene.fake.post(Value::from(embeds));
    }
    scene.tick().await;
    assert_eq!(scene.titles().await, names(0..400));
}

#[tokio::test]
async fn a_full_queue_holds_the_channel_and_loses_nothing() {
    let mut scene = Scene::new(&[("JOB_QUEUE_LENGTH", "25")]).await;
    scene.fake.message(json!({"content": "open"}));
    scene.tick().await;
    for n in 0..28 {
        scene.post(&format!("job {n}"));
        scene.app.clock.advance(Duration::from_millis(60));
        let _ = scene.poller.tick().await;
    }
    scene.app.advance(5);
    let error = scene.poller.tick().await.unwrap_err();
    assert_eq!(error.code(), "jobs.queue_full");
    let state = scene.state().await;
    assert_eq!(state["state"], "waiting");
    let (asked, next) = ["lastPollAt", "nextPollAt"].map(|name| Time::parse(state[name].as_str().unwrap())).into();
    assert!(next > asked, "{state}");
    assert!(state["failing"]["detail"].as_str().unwrap().contains("default"), "{state}");
    for _ in 0..5 {
        scene.app.get("/job/next").gateway().expect(200).await;
    }
    scene.app.advance(5);
    scene.tick().await;
    assert_eq!(scene.titles().await, names(0..28));
    assert_eq!((&scene.state().await["state"], &scene.state().await["failing"]), (&json!("polling"), &Value::Null));
}

#[tokio::test]
async fn a_message_that_shows_late_is_still_found() {
    let mut scene = Scene::begun().await;
    scene.app.advance(60);
    let early = Snowflake::floor(scene.app.clock.now()).0;
    scene.app.clock.advance(Duration::from_millis(900));
    scene.post("job 0");
    scene.tick().await;
    scene.fake.late(early, json!([{"title": "job 1"}]));
    scene.ticks(2).await;
    scene.restart();
    scene.ticks(2).await;
    assert_eq!(scene.titles().await, names(0..2));
    // In a quiet channel only what follows the newest message is asked for in the end.
    for _ in 0..60 {
        scene.tick().await;
    }
    assert_eq!(scene.fake.asked().last().unwrap().after, Some(early + (900 << 22)));
}

#[tokio::test]
async fn a_message_that_shows_late_is_found_behind_a_full_page_too() {
    let mut scene = Scene::begun().await;
    scene.app.advance(60);
    let early = Snowflake::floor(scene.app.clock.now()).0;
    scene.app.clock.advance(Duration::from_millis(500));
    for n in 0..250 {
        scene.post(&format!("job {n}"));
    }
    scene.tick().await;
    scene.fake.late(early, json!([{"title": "job 250"}]));
    scene.ticks(8).await;
    scene.restart();
    scene.ticks(8).await;
    assert_eq!(scene.titles().await, names(0..251));
}

#[tokio::test]
async fn a_clock_that_is_set_back_does_not_stop_it() {
    let mut scene = Scene::begun().await;
    scene.fake.days(&[Day::Down]);
    let _ = scene.poller.tick().await;
    scene.post("job 0");
    // A day back: milliseconds that wrap around.
    scene.app.clock.advance(Duration::from_millis(u64::MAX - 86_400_000 + 1));
    assert_eq!(scene.tick().await, Duration::from_secs(1));
    scene.tick().await;
    assert_eq!(scene.titles().await, names(0..1));
}

#[tokio::test]
async fn readiness_tells_what_is_wrong_and_stays_ready() {
    let mut scene = Scene::begun().await;
    let check = async |scene: &Scene| {
        let ready = scene.app.get("/health/ready").expect(200).await.json();
        ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "discord").unwrap().clone()
    };
    assert_eq!(check(&scene).await["ok"], true);
    scene.fake.days(&[Day::Forbidden]);
    scene.tick().await;
    let check = check(&scene).await;
    let detail = check["detail"].as_str().unwrap();
    assert!(check["ok"] == false && detail.contains("may not read") && detail.contains("View Channel"), "{check}");
}

#[tokio::test]
async fn a_short_page_is_no_reason_to_skip() {
    let mut scene = Scene::begun().await;
    for n in 0..30 {
        scene.post(&format!("job {n}"));
    }
    scene.fake.days(&[Day::Short(7), Day::Short(0), Day::Short(20)]);
    scene.ticks(6).await;
    assert_eq!(scene.titles().await, names(0..30));
}

#[tokio::test]
async fn bad_embeds_are_listed_and_stop_nobody() {
    let mut scene = Scene::begun().await;
    let id = scene.fake.post(json!([{"title": 5}, {"title": "job 0"}, null, {"fields": [{"name": 1, "value": "x"}]}]));
    scene.fake.message(json!({"embeds": "none"}));
    scene.fake.message(json!({"id": "not a number", "embeds": [{"title": "lost"}]}));
    scene.post("job 1");
    scene.ticks(2).await;
    assert_eq!(scene.titles().await, names(0..2));
    let state = scene.state().await;
    let reasons: Vec<&str> =
        state["rejections"].as_array().unwrap().iter().map(|row| row["reason"].as_str().unwrap()).collect();
    assert!(
        reasons.contains(&"title is a number, not text") && reasons.contains(&"embeds is text, not a list"),
        "{state}"
    );
    assert!(reasons.contains(&"the message has no id"), "{state}");
    let of_first =
        state["rejections"].as_array().unwrap().iter().find(|row| row["reason"] == "title is a number, not text");
    let of_first = of_first.unwrap();
    assert_eq!((&of_first["messageId"], &of_first["embedIndex"]), (&json!(id.to_string()), &json!(0)));
    assert_eq!(state["state"], "polling");
}

#[tokio::test]
async fn the_newest_rejections_are_kept_and_no_more() {
    let mut scene = Scene::begun().await;
    for _ in 0..110 {
        scene.fake.post(json!(vec![Value::Null; 10]));
    }
    scene.ticks(3).await;
    let state = scene.app.get("/admin/api/discord?limit=1000").operator().expect(200).await.json();
    assert_eq!(state["rejections"].as_array().unwrap().len(), MAX_REJECTIONS as usize);
    assert_eq!((&state["rejected"], &state["rejections"][0]["embedIndex"]), (&json!(1_100), &json!(9)));
    assert_eq!(scene.state().await["rejections"].as_array().unwrap().len(), 100);
}

#[tokio::test]
async fn empty_messages_of_others_point_to_the_intent() {
    let mut scene = Scene::begun().await;
    scene.fake.intent(false);
    scene.post("never seen");
    scene.tick().await;
    assert_eq!(scene.state().await["warning"], NO_INTENT);
    scene.fake.message(json!({"author": {"id": "999"}, "content": "the bot's own"}));
    scene.tick().await;
    assert_eq!(scene.state().await["warning"], NO_INTENT);
    scene.fake.intent(true);
    scene.post("job 0");
    scene.tick().await;
    assert_eq!(scene.state().await["warning"], Value::Null);
    assert_eq!(scene.titles().await, names(0..1));
}

#[tokio::test]
async fn an_answer_that_a_bot_has_yet_to_write_says_nothing_of_the_intent() {
    let mut scene = Scene::begun().await;
    scene.fake.message(json!({"type": 20, "flags": 128}));
    scene.tick().await;
    assert_eq!(scene.state().await["warning"], Value::Null);
}

#[tokio::test]
async fn without_its_settings_it_is_off() {
    let app = TestApp::with(&[("CHANNEL_ID", "5")]).await;
    assert!(app.app.workers().iter().all(|worker| worker.name() != "discord"));
    let state = app.get("/admin/api/discord").operator().expect(200).await.json();
    assert_eq!((&state["state"], &state["channelId"], &state["rejections"]), (&json!("off"), &Value::Null, &json!([])));
    app.get("/admin/api/discord").key().refused(401, "auth.scheme_not_accepted").await;
}
