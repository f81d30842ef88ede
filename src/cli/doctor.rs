//! `grps doctor`: the deployment checklist, line by line, with what to do about each (requirement F24).

use std::borrow::Cow;
use std::process::ExitCode;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};

use super::jobs::visible;
use super::session::Session;
use super::{Common, print};
use crate::base::{Clock, Error, Result};
use crate::config::{self, Config, FeatureState, Generated, Sources};
use crate::domains::policy::Sources as PolicySources;
use crate::domains::policy::{Search, lint_report};
use crate::domains::upkeep::Folder;
use crate::store::DataDir;
use poem::http::Method;

#[derive(Args)]
pub struct DoctorArgs {
    /// Look at this part alone
    part: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// The Open Cloud key, its scopes, the group and the experience
    Roblox,
}

/// One line of the report.
struct Finding {
    name: Cow<'static, str>,
    state: State,
    detail: String,
    fix: Option<String>,
}

#[derive(PartialEq, Eq, Clone, Copy)]
enum State {
    Pass,
    Off,
    Fail,
}

impl State {
    fn text(self) -> &'static str {
        match self {
            State::Pass => "pass",
            State::Off => "off",
            State::Fail => "FAIL",
        }
    }
}

pub async fn run(args: DoctorArgs, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let findings = match args.part {
        Some(Part::Roblox) => roblox(sources).await?,
        None => deployment(sources).await,
    };
    let failed = findings.iter().any(|finding| finding.state == State::Fail);
    let rows: Vec<_> = findings
        .iter()
        .map(|f| json!({ "check": f.name, "state": f.state.text().to_lowercase(), "detail": f.detail, "fix": f.fix }))
        .collect();
    let width = findings.iter().map(|finding| finding.name.len()).max().unwrap_or(0);
    print(common.json, &json!({ "ok": !failed, "checks": rows }), || {
        findings.iter().map(|finding| line(finding, width)).collect()
    });
    Ok(ExitCode::from(u8::from(failed)))
}

async fn deployment(sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    let config = check(&mut findings, "settings", settings(sources));
    if let Some(config) = config {
        findings.extend(config.warnings.iter().map(|warning| Finding {
            name: "secrets".into(),
            state: State::Fail,
            detail: warning.clone(),
            fix: Some("set another value, `openssl rand -hex 32` makes one, and restart".into()),
        }));
        check(&mut findings, "policy", policy(&config));
        check(&mut findings, "store", store(sources).await);
        check(&mut findings, "server", server(&config));
        check(&mut findings, "backups", backups(&config));
        features(&mut findings, &config);
    }
    findings
}

/// What the server, or this command in its place, finds out about Roblox. Nothing is changed there.
async fn roblox(sources: &Sources) -> Result<Vec<Finding>> {
    let session = Session::open(sources).await?;
    let answer = session.call(Method::POST, "/admin/api/roblox/probe", None).await;
    session.close().await?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let finding = |line: &Value| Finding {
        name: text(&line["check"]).into(),
        state: match line["state"].as_str() {
            Some("pass") => State::Pass,
            Some("off") => State::Off,
            _ => State::Fail,
        },
        detail: text(&line["detail"]),
        fix: line["fix"].as_str().map(str::to_owned),
    };
    Ok(answer?["checks"].as_array().into_iter().flatten().map(finding).collect())
}

fn line(finding: &Finding, width: usize) -> String {
    let indent = width + 7;
    // Names of keys, groups and roles are what others wrote.
    let fix = finding.fix.as_ref().map(|fix| format!("\n{:indent$}fix: {}", "", visible(fix))).unwrap_or_default();
    format!("{:<5} {:<width$} {}{fix}\n", finding.state.text(), finding.name, visible(&finding.detail))
}

/// Notes the outcome of one check and hands on its value.
fn check<T>(findings: &mut Vec<Finding>, name: &'static str, outcome: Result<(T, String)>) -> Option<T> {
    match outcome {
        Ok((value, detail)) => {
            findings.push(Finding { name: name.into(), state: State::Pass, detail, fix: None });
            Some(value)
        }
        Err(error) => {
            let fix = error.hint_text().map(str::to_owned);
            findings.push(Finding { name: name.into(), state: State::Fail, detail: error.detail().to_owned(), fix });
            None
        }
    }
}

