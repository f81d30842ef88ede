//! The story that `grps demo --with-fake-roblox` tells, as a newcomer runs it.

use std::process::{Command, Stdio};

#[test]
fn the_demo_tells_its_story_and_leaves_nothing_behind() {
    let place = tempfile::tempdir().unwrap();
    let told = Command::new(env!("CARGO_BIN_EXE_grps"))
        .args(["demo", "--with-fake-roblox", "--once"])
        .current_dir(place.path())
        .env("TMPDIR", place.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(told.status.success(), "{text}{}", String::from_utf8_lossy(&told.stderr));
    assert_eq!(text.matches(" applied  on Roblox: ").count(), 12, "{text}");
    assert!(text.contains("Event host + Volt Specialist II  ->  Event host + Storm Corporal I"), "{text}");
    for said in [
        "8 applied",
        "192 proposed",
        "The breaker is open",
        "20 in all; nothing has happened yet",
        "400 members hold Volt Specialist II again",
        "192 are rejected",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert_eq!(std::fs::read_dir(place.path()).unwrap().count(), 0);
}
