//! What is started by the clock: once when it is due, by one of several servers, and not lost by one that was off.

use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use futures_util::future::BoxFuture;
use grps::base::{Clock, Error};
use grps::domains::ranks::Sender;
use grps::domains::reviews::REVIEWS;
use grps::domains::schedule::{LEASES, Lease, Plan, Planned, SCHEDULES, ScheduleWorker, Schedules, State, TICK};
use grps::store::{Store, Tx};
use grps::workers::{Next, Schedule, Worker, Zone};
use serde_json::{Value, json};

use crate::cli::both_ways;
use crate::group::{end, live};
use crate::harness::{Setup, TestApp};
use crate::state::{audits, dump, rows};

const PATH: &str = "/admin/api/schedules";

/// Reviews every day at 04:00 in Berlin. The clock starts on a Saturday at 19:15 there.
async fn nightly() -> TestApp {
    Setup::new().set("REVIEW_CRON", "0 4 * * *").set("SCHEDULE_TZ", "Europe/Berlin").start().await
}

async fn tick(app: &TestApp) {
    assert_eq!(app.tick("schedule").await, Next::After(TICK));
}

async fn list(app: &TestApp) -> Value {
    app.get(PATH).operator().expect(200).await.json()
}

/// Ends what runs, so that the next start makes another one. How many were started so far.
async fn reviews(app: &TestApp) -> usize {
    while app.tick("reviews").await == Next::Now {}
    rows(app, &REVIEWS).await.len()
}

#[tokio::test]
async fn a_plan_is_started_when_it_is_due_and_once() {
    let app = nightly().await;
    tick(&app).await;
    assert_eq!(reviews(&app).await, 0, "what is on for the first time has missed nothing");
    let shown = list(&app).await;
    let plan = &shown["schedules"][0];
    assert_eq!((&shown["zone"], &shown["leader"]["here"]), (&json!("Europe/Berlin"), &json!(true)));
    assert_eq!(
        (&plan["name"], &plan["cron"], &plan["lastStart"]),
        (&json!("review"), &json!("0 4 * * *"), &Value::Null)
    );
    assert_eq!(plan["next"], "2025-03-02T03:00:00Z");
    app.advance(8 * 3600 + 44 * 60); // 02:59:44
    tick(&app).await;
    assert_eq!(reviews(&app).await, 0);
    app.advance(16);
    tick(&app).await;
    tick(&app).await;
    assert_eq!(reviews(&app).await, 1);
    let plan = list(&app).await["schedules"][0].clone();
    assert_eq!(
        (&plan["lastDue"], &plan["lastStart"]["at"]),
        (&json!("2025-03-02T03:00:00Z"), &json!("2025-03-02T03:00:00Z"))
    );
    assert!(plan["lastStart"]["text"].as_str().unwrap().starts_with("review "), "{plan}");
    app.advance(15);
    tick(&app).await;
    assert_eq!(reviews(&app).await, 1, "once");
}

#[tokio::test]
async fn what_was_missed_is_caught_up_once() {
    let app = nightly().await;
    tick(&app).await;
    let app = app.restart().await;
    app.advance(5 * 86_400);
    tick(&app).await;
    app.advance(15);
    tick(&app).await;
    assert_eq!(reviews(&app).await, 1);
    let plan = list(&app).await["schedules"][0].clone();
    assert_eq!((&plan["lastDue"], &plan["next"]), (&json!("2025-03-02T03:00:00Z"), &json!("2025-03-07T03:00:00Z")));
}

#[tokio::test]
async fn one_server_leads_and_another_takes_over_when_it_is_gone() {
    let app = nightly().await;
    tick(&app).await;
    let first = list(&app).await["leader"]["holder"].clone();
    let app = app.restart().await; // The first one is still there, for all this one knows.
    app.advance(30);
    tick(&app).await;
    let leader = list(&app).await["leader"].clone();
    assert_eq!((&leader["holder"], &leader["here"]), (&first, &json!(false)));
    app.advance(31);
    assert_eq!(list(&app).await["leader"], Value::Null);
    tick(&app).await;
    assert_eq!(list(&app).await["leader"]["here"], true);
    app.app.schedules.step_down().await.unwrap();
    assert!(rows(&app, &LEASES).await.is_empty(), "an orderly end leaves the lead at once");
}

