//! Reading all copies as one: each record from the first copy that has it intact. And telling how the journal ends: in good order, with a
//! record that was never finished, or with a hole, which is damage.

use std::io;
use std::path::{Path, PathBuf};

use super::segment::{self, Segment};
use super::walk::Walk;
use super::{Entry, StoreId};
use crate::base::{Error, Result};
use crate::store::engine::disk::files::disk_failure;

/// Why a reader stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing is missing up to the end, at which nothing was written, or up to the bound.
    Complete,
    /// The last record is unfinished in every copy that has any of it, and nothing follows: a crash while it was written. It was never
    /// acknowledged, or damage destroyed it in all copies; who knows of a later seq from elsewhere can tell.
    TornTail,
    /// As that, in all of several copies. They are written one after the other, so it takes a power cut; a process that ends does not leave it.
    TornEverywhere,
    /// Nothing follows, and nothing shows that nothing did: no copy leads here, or only one that was left in a way that no crash leaves, or that
    /// the disk does not give back.
    Unproven,
    /// No copy has `missing_from`, though there was such a group. The oldest later one that a copy seems to have is `resumes_at`. For a consumer
    /// whose next group has been trimmed, that is the oldest kept.
    Gap { missing_from: u64, resumes_at: Option<u64> },
}

/// Reads entries in order. Works on a journal that is being written, up to a bound.
pub struct Reader {
    copies: Vec<Cursor>,
    /// The seq of the first entry, and of the next.
    first: u64,
    next: u64,
    bound: Option<u64>,
    end: Option<End>,
}

impl Reader {
    /// Reads what comes behind `after`, up to the end. The folders may be missing.
    ///
    /// # Errors
    /// `store.disk_failed` when no copy can be listed.
    pub fn open(dirs: &[PathBuf], store: StoreId, after: u64) -> Result<Self> {
        let listed: Vec<_> = dirs.iter().map(|dir| segment::list(dir)).collect();
        if listed.iter().all(Result::is_err) {
            listed.into_iter().collect::<Result<Vec<_>>>()?;
        }
        let copies =
            dirs.iter().map(|dir| Cursor { dir: dir.clone(), store, walk: None, rest: Rest::Unknown }).collect();
        let first = after.saturating_add(1);
        Ok(Self { copies, first, next: first, bound: None, end: None })
    }

    /// [`Reader::bound`], while building.
    #[must_use]
    pub fn upto(mut self, upto: u64) -> Self {
        self.bound(upto);
        self
    }

    /// The seq of the last entry that was read, or that it started behind.
    pub fn position(&self) -> u64 {
        self.next - 1
    }

    /// For a journal that is being written: reads up to `upto`, which is durable, and then no further until a greater bound is set. What is
    /// missing before it is a gap.
    pub fn bound(&mut self, upto: u64) {
        self.bound = Some(upto);
        self.end = None;
        for copy in &mut self.copies {
            copy.rest = Rest::Unknown;
            // What was read ahead of the bound may have been taken back since.
            copy.walk.iter_mut().for_each(Walk::forget);
        }
    }

    /// The next entry; none at the end, and [`Reader::end`] says which.
    ///
    /// # Errors
    /// `store.no_access`. What the disk does not give back is damaged like anything else: the other copies have it, or it is a gap.
    pub fn next(&mut self) -> Result<Option<Entry>> {
        if self.end.is_some() {
            return Ok(None);
        }
        if self.bound.is_some_and(|upto| self.next > upto) {
            self.end = Some(End::Complete);
            return Ok(None);
        }
        let (mut later, mut tails) = (None::<u64>, Vec::new());
        for copy in &mut self.copies {
            match copy.find(self.next) {
                Ok(Found::Entry(entry)) => {
                    self.next = self.next.saturating_add(1);
                    return Ok(Some(entry));
                }
                Ok(Found::Later(seq)) => later = Some(later.map_or(seq, |least| least.min(seq))),
                Ok(Found::Nothing(tail)) => tails.extend(tail),
                Err(error) if error.code() == "store.disk_failed" => {
                    tracing::warn!(?error, folder = %copy.dir.display(), "a copy of the journal cannot be read");
                }
                Err(error) => return Err(error),
            }
        }
        // A database may be ahead of the journal by the one group that was under way.
        let at =
            |seq: u64| tails.iter().filter(move |(next, _)| *next == seq).map(|(_, tail)| *tail).collect::<Vec<_>>();
        let mut here = at(self.next);
        if here.is_empty() && self.next == self.first {
            here = at(self.next.saturating_sub(1));
        }
        let any = |tail| here.contains(&tail);
        let torn = here.iter().filter(|tail| **tail == Tail::Torn).count();
        self.end = Some(match (later, self.bound) {
            (None, None) if any(Tail::Blank) => {
                if any(Tail::Torn) {
                    End::TornTail
                } else {
                    End::Complete
                }
            }
            (None, None) if torn == 1 && self.copies.len() == 1 => End::TornTail,
            (None, None) if torn == self.copies.len() => End::TornEverywhere,
            (None, None) => End::Unproven,
            (resumes_at, _) => End::Gap { missing_from: self.next, resumes_at },
        });
        Ok(None)
    }

    /// Why [`Reader::next`] returned none. [`End::Complete`] before it did.
    pub fn end(&self) -> End {
        self.end.unwrap_or(End::Complete)
    }
}

