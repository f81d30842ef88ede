use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};

use fastrand::Rng;
use tempfile::TempDir;

use super::*;
use crate::store::engine::disk::census;

const STORE: StoreId = StoreId([7; 16]);
const SMALL: u64 = 4096;

/// Where a record stands, in every copy.
#[derive(Debug, Clone)]
struct Place {
    first: u64,
    from: usize,
    to: usize,
}

/// A journal of two copies, and what was written into it.
struct Lab {
    _dir: TempDir,
    dirs: Vec<PathBuf>,
    journal: Option<Journal>,
    entries: Vec<Entry>,
    places: Vec<Place>,
}

/// Different for every seq and `take`, and as long as any other of its seq.
fn made(seq: u64, take: u64) -> Entry {
    let mut shape = Rng::with_seed(seq);
    let mut fill = Rng::with_seed(seq << 8 | take);
    let mut bytes = |most: usize| (0..shape.usize(1..most)).map(|_| fill.u8(..)).collect::<Bytes>();
    let rows = (0..1 + seq % 5).map(|n| Row { key: bytes(30), value: (n % 4 != 3).then(|| bytes(90)) }).collect();
    let tally = census::Tally { rows: seq, bytes: take, digest: seq * 31 };
    Entry { seq, at: Time(1000 + seq as i64), rows, census: vec![(*b"pl", tally)] }
}

fn append(journal: &mut Journal, entry: &Entry) -> Result<()> {
    let rows = entry.rows.iter().map(|row| (&row.key, row.value.as_ref()));
    journal.append(entry.seq, entry.at, rows, &entry.census)
}

fn durable(journal: &mut Journal, entry: &Entry) {
    append(journal, entry).unwrap();
    journal.start_sync();
    journal.wait_sync().unwrap();
}

fn read(dirs: &[PathBuf], after: u64) -> (Vec<Entry>, End) {
    let mut reader = Reader::open(dirs, STORE, after).unwrap();
    let mut entries = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        entries.push(entry);
    }
    (entries, reader.end())
}

/// How each copy ends when it is read alone.
fn ends(dirs: &[PathBuf], after: u64) -> Vec<End> {
    dirs.iter().map(|dir| read(std::slice::from_ref(dir), after).1).collect()
}

impl Lab {
    fn new(segment_bytes: u64) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let dirs: Vec<_> = ["a", "b"].iter().map(|name| dir.path().join("journal").join(name)).collect();
        let journal = Journal::start(&dirs, STORE, 0, segment_bytes).unwrap();
        Self { _dir: dir, dirs, journal: Some(journal), entries: Vec::new(), places: Vec::new() }
    }

    fn journal(&mut self) -> &mut Journal {
        self.journal.as_mut().unwrap()
    }

    fn last(&self) -> u64 {
        self.entries.len() as u64
    }

    fn append(&mut self, count: u64) -> &mut Self {
        for _ in 0..count {
            let entry = made(self.last() + 1, 0);
            let journal = self.journal();
            append(journal, &entry).unwrap();
            let length = journal.buffer.len() - HEAD;
            let to = journal.offset as usize;
            let place = Place { first: journal.replicas[0].held.back().unwrap().first, from: to - length, to };
            self.entries.push(entry);
            self.places.push(place);
        }
        self.journal().start_sync();
        self.journal().wait_sync().unwrap();
        self
    }

    fn restart(&mut self) {
        self.journal = None;
        self.journal = Some(Journal::start(&self.dirs, STORE, self.last(), SMALL).unwrap());
    }

    /// The file that holds `seq` in `copy`.
    fn file(&self, copy: usize, seq: u64) -> PathBuf {
        segment::path_of(&self.dirs[copy], self.places[seq as usize - 1].first)
    }

    fn change(&self, copy: usize, seq: u64, change: impl FnOnce(&mut [u8])) {
        let place = &self.places[seq as usize - 1];
        let mut bytes = fs::read(self.file(copy, seq)).unwrap();
        change(&mut bytes[place.from..place.to]);
        fs::write(self.file(copy, seq), bytes).unwrap();
    }

    fn is_intact(&self, copy: usize, seq: u64) -> bool {
        let place = &self.places[seq as usize - 1];
        let file = fs::read(self.file(copy, seq)).unwrap_or_default();
        let salt = Salt::new(STORE, place.first);
        file.get(place.from..place.to).is_some_and(|record| record::payload(&salt, record).is_some())
    }

    /// One random act of damage in `copy`.
    fn damage(&self, copy: usize, rng: &mut Rng) -> String {
        let segments = segment::list(&self.dirs[copy]).unwrap();
        let path = &segments[rng.usize(..segments.len())].path;
        let mut bytes = fs::read(path).unwrap();
        let at = rng.usize(..bytes.len().max(1)).min(bytes.len());
        let page = at & !511..bytes.len().min((at & !511) + 512);
        let what = rng.u8(..5);
        match what {
            0 => bytes.iter_mut().skip(at).take(1).for_each(|byte| *byte ^= 1 << rng.u8(..8)),
            1 => bytes[page].fill(0),
            2 => bytes[page].iter_mut().for_each(|byte| *byte = rng.u8(..)),
            3 => bytes.truncate(at),
            _ => fs::remove_file(path).unwrap(),
        }
        if what < 4 {
            fs::write(path, bytes).unwrap();
        }
        format!("{what} at {at} of {}", path.display())
    }
}

