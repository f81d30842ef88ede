//! `grps jobs`: look at queues and jobs, put jobs back, remove them.

mod visible;
mod watch;

use std::process::ExitCode;

use clap::{Args, Subcommand, ValueEnum};
use poem::http::Method;
use serde_json::{Value, json};

pub use self::visible::visible;
use self::visible::visible_line;
use self::watch::WatchArgs;
use super::session::{Session, segment, target, text};
use super::{Common, print};
use crate::base::Result;
use crate::config::Sources;
use crate::domains::jobs::{MAX_BULK, QueueName};

/// Jobs that one bulk command changes at most: what the API does in one request.
const MOST: u64 = MAX_BULK as u64;

/// The part of a payload that a list shows, in characters.
const PAYLOAD_SHOWN: usize = 60;

#[derive(Subcommand)]
pub enum JobsCommand {
    /// All queues, and how full they are
    Queues,
    /// The same, again and again, with rates
    Watch(WatchArgs),
    /// Jobs, oldest first
    List {
        /// Only of this queue
        #[arg(long)]
        queue: Option<QueueName>,
        /// Only in this state
        #[arg(long)]
        state: Option<State>,
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..=200))]
        limit: u64,
        /// Go on behind this job
        #[arg(long, value_name = "ID")]
        cursor: Option<String>,
    },
    /// All that is known of a job
    Show { id: String },
    /// Put one job back into its queue, with all its attempts
    Retry { id: String },
    /// Put all jobs of a queue in one state back into it; without --yes, count them
    Requeue(BulkArgs),
    /// Remove all jobs of a queue in one state, for good; without --yes, count them
    Purge(BulkArgs),
}

