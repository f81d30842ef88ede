//! Reading a checkpoint or a backup, item by item, all of it checked on the way.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use bytes::Bytes;

use super::chunk::{ChunkReader, Kind};
use super::entry;
use super::format::{
    ENTRY_HEAD, FOOTER, Footer, HEADER, Head, LockKind, Trailer, decode_header, own_crc, take, take_row,
};
use super::lock::{self, Lock};
use super::{Info, cut_short, damaged, read_failure};
use crate::base::{Error, Result};
use crate::store::engine::disk::journal::Entry;

/// What stands in a file, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Item {
    /// Key and value; keys rise.
    Row(Bytes, Bytes),
    /// The groups behind the start, without a gap.
    Entry(Entry),
    End(Trailer),
}

/// Reads a file from its start. Items share the memory of their chunk: whoever keeps few of many copies them.
pub struct Reader {
    head: Head,
    encrypted: bool,
    chunks: ChunkReader,
    /// Rows are passed over.
    entries_only: bool,
    place: Place,
}

/// How far a pass has come.
struct Place {
    kind: Kind,
    /// Where the chunk begins.
    chunk: u64,
    /// What is left of it.
    rest: Bytes,
    last_key: Option<Bytes>,
    rows: u64,
    entries: u64,
    ended: bool,
}

const START: Place =
    Place { kind: Kind::Rows, chunk: 0, rest: Bytes::new(), last_key: None, rows: 0, entries: 0, ended: false };

impl Reader {
    /// Opens the file and checks its header and the key. A `lock` is not used for a file that is not encrypted.
    ///
    /// # Errors
    /// `checkpoint.missing`, `checkpoint.foreign`, `checkpoint.newer`, `checkpoint.key_needed`, `checkpoint.wrong_key`, `checkpoint.cut_short`,
    /// `checkpoint.damaged`; `store.disk_failed`.
    pub fn open(path: &Path, lock: Option<&Lock>) -> Result<Self> {
        let mut file = File::open(path).map_err(|e| read_failure(path, "opening", &e))?;
        let (size, header) = read_header(&mut file, path)?;
        let (head, locking) = decode_header(&header, path)?;
        let header = header.first_chunk().ok_or_else(|| cut_short(path))?;
        let seal = lock::open(&locking, lock, path)?;
        let chunks = ChunkReader::start(file, path, size, header, seal);
        let encrypted = locking.kind != LockKind::None;
        Ok(Self { head, encrypted, chunks, entries_only: false, place: START })
    }

    pub fn head(&self) -> &Head {
        &self.head
    }

    /// Bytes of the file that are behind us, and all of them.
    pub fn position(&self) -> (u64, u64) {
        (self.chunks.at(), self.chunks.size())
    }

    /// The next item; none behind [`Item::End`]. What is not followed by an end in good order proves nothing.
    ///
    /// # Errors
    /// `checkpoint.cut_short`, `checkpoint.damaged`; `store.disk_failed`.
    pub fn next(&mut self) -> Result<Option<Item>> {
        if self.place.ended {
            return Ok(None);
        }
        if self.place.rest.is_empty() {
            self.chunk()?;
        }
        let item = match self.place.kind {
            Kind::Rows => self.row(),
            Kind::Entries => self.entry(),
            Kind::Trailer => return self.end().map(Some),
        };
        item.map(Some).ok_or_else(|| damaged(self.chunks.path(), "an item is not what can stand at its place"))
    }

    /// Starts over, with the entries alone if wanted: then rows are passed over unread.
    pub(super) fn rewind(&mut self, entries_only: bool) -> Result<()> {
        self.entries_only = entries_only;
        self.place = START;
        self.chunks.rewind()
    }

    /// What is known of the file, all of which was read.
    pub(super) fn info(&self, trailer: &Trailer) -> Info {
        Info::new(self.chunks.path(), self.chunks.size(), (self.head, self.encrypted), Some(trailer))
    }

    pub(super) fn inconsistent(&self, why: &str) -> Error {
        damaged(self.chunks.path(), why)
    }