/// A random life: appends, restarts, trims. Returns the seq behind which copy 0 still holds everything.
fn live(lab: &mut Lab, rng: &mut Rng) -> u64 {
    let mut kept = 0;
    for _ in 0..rng.u8(2..8) {
        lab.append(rng.u64(1..30));
        match rng.u8(..4) {
            0 => lab.restart(),
            1 => {
                kept = rng.u64(kept..=lab.last());
                (0..2).for_each(|copy| lab.journal().trim(copy, kept));
                assert!((0..2).all(|copy| lab.journal().first_seq(copy) <= kept + 1));
            }
            _ => {}
        }
    }
    lab.journal = None;
    kept
}

#[test]
fn everything_is_read_again_over_segments_and_restarts() {
    let mut lab = Lab::new(SMALL);
    for round in 0..4 {
        lab.append(40);
        assert_eq!(lab.journal().last_seq(), lab.last());
        assert_eq!(read(&lab.dirs, 0), (lab.entries.clone(), End::Complete), "round {round}");
        assert_eq!(read(&lab.dirs, 33), (lab.entries[33..].to_vec(), End::Complete));
        assert_eq!(read(&lab.dirs, lab.last()), (vec![], End::Complete));
        for copy in 0..2 {
            let segments = segment::list(&lab.dirs[copy]).unwrap();
            assert_eq!(segments.iter().map(|segment| segment.bytes).sum::<u64>(), lab.journal().bytes(copy));
            assert_eq!(read(&lab.dirs[copy..=copy], 0), (lab.entries.clone(), End::Complete), "copy {copy}");
        }
        assert_eq!(last_intact(&lab.dirs, STORE).unwrap(), lab.last());
        lab.restart();
    }
    assert!(segment::list(&lab.dirs[0]).unwrap().len() > 10);
}

#[test]
fn a_group_out_of_order_is_refused() {
    let mut lab = Lab::new(SMALL);
    lab.append(2);
    for seq in [0, 2, 4] {
        assert_eq!(append(lab.journal(), &made(seq, 1)).unwrap_err().code(), "store.journal_order");
    }
    lab.append(1);
    assert_eq!(read(&lab.dirs, 0), (lab.entries.clone(), End::Complete));
}

#[test]
fn a_record_larger_than_a_segment_gets_a_larger_segment() {
    let mut lab = Lab::new(SMALL);
    let mut entries = Vec::new();
    for seq in 1..=7 {
        let mut entry = made(seq, 0);
        if seq % 3 == 1 {
            entry.rows.push(Row { key: Bytes::from_static(b"k"), value: Some(vec![9; 3 * SMALL as usize].into()) });
        }
        durable(lab.journal(), &entry);
        entries.push(entry);
    }
    assert_eq!(read(&lab.dirs, 0), (entries.clone(), End::Complete));
    (0..2).for_each(|copy| lab.journal().trim(copy, 6));
    lab.journal = None;
    assert_eq!(read(&lab.dirs, 6).0, entries[6..]);
}

#[test]
fn damage_to_one_copy_costs_nothing() {
    let (mut rng, mut acts, mut records) = (Rng::with_seed(1), 0, 0);
    for round in 0..40 {
        let mut lab = Lab::new(SMALL);
        let kept = live(&mut lab, &mut rng);
        let copy = rng.usize(..2);
        let done: Vec<String> = (0..rng.u8(1..6))
            .take_while(|_| !segment::list(&lab.dirs[copy]).unwrap().is_empty())
            .map(|_| lab.damage(copy, &mut rng))
            .collect();
        let (entries, end) = read(&lab.dirs, kept);
        assert_eq!(entries, lab.entries[kept as usize..], "round {round}: {done:?}");
        assert_eq!(end, End::Complete, "round {round}: {done:?}");
        acts += done.len();
        records += entries.len();
    }
    println!("journal, damage to one copy: 40 journals, {acts} acts of damage, {records} records read, 0 lost");
}