#[tokio::test]
async fn who_does_not_lead_starts_nothing() {
    let app = nightly().await;
    tick(&app).await;
    app.advance(8 * 3600 + 44 * 60); // 02:59:44
    tick(&app).await;
    let app = app.restart().await;
    app.advance(16);
    tick(&app).await;
    assert_eq!(reviews(&app).await, 0);
    app.advance(60);
    tick(&app).await;
    assert_eq!(reviews(&app).await, 1, "the new leader makes up for it");
}

/// A plan that takes 90 seconds, and fails as often as it is told to.
struct Scripted {
    clock: Clock,
    /// Where another process takes the lead meanwhile.
    robbed: Option<Store>,
    failures: AtomicU32,
    starts: Arc<AtomicU32>,
}

impl Plan for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn start<'a>(&'a self, _: &'a Sender) -> BoxFuture<'a, grps::base::Result<String>> {
        Box::pin(async {
            self.clock.advance(Duration::from_secs(90));
            if let Some(store) = &self.robbed {
                let lease = Lease { holder: "another".into(), until: self.clock.now() + Duration::from_secs(60) };
                let lease = &lease;
                let take = |tx: Tx| async move {
                    tx.put(&LEASES, &"schedule".to_owned(), lease);
                    Ok(())
                };
                store.transact(take).await?;
            }
            self.starts.fetch_add(1, SeqCst);
            let fails = self.failures.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)).is_ok();
            if fails { Err(Error::busy("test.busy", "not now")) } else { Ok("something".into()) }
        })
    }
}

/// A process of its own on the store of `app`, with one plan that is due every hour.
fn process(app: &TestApp, robbed: bool, failures: u32) -> (ScheduleWorker, Arc<AtomicU32>) {
    process_with(app, robbed, failures, ("0 * * * *", &Zone::utc()))
}

/// The same with another pattern; an empty one switches the plan off.
fn process_with(
    app: &TestApp,
    robbed: bool,
    failures: u32,
    (pattern, zone): (&str, &Zone),
) -> (ScheduleWorker, Arc<AtomicU32>) {
    let (store, clock, starts) = (app.app.store.clone(), app.clock.clone(), Arc::<AtomicU32>::default());
    let robbed = robbed.then(|| store.clone());
    let plan = Scripted { clock: clock.clone(), robbed, failures: failures.into(), starts: starts.clone() };
    let cron = Schedule::parse("TEST_CRON", pattern, zone).unwrap();
    let plans = vec![Planned { plan: Box::new(plan), cron }];
    (ScheduleWorker(Schedules::new(store, clock, app.app.ids.clone(), zone.clone(), plans)), starts)
}

/// Starts a process with this pattern, lets it look at the clock once, and ends it. How often it started the plan.
async fn look_once(app: &TestApp, pattern: &str, zone: &Zone) -> u32 {
    let (mut worker, starts) = process_with(app, false, 0, (pattern, zone));
    worker.tick().await.unwrap();
    worker.0.step_down().await.unwrap();
    starts.load(SeqCst)
}

#[tokio::test]
async fn a_pattern_that_is_new_or_on_again_has_missed_nothing() {
    let app = TestApp::new().await;
    let (utc, berlin) = (Zone::utc(), Zone::parse("SCHEDULE_TZ", "Europe/Berlin").unwrap());
    let nights = "0 4 * * *";
    for (pattern, zone, started, why) in [
        (nights, &utc, 0, "on for the first time"),
        (nights, &utc, 1, "what was missed while the server was off is made up for"),
        ("0 3 * * *", &utc, 0, "another pattern"),
        ("0 3 * * *", &berlin, 0, "another zone"),
        ("0 3 * * *", &berlin, 1, "the same one again"),
        ("", &berlin, 0, "off"),
        ("0 3 * * *", &berlin, 0, "on again"),
        ("0 3 * * *", &berlin, 1, "and on as before"),
    ] {
        assert_eq!(look_once(&app, pattern, zone).await, started, "{why}: {:?}", rows(&app, &SCHEDULES).await);
        app.advance(10 * 86_400);
    }
}