/// A place in one copy.
struct Cursor {
    dir: PathBuf,
    store: StoreId,
    walk: Option<Walk>,
    rest: Rest,
}

/// What is known of the records from the place on, so that it is found out once.
enum Rest {
    Unknown,
    /// None before this seq.
    From(u64),
    /// None at all; which seq would come next, if it is known, and what stands there.
    Empty(Option<(u64, Tail)>),
    Unreadable(Error),
}

/// What stands where a copy's records end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tail {
    /// Nothing, as behind the last record.
    Blank,
    /// Something that is no whole record.
    Torn,
    /// What no crash leaves: the end of the file, the end of a segment that another one followed, or a segment without a header.
    Broken,
}

enum Found {
    Entry(Entry),
    /// Not the one wanted, but this one.
    Later(u64),
    /// Neither the one wanted nor a later one; which seq would come next, if it is known, and what stands there.
    Nothing(Option<(u64, Tail)>),
}

impl Cursor {
    fn find(&mut self, wanted: u64) -> Result<Found> {
        match &self.rest {
            Rest::From(seq) if *seq > wanted => return Ok(Found::Later(*seq)),
            Rest::Empty(tail) => return Ok(Found::Nothing(*tail)),
            Rest::Unreadable(error) => return Err(error.clone()),
            Rest::Unknown | Rest::From(_) => {}
        }
        self.search(wanted).inspect_err(|error| self.rest = Rest::Unreadable(error.clone()))
    }

    fn search(&mut self, wanted: u64) -> Result<Found> {
        let failed = |e: io::Error| disk_failure("reading the journal", &e);
        if let Some(walk) = self.walk.as_mut().filter(|walk| walk.expected() <= wanted)
            && let Some(entry) = entry(walk, wanted)?
        {
            return Ok(Found::Entry(entry));
        }
        // Further on there may be a segment that was not there before, or the one we were in may be gone.
        let segments = segment::list(&self.dir)?;
        let (upto, behind) = segments.split_at(segments.partition_point(|segment| segment.first <= wanted));
        let mut tail = None;
        if let Some(own) = upto.last() {
            let here = self.walk.take().filter(|walk| walk.first() == own.first && walk.expected() <= wanted);
            self.walk = here.map_or_else(|| open(own, self.store), |walk| Ok(Some(walk))).map_err(failed)?;
        } else {
            self.walk = None;
        }
        while let Some(walk) = &mut self.walk {
            if let Some(entry) = entry(walk, wanted)? {
                return Ok(Found::Entry(entry));
            }
            let here = match walk.is_blank().map_err(failed)? {
                _ if walk.is_broken().map_err(failed)? => Tail::Broken,
                true => Tail::Blank,
                false => Tail::Torn,
            };
            tail = Some((walk.expected(), here));
            if !walk.resync().map_err(failed)? {
                break;
            }
            let later = walk.expected();
            if later > wanted {
                return Ok(self.later(later));
            }
        }
        for segment in behind {
            // Its header alone proves that everything before it was there once.
            if let Some(mut walk) = open(segment, self.store).map_err(failed)? {
                let named = walk.has_header().map_err(failed)? || walk.pass(segment.first).map_err(failed)?;
                if named || walk.resync().map_err(failed)? {
                    let first = if named { segment.first } else { walk.expected() };
                    return Ok(self.later(first));
                }
            }
        }
        self.rest = Rest::Empty(tail);
        Ok(Found::Nothing(tail))
    }

    fn later(&mut self, seq: u64) -> Found {
        self.rest = Rest::From(seq);
        Found::Later(seq)
    }
}

/// None when it is gone: what was trimmed is not missed here.
fn open(segment: &Segment, store: StoreId) -> io::Result<Option<Walk>> {
    match Walk::open(segment, store) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
        walk => walk.map(Some),
    }
}

/// The entry `wanted`, if the records lead there.
fn entry(walk: &mut Walk, wanted: u64) -> Result<Option<Entry>> {
    let failed = |e: io::Error| disk_failure("reading the journal", &e);
    if wanted > 0 && !walk.pass(wanted - 1).map_err(failed)? {
        return Ok(None);
    }
    walk.take().map_err(failed)
}

/// The last record that is intact in any copy, whatever is damaged before it; 0 when there is none.
///
/// # Errors
/// `store.disk_failed`, when there is no copy that can be read.
pub fn last_intact(dirs: &[PathBuf], store: StoreId) -> Result<u64> {
    let read: Vec<Result<u64>> = dirs.iter().map(|dir| last_intact_of(dir, store)).collect();
    if read.iter().all(Result::is_err) {
        return read.into_iter().collect::<Result<Vec<_>>>().map(|_| 0);
    }
    Ok(read.into_iter().flatten().max().unwrap_or(0))
}

fn last_intact_of(dir: &Path, store: StoreId) -> Result<u64> {
    let failed = |e: io::Error| disk_failure("reading the journal", &e);
    for segment in segment::list(dir)?.iter().rev() {
        let Some(mut walk) = open(segment, store).map_err(failed)? else { continue };
        let mut last = 0;
        loop {
            let from = walk.expected();
            walk.pass(u64::MAX - 1).map_err(failed)?;
            if walk.expected() > from {
                last = walk.expected() - 1;
            }
            if !walk.resync().map_err(failed)? {
                break;
            }
        }
        if last > 0 {
            return Ok(last);
        }
    }
    Ok(0)
}
