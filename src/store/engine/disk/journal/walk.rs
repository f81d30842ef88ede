//! Walking through the records of one segment, and finding the way again behind damage. Reads a window at a time, so memory is bounded by
//! the largest record; nothing that is read is trusted before its checksum held.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::os::unix::fs::FileExt;

use super::record::{self, ALIGN, HEAD, Head, MIN_RECORD, Salt};
use super::segment::{self, HEADER, Segment};
use super::{Entry, StoreId};

/// Bytes read at once.
const WINDOW: usize = 256 << 10;

/// Bytes that are skipped at once when they are zero.
const BLOCK: usize = 4096;

/// What can be read at any place.
pub trait Source {
    /// As [`FileExt::read_at`].
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize>;
}

impl Source for File {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, out, offset)
    }
}

impl Source for &[u8] {
    fn read_at(&self, out: &mut [u8], offset: u64) -> io::Result<usize> {
        let rest = usize::try_from(offset).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        let length = rest.len().min(out.len());
        out[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }
}

/// A place in a segment: everything before it was read, or is lost.
pub struct Walk<S = File> {
    source: S,
    store: StoreId,
    /// The first seq of the segment.
    first: u64,
    salt: Salt,
    offset: u64,
    /// The seq that stands at `offset`, if any does.
    expected: u64,
    window: Vec<u8>,
    window_at: u64,
    /// Whether the segment ends where the window does.
    window_last: bool,
}

impl Walk {
    /// At the beginning of `segment`.
    pub fn open(segment: &Segment, store: StoreId) -> io::Result<Self> {
        Ok(Self::new(File::open(&segment.path)?, store, segment.first))
    }
}

impl<S: Source> Walk<S> {
    pub fn new(source: S, store: StoreId, first: u64) -> Self {
        let salt = Salt::new(store, first);
        Self {
            source,
            store,
            first,
            salt,
            offset: HEADER as u64,
            expected: first,
            window: Vec::new(),
            window_at: 0,
            window_last: false,
        }
    }

