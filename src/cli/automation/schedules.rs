//! `grps schedules`: what is started by the clock.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use poem::http::Method;
use serde_json::Value;

use crate::base::Result;
use crate::cli::session::{Session, segment};
use crate::cli::{Common, print};
use crate::config::Sources;

const PATH: &str = "/admin/api/schedules";

#[derive(Args)]
pub struct SchedulesArgs {
    #[command(subcommand)]
    command: Option<SchedulesCommand>,
}

#[derive(Subcommand)]
enum SchedulesCommand {
    /// Start one now, whether it is due or not
    Run {
        /// review, sync or drift
        name: String,
    },
}

pub async fn run(args: SchedulesArgs, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let session = Session::open(sources).await?;
    let answer = match &args.command {
        None => session.call(Method::GET, PATH, None).await,
        Some(SchedulesCommand::Run { name }) => {
            session.call(Method::POST, &format!("{PATH}/{}/run", segment(name)), None).await
        }
    };
    session.close().await?;
    let answer = answer?;
    print(common.json, &answer, || match args.command {
        None => list(&answer),
        Some(SchedulesCommand::Run { .. }) => format!("Started {}.", text(&answer["lastStart"], "text")),
    });
    Ok(ExitCode::SUCCESS)
}

fn list(answer: &Value) -> String {
    let mut out = format!("{:<10} {:<16} {:<21} {:<21} {}\n", "name", "when", "next", "last", "what came of it");
    for plan in answer["schedules"].as_array().into_iter().flatten() {
        let or = |text: String, other: &str| if text.is_empty() { other.to_owned() } else { text };
        let last = &plan["lastStart"];
        out += &format!(
            "{:<10} {:<16} {:<21} {:<21} {}\n",
            text(plan, "name"),
            or(text(plan, "cron"), "by hand"),
            or(text(plan, "next"), "–"),
            or(text(last, "at"), "never"),
            text(last, "text")
        );
    }
    out + &format!("The patterns are in {}; times here are in UTC.", text(answer, "zone"))
}

fn text(value: &Value, name: &str) -> String {
    value[name].as_str().unwrap_or_default().to_owned()
}
