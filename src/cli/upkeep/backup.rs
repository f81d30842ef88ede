//! `grps backup`: make, list and verify backups; to restore one is in `restore.rs`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use poem_openapi::types::ToJSON;
use serde_json::{Value, json};

use super::restore::{self, RestoreArgs};
use super::{Meter, blocking, count, locked, settings, size, task};
use crate::base::{Error, Result};
use crate::cli::session::{Session, text};
use crate::cli::{Common, print};
use crate::config::Sources;
use crate::domains::upkeep::{BackupView, Caretaker, Config, Folder};
use crate::store::upkeep;

#[derive(Subcommand)]
pub enum BackupCommand {
    /// Make a backup; it counts only when it has been restored into a scratch folder and compared
    Create {
        /// A name of its own; such a backup stays until you delete it
        #[arg(long)]
        name: Option<String>,
    },
    /// List the backups there are, newest first
    List,
    /// Restore a backup into a scratch folder and compare
    Verify {
        /// A backup's name, or the path of its file
        backup: String,
    },
    /// Put a backup in the place of the store; the store that was there is kept beside it
    Restore(RestoreArgs),
}

pub async fn run(command: BackupCommand, common: &Common, sources: &Sources) -> Result<ExitCode> {
    match command {
        BackupCommand::Create { name } => create(name.as_deref(), common, sources).await,
        BackupCommand::List => list(common, sources).await,
        BackupCommand::Verify { backup } => verify(&backup, common, sources).await,
        BackupCommand::Restore(args) => restore::run(args, common, sources).await,
    }
}

async fn create(name: Option<&str>, common: &Common, sources: &Sources) -> Result<ExitCode> {
    if let Some(name) = name {
        Folder::new(settings(sources)?.upkeep.folder).file(name)?;
    }
    let outcome = Session::with(sources, async |session| task(session, "backup", name).await).await?;
    print(common.json, &outcome, || {
        let made = format!("Made {}; restored it into a scratch folder and compared.", told(&outcome["backup"]));
        let removed: Vec<&str> = outcome["removed"].as_array().into_iter().flatten().map(text).collect();
        if removed.is_empty() { made } else { format!("{made}\nBACKUP_KEEP deleted {}.", removed.join(", ")) }
    });
    Ok(ExitCode::SUCCESS)
}

async fn list(common: &Common, sources: &Sources) -> Result<ExitCode> {
    let folder = Folder::new(settings(sources)?.upkeep.folder);
    let path = folder.path().display().to_string();
    let backups = blocking(move || folder.list()).await?;
    let backups: Vec<Value> = backups.into_iter().filter_map(|backup| BackupView::from(backup).to_json()).collect();
    print(common.json, &json!({ "folder": path, "backups": backups }), || table(&backups, &path));
    Ok(ExitCode::SUCCESS)
}

fn table(backups: &[Value], folder: &str) -> String {
    if backups.is_empty() {
        return format!("No backups in {folder} yet. `grps backup create` makes one.");
    }
    let mut out = format!("{:<28} {:<21} {:>12} {:>12}  {}\n", "name", "made", "size", "rows", "");
    for backup in backups {
        let rows = backup["rows"].as_u64().map_or("–".to_owned(), count);
        let size = size(backup["bytes"].as_u64());
        let notes = [
            backup["damage"].as_str().map(|damage| format!("DAMAGED: {damage}")),
            (backup["encrypted"] == Value::Bool(true)).then(|| "encrypted".to_owned()),
            (backup["automatic"] == Value::Bool(false)).then(|| "stays until you delete it".to_owned()),
        ];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        let (name, made) = (text(&backup["name"]), text(&backup["madeAt"]));
        out += &format!("{name:<28} {made:<21} {size:>12} {rows:>12}  {}\n", notes.join(", "));
    }
    format!("{out}\nin {folder}")
}

async fn verify(which: &str, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let config = settings(sources)?.upkeep;
    let path = find(which, &config)?;
    let meter = Meter::new();
    let progress = meter.progress();
    let info = blocking(move || {
        upkeep::verify_backup(&path, config.lock.as_ref(), &Caretaker::scratch(&config.scratch), &progress)
    });
    let info = info.await.map_err(locked)?;
    drop(meter);
    let backup = BackupView::from(info).to_json().unwrap_or_default();
    print(common.json, &json!({ "ok": true, "backup": backup }), || {
        format!("Good: {}. It was restored into a scratch folder and compared.", told(&backup))
    });
    Ok(ExitCode::SUCCESS)
}

/// The file that is meant: a path, or a name in the folder of backups.
///
/// # Errors
/// `upkeep.backup_missing`.
pub fn find(which: &str, config: &Config) -> Result<PathBuf> {
    let path = PathBuf::from(which);
    if path.is_file() {
        return Ok(path);
    }
    if which.contains('/') {
        let detail = format!("there is no file {which}");
        return Err(
            Error::missing("upkeep.backup_missing", detail).hint("`grps backup list` shows the backups there are")
        );
    }
    Folder::new(config.folder.clone()).existing(which.strip_suffix(".ckp").unwrap_or(which))
}

/// `grps-20250301T181544Z (1,234 rows, 5.60 MiB, made 2025-03-01T18:15:44Z)`.
pub fn told(backup: &Value) -> String {
    let rows = backup["rows"].as_u64().map_or("encrypted".to_owned(), |rows| format!("{} rows", count(rows)));
    let (name, made) = (text(&backup["name"]), text(&backup["madeAt"]));
    format!("{name} ({rows}, {}, made {made})", size(backup["bytes"].as_u64()))
}