    pub fn first(&self) -> u64 {
        self.first
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn expected(&self) -> u64 {
        self.expected
    }

    /// Whether the segment begins with its own header. Its records are readable even if not.
    pub fn has_header(&mut self) -> io::Result<bool> {
        let (store, first) = (self.store, self.first);
        Ok(segment::is_header(self.load(0, HEADER)?, store, first))
    }

    /// Whether the records end here in good order. Stale bytes cannot pass for that, since each append puts an empty head behind itself.
    pub fn is_blank(&mut self) -> io::Result<bool> {
        let offset = self.offset;
        Ok(self.load(offset, HEAD)? == [0; HEAD])
    }

    /// Whether the records end here in a way that no crash leaves: the file ends too (segments have their full length before anything is
    /// written to them), another segment followed, or this one has no header (it gets its name after that).
    pub fn is_broken(&mut self) -> io::Result<bool> {
        if !self.has_header()? || self.is_sealed()? {
            return Ok(true);
        }
        let (offset, salt) = (self.offset, self.salt.clone());
        let ahead = self.load(offset, HEAD + 8)?;
        if ahead.len() < HEAD + 8 {
            return Ok(ahead.get(..HEAD) != Some(&[0; HEAD]));
        }
        let Some(Head { size, .. }) = record::head(&salt, ahead) else { return Ok(false) };
        Ok(self.load(offset, size + HEAD)?.len() < size + HEAD)
    }

    /// Whether the segment's seal stands here or further on.
    fn is_sealed(&mut self) -> io::Result<bool> {
        let (seal, mut at) = (record::seal_of(&self.salt), self.offset);
        loop {
            let ahead = self.load(at, BLOCK + HEAD)?;
            if (0..BLOCK).step_by(ALIGN).any(|from| ahead.get(from..from + HEAD) == Some(&seal)) {
                return Ok(true);
            }
            if ahead.len() < BLOCK + HEAD {
                return Ok(false);
            }
            at += BLOCK as u64;
        }
    }

    /// Goes past the records up to `last`; false where they end earlier.
    pub fn pass(&mut self, last: u64) -> io::Result<bool> {
        while self.expected <= last {
            let Some(head) = self.intact()? else { return Ok(false) };
            self.step(head);
        }
        Ok(true)
    }

    /// Reads the record here and goes past it. None where none is, and where a sound one makes no sense, which is a fault of the writer.
    pub fn take(&mut self) -> io::Result<Option<Entry>> {
        let Some(head) = self.intact()? else { return Ok(None) };
        let entry = record::decode(&self.load(self.offset, head.size)?[HEAD..]);
        if entry.is_some() {
            self.step(head);
        }
        Ok(entry)
    }

    /// Looks behind damage for the next record and goes there; false, and no move, when there is none in this segment.
    pub fn resync(&mut self) -> io::Result<bool> {
        let mut at = self.offset;
        loop {
            at += ALIGN as u64;
            let ahead = self.load(at, BLOCK)?;
            if ahead.len() < HEAD {
                return Ok(false);
            }
            if ahead.iter().take(8).all(|byte| *byte == 0) && ahead == &ZEROS[..ahead.len()] {
                at += (ahead.len() / ALIGN * ALIGN).saturating_sub(ALIGN) as u64;
                continue;
            }
            // As many records as fit between there and here may be lost.
            let most = self.expected.saturating_add((at - self.offset) / MIN_RECORD as u64 + 1);
            if let Some(head) = self.record_at(at, self.expected.saturating_add(1)..=most)? {
                (self.offset, self.expected) = (at, head.seq);
                return Ok(true);
            }
        }
    }

    fn step(&mut self, head: Head) {
        self.offset += head.size as u64;
        self.expected = self.expected.saturating_add(1);
    }

    /// The head of the record here, if it is intact and the one expected.
    fn intact(&mut self) -> io::Result<Option<Head>> {
        let here = (self.offset, self.expected..=self.expected);
        if let Some(head) = self.record_at(here.0, here.1.clone())? {
            return Ok(Some(head));
        }
        // What was read ahead may be older than what the writer has put there since.
        self.forget();
        self.record_at(here.0, here.1)
    }

    fn record_at(&mut self, at: u64, seqs: RangeInclusive<u64>) -> io::Result<Option<Head>> {
        let salt = self.salt.clone();
        let head = record::head(&salt, self.load(at, HEAD + 8)?).filter(|head| seqs.contains(&head.seq));
        let Some(head) = head else { return Ok(None) };
        let record = self.load(at, head.size)?;
        Ok((record.len() == head.size && record::payload(&salt, record).is_some()).then_some(head))
    }

    /// The `length` bytes at `at`, or as many as the segment has.
    fn load(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let held = self.window_at..=self.window_at + self.window.len() as u64;
        if !held.contains(&at) || !self.window_last && !held.contains(&at.saturating_add(length as u64)) {
            self.fill(at, length.max(WINDOW)).inspect_err(|_| self.forget())?;
        }
        let from = (at - self.window_at) as usize;
        Ok(&self.window[from..self.window.len().min(from + length)])
    }

    fn fill(&mut self, at: u64, length: usize) -> io::Result<()> {
        self.window.resize(length, 0);
        (self.window_at, self.window_last) = (at, false);
        let mut filled = 0;
        while filled < length && !self.window_last {
            match self.source.read_at(&mut self.window[filled..], at + filled as u64) {
                Ok(0) => self.window_last = true,
                Ok(more) => filled += more,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        self.window.truncate(filled);
        Ok(())
    }

    /// Lets go of what was read ahead.
    pub fn forget(&mut self) {
        self.window.clear();
        self.window_last = false;
    }
}

const ZEROS: [u8; BLOCK] = [0; BLOCK];
