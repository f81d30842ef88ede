//! Killed at every step: a walk misses nothing and counts nothing twice.

use grps::domains::players::PLAYERS;
use grps::domains::sync::SYNC_PAGES;
use serde_json::json;

use super::{Scene, counts};
use crate::harness::Setup;
use crate::state;

/// Entries of the long walk.
const ENTRIES: u64 = 3_000;

async fn assert_whole(scene: &Scene, entries: u64) {
    let run = scene.runs().await[0].clone();
    assert_eq!((counts(&run), &run["status"]), ([entries, entries, 0, 0, 0, 0], &json!("done")));
    let mut users: Vec<u64> = state::rows(&scene.app, &PLAYERS).await.iter().map(|(id, _)| id.get()).collect();
    users.sort_unstable();
    assert_eq!(users, (1..=entries).collect::<Vec<_>>());
    let told = state::audits(&scene.app).await.iter().filter(|entry| entry.action == "player.synced").count();
    assert_eq!(told as u64, entries, "one audit row an entry");
    assert_eq!(state::rows(&scene.app, &SYNC_PAGES).await, []);
    assert_eq!(scene.fake.limits().throttled(), 0, "none of Roblox's refusals was our doing");
}

#[tokio::test]
async fn stopped_after_every_step_it_goes_on_where_it_was() {
    let mut scene = Scene::new().await;
    scene.entries(ENTRIES);
    scene.nightly().await;
    let mut kills = 0;
    loop {
        let seen = scene.seen();
        // To the next commit that counts, then the end comes.
        while scene.seen() == seen {
            if scene.tick().await.is_none() {
                break;
            }
        }
        if !scene.is_live() {
            break;
        }
        scene = scene.restart().await;
        kills += 1;
    }
    assert!(kills >= 90, "{kills}");
    assert_eq!(scene.reads(), ENTRIES, "and nothing was read twice");
    assert_whole(&scene, ENTRIES).await;
    scene.end();
}

/// The end comes while calls are under way: at any await of a step, committed or not.
#[tokio::test]
async fn stopped_amid_a_step_it_goes_on_where_it_was() {
    let mut scene = Scene::new().await;
    scene.entries(300);
    scene.nightly().await;
    let mut dice = fastrand::Rng::with_seed(7);
    for kill in 0.. {
        assert!(kill < 2_000, "it does not end: {:#}", scene.runs().await);
        let mut workers = scene.app.app.workers();
        let worker = workers.iter_mut().find(|worker| worker.name() == "sync").unwrap();
        // Longer from time to time, so that it ends on a slow machine too.
        let patience = std::time::Duration::from_micros(dice.u64(100..30_000) + kill * 100);
        let _ = tokio::time::timeout(patience, worker.tick()).await;
        if !scene.is_live() {
            break;
        }
        scene.app.advance(61);
        if kill % 4 == 0 {
            scene = scene.restart().await;
            scene.app.advance(61);
        }
    }
    assert_whole(&scene, 300).await;
}

#[tokio::test]
async fn on_disk_it_is_the_same() {
    let mut scene = Scene::with(Setup::new().on_disk()).await;
    scene.entries(400);
    scene.nightly().await;
    while scene.is_live() {
        scene.tick().await;
        scene = scene.restart().await;
        scene.app.advance(61);
    }
    assert_whole(&scene, 400).await;
}

#[tokio::test]
async fn a_run_that_moves_under_the_workers_hands_is_left_alone() {
    let scene = Scene::new().await;
    scene.entries(400);
    let id = scene.sync(json!({"activity": "nightly"})).await.header("x-grps-job-id").to_owned();
    // Two workers on one run: what one has taken in the other does not count.
    for _ in 0..40 {
        let (mut one, mut two) = (scene.app.app.sync.worker().unwrap(), scene.app.app.sync.worker().unwrap());
        let (one, two) = tokio::join!(grps::workers::Worker::tick(&mut one), grps::workers::Worker::tick(&mut two));
        one.unwrap();
        two.unwrap();
        scene.app.advance(10);
    }
    scene.settle().await;
    let run = scene.run(&id).await;
    assert_eq!((counts(&run), &run["status"]), ([400, 400, 0, 0, 0, 0], &json!("done")));
}
