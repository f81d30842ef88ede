//! The end of the journal as a crash may leave it: the last group's record cut or with sectors of its write missing, in one copy or in both. As
//! long as anything else has the group it is there; in no copy it was never acknowledged, and nothing before it is touched.

use std::fs::{self, File};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::assert_undamaged;
use super::template::{Left, STORE, Template, commits, life, plan, put_aside};
use crate::durability::check::{After, Tally, open_and_look};
use crate::durability::workload::Step;
use crate::durability::{Campaign, files_below, in_memory, on_disk};

/// What a disk writes as one.
const SECTOR: u64 = 512;
/// Bytes before the first record of a segment, and before the payload of a record.
const SEGMENT_HEAD: u64 = 64;
const RECORD_HEAD: u64 = 12;

/// What becomes of the last record.
#[derive(Debug, Clone, Copy)]
enum Tear {
    /// All from there on is as it was before: zeros.
    Blank,
    /// The file ends there, which no crash does.
    Cut,
    /// Any of its sectors may be missing.
    Holes,
}

/// The newest segment of a copy in `data`, and where its last record is.
fn last_record(data: &Path, copy: &str) -> (PathBuf, Range<u64>) {
    let mut files = files_below(&data.join(STORE).join("journal").join(copy));
    files.retain(|path| path.extension().is_some_and(|end| end == "log"));
    while let Some(path) = files.pop() {
        let file = File::open(&path).unwrap();
        let (mut last, mut at) = (0..0, SEGMENT_HEAD);
        loop {
            let mut length = [0; 4];
            file.read_exact_at(&mut length, at).unwrap_or_default();
            match u64::from(u32::from_le_bytes(length)) {
                0 => break,
                length => last = at..at + RECORD_HEAD + length,
            }
            at = last.end;
        }
        if last.end > 0 {
            return (path, last);
        }
    }
    panic!("no record in copy {copy}");
}

fn tear(data: &Path, copy: &str, how: Tear, cut: u64, rng: &mut fastrand::Rng) {
    let (path, record) = last_record(data, copy);
    let file = File::options().write(true).open(path).unwrap();
    let blank =
        |range: Range<u64>| file.write_all_at(&vec![0; (range.end - range.start) as usize], range.start).unwrap();
    match how {
        Tear::Blank => blank(cut..record.end),
        Tear::Cut => file.set_len(cut).unwrap(),
        Tear::Holes => {
            let sectors = record.start / SECTOR..record.end.div_ceil(SECTOR);
            let range = |sector: u64| (sector * SECTOR).max(record.start)..((sector + 1) * SECTOR).min(record.end);
            let some = sectors.clone().nth(rng.usize(0..(sectors.end - sectors.start) as usize)).unwrap();
            sectors.filter(|sector| *sector == some || rng.bool()).for_each(|sector| blank(range(sector)));
        }
    }
}

/// The places where the last record may end: its own beginning, and every sector in it.
fn cuts(record: &Range<u64>) -> Vec<u64> {
    let sectors = (record.start / SECTOR + 1..).map(|sector| sector * SECTOR).take_while(|at| *at < record.end);
    std::iter::once(record.start).chain(sectors).collect()
}

#[test]
fn a_torn_tail_of_the_journal_loses_nothing_that_another_copy_has() {
    let mut campaign = Campaign::start("torn and reordered ends of the journal", 60, 3_000);
    let rng = &mut campaign.rng;
    let scratch = on_disk();
    let mut unsettled = commits(1).to_vec();
    unsettled.splice(0..0, life(10, false));
    let settled = [&unsettled[..], &[Step::Settle]].concat();
    let mut make = |name: &str, large, left, life: &[Step]| {
        put_aside(scratch.path(), (name, left), plan(campaign.seed, large), [&commits(20), life], rng)
    };
    let asides = [
        make("killed", false, Left::Killed, &unsettled),
        make("power lost", false, Left::Dark, &unsettled),
        make("power lost, large values", true, Left::Dark, &unsettled),
        make("in sled", false, Left::Dark, &settled),
    ];
    assert_undamaged(&asides);
    let templates: Vec<_> = asides.iter().map(|aside| Template::load(&aside.data)).collect();
    let mut tally = Tally::default();
    let (mut whole, mut unacknowledged, mut stated) = (0, 0, 0);
    for round in 0..campaign.rounds as usize {
        let (aside, template) = (&asides[round % asides.len()], &templates[round % asides.len()]);
        let copies = [&["a", "b"][..], &["a"], &["b"]][round / asides.len() % 3];
        let how = [Tear::Blank, Tear::Holes, Tear::Blank, Tear::Holes, Tear::Cut][round / (3 * asides.len()) % 5];
        let place = in_memory();
        template.put(place.path());
        let places = cuts(&last_record(place.path(), "a").1);
        // Each of them in turn in one copy, any in the other.
        let mut cut = places[round % places.len()];
        for copy in copies {
            tear(place.path(), copy, how, cut, rng);
            cut = *rng.choice(&places).unwrap();
        }
        let seen = open_and_look(place.path(), &aside.plan, &aside.acked, After::Drop);
        let what = format!("round {round}, {}, {how:?} in {copies:?}, {cut}", aside.name);
        let may_be_gone = copies.len() == 2 && aside.name != "in sled";
        // Nobody can tell whether there was a record behind the end of a file, so it is as well to say so.
        let said = matches!(how, Tear::Cut) && copies.len() == 2 && seen.report.outcome == "Restored";
        let is_state = |seq| seen.is_whole() && aside.after(seq) == Some(&seen.counts);
        if said && seen.report.lost.is_some_and(|(from, _)| is_state(from - 1)) {
            stated += 1;
        } else if may_be_gone && seen.report.is_complete() && is_state(aside.last() - 1) {
            unacknowledged += 1;
        } else {
            whole += 1;
            tally.add(&what, &seen);
        }
        let again = open_and_look(place.path(), &aside.plan, &seen.counts, After::Close);
        assert!(again.is_right(), "{what}, opened once more: {again:?}");
        fs::remove_dir_all(place.path()).unwrap();
    }
    campaign.sum_up(&format!(
        "{} rounds, {whole} with another copy: {}; {unacknowledged} in no copy and so never acknowledged, {stated} where a file was cut and \
         that is said; {}",
        campaign.rounds,
        tally.counts(),
        tally.outcomes(),
    ));
    assert!(unacknowledged > 0);
    tally.assert_right();
}

/// The model itself: where the last record is.
#[test]
fn the_last_record_is_found() {
    let place = in_memory();
    let path = place.path().join("store/journal/a/00000000000000000001.log");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut bytes = vec![0; 4096];
    bytes[64] = 88;
    bytes[164..166].copy_from_slice(&1000u16.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    let (found, record) = last_record(place.path(), "a");
    assert_eq!((found, record.clone()), (path, 164..1176));
    assert_eq!(cuts(&record), [164, 512, 1024]);
}