fn settings(sources: &Sources) -> Result<(Config, String)> {
    let generated = Generated::load_or_create(&config::data_dir(sources)?)?;
    let config = Config::build(sources, &generated)?;
    let detail = format!("all readable; data in {}", config.data_dir.display());
    Ok((config, detail))
}

fn policy(config: &Config) -> Result<((), String)> {
    let search = Search::standard(&config.policy_dir);
    let Some(dir) = search.find() else {
        return Ok((
            (),
            format!("{} has no policy files: the built-in policy is in force", config.policy_dir.display()),
        ));
    };
    let report = lint_report(&search.read(dir)?);
    match report.errors().next() {
        None => Ok(((), format!("{} is in order{}", dir.display(), last_changed(&search.read(dir)?)))),
        Some(_) => Err(Error::from(&report)),
    }
}

/// When the newest file was written (requirement P18: somebody should look every quarter).
fn last_changed(files: &PolicySources) -> String {
    let newest = files.list.iter().filter_map(|source| source.changed_at).max();
    let days = newest.map(|at| Clock::system().now().since(at).as_secs() / 86_400);
    days.map(|days| format!("; last changed {days} days ago")).unwrap_or_default()
}

/// Opens the store, or asks the server that has it open.
async fn store(sources: &Sources) -> Result<((), String)> {
    let session = Session::open(sources).await?;
    let answer = session.call(Method::GET, "/metrics/health", None).await;
    let by = if session.is_remote() { "the running server" } else { "this command" };
    session.close().await?;
    let players = answer?["totalPlayers"].as_f64().unwrap_or(0.0);
    Ok(((), format!("opens; {players:.0} players, read by {by}")))
}

fn server(config: &Config) -> Result<((), String)> {
    let detail = match DataDir::owner(&config.data_dir) {
        Some(owner) => match owner.addr {
            Some(address) => format!("process {} listens on {address}", owner.pid),
            None => format!("process {} is starting", owner.pid),
        },
        None => "not running; `grps serve` starts it".to_owned(),
    };
    Ok(((), detail))
}

/// Whether backups can be made, and how old the last one is that can be read.
fn backups(config: &Config) -> Result<((), String)> {
    let upkeep = &config.upkeep;
    let folder = Folder::new(upkeep.folder.clone());
    folder.probe()?;
    let (place, now) = (folder.path().display(), Clock::system().now());
    let last = folder.list()?.into_iter().find(|backup| backup.info.is_ok());
    let Some(schedule) = &upkeep.schedule else {
        return Ok(((), format!("none are made by the clock: BACKUP_CRON is empty; {place} can be written")));
    };
    let next = schedule.after(now).map(|at| format!("; the next one is due at {at}")).unwrap_or_default();
    let Some(last) = last else { return Ok(((), format!("none in {place} yet{next}"))) };
    let hours = now.since(last.at).as_secs() / 3600;
    // One may be missing, being made at this moment; two are not.
    let missed = schedule.after(last.at).and_then(|at| schedule.after(at)).is_some_and(|at| at < now);
    if missed {
        let detail = format!("the last good backup in {place} is {hours} hours old, older than BACKUP_CRON asks for");
        return Err(Error::conflict("upkeep.backup_late", detail)
            .hint("is the server running? `grps backup create` makes one, or says why it cannot be made"));
    }
    Ok(((), format!("the last good one in {place} is {hours} hours old{next}")))
}

fn features(findings: &mut Vec<Finding>, config: &Config) {
    for feature in &config.features {
        let name = feature.name;
        let (state, detail, fix) = match &feature.state {
            FeatureState::On => (State::Pass, name.to_owned(), None),
            FeatureState::Later => (State::Off, format!("{name}: configured; this version does not use it yet"), None),
            FeatureState::Off(missing) => {
                let missing = missing.join(", ");
                (State::Off, format!("{name}: {missing} missing"), Some(format!("set {missing}")))
            }
        };
        findings.push(Finding { name: "feature".into(), state, detail, fix });
    }
}