    fn chunk(&mut self) -> Result<()> {
        loop {
            self.place.chunk = self.chunks.at();
            let head = self.chunks.head()?;
            if head.kind < self.place.kind {
                return Err(self.chunks.damaged("is not of a kind that can follow"));
            }
            if head.kind == Kind::Rows && self.entries_only {
                self.chunks.skip(&head)?;
                continue;
            }
            self.place.kind = head.kind;
            self.place.rest = self.chunks.raw(&head)?;
            return Ok(());
        }
    }

    fn row(&mut self) -> Option<Item> {
        let place = &mut self.place;
        let row = take_row(&mut place.rest)?;
        if place.last_key.as_ref().is_some_and(|last| row.key <= *last) {
            return None;
        }
        place.last_key = Some(row.key.clone());
        place.rows += 1;
        Some(Item::Row(row.key, row.value?))
    }

    fn entry(&mut self) -> Option<Item> {
        let place = &mut self.place;
        let length = u32::from_le_bytes(take(&mut &place.rest[..])?) as usize;
        if place.rest.len() - ENTRY_HEAD < length {
            return None;
        }
        let _ = place.rest.split_to(ENTRY_HEAD);
        let entry = entry::decode(place.rest.split_to(length))?;
        place.entries += 1;
        (self.head.start.checked_add(place.entries) == Some(entry.seq)).then_some(Item::Entry(entry))
    }

    fn end(&mut self) -> Result<Item> {
        let trailer = Trailer::decode(&self.place.rest).ok_or_else(|| self.inconsistent("its trailer is none"))?;
        let Place { rows, entries, .. } = self.place;
        let complete = (trailer.rows == rows || self.entries_only) && trailer.entries == entries;
        if !complete || self.head.start.checked_add(entries) != Some(trailer.seq) {
            return Err(self.inconsistent("its trailer counts other rows or entries"));
        }
        self.chunks.end(self.place.chunk)?;
        self.place.ended = true;
        Ok(Item::End(trailer))
    }
}

/// What the header and the trailer say, without reading the middle. Of an encrypted file only the header is known.
///
/// # Errors
/// As [`Reader::open`], but for the key, which is not needed.
pub fn inspect(path: &Path) -> Result<Info> {
    let mut file = File::open(path).map_err(|e| read_failure(path, "opening", &e))?;
    let (size, header) = read_header(&mut file, path)?;
    let (head, locking) = decode_header(&header, path)?;
    let header = header.first_chunk().ok_or_else(|| cut_short(path))?;
    let mut footer = [0; FOOTER];
    let from_end = SeekFrom::Start(size.saturating_sub(FOOTER as u64));
    let read = file.seek(from_end).and_then(|_| file.read_exact(&mut footer));
    read.map_err(|e| read_failure(path, "reading", &e))?;
    // Without a footer the file may have been cut anywhere.
    let footer = Footer::decode(&footer).ok_or_else(|| cut_short(path))?;
    if footer.header_crc != own_crc(header) || !(HEADER as u64..size).contains(&footer.offset) {
        return Err(damaged(path, "its footer is of another file"));
    }
    let mut chunks = ChunkReader::start(file, path, size, header, None);
    chunks.seek(footer.offset, footer.index)?;
    let chunk = chunks.head()?;
    if chunk.kind != Kind::Trailer {
        return Err(chunks.damaged("is not the trailer that the footer promises"));
    }
    let encrypted = locking.kind != LockKind::None;
    let trailer = if encrypted {
        chunks.check(&chunk)?;
        None
    } else {
        let trailer = Trailer::decode(&chunks.raw(&chunk)?);
        Some(trailer.ok_or_else(|| damaged(path, "its trailer is none"))?)
    };
    if chunks.left() != FOOTER as u64 {
        return Err(damaged(path, "its footer is not behind its trailer"));
    }
    Ok(Info::new(path, size, (head, encrypted), trailer.as_ref()))
}

/// The file's size, and its first bytes: a whole header unless the file is shorter.
fn read_header(file: &mut File, path: &Path) -> Result<(u64, Vec<u8>)> {
    let mut header = Vec::with_capacity(HEADER);
    let size = file.metadata().map_err(|e| read_failure(path, "reading", &e))?.len();
    file.take(HEADER as u64).read_to_end(&mut header).map_err(|e| read_failure(path, "reading", &e))?;
    Ok((size, header))
}
