//! `grps store`: look at the store, check, compact, repair and dump it.

use std::process::ExitCode;

use clap::Subcommand;
use poem::http::Method;
use serde_json::{Value, json};

use super::dump::{self, DumpArgs};
use super::{Meter, at_rest, blocking, count, settings, size, task};
use crate::base::Result;
use crate::cli::session::{Session, text};
use crate::cli::{Common, print};
use crate::config::Sources;
use crate::store::upkeep;

/// What follows a list of findings.
const AFTER_FINDINGS: &str = "The store mends itself from what is good: check again in a moment. What is still there then, `grps store repair` \
                              mends, with the server stopped; `grps backup restore` is the last resort.";

#[derive(Subcommand)]
pub enum StoreCommand {
    /// What the store holds and how it is doing
    Stats,
    /// Read everything and compare it with the counts kept beside it
    Check,
    /// Write the database anew, without what was overwritten and deleted
    Compact,
    /// Write the database anew from the last checkpoint and the journal; no server may run
    Repair,
    /// Print every row as a line of JSON; no server may run, unless --from names a backup
    Dump(DumpArgs),
}

pub async fn run(command: StoreCommand, common: &Common, sources: &Sources) -> Result<ExitCode> {
    match command {
        StoreCommand::Stats => stats(common, sources).await,
        StoreCommand::Check => check(common, sources).await,
        StoreCommand::Compact => compact(common, sources).await,
        StoreCommand::Repair => repair(common, sources).await,
        StoreCommand::Dump(args) => dump::run(args, sources).await,
    }
}

async fn stats(common: &Common, sources: &Sources) -> Result<ExitCode> {
    let work = async |session: &Session| session.call(Method::GET, "/admin/api/store", None).await;
    let answer = Session::with(sources, work).await?;
    print(common.json, &answer, || told(&answer));
    Ok(ExitCode::SUCCESS)
}

fn told(survey: &Value) -> String {
    let bytes = |name: &str| size(survey[name].as_u64());
    let number = |name: &str| count(survey[name].as_u64());
    let mut out = format!("{:<20} {:>12} {:>12}\n", "table", "rows", "size");
    for table in survey["tables"].as_array().into_iter().flatten() {
        let (rows, size) = (count(table["rows"].as_u64()), size(table["bytes"].as_u64()));
        out += &format!("{:<20} {rows:>12} {size:>12}\n", text(&table["name"]));
    }
    let checkpoint = survey["lastCheckpoint"]["madeAt"].as_str().map_or("none yet".into(), |at| format!("made {at}"));
    let ratio = survey["amplification"].as_f64().unwrap_or(0.0);
    out += &format!("\nstored      {}\n", bytes("liveBytes"));
    out += &format!("database    {} ({ratio:.1} times what is stored)\n", bytes("databaseBytes"));
    out += &format!("journal     {} (from group {})\n", bytes("journalBytes"), number("journalFrom"));
    out += &format!("checkpoint  {} ({checkpoint})\n", bytes("checkpointBytes"));
    out += &format!("disk        {} free; writes stop below {}\n", bytes("freeBytes"), bytes("reserveBytes"));
    out += &format!("groups      {}, {} of them settled in the database\n", number("seq"), number("settled"));
    out += &format!("schema      {} (this program writes {})\n", number("schema"), number("programSchema"));
    out + &format!("opening     {}\n", text(&survey["opening"]))
}

/// Exit code 1 when something is not as it should be.
async fn check(common: &Common, sources: &Sources) -> Result<ExitCode> {
    let work = async |session: &Session| task(session, "check", None).await;
    let findings = Session::with(sources, work).await?["findings"].take();
    let lines: Vec<&str> = findings.as_array().into_iter().flatten().map(text).collect();
    print(common.json, &json!({ "ok": lines.is_empty(), "findings": findings }), || match lines.as_slice() {
        [] => "All is well: every row is there, and every copy agrees with the counts kept beside it.".into(),
        lines => format!("{}\n\n{AFTER_FINDINGS}", lines.join("\n")),
    });
    Ok(ExitCode::from(u8::from(!lines.is_empty())))
}

async fn compact(common: &Common, sources: &Sources) -> Result<ExitCode> {
    let outcome = Session::with(sources, async |session| task(session, "compact", None).await).await?;
    print(common.json, &outcome, || {
        let (before, after) = (size(outcome["bytesBefore"].as_u64()), size(outcome["bytesAfter"].as_u64()));
        format!("The database had {before} on disk and has {after} now.")
    });
    Ok(ExitCode::SUCCESS)
}

async fn repair(common: &Common, sources: &Sources) -> Result<ExitCode> {
    let config = settings(sources)?;
    let dir = at_rest(&config.data_dir)?;
    let meter = Meter::new();
    let (progress, settings) = (meter.progress(), config.store());
    let done = blocking(move || upkeep::repair(&dir, &settings, &progress)).await?.text;
    drop(meter);
    print(common.json, &json!({ "done": done }), || done.clone());
    Ok(ExitCode::SUCCESS)
}