#[tokio::test]
async fn a_plan_that_is_off_leaves_its_row_alone_while_another_leads() {
    let app = TestApp::new().await;
    let (mut leader, starts) = process(&app, false, 0);
    leader.tick().await.unwrap();
    let (mut off, _) = process_with(&app, false, 0, ("", &Zone::utc()));
    assert_eq!(off.tick().await.unwrap(), Next::After(TICK), "it looks again when the lease may be over");
    assert!(state(&app).await.pattern.is_some());
    app.advance(3600);
    leader.tick().await.unwrap();
    assert_eq!(starts.load(SeqCst), 1);
    leader.0.step_down().await.unwrap();
    assert_ne!(off.tick().await.unwrap(), Next::After(TICK));
    assert_eq!(state(&app).await.pattern, None);
}

#[tokio::test]
async fn a_plan_that_is_off_among_others_misses_nothing_either() {
    let app = Setup::new().set("SYNC_CRON", "").set("REVIEW_CRON", "0 4 * * *").start().await;
    tick(&app).await;
    let row = State { pattern: Some("0 * * * * in UTC".into()), ..state(&app).await };
    let row = &row;
    let put = |tx: Tx| async move {
        tx.put(&SCHEDULES, &"drift".to_owned(), row);
        Ok(())
    };
    app.app.store.transact(put).await.unwrap();
    tick(&app).await;
    let patterns: Vec<_> = rows(&app, &SCHEDULES).await.into_iter().map(|(name, row)| (name, row.pattern)).collect();
    assert_eq!(patterns, [("drift".into(), None), ("review".into(), Some("0 4 * * * in UTC".into()))]);
}

#[tokio::test]
async fn a_review_that_only_looks_does_not_stand_in_for_the_nightly_one() {
    let app = nightly().await;
    tick(&app).await;
    app.post("/automation/reviews", "{}").operator().expect(202).await;
    app.advance(9 * 3600);
    tick(&app).await;
    let plan = list(&app).await["schedules"][0].clone();
    assert_eq!((&plan["lastStart"]["started"], rows(&app, &REVIEWS).await.len()), (&json!(false), 1), "{plan}");
    assert!(plan["lastStart"]["text"].as_str().unwrap().starts_with("reviews.running"), "{plan}");
    assert_eq!(reviews(&app).await, 1);
    app.advance(300);
    tick(&app).await;
    assert_eq!((reviews(&app).await, rows(&app, &REVIEWS).await[1].1.apply), (2, true), "it is tried again");
}

async fn state(app: &TestApp) -> State {
    rows(app, &SCHEDULES).await.pop().unwrap().1
}

#[tokio::test]
async fn a_plan_that_cannot_be_started_is_tried_again_until_it_can() {
    let app = TestApp::new().await;
    let (mut worker, starts) = process(&app, false, 2);
    worker.tick().await.unwrap();
    app.advance(3600);
    for (pause, expected) in [(0, 1), (15, 1), (194, 1), (1, 2), (209, 2), (1, 3), (300, 3)] {
        app.advance(pause);
        worker.tick().await.unwrap();
        assert_eq!(starts.load(SeqCst), expected, "after a further {pause} seconds: {:?}", state(&app).await);
        assert_eq!(state(&app).await.last_outcome.unwrap().started, expected == 3);
    }
}

#[tokio::test]
async fn who_lost_the_lead_meanwhile_writes_nothing_down() {
    let app = TestApp::new().await;
    let (mut slow, slow_starts) = process(&app, true, 0);
    slow.tick().await.unwrap();
    app.advance(3600);
    slow.tick().await.unwrap();
    assert_eq!((slow_starts.load(SeqCst), state(&app).await.last_started), (1, None));
    slow.tick().await.unwrap();
    assert_eq!(slow_starts.load(SeqCst), 1, "another leads");
    app.advance(61);
    let (mut next, starts) = process(&app, false, 0);
    next.tick().await.unwrap();
    assert_eq!((starts.load(SeqCst), state(&app).await.last_due.is_some()), (1, true), "better twice than never");
}

