//! `grps decisions`: find decisions, say yes or no to them, take them back, and the hand on the breaker.

pub mod reject;
mod told;

use std::process::ExitCode;
use std::time::Duration;

use clap::builder::NonEmptyStringValueParser;
use clap::{Args, Subcommand, ValueEnum};
use poem::http::Method;
use serde_json::{Value, json};

use self::reject::RejectArgs;
use self::told::{breaker, list, results, reverted, show};
use super::session::{Session, number, segment, target, text};
use super::{Common, print, user_id};
use crate::base::{Clock, Error, Result, RobloxId, Time};
use crate::config::Sources;

/// Calls that one revert makes at most: so many thousand decisions.
const MAX_CALLS: usize = 1_000;

#[derive(Subcommand)]
pub enum DecisionsCommand {
    /// Decisions, newest first
    List(ListArgs),
    /// All that is known of a decision
    Show {
        /// Its id, as `grps decisions list` shows it
        id: String,
    },
    /// Let decisions take effect
    Approve {
        /// Their ids, as `grps decisions list` shows them
        #[arg(required = true)]
        ids: Vec<String>,
    },
    /// Keep decisions from taking effect: some by their ids, or all that is proposed and fits
    Reject(RejectArgs),
    /// Try a failed decision again
    Retry {
        /// Its id, as `grps decisions list` shows it
        id: String,
    },
    /// Take back one decision, or all of a stretch of time; without --yes, say what that would change
    Revert(RevertArgs),
    /// How full the breaker is; open or close it
    Breaker(BreakerArgs),
}

#[derive(Args)]
pub struct ListArgs {
    /// Only what stands there
    #[arg(long, ignore_case = true)]
    status: Option<Standing>,
    /// Only what does this
    #[arg(long, ignore_case = true)]
    action: Option<Deed>,
    #[command(flatten)]
    which: Which,
    /// How many, 1 to 200
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=200))]
    limit: u64,
    /// Go on behind the page that ended with this
    #[arg(long)]
    cursor: Option<String>,
}

/// Whom decisions are about, when they were made, and by whom.
#[derive(Default, Args)]
pub struct Which {
    /// Only about this player
    #[arg(long, value_name = "ID", value_parser = user_id)]
    pub user: Option<RobloxId>,
    /// Only what comes from there
    #[arg(long, ignore_case = true)]
    pub origin: Option<Origin>,
    /// Made since: `2h`, `30m`, `7d` ago, or a time such as 2025-03-01T18:00:00Z
    #[arg(long, value_name = "WHEN")]
    pub since: Option<When>,
    /// Made before
    #[arg(long, value_name = "WHEN")]
    pub until: Option<When>,
    /// Only what this credential asked for or approved, or somebody who claimed to be this Roblox user
    #[arg(long, value_parser = NonEmptyStringValueParser::new())]
    pub actor: Option<String>,
}

#[derive(Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["since", "decision"])))]
pub struct RevertArgs {
    /// What took effect since: `2h`, `30m`, `7d` ago, or a time such as 2025-03-01T18:00:00Z
    #[arg(long, value_name = "WHEN")]
    since: Option<When>,
    /// What took effect before
    #[arg(long, value_name = "WHEN", conflicts_with = "decision")]
    until: Option<When>,
    /// This decision
    #[arg(long, value_name = "ID")]
    decision: Option<String>,
    /// Only what this credential asked for or approved, or somebody who claimed to be this Roblox user
    #[arg(long, conflicts_with = "decision")]
    actor: Option<String>,
    /// Only say what would change; so it is without --yes
    #[arg(long, conflicts_with = "yes")]
    dry_run: bool,
    /// Do it
    #[arg(long)]
    yes: bool,
}

#[derive(Args)]
pub struct BreakerArgs {
    /// Let decisions through again
    #[arg(long, conflicts_with = "open")]
    close: bool,
    /// Stop all decisions of the policy
    #[arg(long)]
    open: bool,
    /// Why, for the audit trail
    #[arg(long, default_value = "")]
    reason: String,
}

/// Where a decision stands.
#[derive(Clone, Copy, ValueEnum)]
pub enum Standing {
    Proposed,
    Queued,
    Applied,
    Failed,
    Blocked,
}

/// What a decision does.
#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "UPPER")]
pub enum Deed {
    Ban,
    Suspend,
    Demote,
    Promote,
}

/// Where a decision comes from.
#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
pub enum Origin {
    Policy,
    Revert,
    Drift,
    SuspensionEnd,
}

/// As the server calls it.
fn named<T: ValueEnum>(one: Option<T>) -> Option<String> {
    Some(one?.to_possible_value()?.get_name().to_owned())
}

/// A time, or how long ago it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    At(Time),
    Ago(Duration),
}

impl std::str::FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        if let Some(at) = Time::parse(text) {
            return Ok(Self::At(at));
        }
        let units = [('s', 1), ('m', 60), ('h', 3_600), ('d', 86_400)];
        let ago = units.iter().find_map(|(unit, seconds)| {
            let count: u64 = text.strip_suffix(*unit)?.parse().ok()?;
            count.checked_mul(*seconds).map(Duration::from_secs)
        });
        ago.map(Self::Ago).ok_or_else(|| "write 2h, 30m, 7d, or a time such as 2025-03-01T18:00:00Z".to_owned())
    }
}

impl When {
    /// As RFC 3339; `now` is only asked where it matters.
    fn text(self, now: Time) -> String {
        match self {
            Self::At(at) => at.to_string(),
            Self::Ago(ago) => (now - ago).to_string(),
        }
    }
}

