//! Damaged bytes: a store that was put aside is copied, files of it are damaged, and it is opened and read in full.
//!
//! A store keeps two copies of everything; see [`template::part_of`] for which file belongs to which. Damage to one copy has to be repaired
//! without a trace, damage to both has to be noticed, restored as far as there is a backup, and said.
//!
//! The rounds run in processes of their own, since damage may well make a library loop for ever, eat all memory or abort: whoever does not
//! finish a round is ended, and that counts.

mod both;
mod live;
mod rounds;
mod tails;
mod template;

use std::path::Path;

use self::rounds::{Counts, Orders, Verdict, run};
use self::template::{Aside, Left, Template, commits, life, plan, put_aside};
use super::check::{After, open_and_look};
use super::{Campaign, in_memory, on_disk};

/// Each of them is right before it is damaged.
fn assert_undamaged(asides: &[Aside]) {
    for aside in asides {
        let place = in_memory();
        Template::load(&aside.data).put(place.path());
        let seen = open_and_look(place.path(), &aside.plan, &aside.acked, After::Close);
        assert!(seen.is_right(), "{} was not right before it was damaged: {seen:?}", aside.name);
    }
}

/// Stores left in every way, with small values and with large ones, with and without a backup.
fn stores(scratch: &Path, seed: u64, rng: &mut fastrand::Rng) -> Vec<Aside> {
    let mut make = |name: &str, large: bool, left, backup| {
        put_aside(scratch, (name, left), plan(seed, large), [&commits(30), &life(10, backup)], rng)
    };
    let asides = vec![
        make("closed", false, Left::Closed, true),
        make("killed", false, Left::Killed, true),
        make("power lost", false, Left::Dark, true),
        make("killed, large values", true, Left::Killed, true),
        make("killed, no backup", false, Left::Killed, false),
    ];
    assert_undamaged(&asides);
    asides
}

fn campaign(name: &'static str, usual: u64, full: u64, both: bool) -> Counts {
    let mut campaign = Campaign::start(name, usual, full);
    let scratch = on_disk();
    let templates = stores(scratch.path(), campaign.seed, &mut campaign.rng);
    let out = scratch.path().to_owned();
    let kept = campaign.kept.clone();
    let orders = Orders { kept, templates, seed: campaign.seed, from: 0, step: 1, to: campaign.rounds, both, out };
    let counts = run(&orders, scratch.path());
    campaign.sum_up(&counts.text(both));
    counts
}

#[test]
fn damage_to_one_copy_is_repaired() {
    campaign("damage to one of the two copies", 300, 10_000, false).assert_right();
}

#[test]
fn damage_to_both_copies_is_noticed_and_restored() {
    let counts = campaign("damage to both copies", 50, 500, true);
    counts.assert_right();
    assert!(counts.of(Verdict::Restored) > 0 && counts.of(Verdict::Refused) > 0, "{}", counts.text(true));
}
