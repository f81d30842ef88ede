//! `grps jobs watch`: the queues every second, drawn in place on a terminal and line by line elsewhere. Rates are the differences of the
//! server's counters, which count what happened and not what is left.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use indicatif::{HumanCount, HumanDuration};
use poem::http::Method;
use serde_json::{Value, json};

use super::visible::{visible, visible_line};
use crate::base::clock::Stopwatch;
use crate::base::{Error, Result};
use crate::cli::serve::Stop;
use crate::cli::session::Session;
use crate::cli::{Common, write_out};
use crate::domains::jobs::QueueName;

/// The counter of what happens to jobs, as `/metrics` shows it.
const EVENTS: &str = "jobs_events_total{";

/// Where the cursor goes and what is wiped before each drawing: home, then everything below.
const REDRAW: &str = "\x1b[H\x1b[J";

/// How long one look may take.
const LOOK_DEADLINE: Duration = Duration::from_secs(10);

/// An empty screen to begin with.
const CLEAR: &str = "\x1b[2J";

#[derive(Args)]
pub struct WatchArgs {
    /// Only this queue
    #[arg(long)]
    queue: Option<QueueName>,
    /// Seconds between two looks
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
}

/// What entered and what left a queue.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Flow {
    came: f64,
    went: f64,
}

pub type Flows = BTreeMap<String, Flow>;

pub async fn run(args: &WatchArgs, common: &Common, session: &Session) -> Result<ExitCode> {
    if !session.is_remote() {
        return Err(Error::remote("server.not_running", "no server runs on this data directory, so nothing moves")
            .hint("start it with `grps serve`; `grps jobs queues` shows the queues as they are"));
    }
    let mut stop = Stop::listen()?;
    let screen = Screen { json: common.json, drawing: !common.json && std::io::stdout().is_terminal() };
    screen.begin();
    let mut last: Option<(Flows, Stopwatch)> = None;
    let mut shown = String::new();
    loop {
        let looked =
            tokio::select! { looked = look(session) => looked, () = stop.next() => return Ok(ExitCode::SUCCESS) };
        match looked {
            Ok((queues, flows)) => {
                let rates = last.as_ref().map(|(before, since)| rates(before, &flows, since.elapsed()));
                last = Some((flows, Stopwatch::start()));
                let mut rows = rows(&queues, rates.as_ref());
                rows.retain(|row| args.queue.as_ref().is_none_or(|queue| row["queue"] == queue.as_str()));
                shown = screen.show(&rows);
            }
            // Who cannot look at all is told why; who has been looking is watching for what happens next.
            Err(error) => match &last {
                None => return Err(error),
                Some((_, since)) => write_out(&screen.failure(&shown, &error, since.elapsed())),
            },
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(args.every)) => {}
            () = stop.next() => return Ok(ExitCode::SUCCESS),
        }
    }
}

/// One look at the queues and at what the server has counted.
async fn look(session: &Session) -> Result<(Value, Flows)> {
    let looking = async {
        let queues = session.call(Method::GET, "/admin/api/queues", None).await?;
        Ok((queues, read_flows(&session.text("/metrics").await?)))
    };
    let late = |_| Err(Error::remote("server.unreachable", "the running server does not answer in time"));
    tokio::time::timeout(LOOK_DEADLINE, looking).await.unwrap_or_else(late)
}

/// How what is watched is written: JSON a line each, drawn in place, or as lines.
struct Screen {
    json: bool,
    drawing: bool,
}

impl Screen {
    fn begin(&self) {
        if self.drawing {
            write_out(CLEAR);
        }
    }

    /// Shows the queues; gives what is to stay in sight when the next look fails.
    fn show(&self, rows: &[Value]) -> String {
        let text = match (self.json, self.drawing) {
            (true, _) => json!({ "queues": rows }).to_string() + "\n",
            (false, true) => table(rows, true),
            (false, false) => lines(rows),
        };
        let text = visible(&text).into_owned();
        write_out(&if self.drawing { format!("{REDRAW}{text}\nCtrl-C ends this.\n") } else { text.clone() });
        text
    }