pub async fn run(command: DecisionsCommand, common: &Common, sources: &Sources) -> Result<ExitCode> {
    let answer = Session::with(sources, async |session| call(session, &command).await).await?;
    print(common.json, &answer, || shown(&command, &answer));
    let refused = answer["results"].as_array().is_some_and(|all| all.iter().any(|one| !one["error"].is_null()));
    Ok(if refused || reject::failed(&answer) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

async fn call(session: &Session, command: &DecisionsCommand) -> Result<Value> {
    let post = async |path: &str, body: Value| session.call(Method::POST, path, Some(&body)).await;
    match command {
        DecisionsCommand::List(args) => session.call(Method::GET, &args.target(Clock::system().now()), None).await,
        DecisionsCommand::Show { id } => {
            session.call(Method::GET, &format!("/automation/decisions/{}", segment(id)), None).await
        }
        DecisionsCommand::Approve { ids } => {
            post("/automation/decisions/approve", json!({ "ids": trimmed(ids) })).await
        }
        DecisionsCommand::Reject(args) => args.call(session).await,
        DecisionsCommand::Retry { id } => {
            session.call(Method::POST, &format!("/automation/decisions/{}/retry", segment(id)), None).await
        }
        DecisionsCommand::Revert(args) => revert(session, args).await,
        DecisionsCommand::Breaker(BreakerArgs { close: false, open: false, .. }) => {
            session.call(Method::GET, "/automation/breaker", None).await
        }
        DecisionsCommand::Breaker(args) => {
            post("/automation/breaker", json!({ "open": args.open, "reason": args.reason })).await
        }
    }
}

/// Asks until the end of the list, and adds up what came of it.
async fn revert(session: &Session, args: &RevertArgs) -> Result<Value> {
    let now = Clock::system().now();
    let when = |when: &Option<When>| when.map(|when| when.text(now));
    let mut body = json!({ "dryRun": !args.yes });
    let asked = [
        ("since", when(&args.since)),
        ("until", when(&args.until)),
        ("decisionId", args.decision.as_deref().map(|id| id.trim().to_owned())),
        ("actor", args.actor.clone()),
    ];
    for (name, value) in asked {
        if let Some(value) = value {
            body[name] = value.into();
        }
    }
    let mut all: Option<Value> = None;
    for _ in 0..MAX_CALLS {
        let mut page = session.call(Method::POST, "/automation/revert", Some(&body)).await?;
        let cursor = page["nextCursor"].take();
        all = Some(match all {
            None => page,
            Some(all) => added(all, page),
        });
        if cursor.is_null() {
            return Ok(all.unwrap_or_default());
        }
        body["cursor"] = cursor;
    }
    Err(Error::too_large("cli.too_many", format!("more than {MAX_CALLS} calls were needed"))
        .hint("name a shorter stretch of time with --since and --until"))
}

/// Two pages of a revert as one.
fn added(mut all: Value, mut page: Value) -> Value {
    for name in ["restored", "cancelled", "waiting", "skipped"] {
        all[name] = (number(&all[name]) + number(&page[name])).into();
    }
    if let (Some(items), Some(more)) = (all["items"].as_array_mut(), page["items"].as_array_mut()) {
        items.append(more);
    }
    all
}

impl ListArgs {
    fn target(&self, now: Time) -> String {
        let asked = [
            ("limit", Some(self.limit.to_string())),
            ("status", named(self.status)),
            ("action", named(self.action)),
            ("cursor", self.cursor.as_deref().map(segment)),
        ];
        target("/automation/decisions", asked.into_iter().chain(self.which.asked(now)))
    }
}

impl Which {
    /// As the list of decisions is asked.
    fn asked(&self, now: Time) -> [(&'static str, Option<String>); 5] {
        [
            ("userId", self.user.map(|user| user.to_string())),
            ("origin", named(self.origin)),
            ("since", self.since.map(|when| when.text(now))),
            ("until", self.until.map(|when| when.text(now))),
            ("actor", self.actor.as_deref().map(segment)),
        ]
    }
}

fn trimmed(ids: &[String]) -> Vec<&str> {
    ids.iter().map(|id| id.trim()).collect()
}

fn shown(command: &DecisionsCommand, answer: &Value) -> String {
    match command {
        DecisionsCommand::List(_) => list(answer),
        DecisionsCommand::Show { .. } => show(answer),
        DecisionsCommand::Reject(args) if !args.by_id() => reject::told(answer),
        DecisionsCommand::Approve { .. } | DecisionsCommand::Reject(_) => results(answer),
        DecisionsCommand::Retry { .. } => format!("Decision {} is queued again.", text(&answer["id"])),
        DecisionsCommand::Revert(args) => reverted(args.yes, answer),
        DecisionsCommand::Breaker(_) => breaker(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_called_as_the_server_calls_them() {
        let parse = |text: &str| Origin::from_str(text, true);
        assert_eq!(named(parse("Suspension_End").ok()).as_deref(), Some("suspension_end"));
        assert!(parse("often").is_err());
        assert_eq!(named(Some(Deed::Ban)).as_deref(), Some("BAN"));
        assert_eq!(named(Standing::from_str("PROPOSED", true).ok()).as_deref(), Some("proposed"));
    }

    #[test]
    fn times_are_told_as_people_tell_them() {
        let now = Time(1_740_852_944_000);
        let read = |text: &str| text.parse::<When>().map(|when| when.text(now));
        assert_eq!(read("2h").unwrap(), "2025-03-01T16:15:44Z");
        assert_eq!(read("30m").unwrap(), "2025-03-01T17:45:44Z");
        assert_eq!(read("2025-03-01T18:00:00+01:00").unwrap(), "2025-03-01T17:00:00Z");
        for bad in ["", "h", "2", "two hours", "-2h", "99999999999999999999d", "2025-03-01"] {
            assert!(read(bad).is_err(), "{bad}");
        }
    }
}
