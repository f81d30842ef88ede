//! `grps drift`: ranks that were changed by hand on Roblox.

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use poem::http::Method;
use serde_json::{Value, json};

use super::session::Session;
use super::{Common, print, user_id};
use crate::base::{Error, Result, RobloxId};
use crate::config::Sources;
use crate::domains::drift::DriftWalk;
use crate::workers::{Next, Worker};

/// How often a running server is asked how far it is.
const LOOK: Duration = Duration::from_secs(1);

const RUNS: &str = "/automation/drift/runs";

#[derive(Subcommand)]
pub enum DriftCommand {
    /// Look through the group for ranks that were changed by hand
    Run(RunArgs),
    /// Show the players whose rank is another on Roblox, and the last runs
    List {
        /// Players to list at most
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
        limit: u32,
    },
    /// Take Roblox's rank over
    Accept {
        /// The player's Roblox user id
        #[arg(value_parser = user_id)]
        user_id: RobloxId,
    },
    /// Have our rank given again
    Restore {
        /// The player's Roblox user id
        #[arg(value_parser = user_id)]
        user_id: RobloxId,
    },
}

#[derive(Args)]
pub struct RunArgs {
    /// Do not wait for the end while a server does the work
    #[arg(long)]
    no_wait: bool,
}

pub async fn run(command: DriftCommand, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let work = async |session: &Session| match command {
        DriftCommand::Run(args) => search(session, &args).await,
        DriftCommand::List { limit } => list(session, limit as usize).await,
        DriftCommand::Accept { user_id } => resolve(session, user_id, "accept").await,
        DriftCommand::Restore { user_id } => resolve(session, user_id, "restore").await,
    };
    let (value, text) = Session::with(sources, work).await?;
    print(common.json, &value, || text);
    Ok(ExitCode::from(u8::from(value["state"] == "failed")))
}

/// Starts a run; without a server, does its work.
async fn search(session: &Session, args: &RunArgs) -> Result<(Value, String)> {
    let mut run = session.call(Method::POST, RUNS, None).await?;
    let id = run["id"].clone();
    let mut walk = session.hosted().and_then(|app| DriftWalk::new(app.drift.clone()));
    while run["state"] == "running" && !(args.no_wait && walk.is_none()) {
        let pause = match walk.as_mut() {
            None => LOOK,
            Some(walk) => match walk.tick().await? {
                Next::Now => Duration::ZERO,
                Next::After(pause) => pause,
            },
        };
        tokio::time::sleep(pause).await;
        let listed = session.call(Method::GET, RUNS, None).await?;
        let runs = listed["runs"].as_array().into_iter().flatten();
        run = runs
            .into_iter()
            .find(|listed| listed["id"] == id)
            .cloned()
            .ok_or_else(|| Error::missing("drift.run_missing", "the run is not in the list any more"))?;
    }
    let text = told(&run);
    Ok((run, text))
}

async fn list(session: &Session, limit: usize) -> Result<(Value, String)> {
    let (mut rows, mut cursor) = (Vec::new(), None::<String>);
    while rows.len() < limit {
        let more = cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default();
        let page = (limit - rows.len()).min(500);
        let answer = session.call(Method::GET, &format!("/automation/drift?limit={page}{more}"), None).await?;
        rows.extend(answer["drift"].as_array().into_iter().flatten().cloned());
        cursor = answer["nextCursor"].as_str().map(str::to_owned);
        if cursor.is_none() {
            break;
        }
    }
    let runs = session.call(Method::GET, RUNS, None).await?["runs"].take();
    let mut text = table(&rows);
    text += &runs[0].as_object().map(|_| format!("last run: {}", told(&runs[0]))).unwrap_or_default();
    Ok((json!({ "drift": rows, "runs": runs }), text))
}

fn table(rows: &[Value]) -> String {
    if rows.is_empty() {
        return "nothing differs\n".to_owned();
    }
    let line = |user: &str, [ours, live, reported, at]: [&str; 4]| {
        format!("{user:<16} {ours:<24} {live:<24} {reported:<24} {at}\n")
    };
    let mut out = line("user", ["ours", "on Roblox", "game reports", "found at"]);
    let name = |value: &'static str, row: &Value| row[value].as_str().unwrap_or("–").to_owned();
    for row in rows {
        let live = if row["left"] == true { "left the group".to_owned() } else { name("live", row) };
        let (ours, reported, at) = (name("ours", row), name("reported", row), name("foundAt", row));
        out += &line(&row["userId"].to_string(), [&ours, &live, &reported, &at]);
    }
    out
}

async fn resolve(session: &Session, user: RobloxId, how: &str) -> Result<(Value, String)> {
    let body = json!({ "resolution": how });
    let answer = session.call(Method::POST, &format!("/automation/drift/{user}"), Some(&body)).await?;
    let rank = answer["rank"].as_str().unwrap_or("no rank");
    let text = match answer["decisionId"].as_str() {
        Some(id) => format!("player {user} gets {rank} back: decision {id}"),
        None => format!("player {user} has {rank} now"),
    };
    Ok((answer, text))
}

fn told(run: &Value) -> String {
    let reason = run["reason"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    format!(
        "{}{reason}; {} members, {} players compared, {} differ ({} left the group), {} taken over, {} left for you (more than one run may take over), \
         {} no longer differ",
        run["state"].as_str().unwrap_or("unknown"),
        run["members"],
        run["compared"],
        run["drifted"],
        run["left"],
        run["adopted"],
        run["withheld"],
        run["cleared"],
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_only_the_game_reports_otherwise_can_be_told_from_a_rank_given_by_hand() {
        let row = |live: &str, reported: Value, left: bool| {
            let at = "2025-03-01T18:00:00Z";
            let row = json!({ "userId": 7, "ours": "Corporal", "live": live, "reported": reported, "left": left, "foundAt": at });
            let text = table(&[row]);
            text.lines().last().unwrap_or_default().split_whitespace().collect::<Vec<_>>().join(" ")
        };
        assert_eq!(row("Corporal", json!("Private"), false), "7 Corporal Corporal Private 2025-03-01T18:00:00Z");
        assert_eq!(row("Private", Value::Null, false), "7 Corporal Private – 2025-03-01T18:00:00Z");
        assert!(row("Private", Value::Null, true).contains("left the group"));
        assert_eq!(table(&[]), "nothing differs\n");
    }
}
