//! Disks that fill up under load, and a limit on the size of files: commits are refused and say why, nothing acknowledged is lost, and once
//! there is room again the same process commits again.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use grps::base::clock::Stopwatch;
use rustix::fs::{FallocateFlags, fallocate};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::check::{After, Tally, open_and_look};
use super::child::{Acks, Site, Worker, as_root, run};
use super::chores::Chore;
use super::workload::{Orders, Plan, REOPENING};
use super::{Campaign, files_below, on_disk};

/// Size of the file systems that are filled, in bytes: room for a store with all its copies.
const SIZE: u64 = 256 << 20;
/// The smallest piece of room, in bytes.
const PAGE: u64 = 4096;
/// How long a full disk may go unnoticed.
const NOTICE: Duration = Duration::from_secs(20);
/// How long commits may stay refused once there is room.
const RECOVERY: Duration = Duration::from_secs(5);

/// What is filled.
#[derive(Debug, Clone, Copy)]
enum Limit {
    /// A file system in memory: the write itself is refused.
    Memory,
    /// ext4: as on most servers.
    Ext4,
    /// The largest file the process may write, as `ulimit -f` sets it.
    FileSize,
}

/// What came of one round.
#[derive(Debug, Default)]
struct Counts {
    unnoticed: u64,
    other_codes: u64,
    /// Refusals while the store was opening itself again, and reads that were told to wait for that.
    reopening: u64,
    waited: u64,
    ghosts: u64,
    misread: u64,
    recovered: u64,
    slowest: Duration,
    findings: Vec<String>,
}

#[test]
fn a_full_disk_refuses_and_recovers() {
    as_root("durability::full::a_full_disk_refuses_and_recovers", fill_disks);
}

fn fill_disks() {
    let mut campaign = Campaign::start("disk full", 5, 50);
    let mut tally = Tally::default();
    let mut counts = Counts::default();
    let mut acked = 0;
    for round in 0..campaign.rounds {
        let limit = [Limit::Memory, Limit::Ext4, Limit::FileSize][round as usize % 3];
        let scratch = on_disk();
        let volume = Volume::new(scratch.path(), limit);
        let mut site = Site::new(volume.path.join("data"), scratch.path(), Plan::new(campaign.rng.u64(..)));
        let chore = *campaign.rng.choice(Chore::ALL).unwrap();
        let mut worker = Worker::start(&Orders { chore, ..site.orders.clone() }, |_| {});
        site.acks.wait_open(&mut worker, 0);
        std::thread::sleep(Duration::from_millis(campaign.rng.u64(50..500)));
        one_round(&volume, &mut site, &mut worker, &mut campaign.rng, &mut counts);
        worker.kill();
        site.acks.poll();
        acked += site.acks.total();
        let seen = open_and_look(&site.orders.data, &site.orders.plan, &site.acks.last, After::Close);
        tally.add(&format!("round {round}, {limit:?}, {chore:?}"), &seen);
    }
    campaign.sum_up(&format!(
        "{} times, {acked} acknowledged commits, {}; {} unnoticed, {} refused with other codes, {} while opening again, {} reads told to wait \
         for that, {} refused but done, {} misread, {} serving again within {RECOVERY:?} (slowest {:.2} s)",
        tally.stores,
        tally.counts(),
        counts.unnoticed,
        counts.other_codes,
        counts.reopening,
        counts.waited,
        counts.ghosts,
        counts.misread,
        counts.recovered,
        counts.slowest.as_secs_f64(),
    ));
    assert!(counts.findings.is_empty(), "{:#?}", counts.findings);
    assert_eq!(counts.recovered, campaign.rounds);
    tally.assert_right();
}

