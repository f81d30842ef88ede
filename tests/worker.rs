//! `grps worker` and `grps jobs` as an owner runs them: real processes on both sides, killed, stopped and restarted (requirement J19).

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use grps::base::{Clock, Secret};
use grps::config::{Generated, Kind, SETTINGS};
use grps::domains::auth::sign;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::process::{Home, Running, Wire, request, until};

/// A command that ends with the code its job asks for, and says so on both outputs.
const CODE: &str = r#"code=$(sed 's/[^0-9]//g'); echo "out $GRPS_JOB_QUEUE $GRPS_JOB_ATTEMPT $code"; echo "why $code" >&2; exit $code"#;

const PULL: &[&str] = &[];
const SOCKET: &[&str] = &["--ws"];

/// The gateway's three headers, as a client of the seed sends them.
pub struct Caller {
    key: Secret,
    hmac: Secret,
}

impl Caller {
    /// With the secrets that the server in `home` made for itself.
    pub fn of(home: &Home) -> Self {
        let made = Generated::existing(&home.data()).unwrap().unwrap();
        let secret = |name| Secret::new(made.get(name).unwrap());
        Self { key: secret("API_KEY"), hmac: secret("HMAC_SECRET") }
    }

    /// Headers that are good for a minute.
    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let now = Clock::system().now().seconds().to_string();
        vec![
            ("x-api-key", self.key.expose().to_owned()),
            ("x-signature", sign(&self.hmac, now.as_bytes())),
            ("x-timestamp", now),
            ("content-type", "application/json".to_owned()),
        ]
    }

    pub fn call(&self, address: SocketAddr, method: &str, target: &str, body: &str) -> std::io::Result<Wire> {
        let headers = self.headers();
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        request(address, method, target, &headers, body)
    }

    /// Puts a job in.
    pub fn put(&self, server: &Running, target: &str, body: &str) -> String {
        let answer = self.call(server.address, "POST", target, body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["id"].as_str().unwrap().to_owned()
    }

    pub fn job(&self, server: &Running, id: &str) -> Value {
        self.call(server.address, "GET", &format!("/job/{id}"), "").unwrap().json()
    }

    /// Waits until a job is in `state`.
    pub fn until(&self, server: &Running, id: &str, state: &str) -> Value {
        until(&format!("job {id} is {state}"), || Some(self.job(server, id)).filter(|job| job["state"] == state))
    }
}

/// A worker at work; killed when dropped.
pub struct Hand {
    child: Child,
    stdout: PathBuf,
    stderr: PathBuf,
}

impl Hand {
    pub fn hire(home: &Home, name: &str, arguments: &[&str]) -> Self {
        Self::start(home, name, home.command(&[&["worker"], arguments].concat()))
    }

    fn start(home: &Home, name: &str, mut command: Command) -> Self {
        let file = |kind: &str| home.dir.path().join(format!("{name}.{kind}"));
        let (stdout, stderr) = (file("out"), file("err"));
        command.stdout(File::create(&stdout).unwrap()).stderr(File::create(&stderr).unwrap());
        Self { child: command.spawn().unwrap(), stdout, stderr }
    }

    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.stdout).unwrap_or_default()
    }

    pub fn told(&self) -> String {
        std::fs::read_to_string(&self.stderr).unwrap_or_default()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub fn wait(&mut self) -> ExitStatus {
        until("the worker ends", || self.child.try_wait().unwrap())
    }

    /// Ends it as an operator would.
    pub fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait().code(), Some(0), "{}", self.told());
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn opened() -> (Home, Running, Caller) {
    let home = Home::new().set("DOCS", "false");
    let server = home.serve();
    let caller = Caller::of(&home);
    (home, server, caller)
}

