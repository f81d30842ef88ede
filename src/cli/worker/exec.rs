//! One run of the owner's command: the payload on its standard input, the job's name in its environment, and how it ended.

use std::ffi::OsString;
use std::future::Future;
use std::io::Write;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStderr, ChildStdin, Command};

use super::gateway::Envelope;
use crate::config::{Kind, SETTINGS, Setting, names_in_environment};

/// The exit code that says that trying again is pointless: the job is dead at once. Others that fail are tried again.
pub const EXIT_DEAD: i32 = 100;

/// The part of the command's last line on stderr that is kept as the reason, in bytes.
const MAX_LINE: usize = 300;

/// How long what the command left in its pipes is read after it has ended. What it started and left behind may hold them open for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// What is run for every job.
#[derive(Debug, Clone)]
pub struct Recipe {
    command: String,
    /// Standard output of commands goes to our standard error, since ours holds JSON alone.
    quiet: bool,
    removed: Vec<OsString>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending {
    Good,
    /// Why, for the job's record.
    Failed(String),
    /// The same, with [`EXIT_DEAD`].
    Hopeless(String),
}

impl Recipe {
    pub fn new(command: &str, quiet: bool) -> Self {
        // Every secret there is: a worker may share its environment with a server, and commands need none of them.
        let secret = |setting: &&Setting| matches!(setting.kind, Kind::Secret | Kind::GeneratedSecret);
        let secrets: Vec<&str> = SETTINGS.iter().filter(secret).map(|setting| setting.name).collect();
        Self { command: command.to_owned(), quiet, removed: names_in_environment(&secrets) }
    }

    /// Runs the command for `job`, until it ends or `abort` does; then it is killed, with everything it started and did not detach.
    ///
    /// # Errors
    /// What `abort` gave.
    pub async fn run<E>(&self, job: &Envelope, abort: impl Future<Output = E>) -> Result<Ending, E> {
        let mut child = match self.start(job) {
            Ok(child) => child,
            Err(error) => return Ok(Ending::Failed(format!("the command cannot be started: {error}"))),
        };
        let mut group = Group::of(&child);
        let mut last = LastLine::default();
        let ended = {
            let pipes = (child.stdin.take(), child.stderr.take());
            let talk = async { tokio::join!(feed(pipes.0, job.payload.get()), listen(pipes.1, &mut last)) };
            tokio::pin!(talk);
            let mut heard = false;
            let wait = async {
                loop {
                    tokio::select! {
                        status = child.wait() => break status,
                        _ = &mut talk, if !heard => heard = true,
                    }
                }
            };
            let ended = tokio::select! { status = wait => Ok(status), why = abort => Err(why) };
            if ended.is_ok() && !heard {
                let _ = tokio::time::timeout(DRAIN, &mut talk).await;
            }
            ended
        };
        match ended {
            Ok(status) => {
                // What it left running on purpose is its own affair.
                group.0 = None;
                Ok(status.map_or_else(|error| Ending::Failed(error.to_string()), |status| ending(status, &last.text())))
            }
            Err(why) => {
                drop(group);
                let _ = child.wait().await;
                Err(why)
            }
        }
    }

    fn start(&self, job: &Envelope) -> std::io::Result<Child> {
        let mut command = Command::new("sh");
        command.arg("-c").arg(&self.command);
        command.stdin(Stdio::piped()).stderr(Stdio::piped());
        if self.quiet {
            command.stdout(std::io::stderr());
        }
        self.removed.iter().for_each(|name| {
            command.env_remove(name);
        });
        command.env("GRPS_JOB_ID", &job.id).env("GRPS_JOB_QUEUE", &job.queue);
        command.env("GRPS_JOB_ATTEMPT", job.attempt.to_string());
        // A group of its own: Ctrl-C reaches us alone, and a kill reaches all of it.
        command.process_group(0).kill_on_drop(true).spawn()
    }
}

/// The process group of a running command; killed when dropped.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?)))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = kill_process_group(pid, Signal::KILL);
        }
    }
}

/// A command need not read what it is given.
async fn feed(pipe: Option<ChildStdin>, payload: &str) {
    if let Some(mut pipe) = pipe {
        let _ = pipe.write_all(payload.as_bytes()).await;
    }
}

