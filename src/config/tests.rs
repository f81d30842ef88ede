//! Settings read as a whole: what is on by default, what is refused, what is told.

use super::*;

pub fn build(settings: &[(&str, &str)]) -> Result<Config> {
    let dir = tempfile::tempdir().unwrap();
    let generated = Generated::load_or_create(dir.path()).unwrap();
    let env = settings.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    Config::build(&Sources::read(Vec::new(), env, dir.path()).unwrap(), &generated)
}

#[test]
fn nothing_set_is_a_closed_server_on_loopback() {
    let config = build(&[]).unwrap();
    assert_eq!(config.address().to_string(), "127.0.0.1:8000");
    assert_eq!(config.auth.inbound.len(), 1);
    assert!(!config.auth.open_ingest);
    assert_eq!(config.service_base_url, "http://127.0.0.1:8000");
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
}

#[test]
fn ingest_is_never_open_by_accident() {
    assert!(build(&[("INBOUND_API_KEYS", "")]).unwrap().auth.open_ingest);
    let error = build(&[("INBOUND_API_KEYS", ""), ("HOST", "0.0.0.0")]).unwrap_err();
    assert_eq!(error.code(), "config.open_ingest");
    assert!(error.to_string().contains("INBOUND_API_KEYS") && error.to_string().contains("ALLOW_OPEN_INGEST"));
    let allowed = build(&[("INBOUND_API_KEYS", ""), ("HOST", "0.0.0.0"), ("ALLOW_OPEN_INGEST", "1")]).unwrap();
    assert!(allowed.auth.open_ingest);
    assert!(!build(&[("HOST", "0.0.0.0")]).unwrap().auth.open_ingest);
}

#[test]
fn every_wrong_value_names_its_variable_and_what_is_expected() {
    for (name, value, expected) in [
        ("PORT", "http", "a port"),
        ("HOST", "localhost", "an IP address"),
        ("AUTH_MODE", "lax", "compat or strict"),
        ("ROBLOX_GROUP_ID", "my-group", "a number"),
        ("DATABASE_URL", "mysql://root:hunter2@db", "not a Postgres address"),
        ("LOG_FORMAT", "xml", "human or json"),
        ("MAX_BODY_BYTES", "1MB", "a whole number from 1024"),
        ("TIMESTAMP_TOLERANCE", "-1", "a whole number from 1"),
        ("DOCS", "maybe", "true or false"),
        ("ALLOWED_ORIGINS", "*", "not a web origin"),
        ("TRUSTED_PROXIES", "proxy", "neither an address nor a range"),
        ("INBOUND_API_KEYS", "key:fly", "not a list of scopes"),
        ("BACKUP_CRON", "daily", "minute, hour, day"),
        ("BACKUP_KEEP", "weakly=4", "not a span"),
        ("BACKUP_KEY", "abc", "64 hex characters"),
        ("STORE_RESERVE_MB", "0", "a whole number from 16"),
    ] {
        let error = build(&[(name, value)]).unwrap_err();
        assert!(error.to_string().contains(expected), "{name}={value}: {error}");
    }
}

#[test]
fn weak_and_shared_secrets_are_told() {
    let shared = "x".repeat(32);
    let config =
        build(&[("API_KEY", "short"), ("HMAC_SECRET", &shared), ("WEBHOOK_VERIFICATION_KEY", &shared)]).unwrap();
    assert_eq!(config.warnings.len(), 2, "{:?}", config.warnings);
    assert!(config.warnings.iter().all(|line| !line.contains("xxxx")));
}

#[test]
fn secrets_print_as_their_last_characters_at_most() {
    assert_eq!(mask("hunter2"), "…");
    assert_eq!(mask(&format!("{}abcd,short", "x".repeat(40))), "…abcd,…");
    assert_eq!(mask(""), "");
}
