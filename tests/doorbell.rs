//! The doorbell: live game servers are told that there is work, soon, seldom enough, and without anybody waiting for it.

use std::time::Duration;

use grps::base::Clock;
use grps::base::metrics::Metrics;
use grps::domains::doorbell::{BUDGET_PER_MINUTE, BURST, Config, Doorbell};
use grps::domains::jobs::{NewJob, QueueName, Take};
use grps::fakes::roblox::{Day, FakeRoblox, KEY, UNIVERSE};
use grps::remote::Unanswered;
use grps::remote::roblox::{MAX_MESSAGE, PUBLISH_SCOPE, Trouble};
use grps::workers::{Next, StatusBoard, Supervisor, Worker};
use serde_json::json;

use crate::fakes::{PATIENCE, roblox};
use crate::harness::{START, Setup, TestApp};

const SECOND: Duration = Duration::from_secs(1);

struct Scene {
    app: TestApp,
    fake: FakeRoblox,
    ringer: Box<dyn Worker>,
}

impl Scene {
    async fn new(queues: &str) -> Self {
        let fake = FakeRoblox::start(Clock::fake(START)).unwrap();
        let setup = Setup::new().set("ROBLOX_OPEN_CLOUD_API_KEY", KEY).set("ROBLOX_UNIVERSE_ID", UNIVERSE.to_string());
        let app = setup.set("DOORBELL_QUEUES", queues).set("ROBLOX_API_URL", fake.url()).start().await;
        fake.clock(&app.clock);
        let ringer = app.app.workers().into_iter().find(|worker| worker.name() == "doorbell").unwrap();
        Self { app, fake, ringer }
    }

    async fn put(&self, queue: &str, count: usize) {
        let queue: QueueName = queue.parse().unwrap();
        let jobs = (0..count).map(|_| NewJob::new(queue.clone(), "{}", "test")).collect();
        self.app.app.jobs.submit(jobs).await.unwrap();
    }

    async fn take(&self, queue: &str, max: usize) {
        let queue = queue.parse().unwrap();
        let take = Take { queue, max, wait: Duration::ZERO, lease: None, holder: "test".into() };
        assert_eq!(self.app.app.jobs.take(&take).await.unwrap().len(), max);
    }

    /// One tick; gives the pause it asks for.
    async fn tick(&mut self) -> Duration {
        match self.ringer.tick().await.unwrap() {
            Next::After(pause) => pause,
            Next::Now => panic!("it takes no rest"),
        }
    }

    /// Ticks as the supervisor would, with nothing calling, for this long.
    async fn run(&mut self, span: Duration) {
        let end = self.app.clock.now() + span;
        while self.app.clock.now() < end {
            let pause = self.tick().await;
            self.app.clock.advance(pause.min(end.since(self.app.clock.now())));
        }
    }

    /// Topic and number of every ring.
    fn rings(&self) -> Vec<(String, u64)> {
        let rings = self.fake.messages();
        rings.into_iter().map(|ring| (ring.topic, ring.message["ready"].as_u64().unwrap())).collect()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        assert!(std::thread::panicking() || self.fake.wrong().is_empty(), "{:?}", self.fake.wrong());
    }
}

#[tokio::test]
async fn a_new_job_rings_for_its_queue_alone() {
    let mut scene = Scene::new("default, vip").await;
    assert_eq!(scene.tick().await, SECOND * 5);
    scene.put("vip", 3).await;
    scene.put("quiet", 1).await;
    scene.tick().await;
    let rings = scene.fake.messages();
    assert_eq!(rings.len(), 1);
    assert_eq!((rings[0].topic.as_str(), &rings[0].message), ("grps-jobs-vip", &json!({"queue": "vip", "ready": 3})));
    let metrics = scene.app.get("/metrics").from("127.0.0.1:4711").expect(200).await.text;
    assert!(
        metrics.contains("grps_doorbell_rings_total 1") && metrics.contains("grps_doorbell_failing 0"),
        "{metrics}"
    );
}

#[tokio::test]
async fn many_jobs_are_one_ring_a_second() {
    let mut scene = Scene::new("default").await;
    for _ in 0..50 {
        scene.put("default", 1).await;
        scene.tick().await;
        scene.app.clock.advance(Duration::from_millis(100));
    }
    let rings = scene.fake.messages();
    assert_eq!(rings.len(), 5, "{rings:?}");
    assert!(rings.windows(2).all(|pair| pair[1].at.since(pair[0].at) >= SECOND));
}

