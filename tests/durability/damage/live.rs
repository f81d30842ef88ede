//! Damage done while the store is open and in use: what a read answers is right or an error, and whatever the process did not notice is found
//! when it has ended and the store is opened again.

use std::path::Path;
use std::time::Duration;

use grps::store::Settings;

use super::assert_undamaged;
use super::template::{COPY_1, Damage, Left, Template, commits, life, plan, put_aside};
use crate::durability::check::{After, Tally, open_and_look};
use crate::durability::child::{Acks, Site, Worker};
use crate::durability::chores::Chore;
use crate::durability::workload::{Orders, Step, varied_settings};
use crate::durability::{Campaign, in_memory, on_disk};

/// Commits of each writer in a life that ends by itself.
const COMMITS: u64 = 40;

#[test]
fn damage_to_a_store_in_use_is_never_read_as_missing_rows() {
    let mut campaign = Campaign::start("damage to a store in use", 16, 500);
    let rng = &mut campaign.rng;
    let scratch = on_disk();
    let asides = [false, true].map(|large| {
        let name = if large { "large values" } else { "small values" };
        put_aside(
            scratch.path(),
            (name, Left::Killed),
            plan(campaign.seed, large),
            [&commits(30), &life(10, true)],
            rng,
        )
    });
    assert_undamaged(&asides);
    let templates = asides.each_ref().map(|aside| Template::load(&aside.data));
    let (mut tally, mut sums) = (Tally::default(), Sums::default());
    for round in 0..campaign.rounds {
        let which = rng.usize(0..2);
        let (aside, place) = (&asides[which], in_memory());
        templates[which].put(&place.path().join("data"));
        let mut site = Site::new(place.path().join("data"), place.path(), aside.plan.clone());
        site.acks.last.clone_from(&aside.acked);
        let steps = vec![Step::Commit((rng.u8(0..3) > 0).then_some(COMMITS))];
        let chore = [Chore::None, Chore::None, *rng.choice(Chore::ALL).unwrap()][rng.usize(0..3)];
        // So little is held in memory that most reads go to the disk.
        let settings = Settings { page_cache_bytes: 128 << 10, ..varied_settings(rng) };
        let orders = Orders { steps, chore, settings, verify: true, close: rng.bool(), ..site.orders.clone() };
        let mut worker = Worker::start(&orders, |_| {});
        site.acks.wait_open(&mut worker, 0);
        std::thread::sleep(Duration::from_micros(rng.u64(0..150_000)));
        let what = format!("round {round}, {}, {chore:?}: {}", aside.name, spoil(&orders.data, rng));
        if orders.steps[0].ends() {
            worker.finish();
        } else {
            std::thread::sleep(Duration::from_micros(rng.u64(0..500_000)));
            worker.kill();
        }
        site.acks.poll();
        sums.add(&what, &site.acks, &worker.printed());
        let seen = open_and_look(&orders.data, &aside.plan, &site.acks.last, After::Drop);
        tally.add(&what, &seen);
    }
    let Sums { acked, verified, unread, refused, findings } = sums;
    campaign.sum_up(&format!(
        "{} stores, {acked} acknowledged commits, {verified} times all rows of a writer read, {} misread, {unread} answered with an error; \
         {refused} commits refused; opened again: {}; {}",
        tally.stores,
        findings.len(),
        tally.counts(),
        tally.outcomes(),
    ));
    assert!(findings.is_empty(), "{findings:#?}");
    assert!(verified > 0);
    tally.assert_right();
}

/// What the processes said whose stores were damaged.
#[derive(Default)]
struct Sums {
    acked: u64,
    verified: u64,
    unread: u64,
    refused: usize,
    findings: Vec<String>,
}

impl Sums {
    fn add(&mut self, what: &str, acks: &Acks, printed: &str) {
        self.acked += acks.total();
        self.refused += acks.refused.len();
        self.unread += acks.unread;
        self.verified += acks.verified;
        let wrong = [&acks.ghosts, &acks.misread].into_iter().flatten();
        self.findings.extend(wrong.map(|line| format!("{what}: {line}")).take(3));
        if printed.contains("panicked at tests") {
            self.findings.push(format!("{what}: {printed}"));
        }
    }
}

/// Damages one copy as it is just now.
fn spoil(data: &Path, rng: &mut fastrand::Rng) -> String {
    // Files come and go meanwhile.
    let Some(now) =
        std::iter::repeat_with(|| std::panic::catch_unwind(|| Template::load(data)).ok()).take(20).flatten().next()
    else {
        return "nothing, as it does not keep still".to_owned();
    };
    let parts = now.parts();
    let names: Vec<_> = parts.keys().copied().collect();
    let part = *rng.choice(&names).unwrap();
    let mut what = part.to_owned();
    // Much of a database's log is of no account any more.
    for _ in 0..if part == COPY_1 { rng.u8(10..60) } else { rng.u8(1..6) } {
        let kept = *rng.choice(&parts[part]).unwrap();
        let damage = Damage::any(kept, rng);
        damage.apply(&data.join(&kept.path));
        what += &format!(", {} {damage:?}", kept.path.display());
    }
    what
}