fn one_round(volume: &Volume, site: &mut Site, worker: &mut Worker, rng: &mut fastrand::Rng, counts: &mut Counts) {
    let limit = volume.limit;
    let mut finding = |text: String| counts.findings.push(format!("{limit:?}: {text}"));
    let ballast = volume.path.join("ballast");
    let pid = Pid::from_raw(worker.pid().cast_signed()).unwrap();
    let watch = Stopwatch::start();
    while site.acks.refused.is_empty() && watch.elapsed() < NOTICE {
        match limit {
            Limit::FileSize => limit_files(pid, Some(largest(&site.orders.data))),
            Limit::Memory | Limit::Ext4 => fill(&ballast),
        }
        std::thread::sleep(Duration::from_millis(20));
        site.acks.poll();
    }
    if site.acks.refused.is_empty() {
        counts.unnoticed += 1;
        finding(format!("nothing was refused; {}", worker.printed()));
    }
    std::thread::sleep(Duration::from_millis(rng.u64(0..700)));
    site.acks.poll();
    let before = site.acks.last.clone();
    match limit {
        Limit::FileSize => limit_files(pid, None),
        Limit::Memory | Limit::Ext4 => fs::remove_file(&ballast).unwrap(),
    }
    let watch = Stopwatch::start();
    let all_commit = |acks: &Acks| acks.last.iter().zip(&before).all(|(now, before)| now > before);
    while !all_commit(&site.acks) && watch.elapsed() < RECOVERY {
        std::thread::sleep(Duration::from_millis(5));
        site.acks.poll();
    }
    counts.slowest = counts.slowest.max(watch.elapsed());
    if all_commit(&site.acks) {
        counts.recovered += 1;
    } else {
        finding(format!("{RECOVERY:?} after there was room again, commits fail: {:?}", site.acks.refused.last()));
    }
    let code = |refused: &String| refused.split(' ').nth(2).unwrap().to_owned();
    counts.reopening += site.acks.refused.iter().filter(|refused| code(refused) == REOPENING).count() as u64;
    counts.waited += site.acks.waited;
    let other = |refused: &&String| ![REOPENING, "store.disk_full"].contains(&&*code(refused));
    if let Some(refused) = site.acks.refused.iter().find(other) {
        counts.other_codes += 1;
        finding(format!("refused with another code: {refused}"));
    }
    for (count, lines, what) in
        [(&mut counts.ghosts, &site.acks.ghosts, "happened"), (&mut counts.misread, &site.acks.misread, "was misread")]
    {
        *count += lines.len() as u64;
        lines.iter().take(1).for_each(|line| finding(format!("refused, and then {what}: {line}")));
    }
}

/// Takes all the room there is.
fn fill(ballast: &Path) {
    let file = File::options().append(true).create(true).open(ballast).unwrap();
    let mut piece = SIZE;
    while piece >= PAGE {
        let end = file.metadata().unwrap().len();
        if fallocate(&file, FallocateFlags::empty(), end, piece).is_err() {
            piece /= 2;
        }
    }
}

/// Size of the largest file, in bytes.
fn largest(data: &Path) -> u64 {
    files_below(data).iter().filter_map(|path| fs::metadata(path).ok()).map(|info| info.len()).max().unwrap_or(0)
}

/// Lets a process write files up to `size` bytes, or of any size.
fn limit_files(pid: Pid, size: Option<u64>) {
    prlimit(Some(pid), Resource::Fsize, Rlimit { current: size, maximum: None }).unwrap();
}

/// A file system of its own, gone when dropped.
struct Volume {
    path: PathBuf,
    limit: Limit,
}

impl Volume {
    fn new(scratch: &Path, limit: Limit) -> Self {
        let volume = scratch.join("volume");
        fs::create_dir(&volume).unwrap();
        let at = volume.to_str().unwrap();
        if matches!(limit, Limit::Ext4) {
            let image = scratch.join("image");
            File::create(&image).unwrap().set_len(SIZE).unwrap();
            run("mkfs.ext4", &["-q", "-F", "-m0", image.to_str().unwrap()]);
            run("mount", &["-o", "loop", image.to_str().unwrap(), at]);
        } else {
            run("mount", &["-t", "tmpfs", "-o", &format!("size={SIZE}"), "none", at]);
        }
        Self { path: volume, limit }
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        run("umount", &["--lazy", self.path.to_str().unwrap()]);
    }
}
