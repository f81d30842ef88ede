//! The server as a process: its first start, what keeps it from starting, how it ends, and what survives when it is killed.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::process::Signal;
use serde_json::Value;

use crate::harness::INGEST;
use crate::process::{Finished, Home, Running, answer, finish, request, until};

/// The generated secrets of a home.
fn secrets(home: &Home) -> Vec<String> {
    let file: Value =
        serde_json::from_str(&std::fs::read_to_string(home.data().join("secrets.json")).unwrap()).unwrap();
    file.as_object().unwrap().values().map(|value| value.as_str().unwrap().to_owned()).collect()
}

fn inbound_key(home: &Home) -> String {
    let file: Value =
        serde_json::from_str(&std::fs::read_to_string(home.data().join("secrets.json")).unwrap()).unwrap();
    file["inboundApiKey"].as_str().unwrap().to_owned()
}

#[track_caller]
fn refused(done: &Finished, code: i32, parts: &[&str]) {
    assert_eq!(done.code, Some(code), "{}", done.stderr);
    for part in parts {
        assert!(done.stderr.contains(part), "no {part:?} in: {}", done.stderr);
    }
    assert!(done.stderr.starts_with("error["), "{}", done.stderr);
}

#[test]
fn a_first_start_needs_nothing_and_tells_everything_but_secrets() {
    let home = Home::new();
    let server = home.serve();
    let told = until("the banner is written", || Some(server.told()).filter(|told| told.contains("| sh")));
    for part in [
        &format!("http://{}/docs", server.address),
        "built in",
        "(0 players)",
        "Post a first snapshot",
        "off     Postgres export: set DATABASE_URL",
    ] {
        assert!(told.contains(part), "no {part:?} in: {told}");
    }
    let made = secrets(&home);
    assert_eq!(made.len(), 6);
    assert!(made.iter().all(|secret| secret.len() == 64 && !told.contains(secret)), "the banner shows a secret");
    let mode = |name: &str| std::fs::metadata(home.data().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("."), mode("secrets.json"), mode("ingest.headers"), mode("lock")), (0o700, 0o600, 0o600, 0o600));
    // What the banner's curl sends: the headers of its file and the body of its -d.
    let file = std::fs::read_to_string(home.data().join("ingest.headers")).unwrap();
    let mut headers: Vec<(&str, &str)> = file.lines().map(|line| line.split_once(": ").unwrap()).collect();
    headers.push(("x-grps-evaluate", "true"));
    let body = told.split("-d '").nth(1).unwrap().split('\'').next().unwrap();
    let first = server.post(INGEST, &headers, body);
    assert_eq!(first.status, 200, "{}", first.body);
    assert_eq!(first.json()["decision"]["reason"], "230 points short of Storm Corporal I (750 required)");
    let page = request(server.address, "HEAD", "/docs", &[], "").unwrap();
    assert_eq!((page.status, page.body.as_str()), (200, ""));
    let metrics = server.get("/metrics").body;
    for name in [
        "grps_store_flushes_total",
        "grps_store_group_commits_count",
        "grps_store_queue_depth",
        "grps_http_connections",
    ] {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
        assert!(value.is_some(), "no {name} in: {metrics}");
    }
    let checks = server.get("/health/ready").json()["checks"].to_string();
    assert!(
        ["policy-watch", "snapshot-retention", "key-uses"]
            .iter()
            .all(|name| checks.contains(&format!("worker:{name}"))),
        "{checks}"
    );
    server.stop();
}

#[test]
fn a_second_process_on_the_data_is_told_who_has_it() {
    let home = Home::new();
    let server = home.serve();
    let (pid, address) = (format!("process {}", server.pid()), server.address.to_string());
    refused(&home.run(&["--port", "0"]), 4, &["store.dir_in_use", &pid, &address, "DATA_DIR"]);
    assert_eq!(server.get("/health/live").status, 200);
}

#[test]
fn a_port_that_is_taken_is_named() {
    let (first, second) = (Home::new(), Home::new());
    let server = first.serve();
    let port = server.address.port().to_string();
    refused(&second.run(&["--port", &port]), 4, &["server.port_taken", &port]);
    drop(server);
    second.serve().stop();
}