#[tokio::test]
async fn the_last_job_of_a_flurry_is_rung_for_and_what_is_gone_is_not() {
    let mut scene = Scene::new("default").await;
    scene.put("default", 1).await;
    scene.tick().await;
    scene.put("default", 1).await;
    let pause = scene.tick().await;
    assert_eq!((pause, scene.rings().len()), (SECOND, 1));
    scene.run(SECOND * 2).await;
    assert_eq!(scene.rings().last(), Some(&("grps-jobs-default".to_owned(), 2)));
    scene.put("default", 1).await;
    scene.take("default", 3).await;
    scene.run(SECOND * 60).await;
    assert_eq!(scene.rings().len(), 2);
}

#[tokio::test]
async fn work_that_nobody_takes_is_rung_for_again() {
    let mut scene = Scene::new("default").await;
    scene.put("default", 2).await;
    scene.run(SECOND * 100).await;
    assert_eq!(scene.rings().len(), 4, "{:?}", scene.fake.messages());
}

#[tokio::test]
async fn a_delayed_job_rings_when_it_is_ready() {
    let mut scene = Scene::new("default").await;
    let mut job = NewJob::new(QueueName::default(), "{}", "test");
    job.delay = SECOND * 20;
    scene.app.app.jobs.submit(vec![job]).await.unwrap();
    scene.run(SECOND * 19).await;
    assert_eq!(scene.rings().len(), 0);
    scene.run(SECOND * 7).await;
    assert_eq!(scene.rings().len(), 1);
}

#[tokio::test]
async fn many_queues_share_the_budget() {
    let queues: Vec<String> = (0..20).map(|n| format!("q{n}")).collect();
    let mut scene = Scene::new(&queues.join(",")).await;
    for _ in 0..120 {
        for queue in &queues {
            scene.put(queue, 1).await;
        }
        scene.run(SECOND).await;
    }
    let rings = scene.rings();
    let most = (BUDGET_PER_MINUTE * 2 + BURST) as usize;
    assert!((most * 9 / 10..=most).contains(&rings.len()), "{} rings in two minutes", rings.len());
    for queue in &queues {
        let own = rings.iter().filter(|(topic, _)| *topic == format!("grps-jobs-{queue}")).count();
        assert!(own >= rings.len() / 30, "{queue}: {own} of {}", rings.len());
    }
}

#[tokio::test]
async fn every_bad_day_is_waited_out_and_the_ring_made_up_for() {
    for (day, what, pause) in [
        (Day::Limited(Some(7), None), "limit is reached", SECOND * 7),
        (Day::Limited(None, Some(20)), "limit is reached", SECOND * 20),
        (Day::Limited(None, None), "limit is reached", SECOND),
        (Day::Down, "not well (502)", SECOND),
        (Day::Unauthorized, "does not accept ROBLOX_OPEN_CLOUD_API_KEY (401): \"Invalid API Key\"", SECOND * 300),
        (Day::Forbidden, "may not do this (403): \"PERMISSION_DENIED: ", SECOND * 300),
        (Day::Missing, "does not know", SECOND * 300),
        (Day::Invalid, "refused the request (400)", SECOND * 300),
    ] {
        let mut scene = Scene::new("default").await;
        scene.fake.days(std::slice::from_ref(&day));
        scene.put("default", 1).await;
        scene.tick().await;
        let failing = scene.app.app.doorbell.failing().unwrap().what;
        assert!(failing.contains(what), "{day:?}: {failing}");
        assert!(!failing.contains(KEY));
        scene.run(pause - Duration::from_millis(1)).await;
        assert_eq!(scene.fake.asked().len(), 1, "{day:?}");
        scene.run(Duration::from_millis(2)).await;
        assert_eq!((scene.rings().len(), scene.app.app.doorbell.failing()), (1, None), "{day:?}");
    }
}

