//! Bad days. Whoever waits is told at once; the run waits out what time cures, keeps its place at what it does not, and nothing is lost or
//! read twice for nothing.

use std::time::Duration;

use grps::fakes::roblox::{Class, Day};
use serde_json::json;

use super::{Scene, counts};

const UNAVAILABLE: &str = "sync.roblox_unavailable";

#[tokio::test]
async fn a_failure_keeps_what_was_read_and_the_same_call_goes_on() {
    let scene = Scene::new().await;
    scene.entries(100);
    let first =
        scene.answered(scene.call(json!({"activity": "nightly", "limit": 40})).header("x-grps-sync", "page")).await;
    assert_eq!(first.json()["created"], 40);
    let cursor = first.header("x-grps-next-cursor").to_owned();
    let body = json!({"activity": "nightly", "limit": 40, "cursor": cursor});
    let page = || scene.call(body.clone()).header("x-grps-sync", "page");
    scene.fake.climate(Some(Day::Down));
    let failed = scene.answered(page()).await;
    assert_eq!((failed.status.as_u16(), failed.code().as_str()), (502, UNAVAILABLE));
    assert_eq!(failed.detail(), "Roblox API unavailable");
    let run = scene.runs().await[0].clone();
    assert_eq!((&run["status"], counts(&run)), (&json!("failed"), [0; 6]));
    assert!(run["reason"].as_str().unwrap().contains("not well (502)"), "{run}");
    scene.fake.climate(None);
    let resumed = scene.answered(page()).await;
    assert_eq!(resumed.json(), json!({"updated": 0, "created": 40}));
    assert_eq!(resumed.header("x-grps-job-id"), run["id"].as_str().unwrap());
    assert_eq!(scene.reads(), 80);
    scene.end();
}

#[tokio::test]
async fn a_failure_amid_a_page_loses_and_repeats_nothing() {
    let scene = Scene::new().await;
    scene.entries(100);
    // The page is listed and its first portions read; then three steps in a row fail.
    let mut days = vec![Day::Short(256); 40];
    days.extend(std::iter::repeat_n(Day::Unavailable, 60));
    scene.fake.days_for(Class::StoreRead, &days);
    let failed = scene.answered(scene.call(json!({"activity": "nightly"}))).await;
    assert_eq!((failed.status.as_u16(), failed.detail().as_str()), (502, "Roblox API unavailable"));
    let run = scene.runs().await[0].clone();
    let kept = counts(&run)[0];
    assert!(run["status"] == "failed" && (32..100).contains(&kept), "{run}");
    assert_eq!(scene.players().await.len() as u64, kept);
    let resumed = scene.sync(json!({"activity": "nightly"})).await;
    assert_eq!(resumed.json()["created"].as_u64(), Some(100 - kept));
    assert_eq!(counts(&scene.run(resumed.header("x-grps-job-id")).await), [100, 100, 0, 0, 0, 0]);
}

#[tokio::test]
async fn what_only_the_owner_can_cure_stops_at_once_and_says_how() {
    for (day, hint) in [
        (Day::Unauthorized, "make or renew the key"),
        (Day::Forbidden, "universe-datastores.objects:list"),
        (Day::Missing, "ROBLOX_UNIVERSE_ID"),
    ] {
        let scene = Scene::new().await;
        scene.entries(3);
        scene.fake.days(std::slice::from_ref(&day));
        let failed = scene.answered(scene.call(json!({"activity": "nightly"}))).await;
        assert_eq!((failed.status.as_u16(), failed.code().as_str()), (502, UNAVAILABLE), "{day:?}");
        assert!(failed.hint().contains(hint), "{day:?}: {}", failed.hint());
        assert!(failed.hint().contains("the same call goes on there"), "{day:?}: {}", failed.hint());
        assert_eq!(scene.fake.asked().len(), 1, "{day:?}: asking again is pointless");
        let ready = scene.app.get("/health/ready").expect(200).await.json();
        let check = ready["checks"].as_array().unwrap().iter().find(|check| check["name"] == "sync").unwrap().clone();
        assert!(check["ok"] == false && check["detail"].as_str().unwrap().contains(hint), "{check}");
        assert_eq!(scene.sync(json!({"activity": "nightly"})).await.json()["created"], 3, "{day:?}");
        let ready = scene.app.get("/health/ready").expect(200).await.json();
        assert!(ready["checks"].as_array().unwrap().iter().any(|check| check["name"] == "sync" && check["ok"] == true));
    }
}

