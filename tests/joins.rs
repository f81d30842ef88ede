//! Join requests: whoever the policy wants is let in, once, with an audit row, whatever happens on the way.

use grps::base::RobloxId;
use grps::domains::joins::{Answering, EVERY, FAILED_PAUSE, JOINS_ANSWERING, MAX_FAILURES, REFUSED_PAUSE};
use grps::fakes::roblox::{Change, Class, Day, FakeRoblox};
use grps::workers::{Next, Worker};
use serde_json::{Value, json};

use crate::group::{end, live};
use crate::harness::{Setup, TestApp};
use crate::state::{audits, rows};

async fn scene(rules: Value) -> (TestApp, FakeRoblox) {
    live(Setup::new().policy("policy.ranks.json", |file| file["settings"]["joinRequests"] = rules)).await
}

async fn known(app: &TestApp, user: u64, points: i64, status: Option<&str>) {
    let body =
        json!({ "userId": user, "username": format!("P{user}"), "rankPoints": points, "punishmentStatus": status });
    app.ingest(body.to_string()).expect(200).await;
}

/// Who was let in and who was turned away, as the audit trail tells.
async fn told(app: &TestApp) -> (Vec<String>, Vec<String>) {
    let rows = audits(app).await;
    let of = |action: &str| {
        let rows = rows.iter().filter(|entry| entry.action == action);
        rows.map(|entry| entry.subject.trim_start_matches("player:").to_owned()).collect()
    };
    (of("join.accepted"), of("join.declined"))
}

/// The one worker, with what it remembers.
fn worker(app: &TestApp) -> Box<dyn Worker> {
    app.app.workers().into_iter().find(|worker| worker.name() == "joins").unwrap()
}

/// How often Roblox was asked to let `user` in.
fn asked(fake: &FakeRoblox, user: u64) -> usize {
    let accepts = |path: &str| path.contains(&format!("join-requests/{user}")) && path.ends_with("accept");
    fake.asked().iter().filter(|asked| accepts(&asked.path)).count()
}

#[tokio::test]
async fn nothing_is_answered_unless_the_policy_says_so() {
    let (app, fake) = scene(json!({})).await;
    known(&app, 7, 500, None).await;
    fake.join_request(7);
    assert_eq!(app.tick("joins").await, Next::After(EVERY));
    assert_eq!((fake.joins(), fake.asked().len()), (vec![7], 0));
}

#[tokio::test]
async fn whoever_the_policy_wants_is_let_in() {
    let (app, fake) = scene(json!({ "accept": true, "minPoints": 100, "declineBanned": true })).await;
    known(&app, 7, 500, None).await;
    known(&app, 8, 50, None).await;
    known(&app, 9, 500, Some("banned")).await;
    (1..=50).chain([4711]).for_each(|user| fake.join_request(user));
    assert_eq!(app.tick("joins").await, Next::After(EVERY));
    assert_eq!(fake.joins().len(), 49);
    assert!(!fake.roles_of(7).is_empty() && fake.roles_of(9).is_empty());
    assert_eq!(told(&app).await, (vec!["7".to_owned()], vec!["9".to_owned()]));
    app.tick("joins").await;
    assert_eq!(fake.effects().len(), 2);
    end(&fake);
}

#[tokio::test]
async fn an_answer_that_is_lost_is_told_all_the_same_and_given_once() {
    for day in [Day::CutAfterApplying, Day::Garbage, Day::Empty, Day::Unavailable] {
        for (class, status) in [(Class::AcceptJoin, None), (Class::DeclineJoin, Some("banned"))] {
            let (mut app, fake) = scene(json!({ "accept": true, "declineBanned": true })).await;
            known(&app, 7, 500, status).await;
            fake.join_request(7);
            fake.days_for(class, std::slice::from_ref(&day));
            let mut workers = app.app.workers();
            let worker = workers.iter_mut().find(|worker| worker.name() == "joins").unwrap();
            let _ = worker.tick().await;
            app = app.restart().await;
            for _ in 0..2 {
                app.tick("joins").await;
            }
            let (accepted, declined) = told(&app).await;
            let done: Vec<_> = fake.effects().into_iter().map(|effect| effect.what).collect();
            match status {
                None => assert_eq!((accepted.len(), declined.len(), done), (1, 0, vec![Change::Accepted]), "{day:?}"),
                Some(_) => {
                    assert_eq!((accepted.len(), declined.len(), done), (0, 1, vec![Change::Declined]), "{day:?}")
                }
            }
            assert_eq!((fake.joins(), rows(&app, &JOINS_ANSWERING).await.len()), (vec![], 0), "{day:?}");
        }
    }
}

