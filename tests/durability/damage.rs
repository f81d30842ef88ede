//! Damaged bytes: a store that was put aside is copied, one of its files is damaged, and it is opened and read in full.
//!
//! A store keeps two copies of everything; see [`part_of`] for which file belongs to which. Damage to one copy has to be repaired without a
//! trace, damage to both has to be noticed, restored as far as there is a backup, and said.
//!
//! The rounds run in processes of their own, since damage may well make a library loop for ever, eat all memory or abort: whoever does not
//! finish a round is ended, and that counts.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use grps::base::clock::Stopwatch;
use serde::{Deserialize, Serialize};

use super::check::{After, Seen, open_and_look};
use super::child::{Site, this_test};
use super::powercut::{boot, boot_id};
use super::workload::Plan;
use super::{Campaign, files_below, in_memory, on_disk, to_keep};

/// Bytes that a page damage zeroes, and the unit in which stores are kept in memory.
const PAGE: usize = 4096;
/// How long one round may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// Processes that work on rounds side by side.
const WORKERS: u64 = 2;
/// Every how manyth round opens the repaired store once more.
const AGAIN: u64 = 5;
/// The folder of the data directory that is damaged.
const STORE: &str = "store";
/// What a worker finds its orders in.
const ORDERS: &str = "GRPS_DURABILITY_DAMAGE";
/// The test that rounds run in.
const TEST: &str = "durability::damage::damage_is_where_it_was_meant_to_be";

/// Which copy a file of the store belongs to, by its path in there; none for what nobody reads again.
fn part_of(path: &Path) -> Option<&'static str> {
    let text = path.to_str().unwrap();
    let is_in = |folder: &str| text.starts_with(folder);
    match text {
        _ if is_in("damaged-") => None,
        _ if is_in("checkpoints/") || is_in("journal/a/") => Some(COPY_2),
        _ if is_in("journal/b/") => Some("journal b"),
        "marker" => Some("marker"),
        _ => Some(COPY_1),
    }
}

const COPY_1: &str = "database";
const COPY_2: &str = "checkpoint and journal";

/// A store put aside in memory: its files as pages that are not all zeros.
struct Template {
    files: Vec<Kept>,
}

struct Kept {
    path: PathBuf,
    /// None for a file outside the store.
    part: Option<&'static str>,
    length: u64,
    pages: Vec<(u64, Vec<u8>)>,
}

/// What a template is and was promised, for the processes that work on it.
#[derive(Clone, Serialize, Deserialize)]
struct Aside {
    name: String,
    data: PathBuf,
    acked: Vec<u64>,
    /// What the last good backup holds.
    backed_up: Vec<u64>,
}

impl Template {
    fn load(aside: &Aside) -> Self {
        let keep = |path: PathBuf| {
            let bytes = fs::read(&path).unwrap();
            let relative = path.strip_prefix(&aside.data).unwrap();
            let pages = bytes.chunks(PAGE).enumerate().filter(|(_, page)| page.iter().any(|&byte| byte != 0));
            Kept {
                path: relative.to_owned(),
                part: relative.strip_prefix(STORE).ok().and_then(part_of),
                length: bytes.len() as u64,
                pages: pages.map(|(index, page)| ((index * PAGE) as u64, page.to_vec())).collect(),
            }
        };
        Self { files: files_below(&aside.data).into_iter().map(keep).collect() }
    }

    fn put(&self, to: &Path) {
        for kept in &self.files {
            let path = to.join(&kept.path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let file = File::create(path).unwrap();
            file.set_len(kept.length).unwrap();
            kept.pages.iter().for_each(|(at, page)| file.write_all_at(page, *at).unwrap());
        }
    }

    /// The copies there are, each with its files that hold anything.
    fn parts(&self) -> BTreeMap<&'static str, Vec<&Kept>> {
        let mut out: BTreeMap<_, Vec<&Kept>> = BTreeMap::new();
        for kept in self.files.iter().filter(|kept| kept.length > 0) {
            if let Some(part) = kept.part {
                out.entry(part).or_default().push(kept);
            }
        }
        out
    }
}

/// What happens to a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Damage {
    Flip { at: u64, bit: u8 },
    Zero { at: u64 },
    Cut { to: u64 },
    Remove,
}

