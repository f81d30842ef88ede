//! `grps config print` and `grps openapi`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::{Common, print, write_out};
use crate::app;
use crate::base::{Error, Result};
use crate::config::{self, Config, Generated, Sources, markdown};
use crate::domains::auth::access_markdown;

#[derive(Subcommand)]
pub enum ConfigCommand {
    /// Every setting, its value (secrets masked) and its source
    Print {
        /// Print the README's table of settings instead
        #[arg(long)]
        markdown: bool,
        /// Print the README's table of who may call what instead
        #[arg(long, conflicts_with = "markdown")]
        access: bool,
    },
}

pub fn run(command: ConfigCommand, common: &Common, sources: &Sources) -> Result<ExitCode> {
    match command {
        ConfigCommand::Print { markdown: true, .. } => write_out(&markdown()),
        ConfigCommand::Print { access: true, .. } => write_out(&access_markdown()),
        ConfigCommand::Print { .. } => return settings(common, sources),
    }
    Ok(ExitCode::SUCCESS)
}

fn settings(common: &Common, sources: &Sources) -> Result<ExitCode> {
    let generated = Generated::load_or_create(&config::data_dir(sources)?)?;
    Config::build(sources, &generated)?;
    let rows = config::print(sources, &generated)?;
    let shown: Vec<_> = rows
        .iter()
        .map(|(setting, value, origin)| json!({ "name": setting.name, "value": value, "source": origin.to_string() }))
        .collect();
    print(common.json, &json!({ "settings": shown }), || {
        let line = |(setting, value, origin): &(&config::Setting, String, config::Origin)| {
            format!("{:<30} {:<44} {origin}\n", setting.name, value)
        };
        rows.iter().map(line).collect()
    });
    Ok(ExitCode::SUCCESS)
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    Json,
    Yaml,
}

#[derive(Args)]
pub struct OpenapiArgs {
    #[arg(long, value_enum, default_value_t = Format::Json)]
    format: Format,
    /// Write openapi.json and openapi.yaml into this directory instead of printing
    #[arg(long, value_name = "DIR")]
    write: Option<PathBuf>,
}

pub async fn openapi(args: OpenapiArgs) -> Result<ExitCode> {
    let spec = app::published_api().await?;
    let Some(dir) = args.write else {
        write_out(&match args.format {
            Format::Json => spec.json(),
            Format::Yaml => spec.yaml(),
        });
        return Ok(ExitCode::SUCCESS);
    };
    for (name, text) in [("openapi.json", spec.json()), ("openapi.yaml", spec.yaml())] {
        let path = dir.join(name);
        std::fs::write(&path, text).map_err(|error| {
            Error::invalid("openapi.unwritable", format!("cannot write {}: {error}", path.display()))
        })?;
    }
    Ok(ExitCode::SUCCESS)
}
