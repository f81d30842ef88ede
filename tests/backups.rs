//! Backups as an owner meets them: the real program makes, lists, verifies and restores them, and looks after its store.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::cli::both_ways;
use crate::process::{Finished, Home, until};

fn folder(home: &Home) -> PathBuf {
    home.data().join("backups")
}

fn players(home: &Home) -> u64 {
    home.json(&["policy", "simulate"])["evaluated"].as_u64().unwrap()
}

fn names(home: &Home) -> Vec<String> {
    let list = home.json(&["backup", "list"]);
    list["backups"].as_array().unwrap().iter().map(|backup| backup["name"].as_str().unwrap().to_owned()).collect()
}

/// The rows of a dump, a line each.
fn lines(done: &Finished) -> Vec<Value> {
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    done.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[track_caller]
fn refused(done: &Finished, code: i32, parts: &[&str]) {
    assert_eq!(done.code, Some(code), "{}{}", done.stdout, done.stderr);
    for part in parts {
        assert!(done.stderr.contains(part), "no {part:?} in: {}", done.stderr);
    }
}

#[test]
fn a_backup_is_made_listed_and_verified() {
    both_ways(|home| {
        assert!(home.run(&["backup", "list"]).stdout.contains("No backups in"));
        home.json(&["demo", "--players", "120"]);
        let made = home.json(&["backup", "create"]);
        let name = made["backup"]["name"].as_str().unwrap();
        assert!(name.starts_with("grps-") && made["backup"]["automatic"] == true, "{made}");
        assert!(made["backup"]["rows"].as_u64() > Some(240), "{made}");
        let told = home.run(&["backup", "create", "--name", "before-upgrade"]);
        assert!(told.stdout.contains("Made before-upgrade") && told.stdout.contains("compared"), "{}", told.stdout);
        assert_eq!(names(home), ["before-upgrade", name]);
        let list = home.run(&["backup", "list"]).stdout;
        assert!(list.contains(name) && list.contains("stays until you delete it"), "{list}");
        assert_eq!(home.json(&["backup", "verify", name])["backup"]["rows"], made["backup"]["rows"]);
        let path = folder(home).join("before-upgrade.ckp");
        assert_eq!(home.json(&["backup", "verify", path.to_str().unwrap()])["ok"], true);
        refused(&home.run(&["backup", "create", "--name", "before-upgrade"]), 1, &["upkeep.backup_exists"]);
        refused(&home.run(&["backup", "create", "--name", "a/b"]), 2, &["upkeep.name_invalid", "letters, digits"]);
        refused(&home.run(&["backup", "verify", "nothing"]), 1, &["upkeep.backup_missing", "grps backup list"]);
        refused(&home.run(&["backup", "verify", "./nothing"]), 1, &["upkeep.backup_missing"]);
    });
}

#[test]
fn a_damaged_backup_is_found_out() {
    let home = Home::new();
    home.json(&["demo", "--players", "120"]);
    let made = home.json(&["backup", "create"]);
    let path = folder(&home).join(format!("{}.ckp", made["backup"]["name"].as_str().unwrap()));
    let good = std::fs::read(&path).unwrap();
    std::fs::write(&path, &good[..good.len() / 2]).unwrap();
    let verified = home.run(&["backup", "verify", path.to_str().unwrap()]);
    assert!(
        verified.code.is_some_and(|code| code != 0) && verified.stderr.starts_with("error[checkpoint."),
        "{}",
        verified.stderr
    );
    let list = home.run(&["backup", "list"]).stdout;
    assert!(list.contains("DAMAGED"), "{list}");
    let before = home.json(&["store", "stats"]);
    let restored = home.run(&["backup", "restore", path.to_str().unwrap(), "--yes"]);
    assert!(restored.code.is_some_and(|code| code != 0), "{}", restored.stdout);
    assert_eq!(home.json(&["store", "stats"])["tables"], before["tables"], "the store is as it was");
}

#[test]
fn a_restore_brings_back_what_was_and_keeps_what_is() {
    let home = Home::new();
    home.json(&["demo", "--players", "120"]);
    let made = home.json(&["backup", "create"]);
    let name = made["backup"]["name"].as_str().unwrap();
    home.json(&["demo", "--remove"]);
    home.json(&["bootstrap"]);
    assert_eq!(players(&home), 1);
    refused(&home.run(&["backup", "restore", name]), 2, &["--yes", "This replaces", name]);
    refused(&home.run(&["backup", "restore", name, "--yes", "--to-time", "yesterday"]), 2, &["RFC 3339"]);
    assert_eq!(players(&home), 1, "nothing was changed");
    let told = home.run(&["backup", "restore", name, "--yes"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert!(told.stdout.contains("store.before-restore-1") && told.stdout.contains("to undo"), "{}", told.stdout);
    assert_eq!(players(&home), 120);
    let audits = lines(&home.run(&["store", "dump", "--table", "audits"]));
    let last = audits.last().unwrap();
    assert_eq!(
        (&last["value"]["action"], &last["value"]["subject"]),
        (&json!("store.restored"), &json!(format!("backup:{name}")))
    );
    // What is printed as the way back is the way back.
    let undo = told.stdout.lines().find_map(|line| line.trim().strip_prefix("to undo")).unwrap().trim();
    let undone = std::process::Command::new("sh").args(["-c", undo]).current_dir(home.dir.path()).status().unwrap();
    assert!(undone.success(), "{undo}");
    assert_eq!(players(&home), 1);
}

#[test]
fn what_needs_the_store_at_rest_names_the_server_and_how_to_stop_it() {
    let home = Home::new();
    home.json(&["bootstrap"]);
    let made = home.json(&["backup", "create", "--name", "mine"]);
    let server = home.serve();
    let pid = server.pid().to_string();
    for command in [&["backup", "restore", "mine", "--yes"][..], &["store", "repair"], &["store", "dump"]] {
        refused(&home.run(command), 4, &["store.dir_in_use", &pid, &format!("kill {pid}"), "listening on"]);
    }
    let dumped = lines(&home.run(&["store", "dump", "--from", "mine"]));
    assert_eq!(dumped.len() as u64, made["backup"]["rows"].as_u64().unwrap(), "a backup can be read all the same");
    server.stop();
}

#[test]
fn an_encrypted_backup_opens_with_its_passphrase_only() {
    let (secret, other) = ("correct horse battery staple", "incorrect horse battery staple");
    let home = Home::new().set("BACKUP_PASSPHRASE", secret);
    home.json(&["demo", "--players", "50"]);
    let made = home.json(&["backup", "create", "--name", "locked"]);
    assert_eq!(made["backup"]["encrypted"], true);
    assert!(home.run(&["backup", "list"]).stdout.contains("encrypted"));
    let path = folder(&home).join("locked.ckp");
    let path = path.to_str().unwrap();
    for stranger in [Home::new(), Home::new().set("BACKUP_PASSPHRASE", other)] {
        for command in
            [&["backup", "verify", path][..], &["backup", "restore", path, "--yes"], &["store", "dump", "--from", path]]
        {
            refused(&stranger.run(command), 3, &["error[checkpoint.", "set BACKUP_PASSPHRASE"]);
        }
    }
    let elsewhere = Home::new().set("BACKUP_PASSPHRASE", secret);
    assert_eq!(elsewhere.json(&["backup", "verify", path])["ok"], true);
    let restored = elsewhere.run(&["backup", "restore", path, "--yes"]);
    let rows = format!("Restored locked: {} rows", made["backup"]["rows"]);
    assert!(restored.code == Some(0) && restored.stdout.starts_with(&rows), "{}{}", restored.stdout, restored.stderr);
    assert_eq!(players(&elsewhere), 50, "on another machine, with the passphrase");
}

#[test]
fn the_store_is_looked_at_checked_and_compacted() {
    both_ways(|home| {
        home.json(&["demo", "--players", "120"]);
        let stats = home.json(&["store", "stats"]);
        let rows = |name: &str| {
            let tables = stats["tables"].as_array().unwrap();
            tables.iter().find(|table| table["name"] == name).unwrap()["rows"].clone()
        };
        assert_eq!((rows("players"), rows("ranked")), (json!(120), json!(120)));
        let told = home.run(&["store", "stats"]).stdout;
        for part in ["players", "120", "database", "journal", "free", "schema", "opening"] {
            assert!(told.contains(part), "no {part:?} in: {told}");
        }
        assert_eq!(home.json(&["store", "check"]), json!({ "ok": true, "findings": [] }));
        assert!(home.json(&["store", "compact"])["bytesAfter"].as_u64() > Some(0));
        assert_eq!(players(home), 120);
        let status = home.json(&["migrate", "status"]);
        assert_eq!((&status["state"], &status["stored"]), (&json!("current"), &status["program"]));
        assert_eq!(home.json(&["migrate", "up"])["state"], "current");
    });
    let fresh = Home::new();
    assert_eq!(fresh.json(&["migrate", "status"])["state"], "empty");
    assert!(!fresh.data().join("store").exists(), "looking changes nothing");
}

#[test]
fn a_dump_tells_every_row_and_a_repair_loses_none() {
    let home = Home::new();
    home.json(&["bootstrap"]);
    let all = lines(&home.run(&["store", "dump"]));
    let players = lines(&home.run(&["store", "dump", "--table", "players"]));
    assert_eq!(players.len(), 1);
    assert_eq!((&players[0]["table"], &players[0]["key"]), (&json!("players"), &json!(123456)));
    assert_eq!(players[0]["value"]["username"], "LightningMarshal");
    assert!(all.len() > 2 && all.contains(&players[0]), "{all:?}");
    home.json(&["backup", "create", "--name", "mine"]);
    let backed_up = lines(&home.run(&["store", "dump", "--from", "mine", "--table", "players"]));
    assert_eq!(backed_up, players);
    refused(&home.run(&["store", "dump", "--table", "people"]), 2, &["player_snapshots"]);
    assert!(home.json(&["store", "repair"])["done"].is_string());
    assert_eq!(lines(&home.run(&["store", "dump", "--table", "players"])), players);
}

#[test]
fn a_server_makes_up_for_a_backup_it_missed() {
    let home = Home::new();
    home.json(&["bootstrap"]);
    std::fs::create_dir(folder(&home)).unwrap();
    let (left, notes) = (folder(&home).join("grps-20250228T040000Z.ckp.partial"), folder(&home).join("notes.txt"));
    std::fs::write(&left, b"half").unwrap();
    std::fs::write(&notes, b"mine").unwrap();
    let server = home.serve();
    until("there is a backup", || Some(names(&home)).filter(|names| names.len() == 1));
    assert!(!left.exists() && notes.exists());
    until("health tells of it", || {
        server.get("/health/ready").body.contains("the last good backup was made").then_some(())
    });
    server.stop();
    let server = home.serve();
    until("the worker has looked", || {
        server.get("/health/ready").body.contains("the last good backup was made").then_some(())
    });
    server.stop();
    assert_eq!(names(&home).len(), 1, "it is not due again");
    let report = home.json(&["doctor"]);
    let check = report["checks"].as_array().unwrap().iter().find(|check| check["check"] == "backups").unwrap();
    assert!(check["state"] == "pass" && check["detail"].as_str().unwrap().contains("0 hours old"), "{check}");
}

#[test]
fn settings_that_cannot_work_stop_the_start_and_are_explained() {
    for (name, value, part) in [
        ("BACKUP_CRON", "at noon", "0 4 * * *"),
        ("BACKUP_KEEP", "daily=lots", "daily=lots"),
        ("BACKUP_KEY", "1234", "openssl rand -hex 32"),
    ] {
        refused(&Home::new().set(name, value).run(&["serve", "--port", "0"]), 3, &[name, part]);
    }
    let both = Home::new().set("BACKUP_PASSPHRASE", "correct horse battery").set("BACKUP_KEY", "ab".repeat(32));
    refused(&both.run(&["serve", "--port", "0"]), 3, &["BACKUP_PASSPHRASE and BACKUP_KEY"]);
    let home = Home::new().set("BACKUP_DIR", "taken");
    std::fs::write(home.dir.path().join("taken"), b"a file").unwrap();
    let report = home.run(&["doctor"]);
    assert!(report.code == Some(1) && report.stdout.contains("BACKUP_DIR"), "{}", report.stdout);
}
