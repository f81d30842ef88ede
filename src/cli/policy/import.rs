//! `grps policy import-ladder` and `import-qbot`: a policy.ranks.json to begin with.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use poem::http::Method;
use serde_json::json;

use super::files;
use super::ladder::{Draft, LiveRoles, Points, draft};
use super::loose::literals;
use super::qbot;
use crate::base::{Error, Result};
use crate::cli::jobs::visible;
use crate::cli::session::Session;
use crate::cli::{Common, print};
use crate::config::{Config, Generated, Sources};
use crate::domains::policy::{FileKind, Mode, Policy, Search, Settings, Source, lint_report};

/// Largest file of another bot that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;

/// What a ladder that is new begins with.
const PROPOSES: &str = "note: settings.mode is \"propose\": every decision waits for you; set \"auto\" when `grps policy simulate` shows \
     what you want";

#[derive(Args)]
pub struct LadderArgs {
    /// Points of each rank, lowest first, such as 100,250,500
    #[arg(long, value_delimiter = ',', conflicts_with_all = ["start", "factor"])]
    points: Option<Vec<i64>>,
    /// Points of the lowest rank
    #[arg(long, default_value_t = 100)]
    start: i64,
    /// How many times as much each rank needs as the one below
    #[arg(long, default_value_t = 1.5)]
    factor: f64,
    /// The lowest role to take, by its rank number; 1 is every member's
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u8).range(1..=254))]
    from_rank: u8,
    /// The highest role to take, by its rank number
    #[arg(long, default_value_t = 254, value_parser = clap::value_parser!(u8).range(1..=254))]
    to_rank: u8,
    #[command(flatten)]
    out: OutArgs,
}

#[derive(Args)]
pub struct QbotArgs {
    /// Its config.ts or config.json, or any list of ranks with points
    file: PathBuf,
    #[command(flatten)]
    out: OutArgs,
}

#[derive(Args)]
struct OutArgs {
    /// Write POLICY_DIR/policy.ranks.json instead of printing; the old one is kept as .bak
    #[arg(long)]
    write: bool,
}

pub async fn ladder(args: LadderArgs, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let live = live_roles(sources).await?;
    let points = match args.points {
        Some(list) => Points::Listed(list),
        None if args.factor.is_finite() && args.factor >= 1.0 => {
            Points::Growing { start: args.start, factor: args.factor }
        }
        None => return Err(Error::invalid("cli.usage", "--factor must be 1 or more")),
    };
    // A role that punishes is no rank to be promoted into.
    let aside = current(sources).map(|policy| {
        let statuses = policy.punishments().statuses.values();
        statuses.filter_map(|status| status.group_role.clone()).collect::<Vec<_>>()
    });
    let made = draft(&live, (args.from_rank, args.to_rank), &points, &aside.unwrap_or_default())?;
    give(&made, args.out.write, common, sources)
}

pub async fn qbot(args: QbotArgs, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let found = qbot::find(&literals(&text(&args.file)?))?;
    let live = match live_roles(sources).await {
        Ok(live) => live,
        Err(error) => {
            eprintln!("note: names and role ids are not known: {}", error.detail());
            LiveRoles::default()
        }
    };
    if let Some(group) = found.group {
        eprintln!("note: its group is {group}; ROBLOX_GROUP_ID says which is ours");
    }
    give(&found.draft(&live)?, args.out.write, common, sources)
}

fn text(path: &Path) -> Result<String> {
    let unreadable =
        |error: std::io::Error| Error::invalid("cli.unreadable", format!("cannot read {}: {error}", path.display()));
    if std::fs::metadata(path).map_err(unreadable)?.len() > MAX_FILE {
        return Err(Error::too_large("cli.too_large", format!("{} is larger than 1 MiB", path.display())));
    }
    std::fs::read_to_string(path).map_err(unreadable)
}

async fn live_roles(sources: &Sources) -> Result<LiveRoles> {
    let work = async |session: &Session| session.call(Method::GET, "/admin/api/roblox/roles", None).await;
    serde_json::from_value(Session::with(sources, work).await?).map_err(|error| Error::broken("cli.bad_answer", error))
}

/// The policy in force here; none while it is broken.
fn current(sources: &Sources) -> Option<Policy> {
    Policy::from_sources(&files(None, sources).ok()?).ok()
}

/// Prints the ladder, or writes it once lint has passed the set it becomes part of.
fn give(made: &Draft, write: bool, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let dir = Config::build(sources, &Generated::ephemeral()?)?.policy_dir;
    let search = Search::standard(&dir);
    let place = search.find().map_or_else(|| dir.clone(), Path::to_path_buf);
    // Nobody has seen yet whom this ladder moves.
    let settings = current(sources).map_or_else(Settings::default, |policy| policy.settings().clone());
    let file = made.file(Settings { mode: Mode::Propose, ..settings });
    let text = serde_json::to_string_pretty(&file).map_err(|error| Error::broken("cli.no_json", error))? + "\n";
    // The rest of the set is what stands in the directory; without one, nothing.
    let mut set = match search.find() {
        Some(found) => search.read(found)?,
        None => crate::domains::policy::Sources { dir: None, list: Vec::new() },
    };
    set.list.retain(|source| source.kind != FileKind::Ranks);
    let label = FileKind::Ranks.name().to_owned();
    set.list.push(Source { kind: FileKind::Ranks, label, text: text.clone(), changed_at: None });
    let report = lint_report(&set);
    if !common.json {
        // Names of roles are what others wrote.
        eprint!("{}", visible(&made.to_string()));
        eprintln!("{PROPOSES}");
        report.findings.iter().for_each(|finding| eprintln!("{}", visible(&finding.to_string())));
    }
    if write {
        if report.errors().next().is_some() {
            return Err(Error::from(&report));
        }
        replace(&place, &text)?;
    }
    let path = place.join(FileKind::Ranks.name());
    let value = json!({ "file": file, "notes": made.notes, "lint": report, "written": write.then(|| path.display().to_string()) });
    print(common.json, &value, || {
        if write {
            format!("{} ranks written to {}", made.steps.len(), path.display())
        } else {
            visible(&text).into_owned()
        }
    });
    Ok(ExitCode::from(u8::from(report.errors().next().is_some())))
}

/// The new file takes the old one's place at once and for good: whoever reads meanwhile, or after a power cut, sees one of the two.
fn replace(dir: &Path, text: &str) -> Result<()> {
    let name = FileKind::Ranks.name();
    let (path, backup, fresh) = (dir.join(name), dir.join(format!("{name}.bak")), dir.join(format!("{name}.new")));
    let write = || -> std::io::Result<()> {
        std::fs::create_dir_all(dir)?;
        let mut file = File::create(&fresh)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        if path.exists() {
            std::fs::copy(&path, &backup)?;
        }
        std::fs::rename(&fresh, &path)?;
        File::open(dir)?.sync_all()
    };
    write().map_err(|error| Error::invalid("policy.unwritable", format!("cannot write {}: {error}", path.display())))
}
