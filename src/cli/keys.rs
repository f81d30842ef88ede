//! `grps keys`: the keys that game servers and tools sign in with.

use std::process::ExitCode;

use clap::Subcommand;
use poem::http::Method;
use serde_json::{Value, json};

use super::session::{Session, text};
use super::{Common, print};
use crate::base::Result;
use crate::config::Sources;

#[derive(Subcommand)]
pub enum KeysCommand {
    /// Make a key; its secret is shown once
    Create {
        /// What you call it
        #[arg(long)]
        name: String,
        /// What it may do, comma-separated
        #[arg(long, value_delimiter = ',', default_value = "ingest,decisions:evaluate,players:read")]
        scopes: Vec<String>,
        /// Let the key itself travel as x-grps-api-key, instead of asking for signed requests
        #[arg(long)]
        compat: bool,
    },
    /// List all keys
    List,
    /// Give a key a new secret; the one before stays valid until the next rotation
    Rotate { kid: String },
    /// End a key at once
    Revoke { kid: String },
}

pub async fn run(command: KeysCommand, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let answer = Session::with(sources, async |session| call(session, &command).await).await?;
    print(common.json, &answer, || match &command {
        KeysCommand::Create { .. } | KeysCommand::Rotate { .. } => issued(&answer),
        KeysCommand::List => list(&answer),
        KeysCommand::Revoke { kid } => format!("Key {kid} is revoked."),
    });
    Ok(ExitCode::SUCCESS)
}

async fn call(session: &Session, command: &KeysCommand) -> Result<Value> {
    match command {
        KeysCommand::Create { name, scopes, compat } => {
            let body = json!({ "name": name, "scopes": scopes, "compat": compat });
            session.call(Method::POST, "/admin/api/keys", Some(&body)).await
        }
        KeysCommand::List => session.call(Method::GET, "/admin/api/keys", None).await,
        KeysCommand::Rotate { kid } => session.call(Method::POST, &format!("/admin/api/keys/{kid}/rotate"), None).await,
        KeysCommand::Revoke { kid } => session.call(Method::DELETE, &format!("/admin/api/keys/{kid}"), None).await,
    }
}

fn issued(answer: &Value) -> String {
    let way = if answer["key"]["compat"] == Value::Bool(true) {
        "Send it as x-grps-api-key, or sign requests with it (A6)."
    } else {
        "Requests must be signed with it (A6): `grps sign a6 --kid … --secret-file …` shows how."
    };
    format!(
        "key id  {}\nsecret  {}\n\nThe secret is shown this once. {way}",
        text(&answer["key"]["kid"]),
        text(&answer["secret"])
    )
}

fn list(answer: &Value) -> String {
    let keys = answer["keys"].as_array().cloned().unwrap_or_default();
    if keys.is_empty() {
        return "No keys yet. `grps keys create --name NAME` makes one; keys from INBOUND_API_KEYS are not listed here.".into();
    }
    let mut out = format!("{:<10} {:<20} {:<8} {:<21} {}\n", "key id", "name", "mode", "last used", "scopes");
    for key in &keys {
        let mode = match (&key["revokedAt"], key["compat"].as_bool()) {
            (Value::String(_), _) => "revoked",
            (_, Some(true)) => "compat",
            _ => "strict",
        };
        let used =
            key["values"].as_array().and_then(|values| values.iter().find_map(|value| value["lastUsedAt"].as_str()));
        let used = used.unwrap_or("never");
        let scopes: Vec<&str> = key["scopes"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        out += &format!(
            "{:<10} {:<20} {mode:<8} {used:<21} {}\n",
            text(&key["kid"]),
            text(&key["name"]),
            scopes.join(" ")
        );
    }
    out
}
