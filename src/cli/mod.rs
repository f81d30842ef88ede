//! The command line: one file a command. Commands that touch data speak to the API, through the running server when there is one and
//! through one hosted in this process when there is not, so there is one way for data to flow.

mod automation;
mod banner;
mod config;
mod demo;
mod decisions;
mod doctor;
mod drift;
mod health;
mod jobs;
mod keys;
mod logging;
mod policy;
mod samples;
mod serve;
mod session;
mod sign;
mod sync;
mod upkeep;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::base::{Error, Kind, Result, RobloxId};
use crate::config::Sources;

/// Points, ranks, promotions and leaderboards for a Roblox group: one binary with its database inside.
#[derive(Parser)]
#[command(name = "grps", version, propagate_version = true, disable_help_subcommand = true)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Option<Command>,
}

/// Options every command takes.
#[derive(Args, Clone, Default)]
#[command(next_help_heading = "Options of every command")]
struct Common {
    /// Print machine-readable JSON
    #[arg(long, global = true)]
    json: bool,
    /// Where the database and the generated secrets live [DATA_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// Where the policy files live [POLICY_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    policy_dir: Option<PathBuf>,
    /// Address to listen on [HOST]
    #[arg(long, global = true, value_name = "ADDRESS")]
    host: Option<String>,
    /// Port to listen on [PORT]
    #[arg(long, global = true)]
    port: Option<u16>,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server (the default)
    Serve,
    /// Run the server with debug logs, for work on policy files and game scripts
    Dev,
    /// Add the sample player of the blueprint; running it twice changes nothing
    Bootstrap,
    /// Load an invented group to try things on, or remove it
    Demo(samples::DemoArgs),
    /// Check, explain and try out policy files
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
    /// Take jobs from the gateway and run a command for each
    Worker(worker::WorkerArgs),
    /// Look at queues and jobs, put jobs back, remove them
    #[command(subcommand)]
    Jobs(jobs::JobsCommand),
    /// Find ranks that were changed by hand on Roblox, and settle them
    #[command(subcommand)]
    Drift(drift::DriftCommand),
    /// Find decisions, approve, reject or take them back; the breaker
    #[command(subcommand)]
    Decisions(decisions::DecisionsCommand),
    /// Give, take or set the points of many players by a list, and undo it
    #[command(subcommand)]
    Points(automation::PointsCommand),
    /// Show what is started by the clock, or start it now
    Schedules(automation::SchedulesArgs),
    /// Read the experience's data store, and see how that is going
    #[command(subcommand)]
    Sync(sync::SyncCommand),
    /// Make, list, rotate and revoke keys
    #[command(subcommand)]
    Keys(keys::KeysCommand),
    /// Make, list, verify and restore backups
    #[command(subcommand)]
    Backup(upkeep::BackupCommand),
    /// Look at the store; check, compact, repair and dump it
    #[command(subcommand)]
    Store(upkeep::StoreCommand),
    /// Show the schema of the stored data, or bring it up to date
    #[command(subcommand)]
    Migrate(upkeep::MigrateCommand),
    /// Show every setting and where its value comes from
    #[command(subcommand)]
    Config(config::ConfigCommand),
    /// Sign a request, to see what a client has to send
    Sign(sign::SignArgs),
    /// Print the published API
    Openapi(config::OpenapiArgs),
    /// Check this machine, the settings, the policy and the data
    Doctor(doctor::DoctorArgs),
    /// Ask the running server whether it is ready; for container health checks
    Healthcheck,
}

/// Parses the command line, runs the command, prints its error if it has one, and gives the exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    logging::tell_panics();
    // reqwest and rustls are told which cryptography to use, once.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(cli) {
        Ok(code) => code,
        Err((error, json)) => {
            report(&error, json);
            ExitCode::from(exit_code(&error))
        }
    }
}

fn run(cli: Cli) -> std::result::Result<ExitCode, (Error, bool)> {
    let common = cli.common;
    let json = common.json;
    let sources = common.sources().map_err(|error| (error, json))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| (Error::broken("cli.no_runtime", error), json))?;
    let outcome = runtime.block_on(dispatch(cli.command.unwrap_or(Command::Serve), &common, &sources));
    // Blocking work that hangs (a stuck disk) must not hold up the exit.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    outcome.map_err(|error| (error, json))
}

