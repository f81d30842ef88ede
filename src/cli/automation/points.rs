//! `grps points`: points given, taken or set by a list.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use poem::http::Method;
use serde_json::{Value, json};

use super::list;
use crate::base::Result;
use crate::cli::session::{Session, number, segment, text};
use crate::cli::{Common, print};
use crate::config::Sources;

const PATH: &str = "/automation/adjustments";

/// Refused rows that are printed; `--json` prints all.
const SHOWN: usize = 20;

#[derive(Subcommand)]
pub enum PointsCommand {
    /// Adjust points by a list: CSV with the columns userId and delta or set, or JSON
    Adjust {
        /// Lines of userId,delta or userId,set under a line that names them; or a JSON list of such objects
        file: PathBuf,
        /// For the audit trail
        #[arg(long)]
        reason: String,
        /// Only show what would happen
        #[arg(long)]
        dry_run: bool,
        /// A job queue that game servers read, so that the game's own numbers change too
        #[arg(long)]
        queue: Option<String>,
        /// The same list under the same key is carried out once
        #[arg(long)]
        key: Option<String>,
    },
    /// List the last runs
    Runs,
    /// Show how far a run is, and who was refused
    Show {
        /// The run's id, as `grps points runs` shows it
        id: String,
    },
    /// Take back what a run changed
    Undo {
        /// The run's id, as `grps points runs` shows it
        id: String,
    },
    /// Stop a run; what it has changed stays
    Cancel {
        /// The run's id, as `grps points runs` shows it
        id: String,
    },
}

pub async fn run(command: PointsCommand, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let body = body(&command)?;
    let work = async |session: &Session| Ok((call(session, &command, body.as_ref()).await?, session.is_remote()));
    let (answer, served) = Session::with(sources, work).await?;
    print(common.json, &answer, || match &command {
        PointsCommand::Adjust { dry_run: true, .. } => foreseen(&answer),
        PointsCommand::Adjust { .. } | PointsCommand::Undo { .. } => started(&answer, served),
        PointsCommand::Runs => runs(&answer),
        PointsCommand::Show { .. } => shown(&answer),
        PointsCommand::Cancel { .. } => line(&answer),
    });
    Ok(ExitCode::SUCCESS)
}

/// What is posted, read before anything is opened.
fn body(command: &PointsCommand) -> Result<Option<Value>> {
    let PointsCommand::Adjust { file, reason, dry_run, queue, key } = command else { return Ok(None) };
    let mut body = json!({ "reason": reason, "dryRun": dry_run, "adjustments": list::read(file)? });
    for (name, value) in [("queue", queue), ("key", key)] {
        if let Some(value) = value {
            body[name] = value.as_str().into();
        }
    }
    Ok(Some(body))
}

async fn call(session: &Session, command: &PointsCommand, body: Option<&Value>) -> Result<Value> {
    match command {
        PointsCommand::Adjust { .. } => session.call(Method::POST, PATH, body).await,
        PointsCommand::Runs => session.call(Method::GET, PATH, None).await,
        PointsCommand::Undo { id } => session.call(Method::POST, &format!("{PATH}/{}/undo", segment(id)), None).await,
        PointsCommand::Cancel { id } => {
            session.call(Method::POST, &format!("{PATH}/{}/cancel", segment(id)), None).await
        }
        PointsCommand::Show { id } => {
            let run = session.call(Method::GET, &format!("{PATH}/{}", segment(id)), None).await?;
            let target = format!("{PATH}/{}/rows?status=refused&limit=1000", segment(id));
            let refused = session.call(Method::GET, &target, None).await?;
            Ok(json!({ "run": run, "refused": refused["rows"] }))
        }
    }
}

fn started(run: &Value, served: bool) -> String {
    let when = match (text(&run["status"]), served) {
        ("done" | "cancelled", _) => "It is over",
        (_, true) => "It is being carried out",
        (_, false) => "It is carried out as soon as a server runs",
    };
    let id = text(&run["id"]);
    format!(
        "{}\n{when}; `grps points show {id}` tells how far it is, `grps points undo {id}` takes it back.",
        line(run)
    )
}

fn line(run: &Value) -> String {
    let count = |name: &str| number(&run[name]);
    format!(
        "{}  {:<9} {:>6} players  {:>6} done  {:>6} refused  {}",
        text(&run["id"]),
        text(&run["status"]),
        count("rows"),
        count("done"),
        count("refused"),
        text(&run["reason"])
    )
}

fn runs(answer: &Value) -> String {
    let runs: Vec<String> = answer["runs"].as_array().into_iter().flatten().map(line).collect();
    if runs.is_empty() {
        "No runs yet. `grps points adjust FILE --reason …` starts one.".into()
    } else {
        runs.join("\n")
    }
}

fn shown(answer: &Value) -> String {
    format!("{}\n{}", line(&answer["run"]), refusals(&answer["refused"]))
}

fn foreseen(answer: &Value) -> String {
    let count = |name: &str| number(&answer[name]);
    format!(
        "{} players would be adjusted, {} refused. Nothing was stored.\n{}",
        count("done"),
        count("refused"),
        refusals(&answer["rows"])
    )
}

fn refusals(rows: &Value) -> String {
    let refused: Vec<String> = rows
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|row| Some(format!("  {:>16}  {}", row["userId"].to_string(), row["refused"].as_str()?)))
        .collect();
    let more = refused.len().saturating_sub(SHOWN);
    let mut out = refused.iter().take(SHOWN).cloned().collect::<Vec<_>>().join("\n");
    if more > 0 {
        out += &format!("\n  … and {more} more; --json shows all");
    }
    out
}
