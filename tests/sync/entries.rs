//! What entries become: players, unchanged players, or a reason.

use grps::fakes::roblox::{Class, Day};
use serde_json::json;

use super::{STORE, Scene, counts};
use crate::group::{ROLES, live};
use crate::harness::{Setup, snapshot};
use crate::{drift, effects};

#[tokio::test]
async fn what_an_entry_does_not_say_stays() {
    let scene = Scene::new().await;
    scene.entry("player:7", json!({"username": "Arc", "kos": 84, "points": 520, "rank": "Volt Specialist II"}));
    scene.entry("player:8", json!({}));
    scene.walk().await;
    let known = scene.player(7).await;
    assert_eq!(
        (&known["rankPoints"], &known["kos"], &known["rank"]),
        (&json!(520), &json!(84), &json!("Volt Specialist II"))
    );
    let bare = scene.player(8).await;
    assert_eq!((&bare["rankPoints"], &bare["username"], &bare["rank"]), (&json!(0), &json!("Unknown"), &json!(null)));
    scene.entry("player:7", json!({"kos": 85}));
    scene.entry("player:8", json!("{\"rankPoints\": 12, \"username\": \"Bo\"}"));
    scene.walk().await;
    let known = scene.player(7).await;
    assert_eq!((&known["rankPoints"], &known["kos"], &known["username"]), (&json!(520), &json!(85), &json!("Arc")));
    let bare = scene.player(8).await;
    assert_eq!((&bare["rankPoints"], &bare["username"]), (&json!(12), &json!("Bo")));
}

#[tokio::test]
async fn a_bad_entry_is_counted_told_and_left_and_the_others_go_on() {
    let scene = Scene::new().await;
    scene.entries(100);
    scene.entry("player:50", json!({"points": "many"}));
    scene.entry("player:60", json!({"points": 5, "rankPoints": 6}));
    scene.entry("player:70", json!("not JSON"));
    scene.entry("nobody", json!({"points": 1}));
    let run = scene.walk().await;
    assert_eq!((counts(&run), &run["status"]), ([101, 97, 0, 0, 0, 4], &json!("partial")));
    let failures = scene.failures(run["id"].as_str().unwrap()).await;
    let keys: Vec<&str> = failures.iter().map(|(key, _)| key.as_str()).collect();
    assert_eq!(keys, ["nobody", "player:50", "player:60", "player:70"]);
    for ((_, reason), word) in failures.iter().zip(["userId", "points is", "two names", "not JSON"]) {
        assert!(reason.contains(word), "{reason}");
    }
    scene.end();
}

#[tokio::test]
async fn a_retry_reads_only_what_failed() {
    let scene = Scene::new().await;
    scene.entries(600);
    for user in (1..=600).step_by(2) {
        scene.entry(&format!("player:{user}"), json!({"points": "many"}));
    }
    let run = scene.walk().await;
    assert_eq!(counts(&run), [600, 300, 0, 0, 0, 300]);
    let id = run["id"].as_str().unwrap();
    for user in (1..=599).step_by(2) {
        scene.entry(&format!("player:{user}"), json!({"points": 1}));
    }
    scene.entry("player:599", json!({"points": "many"}));
    scene.fake.delete_entry(super::STORE, "global", "player:597");
    let before = scene.reads();
    let retried = scene.app.post(&format!("/sync/jobs/{id}/retry"), "").operator().expect(202).await.json();
    assert_eq!(retried["id"], id);
    scene.app.post(&format!("/sync/jobs/{id}/retry"), "").operator().refused(409, "sync.running").await;
    scene.settle().await;
    let run = scene.run(id).await;
    assert_eq!((counts(&run), &run["status"]), ([600, 598, 0, 0, 1, 1], &json!("partial")));
    assert_eq!(scene.reads() - before, 300);
    assert_eq!(scene.failures(id).await.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["player:599"]);
}

#[tokio::test]
async fn what_is_gone_between_list_and_read_is_no_failure() {
    let scene = Scene::new().await;
    scene.entries(40);
    scene.fake.delete_entry(super::STORE, "global", "player:3");
    scene.fake.days_for(Class::StoreRead, &[Day::Missing, Day::Missing]);
    let run = scene.walk().await;
    assert_eq!((counts(&run), &run["status"]), ([39, 37, 0, 0, 2, 0], &json!("done")));
}

