//! Power cuts worked out from traces: a process runs with `powercut.c` in front of libc, and the state of the disk is rebuilt for moments of
//! its life, keeping only what was synced ([`Model::Strict`]) or random parts of the rest too ([`Model::Torn`]). Needs `cc`, not root.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use grps::base::clock::Stopwatch;

use super::check::{After, Tally, open_and_look};
use super::child::{Acks, Site, Worker};
use super::chores::Chore;
use super::disk::{Disk, Inodes, Model, Trace};
use super::kill::spoil_databases;
use super::workload::{Orders, Plan, Step, varied_settings};
use super::{Campaign, copy_all, files_below, in_memory, on_disk, to_keep};

/// Cuts worked out from one trace.
const CUTS_PER_TRACE: u64 = 5;
/// A traced process is killed when its trace is this long, in bytes.
const TRACE_BYTES: u64 = 60 << 20;
/// Or this old.
const TRACE_TIME: Duration = Duration::from_millis(2_500);
/// Commits of each writer in the trace that is replayed whole.
const WHOLE_COMMITS: u64 = 30;

/// `powercut.c`, compiled.
pub fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/durability/powercut.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let (mine, shim) = (folder.join(format!("powercut-{}.so", std::process::id())), folder.join("powercut.so"));
        let compiled = Command::new("cc")
            .args(["-O2", "-Wall", "-shared", "-fPIC", "-o"])
            .arg(&mine)
            .arg(source)
            .args(["-ldl", "-pthread"])
            .output();
        let compiled = compiled.expect("the power-cut campaigns need a C compiler: `apt-get install gcc libc6-dev`");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        std::fs::rename(mine, &shim).unwrap();
        shim
    })
}

/// Makes a child read `text` as the boot id, so that whoever opens its store later finds that the machine went down since.
pub fn boot(command: &mut Command, folder: &Path, text: &str) {
    let file = folder.join("boot-id");
    std::fs::write(&file, format!("{text}\n")).unwrap();
    command.env("LD_PRELOAD", shim()).env("GRPS_POWERCUT_BOOT", file);
}

/// A boot id that no other run has.
pub fn boot_id(rng: &mut fastrand::Rng) -> String {
    format!("{:08x}-0000-4000-8000-{:012x}", rng.u32(..), rng.u64(..1 << 48))
}

/// A traced run: the trace, and what the directory was before.
struct Traced {
    trace: Trace,
    before: tempfile::TempDir,
    inodes: Inodes,
    /// What was acknowledged before.
    acked: Vec<u64>,
}

/// Runs a child on the site's directory under trace, to its end or until enough is traced.
fn trace(site: &mut Site, chore: Chore, commits: Option<u64>, rng: &mut fastrand::Rng) -> Traced {
    let data = &site.orders.data;
    std::fs::create_dir_all(data).unwrap();
    let (before, inodes) = (in_memory(), Inodes::of(data));
    copy_all(data, before.path());
    let acked = site.acks.last.clone();
    let file = site.orders.acks.with_extension("trace");
    let _ = std::fs::remove_file(&file);
    let steps = vec![Step::Commit(commits)];
    let orders = Orders { chore, steps, settings: varied_settings(rng), ..site.orders.clone() };
    let mut worker = Worker::start(&orders, |command| {
        boot(command, data.parent().unwrap(), &boot_id(rng));
        command
            .env("GRPS_POWERCUT_DIR", data)
            .env("GRPS_POWERCUT_ACKS", &orders.acks)
            .env("GRPS_POWERCUT_TRACE", &file);
    });
    if commits.is_some() {
        let status = worker.finish();
        assert!(status.success(), "{status:?}\n{}", worker.printed());
    } else {
        let watch = Stopwatch::start();
        let small = || std::fs::metadata(&file).map_or(0, |info| info.len()) < TRACE_BYTES;
        while worker.ended().is_none() && watch.elapsed() < TRACE_TIME && small() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert!(worker.ended().is_none(), "{}", worker.printed());
        worker.kill();
    }
    site.acks.poll();
    Traced { trace: Trace::read(&file), before, inodes, acked }
}

/// Moments to cut the power at: one while the store is opened, the others right after an acknowledgement, when most is at stake, or anywhere.
fn moments(trace: &Trace, count: u64, rng: &mut fastrand::Rng) -> Vec<usize> {
    let acks: Vec<_> = (0..trace.len()).filter(|&step| trace.ack(step).is_some()).collect();
    let opened = acks.iter().find(|&&step| trace.ack(step).is_some_and(|text| text.starts_with("opened")));
    let mut moment = |number| match rng.choice(&acks) {
        _ if number == 0 => rng.usize(0..=opened.map_or(trace.len(), |step| *step)),
        Some(&ack) if rng.bool() => ack + 1,
        _ => rng.usize(0..=trace.len()),
    };
    let mut moments: Vec<_> = (0..count).map(&mut moment).collect();
    moments.sort_unstable();
    moments
}

