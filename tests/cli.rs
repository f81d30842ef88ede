//! Every command, with a server running and without: what it prints for machines, and its exit code.

use serde_json::{Value, json};

use crate::harness::{INGEST, snapshot};
use crate::process::{Home, bytes_below, request};

/// Runs `test` on a home whose data no server has open, then on one with a server.
pub fn both_ways(test: impl Fn(&Home)) {
    let alone = Home::new();
    test(&alone);
    let served = Home::new();
    let server = served.serve();
    test(&served);
    server.stop();
}

#[test]
fn keys_are_made_listed_rotated_and_revoked() {
    both_ways(|home| {
        assert_eq!(home.json(&["keys", "list"]), json!({ "keys": [] }));
        let made = home.json(&["keys", "create", "--name", "nexus", "--scopes", "ingest,players:read", "--compat"]);
        let kid = made["key"]["kid"].as_str().unwrap();
        assert_eq!(
            (&made["key"]["name"], &made["key"]["scopes"]),
            (&json!("nexus"), &json!(["ingest", "players:read"]))
        );
        let rotated = home.json(&["keys", "rotate", kid]);
        assert_ne!(made["secret"], rotated["secret"]);
        assert_eq!(home.json(&["keys", "list"])["keys"][0]["values"].as_array().unwrap().len(), 2);
        assert!(home.json(&["keys", "revoke", kid])["revokedAt"].is_string());
        let list = home.run(&["keys", "list"]);
        assert!(list.stdout.contains("revoked") && list.stdout.contains(kid), "{}", list.stdout);
        let unknown = home.run(&["keys", "revoke", "c00000000"]);
        assert!(unknown.code == Some(1) && unknown.stderr.contains("keys.missing"), "{}", unknown.stderr);
        let scope = home.run(&["keys", "create", "--name", "x", "--scopes", "fly"]);
        assert!(scope.code == Some(2) && scope.stderr.contains("\"fly\" is not a scope"), "{}", scope.stderr);
        for secret in [&made["secret"], &rotated["secret"]] {
            let tail = secret.as_str().unwrap().rsplit('_').next().unwrap().as_bytes();
            assert!(
                bytes_below(&home.data(), &[]).windows(tail.len()).all(|bytes| bytes != tail),
                "a key's secret is on disk"
            );
        }
    });
}

#[test]
fn a_key_made_beside_the_running_server_works_at_once() {
    let home = Home::new();
    let server = home.serve();
    let made = home.json(&["keys", "create", "--name", "game", "--scopes", "ingest", "--compat"]);
    let post = || {
        server.post(
            INGEST,
            &[("x-grps-api-key", made["secret"].as_str().unwrap())],
            r#"{"userId": 7, "username": "A"}"#,
        )
    };
    assert_eq!(post().status, 200);
    home.json(&["keys", "revoke", made["key"]["kid"].as_str().unwrap()]);
    assert_eq!(post().status, 401);
    server.stop();
}

#[test]
fn what_sign_prints_opens_the_server() {
    let home = Home::new();
    let server = home.serve();
    let sample = home.json(&["sign", "a2", "--sample"]);
    let send = |target: &str, shown: &Value, body: &str| {
        let headers = shown["headers"].as_object().unwrap().iter();
        let headers: Vec<(&str, &str)> =
            headers.map(|(name, value)| (name.as_str(), value.as_str().unwrap())).collect();
        server.post(target, &headers, body)
    };
    let snapshot = r#"{"userId":7,"username":"A"}"#;
    assert_eq!(send(INGEST, &sample, snapshot).status, 200);
    let signed = home.json(&["sign", "a6", "--body", snapshot]);
    assert_eq!(send(INGEST, &signed, snapshot).status, 200);
    assert_eq!(send(INGEST, &signed, snapshot).status, 401, "once");
    let text = signed["signed"].as_str().unwrap();
    assert!(text.contains(".POST./roblox/events/player-activity.") && text.split('.').count() >= 5, "{text}");
    let decide = r#"{"userId":7}"#;
    assert_eq!(send("/automation/decisions", &home.json(&["sign", "a1", "--body", decide]), decide).status, 200);
    let score = r#"{"user_id":7,"score":5,"season":"s1","mode":"ranked"}"#;
    assert_eq!(send("/leaderboards/submit", &home.json(&["sign", "a3"]), score).status, 200);
    let operator =
        home.json(&["sign", "a6", "--kid", "operator", "--method", "POST", "--target", "/admin/api/bootstrap"]);
    assert_eq!(send("/admin/api/bootstrap", &operator, "").status, 200);
    let curl = home.run(&["sign", "a6", "--sample", "--curl"]);
    assert!(
        curl.stdout.starts_with(&format!("curl -s -X POST 'http://{}/roblox", server.address))
            && curl.stdout.contains("-d '{"),
        "{}",
        curl.stdout
    );
    let unknown = home.run(&["sign", "a6", "--kid", "k00000000"]);
    assert_eq!(unknown.code, Some(1), "{}", unknown.stderr);
}