fn exit_codes_are_the_answers(way: &[&str]) {
    let (home, server, caller) = opened();
    let ids: Vec<String> =
        [0, 3, 100].iter().map(|code| caller.put(&server, "/job", &json!({ "code": code }).to_string())).collect();
    let hand = Hand::hire(&home, "worker", &[&["--exec", CODE], way].concat());
    caller.until(&server, &ids[0], "done");
    let failed = caller.until(&server, &ids[1], "waiting");
    assert_eq!((&failed["reason"], &failed["attempt"]), (&json!("exit code 3: why 3"), &json!(1)));
    let dead = caller.until(&server, &ids[2], "dead");
    assert_eq!((&dead["reason"], &dead["attempt"]), (&json!("exit code 100: why 100"), &json!(1)));
    assert!(hand.printed().contains("out default 1 0\n"), "{}", hand.printed());
    assert!(hand.told().contains("why 3\n"), "stderr passes through: {}", hand.told());
    // What failed is tried again by itself.
    until("a second attempt", || (caller.job(&server, &ids[1])["attempt"].as_i64()? > 1).then_some(()));
    hand.stop();
}

#[test]
fn exit_codes_are_the_answers_of_polls() {
    exit_codes_are_the_answers(PULL);
}

fn a_long_command_keeps_its_lease(way: &[&str]) {
    let (home, server, caller) = opened();
    let id = caller.put(&server, "/job", "{}");
    // Long enough for the lease to end, and extended so early that a machine that stands still for two seconds loses nothing.
    let hand = Hand::hire(&home, "worker", &[&["--lease", "4", "--exec", "sleep 6"], way].concat());
    let done = caller.until(&server, &id, "done");
    assert_eq!(done["attempt"], 1, "{}", hand.told());
    hand.stop();
}

#[test]
fn a_long_command_keeps_its_lease_with_polls() {
    a_long_command_keeps_its_lease(PULL);
}

fn a_lost_lease_ends_the_command(way: &[&str]) {
    let (home, server, caller) = opened();
    let id = caller.put(&server, "/job", "{}");
    // What the command starts has to end with it.
    let command = "sleep 60 & echo $! > pid.new; mv pid.new pid; wait";
    let hand = Hand::hire(&home, "worker", &[&["--lease", "2", "--concurrency", "1", "--exec", command], way].concat());
    let pid = until("the command runs", || std::fs::read_to_string(home.dir.path().join("pid")).ok());
    let pid = Pid::from_raw(pid.trim().parse().unwrap()).unwrap();
    hand.signal(Signal::STOP);
    let taken = until("the lease is over and somebody else has the job", || {
        let answer = caller.call(server.address, "GET", "/job/next?lease=60&wait=1", "").unwrap();
        (answer.status == 200).then(|| answer.json())
    });
    assert_eq!((&taken["id"], &taken["attempt"]), (&json!(id), &json!(2)));
    hand.signal(Signal::CONT);
    until("the worker says that the job is lost", || hand.told().contains("nothing is acknowledged").then_some(()));
    until("the command is gone", || rustix::process::test_kill_process(pid).err());
    assert_eq!(caller.job(&server, &id)["state"], "leased", "the other one's lease stands");
    let token = json!({ "leaseToken": taken["leaseToken"] }).to_string();
    assert_eq!(caller.call(server.address, "POST", &format!("/job/{id}/ack"), &token).unwrap().status, 200);
    hand.stop();
}

#[test]
fn a_lost_lease_ends_the_command_of_polls() {
    a_lost_lease_ends_the_command(PULL);
}

fn who_is_told_to_stop_finishes_or_gives_back(way: &[&str]) {
    let (home, server, caller) = opened();
    let id = caller.put(&server, "/job", "{}");
    let mut hand = Hand::hire(&home, "worker", &[&["--exec", "echo begun; sleep 2.5"], way].concat());
    until("the command runs", || hand.printed().contains("begun").then_some(()));
    hand.signal(Signal::TERM);
    until("the signal is heard", || hand.told().contains("no more jobs are taken").then_some(()));
    // What its polls bring in their last moment is given back, though it is the only attempt.
    let late = caller.put(&server, "/job?maxAttempts=1", "{}");
    assert_eq!(hand.wait().code(), Some(0), "{}", hand.told());
    assert_eq!(caller.job(&server, &id)["state"], "done");
    assert_eq!(caller.until(&server, &late, "ready")["attempt"], 0, "it was worked on after the first signal");

    let mut hand = Hand::hire(&home, "worker", &[&["--exec", "echo begun; sleep 60"], way].concat());
    until("the command runs", || hand.printed().contains("begun").then_some(()));
    hand.signal(Signal::INT);
    until("the first signal is heard", || hand.told().contains("no more jobs are taken").then_some(()));
    hand.signal(Signal::INT);
    assert_eq!(hand.wait().code(), Some(0), "{}", hand.told());
    let back = caller.until(&server, &late, "ready");
    assert_eq!((&back["attempt"], &back["reason"]), (&json!(0), &json!("its worker was stopped")));
}