#[test]
fn a_data_directory_that_cannot_be_used_says_why() {
    let home = Home::new();
    std::fs::write(home.data(), "not a directory").unwrap();
    refused(&home.run(&["--port", "0"]), 4, &["store.dir_unusable", "not a directory", "DATA_DIR"]);
    let home = Home::new();
    home.serve().stop();
    let mut command = home.command(&["--port", "0"]);
    if rustix::process::getuid().is_root() {
        // Root may read everything: try as nobody.
        std::fs::set_permissions(home.dir.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        command.uid(65_534).gid(65_534);
    } else {
        std::fs::set_permissions(home.data(), std::fs::Permissions::from_mode(0o000)).unwrap();
    }
    refused(&finish(command), 4, &["store.dir_unusable", "may not read and write", "chown"]);
    std::fs::set_permissions(home.data(), std::fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn settings_that_do_not_hold_are_named_before_a_port_is_bound() {
    let open = Home::new().set("HOST", "0.0.0.0").set("INBOUND_API_KEYS", "");
    refused(&open.run(&["--port", "0"]), 3, &["config.open_ingest", "INBOUND_API_KEYS", "ALLOW_OPEN_INGEST"]);
    let named = Home::new().set("SETTINGS_FILE", "mine.json");
    refused(&named.run(&["--port", "0"]), 3, &["config.file_unreadable", "mine.json"]);
    let wrong = Home::new().set("PORT", "http");
    refused(&wrong.run(&[]), 3, &["PORT is \"http\"", "a port from 0 to 65535", "grps config print"]);
    let policy = Home::new();
    std::fs::create_dir(policy.dir.path().join("policy")).unwrap();
    std::fs::write(policy.dir.path().join("policy/policy.ranks.json"), "{ \"version\": 1, \"rankz\": [] }").unwrap();
    refused(&policy.run(&["--port", "0"]), 3, &["rankz", "ranks"]);
    let json = wrong.run(&["--json"]);
    let error: Value = serde_json::from_str(&json.stderr).unwrap();
    assert_eq!((json.code, &error["error"]["code"]), (Some(3), &Value::from("config.invalid")));
}

/// The playbook's example, letter by letter (requirement P10).
const PLAYBOOK_ENV: &str = "\
DATABASE_URL=postgresql+asyncpg://grps_bot:change-me@127.0.0.1:5432/grps
ROBLOX_OPEN_CLOUD_API_KEY=rbx-oc-...
ROBLOX_UNIVERSE_ID=000000000
WEBHOOK_VERIFICATION_KEY=base64-hmac-secret
TURNSTILE_SECRET_KEY=1x0000000000000000000000000000000AA
AUTOMATION_SIGNATURE_SECRET=hmac-shared-secret
";

#[test]
fn the_playbooks_environment_boots() {
    let home = Home::new();
    std::fs::write(home.dir.path().join(".env"), PLAYBOOK_ENV).unwrap();
    let server = home.serve();
    let told = until("the banner is written", || Some(server.told()).filter(|told| told.contains("| sh")));
    for part in [
        "later   Turnstile",
        "later   Postgres export",
        "off     sync from the Roblox data store: set ROBLOX_DATASTORE_NAME",
        "AUTOMATION_SIGNATURE_SECRET is shorter",
    ] {
        assert!(told.contains(part), "no {part:?} in: {told}");
    }
    assert!(["change-me", "hmac-shared-secret", "rbx-oc-..."].iter().all(|secret| !told.contains(secret)), "{told}");
    server.stop();
}

#[test]
fn a_request_under_way_is_answered_before_the_end() {
    let home = Home::new();
    let mut server = home.serve();
    let (key, body) = (inbound_key(&home), r#"{"userId": 7, "username": "Last"}"#);
    let mut stream = TcpStream::connect(server.address).unwrap();
    let length = body.len();
    write!(stream, "POST {INGEST} HTTP/1.1\r\nhost: x\r\nconnection: close\r\nx-grps-api-key: {key}\r\ncontent-length: {length}\r\n\r\n{}", &body[..5]).unwrap();
    // Its connection is accepted before the signal: another one made later is being answered.
    assert_eq!(server.get("/health/live").status, 200);
    server.signal(Signal::TERM);
    until("no more connections are taken", || TcpStream::connect(server.address).err());
    stream.write_all(&body.as_bytes()[5..]).unwrap();
    assert_eq!(answer(stream, "POST").unwrap().status, 200);
    assert_eq!(server.wait().code(), Some(0), "{}", server.told());
    let server = home.serve();
    let player = request(server.address, "GET", "/players/7", &[("x-grps-api-key", &key)], "").unwrap();
    assert_eq!(player.json()["username"], "Last");
}

/// Posts snapshots from several threads until the server is gone; gives every user it acknowledged. `killed` is told of each.
fn post_until_gone(server: &Running, key: &str, round: u64, acknowledged: &(dyn Fn(u64) + Sync)) -> Vec<u64> {
    let (next, gone, all) = (AtomicU64::new(round * 10_000 + 1), AtomicBool::new(false), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !gone.load(Ordering::SeqCst) {
                    let user = next.fetch_add(1, Ordering::SeqCst);
                    let body = format!(r#"{{"userId": {user}, "username": "U{user}", "rankPoints": {user}}}"#);
                    match request(server.address, "POST", INGEST, &[("x-grps-api-key", key)], &body) {
                        Ok(answer) => {
                            assert_eq!(answer.status, 200, "{}", answer.body);
                            let mut all = all.lock().unwrap();
                            all.push(user);
                            acknowledged(all.len() as u64);
                        }
                        Err(_) => gone.store(true, Ordering::SeqCst),
                    }
                }
            });
        }
    });
    all.into_inner().unwrap()
}

#[test]
fn a_killed_server_keeps_every_snapshot_it_acknowledged() {
    let home = Home::new();
    let mut kept = Vec::new();
    for round in 0..3u64 {
        let mut server = home.serve();
        let key = inbound_key(&home);
        let at = fastrand::u64(20..200);
        let done = post_until_gone(&server, &key, round, &|count| {
            if count == at {
                server.signal(Signal::KILL);
            }
        });
        assert!(done.len() as u64 >= at);
        assert_eq!(server.wait().code(), None, "killed, not ended");
        kept.extend(done);
    }
    let server = home.serve();
    let key = inbound_key(&home);
    let total = server.get("/metrics/health").json()["totalPlayers"].as_f64().unwrap();
    assert!(total >= kept.len() as f64, "{total} players are there, {} were acknowledged", kept.len());
    for user in &kept {
        let read = |target: String| request(server.address, "GET", &target, &[("x-grps-api-key", &key)], "").unwrap();
        assert_eq!(read(format!("/players/{user}")).json()["rankPoints"], *user);
        let snapshots = read(format!("/players/{user}/snapshots")).json();
        assert_eq!(snapshots["snapshots"].as_array().unwrap().len(), 1, "player, snapshot and place are one commit");
        let place = server.get(&format!("/leaderboards/all-time/grps/{user}"));
        assert_eq!((place.status, &place.json()["score"]), (200, &Value::from(*user)));
    }
    server.stop();
}
