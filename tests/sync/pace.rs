//! The budget is used in full and not beyond, the rest of the time is told, and what is done shows in the metrics.

use std::time::Duration;

use serde_json::json;

use super::{Scene, counts};

/// Entries of the measured walk.
const ENTRIES: u64 = 2_000;

/// 95 % of 300 reads a minute, and the rest told within 10 %, on a clock of the test's own: what is measured is when we ask, not how fast this
/// machine is.
#[tokio::test]
async fn the_budget_is_used_and_the_rest_of_the_time_is_told() {
    let scene = Scene::new().await;
    scene.entries(ENTRIES);
    let begun = scene.app.clock.now();
    scene.nightly().await;
    let mut told: Vec<(u64, Duration, Duration)> = Vec::new();
    let mut marks = [10, 50, 90].map(|percent| ENTRIES * percent / 100).to_vec();
    while scene.tick().await.is_some() {
        let run = scene.runs().await[0].clone();
        let (seen, at) = (run["seen"].as_u64().unwrap(), scene.app.clock.now().since(begun));
        if marks.first().is_some_and(|mark| seen >= *mark) && run["eta_seconds"].is_u64() {
            told.push((marks.remove(0), at, Duration::from_secs(run["eta_seconds"].as_u64().unwrap())));
        }
    }
    let took = scene.app.clock.now().since(begun);
    assert_eq!((counts(&scene.runs().await[0])[0], scene.fake.limits().throttled()), (ENTRIES, 0));
    // The first 300 come at once; from then on the limit decides.
    let floor = Duration::from_secs((ENTRIES - 1) / 300 * 60);
    assert!(took.as_secs_f64() <= floor.as_secs_f64() / 0.95, "{took:?} of {floor:?}");
    assert_eq!(told.len(), 3, "{told:?}");
    for (mark, at, eta) in told {
        // Within a tenth of what was left, or one window, since reads come a window at a time.
        let left = took.saturating_sub(at);
        let off = eta.abs_diff(left);
        assert!(off <= (left / 10).max(Duration::from_secs(61)), "at {mark}: {eta:?} told, {left:?} left");
    }
    scene.end();
}

#[tokio::test]
async fn a_restart_uses_what_is_left_of_the_minute_and_no_more() {
    let scene = Scene::new().await;
    scene.entries(400);
    scene.nightly().await;
    let begun = scene.app.clock.now();
    while scene.reads() < 200 {
        scene.tick().await;
    }
    let scene = scene.restart().await;
    let mut at_once = scene.reads();
    while scene.app.clock.now().since(begun) < Duration::from_secs(60) {
        at_once = scene.reads();
        scene.tick().await;
    }
    assert_eq!(at_once, 300);
    scene.settle().await;
    scene.end();
}

#[tokio::test]
async fn what_is_read_shows_in_the_metrics() {
    let scene = Scene::new().await;
    scene.entries(10);
    scene.entry("nobody", json!({}));
    scene.walk().await;
    let metrics = scene.app.get("/metrics").from("127.0.0.1:1").expect(200).await.text;
    for line in [
        "grps_sync_entries_total{outcome=\"created\"} 10",
        "grps_sync_entries_total{outcome=\"failed\"} 1",
        "grps_sync_running 0",
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}
