//! `kill -9` at random moments of load, of upkeep, of opening and of repair, on one data directory that grows old; and two processes on one
//! directory.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use grps::store::DataDir;

use super::check::{After, Seen, Tally, open_and_look};
use super::child::{Site, Worker, until};
use super::chores::Chore;
use super::workload::{Orders, Plan, Step, varied_settings};
use super::{Campaign, copy_all, in_memory, on_disk};

/// Commits of each writer in a round that ends in good order.
const ORDERLY_COMMITS: u64 = 20;

/// Every how manyth round begins with an empty directory.
const NEW_EVERY: u64 = 25;

/// When a process is killed.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Moment {
    /// While it writes, and does its chore.
    Load,
    /// While it opens what the one before left.
    Opening,
    /// While it builds the database again, which was damaged before.
    Rebuild,
}

#[test]
fn a_killed_process_loses_nothing_it_acknowledged() {
    let mut campaign = Campaign::start("kill -9 under load", 40, 1000);
    let rng = &mut campaign.rng;
    let scratch = on_disk();
    let mut site = Site::new(scratch.path().join("data"), scratch.path(), Plan::new(campaign.seed));
    let mut tally = Tally::default();
    let (mut while_opening, mut while_rebuilding, mut total) = (0, 0, 0);
    for round in 0..campaign.rounds {
        if round % 10 == 9 {
            site.run_to_end(&[Step::Commit(Some(ORDERLY_COMMITS))], true, |_| {});
        }
        if round % NEW_EVERY == NEW_EVERY - 3 {
            fs::remove_dir_all(&site.orders.data).unwrap();
            total += site.acks.total();
            site.acks.last.fill(0);
        }
        let moment = [Moment::Load, Moment::Load, Moment::Opening, Moment::Load, Moment::Rebuild][round as usize % 5];
        if moment == Moment::Rebuild {
            spoil_databases(&site.orders.data, rng);
        }
        let chore = *rng.choice(Chore::ALL).unwrap();
        let orders = Orders { chore, settings: varied_settings(rng), ..site.orders.clone() };
        let (begun, before) = (site.acks.opening, site.acks.opened.len());
        let mut worker = Worker::start(&orders, |_| {});
        if moment == Moment::Load {
            site.acks.wait_open(&mut worker, before);
            std::thread::sleep(Duration::from_micros(rng.u64(0..300_000)));
        } else {
            site.acks.wait_opening(begun);
            std::thread::sleep(Duration::from_micros(rng.u64(0..60_000)));
        }
        worker.kill();
        site.acks.poll();
        let unopened = u64::from(site.acks.opened.len() == before);
        while_opening += unopened;
        while_rebuilding += if moment == Moment::Rebuild { unopened } else { 0 };

        let seen = look(&mut site, rng);
        tally.add(&format!("round {round}, {chore:?}"), &seen);
    }
    let refused = &site.acks.refused;
    total += site.acks.total();
    campaign.sum_up(&format!(
        "{} kills ({while_opening} while opening, {while_rebuilding} of them while rebuilding), {total} acknowledged commits beside {}, {}; {}",
        tally.stores,
        site.acks.chores_done(),
        tally.counts(),
        tally.outcomes(),
    ));
    assert!(refused.is_empty(), "commits were refused: {refused:?}");
    assert!(site.acks.complaints().is_empty(), "{:#?}", site.acks.complaints());
    assert!(total > 0 && while_opening < campaign.rounds);
    tally.assert_right();
}

/// Opens the store in place, which repairs what there is to repair, or in a copy, so that the next process finds what this one left.
fn look(Site { orders, acks }: &mut Site, rng: &mut fastrand::Rng) -> Seen {
    let after = if rng.bool() { After::Close } else { After::Drop };
    if rng.bool() {
        let copy = in_memory();
        copy_all(&orders.data, copy.path());
        return open_and_look(copy.path(), &orders.plan, &acks.last, after);
    }
    let seen = open_and_look(&orders.data, &orders.plan, &acks.last, after);
    acks.expect(&seen.counts);
    seen
}

/// Removes every database, or spoils a good part of it.
pub fn spoil_databases(data: &Path, rng: &mut fastrand::Rng) {
    let entries = fs::read_dir(data.join("store")).into_iter().flatten().map(|entry| entry.unwrap().path());
    let databases: Vec<PathBuf> =
        entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("db-")).collect();
    let remove = rng.bool();
    for database in databases {
        let Ok(log) = File::options().write(true).open(database.join("db")) else { continue };
        if remove {
            fs::remove_dir_all(&database).unwrap();
        } else {
            let length = log.metadata().unwrap().len();
            (0..20).for_each(|_| log.write_all_at(&[0; 512], rng.u64(0..length.max(1))).unwrap());
        }
    }
}

#[test]
fn a_second_process_is_refused_and_the_first_works_on() {
    let campaign = Campaign::start("two processes on one directory", 5, 50);
    let scratch = on_disk();
    let mut site = Site::new(scratch.path().join("data"), scratch.path(), Plan::new(campaign.seed));
    let mut first = Worker::start(&site.orders, |_| {});
    site.acks.wait_open(&mut first, 0);
    let named = format!("process {}", first.pid());
    for _ in 0..campaign.rounds {
        let before = site.acks.total();
        let refused = DataDir::open(&site.orders.data).unwrap_err();
        assert_eq!(refused.code(), "store.dir_in_use");
        assert!(refused.detail().contains(&named), "{refused}");

        let elsewhere = scratch.path().join("second");
        let mut second = Site::new(site.orders.data.clone(), &elsewhere, site.orders.plan.clone());
        std::fs::create_dir_all(&elsewhere).unwrap();
        let mut worker = Worker::start(&second.orders, |_| {});
        assert!(!worker.finish().success());
        second.acks.poll();
        assert!(second.acks.unopened.last().unwrap().starts_with("store.dir_in_use "), "{:?}", second.acks.unopened);
        assert_eq!((second.acks.opened.len(), second.acks.total()), (0, 0));
        until("the first process commits again", || {
            site.acks.poll();
            (site.acks.total() > before).then_some(())
        });
    }
    first.kill();
    site.acks.poll();
    let seen = open_and_look(&site.orders.data, &site.orders.plan, &site.acks.last, After::Close);
    let mut tally = Tally::default();
    tally.add("the first process's store", &seen);
    campaign.sum_up(&format!(
        "{} refused in-process and as many processes, {} acknowledged commits of the first, {}",
        campaign.rounds,
        site.acks.total(),
        tally.counts()
    ));
    assert!(site.acks.refused.is_empty(), "{:?}", site.acks.refused);
    tally.assert_right();
}