#[tokio::test]
async fn somebody_who_was_faster_leaves_no_trace_of_ours() {
    let (app, fake) = scene(json!({ "accept": true })).await;
    known(&app, 7, 500, None).await;
    fake.join_request(7);
    fake.days_for(Class::AcceptJoin, &[Day::Missing]);
    app.tick("joins").await;
    assert_eq!((told(&app).await.0.len(), rows(&app, &JOINS_ANSWERING).await.len()), (0, 0));
}

#[tokio::test]
async fn a_refusal_shows_and_the_rest_waits() {
    let (app, fake) = scene(json!({ "accept": true })).await;
    known(&app, 7, 500, None).await;
    fake.join_request(7);
    fake.climate(Some(Day::Forbidden));
    let mut workers = app.app.workers();
    let worker = workers.iter_mut().find(|worker| worker.name() == "joins").unwrap();
    let error = worker.tick().await.unwrap_err();
    assert_eq!(error.code(), "joins.failed");
    assert!(error.hint_text().is_some_and(|hint| hint.contains("group:read")), "{error}");
    fake.climate(None);
    app.tick("joins").await;
    assert_eq!(told(&app).await.0, ["7"]);
}

#[tokio::test]
async fn a_request_that_cannot_be_answered_holds_up_nobody() {
    let (app, fake) = scene(json!({ "accept": true })).await;
    for user in [7, 8] {
        known(&app, user, 500, None).await;
        fake.join_request(user);
    }
    let mut joins = worker(&app);
    fake.days_for(Class::AcceptJoin, &[Day::Invalid]);
    assert_eq!(joins.tick().await.unwrap(), Next::After(EVERY));
    let refused = async || audits(&app).await.iter().filter(|entry| entry.action == "join.refused").count();
    assert_eq!((told(&app).await.0, fake.joins(), refused().await), (vec!["8".to_owned()], vec![7], 1));
    joins.tick().await.unwrap();
    assert_eq!(asked(&fake, 7), 1, "not asked again at once");
    app.clock.advance(REFUSED_PAUSE);
    fake.days_for(Class::AcceptJoin, &[Day::Invalid]);
    joins.tick().await.unwrap();
    assert_eq!((asked(&fake, 7), refused().await), (2, 1), "told once");
    app.clock.advance(REFUSED_PAUSE);
    joins.tick().await.unwrap();
    assert_eq!((told(&app).await.0, fake.joins().len()), (vec!["8".to_owned(), "7".to_owned()], 0));
    assert_eq!(rows(&app, &JOINS_ANSWERING).await, []);
}

#[tokio::test]
async fn requests_that_fail_again_and_again_hold_up_nobody_either() {
    let (app, fake) = scene(json!({ "accept": true })).await;
    let users = 1..=MAX_FAILURES as u64 + 2;
    for user in users.clone() {
        known(&app, user, 500, None).await;
        fake.join_request(user);
    }
    let mut joins = worker(&app);
    fake.days_for(Class::AcceptJoin, &vec![Day::Down; MAX_FAILURES]);
    assert_eq!(joins.tick().await.unwrap_err().code(), "joins.failed");
    assert_eq!(told(&app).await.0.len(), 0, "it is rather Roblox than they");
    joins.tick().await.unwrap();
    assert_eq!((told(&app).await.0.len(), fake.joins().len()), (2, MAX_FAILURES));
    app.clock.advance(FAILED_PAUSE);
    joins.tick().await.unwrap();
    assert_eq!((told(&app).await.0.len(), fake.joins().len()), (users.count(), 0));
    assert_eq!(rows(&app, &JOINS_ANSWERING).await, []);
}

