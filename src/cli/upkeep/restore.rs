//! `grps backup restore`: puts a backup in the place of the store, which is kept beside it.

use std::io::{BufRead, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;

use clap::Args;
use poem_openapi::types::ToJSON;
use serde_json::json;

use super::backup::{find, told};
use super::{Meter, at_rest, blocking, count, locked, settings, size, text};
use crate::app::App;
use crate::base::{Clock, Error, Kind, Result, Time};
use crate::cli::{Common, print};
use crate::config::{Config, Sources};
use crate::domains::audit::Actor;
use crate::domains::auth::Sender;
use crate::domains::upkeep::BackupView;
use crate::store::{DataDir, Restored, upkeep};

#[derive(Args)]
pub struct RestoreArgs {
    /// A backup's name, or the path of its file
    backup: String,
    /// Go on with the journal up to this time (RFC 3339) instead of stopping where the backup ends
    #[arg(long, value_name = "TIME")]
    to_time: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

pub async fn run(args: RestoreArgs, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let config = settings(sources)?;
    let until = args.to_time.as_deref().map(time).transpose()?;
    let path = find(&args.backup, &config.upkeep)?;
    let dir = at_rest(&config.data_dir)?;
    let backup = BackupView::unopened(upkeep::inspect(&path)?).to_json().unwrap_or_default();
    let store = dir.path().join("store");
    let plan = format!(
        "This replaces  {} ({}; kept beside it)\nwith           {}{}",
        store.display(),
        size(weight(&store)),
        told(&backup),
        until.map(|at| format!("\nand            what the journal has after it, up to {at}")).unwrap_or_default()
    );
    if !args.yes && !confirmed(&plan)? {
        eprintln!("Nothing was changed.");
        return Ok(ExitCode::from(1));
    }
    let meter = Meter::new();
    let (progress, held, lock) = (meter.progress(), dir.clone(), config.upkeep.lock.clone());
    let restored = blocking(move || upkeep::restore(&held, &path, lock.as_ref(), until, &progress)).await;
    let restored = restored.map_err(locked)?;
    let kept = restored.kept.clone();
    let undo = undo(&store, kept.as_deref());
    let opened = open(config, dir, &restored, &meter).await;
    drop(meter);
    opened.map_err(|error| {
        let detail = format!("the restored store does not open: {}", error.detail());
        Error::new(Kind::Broken, "store.restore_unusable", detail)
            .hint(format!("bring the former store back: {undo}"))
            .context(error.context_text().unwrap_or_default())
    })?;
    let kept = kept.map(|kept| kept.display().to_string());
    let (seq, rows) = (restored.replayed_to_seq, restored.rows);
    let answer = json!({ "backup": backup, "seq": seq, "rows": rows, "kept": kept, "undo": undo });
    print(common.json, &answer, || {
        let further = until.map(|at| format!(" and what the journal has up to {at}")).unwrap_or_default();
        let done = format!("Restored {}{further}: {} rows, compared and opened.", text(&backup["name"]), count(rows));
        let Some(kept) = &kept else { return done };
        let forget = format!("rm -r {}", quoted(Path::new(kept)));
        format!(
            "{done}\nThe store that was there is in {kept}.\n  to undo            {undo}\n  when all is well   {forget}"
        )
    });
    Ok(ExitCode::SUCCESS)
}

/// Opens what was restored, which is the last proof, and leaves the audit row.
async fn open(config: Config, dir: DataDir, restored: &Restored, meter: &Meter) -> Result<()> {
    let app = App::open(config, dir, Clock::system(), meter.progress()).await?;
    let asker = Sender { actor: Actor::of("operator"), request_id: "grps-backup-restore".into() };
    let noted = app.caretaker.note_restored(restored, &asker).await;
    app.close().await.and(noted)
}

fn time(text: &str) -> Result<Time> {
    Time::parse(text).ok_or_else(|| {
        Error::invalid("cli.usage", format!("--to-time is \"{text}\": expected an RFC 3339 time"))
            .hint("write it like 2025-03-01T18:15:44Z")
    })
}

/// Shows `plan` and asks. Where nobody can be asked, --yes has to say it.
fn confirmed(plan: &str) -> Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Err(Error::invalid("cli.usage", "a restore replaces the store, and there is nobody to ask")
            .hint(format!("add --yes if this is what you want:\n{plan}")));
    }
    eprint!("{plan}\n\nType yes to go on: ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    Ok(read.is_ok() && answer.trim().eq_ignore_ascii_case("yes"))
}

/// The commands that bring the former store back, or none where there was none.
fn undo(store: &Path, kept: Option<&Path>) -> String {
    let back = kept.map(|kept| format!(" && mv {} {}", quoted(kept), quoted(store)));
    format!("rm -r {}{}", quoted(store), back.unwrap_or_default())
}

fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-".contains(c));
    if plain { text } else { format!("'{}'", text.replace('\'', r"'\''")) }
}

/// Bytes of all files below `dir`.
fn weight(dir: &Path) -> u64 {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let weigh = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => weight(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    };
    entries.map(weigh).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_quoted_for_a_shell() {
        assert_eq!(quoted(Path::new("./data/store")), "./data/store");
        assert_eq!(quoted(Path::new("/a b/it's")), r"'/a b/it'\''s'");
    }

    #[test]
    fn a_folder_weighs_what_is_in_it() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("a")).unwrap();
        std::fs::write(dir.path().join("a/b"), b"12345").unwrap();
        std::fs::write(dir.path().join("c"), b"123").unwrap();
        assert_eq!((weight(dir.path()), weight(&dir.path().join("nothing"))), (8, 0));
    }
}
