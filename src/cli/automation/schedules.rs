//! `grps schedules`: what is started by the clock.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use poem::http::Method;
use serde_json::Value;

use crate::base::Result;
use crate::cli::session::{Session, segment, text};
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
    let (method, target) = match &args.command {
        None => (Method::GET, PATH.to_owned()),
        Some(SchedulesCommand::Run { name }) => (Method::POST, format!("{PATH}/{}/run", segment(name))),
    };
    let answer = Session::with(sources, async |session| session.call(method, &target, None).await).await?;
    print(common.json, &answer, || match args.command {
        None => list(&answer),
        Some(SchedulesCommand::Run { .. }) => format!("Started {}.", text(&answer["lastStart"]["text"])),
    });
    Ok(ExitCode::SUCCESS)
}

fn list(answer: &Value) -> String {
    let mut out = format!("{:<10} {:<16} {:<21} {:<21} {}\n", "name", "when", "next", "last", "what came of it");
    for plan in answer["schedules"].as_array().into_iter().flatten() {
        let or = |value: &Value, other: &str| value.as_str().unwrap_or(other).to_owned();
        let last = &plan["lastStart"];
        out += &format!(
            "{:<10} {:<16} {:<21} {:<21} {}\n",
            text(&plan["name"]),
            or(&plan["cron"], "by hand"),
            or(&plan["next"], "–"),
            or(&last["at"], "never"),
            text(&last["text"])
        );
    }
    out + &format!("The patterns are in {}; times here are in UTC.", text(&answer["zone"]))
}