#[tokio::test]
async fn a_key_that_loses_its_right_to_read_stops_the_walk_where_it_is() {
    let scene = Scene::new().await;
    scene.entries(60);
    scene.fake.days_for(Class::StoreRead, &[Day::Forbidden]);
    let failed = scene.answered(scene.call(json!({"activity": "nightly"}))).await;
    assert!(failed.hint().contains("universe-datastores.objects:read"), "{}", failed.text);
    assert_eq!(scene.sync(json!({"activity": "nightly"})).await.status.as_u16(), 200);
    scene.settle().await;
    assert_eq!(scene.players().await.len(), 60);
}

#[tokio::test]
async fn storms_of_429_are_waited_out() {
    let scene = Scene::new().await;
    scene.entries(200);
    let storm = [Day::Limited(Some(7), None), Day::Limited(None, Some(20)), Day::Limited(None, None)];
    scene.fake.days_for(Class::StoreRead, &storm.clone().map(|day| vec![day; 9]).concat());
    scene.fake.days_for(Class::StoreList, &storm);
    let begun = scene.app.clock.now();
    let run = scene.walk().await;
    assert_eq!((counts(&run), &run["status"]), ([200, 200, 0, 0, 0, 0], &json!("done")));
    assert!(scene.app.clock.now().since(begun) >= Duration::from_secs(27), "Roblox's wish was heeded");
    scene.end();
}

#[tokio::test]
async fn others_who_use_up_the_budget_slow_us_down_and_no_more() {
    let scene = Scene::new().await;
    scene.entries(500);
    scene.fake.limits().others(Class::StoreRead, 290);
    scene.fake.limits().others(Class::StoreList, 299);
    let answer = scene.sync(json!({"activity": "nightly"})).await;
    scene.fake.limits().others(Class::StoreRead, 200);
    scene.settle().await;
    let run = scene.run(answer.header("x-grps-job-id")).await;
    assert_eq!((counts(&run), &run["status"]), ([500, 500, 0, 0, 0, 0], &json!("done")));
}

#[tokio::test]
async fn in_the_background_a_bad_hour_is_waited_out_and_a_bad_day_keeps_the_place() {
    let scene = Scene::new().await;
    scene.entries(600);
    let id = scene.sync(json!({"activity": "nightly"})).await.header("x-grps-job-id").to_owned();
    scene.fake.climate(Some(Day::Down));
    for _ in 0..20 {
        scene.tick().await;
    }
    assert_eq!(scene.run(&id).await["status"], "running");
    scene.settle().await;
    let stopped = scene.run(&id).await;
    assert_eq!(stopped["status"], "failed");
    scene.fake.climate(None);
    scene.app.post(&format!("/sync/jobs/{id}/retry"), "").operator().expect(202).await;
    scene.settle().await;
    let run = scene.run(&id).await;
    assert_eq!((counts(&run), &run["status"]), ([600, 600, 0, 0, 0, 0], &json!("done")));
}

#[tokio::test]
async fn one_key_that_cannot_be_read_does_not_hold_up_the_others() {
    for day in [Day::Garbage, Day::Empty, Day::Down] {
        let scene = Scene::new().await;
        scene.entries(300);
        let id = scene.sync(json!({"activity": "nightly", "limit": 1})).await.header("x-grps-job-id").to_owned();
        scene.tick().await;
        // The first key of every portion, five times: the same one.
        for _ in 0..5 {
            scene.fake.days_for(Class::StoreRead, std::slice::from_ref(&day));
            scene.tick().await;
            scene.tick().await;
        }
        scene.settle().await;
        let run = scene.run(&id).await;
        assert_eq!((counts(&run), &run["status"]), ([300, 299, 0, 0, 0, 1], &json!("partial")), "{day:?}: {run:#}");
        assert_eq!((scene.players().await.len(), scene.failures(&id).await.len()), (299, 1), "{day:?}");
    }
}

