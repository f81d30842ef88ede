//! `grps migrate`: the schema of the stored data, and bringing it up to this program's (requirement G25).

use std::process::ExitCode;

use clap::Subcommand;
use poem::http::Method;
use serde_json::{Value, json};

use super::at_rest;
use crate::base::Result;
use crate::cli::session::Session;
use crate::cli::{Common, print};
use crate::config::{self, Sources};
use crate::store::{DataDir, SCHEMA, upkeep};

#[derive(Subcommand)]
pub enum MigrateCommand {
    /// Show the schema of the stored data and the one this program writes; changes nothing
    Status,
    /// Bring the stored data up to this program's schema, as a start of the server would: backed up before, verified after
    Up,
}

pub async fn run(command: MigrateCommand, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let mut stored = stored(sources).await?;
    let mut lifted = None;
    if matches!(command, MigrateCommand::Up) {
        // Opening the store migrates it; a running server has done so.
        let now = asked(sources).await?;
        lifted = stored.filter(|before| Some(*before) < now);
        stored = now;
    }
    let (state, told) = match stored {
        None => ("empty", "there is no store yet; the first start makes one".to_owned()),
        Some(SCHEMA) if lifted.is_some() => {
            let was = "brought up to date and verified; the backup made before is";
            ("migrated", format!("{was} grps-before-format-{SCHEMA}, see `grps backup list`"))
        }
        Some(SCHEMA) => ("current", "nothing to do".to_owned()),
        Some(older) if older < SCHEMA => ("older", "`grps migrate up`, or the next start, brings it up to date".into()),
        Some(_) => ("newer", "a newer grps wrote it: use that one, or restore a backup made by this one".to_owned()),
    };
    let answer = json!({ "stored": stored, "program": SCHEMA, "state": state, "was": lifted });
    print(common.json, &answer, || {
        let stored = stored.map_or("–".to_owned(), |schema| schema.to_string());
        format!("stored data  schema {stored}\nthis program schema {SCHEMA}\n{told}")
    });
    Ok(ExitCode::from(u8::from(state == "newer")))
}

/// The schema of the data, without opening the store: from the server that has it open, else from its files.
async fn stored(sources: &Sources) -> Result<Option<u16>> {
    let path = config::data_dir(sources)?;
    if DataDir::owner(&path).is_some() {
        return asked(sources).await;
    }
    if path.exists() { upkeep::stored_schema(&at_rest(&path)?) } else { Ok(None) }
}

async fn asked(sources: &Sources) -> Result<Option<u16>> {
    let work = async |session: &Session| session.call(Method::GET, "/admin/api/store", None).await;
    let schema: Value = Session::with(sources, work).await?["schema"].take();
    Ok(schema.as_u64().and_then(|schema| u16::try_from(schema).ok()))
}