#[tokio::test]
async fn what_comes_in_while_others_are_answered_counts() {
    let (app, fake) = scene(json!({ "accept": true })).await;
    for user in [7, 8] {
        known(&app, user, 500, None).await;
        fake.join_request(user);
    }
    fake.days_for(Class::AcceptJoin, &[Day::Hang]);
    let mut joins = worker(&app);
    let banned = async {
        while rows(&app, &JOINS_ANSWERING).await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        let first = rows(&app, &JOINS_ANSWERING).await[0].0.get();
        known(&app, 15 - first, 500, Some("banned")).await;
    };
    let (looked, ()) = tokio::join!(joins.tick(), banned);
    assert_eq!(looked.unwrap_err().code(), "joins.failed", "the one that hung");
    assert_eq!((told(&app).await.0.len(), fake.joins().len(), fake.effects().len()), (0, 2, 0));
}

#[tokio::test]
async fn more_than_the_budget_allows_comes_later() {
    let (app, fake) = scene(json!({ "accept": true, "knownOnly": false })).await;
    (1..=130).for_each(|user| fake.join_request(user));
    let Next::After(pause) = app.tick("joins").await else { panic!("it takes no rest") };
    assert_eq!(fake.effects().len(), 100);
    app.clock.advance(pause);
    for _ in 0..3 {
        if let Next::After(pause) = app.tick("joins").await {
            app.clock.advance(pause);
        }
    }
    assert_eq!((fake.joins().len(), told(&app).await.0.len()), (0, 130));
    end(&fake);
}

/// `count` requests of people whom nobody knows, and behind all of them one of somebody who may join. `percent` is our share of the budget.
async fn crowded(count: u64, percent: u64) -> (TestApp, FakeRoblox) {
    let rules = json!({ "accept": true, "declineBanned": true });
    let setup = Setup::new().set("ROBLOX_BUDGET_PERCENT", percent.to_string());
    let (app, fake) = live(setup.policy("policy.ranks.json", |file| file["settings"]["joinRequests"] = rules)).await;
    known(&app, count + 1, 500, None).await;
    (1..=count + 1).for_each(|user| fake.join_request(user));
    (app, fake)
}

/// Looks this often, with the pauses that are asked for.
async fn look(app: &TestApp, joins: &mut Box<dyn Worker>, times: usize) {
    for _ in 0..times {
        if let Next::After(pause) = joins.tick().await.unwrap() {
            app.clock.advance(pause);
        }
    }
}

#[tokio::test]
async fn a_list_too_long_for_one_look_is_read_on_by_the_next() {
    // More pages than a look reads, and more than the budget has for a minute.
    for (count, percent, looks) in [(4_050, 100, 2), (1_000, 10, 4)] {
        let (app, fake) = crowded(count, percent).await;
        let mut joins = worker(&app);
        look(&app, &mut joins, looks).await;
        assert_eq!(told(&app).await.0, [(count + 1).to_string()]);
        // And then from the start again.
        known(&app, 1, 500, None).await;
        look(&app, &mut joins, looks).await;
        assert_eq!(told(&app).await.0.last().map(String::as_str), Some("1"));
        end(&fake);
    }
}

#[tokio::test]
async fn only_who_is_nowhere_in_the_whole_list_was_turned_away() {
    let (app, _fake) = crowded(1_000, 10).await;
    let declining = &Answering { accept: false, why: "banned".into(), at: app.clock.now() };
    let write = |tx: grps::store::Tx| async move {
        for user in [5, 2_000] {
            tx.put(&JOINS_ANSWERING, &RobloxId::new(user).unwrap(), declining);
        }
        Ok(())
    };
    app.app.store.transact(write).await.unwrap();
    let mut joins = worker(&app);
    look(&app, &mut joins, 1).await;
    assert_eq!((told(&app).await.1, rows(&app, &JOINS_ANSWERING).await.len()), (vec![], 2), "not all was seen yet");
    look(&app, &mut joins, 3).await;
    assert_eq!(told(&app).await.1, ["2000"], "the other one still asks, on the first page");
    assert_eq!(rows(&app, &JOINS_ANSWERING).await.len(), 1);
}

#[tokio::test]
async fn a_place_in_the_list_that_roblox_does_not_know_any_more_begins_it_anew() {
    let (app, fake) = crowded(1_000, 10).await;
    let mut joins = worker(&app);
    look(&app, &mut joins, 1).await;
    fake.days_for(Class::Joins, &[Day::Invalid]);
    assert_eq!(joins.tick().await.unwrap_err().code(), "joins.failed");
    look(&app, &mut joins, 5).await;
    assert_eq!(told(&app).await.0, ["1001"]);
}