impl Damage {
    /// Damage that changes something: mostly where there is something, now and then at the file's head.
    fn any(kept: &Kept, rng: &mut fastrand::Rng) -> Self {
        let page = match rng.choice(&kept.pages) {
            Some((at, _)) if rng.u8(0..4) > 0 => *at,
            _ => rng.u64(0..kept.length.div_ceil(PAGE as u64)) * PAGE as u64,
        };
        let head = rng.u8(0..8) == 0;
        let page = if head { 0 } else { page };
        let end = kept.length.min(page + if head { 64 } else { PAGE as u64 });
        match rng.u8(0..8) {
            0..4 => Self::Flip { at: rng.u64(page..end), bit: rng.u8(0..8) },
            4..6 => Self::Zero { at: page },
            6 => Self::Cut { to: rng.u64(0..kept.length) },
            _ => Self::Remove,
        }
    }

    fn apply(self, path: &Path) {
        let file = || File::options().read(true).write(true).open(path).unwrap();
        match self {
            Self::Flip { at, bit } => {
                let mut byte = [0];
                file().read_exact_at(&mut byte, at).unwrap();
                file().write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
            }
            Self::Zero { at } => {
                let length = file().metadata().unwrap().len();
                file().write_all_at(&vec![0; PAGE.min((length - at) as usize)], at).unwrap();
            }
            Self::Cut { to } => file().set_len(to).unwrap(),
            Self::Remove => fs::remove_file(path).unwrap(),
        }
    }
}

/// Rounds for one process.
#[derive(Clone, Serialize, Deserialize)]
struct Orders {
    templates: Vec<Aside>,
    plan: Plan,
    seed: u64,
    /// Rounds `from`, `from + step`, … below `to`.
    from: u64,
    step: u64,
    to: u64,
    both: bool,
    out: PathBuf,
    /// Where stores that are not right are kept.
    kept: PathBuf,
}

/// What came of a round.
#[derive(Debug, Serialize, Deserialize)]
struct Outcome {
    round: u64,
    /// What was damaged how.
    what: String,
    part: String,
    seen: Seen,
    /// Whether at least what the backup holds is there.
    restored: bool,
    /// The second opening, if there was one.
    again: Option<Seen>,
}

/// A file: any one, or one where most of the bytes are.
fn choose<'a>(files: &[&'a Kept], rng: &mut fastrand::Rng) -> &'a Kept {
    let mut at = rng.usize(0..files.iter().map(|kept| kept.pages.len()).sum::<usize>().max(1));
    let by_size = files.iter().find(|kept| {
        let here = at < kept.pages.len();
        at = at.saturating_sub(kept.pages.len());
        here
    });
    if rng.bool() { by_size } else { None }.unwrap_or_else(|| rng.choice(files).unwrap())
}

