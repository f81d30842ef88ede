//! `grps policy`: check files before they are used, make a ladder, explain a decision, and see who would move.

mod import;
mod ladder;
mod loose;
mod qbot;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Subcommand};
use poem::http::Method;
use serde_json::{Map, Value, json};

use super::session::{Session, text};
use super::{Common, print, write_out};
use crate::base::{Clock, Error, Result, RobloxId};
use crate::config::{Config, Generated, Sources};
use crate::domains::policy::Sources as PolicySources;
use crate::domains::policy::{Policy, Search, lint_report, schemas, shipped_sources};
use crate::domains::ranks::decide::{Subject, explain};

#[derive(Subcommand)]
pub enum PolicyCommand {
    /// Check policy files
    Lint {
        /// Directory to check instead of POLICY_DIR
        dir: Option<PathBuf>,
    },
    /// Show rule by rule what would be decided about a player
    Explain(ExplainArgs),
    /// Print the JSON Schemas of the policy files
    Schemas {
        /// Write a file each into this directory instead of printing
        #[arg(long, value_name = "DIR")]
        write: Option<PathBuf>,
    },
    /// Show who would move, over all stored players; writes nothing
    Simulate {
        /// Directory with the policy to try instead of the one in force
        dir: Option<PathBuf>,
        /// Moves to list at most
        #[arg(long, default_value_t = 50)]
        show: usize,
    },
    /// Make policy.ranks.json of the group's live roles
    ImportLadder(import::LadderArgs),
    /// Make policy.ranks.json of the settings of qbot, or of another list of ranks with points
    ImportQbot(import::QbotArgs),
}

#[derive(Args)]
#[command(group = clap::ArgGroup::new("imagined").args(["rank", "points"]).multiple(true))]
pub struct ExplainArgs {
    /// A stored player; with --rank or --points an imagined one
    #[arg(long, default_value_t = 12_345_678)]
    user_id: u64,
    /// Imagine a player with this rank
    #[arg(long)]
    rank: Option<String>,
    /// Imagine a player with these points
    #[arg(long)]
    points: Option<i64>,
    #[arg(long, default_value_t = 0, requires = "imagined")]
    kos: i64,
    #[arg(long, default_value_t = 0, requires = "imagined")]
    warnings: u32,
    #[arg(long, default_value_t = 0, requires = "imagined")]
    recommendations: u32,
    /// A punishment status
    #[arg(long, requires = "imagined")]
    status: Option<String>,
    /// Directory with the policy to explain by instead of POLICY_DIR
    #[arg(long)]
    dir: Option<PathBuf>,
}

pub async fn run(command: PolicyCommand, common: &Common, sources: &Sources) -> Result<ExitCode> {
    match command {
        PolicyCommand::Lint { dir } => lint(dir.as_deref(), common, sources),
        PolicyCommand::Explain(args) => explain_one(args, common, sources).await,
        PolicyCommand::Schemas { write } => print_schemas(write.as_deref()),
        PolicyCommand::Simulate { dir, show } => simulate(dir.as_deref(), show, common, sources).await,
        PolicyCommand::ImportLadder(args) => import::ladder(args, common, sources).await,
        PolicyCommand::ImportQbot(args) => import::qbot(args, common, sources).await,
    }
}

/// The files of `dir`, or of the configured directory, or the built-in ones.
fn files(dir: Option<&Path>, sources: &Sources) -> Result<PolicySources> {
    if let Some(dir) = dir {
        let search = Search::only(dir);
        return search.find().map_or_else(|| Err(search.missing()), |dir| search.read(dir));
    }
    let generated = Generated::ephemeral()?;
    let search = Search::standard(Config::build(sources, &generated)?.policy_dir);
    match search.find() {
        Some(dir) => search.read(dir),
        None if search.first().exists() => Err(search.missing()),
        None => Ok(shipped_sources()),
    }
}

fn lint(dir: Option<&Path>, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let report = lint_report(&files(dir, sources)?);
    let value = serde_json::to_value(&report).map_err(|error| Error::broken("cli.no_json", error))?;
    print(common.json, &value, || report.to_string());
    Ok(ExitCode::from(u8::from(report.errors().next().is_some())))
}