/// Now and then begins anew or spoils the database, so that cuts fall into the creation of a store, and into the repair of one.
fn prepare(site: &mut Site, rng: &mut fastrand::Rng) {
    match rng.u8(0..6) {
        0 => {
            std::fs::remove_dir_all(&site.orders.data).unwrap_or_default();
            site.acks.last.fill(0);
        }
        1 | 2 => spoil_databases(&site.orders.data, rng),
        _ => {}
    }
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let mut campaign = Campaign::start("power cut, strict and torn models", 20, 300);
    let rng = &mut campaign.rng;
    let scratch = on_disk();
    let root = scratch.path().canonicalize().unwrap();
    let mut site = Site::new(root.join("data"), &root, Plan::new(campaign.seed));
    let mut tallies = [Tally::default(), Tally::default()];
    let (mut acked, mut bytes) = (0, 0);
    let mut left = campaign.rounds;
    while left > 0 {
        let cuts = left.min(CUTS_PER_TRACE);
        left -= cuts;
        let chore = *rng.choice(Chore::ALL).unwrap();
        prepare(&mut site, rng);
        let traced = trace(&mut site, chore, None, rng);
        bytes += traced.trace.bytes();
        let mut disk = Disk::new(&traced.trace, &site.orders.data, traced.before.path(), &traced.inodes);
        let mut acks = Acks::new(Path::new(""), &site.orders.plan);
        acks.last.clone_from(&traced.acked);
        let mut heard = 0;
        for (index, moment) in moments(&traced.trace, cuts, rng).into_iter().enumerate() {
            disk.advance(moment);
            (heard..moment).filter_map(|step| traced.trace.ack(step)).for_each(|text| acks.take(text));
            heard = moment;
            acked += acks.total() - traced.acked.iter().sum::<u64>();
            let kind = usize::from(rng.bool());
            let place = in_memory();
            let (model, mut same) = ([Model::Strict, Model::Torn][kind], rng.clone());
            disk.leave(model, rng, place.path()).unwrap();
            let seen = open_and_look(place.path(), &site.orders.plan, &acks.last, After::Drop);
            // The next process starts where the last cut left the disk, on which all is durable then; or anew if that is no use.
            let goes_on = index as u64 + 1 == cuts;
            if goes_on {
                std::fs::remove_dir_all(&site.orders.data).unwrap();
                site.acks.last = if seen.is_right() { acks.last.clone() } else { vec![0; acks.last.len()] };
            }
            if goes_on && seen.is_right() {
                disk.leave(model, &mut same.clone(), &site.orders.data).unwrap();
            }
            let kept = if seen.is_right() { None } else { to_keep(&campaign.kept, &format!("cut-{moment}")) };
            kept.iter().for_each(|kept| disk.leave(model, &mut same, kept).unwrap());
            tallies[kind]
                .add(&format!("{chore:?}, cut before step {moment} of {}, {kept:?}", traced.trace.len()), &seen);
        }
    }
    let [strict, torn] = &tallies;
    campaign.sum_up(&format!(
        "{} cuts in {} MB of traces, {acked} acknowledged commits behind them, beside {}; strict: {} ({}); torn: {} ({})",
        strict.stores + torn.stores,
        bytes >> 20,
        site.acks.chores_done(),
        strict.counts(),
        strict.outcomes(),
        torn.counts(),
        torn.outcomes(),
    ));
    assert!(acked > 0);
    assert!(site.acks.complaints().is_empty(), "{:#?}", site.acks.complaints());
    tallies.iter().for_each(Tally::assert_right);
}

/// What the shim did not see would be missing here.
#[test]
fn a_trace_replayed_whole_gives_the_directory() {
    let mut rng = fastrand::Rng::with_seed(super::SEED);
    let scratch = on_disk();
    let root = scratch.path().canonicalize().unwrap();
    let mut site = Site::new(root.join("data"), &root, Plan::new(super::SEED));
    for chore in Chore::ALL {
        let traced = trace(&mut site, *chore, Some(WHOLE_COMMITS), &mut rng);
        let mut disk = Disk::new(&traced.trace, &site.orders.data, traced.before.path(), &traced.inodes);
        disk.advance(traced.trace.len());
        let replayed = in_memory();
        disk.leave(Model::Whole, &mut rng, replayed.path()).unwrap();
        let relative = |dir: &Path| -> Vec<PathBuf> {
            files_below(dir).into_iter().map(|path| path.strip_prefix(dir).unwrap().to_owned()).collect()
        };
        let names = relative(&site.orders.data);
        assert_eq!(names, relative(replayed.path()), "after {chore:?}");
        for name in names {
            let same = std::fs::read(site.orders.data.join(&name)).unwrap()
                == std::fs::read(replayed.path().join(&name)).unwrap();
            assert!(same, "{} differs after {chore:?}: it was written in a way the shim does not see", name.display());
        }
        // The model has teeth: what was never synced is gone.
        let nothing = in_memory();
        let start = Disk::new(&traced.trace, &site.orders.data, traced.before.path(), &traced.inodes);
        start.leave(Model::Strict, &mut rng, nothing.path()).unwrap();
        assert_eq!(relative(nothing.path()), relative(traced.before.path()));
    }
}