#[tokio::test]
async fn roblox_being_away_keeps_nobody_from_putting_jobs_in() {
    let scene = Scene::new("default").await;
    let config = Config {
        universe: UNIVERSE,
        queues: vec![QueueName::default()],
        topic: "grps-jobs".into(),
        patience: PATIENCE,
    };
    let app = &scene.app.app;
    let roblox = roblox(&scene.fake, &Clock::fake(START));
    let bell = (Some(&config), Some(&roblox));
    let doorbell = Doorbell::new(&app.store, app.clock.clone(), app.jobs.clone(), bell, &Metrics::default());
    let mut ringer = doorbell.ringer().unwrap();
    scene.fake.climate(Some(Day::Hang));
    scene.put("default", 1).await;
    let (ticked, ()) = tokio::join!(ringer.tick(), async {
        for _ in 0..20 {
            scene.put("default", 1).await;
        }
        assert_eq!(doorbell.failing(), None, "the jobs are in long before the ring has failed");
    });
    assert_eq!(ticked.unwrap(), Next::After(SECOND));
    assert_eq!(doorbell.failing().unwrap().what, "Roblox did not answer within 3s");
}

#[tokio::test]
async fn a_key_without_the_scope_is_told_which_one_it_lacks() {
    let mut scene = Scene::new("default").await;
    scene.fake.days(&[Day::Forbidden]);
    scene.put("default", 1).await;
    scene.tick().await;
    let ready = scene.app.get("/health/ready").expect(200).await.json();
    let check = ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "doorbell").unwrap();
    assert!(check["ok"] == false && check["detail"].as_str().unwrap().contains(PUBLISH_SCOPE), "{check}");
}

#[tokio::test]
async fn a_job_that_comes_as_another_goes_is_rung_for() {
    let mut scene = Scene::new("default").await;
    scene.put("default", 1).await;
    scene.tick().await;
    scene.take("default", 1).await;
    scene.put("default", 1).await;
    scene.run(SECOND * 2).await;
    assert_eq!(scene.rings().len(), 2);
}

/// The whole way: a commit calls the worker at once, however long it meant to sleep.
#[tokio::test]
async fn a_commit_calls_the_worker_at_once() {
    let mut scene = Scene::new("default").await;
    let ringer = std::mem::replace(&mut scene.ringer, Box::new(Nobody));
    let mut supervisor = Supervisor::new(scene.app.clock.clone(), StatusBoard::default());
    supervisor.start(ringer);
    tokio::time::sleep(Duration::from_millis(50)).await;
    scene.put("default", 1).await;
    let heard = async {
        while scene.fake.messages().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SECOND, heard).await.expect("it rings before its five seconds are over");
    supervisor.stop(SECOND).await;
}

struct Nobody;

impl Worker for Nobody {
    fn name(&self) -> &'static str {
        "nobody"
    }
    fn tick(&mut self) -> futures_util::future::BoxFuture<'_, grps::base::Result<Next>> {
        Box::pin(async { Ok(Next::After(SECOND)) })
    }
}

#[tokio::test]
async fn without_its_settings_it_is_off() {
    for settings in
        [&[("DOORBELL_QUEUES", "default")][..], &[("ROBLOX_OPEN_CLOUD_API_KEY", KEY), ("ROBLOX_UNIVERSE_ID", "5")]]
    {
        let app = TestApp::with(settings).await;
        assert!(app.app.workers().iter().all(|worker| worker.name() != "doorbell"));
    }
}

#[tokio::test]
async fn a_message_that_is_too_long_is_told_before_it_is_sent() {
    let fake = FakeRoblox::start(Clock::fake(START)).unwrap();
    let roblox = roblox(&fake, &Clock::fake(START));
    assert_eq!(roblox.publish_message(UNIVERSE, "topic", &"x".repeat(MAX_MESSAGE)).await, Ok(()));
    // Bytes are counted: these are fewer characters than that.
    for long in ["x".repeat(MAX_MESSAGE + 1), "é".repeat(MAX_MESSAGE / 2 + 1)] {
        let trouble = roblox.publish_message(UNIVERSE, "topic", &long).await.unwrap_err();
        assert!(trouble.what().contains(&format!("a message of {} bytes", long.len())), "{}", trouble.what());
        assert!(matches!(trouble, Trouble::Refused { status: 400, .. }));
    }
    assert_eq!(fake.asked().len(), 1);
    fake.days(&[Day::HangAfterApplying]);
    let trouble = roblox.publish_message(UNIVERSE, "topic", "x").await.unwrap_err();
    assert!(matches!(trouble, Trouble::Unanswered(Unanswered { what, .. }) if what.contains("did not answer")));
    assert_eq!(fake.messages().len(), 2, "it was heard all the same");
}
