//! The promise as an owner can try it: load, pull the plug, spoil the database, start again. Everything that was acknowledged is there, and
//! the log says what happened.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use rustix::process::Signal;
use serde_json::json;

use crate::harness::INGEST;
use crate::process::{Home, Running, request, until};

/// Game servers that post at once, and what they get acknowledged before the server is killed.
const WRITERS: u64 = 4;
const ENOUGH: u64 = 300;

/// The distance between two bytes that are spoilt: close enough that nothing of the database survives. Of one that is spoilt more sparsely
/// sled makes an older one, which the journal brings up to date without a repair.
const EVERY: usize = 50;

/// The key that the first start made, as the banner's `curl` reads it.
fn key(home: &Home) -> String {
    let headers = fs::read_to_string(home.data().join("ingest.headers")).unwrap();
    headers.lines().find_map(|line| line.strip_prefix("x-grps-api-key: ")).unwrap().to_owned()
}

/// Posts snapshots from all sides, kills the server in the middle of it, and gives the users whose snapshots were acknowledged.
fn load_and_kill(home: &Home, mut server: Running) -> Vec<u64> {
    let (key, address) = (key(home), server.address);
    let (count, over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let write = |writer: u64| {
            let headers = [("x-grps-api-key", key.as_str()), ("content-type", "application/json")];
            let acknowledged = |user: &u64| {
                let body = json!({ "userId": user, "username": format!("P{user}"), "rankPoints": user % 1000 });
                let answer = request(address, "POST", INGEST, &headers, &body.to_string());
                answer.is_ok_and(|answer| answer.status == 200 && count.fetch_add(1, Ordering::SeqCst) < u64::MAX)
            };
            let users = (0..).map(|number| 1 + writer + number * WRITERS);
            users.take_while(|_| !over.load(Ordering::SeqCst)).filter(acknowledged).collect::<Vec<u64>>()
        };
        let writers: Vec<_> = (0..WRITERS).map(|writer| scope.spawn(move || write(writer))).collect();
        until("enough is acknowledged", || (count.load(Ordering::SeqCst) >= ENOUGH).then_some(()));
        server.signal(Signal::KILL);
        server.wait();
        over.store(true, Ordering::SeqCst);
        writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
    })
}

/// The file of the database that is in force.
fn database(home: &Home) -> PathBuf {
    let folders = fs::read_dir(home.data().join("store")).unwrap().map(|entry| entry.unwrap().path());
    let newest = folders.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("db-")).max();
    newest.unwrap().join("db")
}

fn spoil(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes.iter_mut().skip(EVERY / 2).step_by(EVERY).for_each(|byte| *byte ^= 0xFF);
    fs::write(path, bytes).unwrap();
}

fn assert_all_there(home: &Home, server: &Running, users: &[u64]) {
    let key = key(home);
    for user in users {
        let answer =
            request(server.address, "GET", &format!("/players/{user}"), &[("x-grps-api-key", &key)], "").unwrap();
        assert_eq!(answer.status, 200, "player {user} was acknowledged: {}", answer.body);
        assert_eq!(answer.json()["rankPoints"], user % 1000, "{}", answer.body);
    }
}

#[test]
fn what_was_acknowledged_survives_a_kill_and_a_damaged_database() {
    let home = Home::new();
    let server = home.serve();
    let users = load_and_kill(&home, server);
    assert!(users.len() as u64 >= ENOUGH);
    spoil(&database(&home));

    let server = home.serve();
    // Log lines leave on a thread of their own.
    let repaired = |told: &String| told.contains("the store repaired itself, nothing was lost");
    let told = until("the repair is told", || Some(server.told()).filter(repaired));
    assert!(!told.contains("stack backtrace") && !told.contains("panicked at"), "{told}");
    assert_all_there(&home, &server, &users);
    assert_eq!(home.json(&["store", "check"]), json!({ "ok": true, "findings": [] }));
    let stats = home.json(&["store", "stats"]);
    assert!(stats["opening"].as_str().unwrap().contains("repaired itself"), "{stats}");
    assert!(server.get("/health/ready").json()["ready"] == true);
    server.stop();

    let server = home.serve();
    assert!(!server.told().contains("repaired"), "once is enough: {}", server.told());
    assert_all_there(&home, &server, &users);
    server.stop();
}