#[tokio::test]
async fn a_page_token_that_is_no_longer_taken_begins_the_walk_anew_once() {
    let scene = Scene::new().await;
    scene.entries(700);
    let id = scene.sync(json!({"activity": "nightly"})).await.header("x-grps-job-id").to_owned();
    scene.fake.days_for(Class::StoreList, &[Day::Invalid]);
    scene.settle().await;
    let run = scene.run(&id).await;
    assert_eq!((counts(&run)[0], &run["status"]), (700, &json!("done")));
    assert_eq!(scene.players().await.len(), 700);
}

/// In the background, behind the first page, counted; the next steps ask for the next page.
async fn amid_a_walk(scene: &Scene) -> String {
    let id = scene.nightly().await;
    while {
        let run = scene.newest();
        run.cursor.is_none() || run.total().is_none()
    } {
        scene.tick().await.unwrap();
    }
    id
}

/// Ticks until the walk has begun anew and has a place again.
async fn begun_anew(scene: &Scene) {
    scene.fake.days_for(Class::StoreList, &[Day::Invalid]);
    for anew in [false, true] {
        while {
            let run = scene.newest();
            run.state.is_live() && (!run.anew || (anew && run.cursor.is_none()))
        } {
            scene.tick().await.unwrap();
        }
    }
    let run = scene.newest();
    assert!(run.anew && run.cursor.is_some(), "{run:?}");
}

#[tokio::test]
async fn a_place_that_is_lost_again_after_a_pause_begins_the_walk_anew_again() {
    let scene = Scene::new().await;
    scene.entries(700);
    let id = amid_a_walk(&scene).await;
    begun_anew(&scene).await;
    scene.fake.days_for(Class::StoreList, &[Day::Forbidden, Day::Invalid]);
    scene.settle().await;
    assert_eq!(scene.run(&id).await["status"], "failed");
    scene.app.post(&format!("/sync/jobs/{id}/retry"), "").operator().expect(202).await;
    scene.settle().await;
    let run = scene.run(&id).await;
    assert_eq!((counts(&run)[0], &run["status"]), (700, &json!("done")), "{run:#}");
}

#[tokio::test]
async fn a_place_that_is_lost_at_once_again_ends_the_run_and_lets_another_begin() {
    let scene = Scene::new().await;
    scene.entries(700);
    let id = amid_a_walk(&scene).await;
    begun_anew(&scene).await;
    scene.fake.days_for(Class::StoreList, &[Day::Invalid]);
    scene.settle().await;
    assert_eq!(scene.run(&id).await["status"], "failed");
    scene.app.post(&format!("/sync/jobs/{id}/retry"), "").operator().refused(409, "sync.nothing_failed").await;
    let next = scene.nightly().await;
    assert_ne!(next, id);
    scene.settle().await;
    let run = scene.run(&next).await;
    assert_eq!((counts(&run)[0], &run["status"]), (700, &json!("done")), "{run:#}");
}

#[tokio::test]
async fn whoever_waits_is_told_to_start_again_where_the_place_is_lost() {
    let scene = Scene::new().await;
    scene.entries(700);
    // The second page is refused, and again when the walk that has begun anew comes to it.
    scene.fake.days_for(Class::StoreList, &[Day::Short(256), Day::Invalid, Day::Short(256), Day::Invalid]);
    let call = || scene.call(json!({"activity": "nightly", "limit": 500}));
    let failed = scene.answered(call()).await;
    assert_eq!((failed.status.as_u16(), failed.code().as_str()), (502, UNAVAILABLE), "{}", failed.text);
    let hint = failed.hint();
    assert!(hint.starts_with("start it again: ") && hint.contains("what was read is kept; run "), "{hint}");
    let lost = scene.runs().await[0].clone();
    assert_eq!((&lost["status"], counts(&lost)[0]), (&json!("failed"), 256), "{lost:#}");
    let begun = scene.answered(call()).await;
    assert_eq!((begun.status.as_u16(), begun.header("x-grps-unchanged")), (200, "256"), "{}", begun.text);
    assert_ne!(begun.header("x-grps-job-id"), lost["id"].as_str().unwrap());
}