#[derive(Args)]
pub struct BulkArgs {
    #[arg(long)]
    queue: QueueName,
    #[arg(long)]
    state: State,
    /// At most so many, oldest first
    #[arg(long, default_value_t = MOST, value_parser = clap::value_parser!(u64).range(1..=MOST))]
    limit: u64,
    /// Do it; without this nothing is changed
    #[arg(long)]
    yes: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub enum State {
    /// In its queue, not before its time
    Waiting,
    /// To be had
    Ready,
    /// Held by somebody
    Leased,
    /// Taken for good
    Delivered,
    Done,
    /// Out of attempts, or given up
    Dead,
    /// Its time to live passed
    Expired,
}

impl State {
    fn text(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }
}

pub async fn run(command: JobsCommand, common: &Common, sources: &Sources) -> Result<ExitCode> {
    if let JobsCommand::Watch(args) = &command {
        return Session::with(sources, async |session| watch::run(args, common, session).await).await;
    }
    let answer = Session::with(sources, async |session| call(session, &command).await).await?;
    print(common.json, &answer, || told(&command, &answer));
    Ok(ExitCode::SUCCESS)
}

async fn call(session: &Session, command: &JobsCommand) -> Result<Value> {
    match command {
        JobsCommand::Queues | JobsCommand::Watch(_) => session.call(Method::GET, "/admin/api/queues", None).await,
        JobsCommand::List { queue, state, limit, cursor } => {
            let asked = [
                ("limit", Some(limit.to_string())),
                ("queue", queue.as_ref().map(ToString::to_string)),
                ("state", state.map(State::text)),
                ("cursor", cursor.as_deref().map(segment)),
            ];
            session.call(Method::GET, &target("/admin/api/jobs", asked), None).await
        }
        JobsCommand::Show { id } => session.call(Method::GET, &format!("/admin/api/jobs/{}", segment(id)), None).await,
        JobsCommand::Retry { id } => {
            session.call(Method::POST, &format!("/admin/api/jobs/{}/requeue", segment(id)), None).await
        }
        JobsCommand::Requeue(args) => bulk(session, "requeue", args).await,
        JobsCommand::Purge(args) => bulk(session, "purge", args).await,
    }
}

async fn bulk(session: &Session, verb: &str, args: &BulkArgs) -> Result<Value> {
    let queue = args.queue.to_string();
    let body = json!({ "queue": queue, "state": args.state.text(), "limit": args.limit, "dryRun": !args.yes });
    let mut answer = session.call(Method::POST, &format!("/admin/api/jobs/{verb}"), Some(&body)).await?;
    answer["dryRun"] = (!args.yes).into();
    Ok(answer)
}

fn told(command: &JobsCommand, answer: &Value) -> String {
    match command {
        JobsCommand::Queues | JobsCommand::Watch(_) => watch::table(&watch::rows(answer, None), false),
        JobsCommand::List { .. } => list(answer),
        JobsCommand::Show { .. } => show(answer),
        JobsCommand::Retry { .. } => {
            format!("Job {} is back in queue {}.", text(&answer["id"]), text(&answer["queue"]))
        }
        JobsCommand::Requeue(args) => bulk_told("put back", args, answer),
        JobsCommand::Purge(args) => bulk_told("removed", args, answer),
    }
}

fn bulk_told(done: &str, args: &BulkArgs, answer: &Value) -> String {
    let number = |name: &str| answer[name].as_u64().unwrap_or(0);
    let (queue, state) = (args.queue.to_string(), args.state.text());
    if !args.yes {
        let matched = number("matched");
        let next = if matched > 0 { " Nothing has changed yet: add --yes to do it." } else { "" };
        return format!("{matched} {state} jobs of queue {queue} would be {done}.{next}");
    }
    let more = if number("matched") == args.limit { " There may be more: run it again." } else { "" };
    format!("{} {state} jobs of queue {queue} were {done}.{more}", number("changed"))
}

fn list(answer: &Value) -> String {
    let jobs = answer["jobs"].as_array().map_or(&[][..], Vec::as_slice);
    if jobs.is_empty() {
        return "No such jobs.".into();
    }
    let mut out =
        format!("{:<16} {:<16} {:<9} {:>7} {:<20} {}\n", "id", "queue", "state", "attempt", "enqueued", "why, or what");
    for job in jobs {
        let attempt = format!("{}/{}", job["attempt"], job["maxAttempts"]);
        let what = job["reason"].as_str().map_or_else(|| job["payload"].to_string(), str::to_owned);
        let what: String = what.chars().take(PAYLOAD_SHOWN).collect();
        let what = visible_line(&what);
        let [id, queue, state, at] = ["id", "queue", "state", "enqueuedAt"].map(|name| text(&job[name]));
        out += &format!("{id:<16} {queue:<16} {state:<9} {attempt:>7} {at:<20} {what}\n");
    }
    if let Some(next) = answer["next_cursor"].as_str() {
        out += &format!("\nmore with --cursor {next}");
    }
    out
}

fn show(job: &Value) -> String {
    let lines = job.as_object().into_iter().flatten().filter(|(name, _)| *name != "payload").map(|(name, value)| {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        format!("{name:<16} {}\n", visible_line(&value))
    });
    format!("{}\n{:#}", lines.collect::<String>(), job["payload"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_producers_wrote_does_not_reach_the_terminal_raw() {
        let job = json!({ "id": "1", "queue": "q", "state": "dead", "attempt": 1, "maxAttempts": 5, "enqueuedAt": "t",
            "reason": "\u{1b}[2Jgone\nid               2", "payload": { "a": "\u{9b}2J\u{202e}" } });
        let shown = visible(&show(&job)).into_owned();
        assert!(shown.contains(r"reason           \u001b[2Jgone\u000aid  "), "{shown}");
        assert!(shown.contains(r#""a": "\u009b2J\u202e""#), "{shown}");
        let listed = list(&json!({ "jobs": [job] }));
        assert!(listed.contains(r"\u001b[2Jgone\u000aid") && listed.lines().count() == 2, "{listed}");
    }
}