#[test]
fn sample_data_comes_and_goes() {
    both_ways(|home| {
        assert_eq!(home.json(&["bootstrap"]), json!({ "added": 1 }));
        assert_eq!(home.json(&["bootstrap"]), json!({ "added": 0 }));
        assert_eq!(home.json(&["demo", "--players", "120"]), json!({ "loaded": 120 }));
        let simulated = home.json(&["policy", "simulate"]);
        assert_eq!(simulated["evaluated"], 121);
        let counts = simulated["counts"].as_object().unwrap();
        assert_eq!(counts.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), 121);
        let all = home.json(&["policy", "simulate", "--show", "1"]);
        assert_eq!(all["moves"].as_array().unwrap().len(), 1);
        assert_eq!(home.json(&["demo", "--remove"]), json!({ "removed": 120 }));
        assert_eq!(home.json(&["policy", "simulate"])["evaluated"], 1);
        assert_eq!(home.run(&["demo", "--players", "0"]).code, Some(2), "clap refuses it");
    });
}

#[test]
fn policies_are_linted_and_explained() {
    let home = Home::new();
    let shipped = home.json(&["policy", "lint"]);
    assert_eq!(shipped["ok"], true, "{shipped}");
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/policy/examples/seed-001");
    assert_eq!(home.json(&["policy", "lint", example])["ok"], true);
    let explain = ["policy", "explain", "--rank", "Volt Specialist II", "--points", "520"];
    let shipped = home.json(&explain);
    assert!(shipped.to_string().contains("230 points short of Storm Corporal I"), "{shipped}");
    let promoted = home.json(&[&explain[..], &["--dir", example]].concat());
    assert!(promoted.to_string().contains("PROMOTE"), "{promoted}");
    let people = home.run(&explain);
    assert!(people.code == Some(0) && people.stdout.contains("230 points short"), "{}", people.stdout);
    let broken = home.dir.path().join("broken");
    std::fs::create_dir(&broken).unwrap();
    std::fs::write(
        broken.join("policy.ranks.json"),
        r#"{ "version": 1, "ranks": [{ "name": "A", "requiredPoint": 5 }] }"#,
    )
    .unwrap();
    let report = home.run(&["policy", "lint", broken.to_str().unwrap(), "--json"]);
    let found: Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!((report.code, &found["ok"]), (Some(1), &json!(false)));
    assert!(report.stdout.contains("requiredPoints"), "{}", report.stdout);
    assert_eq!(home.run(&["policy", "lint", "nowhere"]).code, Some(3));
    assert_eq!(home.run(&["policy", "explain", "--user-id", "99"]).code, Some(1), "nobody is stored under that id");
    home.json(&["bootstrap"]);
    let stored = home.json(&["policy", "explain", "--user-id", "123456"]);
    assert_eq!((&stored["action"], stored["reason"].as_str().unwrap().contains("privileged")), (&json!("NONE"), true));
}

