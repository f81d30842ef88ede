//! Starts this test binary again: as the process that works on a store, whose word on what happened is read here, or as root with mounts of
//! its own, which vanish with the process.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use grps::base::clock::Stopwatch;

use super::chores::Chore;
use super::workload::{ORDERS, OpeningReport, Orders, Plan, Step, settings};

/// How long a child may take for anything it is waited for.
const PATIENCE: Duration = Duration::from_secs(60);
/// The test that works on a store when it is given orders.
const TEST: &str = "durability::workload::an_undisturbed_run_checks_out";

/// A child at work; killed when dropped.
pub struct Worker {
    child: Child,
    log: PathBuf,
}

/// A command that runs one test of this binary, with its output in `log`.
pub fn this_test(test: &str, log: &Path) -> Command {
    let mut command = Command::new("sh");
    // A write past the limit on file sizes is to be an error, not the end of the process.
    command.args(["-c", "trap '' XFSZ; exec \"$@\"", "sh"]).arg(std::env::current_exe().unwrap());
    let log = File::options().append(true).create(true).open(log).unwrap();
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    command
}

impl Worker {
    /// Starts a child on `orders`; `prepare` may change how.
    pub fn start(orders: &Orders, prepare: impl FnOnce(&mut Command)) -> Self {
        let log = orders.acks.with_extension("log");
        let mut command = this_test(TEST, &log);
        command.env(ORDERS, serde_json::to_string(orders).unwrap());
        prepare(&mut command);
        Self { child: command.spawn().unwrap(), log }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn kill(&mut self) {
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }

    /// Whether it ended by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it ends by itself.
    pub fn finish(&mut self) -> ExitStatus {
        until("the child ends", || self.ended())
    }

    /// What it printed, for the message of a test that fails.
    pub fn printed(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Asks again until there is an answer.
pub fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let watch = Stopwatch::start();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(watch.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// What the children of one data directory said, over all their lives.
#[derive(Default)]
pub struct Acks {
    path: PathBuf,
    read: u64,
    rest: String,
    /// The last acknowledged commit of each writer.
    pub last: Vec<u64>,
    /// Children that began to open the store.
    pub opening: u64,
    /// What those said of it that opened the store.
    pub opened: Vec<OpeningReport>,
    /// Commits that were answered with an error: writer, number, code and message.
    pub refused: Vec<String>,
    /// Commits that were answered with an error and happened all the same.
    pub ghosts: Vec<String>,
    /// Reads beside a refused commit that failed or showed another counter.
    pub misread: Vec<String>,
    /// Times a writer read all its rows, and times that was answered with an error.
    pub verified: u64,
    pub unread: u64,
    /// Reads beside a refused commit that were told to wait for a repair.
    pub waited: u64,
    /// Why children could not open the store.
    pub unopened: Vec<String>,
    /// Upkeep that was done, by its name.
    pub chores: BTreeMap<String, u64>,
    /// Upkeep that was not: its name, the code and the message.
    pub failed: Vec<String>,
    /// Every group that was told of, with each writer's counter after it.
    pub groups: Vec<(u64, Vec<u64>)>,
}

impl Acks {
    pub fn new(path: &Path, plan: &Plan) -> Self {
        Self { path: path.into(), last: vec![0; plan.writers as usize], ..Self::default() }
    }

    /// Acknowledged commits.
    pub fn total(&self) -> u64 {
        self.last.iter().sum()
    }

    /// Counts what an opened store showed as acknowledged: it must not take it back.
    pub fn expect(&mut self, counts: &[u64]) {
        self.last.iter_mut().zip(counts).for_each(|(last, &count)| *last = count.max(*last));
    }

    /// Reads what was said since the last time.
    pub fn poll(&mut self) {
        let Ok(mut file) = File::open(&self.path) else { return };
        let mut new = String::new();
        file.seek(SeekFrom::Start(self.read)).unwrap();
        self.read += file.read_to_string(&mut new).unwrap() as u64;
        self.take(&new);
    }

    /// Takes in some text of such a file.
    pub fn take(&mut self, text: &str) {
        self.rest.push_str(text);
        let Some(end) = self.rest.rfind('\n') else { return };
        let whole: String = self.rest.drain(..=end).collect();
        whole.lines().for_each(|line| self.line(line));
    }

    fn line(&mut self, line: &str) {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "ack" => {
                let (writer, n) = rest.split_once(' ').unwrap();
                let last = &mut self.last[writer.parse::<usize>().unwrap()];
                *last = (*last).max(n.parse().unwrap());
            }
            "opening" => self.opening += 1,
            "opened" => self.opened.push(serde_json::from_str(rest).unwrap()),
            "verified" => self.verified += 1,
            "unread" => self.unread += 1,
            "waited" => self.waited += 1,
            "chore" => *self.chores.entry(rest.to_owned()).or_default() += 1,
            "failed" => self.failed.push(rest.to_owned()),
            "group" => self.group(rest),
            "refused" => self.refused.push(rest.to_owned()),
            "misread" => self.misread.push(rest.to_owned()),
            "ghost" => self.ghosts.push(rest.to_owned()),
            "unopened" => self.unopened.push(rest.to_owned()),
            "done" => {}
            other => panic!("a child said {other:?}"),
        }
    }

    fn group(&mut self, text: &str) {
        let mut counts = self.groups.last().map_or_else(|| vec![0; self.last.len()], |(_, counts)| counts.clone());
        let mut words = text.split(' ');
        let seq = words.next().unwrap().parse().unwrap();
        for (writer, n) in words.map(|word| word.split_once(':').unwrap()) {
            counts[writer.parse::<usize>().unwrap()] = n.parse().unwrap();
        }
        self.groups.push((seq, counts));
    }

    /// What was wrong with openings: none may say that something is gone, and upkeep has no reason to fail. Being outrun is none.
    pub fn complaints(&self) -> Vec<String> {
        let unopened = self.unopened.iter().map(|why| format!("a child could not open the store: {why}"));
        let short = self.opened.iter().filter(|report| !report.is_complete());
        let failed = self.failed.iter().filter(|failed| failed.split(' ').nth(1) != Some("store.contended"));
        let failed = failed.map(|failed| format!("upkeep failed: {failed}"));
        unopened.chain(short.map(|report| format!("a child lost something: {report:?}"))).chain(failed).collect()
    }

    /// `3 Checkpoint, 2 Backup`.
    pub fn chores_done(&self) -> String {
        let done: Vec<_> = self.chores.iter().map(|(name, count)| format!("{count} {name}")).collect();
        if done.is_empty() { "no upkeep".to_owned() } else { done.join(", ") }
    }

    /// Waits until one more child than `before` begins to open the store.
    pub fn wait_opening(&mut self, before: u64) {
        until("the child begins to open the store", || {
            self.poll();
            (self.opening > before).then_some(())
        });
    }

    /// Waits until one more child than `before` has opened the store.
    pub fn wait_open(&mut self, worker: &mut Worker, before: usize) {
        until("the child opens the store", || {
            self.poll();
            let ended = worker.ended();
            assert!(
                ended.is_none() || self.opened.len() > before,
                "{ended:?} {:?}\n{}",
                self.unopened,
                worker.printed()
            );
            (self.opened.len() > before).then_some(())
        });
    }
}

/// A folder with a data directory and its acknowledgements.
pub struct Site {
    pub orders: Orders,
    pub acks: Acks,
}

impl Site {
    /// `data` is worked on; the acknowledgements stand in `beside`.
    pub fn new(data: PathBuf, beside: &Path, plan: Plan) -> Self {
        let path = beside.join("acks");
        let acks = Acks::new(&path, &plan);
        let steps = vec![Step::Commit(None)];
        let orders = Orders {
            data,
            acks: path,
            plan,
            settings: settings(),
            steps,
            close: true,
            chore: Chore::None,
            verify: false,
        };
        Self { orders, acks }
    }

    /// Runs a child that ends by itself after `steps`, closing the store or not.
    pub fn run_to_end(&mut self, steps: &[Step], close: bool, prepare: impl FnOnce(&mut Command)) {
        let orders = Orders { steps: steps.to_vec(), close, ..self.orders.clone() };
        let mut worker = Worker::start(&orders, prepare);
        let status = worker.finish();
        assert!(status.success(), "{status:?}\n{}", worker.printed());
        self.acks.poll();
    }
}

/// Set in the process that has root and its own mounts.
const INSIDE: &str = "GRPS_DURABILITY_INSIDE";
/// Leaves these campaigns out, and says so.
const WITHOUT: &str = "GRPS_WITHOUT_ROOT";
/// The programs that are called.
const TOOLS: &[(&str, &str)] = &[
    ("unshare", "util-linux"),
    ("fsfreeze", "util-linux"),
    ("mount", "mount"),
    ("losetup", "mount"),
    ("mkfs.ext4", "e2fsprogs"),
];

/// Runs `inside` as root with mounts of its own: here if this is that process already, else by starting `test` again.
///
/// # Panics
/// When there is no way to become root, with what to do about it; unless `GRPS_WITHOUT_ROOT=1` says to go without.
pub fn as_root(test: &str, inside: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let how = match obstacle() {
        Ok(how) => how,
        Err(why) if std::env::var(WITHOUT).is_ok_and(|value| value == "1") => {
            return super::say(&format!("{test}: NOT RUN, as {WITHOUT}=1 allows: {why}"));
        }
        Err(why) => panic!(
            "{test} mounts file systems and needs root for it: {why}\nRun it as root or with a sudo that asks no password, or set \
             {WITHOUT}=1 to go without and have that said."
        ),
    };
    let mut command = Command::new(how[0]);
    command.args(&how[1..]).arg("env").arg(format!("{INSIDE}=1"));
    for name in ["GRPS_CAMPAIGN", "GRPS_CAMPAIGN_SEED", "PATH", "RUST_BACKTRACE"] {
        command.args(std::env::var(name).ok().map(|value| format!("{name}={value}")));
    }
    command.args(["unshare", "--mount"]).arg(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--nocapture", "--test-threads=1"]);
    let status = command.stdin(Stdio::null()).stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{test} as root: {status}");
}

/// How to become root; else what is missing.
fn obstacle() -> Result<&'static [&'static str], String> {
    let missing: Vec<_> = TOOLS.iter().filter(|(tool, _)| !is_there(tool)).collect();
    if !missing.is_empty() {
        let (tools, packages): (Vec<_>, Vec<_>) = missing.iter().map(|(tool, package)| (*tool, *package)).unzip();
        return Err(format!("{} not found; `apt-get install {}`", tools.join(", "), packages.join(" ")));
    }
    // `env` stands for nothing: it makes both ways one shape.
    let ways: [&'static [&'static str]; 2] = [&["env"], &["sudo", "-n"]];
    let works = |way: &[&str]| {
        let mut probe = Command::new(way[0]);
        probe.args(&way[1..]).args(["unshare", "--mount", "mount", "-t", "tmpfs", "none", "/mnt"]);
        probe
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    let way = ways.into_iter().find(|way| works(way));
    way.ok_or_else(|| "neither this user nor `sudo -n` may mount in a namespace of its own".to_owned())
}

fn is_there(tool: &str) -> bool {
    let path = std::env::var("PATH").unwrap_or_default();
    path.split(':').chain(["/usr/sbin", "/sbin"]).any(|folder| Path::new(folder).join(tool).exists())
}

/// Runs a command that has to succeed.
pub fn run(program: &str, arguments: &[&str]) {
    let done = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let done = done.unwrap_or_else(|error| panic!("{program} {arguments:?}: {error}"));
    assert!(done.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
}