/// Works on rounds, writing a line before each and one after.
fn work(orders: &Orders) {
    let templates: Vec<_> = orders.templates.iter().map(|aside| (aside, Template::load(aside))).collect();
    let mut out = File::options().append(true).create(true).open(&orders.out).unwrap();
    for round in (orders.from..orders.to).step_by(orders.step as usize) {
        let mut rng = fastrand::Rng::with_seed(orders.seed ^ round.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let (aside, template) = &templates[round as usize % templates.len()];
        let place = in_memory();
        template.put(place.path());
        let parts = template.parts();
        let names: Vec<_> = parts.keys().copied().collect();
        let chosen = if orders.both { vec![COPY_1, COPY_2] } else { vec![*rng.choice(&names).unwrap()] };
        let mut what = format!("{}:", aside.name);
        let mut damages = Vec::new();
        for part in chosen.iter().filter(|part| parts.contains_key(*part)) {
            let kept = choose(&parts[part], &mut rng);
            let damage = Damage::any(kept, &mut rng);
            damage.apply(&place.path().join(&kept.path));
            damages.push((damage, &kept.path));
            what += &format!(" {} of {} bytes {damage:?}", kept.path.display(), kept.length);
        }
        let part = chosen.join(" + ");
        writeln!(out, "start {}", serde_json::to_string(&(round, &part, &what)).unwrap()).unwrap();
        let after = if rng.bool() { After::Close } else { After::Drop };
        let seen = open_and_look(place.path(), &orders.plan, &aside.acked, after);
        if let Some(kept) = (!seen.is_right()).then(|| to_keep(&orders.kept, &format!("round-{round}"))).flatten() {
            template.put(&kept);
            damages.iter().for_each(|(damage, path)| damage.apply(&kept.join(path)));
            what += &format!(" {kept:?}");
        }
        let again = ((round / WORKERS).is_multiple_of(AGAIN) && seen.is_right())
            .then(|| open_and_look(place.path(), &orders.plan, &seen.counts, after));
        let restored = seen.counts.len() == aside.backed_up.len()
            && seen.counts.iter().zip(&aside.backed_up).all(|(now, then)| now >= then);
        let outcome = Outcome { round, what, part, seen, restored, again };
        writeln!(out, "end {}", serde_json::to_string(&outcome).unwrap()).unwrap();
    }
}

/// Runs all rounds in processes that may end or hang.
fn run(orders: &Orders, scratch: &Path) -> Counts {
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
    let mut command = this_test(TEST, &scratch.join("log"));
    let mut child = command.env(ORDERS, serde_json::to_string(orders).unwrap()).spawn().unwrap();
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
        counts.died(
            round,
            &part,
            &what,
            ended.map_or("it hung".to_owned(), |status| format!("the process ended: {status}")),
        );
        last = round;
    } else {
        assert!(ended.is_some_and(|status| status.success()), "{}", fs::read_to_string(scratch.join("log")).unwrap());
    }
    last
}

/// What came of all rounds.
#[derive(Default)]
struct Counts {
    rounds: BTreeMap<String, u64>,
    /// All rows right.
    right: u64,
    /// Rows gone, and the store says so: the state is that of some earlier commit.
    stated: u64,
    /// Rows wrong, missing or taken back, and no word of it.
    silent: u64,
    /// Opening or reading was refused, with an error.
    refused: u64,
    /// The store panicked, hung or took the process down.
    panics: u64,
    again: u64,
    findings: Vec<String>,
}

impl Counts {
    fn count(&mut self, outcome: &Outcome, both: bool) {
        *self.rounds.entry(outcome.part.clone()).or_default() += 1;
        let seen = &outcome.seen;
        let counter = match seen {
            _ if seen.panicked.is_some() => &mut self.panics,
            _ if seen.unopened.is_some() || seen.errors > 0 => &mut self.refused,
            _ if seen.is_right() => &mut self.right,
            _ if both && outcome.restored && !seen.is_torn() && !seen.report.is_empty() => &mut self.stated,
            _ => &mut self.silent,
        };
        *counter += 1;
        if !seen.is_right() {
            self.findings.push(format!("round {}: {}: {seen:?}", outcome.round, outcome.what));
        }
        if let Some(again) = outcome.again.as_ref().filter(|again| !again.is_right()) {
            self.again += 1;
            self.findings.push(format!("round {}: {}: opened once more: {again:?}", outcome.round, outcome.what));
        }
    }

    fn died(&mut self, round: u64, part: &str, what: &str, how: String) {
        *self.rounds.entry(part.to_owned()).or_default() += 1;
        self.panics += 1;
        self.findings.push(format!("round {round}: {what}: {how}"));
    }

    fn add(&mut self, other: Self) {
        other.rounds.into_iter().for_each(|(part, rounds)| *self.rounds.entry(part).or_default() += rounds);
        self.right += other.right;
        self.stated += other.stated;
        self.silent += other.silent;
        self.refused += other.refused;
        self.panics += other.panics;
        self.again += other.again;
        self.findings.extend(other.findings);
    }

    fn text(&self) -> String {
        let rounds: Vec<_> = self.rounds.iter().map(|(part, rounds)| format!("{part} {rounds}")).collect();
        format!(
            "{} rounds ({}), {} with every row right, {} silently wrong, {} refused, {} panics or hangs, {} wrong when opened again",
            self.rounds.values().sum::<u64>(),
            rounds.join(", "),
            self.right,
            self.silent,
            self.refused,
            self.panics,
            self.again
        )
    }
}

