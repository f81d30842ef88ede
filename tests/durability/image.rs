//! Power cuts of a whole file system: ext4 on a loop device, copied as it is at one instant, mounted again and opened.
//!
//! The instant is made by freezing (`fsfreeze`) the file system *below*, the one that the disk's image lies on: from then on nothing reaches
//! the image, and the file system inside it, which is neither frozen nor synced, keeps what it holds in memory to itself. The copy is what a
//! disk would hold. There are two kinds of [`Disk`]: one without a cache of its own, and one with a cache that only a flush empties, made by
//! putting another file system in between. A file that is never synced goes along and must be gone afterwards, else the model has no teeth.
//!
//! Device mapper, NBD and reflinks would do as well, but need modules or packages that many machines lack; this needs util-linux and e2fsprogs.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::check::{After, Tally, open_and_look};
use super::child::{Site, Worker, as_root, run};
use super::chores::Chore;
use super::powercut::{boot, boot_id};
use super::workload::{Orders, Plan, varied_settings};
use super::{Campaign, copy_all, in_memory, on_disk};

/// Size of the innermost image, in bytes; those around it are larger. None takes more room than was written to it.
const SIZE: u64 = 2 << 30;

/// What kind of disk the file system is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Disk {
    /// What was written to the device is there.
    WriteThrough,
    /// What was written to the device since its last flush may be gone.
    Cached,
}

/// Loop-mounted file systems, one in the other: `base` holds the image `disk`; on that is `volume`, or with a cache `cache` holding the image
/// of `volume`.
struct Machine {
    disk: Disk,
    scratch: PathBuf,
}

