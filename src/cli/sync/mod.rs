//! `grps sync`: read the experience's data store, and see how that is going.

mod told;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use poem::http::Method;
use serde_json::{Value, json};

use self::told::{line, told};
use super::serve::Stop;
use super::session::{Session, number, segment, text};
use super::upkeep::Meter;
use super::{Common, print};
use crate::base::Result;
use crate::config::Sources;
use crate::workers::Supervisor;

/// How often a run is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How long the worker of this process may take to finish its step.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Subcommand)]
pub enum SyncCommand {
    /// Read the data store; a run that stopped goes on where it did
    Run(RunArgs),
    /// Read again what failed: the rest of a run that stopped, or the entries that could not be taken in
    Retry {
        /// The run's id, as `grps sync status` shows it
        id: String,
        /// Show how far it is until it ends; without a running server this is always so
        #[arg(long)]
        watch: bool,
    },
    /// How the last runs went, or all about one
    Status {
        /// A run's id
        id: Option<String>,
        /// How many runs, 1 to 100
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100))]
        limit: u64,
    },
}

#[derive(Args)]
pub struct RunArgs {
    /// What it is for; of one activity, scope and prefix one run is alive at a time
    #[arg(long, default_value = "manual")]
    activity: String,
    /// The data store's scope [ROBLOX_DATASTORE_SCOPE]
    #[arg(long)]
    scope: Option<String>,
    /// What keys begin with [ROBLOX_DATASTORE_PREFIX]
    #[arg(long)]
    prefix: Option<String>,
    /// Entries to wait for; the run goes on with the others
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=500))]
    limit: u64,
    /// Read that many entries and no further
    #[arg(long)]
    once: bool,
    /// Show how far it is until it ends; without a running server this is always so
    #[arg(long)]
    watch: bool,
}

pub async fn run(command: SyncCommand, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let work = async |session: &Session| match &command {
        SyncCommand::Run(args) => attend((begin(args, session), args.watch), common, session).await,
        SyncCommand::Retry { id, watch } => attend((retry(id, session), *watch), common, session).await,
        SyncCommand::Status { id, limit } => status(id.as_deref(), *limit, common, session).await,
    };
    Session::with(sources, work).await
}

/// Begins a run as `begun` does, which gives its id. Where no server does the work, this process does, until the run is over or somebody
/// stops it.
async fn attend(
    (begun, watch): (impl Future<Output = Result<String>>, bool),
    common: &Common,
    session: &Session,
) -> Result<ExitCode> {
    let mut stop = Stop::listen()?;
    let worker = session.hosted().and_then(|app| Some((app, app.sync.worker()?)));
    let supervisor = worker.map(|(app, worker)| {
        let mut supervisor = Supervisor::new(app.clock.clone(), app.board.clone());
        supervisor.start(Box::new(worker));
        supervisor
    });
    let done = tokio::select! {
        done = follow(begun, watch, session) => done.map(Some),
        () = stop.next() => Ok(None),
    };
    if let Some(supervisor) = supervisor {
        supervisor.stop(PATIENCE).await;
    }
    let Some(run) = done? else {
        let who = if session.is_remote() { "the server goes on with it" } else { "the next start goes on with it" };
        eprintln!("Not watched any more; {who}. `grps sync status` tells how far it is.");
        return Ok(ExitCode::SUCCESS);
    };
    let still = is_alive(&run);
    print(common.json, &run, || match still {
        true => format!(
            "{}\n  The server goes on with it; `grps sync status {}` tells how far it is.",
            told(&run),
            text(&run["id"])
        ),
        false => told(&run),
    });
    Ok(ExitCode::from(u8::from(run["status"] == "failed")))
}

/// Asks for a run, and waits until its first entries are read.
async fn begin(args: &RunArgs, session: &Session) -> Result<String> {
    let mut body = json!({ "activity": args.activity, "limit": args.limit });
    for (name, value) in [("scope", &args.scope), ("prefix", &args.prefix)] {
        if let Some(value) = value {
            body[name] = value.as_str().into();
        }
    }
    let mode = [("x-grps-sync", if args.once { "page" } else { "all" }.to_owned())];
    let (headers, _) = session.exchange((Method::POST, "/sync/roblox"), &mode, Some(&body)).await?;
    Ok(headers.get("x-grps-job-id").and_then(|id| id.to_str().ok()).unwrap_or_default().to_owned())
}

async fn retry(id: &str, session: &Session) -> Result<String> {
    let run = session.call(Method::POST, &format!("/sync/jobs/{}/retry", segment(id)), None).await?;
    Ok(text(&run["id"]).to_owned())
}

/// The run as it is once it is over, or once it has begun.
async fn follow(begun: impl Future<Output = Result<String>>, watch: bool, session: &Session) -> Result<Value> {
    let target = format!("/sync/jobs/{}", begun.await?);
    let to_the_end = watch || !session.is_remote();
    let meter = Meter::new();
    loop {
        let run = session.call(Method::GET, &target, None).await?;
        if !to_the_end || !is_alive(&run) {
            return Ok(run);
        }
        meter.tell("reading entries", number(&run["seen"]), number(&run["total"]));
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn is_alive(run: &Value) -> bool {
    matches!(run["status"].as_str(), Some("pending" | "running"))
}

async fn status(id: Option<&str>, limit: u64, common: &Common, session: &Session) -> Result<ExitCode> {
    let Some(id) = id else {
        let page = session.call(Method::GET, &format!("/sync/jobs?limit={limit}"), None).await?;
        let runs = page["runs"].as_array().cloned().unwrap_or_default();
        let lines: Vec<String> = runs.iter().map(line).collect();
        let none = "No run yet. `grps sync run` begins one.".to_owned();
        print(common.json, &page, || if lines.is_empty() { none } else { lines.join("\n") });
        return Ok(ExitCode::SUCCESS);
    };
    let target = format!("/sync/jobs/{}", segment(id));
    let run = session.call(Method::GET, &target, None).await?;
    let failures = session.call(Method::GET, &format!("{target}/failures?limit=20"), None).await?;
    let mut out = told(&run);
    for failure in failures["failures"].as_array().into_iter().flatten() {
        out += &format!("\n  {}: {}", text(&failure["key"]), text(&failure["reason"]));
    }
    if !failures["next_cursor"].is_null() {
        out += "\n  …";
    }
    let mut whole = run;
    whole["failures"] = failures["failures"].clone();
    print(common.json, &whole, || out);
    Ok(ExitCode::SUCCESS)
}
