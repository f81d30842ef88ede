//! What the owner reads at start: what is on, what is off and which setting turns it on, and the first request to try.

use std::io::IsTerminal;
use std::path::{Path, PathBuf};

use crate::app::App;
use crate::base::{Error, Result};
use crate::config::{Config, FeatureState};

/// Headers of a first request by `curl`, in a file so that no secret is printed.
const CURL_HEADERS: &str = "ingest.headers";

/// The lines to print. `headers` is the file the first request reads, if there is one.
pub fn text(app: &App, address: &str, headers: Option<&Path>) -> String {
    let config = &app.config;
    let policy = app.policy.status();
    let from = if policy.built_in { "built in".to_owned() } else { config.policy_dir.display().to_string() };
    let mut out = format!("\n{} {} on http://{address}\n", bold("grps"), env!("CARGO_PKG_VERSION"));
    out += &format!("  data    {} ({} players)\n", config.data_dir.display(), app.player_count());
    out += &format!("  policy  {from} (version {})\n", policy.version);
    if config.docs {
        out += &format!("  docs    http://{address}/docs\n");
    }
    for feature in &config.features {
        out += &match &feature.state {
            FeatureState::On => format!("  on      {}\n", feature.name),
            FeatureState::Off(missing) => format!("  off     {}: set {}\n", feature.name, missing.join(", ")),
            FeatureState::Later => {
                format!("  later   {}: configured; this version does not use it yet\n", feature.name)
            }
        };
    }
    if config.auth.open_ingest {
        out += "  open    anyone who reaches this address may post snapshots (INBOUND_API_KEYS is empty)\n";
    }
    for warning in &config.warnings {
        out += &format!("  warn    {warning}\n");
    }
    out += &format!("\n{}\n\n{}\n", bold("Post a first snapshot:"), first_request(address, headers));
    if headers.is_some() {
        out += &format!("\nThe same, signed (A6, fresh each time):\n\n  {}\n", signed_request(config));
    }
    out
}

/// Writes the headers file for `curl`, with the key that was generated here. A key that was configured is not copied to disk.
///
/// # Errors
/// `server.headers_unwritable`.
pub fn write_headers(config: &Config) -> Result<Option<PathBuf>> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let path = config.data_dir.join(CURL_HEADERS);
    let _ = std::fs::remove_file(&path);
    let Some(key) = config.auth.inbound.first().filter(|_| config.generated_inbound) else { return Ok(None) };
    let mut options = std::fs::OpenOptions::new();
    let written = options.write(true).create_new(true).mode(0o600).open(&path).and_then(|mut file| {
        writeln!(file, "x-grps-api-key: {}", key.secret.expose())?;
        writeln!(file, "content-type: application/json")
    });
    written.map_err(|error| Error::broken("server.headers_unwritable", format!("{}: {error}", path.display())))?;
    Ok(Some(path))
}

fn first_request(address: &str, headers: Option<&Path>) -> String {
    let credential = match headers {
        Some(path) => format!("-H @{}", path.display()),
        None => "-H 'content-type: application/json' -H \"x-grps-api-key: $INBOUND_API_KEY\"".to_owned(),
    };
    let body = super::sign::SAMPLE;
    format!(
        "  curl -s http://{address}/roblox/events/player-activity \\\n    {credential} -H 'x-grps-evaluate: true' \\\n    -d '{body}'"
    )
}

fn signed_request(config: &Config) -> String {
    let exe = std::env::current_exe().map_or_else(|_| "grps".into(), |path| path.display().to_string());
    let elsewhere = config.data_dir != Path::new("./data");
    let data_dir = if elsewhere { format!(" --data-dir {}", config.data_dir.display()) } else { String::new() };
    format!("{exe}{data_dir} sign a6 --curl --sample | sh")
}

fn bold(text: &str) -> String {
    if std::io::stderr().is_terminal() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() }
}