#[tokio::test]
async fn a_cursor_of_the_callers_that_is_not_taken_is_the_callers() {
    let scene = Scene::new().await;
    scene.entries(3);
    let refused = scene.answered(scene.call(json!({"activity": "nightly", "cursor": "bogus"}))).await;
    assert_eq!((refused.status.as_u16(), refused.complaints()), (422, vec!["body.cursor".to_owned()]));
    assert_eq!(scene.sync(json!({"activity": "nightly"})).await.json()["created"], 3);
}

#[tokio::test]
async fn short_and_empty_pages_are_not_the_end() {
    let scene = Scene::new().await;
    scene.entries(300);
    let days = [Day::EmptyPage, Day::Short(1), Day::EmptyPage, Day::Short(3), Day::EmptyPage];
    scene.fake.days_for(Class::StoreList, &days);
    let run = scene.walk().await;
    assert_eq!((counts(&run), &run["status"]), ([300, 300, 0, 0, 0, 0], &json!("done")));
    scene.end();
}

#[tokio::test]
async fn a_list_that_never_ends_is_given_up() {
    let scene = Scene::new().await;
    scene.entries(30);
    let days = vec![Day::EmptyPage; 1_200];
    scene.fake.limits().set(Class::StoreList, 10_000);
    scene.fake.days_for(Class::StoreList, &days);
    scene.answered(scene.call(json!({"activity": "nightly"}))).await;
    scene.settle().await;
    let run = &scene.runs().await[0];
    assert_eq!(run["status"], "failed", "{run}");
    assert!(run["reason"].as_str().unwrap().contains("page"), "{run}");
}

#[tokio::test]
async fn a_vendor_that_hangs_is_told_of_within_what_callers_wait() {
    let scene = Scene::new().await;
    scene.entries(30);
    scene.fake.climate(Some(Day::Hang));
    let failed = scene.answered(scene.call(json!({"activity": "nightly"}))).await;
    assert_eq!((failed.status.as_u16(), failed.detail().as_str()), (502, "Roblox API unavailable"));
    let run = &scene.runs().await[0];
    assert!(run["reason"].as_str().unwrap().contains("did not answer within 5s"), "{run}");
}

#[tokio::test]
async fn clocks_that_disagree_or_jump_hold_nothing_up() {
    let scene = Scene::new().await;
    scene.entries(700);
    scene.fake.skew(Duration::from_secs(86_400));
    let id = scene.sync(json!({"activity": "nightly"})).await.header("x-grps-job-id").to_owned();
    for _ in 0..6 {
        scene.tick().await;
    }
    scene.app.clock.set_back(Duration::from_secs(3_600));
    scene.settle().await;
    // Signatures from before the start would be refused.
    scene.app.advance(3_600);
    let run = scene.run(&id).await;
    assert_eq!((counts(&run), &run["status"]), ([700, 700, 0, 0, 0, 0], &json!("done")));
}

#[tokio::test]
async fn the_key_is_in_no_row_and_no_answer() {
    let scene = Scene::new().await;
    scene.entries(3);
    scene.fake.days(&[Day::Unauthorized]);
    let failed = scene.answered(scene.call(json!({"activity": "nightly"}))).await;
    let key = scene.fake.key();
    assert!(!failed.text.contains(key) && !scene.runs().await.to_string().contains(key));
    assert!(crate::state::dump(&scene.app).await.iter().all(|row| !row.contains(key)));
}