fn print_schemas(write: Option<&Path>) -> Result<ExitCode> {
    for (name, schema) in schemas() {
        let text = format!("{schema:#}\n");
        let Some(dir) = write else {
            write_out(&text);
            continue;
        };
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| {
            Error::invalid("policy.unwritable", format!("cannot write {}: {error}", path.display()))
        })?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn explain_one(args: ExplainArgs, common: &Common, sources: &Sources) -> Result<ExitCode> {
    if args.rank.is_none() && args.points.is_none() {
        return explain_stored(&args, common, sources).await;
    }
    let policy = Policy::from_sources(&files(args.dir.as_deref(), sources)?).map_err(|report| Error::from(&report))?;
    let subject = Subject {
        rank: args.rank.as_deref(),
        points: args.points.unwrap_or(0),
        kos: args.kos,
        warnings: args.warnings,
        recommendations: args.recommendations,
        punishment_status: args.status.as_deref(),
        ..Subject::new(RobloxId::new(args.user_id)?)
    };
    let found = explain(&policy, &subject, Clock::system().now());
    let value = serde_json::to_value(&found).map_err(|error| Error::broken("cli.no_json", error))?;
    print(common.json, &value, || found.to_string());
    Ok(ExitCode::SUCCESS)
}

/// What would be decided about a stored player now; nothing is written.
async fn explain_stored(args: &ExplainArgs, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let mut body = json!({ "userId": args.user_id });
    if let Some(dir) = &args.dir {
        body["policy"] = as_json(&files(Some(dir), sources)?)?;
    }
    let work = async |session: &Session| session.call(Method::POST, "/automation/simulate", Some(&body)).await;
    let decision = Session::with(sources, work).await?["decision"].take();
    print(common.json, &decision, || {
        let mut out =
            format!("{} {}: {}\n", text(&decision["action"]), text(&decision["targetRank"]), text(&decision["reason"]));
        for rule in decision["explain"].as_array().into_iter().flatten() {
            let mark = if rule["passed"] == Value::Bool(true) { "ok" } else { "--" };
            out += &format!("  [{mark}] {:<16} {}\n", text(&rule["rule"]), text(&rule["text"]));
        }
        out + &format!("policy {}", text(&decision["policyVersion"]))
    });
    Ok(ExitCode::SUCCESS)
}

async fn simulate(dir: Option<&Path>, show: usize, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let policy = dir.map(|dir| as_json(&files(Some(dir), sources)?)).transpose()?;
    let total = Session::with(sources, async |session| walk(session, policy.as_ref(), show).await).await?;
    print(common.json, &total, || summary(&total, show));
    Ok(ExitCode::SUCCESS)
}

/// The files as the API takes them.
fn as_json(files: &PolicySources) -> Result<Value> {
    let mut out = Map::new();
    for source in &files.list {
        let value: Value = serde_json::from_str(&source.text)
            .map_err(|error| Error::invalid("policy.json_invalid", format!("{}: {error}", source.label)))?;
        out.insert(source.kind.name().trim_end_matches(".json").to_owned(), value);
    }
    Ok(Value::Object(out))
}

/// Asks page by page and adds up.
async fn walk(session: &Session, policy: Option<&Value>, show: usize) -> Result<Value> {
    let (mut cursor, mut evaluated, mut counts, mut moves) = (Value::Null, 0, Map::new(), Vec::new());
    loop {
        let mut body = json!({ "limit": 1000, "cursor": cursor });
        if let Some(policy) = policy {
            body["policy"] = policy.clone();
        }
        let mut page = session.call(Method::POST, "/automation/simulate", Some(&body)).await?;
        evaluated += page["evaluated"].as_u64().unwrap_or(0);
        for (action, count) in page["counts"].as_object().into_iter().flatten() {
            let sum = counts.get(action).and_then(Value::as_u64).unwrap_or(0) + count.as_u64().unwrap_or(0);
            counts.insert(action.clone(), sum.into());
        }
        let room = show.saturating_sub(moves.len());
        if let Some(found) = page["moves"].as_array_mut() {
            moves.extend(found.drain(..).take(room));
        }
        cursor = page["nextCursor"].take();
        if cursor.is_null() {
            let version = page["policyVersion"].take();
            return Ok(json!({ "policyVersion": version, "evaluated": evaluated, "counts": counts, "moves": moves }));
        }
    }
}

fn summary(total: &Value, show: usize) -> String {
    let text = |value: &Value| value.as_str().unwrap_or("none").to_owned();
    let counts: Vec<String> =
        total["counts"].as_object().into_iter().flatten().map(|(action, count)| format!("{action} {count}")).collect();
    let mut out = format!(
        "policy {}: {} players evaluated, nothing written\n  {}\n",
        text(&total["policyVersion"]),
        total["evaluated"],
        counts.join("  ")
    );
    for found in total["moves"].as_array().into_iter().flatten() {
        out += &format!(
            "  {:<8} {:<24} {} → {}  ({} points) {}\n",
            text(&found["action"]),
            text(&found["username"]),
            text(&found["fromRank"]),
            text(&found["targetRank"]),
            found["rankPoints"],
            text(&found["reason"])
        );
    }
    out + &format!("at most {show} moves are listed; --show N lists more, --json is for machines")
}