#[test]
fn damage_to_both_copies_is_told_and_never_read() {
    let (mut rng, mut gaps, mut tails, mut whole) = (Rng::with_seed(2), 0, 0, 0);
    for round in 0..80 {
        let mut lab = Lab::new(SMALL);
        let kept = live(&mut lab, &mut rng);
        let mut done = Vec::new();
        for copy in 0..2 {
            for _ in 0..rng.u8(1..8) {
                if !segment::list(&lab.dirs[copy]).unwrap().is_empty() {
                    done.push(lab.damage(copy, &mut rng));
                }
            }
        }
        let (entries, end) = read(&lab.dirs, kept);
        let read_to = kept + entries.len() as u64;
        assert_eq!(entries, lab.entries[kept as usize..read_to as usize], "round {round}: {done:?}");
        let intact = |seq: &u64| (0..2).any(|copy| lab.is_intact(copy, *seq));
        assert!(read_to == lab.last() || !intact(&(read_to + 1)), "round {round}: stopped before an intact record");
        let later = (read_to + 2..=lab.last()).find(intact);
        match end {
            End::Gap { missing_from, resumes_at } => {
                assert_eq!(missing_from, read_to + 1);
                assert!(resumes_at.unwrap() <= later.unwrap_or(u64::MAX), "round {round}: {done:?}");
                gaps += 1;
            }
            _ => {
                assert_eq!(later, None, "round {round}: {end:?} at {read_to}: {done:?}");
                if read_to == lab.last() { whole += 1 } else { tails += 1 }
            }
        }
    }
    println!(
        "journal, damage to both copies: 80 journals, {gaps} gaps, {tails} lost tails, {whole} whole, 0 wrong entries"
    );
}

#[test]
fn a_hole_in_both_copies_is_a_gap() {
    let mut lab = Lab::new(SMALL);
    lab.append(60);
    lab.change(0, 20, |record| record[HEAD + 9] ^= 1);
    assert_eq!(read(&lab.dirs, 0), (lab.entries.clone(), End::Complete));
    let gap = End::Gap { missing_from: 20, resumes_at: Some(21) };
    assert_eq!(ends(&lab.dirs, 0), [gap, End::Complete]);
    lab.change(1, 20, |record| record[..4].fill(0xff));
    assert_eq!(read(&lab.dirs, 0), (lab.entries[..19].to_vec(), gap));
    assert_eq!(read(&lab.dirs, 20), (lab.entries[20..].to_vec(), End::Complete));
    // A missing segment is one too.
    let lost = lab.places[39].first;
    (0..2).for_each(|copy| fs::remove_file(lab.file(copy, 40)).unwrap());
    let next = lab.places.iter().map(|place| place.first).find(|first| *first > lost);
    assert_eq!(read(&lab.dirs, 20).1, End::Gap { missing_from: lost, resumes_at: next });
    assert_eq!(last_intact(&lab.dirs, STORE).unwrap(), 60);
}

#[test]
fn a_lost_header_or_folder_is_damage_of_one_copy() {
    let mut lab = Lab::new(SMALL);
    lab.append(20);
    let mut bytes = fs::read(lab.file(0, 3)).unwrap();
    bytes[20] ^= 1;
    fs::write(lab.file(0, 3), bytes).unwrap();
    fs::remove_dir_all(&lab.dirs[1]).unwrap();
    assert_eq!(read(&lab.dirs, 0), (lab.entries.clone(), End::Complete));
    // Records of another store are none of ours.
    let mut other = Reader::open(&lab.dirs, StoreId([8; 16]), 0).unwrap();
    assert_eq!((other.next().unwrap(), other.end()), (None, End::Unproven));
    assert_eq!(last_intact(&lab.dirs, STORE).unwrap(), 20);
    assert_eq!(last_intact(&lab.dirs, StoreId([8; 16])).unwrap(), 0);
}