#[tokio::test]
async fn a_plan_can_be_started_by_hand_whether_it_is_on_or_not() {
    let app = TestApp::new().await;
    let shown = list(&app).await;
    assert_eq!((&shown["leader"], &shown["schedules"][0]["cron"]), (&Value::Null, &Value::Null));
    assert!(app.tick("schedule").await != Next::After(TICK), "nothing is on");
    assert!(rows(&app, &LEASES).await.is_empty());
    let started = app.post(&format!("{PATH}/review/run"), "").operator().expect(200).await.json();
    assert_eq!((&started["lastStart"]["started"], &started["lastDue"]), (&json!(true), &Value::Null));
    assert_eq!(reviews(&app).await, 1);
    assert!(rows(&app, &REVIEWS).await[0].1.apply, "as REVIEW_APPLY says");
    let told = audits(&app).await.into_iter().find(|entry| entry.action == "schedule.run").unwrap();
    assert_eq!((told.subject.as_str(), told.actor.id.as_str()), ("schedule:review", "operator"));
    let before = dump(&app).await;
    let answer = app.post(&format!("{PATH}/backup/run"), "").operator().refused(404, "schedule.missing").await;
    assert!(answer.hint().contains("review"), "{}", answer.text);
    assert_eq!(dump(&app).await, before);
}

#[tokio::test]
async fn what_reads_roblox_is_started_where_its_settings_are() {
    let patterns = || Setup::new().set("SYNC_CRON", "0 * * * *").set("DRIFT_CRON", "30 * * * *");
    let app = patterns().start().await;
    let shown = list(&app).await;
    for (at, name, missing) in [(1, "sync", "sync.not_configured"), (2, "drift", "roblox.not_configured")] {
        let plan = &shown["schedules"][at];
        assert_eq!((&plan["name"], &plan["cron"]), (&json!(name), &Value::Null));
        app.post(&format!("{PATH}/{name}/run"), "").operator().refused(503, missing).await;
    }
    let (app, fake) = live(patterns().set("ROBLOX_DATASTORE_NAME", "points")).await;
    tick(&app).await;
    app.advance(3600);
    tick(&app).await;
    let shown = list(&app).await;
    for (at, text) in [(1, "sync run "), (2, "drift run ")] {
        let plan = &shown["schedules"][at];
        assert_eq!(plan["lastStart"]["started"], true, "{plan}");
        assert!(plan["lastStart"]["text"].as_str().unwrap().starts_with(text), "{plan}");
    }
    let told = audits(&app).await;
    for action in ["sync.started", "drift.started"] {
        let entry = told.iter().find(|entry| entry.action == action).unwrap();
        assert_eq!(entry.actor.id, "schedule", "{action}");
    }
    end(&fake);
}

#[tokio::test]
async fn what_was_started_by_hand_is_still_started_when_due() {
    let app = nightly().await;
    tick(&app).await;
    app.post(&format!("{PATH}/review/run"), "").operator().expect(200).await;
    assert_eq!(reviews(&app).await, 1);
    app.advance(9 * 3600);
    tick(&app).await;
    assert_eq!(reviews(&app).await, 2);
}

#[test]
fn the_command_line_shows_the_schedule_and_starts_a_plan() {
    both_ways(|home| {
        assert_eq!(home.json(&["schedules"])["schedules"][0]["name"], "review");
        let shown = home.run(&["schedules"]);
        assert!(shown.stdout.contains("by hand") && shown.stdout.contains("UTC"), "{}", shown.stdout);
        let run = home.run(&["schedules", "run", "review"]);
        assert!(run.stdout.starts_with("Started review "), "{}{}", run.stdout, run.stderr);
        let wrong = home.run(&["schedules", "run", "nothing"]);
        assert!(wrong.code == Some(1) && wrong.stderr.contains("schedule.missing"), "{}", wrong.stderr);
    });
}
