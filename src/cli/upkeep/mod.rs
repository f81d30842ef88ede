//! `grps backup`, `grps store` and `grps migrate`. What a running store can do goes through the API as tasks; what needs the store at rest
//! (restore, repair, dump) takes the data directory itself, and names the server that holds it.

mod backup;
mod dump;
mod migrate;
mod progress;
mod restore;
mod store;

use std::path::Path;
use std::time::Duration;

use poem::http::Method;
use serde_json::{Value, json};

pub use backup::BackupCommand;
pub use backup::run as backup;
pub use migrate::MigrateCommand;
pub use migrate::run as migrate;
pub use progress::Meter;
pub use store::StoreCommand;
pub use store::run as store;

use super::session::{Session, number, text};
use crate::base::{Error, Result};
use crate::config::{self, Config, Generated, Sources};
use crate::store::DataDir;

/// How often a task is asked how far it is: soon at first, since most are short.
const FIRST_LOOK: Duration = Duration::from_millis(20);
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// Starts a task, shows how far it is, and gives it when it is done.
async fn task(session: &Session, kind: &str, name: Option<&str>) -> Result<Value> {
    let mut wanted = json!({ "kind": kind });
    if let Some(name) = name {
        wanted["name"] = name.into();
    }
    let mut task = session.call(Method::POST, "/admin/api/store/tasks", Some(&wanted)).await?;
    let target = format!("/admin/api/store/tasks/{}", text(&task["id"]));
    let (meter, mut pause) = (Meter::new(), FIRST_LOOK);
    while task["state"] == "running" {
        let step = &task["progress"];
        meter.tell(text(&step["what"]), number(&step["done"]), number(&step["total"]));
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_EVERY);
        task = session.call(Method::GET, &target, None).await?;
    }
    drop(meter);
    if task["state"] == "done" { Ok(task["outcome"].take()) } else { Err(failure(&task["failure"])) }
}

/// With the settings that give the key where that is what is missing.
fn locked(error: Error) -> Error {
    match error.code() {
        "checkpoint.key_needed" | "checkpoint.wrong_key" => {
            error.hint("set BACKUP_PASSPHRASE, or BACKUP_KEY_FILE, to what the backup was made with")
        }
        _ => error,
    }
}

/// Why a task failed, as our error, so that it prints and exits like any other.
fn failure(told: &Value) -> Error {
    let error = Error::remote(text(&told["code"]).to_owned(), text(&told["detail"]).to_owned());
    match told["hint"].as_str() {
        Some(hint) => error.hint(hint),
        None => error,
    }
}

/// The configuration, without opening the store.
fn settings(sources: &Sources) -> Result<Config> {
    Config::build(sources, &Generated::load_or_create(&config::data_dir(sources)?)?)
}

/// Takes the data directory for a command that needs the store at rest.
///
/// # Errors
/// `store.dir_in_use` naming the server and how to stop it.
fn at_rest(path: &Path) -> Result<DataDir> {
    let Some(owner) = DataDir::owner(path) else { return DataDir::open(path) };
    let listening = owner.addr.map(|address| format!(", listening on {address},")).unwrap_or_default();
    let detail = format!("process {}{listening} has {} open; this needs the store at rest", owner.pid, path.display());
    Err(Error::conflict("store.dir_in_use", detail)
        .hint(format!("stop it with `kill {}` (it finishes what it has accepted), then run this again", owner.pid)))
}

/// Runs work that blocks, off the runtime's threads.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(Error::broken("cli.panicked", error)))
}

/// `5.60 MiB`.
fn size(bytes: impl Into<Option<u64>>) -> String {
    indicatif::HumanBytes(bytes.into().unwrap_or(0)).to_string()
}

/// `1,234`.
fn count(number: impl Into<Option<u64>>) -> String {
    indicatif::HumanCount(number.into().unwrap_or(0)).to_string()
}
