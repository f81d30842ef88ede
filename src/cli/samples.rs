//! `grps bootstrap` and `grps demo`.

use std::process::ExitCode;

use clap::Args;
use poem::http::Method;
use serde_json::{Value, json};

use super::session::Session;
use super::{Common, demo, print};
use crate::base::Result;
use crate::config::Sources;

/// Players asked for in one request.
const SLICE: u64 = 5_000;

#[derive(Args)]
pub struct DemoArgs {
    /// Invented players to load, at most 1,000,000
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=1_000_000), conflicts_with = "remove")]
    players: u64,
    /// Remove the invented group again
    #[arg(long)]
    remove: bool,
    /// Play promotions, a stolen key, the breaker and the way back against a Roblox in miniature; needs no key and touches no data
    #[arg(long, conflicts_with_all = ["players", "remove"])]
    with_fake_roblox: bool,
    /// End when the story is told, instead of staying for you to look around
    #[arg(long, requires = "with_fake_roblox")]
    once: bool,
}

pub async fn bootstrap(common: &Common, sources: &Sources) -> Result<ExitCode> {
    let work = async |session: &Session| session.call(Method::POST, "/admin/api/bootstrap", None).await;
    let answer = Session::with(sources, work).await?;
    print(common.json, &answer, || match answer["added"].as_u64() {
        Some(0) => "The sample player was there already; nothing changed.".into(),
        _ => "Added the sample player LightningMarshal (123456).".into(),
    });
    Ok(ExitCode::SUCCESS)
}

pub async fn demo(args: DemoArgs, common: &Common, sources: &Sources) -> Result<ExitCode> {
    if args.with_fake_roblox {
        return demo::run(args.once, common, sources).await;
    }
    let work = async |session: &Session| match args.remove {
        true => remove(session).await,
        false => load(session, args.players).await,
    };
    let (verb, count) = Session::with(sources, work).await?;
    print(common.json, &json!({ verb: count }), || match verb {
        "loaded" => format!("Loaded an invented group of {count} players. `grps demo --remove` takes it away again."),
        _ => format!("Removed {count} invented players and everything about them."),
    });
    Ok(ExitCode::SUCCESS)
}

async fn load(session: &Session, players: u64) -> Result<(&'static str, u64)> {
    for from in (0..players).step_by(SLICE as usize) {
        let slice = SLICE.min(players - from);
        session.call(Method::POST, "/admin/api/demo", Some(&json!({ "from": from, "players": slice }))).await?;
        progress(from + slice, players);
    }
    Ok(("loaded", players))
}

async fn remove(session: &Session) -> Result<(&'static str, u64)> {
    let mut total = 0;
    loop {
        let answer: Value = session.call(Method::DELETE, "/admin/api/demo", None).await?;
        total += answer["removed"].as_u64().unwrap_or(0);
        if answer["more"] != Value::Bool(true) {
            return Ok(("removed", total));
        }
    }
}

/// A line that counts up on a terminal; nothing elsewhere.
fn progress(done: u64, of: u64) {
    use std::io::IsTerminal;
    if std::io::stderr().is_terminal() && of > SLICE {
        eprint!("\r{done} of {of} players{}", if done == of { "\n" } else { "" });
    }
}
