//! Rounds of damage, in processes of their own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use grps::base::clock::Stopwatch;
use serde::{Deserialize, Serialize};

use super::both;
use super::template::{Aside, Damage, Kept, Template};
use crate::durability::check::{After, Seen, open_and_look};
use crate::durability::child::this_test;
use crate::durability::{in_memory, to_keep};

/// How long one round may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Processes that work on rounds side by side.
const WORKERS: u64 = 2;
/// Every how manyth round opens the repaired store once more.
const AGAIN: u64 = 5;
/// What a worker finds its orders in.
const ORDERS: &str = "GRPS_DURABILITY_DAMAGE";
/// The test that rounds run in.
const TEST: &str = "durability::damage::rounds::a_process_for_rounds";
/// What a store says that cannot be repaired.
const BEYOND_REPAIR: &str = "store.beyond_repair";

/// Rounds for one process.
#[derive(Clone, Serialize, Deserialize)]
pub struct Orders {
    pub templates: Vec<Aside>,
    pub seed: u64,
    /// Rounds `from`, `from + step`, … below `to`.
    pub from: u64,
    pub step: u64,
    pub to: u64,
    pub both: bool,
    pub out: PathBuf,
    /// Where stores that are not right are kept.
    pub kept: PathBuf,
}

/// What a damaged store came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Verdict {
    /// Everything acknowledged is there.
    Right,
    /// It is what it was after some group, not before the last backup; which groups are gone is said.
    Restored,
    /// Opening was refused as it must be: both copies are beyond repair, and there is no backup.
    Refused,
    /// The process ended before sled had synced the last groups, and both copies of the journal were damaged where these stood, in the same
    /// place: nothing is left that knew of them. All before them is there.
    Vanished,
    /// Rows are wrong, missing or taken back, and it is not said, or wrongly.
    Silent,
    /// Opening or reading was refused for no good reason.
    Denied,
    /// The store panicked, hung or took the process down.
    Panicked,
}

/// What came of a round.
#[derive(Debug, Serialize, Deserialize)]
struct Outcome {
    round: u64,
    /// What was damaged how.
    what: String,
    part: String,
    verdict: Verdict,
    seen: Seen,
    /// The second opening, if there was one.
    again: Option<Seen>,
}

fn judge(aside: &Aside, what: &str, seen: &Seen) -> Verdict {
    if seen.panicked.is_some() {
        return Verdict::Panicked;
    }
    if let Some(why) = &seen.unopened {
        let hopeless = why.contains(BEYOND_REPAIR) && aside.backed_up.is_none();
        return if hopeless { Verdict::Refused } else { Verdict::Denied };
    }
    if !seen.is_whole() {
        return if seen.errors > 0 { Verdict::Denied } else { Verdict::Silent };
    }
    match (seen.report.lost, &*seen.report.outcome) {
        (None, outcome) if outcome != "Restored" && seen.lost == 0 => Verdict::Right,
        (Some((from, _)), "Restored") => {
            let state = aside.after(from - 1) == Some(&seen.counts);
            let backed_up = aside.backed_up.is_none_or(|backup| from > backup);
            if state && backed_up { Verdict::Restored } else { Verdict::Silent }
        }
        (None, outcome) if outcome != "Restored" && !aside.closed && what.contains(both::SAME_PLACE) => {
            let unsettled = (aside.settled()..aside.last()).any(|seq| aside.after(seq) == Some(&seen.counts));
            if unsettled { Verdict::Vanished } else { Verdict::Silent }
        }
        _ => Verdict::Silent,
    }
}

/// A file: any one, or one where most of the bytes are.
fn choose<'a>(files: &[&'a Kept], rng: &mut fastrand::Rng) -> &'a Kept {
    let mut at = rng.usize(0..files.iter().map(|kept| kept.weight()).sum::<usize>().max(1));
    let by_size = files.iter().find(|kept| {
        let here = at < kept.weight();
        at = at.saturating_sub(kept.weight());
        here
    });
    if rng.bool() { by_size } else { None }.unwrap_or_else(|| rng.choice(files).unwrap())
}