async fn dispatch(command: Command, common: &Common, sources: &Sources) -> Result<ExitCode> {
    match command {
        Command::Serve => serve::run(common, sources, serve::Verbosity::AsConfigured).await,
        Command::Dev => serve::run(common, sources, serve::Verbosity::Debug).await,
        Command::Bootstrap => samples::bootstrap(common, sources).await,
        Command::Demo(args) => samples::demo(args, common, sources).await,
        Command::Policy(command) => policy::run(command, common, sources).await,
        Command::Worker(args) => worker::run(args, common, sources).await,
        Command::Jobs(command) => jobs::run(command, common, sources).await,
        Command::Drift(command) => drift::run(command, common, sources).await,
        Command::Decisions(command) => decisions::run(command, common, sources).await,
        Command::Points(command) => automation::points(command, common, sources).await,
        Command::Schedules(args) => automation::schedules(args, common, sources).await,
        Command::Sync(command) => sync::run(command, common, sources).await,
        Command::Keys(command) => keys::run(command, common, sources).await,
        Command::Backup(command) => upkeep::backup(command, common, sources).await,
        Command::Store(command) => upkeep::store(command, common, sources).await,
        Command::Migrate(command) => upkeep::migrate(command, common, sources).await,
        Command::Config(command) => config::run(command, common, sources),
        Command::Sign(args) => sign::run(args, common, sources),
        Command::Openapi(args) => config::openapi(args).await,
        Command::Doctor(args) => doctor::run(args, common, sources).await,
        Command::Healthcheck => health::run(common, sources).await,
    }
}

impl Common {
    /// The configuration's sources, with our flags on top.
    fn sources(&self) -> Result<Sources> {
        let mut flags = Vec::new();
        let mut flag = |name: &str, value: Option<String>| flags.extend(value.map(|value| (name.to_owned(), value)));
        flag("DATA_DIR", self.data_dir.as_ref().map(|path| path.display().to_string()));
        flag("POLICY_DIR", self.policy_dir.as_ref().map(|path| path.display().to_string()));
        flag("HOST", self.host.clone());
        flag("PORT", self.port.map(|port| port.to_string()));
        Sources::of_process(flags)
    }
}

/// Data that is not what was written.
const CORRUPT: [&str; 5] =
    ["store.beyond_repair", "store.damaged", "checkpoint.cut_short", "checkpoint.damaged", "checkpoint.miscounted"];

/// Exit codes: 1 a check failed, 2 usage (mostly clap's), 3 configuration, 4 unavailable, 5 corrupt.
fn exit_code(error: &Error) -> u8 {
    let code = error.code();
    match error.kind() {
        _ if code.starts_with("config.") || code.starts_with("policy.") || code.starts_with("secret.") => 3,
        _ if code == "cli.usage" || code == "request.invalid" || code == "upkeep.name_invalid" => 2,
        _ if code == "checkpoint.key_needed" || code == "checkpoint.wrong_key" => 3,
        _ if CORRUPT.contains(&code) || code.starts_with("auth.seal") => 5,
        Kind::Remote | Kind::Busy | Kind::Limited | Kind::NotConfigured | Kind::Full | Kind::Broken => 4,
        _ if code.starts_with("server.") || code.starts_with("store.") => 4,
        _ => 1,
    }
}

fn report(error: &Error, json: bool) {
    if json {
        let body = serde_json::json!({
            "error": { "code": error.code(), "detail": error.detail(), "hint": error.hint_text(), "context": error.context_text() }
        });
        eprintln!("{body}");
        return;
    }
    eprintln!("{}", told(error));
}

/// An error for people. What broke here is in no server's log, so it is told itself.
fn told(error: &Error) -> String {
    match error.context_text().filter(|_| error.kind() == Kind::Broken) {
        None => error.to_string(),
        Some(cause) => {
            let fix = error.hint_text().map(|hint| format!("\n  fix: {hint}")).unwrap_or_default();
            format!("error[{}]: {cause}{fix}", error.code())
        }
    }
}

/// A user id on the command line.
fn user_id(text: &str) -> std::result::Result<RobloxId, String> {
    text.trim().parse().map_err(|error: Error| error.detail().to_owned())
}

/// Prints `value` as JSON, or `text` for people. Games and tools wrote much of either, so nothing in it moves a terminal.
fn print(json: bool, value: &serde_json::Value, text: impl FnOnce() -> String) {
    let text = if json { format!("{value:#}") } else { text() };
    write_out(&format!("{}\n", jobs::visible(text.trim_end())));
}

/// Writes to standard output. A reader that has seen enough (`| head`) is no error.
fn write_out(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_broke_here_is_told_here() {
        let broken = Error::broken("demo.no_directory", "no such directory").hint("make one");
        assert_eq!(told(&broken), "error[demo.no_directory]: no such directory\n  fix: make one");
        assert_eq!(told(&Error::missing("keys.missing", "no such key")), "error[keys.missing]: no such key");
    }

    #[test]
    fn user_ids_are_whole_numbers() {
        assert_eq!(user_id(" 7 ").map(RobloxId::get), Ok(7));
        assert_eq!(user_id("x"), Err("a Roblox user id is a whole number such as 12345678".to_owned()));
    }
}