impl Machine {
    fn new(disk: Disk, scratch: &Path) -> Self {
        let machine = Self { disk, scratch: scratch.to_owned() };
        for folder in ["base", "cache", "volume"] {
            fs::create_dir(machine.path(folder)).unwrap();
        }
        let around = |inner: u64| inner + inner / 4;
        machine.format("base.img", around(around(around(SIZE))));
        machine.mount("base.img", "base");
        match disk {
            Disk::WriteThrough => machine.format("base/disk.img", SIZE),
            Disk::Cached => {
                machine.format("base/disk.img", around(SIZE));
                machine.mount("base/disk.img", "cache");
                machine.format("cache/volume.img", SIZE);
                machine.unmount("cache");
            }
        }
        machine
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn format(&self, image: &str, size: u64) {
        File::create(self.path(image)).unwrap().set_len(size).unwrap();
        run("mkfs.ext4", &["-q", "-F", "-m0", &self.text(image)]);
    }

    fn mount(&self, image: &str, at: &str) {
        run("mount", &["-o", "loop", &self.text(image), &self.text(at)]);
    }

    fn unmount(&self, at: &str) {
        run("umount", &[&self.text(at)]);
    }

    /// Mounts the volume; ext4 recovers from its journal if it must.
    fn start(&self) {
        if self.disk == Disk::Cached {
            self.mount("base/disk.img", "cache");
            self.mount("cache/volume.img", "volume");
        } else {
            self.mount("base/disk.img", "volume");
        }
    }

    fn stop(&self) {
        self.unmount("volume");
        if self.disk == Disk::Cached {
            self.unmount("cache");
        }
    }

    /// Copies the disk as it is at this instant.
    fn snapshot(&self) {
        run("fsfreeze", &["--freeze", &self.text("base")]);
        let copied = std::panic::catch_unwind(|| run("cp", &[&self.text("base/disk.img"), &self.text("snapshot.img")]));
        run("fsfreeze", &["--unfreeze", &self.text("base")]);
        copied.unwrap();
    }

    /// Puts the copy in the place of the disk.
    fn put_snapshot(&self) {
        run("cp", &[&self.text("snapshot.img"), &self.text("base/disk.img")]);
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Whatever state a failed test left; the namespace ends with the process anyway.
        for at in ["volume", "cache", "base"] {
            let _ = std::process::Command::new("umount").args(["--lazy", "--quiet"]).arg(self.path(at)).output();
        }
    }
}

#[test]
fn a_power_cut_of_the_file_system_loses_nothing_that_was_acknowledged() {
    as_root("durability::image::a_power_cut_of_the_file_system_loses_nothing_that_was_acknowledged", cut_power);
}

fn cut_power() {
    let mut campaign = Campaign::start("power cut, file system image", 20, 300);
    let (mut acked, mut gone, mut done) = (0, 0, Vec::new());
    let mut tallies = [Tally::default(), Tally::default()];
    let rounds = campaign.rounds;
    for (disk, tally) in [Disk::WriteThrough, Disk::Cached].into_iter().zip(&mut tallies) {
        let rounds = if disk == Disk::Cached { rounds / 2 } else { rounds - rounds / 2 };
        let scratch = on_disk();
        let machine = Machine::new(disk, &scratch.path().canonicalize().unwrap());
        let mut site = Site::new(machine.path("volume/data"), &machine.scratch, Plan::new(campaign.seed));
        for round in 0..rounds {
            gone += u64::from(one_cut(&machine, &mut site, round, &mut campaign.rng));
            tally.add(&format!("{disk:?}, cut {round}"), &look(&machine, &mut site, &mut campaign.rng));
        }
        acked += site.acks.total();
        done.push(site.acks.chores_done());
        assert!(site.acks.complaints().is_empty(), "{:#?}", site.acks.complaints());
    }
    let [through, cached] = &tallies;
    campaign.sum_up(&format!(
        "{rounds} cuts, {acked} acknowledged commits beside {}; written through: {} ({}); with a cache: {} ({}); {gone} of {rounds} files \
         that were never synced were gone",
        done.join(", and "),
        through.counts(),
        through.outcomes(),
        cached.counts(),
        cached.outcomes(),
    ));
    assert!(acked > 0);
    assert_eq!(gone, rounds, "a file that was never synced survived: this was no power cut");
    tallies.iter().for_each(Tally::assert_right);
}

/// Runs a process on the volume and cuts the power. Says whether what was never synced is gone.
fn one_cut(machine: &Machine, site: &mut Site, round: u64, rng: &mut fastrand::Rng) -> bool {
    machine.start();
    let chore = *rng.choice(Chore::ALL).unwrap();
    let orders = Orders { chore, settings: varied_settings(rng), ..site.orders.clone() };
    let before = site.acks.opened.len();
    let mut worker = Worker::start(&orders, |command| boot(command, &machine.scratch, &boot_id(rng)));
    if round % 4 == 3 {
        std::thread::sleep(Duration::from_micros(rng.u64(5_000..80_000)));
    } else {
        site.acks.wait_open(&mut worker, before);
        std::thread::sleep(Duration::from_micros(rng.u64(0..400_000)));
    }
    let unsynced = machine.path("volume").join(format!("unsynced-{round}"));
    fs::write(&unsynced, "never synced").unwrap();
    site.acks.poll();
    let promised = site.acks.last.clone();
    machine.snapshot();
    worker.kill();
    // What was acknowledged after the copy was begun is not in it, and need not be.
    site.acks.poll();
    site.acks.last = promised;
    machine.stop();
    machine.put_snapshot();
    machine.start();
    fs::read(&unsynced).map_or(true, |bytes| bytes.is_empty())
}

/// Opens the store on the disk as the power cut left it: in place, or in a copy so that the next process finds it so.
fn look(machine: &Machine, site: &mut Site, rng: &mut fastrand::Rng) -> super::check::Seen {
    let after = if rng.bool() { After::Close } else { After::Drop };
    let Site { orders, acks } = site;
    let seen = if rng.bool() {
        let seen = open_and_look(&orders.data, &orders.plan, &acks.last, after);
        acks.expect(&seen.counts);
        seen
    } else {
        let copy = in_memory();
        if orders.data.exists() {
            copy_all(&orders.data, copy.path());
        }
        open_and_look(copy.path(), &orders.plan, &acks.last, after)
    };
    machine.stop();
    seen
}