/// Damages one copy, mostly once; says which and how.
fn spoil_one(place: &Path, template: &Template, rng: &mut fastrand::Rng) -> (String, String) {
    let parts = template.parts();
    let names: Vec<_> = parts.keys().copied().collect();
    let part = *rng.choice(&names).unwrap();
    let mut what = String::new();
    for _ in 0..[1, 1, 1, rng.u8(2..6)][rng.usize(0..4)] {
        let kept = choose(&parts[part], rng);
        let damage = Damage::any(kept, rng);
        damage.apply(&place.join(&kept.path));
        what += &format!(" {} of {} bytes {damage:?}", kept.path.display(), kept.length);
    }
    (part.to_owned(), what)
}

/// Works on rounds, writing a line before each and one after.
fn work(orders: &Orders) {
    let templates: Vec<_> = orders.templates.iter().map(|aside| (aside, Template::load(&aside.data))).collect();
    let mut out = File::options().append(true).create(true).open(&orders.out).unwrap();
    for round in (orders.from..orders.to).step_by(orders.step as usize) {
        let mut rng = fastrand::Rng::with_seed(orders.seed ^ round.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        // Not `round % templates`, which each of the processes would see one half of.
        let (aside, template) = rng.choice(&templates).unwrap();
        let place = in_memory();
        template.put(place.path());
        let same = rng.clone();
        let spoil = |place: &Path, rng: &mut fastrand::Rng| match orders.both {
            true => ("both".to_owned(), both::spoil(place, template, rng)),
            false => spoil_one(place, template, rng),
        };
        let (part, what) = spoil(place.path(), &mut rng);
        let mut what = format!("{}: {what}", aside.name);
        writeln!(out, "start {}", serde_json::to_string(&(round, &part, &what)).unwrap()).unwrap();
        let after = if rng.bool() { After::Close } else { After::Drop };
        let seen = open_and_look(place.path(), &aside.plan, &aside.acked, after);
        let verdict = judge(aside, &what, &seen);
        let is_good = verdict <= if orders.both { Verdict::Vanished } else { Verdict::Right };
        if let Some(kept) = (!is_good).then(|| to_keep(&orders.kept, &format!("round-{round}"))).flatten() {
            template.put(&kept);
            spoil(&kept, &mut same.clone());
            what += &format!(" {kept:?}");
        }
        let again = ((round / WORKERS).is_multiple_of(AGAIN) && seen.is_whole())
            .then(|| open_and_look(place.path(), &aside.plan, &seen.counts, after));
        let outcome = Outcome { round, what, part, verdict, seen, again };
        writeln!(out, "end {}", serde_json::to_string(&outcome).unwrap()).unwrap();
    }
}

/// Runs all rounds in processes that may end or hang.
pub fn run(orders: &Orders, scratch: &Path) -> Counts {
    let mut counts = Counts::default();
    let worker = |worker: u64| {
        let out = scratch.join(format!("out-{worker}"));
        let mut orders = Orders { from: worker, step: WORKERS, out, ..orders.clone() };
        let mut counts = Counts::default();
        while orders.from < orders.to {
            orders.from = one_process(&orders, scratch, &mut counts) + WORKERS;
        }
        counts
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS).map(|index| scope.spawn(move || worker(index))).collect();
        workers.into_iter().for_each(|done| counts.add(done.join().unwrap()));
    });
    counts
}

/// Runs one process until it ends or hangs. The last round that is done with then.
fn one_process(orders: &Orders, scratch: &Path, counts: &mut Counts) -> u64 {
    let _ = fs::remove_file(&orders.out);
    // Too much for an environment.
    let file = orders.out.with_extension("orders");
    fs::write(&file, serde_json::to_string(orders).unwrap()).unwrap();
    let mut child = this_test(TEST, &scratch.join("log")).env(ORDERS, file).spawn().unwrap();
    let (mut length, mut watch) = (0, Stopwatch::start());
    let ended = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break Some(status);
        }
        let now = fs::metadata(&orders.out).map_or(0, |info| info.len());
        if now > length {
            (length, watch) = (now, Stopwatch::start());
        }
        if watch.elapsed() > PATIENCE {
            child.kill().unwrap();
            child.wait().unwrap();
            break None;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let text = fs::read_to_string(&orders.out).unwrap_or_default();
    let mut open: Option<(u64, String, String)> = None;
    let mut last = orders.to;
    for line in text.lines() {
        if let Some(start) = line.strip_prefix("start ") {
            open = Some(serde_json::from_str(start).unwrap());
        } else if let Some(end) = line.strip_prefix("end ") {
            counts.count(&serde_json::from_str(end).unwrap(), orders.both);
            open = None;
        }
    }
    if let Some((round, part, what)) = open {
        let how = ended.map_or("it hung".to_owned(), |status| format!("the process ended: {status}"));
        counts.died(round, &part, &what, &how);
        last = round;
    } else {
        assert!(ended.is_some_and(|status| status.success()), "{}", fs::read_to_string(scratch.join("log")).unwrap());
    }
    last
}