#[test]
fn who_is_told_to_stop_finishes_or_gives_back_what_was_polled() {
    who_is_told_to_stop_finishes_or_gives_back(PULL);
}

fn a_worker_outlives_its_server(way: &[&str]) {
    let (home, server, caller) = opened();
    let port = server.address.port();
    let first = caller.put(&server, "/job", r#"{"n":1}"#);
    let hand = Hand::hire(&home, "worker", &[&["--exec", "cat; echo; sleep 1"], way].concat());
    until("the command runs", || hand.printed().contains(r#"{"n":1}"#).then_some(()));
    server.stop();
    // Its command ends while the server is away: the answer has to wait for it.
    std::thread::sleep(Duration::from_millis(800));
    let server = home.serve_on(port);
    let second = caller.put(&server, "/job", r#"{"n":2}"#);
    let done = caller.until(&server, &first, "done");
    assert_eq!(done["attempt"], 1, "{}", hand.told());
    caller.until(&server, &second, "done");
    assert!(hand.told().contains("the server answers again"), "{}", hand.told());
    hand.stop();
}

#[test]
fn a_worker_outlives_its_server_between_polls() {
    a_worker_outlives_its_server(PULL);
}

#[test]
fn without_a_command_jobs_are_printed() {
    let (home, server, caller) = opened();
    for payload in ["{ \"a\":\n  1.0 }", r#"{"big":12345678901234567890123}"#] {
        caller.put(&server, "/job?queue=mail", payload);
    }
    let once = ["worker", "--once", "--queue", "mail", "--concurrency", "1"];
    let printed = home.run(&once);
    assert_eq!(printed.code, Some(0), "{}", printed.stderr);
    assert_eq!(printed.stdout, "{ \"a\":   1.0 }\n{\"big\":12345678901234567890123}\n");
    let id = caller.put(&server, "/job?queue=mail", r#"{"a":1}"#);
    let line = home.json(&once);
    assert_eq!((&line["id"], &line["queue"], &line["payload"]), (&json!(id), &json!("mail"), &json!({ "a": 1 })));
    assert_eq!(caller.job(&server, &id)["state"], "done");
    caller.put(&server, "/job?queue=mail", r#"{"code":3}"#);
    let report = home.json(&[&once[..], &["--exec", CODE]].concat());
    assert_eq!((&report["outcome"], &report["reason"]), (&json!("nacked"), &json!("exit code 3: why 3")));
}

#[test]
fn a_wrong_key_is_explained_and_nothing_secret_is_shown() {
    let (home, server, _) = opened();
    let base = format!("http://{}", server.address);
    let wrong = "w".repeat(40);
    let run = |settings: &[(&str, &str)], arguments: &[&str]| {
        let mut command = home.command(&[&["worker"], arguments].concat());
        command.envs([("BASE_URL", base.as_str()), ("RETRIES", "1"), ("INITIAL_BACKOFF", "0.01")]);
        command.envs(settings.iter().copied());
        crate::process::finish(command)
    };
    for way in [PULL, SOCKET] {
        let done = run(&[("API_KEY", &wrong)], way);
        assert_eq!(done.code, Some(1), "{}", done.stderr);
        assert!(done.stderr.contains("auth.gateway_key_invalid"), "{}", done.stderr);
        assert!(done.stderr.contains("API_KEY differs from the server's"), "{}", done.stderr);
        assert!(!done.stderr.contains("www"), "{}", done.stderr);
    }
    let done = run(&[("HMAC_SECRET", &wrong)], &[]);
    assert!(done.stderr.contains("auth.gateway_signature_invalid"), "{}", done.stderr);
    let away = run(&[("BASE_URL", "http://127.0.0.1:9")], &["--once"]);
    assert_eq!(away.code, Some(4), "{}", away.stderr);
    assert!(away.stderr.contains("cannot be reached") && away.stderr.contains("refused"), "{}", away.stderr);
    let nothing = run(&[("BASE_URL", "https://jobs.example.com")], &["--once"]);
    assert_eq!(nothing.code, Some(3), "{}", nothing.stderr);
    assert!(nothing.stderr.contains("API_KEY is not set"), "{}", nothing.stderr);
}

#[test]
fn commands_do_not_see_the_workers_secrets() {
    let (home, server, caller) = opened();
    caller.put(&server, "/job", "{}");
    let made = Generated::existing(&home.data()).unwrap().unwrap();
    let (key, hmac) = (made.get("API_KEY").unwrap(), made.get("HMAC_SECRET").unwrap());
    let file = home.dir.path().join("hmac");
    std::fs::write(&file, hmac).unwrap();
    let mut command = home.command(&["worker", "--once", "--exec", "env; tr '\\0' ' ' < /proc/$PPID/cmdline"]);
    command.env("Api_Key", key).env("hmac_secret_FILE", &file).env("MINE", "kept");
    let secrets: Vec<&str> =
        SETTINGS.iter().filter(|setting| setting.kind != Kind::Plain).map(|setting| setting.name).collect();
    command
        .envs(secrets.iter().filter(|name| !["API_KEY", "HMAC_SECRET"].contains(name)).map(|name| (name, "hunter2")));
    let done = crate::process::finish(command);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert!(done.stdout.contains("MINE=kept") && done.stdout.contains("GRPS_JOB_ATTEMPT=1"), "{}", done.stdout);
    let shown = format!("{}{}", done.stdout, done.stderr).to_ascii_uppercase();
    assert!(secrets.len() > 5 && secrets.iter().all(|name| !shown.contains(name)), "{shown}");
    assert!(!shown.contains(&key.to_ascii_uppercase()) && !shown.contains(&hmac.to_ascii_uppercase()));
}

#[test]
fn a_worker_may_sign_every_request() {
    let home = Home::new().set("AUTH_MODE", "strict");
    let server = home.serve();
    let refused = home.command(&["worker", "--once"]);
    let refused = {
        let mut command = refused;
        command.env("RETRIES", "0");
        crate::process::finish(command)
    };
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    let done = home.run(&["worker", "--once", "--key-id", "gateway"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    let made = home.json(&["keys", "create", "--name", "worker", "--scopes", "jobs:consume"]);
    let file = home.dir.path().join("secret");
    std::fs::write(&file, format!("{}\n", made["secret"].as_str().unwrap())).unwrap();
    let kid = made["key"]["kid"].as_str().unwrap();
    let done = home.run(&["worker", "--once", "--key-id", kid, "--key-file", "secret"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(home.run(&["worker", "--once", "--key-id", kid]).code, Some(2));
    server.stop();
}

#[test]
fn operators_see_put_back_and_remove_jobs() {
    let (home, server, caller) = opened();
    let ids: Vec<String> = (0..3).map(|n| caller.put(&server, "/job", &json!({ "n": n }).to_string())).collect();
    let done = home.run(&["worker", "--once", "--exec", "echo no player >&2; exit 100"]);
    assert_eq!(done.code, Some(0), "{}", done.stderr);
    assert_eq!(home.json(&["jobs", "queues"])["queues"][0]["dead"], 3);
    let text = home.run(&["jobs", "list", "--state", "dead"]).stdout;
    assert!(text.contains(&ids[1]) && text.contains("exit code 100: no player"), "{text}");
    let text = home.run(&["jobs", "show", &ids[1]]).stdout;
    assert!(text.contains("dead") && text.contains("\"n\": 1"), "{text}");
    assert_eq!(home.json(&["jobs", "retry", &ids[0]])["state"], "ready");
    let selection = ["--queue", "default", "--state", "dead"];
    let dry = home.run(&[&["jobs", "requeue"], &selection[..]].concat()).stdout;
    assert!(dry.contains("2 dead jobs of queue default would be put back") && dry.contains("--yes"), "{dry}");
    let put_back = home.json(&[&["jobs", "requeue", "--limit", "1", "--yes"], &selection[..]].concat());
    assert_eq!((&put_back["changed"], &put_back["dryRun"]), (&json!(1), &json!(false)));
    assert_eq!(home.json(&[&["jobs", "purge"], &selection[..]].concat())["changed"], 0);
    let purged = home.run(&[&["jobs", "purge", "--yes"], &selection[..]].concat()).stdout;
    assert!(purged.contains("1 dead jobs of queue default were removed"), "{purged}");
    let missing = home.run(&["jobs", "show", &ids[2]]);
    assert_eq!(missing.code, Some(1), "{}", missing.stderr);
    let states: Vec<Value> = home.json(&["jobs", "list"])["jobs"].as_array().unwrap().clone();
    assert_eq!(states.iter().map(|job| job["state"].clone()).collect::<Vec<_>>(), [json!("ready"), json!("ready")]);
    server.stop();
    assert_eq!(home.json(&["jobs", "queues"])["queues"][0]["ready"], 2, "without a server, too");
    let still = home.run(&["jobs", "watch"]);
    assert_eq!(still.code, Some(4), "{}", still.stderr);
}

#[test]
fn watching_shows_what_moves() {
    let (home, server, caller) = opened();
    let mut command = home.command(&["jobs", "watch", "--json"]);
    let out = home.dir.path().join("watch.out");
    let mut watch = command.stdout(File::create(&out).unwrap()).stderr(Stdio::inherit()).spawn().unwrap();
    let seen = || {
        let text = std::fs::read_to_string(&out).unwrap();
        text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()).collect::<Vec<_>>()
    };
    let moves = |row: &Value| row["queues"][0]["inPerSecond"].as_f64().is_some_and(|rate| rate > 0.0);
    until("a rate is shown", || {
        caller.put(&server, "/job", "{}");
        seen().iter().any(moves).then_some(())
    });
    // A restart is part of what there is to see.
    let port = server.address.port();
    server.stop();
    until("the failure is shown", || seen().last().filter(|row| row["error"]["code"].is_string()).map(drop));
    let server = home.serve_on(port);
    until("a rate is shown again", || {
        caller.put(&server, "/job", "{}");
        seen().last().filter(|row| moves(row)).map(drop)
    });
    kill_process(Pid::from_child(&watch), Signal::INT).unwrap();
    assert_eq!(until("watching ends", || watch.try_wait().unwrap()).code(), Some(0));
}

/// The seed's own client, in Python and independent of all that is here.
#[test]
fn the_seeds_client_in_another_language_gets_what_the_seed_promises() {
    let (home, server, caller) = opened();
    let made = Generated::existing(&home.data()).unwrap().unwrap();
    let mut python = Command::new("python3");
    python.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/seed_client.py")).stdin(Stdio::null());
    python.env("BASE_URL", format!("http://{}", server.address)).env("JOBS", "20");
    python.env("API_KEY", made.get("API_KEY").unwrap()).env("HMAC_SECRET", made.get("HMAC_SECRET").unwrap());
    let there = Command::new("python3").arg("--version").output().is_ok_and(|done| done.status.success());
    assert!(
        there,
        "this test runs tests/seed_client.py and needs python3: `apt-get install python3`, or use tests/run, which does"
    );
    let done = crate::process::finish(python);
    assert_eq!(done.code, Some(0), "{}{}\n{}", done.stdout, done.stderr, server.told());
    let seen: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(seen["jobs"], 20);
    for id in seen["ids"].as_array().unwrap() {
        assert_eq!(caller.job(&server, id.as_str().unwrap())["state"], "delivered");
    }
    let logged = server.told();
    assert!(!logged.contains(made.get("API_KEY").unwrap()), "the key in the query is in the log");
}

#[test]
fn exit_codes_are_the_answers_through_a_socket() {
    exit_codes_are_the_answers(SOCKET);
}

#[test]
fn a_long_command_keeps_its_lease_through_a_socket() {
    a_long_command_keeps_its_lease(SOCKET);
}

#[test]
fn a_lost_lease_ends_the_command_that_came_through_a_socket() {
    a_lost_lease_ends_the_command(SOCKET);
}

#[test]
fn who_is_told_to_stop_finishes_or_gives_back_what_came_through_a_socket() {
    who_is_told_to_stop_finishes_or_gives_back(SOCKET);
}

#[test]
fn a_worker_outlives_its_server_and_its_socket() {
    a_worker_outlives_its_server(SOCKET);
}