#[test]
fn every_torn_tail_keeps_what_is_before_it_and_what_comes_after() {
    let mut rng = Rng::with_seed(3);
    let mut lab = Lab::new(SMALL);
    lab.append(9);
    lab.journal = None;
    let pristine: Vec<Vec<u8>> = (0..2).map(|copy| fs::read(lab.file(copy, 9)).unwrap()).collect();
    let Place { from, to, .. } = lab.places[8].clone();
    let mut cuts = 0;
    for cut in from..to {
        for tail in 0..3 {
            for (copy, bytes) in pristine.iter().enumerate() {
                // Torn at the same place in both copies, or in one with nothing of it in the other.
                let cut = if tail == 2 && copy == 1 { from } else { cut };
                let mut torn = bytes.clone();
                torn[cut..to].iter_mut().for_each(|byte| *byte = if tail == 1 { rng.u8(..) } else { 0 });
                fs::write(lab.file(copy, 9), torn).unwrap();
            }
            let (entries, end) = read(&lab.dirs, 0);
            if entries.len() == 9 {
                assert!(lab.is_intact(0, 9), "cut at {cut}");
                continue;
            }
            assert_eq!(entries, lab.entries[..8], "cut at {cut}");
            let blank = fs::read(lab.file(0, 9)).unwrap()[from..from + HEAD] == [0; HEAD];
            assert_eq!(end, if blank { End::Complete } else { End::TornTail }, "cut at {cut}");
            if cut % 40 == 0 {
                let mut journal = Journal::start(&lab.dirs, STORE, 8, SMALL).unwrap();
                (9..12).for_each(|seq| durable(&mut journal, &made(seq, 1)));
                drop(journal);
                let (entries, end) = read(&lab.dirs, 8);
                assert_eq!((entries, end), ((9..12).map(|seq| made(seq, 1)).collect(), End::Complete), "cut at {cut}");
                assert_eq!(ends(&lab.dirs, 0), [End::Complete; 2], "cut at {cut}");
                lab.dirs.iter().for_each(|dir| fs::remove_file(segment::path_of(dir, 9)).unwrap());
            }
            cuts += 1;
        }
    }
    println!("journal, torn tails: {cuts} cuts, 0 records before them lost, 0 of them read");
}

#[test]
fn what_a_repair_left_behind_never_comes_back() {
    for (last, restarts) in [(3, 1), (8, 2), (17, 3), (29, 1)] {
        let mut lab = Lab::new(SMALL);
        lab.append(30);
        // Copy 1 no longer knows where `last` ends.
        lab.change(1, last, |record| record.fill(0xee));
        for _ in 0..restarts {
            lab.journal = None;
            lab.journal = Some(Journal::start(&lab.dirs, STORE, last, SMALL).unwrap());
        }
        assert_eq!(read(&lab.dirs, 0), (lab.entries[..last as usize].to_vec(), End::Complete), "after {last}");
        assert!(last_intact(&lab.dirs, STORE).unwrap() <= last);
        // The new records have the places and lengths of the old ones.
        durable(lab.journal(), &made(last + 1, 1));
        assert_eq!(read(&lab.dirs, last), (vec![made(last + 1, 1)], End::Complete));
    }
}

#[test]
fn a_copy_that_lacks_the_tail_is_mended_before_the_other_is_trimmed() {
    for (lagging, what) in (0..8).map(|case| (case / 4, case % 4)) {
        let mut lab = Lab::new(SMALL);
        lab.append(50);
        let (last, file) = (lab.last(), lab.file(lagging, 50));
        match what {
            0 => lab.change(lagging, last, |record| record.fill(0)),
            1 => lab.change(lagging, last, |record| record[HEAD..].fill(0)),
            2 => fs::remove_file(file).unwrap(),
            _ => fs::remove_dir_all(&lab.dirs[lagging]).unwrap(),
        }
        lab.restart();
        lab.append(10);
        lab.journal().trim(1 - lagging, 60);
        lab.journal = None;
        let from = if what == 3 { lab.places[49].first - 1 } else { 0 };
        let alone = &lab.dirs[lagging..=lagging];
        assert_eq!(read(alone, from), (lab.entries[from as usize..].to_vec(), End::Complete), "{lagging} {what}");
    }
}

#[test]
fn the_stale_bytes_of_reused_segments_are_never_records() {
    let (mut lab, mut reused) = (Lab::new(SMALL), 0);
    for _ in 0..300 {
        lab.append(1);
        let last = lab.last();
        lab.journal().trim(1, last);
        let (entries, end) = read(&lab.dirs[1..], last - 1);
        assert_eq!((entries, end), (lab.entries[last as usize - 1..].to_vec(), End::Complete));
        let Place { to, .. } = lab.places[last as usize - 1];
        reused += usize::from(fs::read(lab.file(1, last)).unwrap()[to + HEAD..].iter().any(|byte| *byte != 0));
    }
    assert!(reused > 100, "only {reused} of 300 appends went into a reused segment");
    assert!(fs::read_dir(&lab.dirs[1]).unwrap().count() <= 3);
    // The last record torn above stale bytes is a torn tail like any other.
    lab.change(1, 300, |record| record[HEAD] ^= 1);
    assert_eq!(read(&lab.dirs[1..], 299), (vec![], End::TornTail));
}

