//! Keys that never can be read, with nothing read beside them.

use grps::fakes::roblox::{Class, Day};
use serde_json::json;

use super::{Scene, counts};

/// A day on which all goes well.
const FINE: Day = Day::Short(256);

#[tokio::test]
async fn a_key_alone_that_never_can_be_read_is_left_out_restarts_or_not() {
    for day in [Day::Down, Day::Aborted, Day::Garbage] {
        let mut scene = Scene::new().await;
        scene.entries(1);
        let id = scene.nightly().await;
        scene.fake.days_for(Class::StoreRead, &vec![day.clone(); 5]);
        while scene.is_live() {
            scene.tick().await;
            scene = scene.restart().await;
            scene.app.advance(61);
        }
        let run = scene.run(&id).await;
        assert_eq!((counts(&run), &run["status"]), ([1, 0, 0, 0, 0, 1], &json!("partial")), "{day:?}: {run:#}");
        let failures = scene.failures(&id).await;
        assert_eq!(failures[0].0, "player:1", "{day:?}: {failures:?}");
    }
}

#[tokio::test]
async fn the_same_call_gets_past_a_key_that_never_can_be_read() {
    let scene = Scene::new().await;
    scene.entries(3);
    // The page has one key; each time, another is read to see whether it is Roblox.
    let days = vec![[Day::Down, FINE]; 5].concat();
    scene.fake.days_for(Class::StoreRead, &days);
    let answer = scene.sync(json!({"activity": "nightly", "limit": 1})).await;
    scene.settle().await;
    let run = scene.run(answer.header("x-grps-job-id")).await;
    assert_eq!((counts(&run), &run["status"]), ([3, 2, 0, 0, 0, 1], &json!("partial")), "{run:#}");
}

#[tokio::test]
async fn while_nothing_can_be_read_nothing_is_left_out() {
    let scene = Scene::new().await;
    scene.entries(40);
    let id = scene.nightly().await;
    scene.fake.days_for(Class::StoreRead, &vec![Day::Down; 150]);
    scene.settle().await;
    let stopped = scene.run(&id).await;
    assert_eq!((counts(&stopped), &stopped["status"]), ([0; 6], &json!("failed")), "the first lap stops soon");
    scene.app.post(&format!("/sync/jobs/{id}/retry"), "").operator().expect(202).await;
    scene.settle().await;
    let run = scene.run(&id).await;
    assert_eq!((counts(&run), &run["status"]), ([40, 40, 0, 0, 0, 0], &json!("done")), "{run:#}");
}
