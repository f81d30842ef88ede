//! `grps decisions reject`: decisions by their ids, or all that is proposed and has something in common.

use clap::{ArgGroup, Args};
use poem::http::Method;
use serde_json::{Value, json};

use super::{Which, trimmed};
use crate::base::{Clock, Error, Result};
use crate::cli::session::{Session, segment, target, text};

/// Proposals on a page, and so in a call that rejects them: as many as the API takes at once.
const AT_ONCE: usize = 100;

/// Pages that one command reads at most; each call looks at some thousand decisions.
const MAX_PAGES: usize = 1_000;

/// What a preview keeps of a decision: enough for its line in a list.
const SHOWN: [&str; 9] = ["id", "at", "status", "userId", "action", "targetRank", "lifts", "reason", "blockedReason"];

#[derive(Args)]
#[command(group(
    ArgGroup::new("what").required(true).multiple(true).args(["ids", "since", "until", "user", "origin", "actor"])
))]
pub struct RejectArgs {
    /// Their ids, as `grps decisions list` shows them; without ids, all that is proposed and fits the options
    #[arg(conflicts_with_all = ["since", "until", "user", "origin", "actor", "dry_run"])]
    ids: Vec<String>,
    #[command(flatten)]
    which: Which,
    /// Why, for whoever looks at them
    #[arg(long, default_value = "")]
    reason: String,
    /// Only say what would be rejected
    #[arg(long)]
    dry_run: bool,
}

/// What came of rejecting all that fits.
#[derive(Debug, Default)]
pub struct Tally {
    pub found: usize,
    pub rejected: usize,
    /// What could not be rejected, and why.
    left: Vec<Value>,
    /// What was found, in a preview.
    decisions: Vec<Value>,
    /// Why there may be more.
    stopped: Option<Error>,
}

impl RejectArgs {
    pub fn by_id(&self) -> bool {
        !self.ids.is_empty()
    }

    pub async fn call(&self, session: &Session) -> Result<Value> {
        if self.by_id() {
            return send(session, &json!({ "ids": trimmed(&self.ids), "reason": self.reason })).await;
        }
        let tally = match self.dry_run {
            true => walk(session, &self.which, None).await?,
            false => all(session, &self.which, &self.reason).await?,
        };
        Ok(tally.answer(self.dry_run))
    }
}

/// Rejects all that is proposed and fits.
///
/// # Errors
/// Those of the first call. Later ones end the walk, and what was done until then is told.
pub async fn all(session: &Session, which: &Which, reason: &str) -> Result<Tally> {
    walk(session, which, Some(reason)).await
}

/// From page to page, newest first; each is settled before the next is read, so that little can happen between the two.
async fn walk(session: &Session, which: &Which, reason: Option<&str>) -> Result<Tally> {
    let now = Clock::system().now();
    let (mut tally, mut cursor) = (Tally::default(), None);
    for _ in 0..MAX_PAGES {
        match page(session, (which.asked(now), cursor), reason, &mut tally).await {
            Ok(None) => return Ok(tally),
            Ok(next) => cursor = next,
            Err(error) if tally.is_untouched() => return Err(error),
            Err(error) => return Ok(Tally { stopped: Some(error), ..tally }),
        }
    }
    let stopped = Error::too_large("cli.too_many", format!("there is more behind {MAX_PAGES} pages"));
    Ok(Tally { stopped: Some(stopped), ..tally })
}