#[test]
fn a_full_disk_refuses_before_anything_is_written_and_is_forgotten_when_there_is_room() {
    let mut lab = Lab::new(SMALL);
    lab.append(2);
    let mut fat = made(3, 0);
    fat.rows.push(Row { key: Bytes::from_static(b"k"), value: Some(vec![9; SMALL as usize].into()) });
    let full = || std::os::unix::fs::symlink("/dev/full", lab.dirs[1].join("spare.partial")).unwrap();
    full();
    let refused = append(lab.journal.as_mut().unwrap(), &fat).unwrap_err();
    assert_eq!(refused.code(), "store.disk_full");
    assert_eq!(read(&lab.dirs, 0), (lab.entries.clone(), End::Complete));
    assert_eq!(ends(&lab.dirs, 0), [End::Complete; 2]);
    assert!(lab.dirs.iter().all(|dir| segment::list(dir).unwrap().len() == 1));
    // What still fits is taken; and the room that came back is used.
    lab.append(1);
    durable(lab.journal(), &Entry { seq: 4, ..fat });
    assert_eq!(read(&lab.dirs, 3).0.len(), 1);
}

#[test]
fn a_failed_sync_is_final() {
    let mut lab = Lab::new(SMALL);
    lab.append(1);
    let (pipe, _other) = std::io::pipe().unwrap();
    append(lab.journal(), &made(2, 0)).unwrap();
    lab.journal().replicas[1].file = Arc::new(File::from(std::os::fd::OwnedFd::from(pipe)));
    lab.journal().start_sync();
    assert_eq!(lab.journal().wait_sync().unwrap_err().code(), "store.sync_failed");
    assert_eq!(append(lab.journal(), &made(3, 0)).unwrap_err().code(), "store.sync_failed");
    lab.journal().start_sync();
    assert_eq!(lab.journal().wait_sync().unwrap_err().code(), lab.journal().fault().unwrap().code());
}

#[test]
fn a_write_that_fails_in_one_copy_is_undone_in_the_other() {
    let mut lab = Lab::new(SMALL);
    lab.append(1);
    let unwritable = Arc::new(File::open(lab.file(1, 1)).unwrap());
    lab.journal().replicas[1].file = unwritable;
    assert_eq!(append(lab.journal(), &made(2, 0)).unwrap_err().code(), "store.journal_broken");
    assert_eq!(append(lab.journal(), &made(2, 0)).unwrap_err().code(), "store.journal_broken");
    assert_eq!(read(&lab.dirs, 0), (lab.entries.clone(), End::Complete));
}

#[test]
fn a_consumer_follows_the_writer_and_learns_that_it_lags() {
    const COUNT: u64 = 1500;
    let mut lab = Lab::new(SMALL);
    let (durable_to, seen_to) = (AtomicU64::new(0), AtomicU64::new(0));
    let (journal, dirs) = (lab.journal.as_mut().unwrap(), &lab.dirs);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for seq in 1..=COUNT {
                durable(journal, &made(seq, 0));
                durable_to.store(seq, Ordering::Release);
                journal.trim(1, seq);
                journal.trim(0, seen_to.load(Ordering::Acquire));
            }
        });
        let mut reader = Reader::open(dirs, STORE, 0).unwrap();
        let mut seen = 0;
        while seen < COUNT {
            reader.bound(durable_to.load(Ordering::Acquire));
            while let Some(entry) = reader.next().unwrap() {
                seen += 1;
                assert_eq!(entry, made(seen, 0));
                seen_to.store(seen, Ordering::Release);
            }
            assert_eq!(reader.end(), End::Complete, "at {seen}");
        }
    });
    let journal = lab.journal();
    (0..2).for_each(|copy| journal.trim(copy, COUNT));
    let oldest = journal.first_seq(0);
    drop(lab.journal.take());
    assert!(oldest > 2);
    assert_eq!(read(&lab.dirs, 1), (vec![], End::Gap { missing_from: 2, resumes_at: Some(oldest) }));
    // Up to a bound everything must be there.
    let mut reader = Reader::open(&lab.dirs, STORE, COUNT - 1).unwrap();
    reader.bound(COUNT + 1);
    assert_eq!(reader.next().unwrap(), Some(made(COUNT, 0)));
    assert_eq!(reader.next().unwrap(), None);
    assert_eq!(reader.end(), End::Gap { missing_from: COUNT + 1, resumes_at: None });
}