/// Stores to damage: one closed in good order, one whose process was killed, one whose machine went down.
fn put_aside(scratch: &Path, plan: &Plan, rng: &mut fastrand::Rng) -> Vec<Aside> {
    let mut make = |name: &str, close: bool, rebooted: bool| {
        let folder = scratch.join(name);
        fs::create_dir(&folder).unwrap();
        let mut site = Site::new(folder.join("data"), &folder, plan.clone());
        let id = boot_id(rng);
        let mut backed_up = Vec::new();
        for (commits, close) in [(40, true), (20, close)] {
            // Between the two runs is where a backup belongs, once there are any.
            backed_up.clone_from(&site.acks.last);
            site.run_to_end(commits, close, |command| {
                if rebooted {
                    boot(command, &folder, &id);
                }
            });
        }
        Aside { name: name.to_owned(), data: site.orders.data.clone(), acked: site.acks.last.clone(), backed_up }
    };
    vec![make("closed", true, false), make("killed", false, false), make("power lost", false, true)]
}

fn campaign(name: &'static str, usual: u64, full: u64, both: bool) -> (u64, Counts) {
    let mut campaign = Campaign::start(name, usual, full);
    let scratch = on_disk();
    let plan = Plan { writers: 4, largest: 16 << 10, ..Plan::new(campaign.seed) };
    let plan = Plan { largest: plan.largest.min(super::workload::LARGEST_TEXT), ..plan };
    let templates = put_aside(scratch.path(), &plan, &mut campaign.rng);
    for aside in &templates {
        let place = in_memory();
        Template::load(aside).put(place.path());
        let seen = open_and_look(place.path(), &plan, &aside.acked, After::Close);
        assert!(seen.is_right(), "{} was not right before it was damaged: {seen:?}", aside.name);
    }
    let out = scratch.path().to_owned();
    let kept = campaign.kept.clone();
    let orders =
        Orders { kept, templates, plan, seed: campaign.seed, from: 0, step: 1, to: campaign.rounds, both, out };
    let counts = run(&orders, scratch.path());
    let stated = if both { format!(", {} restored with the gap stated", counts.stated) } else { String::new() };
    campaign.sum_up(&format!("{}{stated}", counts.text()));
    (campaign.rounds, counts)
}

#[test]
fn damage_to_one_copy_is_repaired() {
    let (rounds, counts) = campaign("damage to one of the two copies", 300, 10_000, false);
    assert_eq!((counts.right, counts.again), (rounds, 0), "{:#?}", &counts.findings[..counts.findings.len().min(8)]);
}

#[test]
fn damage_to_both_copies_is_noticed_and_restored() {
    let (rounds, counts) = campaign("damage to both copies", 50, 500, true);
    let good = counts.right + counts.stated;
    assert_eq!((good, counts.again), (rounds, 0), "{:#?}", &counts.findings[..counts.findings.len().min(8)]);
}

/// With orders this is a process that works on rounds.
#[test]
fn damage_is_where_it_was_meant_to_be() {
    if let Some(orders) = std::env::var_os(ORDERS) {
        return work(&serde_json::from_slice(orders.as_encoded_bytes()).unwrap());
    }
    let scratch = in_memory();
    let data = scratch.path().join("data");
    let path = data.join("store/journal/a/1.log");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let bytes = [vec![7; PAGE], vec![0; PAGE], vec![9; 100]].concat();
    fs::write(&path, &bytes).unwrap();
    let template = Template::load(&Aside { name: String::new(), data, acked: vec![], backed_up: vec![] });
    assert_eq!(template.parts().keys().collect::<Vec<_>>(), [&COPY_2]);
    let damaged = |damage: Damage| {
        let place = in_memory();
        template.put(place.path());
        let path = place.path().join(&template.files[0].path);
        assert_eq!(fs::read(&path).unwrap(), bytes);
        damage.apply(&path);
        fs::read(&path).ok()
    };
    assert_eq!(damaged(Damage::Flip { at: 8200, bit: 1 }).unwrap()[8199..8202], [9, 11, 9]);
    assert_eq!(damaged(Damage::Zero { at: 8192 }).unwrap()[8192..], [0; 100]);
    assert_eq!(damaged(Damage::Cut { to: 5 }).unwrap(), [7; 5]);
    assert_eq!(damaged(Damage::Remove), None);
}