#[tokio::test]
async fn odd_keys_are_read_too() {
    let scene = Scene::new().await;
    for (n, key) in
        ["a b:1", "a/b:2", "me@home:3", "100%:4", "äö:5", "q?x=1:6", "#:7", "\"x\":8", "..:9"].iter().enumerate()
    {
        scene.entry(key, json!({"points": n + 1}));
    }
    let run = scene.walk().await;
    assert_eq!(counts(&run), [9, 9, 0, 0, 0, 0], "{:?}", scene.failures(run["id"].as_str().unwrap()).await);
    let points: Vec<(u64, i64)> =
        scene.players().await.iter().map(|player| (player.user_id.get(), player.points)).collect();
    assert_eq!(points, (1..=9).map(|n| (n as u64, n)).collect::<Vec<_>>());
    scene.end();
}

#[tokio::test]
async fn two_entries_of_one_player_count_as_two_and_the_later_stands() {
    let scene = Scene::new().await;
    scene.entry("a:7", json!({"points": 1}));
    scene.entry("b:7", json!({"points": 2}));
    assert_eq!(counts(&scene.walk().await), [2, 1, 1, 0, 0, 0]);
    assert_eq!(scene.app.app.player_count(), 1);
}

#[tokio::test]
async fn the_ranks_are_ours_once_we_have_moved_somebody_and_points_are_bounded() {
    let setup = Setup::new().policy("policy.points.json", |file| file["bounds"] = json!({"min": 0, "max": 1000}));
    let scene = Scene::with(setup).await;
    scene.entry("player:7", json!({"points": 5000, "username": "Arc", "rank": "Volt Specialist II"}));
    scene.walk().await;
    let player = &scene.players().await[0];
    assert_eq!((player.points, player.flagged, player.rank.as_deref()), (1000, true, Some("Volt Specialist II")));
    let promoted = json!({"userId": 7, "username": "Arc", "rank": "Shock Trooper II", "rankPoints": 500});
    scene.app.ingest(promoted.to_string()).expect(200).await;
    assert_eq!(scene.player(7).await["rank"], "Shock Trooper II", "until we decide, the last report counts");
    scene.entry("player:7", json!({"points": 600, "rank": "Volt Specialist II"}));
    let run = scene.walk().await;
    assert_eq!((counts(&run), &scene.player(7).await["rankPoints"]), ([1, 0, 1, 0, 0, 0], &json!(600)));
}

#[tokio::test]
async fn what_was_written_before_the_last_snapshot_overwrites_nothing() {
    let scene = Scene::new().await;
    scene.entry("player:7", json!({"points": 100, "username": "Arc", "punishmentStatus": null}));
    scene.app.advance(3_600);
    let snapshot = json!({"userId": 7, "username": "Arc", "rankPoints": 120, "punishmentStatus": "suspended"});
    scene.app.ingest(snapshot.to_string()).expect(200).await;
    let known = scene.players().await[0].clone();
    scene.app.advance(3_600);
    assert_eq!(counts(&scene.walk().await), [1, 0, 0, 1, 0, 0]);
    let kept = scene.players().await[0].clone();
    assert!(kept.synced_revision.is_some(), "it was looked at");
    assert_eq!((kept.points, kept.punishment, kept.updated_at), (known.points, known.punishment, known.updated_at));
    // What is written from now on is news again.
    scene.entry("player:7", json!({"points": 130}));
    assert_eq!(counts(&scene.walk().await), [1, 0, 1, 0, 0, 0]);
    assert_eq!(scene.player(7).await["rankPoints"], 130);
}

#[tokio::test]
async fn a_rank_that_was_written_before_our_decision_is_no_drift_however_late_it_is_read() {
    let (app, fake) = live(Setup::new().set("ROBLOX_DATASTORE_NAME", STORE)).await;
    let scene = Scene { app, fake };
    scene.fake.member(7, &[ROLES[2]]);
    let told = |points: u64| json!({"username": "A", "rank": "Volt Specialist II", "points": points});
    assert_eq!(scene.app.apply(snapshot(7, 800, 0)).await["targetRank"], "Storm Corporal I");
    scene.app.advance(1);
    scene.entry("player:7", told(810));
    scene.app.advance(1);
    assert_eq!(effects::carry_out(&scene.app).await, 1);
    for (points, drifted) in [(810, 0), (820, 1)] {
        scene.app.advance(3_600);
        scene.walk().await;
        assert_eq!(scene.player(7).await["rankPoints"], points, "it was taken in");
        assert_eq!(drift::run(&scene.app).await["drifted"], drifted);
        scene.entry("player:7", told(820));
    }
    scene.end();
}
