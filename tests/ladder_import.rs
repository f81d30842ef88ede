//! `grps policy import-ladder` and `import-qbot`, with the real binary and a group in miniature.

use grps::base::Clock;
use grps::fakes::roblox::{FakeRoblox, GROUP, KEY};
use serde_json::Value;

use crate::group::roblox;
use crate::process::{Finished, Home};

fn scene() -> (FakeRoblox, Home) {
    let fake = roblox(Clock::system());
    let home = Home::new()
        .set("ROBLOX_OPEN_CLOUD_API_KEY", KEY)
        .set("ROBLOX_GROUP_ID", GROUP.to_string())
        .set("ROBLOX_API_URL", fake.url());
    (fake, home)
}

fn run(home: &Home, arguments: &[&str]) -> Finished {
    tokio::task::block_in_place(|| home.run(arguments))
}

fn names(file: &Value) -> Vec<(&str, i64)> {
    let ranks = file["ranks"].as_array().unwrap().iter();
    ranks.map(|rank| (rank["name"].as_str().unwrap(), rank["requiredPoints"].as_i64().unwrap())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_group_becomes_a_policy_that_lint_passes() {
    let (fake, home) = scene();
    fake.role(141, "Corporal", 41, &[]);
    fake.role(150, "Lieutenant", 50, &["exileMembers"]);
    fake.role(160, "\u{1b}[2J\u{202e}Major", 60, &[]);
    let printed = run(&home, &["policy", "import-ladder"]);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    let file: Value = serde_json::from_str(&printed.stdout).unwrap();
    let ranks = names(&file);
    assert_eq!(&ranks[..3], [("Trooper", 100), ("Volt", 150), ("Corporal", 225)]);
    assert!(printed.stderr.contains("Suspended is left out"), "{}", printed.stderr);
    assert!(!printed.stdout.contains(['\u{1b}', '\u{202e}']), "{:?}", printed.stdout);
    assert_eq!(file["settings"]["mode"], "propose", "nobody has seen yet whom it moves");
    assert!(printed.stderr.contains("every decision waits for you"), "{}", printed.stderr);
    assert!(ranks.iter().any(|(name, _)| *name == "Corporal (rank 41)"), "{ranks:?}");
    assert!(!home.dir.path().join("policy").exists(), "printing writes nothing");
    let written = run(
        &home,
        &["policy", "import-ladder", "--from-rank", "20", "--to-rank", "40", "--points", "10,20,30", "--write"],
    );
    assert_eq!(written.code, Some(0), "{}", written.stderr);
    let path = home.dir.path().join("policy/policy.ranks.json");
    let file: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    assert_eq!(names(&file), [("Trooper", 10), ("Volt", 20), ("Corporal", 30)]);
    assert_eq!((&file["ranks"][0]["robloxRank"], &file["ranks"][0]["robloxRoleId"]), (&20.into(), &120.into()));
    assert_eq!(run(&home, &["policy", "lint"]).code, Some(0));
    assert_eq!(run(&home, &["policy", "import-ladder", "--write"]).code, Some(0));
    let backup: Value =
        serde_json::from_str(&std::fs::read_to_string(path.with_extension("json.bak")).unwrap()).unwrap();
    assert_eq!(backup, file, "the old file is kept");
    assert_eq!(run(&home, &["policy", "lint"]).code, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_and_writes_nothing() {
    let (_fake, home) = scene();
    for (arguments, told) in [
        (&["--points", "1,2"][..], "2 numbers for"),
        (&["--factor", "0.5"], "--factor must be 1 or more"),
        (&["--from-rank", "60", "--to-rank", "70"], "no role with a rank"),
    ] {
        let done = run(&home, &[&["policy", "import-ladder", "--write"], arguments].concat());
        assert!(done.code != Some(0) && done.stderr.contains(told), "{arguments:?}: {}{}", done.stdout, done.stderr);
    }
    assert!(!home.dir.path().join("policy").exists());
    let bare = Home::new();
    let done = run(&bare, &["policy", "import-ladder"]);
    assert!(done.code == Some(4) && done.stderr.contains("ROBLOX_GROUP_ID"), "{}", done.stderr);
}

#[tokio::test(flavor = "multi_thread")]
async fn qbots_settings_are_taken_over_with_or_without_the_group() {
    let (_fake, home) = scene();
    let config = home.dir.path().join("config.ts");
    let text = "export const config = { groupId: 5, maximumRank: 100, suspendedRank: 5,\n  xpSystem: { enabled: true, \
        roles: [ { rank: 30, xp: 200 }, { rank: 20, xp: 50 } /* two */, ], }, };";
    std::fs::write(&config, text).unwrap();
    let path = config.display().to_string();
    let done = run(&home, &["policy", "import-qbot", &path]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let file: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(names(&file), [("Trooper", 50), ("Volt", 200)]);
    assert_eq!(file["ranks"][1]["robloxRoleId"], 130);
    assert!(done.stderr.contains("suspendedRank is left out"), "{}", done.stderr);
    let bare = Home::new();
    let done = run(&bare, &["policy", "import-qbot", &path, "--write"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stderr.contains("names and role ids are not known"), "{}", done.stderr);
    let text = std::fs::read_to_string(bare.dir.path().join("policy/policy.ranks.json")).unwrap();
    assert_eq!(names(&serde_json::from_str(&text).unwrap()), [("Rank 20", 50), ("Rank 30", 200)]);
    std::fs::write(&config, "export default {}").unwrap();
    let none = run(&bare, &["policy", "import-qbot", &path]);
    assert!(none.code == Some(3) && none.stderr.contains("no list of ranks"), "{}", none.stderr);
}