#[test]
fn the_configuration_is_shown_with_its_sources_and_without_its_secrets() {
    let home = Home::new().set("LOG_LEVEL", "debug").set("HMAC_SECRET", "a-secret-of-more-than-32-characters-wxyz");
    std::fs::write(home.dir.path().join("app_settings.json"), r#"{"max_connections": 77}"#).unwrap();
    std::fs::write(home.dir.path().join("api.key"), "from-a-file-of-more-than-32-characters-abcd\n").unwrap();
    std::fs::write(home.dir.path().join(".env"), "API_KEY_FILE=api.key\n").unwrap();
    let done = home.run(&["config", "print", "--json", "--port", "9000"]);
    let shown: Value = serde_json::from_str(&done.stdout).unwrap();
    let of = |name: &str| {
        let found = shown["settings"].as_array().unwrap().iter().find(|setting| setting["name"] == name).unwrap();
        let source = found["source"].as_str().unwrap().rsplit('/').next().unwrap().to_owned();
        (found["value"].as_str().unwrap().to_owned(), source)
    };
    let pair = |value: &str, source: &str| (value.to_owned(), source.to_owned());
    assert_eq!(of("PORT"), pair("9000", "flag"));
    assert_eq!(of("LOG_LEVEL"), pair("debug", "environment"));
    assert_eq!(of("MAX_CONNECTIONS"), pair("77", "app_settings.json"));
    assert_eq!(of("API_KEY"), pair("…abcd", "api.key"));
    assert_eq!(of("HMAC_SECRET"), pair("…wxyz", "environment"));
    assert_eq!(of("HOST"), pair("127.0.0.1", "default"));
    assert_eq!(of("INBOUND_API_KEYS").1, "generated");
    assert!(!done.stdout.contains("more-than-32"), "{}", done.stdout);
    assert_eq!(home.run(&["config", "print", "--markdown"]).stdout, grps::config::markdown());
    assert_eq!(home.run(&["config", "print", "--access"]).stdout, grps::domains::auth::access_markdown());
    assert_eq!(home.run(&["config", "print", "--access", "--markdown"]).code, Some(2));
}

#[test]
fn doctor_goes_through_the_list() {
    both_ways(|home| {
        let report = home.json(&["doctor"]);
        let state = |name: &str| {
            report["checks"].as_array().unwrap().iter().find(|check| check["check"] == name).unwrap()["state"].clone()
        };
        assert_eq!((state("settings"), state("policy"), state("store")), (json!("pass"), json!("pass"), json!("pass")));
        assert!(
            report["checks"]
                .as_array()
                .unwrap()
                .iter()
                .any(|check| check["state"] == "off" && check["fix"].is_string())
        );
    });
    let weak = Home::new().set("API_KEY", "short");
    let done = weak.run(&["doctor", "--json"]);
    let report: Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((done.code, &report["ok"]), (Some(1), &json!(false)));
    assert!(done.stdout.contains("API_KEY is shorter"), "{}", done.stdout);
    let wrong = Home::new().set("PORT", "http");
    let done = wrong.run(&["doctor"]);
    assert!(done.code == Some(1) && done.stdout.contains("FAIL") && done.stdout.contains("fix:"), "{}", done.stdout);
}

#[test]
fn a_health_check_has_an_exit_code() {
    let home = Home::new();
    let down = home.run(&["healthcheck"]);
    assert!(down.code == Some(4) && down.stderr.contains("grps serve"), "{}", down.stderr);
    let server = home.serve();
    assert_eq!(home.json(&["healthcheck"])["ready"], true);
    server.stop();
    assert_eq!(home.run(&["healthcheck"]).code, Some(4));
}

#[test]
fn the_contract_is_printed_as_it_is_served() {
    let home = Home::new();
    let server = home.serve();
    let (json, yaml) = (home.run(&["openapi"]).stdout, home.run(&["openapi", "--format", "yaml"]).stdout);
    assert_eq!(json, server.get("/openapi.json").body);
    assert_eq!(yaml, request(server.address, "GET", "/openapi.yaml", &[], "").unwrap().body);
    serde_json::from_str::<Value>(&json).unwrap();
    server.stop();
}

#[test]
fn wrong_usage_is_exit_code_2_and_help_is_0() {
    let home = Home::new();
    for wrong in [
        &["fly"][..],
        &["keys"],
        &["keys", "create"],
        &["--port", "http"],
        &["sign", "a9"],
        &["demo", "--remove", "--players", "5"],
    ] {
        let done = home.run(wrong);
        assert!(done.code == Some(2) && done.stdout.is_empty(), "{wrong:?}: {}", done.stderr);
    }
    assert!(home.run(&["--version"]).stdout.starts_with("grps "));
    assert_eq!(home.run(&["--help"]).code, Some(0));
    assert!(!home.data().exists(), "looking changes nothing");
}

#[test]
fn decisions_are_listed_approved_and_taken_back() {
    both_ways(|home| {
        assert_eq!(home.json(&["decisions", "list"])["decisions"], json!([]));
        assert!(home.run(&["decisions", "list"]).stdout.contains("No such decisions"));
        let unknown = home.run(&["decisions", "show", "0000000000000001"]);
        assert!(unknown.code == Some(1) && unknown.stderr.contains("decisions.missing"), "{}", unknown.stderr);
        let refused = home.run(&["decisions", "approve", "0000000000000001"]);
        assert!(
            refused.code == Some(1) && refused.stdout.contains("refused: there is no decision"),
            "{}",
            refused.stdout
        );
        let preview = home.json(&["decisions", "revert", "--since", "2h"]);
        assert_eq!((&preview["dryRun"], &preview["items"]), (&json!(true), &json!([])));
        assert!(home.run(&["decisions", "revert", "--since", "2h", "--yes"]).stdout.contains("0 are restored"));
        assert_eq!(home.run(&["decisions", "revert", "--since", "often"]).code, Some(2));
        let status = home.run(&["decisions", "list", "--status", "often"]);
        assert!(
            status.code == Some(2) && status.stderr.contains("possible values: proposed, queued"),
            "{}",
            status.stderr
        );
        let user = home.run(&["decisions", "list", "--user", "somebody"]);
        assert!(user.code == Some(2) && user.stderr.contains("a Roblox user id is a whole number"), "{}", user.stderr);
        assert!(!user.stderr.contains("error[id."), "one error, not one within another: {}", user.stderr);
        assert_eq!(home.run(&["decisions", "revert"]).code, Some(2), "of what?");
        let opened = home.json(&["decisions", "breaker", "--open", "--reason", "looking"]);
        assert_eq!(opened["open"], true);
        let shown = home.run(&["decisions", "breaker"]).stdout;
        assert!(
            shown.contains("opened by hand: looking (by operator)") && shown.contains("minute  0 of 30"),
            "{shown}"
        );
        assert!(home.run(&["decisions", "breaker", "--close"]).stdout.starts_with("closed"));
        home.json(&["decisions", "breaker", "--open"]);
        let shown = home.run(&["decisions", "breaker"]).stdout;
        assert!(shown.contains("opened by hand: no reason given (by operator)"), "{shown}");
    });
}

#[test]
fn all_that_is_proposed_is_rejected_at_once_by_what_it_has_in_common() {
    let home = Home::new();
    let server = home.serve();
    let made = home.json(&["keys", "create", "--name", "stolen", "--scopes", "ingest,decisions:apply", "--compat"]);
    let (kid, secret) = (made["key"]["kid"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let headers = [("x-grps-api-key", secret), ("x-grps-evaluate", "true"), ("x-grps-apply", "true")];
    for user in 1..=105 {
        let answer = server.post(INGEST, &headers, &snapshot(user, 500, 7).to_string()).json();
        assert_eq!(answer["decision"]["status"], "proposed", "{answer}");
    }
    let queued = server.post(INGEST, &headers, &snapshot(200, 800, 0).to_string()).json();
    assert_eq!(queued["decision"]["status"], "queued", "{queued}");
    let reject = |arguments: &[&str]| home.run(&[&["decisions", "reject"], arguments].concat());
    for wrong in [
        &[][..],
        &["--reason", "why"],
        &["--dry-run"],
        &["0000000000000001", "--since", "2h"],
        &["0000000000000001", "--dry-run"],
        &["--since", "often"],
        &["--user", "somebody"],
        &["--origin", "often"],
        &["--actor", ""],
    ] {
        let done = reject(wrong);
        assert!(done.code == Some(2) && done.stdout.is_empty(), "{wrong:?}: {}{}", done.stdout, done.stderr);
    }
    let dry = reject(&["--since", "1h", "--actor", kid, "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    assert!(dry.stdout.contains("105 would be rejected") && dry.stdout.contains("BAN"), "{}", dry.stdout);
    for none in [&["--until", "1h"][..], &["--origin", "drift"], &["--actor", "somebody"], &["--user", "200"]] {
        assert!(reject(none).stdout.contains("0 are rejected, 0 are left"), "{none:?}");
    }
    let one = reject(&["--user", "7", "--reason", "stolen key"]);
    assert!(one.code == Some(0) && one.stdout.contains("1 is rejected, 0 are left"), "{}", one.stdout);
    let all = home.json(&["decisions", "reject", "--since", "1h", "--origin", "policy", "--dry-run"]);
    assert_eq!((&all["dryRun"], &all["found"], &all["rejected"]), (&json!(true), &json!(104), &json!(0)), "{all}");
    assert_eq!(all["decisions"].as_array().unwrap().len(), 104);
    server.stop();
    let all = home.json(&["decisions", "reject", "--since", "1h", "--actor", kid, "--reason", "stolen key"]);
    assert_eq!((&all["found"], &all["rejected"], &all["left"]), (&json!(104), &json!(104), &json!([])), "{all}");
    assert_eq!(home.json(&["decisions", "list", "--status", "proposed"])["decisions"], json!([]));
    let left = home.json(&["decisions", "list", "--user", "200", "--actor", kid]);
    assert_eq!(left["decisions"][0]["status"], "queued", "what is not proposed stays: {left}");
    let one = home.json(&["decisions", "list", "--user", "9"]);
    assert_eq!(one["decisions"][0]["blockedReason"], "Rejected by operator: stolen key");
}