    /// What is shown when a look failed. `seen`: what the last good one showed, `age` ago.
    fn failure(&self, seen: &str, error: &Error, age: Duration) -> String {
        let age = age.as_secs();
        let text = format!("no news for {age} s: {}; trying again", error.detail());
        let text = match (self.json, self.drawing) {
            (true, _) => {
                let error = json!({ "code": error.code(), "detail": error.detail() });
                return visible(&format!("{}\n", json!({ "error": error, "ageSeconds": age }))).into_owned();
            }
            (false, true) => format!("{REDRAW}{seen}\n{}\nCtrl-C ends this.", visible_line(&text)),
            (false, false) => visible_line(&text).into_owned(),
        };
        text + "\n"
    }
}

/// The queues of an answer, with rates a second where they are known.
pub fn rows(answer: &Value, rates: Option<&Flows>) -> Vec<Value> {
    let queues = answer["queues"].as_array().cloned().unwrap_or_default();
    let with_rates = |mut row: Value| {
        let queue = row["queue"].as_str().unwrap_or_default();
        if let Some(rates) = rates {
            let (came, went) = rates.get(queue).map_or((0.0, 0.0), |rate| (rate.came, rate.went));
            (row["inPerSecond"], row["outPerSecond"]) = (came.into(), went.into());
        }
        row
    };
    queues.into_iter().map(with_rates).collect()
}

/// A table for people. The one that is watched has rates, with room for them before they are known, and fits a terminal of 80 columns.
pub fn table(rows: &[Value], watched: bool) -> String {
    if rows.is_empty() {
        return "No queues: nothing has been put in yet.\n".into();
    }
    let columns: &[&str] = match watched {
        true => &["ready", "waiting", "leased", "done", "dead"],
        false => &["ready", "waiting", "leased", "delivered", "done", "dead", "expired"],
    };
    let mut out = format!("{:<16}", "queue");
    columns.iter().for_each(|name| out += &format!(" {name:>7}"));
    out += &format!(" {:>7}", "oldest");
    out += if watched { "  in/s out/s\n" } else { "\n" };
    for row in rows {
        out += &format!("{:<16}", row["queue"].as_str().unwrap_or_default());
        for name in columns {
            let count = HumanCount(row[*name].as_u64().unwrap_or(0)).to_string();
            out += &format!(" {count:>width$}", width = name.len().max(7));
        }
        out += &format!(" {:>7}", oldest(row));
        if watched {
            out += &format!(" {:>5} {:>5}", rate(&row["inPerSecond"]), rate(&row["outPerSecond"]));
        }
        out.push('\n');
    }
    out
}

/// A line a queue, for logs and pipes.
fn lines(rows: &[Value]) -> String {
    let line = |row: &Value| {
        let count = |name: &str| row[name].as_u64().unwrap_or(0);
        format!(
            "{}: ready {}, waiting {}, leased {}, delivered {}, done {}, dead {}, oldest {}, in {}/s, out {}/s\n",
            row["queue"].as_str().unwrap_or_default(),
            count("ready"),
            count("waiting"),
            count("leased"),
            count("delivered"),
            count("done"),
            count("dead"),
            oldest(row),
            rate(&row["inPerSecond"]),
            rate(&row["outPerSecond"]),
        )
    };
    rows.iter().map(line).collect()
}

fn oldest(row: &Value) -> String {
    row["oldestReadySeconds"]
        .as_u64()
        .map_or("–".into(), |age| format!("{:#}", HumanDuration(Duration::from_secs(age))))
}

fn rate(value: &Value) -> String {
    value.as_f64().map_or("–".into(), |rate| if rate < 10.0 { format!("{rate:.1}") } else { format!("{rate:.0}") })
}