/// Passes stderr on and keeps its last line.
async fn listen(pipe: Option<ChildStderr>, last: &mut LastLine) {
    let Some(mut pipe) = pipe else { return };
    let mut buffer = [0; 4096];
    while let Ok(length @ 1..) = pipe.read(&mut buffer).await {
        let _ = std::io::stderr().lock().write_all(&buffer[..length]);
        last.take(&buffer[..length]);
    }
}

/// The last line that is not empty, as far as it fits.
#[derive(Default)]
struct LastLine {
    whole: Vec<u8>,
    begun: Vec<u8>,
}

impl LastLine {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' | b'\r' => {
                    if !self.begun.trim_ascii().is_empty() {
                        self.whole = std::mem::take(&mut self.begun);
                    }
                    self.begun.clear();
                }
                _ if self.begun.len() < MAX_LINE => self.begun.push(*byte),
                _ => {}
            }
        }
    }

    fn text(&self) -> String {
        let line = if self.begun.trim_ascii().is_empty() { &self.whole } else { &self.begun };
        String::from_utf8_lossy(line.trim_ascii()).chars().filter(|c| !c.is_control()).collect()
    }
}

fn ending(status: ExitStatus, last: &str) -> Ending {
    use std::os::unix::process::ExitStatusExt;
    let how = match (status.code(), status.signal()) {
        (Some(0), _) => return Ending::Good,
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    };
    let why = if last.is_empty() { how } else { format!("{how}: {last}") };
    if status.code() == Some(EXIT_DEAD) { Ending::Hopeless(why) } else { Ending::Failed(why) }
}

#[cfg(test)]
mod tests {
    use std::future::pending;

    use super::*;

    fn job(payload: &str) -> Envelope {
        let text = format!(
            r#"{{"id":"01","queue":"mail","attempt":2,"enqueuedAt":"t","leaseToken":"1.x","payload":{payload}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    async fn run(command: &str, payload: &str) -> Ending {
        Recipe::new(command, true).run(&job(payload), pending::<()>()).await.unwrap()
    }

    #[tokio::test]
    async fn the_command_sees_the_job_and_its_end_is_the_answer() {
        let sees =
            r#"test "$(cat)" = '{"a": 1}' && test "$GRPS_JOB_ID $GRPS_JOB_QUEUE $GRPS_JOB_ATTEMPT" = "01 mail 2""#;
        assert_eq!(run(sees, r#"{"a": 1}"#).await, Ending::Good);
        assert_eq!(
            run("echo first >&2; echo no luck >&2; exit 3", "{}").await,
            Ending::Failed("exit code 3: no luck".into())
        );
        assert_eq!(run("exit 1", "{}").await, Ending::Failed("exit code 1".into()));
        assert_eq!(
            run("echo bad input >&2; exit 100", "{}").await,
            Ending::Hopeless("exit code 100: bad input".into())
        );
        assert_eq!(run("kill -9 $$", "{}").await, Ending::Failed("killed by signal 9".into()));
    }

    #[tokio::test]
    async fn a_large_payload_that_is_not_read_holds_nothing_up() {
        let payload = format!(r#"{{"a":"{}"}}"#, "x".repeat(65_000));
        assert_eq!(run("exit 0", &payload).await, Ending::Good);
        assert_eq!(run("test $(wc -c) -gt 65000", &payload).await, Ending::Good);
    }

    #[tokio::test]
    async fn what_a_command_leaves_behind_is_not_waited_for() {
        let watch = crate::base::clock::Stopwatch::start();
        assert_eq!(run("sleep 7 & exit 0", "{}").await, Ending::Good);
        assert!(watch.elapsed() < Duration::from_secs(5));
    }

    #[tokio::test]
    async fn an_aborted_command_dies_with_all_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark");
        let command = format!("(sleep 1; touch {}) & wait", mark.display());
        let abort = tokio::time::sleep(Duration::from_millis(200));
        let watch = crate::base::clock::Stopwatch::start();
        assert_eq!(Recipe::new(&command, true).run(&job("{}"), abort).await, Err(()));
        assert!(watch.elapsed() < Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(1300)).await;
        assert!(!mark.exists(), "the grandchild lived on");
    }

    #[test]
    fn the_last_line_is_bounded_and_clean() {
        let mut last = LastLine::default();
        last.take(b"one\ntwo");
        last.take(b" three\n\n");
        assert_eq!(last.text(), "two three");
        last.take(&[b'x'; 10_000]);
        assert_eq!(last.text().len(), MAX_LINE);
        last.take(b"\n\x1b[31mred\xff\n");
        assert_eq!(last.text(), "[31mred\u{fffd}");
    }
}
