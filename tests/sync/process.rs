//! The commands, with a server running and without.

use std::time::Duration;

use grps::base::Clock;
use grps::fakes::roblox::{FakeRoblox, KEY, UNIVERSE};
use serde_json::json;

use super::STORE;
use crate::process::Home;

fn home(fake: &FakeRoblox) -> Home {
    Home::new()
        .set("ROBLOX_OPEN_CLOUD_API_KEY", KEY)
        .set("ROBLOX_UNIVERSE_ID", UNIVERSE.to_string())
        .set("ROBLOX_DATASTORE_NAME", STORE)
        .set("ROBLOX_API_URL", fake.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_is_begun_watched_and_looked_at() {
    let fake = FakeRoblox::start(Clock::system()).unwrap();
    (1..=150).for_each(|user| fake.entry(STORE, "global", &format!("player:{user}"), &json!({"points": user})));
    fake.entry(STORE, "global", "nobody", &json!({}));
    let home = home(&fake);
    let both = tokio::task::spawn_blocking(move || {
        let entry = |key: &str, value| fake.entry(STORE, "global", key, &value);
        let alone = home.json(&["sync", "run", "--limit", "10"]);
        assert_eq!(
            (&alone["created"], &alone["failed"], &alone["status"]),
            (&json!(150), &json!(1), &json!("partial"))
        );
        let one = home.run(&["sync", "status", alone["id"].as_str().unwrap()]);
        assert!(one.stdout.contains("partial"), "{}", one.stdout);
        assert!(one.stdout.contains("150 created") && one.stdout.contains("nobody: "), "{}{}", one.stdout, one.stderr);
        let id = alone["id"].as_str().unwrap();
        entry("nobody", json!({"userId": 151, "points": "many"}));
        let again = home.json(&["sync", "retry", id]);
        assert_eq!((&again["id"], &again["status"], &again["failed"]), (&json!(id), &json!("partial"), &json!(1)));
        entry("nobody", json!({"userId": 151, "points": 1}));
        let server = home.serve();
        let again = home.json(&["sync", "retry", id, "--watch"]);
        assert_eq!((&again["status"], &again["created"], &again["failed"]), (&json!("done"), &json!(151), &json!(0)));
        let none = home.run(&["sync", "retry", id]);
        assert!(none.code == Some(1) && none.stderr.contains("sync.nothing_failed"), "{}{}", none.stdout, none.stderr);
        let unknown = home.run(&["sync", "retry", "../x"]);
        assert!(unknown.code == Some(1) && unknown.stderr.contains("sync.missing"), "{}", unknown.stderr);
        let once = home.json(&["sync", "run", "--once", "--limit", "20", "--activity", "by hand"]);
        let counts = (&once["seen"], &once["mode"]);
        assert_eq!(counts, (&json!(20), &json!("page")));
        let list = home.json(&["sync", "status"]);
        assert_eq!(list["runs"].as_array().unwrap().len(), 2);
        let text = home.run(&["sync", "status"]);
        assert!(text.stdout.contains("by hand") && text.stdout.contains("done"), "{}", text.stdout);
        let unknown = home.run(&["sync", "status", "../x"]);
        assert!(unknown.code == Some(1) && unknown.stderr.contains("sync.missing"), "{}", unknown.stderr);
        server.stop();
        fake
    });
    let fake = tokio::time::timeout(Duration::from_secs(120), both).await.unwrap().unwrap();
    assert_eq!(fake.limits().throttled(), 0);
}

#[test]
fn without_settings_the_command_says_which() {
    let home = Home::new();
    let refused = home.run(&["sync", "run"]);
    assert!(refused.code == Some(4) && refused.stderr.contains("ROBLOX_OPEN_CLOUD_API_KEY"), "{}", refused.stderr);
    assert!(home.run(&["sync", "status"]).stdout.contains("No run yet"));
}
