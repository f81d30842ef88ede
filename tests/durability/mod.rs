//! Campaigns against the store on disk: processes killed, power cut, bytes damaged, disks filled. Each prints one line with its counts.
//!
//! | variable | what it does |
//! | --- | --- |
//! | `GRPS_CAMPAIGN` | `full`, or a number to multiply the usual sizes with |
//! | `GRPS_CAMPAIGN_SEED` | repeats a campaign with the seed it printed |
//! | `GRPS_WITHOUT_ROOT=1` | leaves out, and says so, what only root can do |
//!
//! What is written is a pure function of seed, writer and number of the commit ([`workload`]), so [`check`] knows every byte that has to be
//! there from the counters alone.

#![allow(clippy::disallowed_methods)] // tests have variables and tasks of their own

mod check;
mod child;
mod chores;
mod damage;
mod decisions;
mod disk;
mod full;
mod image;
mod jobs;
mod kill;
mod powercut;
mod queue_model;
mod queues;
mod workload;

use std::io::Write;
use std::path::{Path, PathBuf};

use grps::base::clock::Stopwatch;
use tempfile::TempDir;

/// The seed of a campaign that is not told another.
const SEED: u64 = 20_260;

/// Room a file system in memory must have before a campaign works there, in bytes.
const ROOM_IN_MEMORY: u64 = 2 << 30;

/// Stores of one campaign that are not right and are kept until it runs again, at most.
const STORES_KEPT: usize = 8;

/// A campaign that runs: its name, its size, its randomness.
pub struct Campaign {
    name: &'static str,
    pub rounds: u64,
    pub seed: u64,
    pub rng: fastrand::Rng,
    /// Where stores that are not right are kept: see [`to_keep`].
    pub kept: PathBuf,
    watch: Stopwatch,
}

impl Campaign {
    /// `usual` rounds, or `full` ones, or what `GRPS_CAMPAIGN` makes of them.
    pub fn start(name: &'static str, usual: u64, full: u64) -> Self {
        let seed = std::env::var("GRPS_CAMPAIGN_SEED")
            .map_or(SEED, |text| text.parse().expect("GRPS_CAMPAIGN_SEED is a number"));
        let rounds = match std::env::var("GRPS_CAMPAIGN").as_deref() {
            Err(_) | Ok("") => usual,
            Ok("full") => full,
            Ok(factor) => {
                let factor: f64 = factor.parse().expect("GRPS_CAMPAIGN is `full` or a number");
                ((usual as f64 * factor).round() as u64).max(1)
            }
        };
        let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kept").join(name.replace(' ', "-"));
        let _ = std::fs::remove_dir_all(&kept);
        Self { name, rounds, seed, kept, rng: fastrand::Rng::with_seed(seed), watch: Stopwatch::start() }
    }

    /// Prints the campaign's line, past the test harness, which would keep it for itself.
    pub fn sum_up(&self, counts: &str) {
        say(&format!("{}: {counts} (seed {}, {:.1} s)", self.name, self.seed, self.watch.elapsed().as_secs_f64()));
    }
}

/// Prints a line that the test harness does not capture.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "\n{line}");
}

/// A folder on the disk that the build is on, where a sync is a sync.
pub fn on_disk() -> TempDir {
    tempfile::Builder::new().prefix("durability-").tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap()
}

/// A folder in memory if there is room, for stores that are only opened and looked at.
pub fn in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let roomy = rustix::fs::statvfs(memory).is_ok_and(|fs| fs.f_bavail * fs.f_frsize > ROOM_IN_MEMORY);
    let made = roomy.then(|| tempfile::Builder::new().prefix("durability-").tempdir_in(memory).ok()).flatten();
    made.unwrap_or_else(on_disk)
}

/// A place in `kept` for a store that is not right, so that somebody can look into it; none once a few are there.
pub fn to_keep(kept: &Path, name: &str) -> Option<PathBuf> {
    std::fs::create_dir_all(kept).unwrap();
    (std::fs::read_dir(kept).unwrap().count() < STORES_KEPT).then(|| kept.join(name))
}

/// Every file below `dir`, in order.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    let mut todo = vec![dir.to_owned()];
    while let Some(dir) = todo.pop() {
        // Folders of a store that is in use come and go.
        for entry in std::fs::read_dir(dir).into_iter().flatten() {
            let Ok(path) = entry.map(|entry| entry.path()) else { continue };
            if path.is_dir() { todo.push(path) } else { out.push(path) }
        }
    }
    out.sort();
    out
}

/// Copies a folder with all that is in it.
pub fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy_all(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