/// Reads what came and went from the text of `/metrics`.
fn read_flows(metrics: &str) -> Flows {
    let mut flows = Flows::new();
    for line in metrics.lines() {
        let Some((_, rest)) = line.split_once(EVENTS) else { continue };
        let Some((labels, count)) = rest.split_once('}') else { continue };
        let label = |name: &str| {
            labels.split(',').find_map(|label| label.strip_prefix(name)?.strip_prefix("=\"")?.strip_suffix('"'))
        };
        let (Some(queue), Some(event), Ok(count)) = (label("queue"), label("event"), count.trim().parse::<f64>())
        else {
            continue;
        };
        let flow = flows.entry(queue.to_owned()).or_default();
        match event {
            "enqueued" | "requeued" => flow.came += count,
            "acked" | "delivered" => flow.went += count,
            _ => {}
        }
    }
    flows
}

/// Per second, between two looks. After a restart counters begin at nothing: what they show then is what has happened since.
fn rates(before: &Flows, now: &Flows, passed: Duration) -> Flows {
    let rate =
        |now: f64, before: f64| (if now < before { now } else { now - before }) / passed.as_secs_f64().max(0.001);
    let one = |(queue, now): (&String, &Flow)| {
        let before = before.get(queue).copied().unwrap_or_default();
        (queue.clone(), Flow { came: rate(now.came, before.came), went: rate(now.went, before.went) })
    };
    now.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const METRICS: &str = "# TYPE grps_jobs_events counter\n\
        grps_jobs_events_total{queue=\"mail\",event=\"enqueued\"} 12\n\
        grps_jobs_events_total{queue=\"mail\",event=\"acked\"} 5\n\
        grps_jobs_events_total{queue=\"mail\",event=\"delivered\"} 1\n\
        grps_jobs_events_total{queue=\"mail\",event=\"leased\"} 9\n\
        grps_other_total{queue=\"mail\"} 7\n";

    #[test]
    fn rates_are_differences_over_time() {
        let before = Flows::from([("mail".to_owned(), Flow { came: 2.0, went: 6.0 })]);
        let now = read_flows(METRICS);
        assert_eq!(now["mail"], Flow { came: 12.0, went: 6.0 });
        assert_eq!(rates(&before, &now, Duration::from_secs(2))["mail"], Flow { came: 5.0, went: 0.0 });
        let restarted =
            rates(&Flows::from([("mail".to_owned(), Flow { came: 90.0, went: 90.0 })]), &now, Duration::from_secs(1));
        assert_eq!(restarted["mail"], Flow { came: 12.0, went: 6.0 });
    }

    #[test]
    fn a_look_that_failed_is_shown_below_what_was_seen() {
        let error = Error::remote("server.unreachable", "it is \u{9b}away");
        let told = |json, drawing| Screen { json, drawing }.failure("a table\n", &error, Duration::from_secs(7));
        assert_eq!(told(false, false), "no news for 7 s: it is \\u009baway; trying again\n");
        assert!(told(false, true).contains("a table\n\nno news for 7 s"), "{}", told(false, true));
        let line: Value = serde_json::from_str(&told(true, false)).unwrap();
        assert_eq!((&line["error"]["code"], &line["ageSeconds"]), (&json!("server.unreachable"), &json!(7)));
    }

    #[test]
    fn a_queue_is_a_row_and_a_line() {
        let answer = json!({ "queues": [{ "queue": "mail", "waiting": 1, "ready": 12345, "leased": 2, "delivered": 0, "done": 3, "dead": 4,
            "expired": 0, "oldestReadySeconds": 61 }] });
        let rates = Flows::from([("mail".to_owned(), Flow { came: 5.25, went: 120.0 })]);
        let rows = rows(&answer, Some(&rates));
        let drawn = table(&rows, true);
        assert!(drawn.contains("12,345") && drawn.contains("5.2") && drawn.contains("120"), "{drawn}");
        assert!(drawn.lines().all(|line| line.chars().count() <= 80), "{drawn}");
        assert!(lines(&rows).starts_with("mail: ready 12345, waiting 1, leased 2,"), "{}", lines(&rows));
        assert!(table(&[], true).contains("No queues"));
    }
}