#[test]
fn a_command_that_finds_the_database_damaged_says_that_it_was_repaired() {
    let home = Home::new();
    home.json(&["demo", "--players", "500"]);
    spoil(&database(&home));
    let checked = home.run(&["store", "check"]);
    assert_eq!(checked.code, Some(0), "{}", checked.stderr);
    assert!(checked.stderr.starts_with("warning: the store repaired itself"), "{}", checked.stderr);
    assert!(checked.stdout.starts_with("All is well"), "{}", checked.stdout);
    let again = home.run(&["store", "check"]);
    assert_eq!((again.code, again.stderr.as_str()), (Some(0), ""));
}

/// Takes a store back to the format before the journal: sled alone, in the store's own folder, with bare values.
fn age(home: &Home) {
    let store = home.data().join("store");
    let rows: Vec<(Vec<u8>, Vec<u8>)> = {
        let database = sled::open(database(home).parent().unwrap()).unwrap();
        let rows = database.iter().map(|row| row.unwrap()).filter(|(key, _)| key[0] != 0);
        // A row of today is a byte of its kind, the value, and a check of eight bytes.
        rows.map(|(key, value)| (key.to_vec(), value[1..value.len() - 8].to_vec())).collect()
    };
    fs::remove_dir_all(&store).unwrap();
    let old = sled::open(&store).unwrap();
    rows.into_iter().for_each(|(key, value)| drop(old.insert(key, value).unwrap()));
    old.flush().unwrap();
}

#[test]
fn a_store_of_the_format_before_is_brought_up_to_date_and_backed_up() {
    let home = Home::new();
    home.json(&["demo", "--players", "200"]);
    age(&home);
    let status = home.json(&["migrate", "status"]);
    assert_eq!((&status["state"], &status["stored"]), (&json!("older"), &json!(1)));
    let up = home.run(&["migrate", "up"]);
    assert!(up.code == Some(0) && up.stdout.contains("grps-before-format-2"), "{}{}", up.stdout, up.stderr);
    assert_eq!(home.json(&["migrate", "status"])["state"], "current");
    assert_eq!(home.json(&["policy", "simulate"])["evaluated"], 200);
    assert_eq!(home.json(&["backup", "verify", "grps-before-format-2"])["ok"], true);
}

#[test]
fn a_store_of_a_newer_program_is_refused_and_left_alone() {
    let home = Home::new();
    home.json(&["bootstrap"]);
    home.json(&["backup", "create", "--name", "mine"]);
    let path = home.data().join("store/marker");
    let text = fs::read_to_string(&path).unwrap();
    let json = text.split_once('\n').unwrap().1.replace("\"format\": 2", "\"format\": 99");
    let newer = format!("{:08x}\n{json}", crc32fast::hash(json.as_bytes()));
    fs::write(&path, &newer).unwrap();
    let status = home.run(&["migrate", "status"]);
    assert!(status.code == Some(1) && status.stdout.contains("schema 99"), "{}", status.stdout);
    for command in [&["migrate", "up"][..], &["serve", "--port", "0"], &["store", "check"]] {
        let refused = home.run(command);
        assert!(refused.code == Some(4) && refused.stderr.contains("error[store.newer]"), "{}", refused.stderr);
    }
    assert_eq!(fs::read_to_string(&path).unwrap(), newer);
    assert_eq!(home.run(&["backup", "restore", "mine", "--yes"]).code, Some(0), "the way back that the hint names");
    assert_eq!(home.json(&["policy", "simulate"])["evaluated"], 1);
}
