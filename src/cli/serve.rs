//! `grps serve`: configuration, store, server, and an orderly end.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::{Common, logging};
use crate::app::App;
use crate::base::{Clock, Error, Result};
use crate::config::{self, Config, Generated, Sources};
use crate::http::Server;
use crate::http::server::raise_file_limit;
use crate::store::DataDir;
use crate::workers::Supervisor;

/// How much to log.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    AsConfigured,
    Debug,
}

/// How long workers may take to finish their tick at shutdown.
const WORKER_PATIENCE: Duration = Duration::from_secs(10);

/// Headers of a first request by `curl`, in a file so that no secret is printed.
const CURL_HEADERS: &str = "ingest.headers";

pub async fn run(_common: &Common, sources: &Sources, verbosity: Verbosity) -> Result<ExitCode> {
    let dir = DataDir::open(&config::data_dir(sources)?)?;
    let generated = Generated::load_or_create(dir.path())?;
    let config = Config::build(sources, &generated)?;
    let level = if verbosity == Verbosity::Debug { "info,grps=debug" } else { &config.log_level };
    let _logs = logging::start(config.log_format, level)?;
    let (address, data_dir) = (config.address(), config.data_dir.clone());
    let http = config.http.clone();
    let app = App::open(config, dir, Clock::system()).await?;
    // Bound after everything else works, so that a port that answers is a server that serves.
    if let Err(error) = raise_file_limit() {
        tracing::warn!(?error, "fewer connections can be held open than asked for");
    }
    let server = Server::bind(address, &http, &app.metrics)?;
    // Before anyone can know that we listen: whoever stops us from then on gets an orderly end.
    let stop = stop_signal()?;
    app.announce(server.address())?;
    write_curl_headers(&data_dir, &app.config)?;
    eprintln!("{}", banner(&app, &server.address().to_string()));
    let mut supervisor = Supervisor::new(app.clock.clone(), app.board.clone());
    app.workers().into_iter().for_each(|worker| supervisor.start(worker));
    let drained = server.serve(app.endpoint()?, stop).await;
    tracing::info!(?drained, "no more requests; finishing background work (a second signal skips this)");
    let again = stop_signal()?;
    tokio::select! {
        () = supervisor.stop(WORKER_PATIENCE) => {}
        () = again => tracing::warn!("second signal: background work is cut short"),
    }
    app.close().await?;
    tracing::info!("everything acknowledged is on disk; bye");
    Ok(ExitCode::SUCCESS)
}

/// Resolves at the next SIGTERM or SIGINT.
fn stop_signal() -> Result<impl Future<Output = ()> + Send + 'static> {
    let listen = |kind| signal(kind).map_err(|error| Error::broken("server.no_signals", error));
    let (mut term, mut int) = (listen(SignalKind::terminate())?, listen(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! { _ = term.recv() => {}, _ = int.recv() => {} }
    })
}

/// Writes the headers file that the banner's `curl` reads.
fn write_curl_headers(data_dir: &Path, config: &Config) -> Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let Some(key) = config.auth.inbound.first() else { return Ok(()) };
    let path = data_dir.join(CURL_HEADERS);
    let mut options = std::fs::OpenOptions::new();
    let written = options.write(true).create(true).truncate(true).mode(0o600).open(&path).and_then(|mut file| {
        writeln!(file, "x-grps-api-key: {}", key.secret.expose())?;
        writeln!(file, "content-type: application/json")
    });
    written.map_err(|error| Error::broken("server.headers_unwritable", format!("{}: {error}", path.display())))
}

/// What the owner reads at start: what is on, what is off and which variable turns it on, and the first request to try.
fn banner(app: &App, address: &str) -> String {
    let config = &app.config;
    let policy = app.policy.status();
    let bold =
        |text: &str| if std::io::stderr().is_terminal() { format!("\x1b[1m{text}\x1b[0m") } else { text.to_owned() };
    let mut out = format!("\n{} {} on http://{address}\n", bold("grps"), env!("CARGO_PKG_VERSION"));
    out += &format!("  data    {} ({} players)\n", config.data_dir.display(), app.player_count());
    let from = if policy.built_in { "built in".to_owned() } else { config.policy_dir.display().to_string() };
    out += &format!("  policy  {from} (version {})\n", policy.version);
    if config.docs {
        out += &format!("  docs    http://{address}/docs\n");
    }
    for feature in &config.features {
        if feature.missing.is_empty() {
            out += &format!("  on      {}\n", feature.name);
        } else {
            out += &format!("  off     {}: set {}\n", feature.name, feature.missing.join(", "));
        }
    }
    if config.auth.open_ingest {
        out += "  open    anyone who reaches this address may post snapshots (INBOUND_API_KEYS is empty)\n";
    }
    for warning in &config.warnings {
        out += &format!("  warn    {warning}\n");
    }
    out += &format!("\n{}\n\n{}\n", bold("Post a first snapshot:"), first_curl(config, address));
    let exe = std::env::current_exe().map_or_else(|_| "grps".into(), |path| path.display().to_string());
    out += &format!("\nThe same, signed (A6, fresh each time):\n\n  {exe} sign a6 --curl --sample | sh\n");
    out
}

fn first_curl(config: &Config, address: &str) -> String {
    let headers = config.data_dir.join(CURL_HEADERS);
    format!(
        "  curl -s http://{address}/roblox/events/player-activity \\\n    -H @{} -H 'x-grps-evaluate: true' \\\n    -d '{}'",
        headers.display(),
        super::sign::SAMPLE
    )
}