/// What came of all rounds.
#[derive(Default)]
pub struct Counts {
    parts: BTreeMap<String, u64>,
    verdicts: BTreeMap<Verdict, u64>,
    outcomes: BTreeMap<String, u64>,
    /// Stores that were not right when they were opened once more.
    again: u64,
    findings: Vec<String>,
}

impl Counts {
    fn count(&mut self, outcome: &Outcome, both: bool) {
        *self.parts.entry(outcome.part.clone()).or_default() += 1;
        *self.verdicts.entry(outcome.verdict).or_default() += 1;
        let seen = &outcome.seen;
        if !seen.report.outcome.is_empty() {
            *self.outcomes.entry(seen.report.outcome.to_lowercase()).or_default() += 1;
        }
        if outcome.verdict > if both { Verdict::Vanished } else { Verdict::Right } {
            self.findings.push(format!("round {}: {:?}: {}: {seen:?}", outcome.round, outcome.verdict, outcome.what));
        }
        if let Some(again) = outcome.again.as_ref().filter(|again| !again.is_right()) {
            self.again += 1;
            self.findings.push(format!("round {}: {}: opened once more: {again:?}", outcome.round, outcome.what));
        }
    }

    fn died(&mut self, round: u64, part: &str, what: &str, how: &str) {
        *self.parts.entry(part.to_owned()).or_default() += 1;
        *self.verdicts.entry(Verdict::Panicked).or_default() += 1;
        self.findings.push(format!("round {round}: {what}: {how}"));
    }

    fn add(&mut self, other: Self) {
        let sum = |into: &mut BTreeMap<String, u64>, from: BTreeMap<String, u64>| {
            from.into_iter().for_each(|(name, count)| *into.entry(name).or_default() += count);
        };
        sum(&mut self.parts, other.parts);
        sum(&mut self.outcomes, other.outcomes);
        other.verdicts.into_iter().for_each(|(verdict, count)| *self.verdicts.entry(verdict).or_default() += count);
        self.again += other.again;
        self.findings.extend(other.findings);
    }

    pub fn of(&self, verdict: Verdict) -> u64 {
        self.verdicts.get(&verdict).copied().unwrap_or(0)
    }

    pub fn text(&self, both: bool) -> String {
        let list = |map: &BTreeMap<String, u64>| {
            map.iter().map(|(name, count)| format!("{name} {count}")).collect::<Vec<_>>().join(", ")
        };
        let stated = if both {
            let [restored, refused, vanished] =
                [Verdict::Restored, Verdict::Refused, Verdict::Vanished].map(|verdict| self.of(verdict));
            format!(
                "{restored} restored with the gap stated, {refused} refused for want of a backup, {vanished} without the last groups as nothing \
                 was left that knew of them, "
            )
        } else {
            String::new()
        };
        format!(
            "{} rounds ({}), {} with every row right, {stated}{} silently wrong, {} refused, {} panics or hangs, {} wrong when opened again; {}",
            self.parts.values().sum::<u64>(),
            list(&self.parts),
            self.of(Verdict::Right),
            self.of(Verdict::Silent),
            self.of(Verdict::Denied),
            self.of(Verdict::Panicked),
            self.again,
            list(&self.outcomes),
        )
    }

    pub fn assert_right(&self) {
        assert!(
            self.findings.is_empty(),
            "{} findings: {:#?}",
            self.findings.len(),
            &self.findings[..self.findings.len().min(8)]
        );
    }
}

/// With orders this is a process that works on rounds.
#[test]
fn a_process_for_rounds() {
    if let Some(orders) = std::env::var_os(ORDERS) {
        work(&serde_json::from_slice(&fs::read(orders).unwrap()).unwrap());
    }
}