type Asked = [(&'static str, Option<String>); 5];

/// One page; gives the cursor of the next.
async fn page(
    session: &Session,
    (asked, cursor): (Asked, Option<String>),
    reason: Option<&str>,
    tally: &mut Tally,
) -> Result<Option<String>> {
    let paging = [
        ("status", Some("proposed".to_owned())),
        ("limit", Some(AT_ONCE.to_string())),
        ("cursor", cursor.as_deref().map(segment)),
    ];
    let path = target("/automation/decisions", asked.into_iter().chain(paging));
    let mut page = session.call(Method::GET, &path, None).await?;
    let next = page["nextCursor"].as_str().map(str::to_owned);
    let found = page["decisions"].as_array_mut().map(std::mem::take).unwrap_or_default();
    match reason {
        None => tally.decisions.extend(found.iter().map(briefly)),
        Some(reason) if !found.is_empty() => {
            let ids: Vec<&Value> = found.iter().map(|one| &one["id"]).collect();
            // What somebody approved since the page was read is theirs.
            let body = json!({ "ids": ids, "reason": reason, "onlyProposed": true });
            tally.settle(&send(session, &body).await?);
        }
        Some(_) => {}
    }
    tally.found += found.len();
    Ok(next)
}

async fn send(session: &Session, body: &Value) -> Result<Value> {
    session.call(Method::POST, "/automation/decisions/reject", Some(body)).await
}

fn briefly(one: &Value) -> Value {
    SHOWN.into_iter().map(|name| (name.to_owned(), one[name].clone())).collect()
}

impl Tally {
    fn is_untouched(&self) -> bool {
        self.found == 0
    }

    /// Counts what came of one call.
    fn settle(&mut self, answer: &Value) {
        for one in answer["results"].as_array().into_iter().flatten() {
            match one["error"].is_null() {
                true => self.rejected += 1,
                false => self.left.push(json!({ "id": one["id"], "error": one["error"] })),
            }
        }
    }

    fn answer(self, dry_run: bool) -> Value {
        let stopped = self.stopped.map(|error| json!({ "code": error.code(), "detail": error.detail() }));
        let Self { found, rejected, left, decisions, .. } = self;
        let mut answer = json!({ "dryRun": dry_run, "found": found, "rejected": rejected, "stopped": stopped });
        match dry_run {
            true => answer["decisions"] = decisions.into(),
            false => answer["left"] = left.into(),
        }
        answer
    }
}

/// Whether all that was found was rejected, and all was found.
pub fn failed(answer: &Value) -> bool {
    let left = answer["left"].as_array().is_some_and(|left| !left.is_empty());
    left || answer["stopped"].is_object()
}

/// For people.
pub fn told(answer: &Value) -> String {
    let are = |count: u64| if count == 1 { "is" } else { "are" };
    let mut out = String::new();
    if answer["dryRun"] == true {
        out += &super::told::list(answer);
        out +=
            &format!("{} would be rejected. Nothing has changed yet: leave out --dry-run to do it.", answer["found"]);
    } else {
        let left = answer["left"].as_array().map_or(&[][..], Vec::as_slice);
        for one in left {
            out += &format!("{}  left: {}\n", text(&one["id"]), text(&one["error"]["detail"]));
        }
        let rejected = answer["rejected"].as_u64().unwrap_or_default();
        out += &format!("{rejected} {} rejected, {} {} left.", are(rejected), left.len(), are(left.len() as u64));
    }
    if let Some(why) = answer["stopped"]["detail"].as_str() {
        let again = if answer["dryRun"] == true { "" } else { " The same command again goes on." };
        out += &format!("\nThere may be more: {why}.{again}");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settled() -> Tally {
        let mut tally = Tally { found: 3, ..Tally::default() };
        let error = json!({ "code": "decisions.not_proposed", "detail": "decision 2 is queued" });
        let result = |id: &str, error: Value| json!({ "id": id, "error": error });
        tally.settle(&json!({ "results": [result("1", Value::Null), result("2", error), result("3", Value::Null)] }));
        tally
    }

    #[test]
    fn what_is_left_is_told_with_the_reason_and_fails() {
        let answer = settled().answer(false);
        assert!(failed(&answer));
        assert_eq!(told(&answer), "2  left: decision 2 is queued\n2 are rejected, 1 is left.");
        let whole = Tally { found: 1, rejected: 1, ..Tally::default() }.answer(false);
        assert!(!failed(&whole));
        assert_eq!(told(&whole), "1 is rejected, 0 are left.");
    }

    #[test]
    fn a_walk_that_stopped_tells_what_it_had_done_and_fails() {
        let stopped = Some(Error::remote("server.unreachable", "the running server does not answer"));
        let answer = Tally { left: Vec::new(), stopped, ..settled() }.answer(false);
        assert!(failed(&answer) && answer["stopped"]["code"] == "server.unreachable", "{answer}");
        let text = told(&answer);
        assert!(text.starts_with("2 are rejected, 0 are left.\nThere may be more: the running"), "{text}");
    }
}
